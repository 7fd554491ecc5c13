/* delta.h - what changed on a disk, as records in the order of the disk: written and read, in any of several forms
 * SPDX-License-Identifier: MIT
 *
 * A delta is a list of records, each "these bytes" or "zeros" for a range of the disk, ascending and without overlap,
 * in the size that the disk has afterwards. A range of which there is no record is as it was before. What is dirty and
 * reads as zeros is a record of zeros, never none.
 *
 * A form says how that is stored. Its part of the work is a table of functions (struct qcbmi_delta_form); writer.c and
 * reader.c are in front of them and do what all forms need: order and bounds of records, the digest, the sidecar file,
 * files that are whole or not there. Forms need not check again what they check. */
#ifndef QCBMI_DELTA_H
#define QCBMI_DELTA_H

#include "base/progress.h"
#include "format/delta_meta.h"
#include "io/io.h"

enum qcbmi_delta_type { QCBMI_DELTA_ZERO, QCBMI_DELTA_DATA };

struct qcbmi_delta_record {
    uint64_t offset, length; /* guest bytes; length > 0, and the end is within the size of the disk afterwards */
    enum qcbmi_delta_type type;
};

#define QCBMI_DELTA_MAX_PIECE (UINT64_C(4) << 20) /* bytes of one call that writes data */

struct qcbmi_delta_form;
struct qcbmi_delta_content; /* content.h: the digest, as it grows */

/* By name ("qcow2", "raw+map", "rbd-diff", "vnb"); NULL: none. Number @i of them all, NULL behind the last. */
const struct qcbmi_delta_form *qcbmi_delta_form_named(const char *name);
const struct qcbmi_delta_form *qcbmi_delta_form_at(size_t i);

/* ================================================= writer ========================================================= */

enum qcbmi_delta_compression { QCBMI_DELTA_PLAIN, QCBMI_DELTA_ZLIB, QCBMI_DELTA_ZSTD };

struct qcbmi_delta_wish {
    const struct qcbmi_delta_form *form;
    const char *path;      /* a new file; NULL: what is written goes to .fd, which stays the caller's */
    int fd;                /* of a pipe, or of anything that takes bytes in a row */
    bool nowhere;          /* to be told what there would be: open and announce, and no more; nothing is written */
    uint32_t cluster_size; /* of the qcow2 form; 0: chosen */
    enum qcbmi_delta_compression compression; /* of the qcow2 form */
    const char *from,
        *to; /* borrowed; of the forms that name the states before and after, what they say; NULL: they choose */
};

struct qcbmi_delta_writer {
    const struct qcbmi_delta_form *form;
    struct qcbmi_delta_wish wish;
    struct qcbmi_delta_meta meta;               /* .has_digest once all records have been given */
    struct qcbmi_io *io;                        /* a new empty file, or a pipe: then only appending, and no reading */
    struct qcbmi_io *map;                       /* a second file, PATH.map, of a form that has one; else NULL */
    bool seekable;                              /* @io is a file */
    uint64_t n_records, data_bytes, zero_bytes; /* announced; from begin on: all of them */
    void *self;                                 /* of the form */
    struct qcbmi_delta_files_out *files;        /* the rest is writer.c's */
    struct qcbmi_delta_content *content;
    uint64_t announced_end, end, given, written;
    bool begun;
};

/* The order of calls: open, announce for every record, begin, zero and data for every record, end; then close in any
 * case, and after a failure at once. Until end has returned 0 there is no file of that name, and a pipe lacks its end
 * mark.
 *
 * Announcing tells a form what is to come, before the first byte: some write totals in front, and into a pipe the
 * places of tables have to be known. A record may be given in other pieces than it was announced in. Into a pipe
 * (!w->seekable) each byte must come as the type that it was announced as; into a file what was announced as data may
 * come as zeros. */
int qcbmi_delta_writer_open(struct qcbmi_delta_writer *w, const struct qcbmi_delta_wish *wish,
                            const struct qcbmi_delta_meta *meta, struct qcbm_error *err);
int qcbmi_delta_announce(struct qcbmi_delta_writer *w, const struct qcbmi_delta_record *r, struct qcbm_error *err);
int qcbmi_delta_begin(struct qcbmi_delta_writer *w, struct qcbm_error *err);
int qcbmi_delta_zero(struct qcbmi_delta_writer *w, uint64_t offset, uint64_t length, struct qcbm_error *err);
/* @length is QCBMI_DELTA_MAX_PIECE at most. */
int qcbmi_delta_data(struct qcbmi_delta_writer *w, uint64_t offset, uint64_t length, const void *bytes,
                     struct qcbm_error *err);
int qcbmi_delta_end(struct qcbmi_delta_writer *w, struct qcbm_error *err);
void qcbmi_delta_writer_close(struct qcbmi_delta_writer *w); /* fine on a zeroed struct */

/* Records of the form begin and end at multiples of this (but for the end of the disk): the qcow2 form's clusters; else
 * 1. Known when the writer is open. */
uint64_t qcbmi_delta_writer_unit(const struct qcbmi_delta_writer *w);

/* ================================================= reader ========================================================= */

/* What a delta is made of. A file that is not there has no ops. */
struct qcbmi_delta_files {
    struct qcbmi_io main, map, json; /* PATH, PATH.map, PATH.json */
};

struct qcbmi_delta {
    const struct qcbmi_delta_form *form;
    struct qcbmi_delta_files files;
    bool has_meta;                /* false: a stream of another program, without an identity */
    struct qcbmi_delta_meta meta; /* without an identity only .size_after is known, as far as the form tells it; */
    const char *from, *to;        /* the form's: what it calls the states before and after; NULL: nothing */
    void *self;                   /* of the form */
    char *path;                   /* NULL: of files that were open */
    bool lacks_sidecar;           /* it has an identity, and not the file with the rest of it */
    struct qcbmi_delta_record at; /* the record that was given last; the rest is reader.c's */
    uint64_t end;
    bool over;
};

/* The form is found by the first bytes, and by the files beside: @path is opened for reading, and stays as it is.
 * Returns 0, QCBM_E_NOTFOUND, QCBM_E_NOT_QCOW2 (of no form that is known), QCBM_E_CORRUPT (cut short, damaged, a
 * sidecar that breaks a rule or belongs to something else), QCBM_E_UNSUPPORTED, QCBM_E_LIMIT, QCBM_E_LOCKED, QCBM_E_IO,
 * QCBM_E_NOMEM. */
int qcbmi_delta_open(const char *path, struct qcbmi_delta **out, struct qcbm_error *err);
/* The same of files that are open: @files is taken over, on failure too. */
int qcbmi_delta_open_files(struct qcbmi_delta_files *files, struct qcbmi_delta **out, struct qcbm_error *err);
void qcbmi_delta_close(struct qcbmi_delta *d); /* NULL is fine */

/* The next record: 1, or 0 behind the last one, and then the delta is complete, its end mark is there. Records of one
 * type that follow one another without a gap may come apart. Memory does not depend on the delta. */
int qcbmi_delta_next(struct qcbmi_delta *d, struct qcbmi_delta_record *out, struct qcbm_error *err);
/* @len bytes at guest offset @offset, a part of the record of data that was given last; in ascending order at least for
 * the forms that are streams. */
int qcbmi_delta_read(struct qcbmi_delta *d, uint64_t offset, void *buf, uint64_t len, struct qcbm_error *err);
/* Begin again at the first record. */
int qcbmi_delta_rewind(struct qcbmi_delta *d, struct qcbm_error *err);
/* Read all of it from the first record on, and compare with the digest; leaves it rewound. *@digest (may be NULL) gets
 * what the records have. QCBM_E_CORRUPT if it differs; a delta without digest is only read through. @progress in bytes
 * of records. QCBM_E_UNSAFE: it says itself that it has an identity, and the sidecar file with the digest is
 * missing. */
int qcbmi_delta_verify(struct qcbmi_delta *d, uint8_t digest[QCBMI_DIGEST_BYTES], struct qcbmi_progress *progress,
                       struct qcbm_error *err);

/* ================================================= a form ========================================================= */

/* All functions return 0 or a code with @err filled. Of the writer, @begin to @free work on w->self, which @open
 * (called first, with nothing announced) makes; of the reader on d->self, which @load makes. Those that are NULL have
 * nothing to do. */
struct qcbmi_delta_form {
    const char *name;
    bool has_sidecar; /* its identity is in PATH.json, of writer.c and reader.c; else the form writes and reads it */
    bool has_map;     /* there is a second file, PATH.map */
    bool takes_pipe;  /* it can be written into a pipe */

    int (*open)(struct qcbmi_delta_writer *w, struct qcbm_error *err); /* checks w->wish and w->meta */
    uint64_t (*unit)(const struct qcbmi_delta_writer *w);
    int (*announce)(struct qcbmi_delta_writer *w, const struct qcbmi_delta_record *r, struct qcbm_error *err);
    int (*begin)(struct qcbmi_delta_writer *w, struct qcbm_error *err);
    int (*zero)(struct qcbmi_delta_writer *w, uint64_t offset, uint64_t length, struct qcbm_error *err);
    int (*data)(struct qcbmi_delta_writer *w, uint64_t offset, uint64_t length, const uint8_t *bytes,
                struct qcbm_error *err);
    int (*end)(struct qcbmi_delta_writer *w, struct qcbm_error *err); /* w->meta.digest is there */
    void (*free)(struct qcbmi_delta_writer *w);                       /* also after a failed open */

    /* By the first bytes, @len of them (512, or all there are) and whether the other files are there. */
    bool (*detect)(const uint8_t *head, size_t len, bool has_map, bool has_json);
    /* Fills d->meta.size_after, and has_meta and all of meta if the form keeps the identity itself. With has_sidecar
     * and a sidecar that is there, d->meta has been filled from it before: then what the form says itself must
     * agree. */
    int (*load)(struct qcbmi_delta *d, struct qcbm_error *err);
    int (*next)(struct qcbmi_delta *d, struct qcbmi_delta_record *out, struct qcbm_error *err); /* 1, 0 at the end */
    int (*read)(struct qcbmi_delta *d, uint64_t offset, void *buf, uint64_t len, struct qcbm_error *err);
    int (*rewind)(struct qcbmi_delta *d, struct qcbm_error *err);
    void (*unload)(struct qcbmi_delta *d); /* also after a failed load */
};

extern const struct qcbmi_delta_form qcbmi_delta_qcow2, qcbmi_delta_raw_map, qcbmi_delta_rbd, qcbmi_delta_vnb;

#endif
