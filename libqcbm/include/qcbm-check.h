/* qcbm-check.h - what is wrong with an image, and what mends it; a part of qcbm.h
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_CHECK_H
#define QCBM_CHECK_H

#include "qcbm.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- check ------------------------------------------------------------------------------------------------------- */

struct qcbm_check_finding { /* its strings live until the callback returns; those of a report until it is closed */
    const struct qcbm_problem *problem;
    uint64_t offset;     /* of the bad bytes in the image file, or QCBM_NO_OFFSET */
    const char *table;   /* what they are part of: "L2 table", "refcount table" ...; NULL if there is no such */
    uint64_t index;      /* of the entry in it; UINT64_MAX if there is none */
    uint32_t bitmap;     /* index for qcbm_bitmap_get(), or UINT32_MAX */
    const char *message; /* one line */
    const char *hint;    /* a second line that qemu-img prints, or NULL */
    uint64_t number;     /* which of this kind in this table, from 1 on; see qcbm_check_summary */
};
/* A non-zero return stops the check with QCBM_E_ABORTED. */
typedef int qcbm_check_fn(void *opaque, const struct qcbm_check_finding *finding);

/* A kind of problem that was found. */
struct qcbm_check_kind { /* its strings live until the callback returns */
    const struct qcbm_problem *problem;
    uint64_t count;   /* findings of it */
    const char *cure; /* for the image at hand: nothing that it has is lost on that way */
    /* The level of "qemu-img check -r" that mends it in this image and keeps all that it has; NONE if there is none. */
    enum qcbm_repair_level repair;
};
/* Called once for each kind, when all is known. A non-zero return stops the check with QCBM_E_ABORTED. */
typedef int qcbm_check_kind_fn(void *opaque, const struct qcbm_check_kind *kind);

enum qcbm_check_cause {
    QCBM_CHECK_CAUSE_UNKNOWN,
    QCBM_CHECK_CAUSE_ZEROED,
    QCBM_CHECK_CAUSE_OVERWRITTEN,
    QCBM_CHECK_CAUSE_CUT
};

/* More findings of one kind in one table than this have a summary. */
#define QCBM_CHECK_MANY 20u
struct qcbm_check_summary { /* its strings live until the callback returns */
    const struct qcbm_problem *problem;
    uint64_t count;    /* findings of it in that table */
    const char *table; /* "L2 table", "refcount block" ...; NULL: none in particular, or in more tables than are kept */
    uint64_t offset;   /* of the table in the image file, or QCBM_NO_OFFSET */
    uint64_t guest_offset, guest_length; /* the range of the disk that it maps; length 0: none */
    uint64_t file_offset, file_length;   /* the range of the image file that it counts; length 0: none */
    uint32_t snapshot;                   /* whose disk that is, for qcbm_snapshot_get(), or UINT32_MAX: that of today */
    enum qcbm_check_cause cause;         /* what has likely happened to it */
};
/* Called for each such table and kind, in the order in which they were met, when all is known. A non-zero return stops
 * the check with QCBM_E_ABORTED. */
typedef int qcbm_check_summary_fn(void *opaque, const struct qcbm_check_summary *summary);

struct qcbm_check_options {
    size_t struct_size;
    uint64_t memory;        /* bytes for counting references; more are not taken, the file is walked again instead */
    qcbm_check_fn *finding; /* may be NULL: totals only */
    void *opaque;           /* of finding and kind */
    const struct qcbm_progress *progress; /* in bytes of metadata, a pass after the other; may be NULL */
    qcbm_check_kind_fn *kind;             /* may be NULL */
    bool lost_only; /* look for lost mapping tables, and give no other finding: one pass over tables and refcounts */
    qcbm_check_summary_fn *summary; /* may be NULL */
};
#define QCBM_CHECK_OPTIONS_INIT                                                                                        \
    {                                                                                                                  \
        sizeof(struct qcbm_check_options), UINT64_C(256) << 20, NULL, NULL, NULL, NULL, false, NULL                    \
    }

struct qcbm_check_result {
    uint64_t corruptions, leaks, check_errors; /* as qemu-img check counts them */
    uint64_t damages, warnings;                /* beyond them */
    uint64_t total_clusters, allocated_clusters, fragmented_clusters, compressed_clusters;
    uint64_t image_end_offset;
    uint32_t passes;           /* walks over the metadata that the memory made necessary */
    uint64_t lost_tables;      /* leaked clusters that are mapping tables of others: leaks must not be freed */
    uint64_t suspicious_leaks; /* leaked clusters, if they may be the data of a lost table; else 0 */
    bool keep_leaks; /* there are leaks, and something damaged may have pointed to them: they must not be freed */
    /* There are leaks, few enough for a crash, and a range without an L2 table or with one that is all zeros: nothing
     * proves that they are no data. */
    bool unproven_leaks;
};

/* Check the whole image: what qemu-img check checks, in its order, and the bitmaps. Writes nothing, opens no other
 * file, needs no key. @out is filled on failure too, with what was found so far.
 * Returns 0 whatever was found; QCBM_E_LIMIT (too many clusters), QCBM_E_IO, QCBM_E_NOMEM, QCBM_E_ABORTED. */
QCBM_API int qcbm_check(struct qcbm_image *img, const struct qcbm_check_options *options, struct qcbm_check_result *out,
                        size_t size, struct qcbm_error *err);

/* The findings of one check, kept for paging and for languages that are called back badly. Strings in them live until
 * qcbm_check_close(); it does not need the image any more. */
struct qcbm_check_report;

/* Bytes that a report may take. A hostile image has more findings than fit: the first ones are kept. */
#define QCBM_CHECK_REPORT_MAX (UINT64_C(16) << 20)

/* Check as qcbm_check() does and keep what it finds. The functions in @options are called, too. @result is filled on
 * failure as well, but then there is no report: *@out is NULL.
 * Returns what qcbm_check() returns. */
QCBM_API int qcbm_check_open(struct qcbm_image *img, const struct qcbm_check_options *options,
                             struct qcbm_check_report **out, struct qcbm_check_result *result, size_t size,
                             struct qcbm_error *err);
/* As qcbm_extents_fill(), of findings: @from and *@next count them. Returns 0, QCBM_E_ARG. */
QCBM_API int qcbm_check_fill(const struct qcbm_check_report *report, uint64_t from, struct qcbm_check_finding *array,
                             size_t elem_size, size_t n, size_t *got, uint64_t *next, struct qcbm_error *err);
/* How many findings, behind those that are kept, had no room; qcbm_check() gives them to its callback. */
QCBM_API uint64_t qcbm_check_left_out(const struct qcbm_check_report *report);
/* NULL is fine. */
QCBM_API void qcbm_check_close(struct qcbm_check_report *report);

/* ---- repair ------------------------------------------------------------------------------------------------------ */

struct qcbm_repair_row {                 /* its strings live until the callback returns */
    const char *code;                    /* stable, e.g. "bitmap-rescued" */
    uint64_t offset;                     /* of what is repaired, in the image file, or QCBM_NO_OFFSET */
    uint64_t guest_offset, guest_length; /* the range of the disk that it is about; length 0: none in particular */
    const char *bitmap;                  /* name of the bitmap that it is about, any bytes; NULL if there is none */
    const char *done;                    /* what is done, one line */
    const char *kept, *lost;             /* what stays, and what is gone, one line each; NULL: nothing to tell */
};
/* A non-zero return stops the repair with QCBM_E_ABORTED and nothing written. */
typedef int qcbm_repair_fn(void *opaque, const struct qcbm_repair_row *row);

enum qcbm_repair_flag {
    QCBM_REPAIR_DRY_RUN = 1u << 0,   /* plan and look at the result, write nothing; the image may be open for reading */
    QCBM_REPAIR_FORCE = 1u << 1,     /* give up what is in doubt: entries that lead nowhere, snapshots, leaks */
    QCBM_REPAIR_TO_BACKING = 1u << 2 /* what is lost shows what the backing file has there, instead of zeros */
};

/* As qcbm_edit_begin(), of an image whose bitmaps are damaged, which that refuses: sound ones stay as they are, of
 * others what can be proven is kept and the rest is dirty, stale ones are all dirty, and what cannot be read at all is
 * gone. @fn (may be NULL) is told of each. Marks of damage in the header are no hindrance, damage to the rest of the
 * image is.
 * Returns 0, QCBM_E_UNSAFE, QCBM_E_UNSUPPORTED (version 2), QCBM_E_CORRUPT, QCBM_E_LIMIT, QCBM_E_IO, QCBM_E_NOMEM,
 * QCBM_E_ABORTED. */
QCBM_API int qcbm_edit_begin_mending(struct qcbm_image *img, qcbm_repair_fn *fn, void *opaque, struct qcbm_edit **out,
                                     struct qcbm_error *err);

struct qcbm_repair_options {
    size_t struct_size;
    enum qcbm_repair_level level; /* what is repaired; QCBM_REPAIR_ALL has all that there is */
    unsigned flags;               /* enum qcbm_repair_flag */
    const char *undo;             /* a new file for qcbm_undo(), see qcbm_edit_set_undo(); NULL: none */
    uint64_t memory;              /* as in qcbm_check_options */
    qcbm_check_fn *finding;       /* what the first pass of the check finds; may be NULL, as all functions here */
    qcbm_check_kind_fn *kind;
    qcbm_check_fn *left; /* what the second pass finds, on the repaired image; without repairs there is none */
    qcbm_check_kind_fn *left_kind;
    qcbm_repair_fn *row;                           /* called for each repair, between the two */
    qcbm_plan_fn *step;                            /* called for each write in order, before the first */
    void *opaque;                                  /* of all of these */
    const struct qcbm_progress *progress;          /* of each pass of the check by itself */
    struct qcbm_check_result *before, *after;      /* totals of the passes, filled on failure too; may be NULL */
    size_t check_result_size;                      /* of each of them */
    qcbm_check_summary_fn *summary, *left_summary; /* of the first pass and of the second */
};
#define QCBM_REPAIR_OPTIONS_INIT                                                                                       \
    {                                                                                                                  \
        sizeof(struct qcbm_repair_options), QCBM_REPAIR_ALL, 0, NULL, UINT64_C(256) << 20, NULL, NULL, NULL, NULL,     \
            NULL, NULL, NULL, NULL, NULL, NULL, 0, NULL, NULL                                                          \
    }

struct qcbm_repair_result {
    uint64_t corruptions_fixed, leaks_fixed; /* by which the second pass has fewer; as qemu-img counts them */
    uint32_t rows;
    uint32_t writes, flushes; /* no writes: there was nothing to repair */
    uint64_t bytes_written, clusters_allocated, clusters_freed, file_growth;
};

/* Check @img, repair it in memory, check the result, and write it: in one commit, so that qcbm_undo() takes all of it
 * back. A result with more errors than before is refused. What is kept, and what is lost, is told row by row, once all
 * is planned. Without QCBM_REPAIR_FORCE nothing of the guest's and no snapshot is given up: what leads nowhere stays,
 * or the whole is refused. @options NULL = defaults.
 * Returns 0 whatever is left; QCBM_E_UNSAFE (something stands in the way; nothing was written), QCBM_E_READONLY,
 * QCBM_E_NOSPACE, QCBM_E_LIMIT, QCBM_E_EXISTS (the undo file), QCBM_E_IO, QCBM_E_NOMEM, QCBM_E_ABORTED. */
QCBM_API int qcbm_repair(struct qcbm_image *img, const struct qcbm_repair_options *options,
                         struct qcbm_repair_result *out, size_t size, struct qcbm_error *err);

/* ---- rescue ------------------------------------------------------------------------------------------------------ */

/* How sure is it that the guest finds in the new image what it had there? */
enum qcbm_rescue_certainty {
    QCBM_RESCUE_UNKNOWN, /* nobody knows what was there; the new image shows the backing file, or zeros */
    QCBM_RESCUE_LIKELY,  /* see .score and .code */
    QCBM_RESCUE_PROVEN   /* L1 and L2 entries that were read say so, and nothing speaks against it */
};

struct qcbm_rescue_range {  /* its strings are the library's, and stay */
    uint64_t start, length; /* guest bytes */
    enum qcbm_rescue_certainty certainty;
    unsigned score;     /* percent; 100 is proven, 0 unknown. An estimate of the kind of evidence, not a measurement */
    const char *code;   /* what speaks for it, or against it; stable, e.g. "snapshot", "old-l1", "table-lost" */
    const char *reason; /* the same as one line */
    bool mapped; /* the new image has something there, if only "zeros"; else it shows the backing file, or zeros */
};
/* Called in the order of the disk, from its begin to its end without gaps. A non-zero return stops the rescue with
 * QCBM_E_ABORTED and no new image. */
typedef int qcbm_rescue_fn(void *opaque, const struct qcbm_rescue_range *range);

/* What is in use by its refcount, or has the look of an L2 table, and has no place in the new image: who knows more
 * than the file says finds it here. */
struct qcbm_rescue_left {
    uint64_t offset, length; /* bytes of the file */
    bool table;              /* an L2 table, in one cluster; else clusters that nothing names */
    uint32_t entries;        /* of a table: those that name clusters, */
    uint64_t first, end;     /* and the guest bytes below these, from the begin of its place on, wherever that is */
};
/* Called after the last range, in the order of the file; clusters only where the refcounts are relied on. A non-zero
 * return stops the rescue, too. */
typedef int qcbm_rescue_left_fn(void *opaque, const struct qcbm_rescue_left *left);

enum qcbm_rescue_flag {
    QCBM_RESCUE_PROBE_BACKING = 1u << 0 /* read the backing file that the image names, for evidence */
};

struct qcbm_rescue_options {
    size_t struct_size;
    uint64_t size;         /* bytes of the disk, where the header is lost; 0: what can be found. A multiple of 512 */
    uint32_t cluster_size; /* the same; 512 .. 2 MiB */
    unsigned flags;        /* enum qcbm_rescue_flag */
    unsigned open_flags;   /* QCBM_OPEN_FORCE_SHARE, QCBM_OPEN_NO_LOCK, of the damaged image */
    qcbm_rescue_fn *range; /* may be NULL: totals only */
    void *opaque;
    const struct qcbm_progress *progress; /* in bytes of the file, twice: to look, to copy; may be NULL */
    qcbm_rescue_left_fn *left;            /* gets @opaque, too; may be NULL */
};
#define QCBM_RESCUE_OPTIONS_INIT                                                                                       \
    {                                                                                                                  \
        sizeof(struct qcbm_rescue_options), 0, 0, 0, 0, NULL, NULL, NULL, NULL                                         \
    }

struct qcbm_rescue_result {
    uint64_t virtual_size;
    uint32_t cluster_size;
    bool header_lost; /* the header was put together from what the rest of the file shows */
    bool size_proven; /* the size of the disk is that of the header, or of the options */
    bool refcounts;   /* they could be relied on */
    /* With the header: what is not mapped reads as zeros until qemu-img rebase -u names the file. */
    bool backing_unknown;
    uint64_t proven, likely, unknown; /* guest bytes */
    uint64_t tables_placed;           /* L2 tables that were put into their places, */
    uint64_t tables_rebuilt;          /* put together again, in part at least, */
    uint64_t tables_lost;             /* overwritten, and nothing was found that belongs there, */
    uint64_t tables_unplaced;         /* found, and without a place; */
    uint64_t table_places;            /* places of the disk that have none, each of .table_span guest bytes */
    uint64_t table_span;
    uint64_t clusters_left;              /* in use by their refcount, and nothing says by whom */
    uint32_t snapshots;                  /* of the image: they are not carried over */
    uint32_t bitmaps_kept, bitmaps_lost; /* what of the disk is not proven is dirty in those that are kept */
    uint64_t bytes_copied, file_size;    /* data, and the length of the new file; without one, what that would be */
};

/* Make of @path, an image whose header, L1 table or L2 tables may be lost, the new image @new_path: version 3, with
 * what the bytes still prove, and what is likely, in it. @path is opened for reading alone. @new_path must not exist;
 * it gets its name when all of it is durable, and is for its owner alone. NULL: nothing is written, all is told.
 * Clusters of data lie in it where they did, so encrypted and compressed data is taken over as it is; holes stay holes.
 * Internal snapshots are used as evidence and are not carried over. Which ranges of the disk are proven, likely or
 * unknown is told before this returns 0. Memory: a bit to a byte for each cluster of the file, 24 bytes for each L1
 * entry, 64 for each table that is found; time is linear in the length of the file.
 * @options NULL = defaults. *@out (may be NULL) is filled on success.
 * Returns 0 whatever is lost; QCBM_E_EXISTS, QCBM_E_NOT_QCOW2 (no header, and nothing else either that shows what it
 * was), QCBM_E_UNSUPPORTED (an external data file: it has the guest's bytes, each at its own offset), QCBM_E_CORRUPT (a
 * LUKS header that is lost), QCBM_E_ARG (also: no room in the L1 table for the size), QCBM_E_LIMIT, QCBM_E_NOTFOUND,
 * QCBM_E_LOCKED, QCBM_E_NOLOCKS, QCBM_E_NOSPACE, QCBM_E_IO, QCBM_E_NOMEM, QCBM_E_ABORTED. */
QCBM_API int qcbm_rescue(const char *path, const char *new_path, const struct qcbm_rescue_options *options,
                         struct qcbm_rescue_result *out, size_t size, struct qcbm_error *err);

/* ---- fields by hand ---------------------------------------------------------------------------------------------- */

struct qcbm_field_change { /* its strings and bytes live until the callback returns */
    const char *field;     /* as the caller wrote it, without the values */
    const char *what;      /* what the field is part of, one line, e.g. "entry 3 of the L2 table at 0x50000" */
    uint64_t offset;       /* of its bytes in the image file */
    uint32_t length;       /* of them, 1 to 8; a refcount narrower than a byte shares them with its neighbours */
    uint64_t old_value, new_value;
    const uint8_t *old_bytes, *new_bytes; /* @length of them; of the new ones all edits are in */
};
/* A non-zero return stops with QCBM_E_ABORTED and nothing written. */
typedef int qcbm_field_fn(void *opaque, const struct qcbm_field_change *change);

enum qcbm_edit_fields_flag {
    QCBM_EDIT_FIELDS_DRY_RUN = 1u << 0, /* find, compare and judge, write nothing; flags may be for reading */
    QCBM_EDIT_FIELDS_FORCE =
        1u << 1 /* without old values, over several sectors without undo file, and what is worse then */
};

struct qcbm_edit_fields_options {
    size_t struct_size;
    unsigned flags;       /* enum qcbm_edit_fields_flag */
    const char *undo;     /* a new file for qcbm_undo(), see qcbm_edit_set_undo(); NULL: none */
    uint64_t memory;      /* as in qcbm_check_options */
    qcbm_field_fn *field; /* called for each edit, in their order, before anything is written; may be NULL, as all
                             functions here */
    qcbm_check_fn *made;  /* called for what a check finds behind the change and not before it, refused or not */
    qcbm_plan_fn *step;   /* called for each write in order, before the first */
    void *opaque;         /* of all of these */
    const struct qcbm_progress *progress; /* of each of two checks by itself; may be NULL */
};
#define QCBM_EDIT_FIELDS_OPTIONS_INIT                                                                                  \
    {                                                                                                                  \
        sizeof(struct qcbm_edit_fields_options), 0, NULL, UINT64_C(256) << 20, NULL, NULL, NULL, NULL, NULL            \
    }

struct qcbm_edit_fields_result {
    bool opens_before, opens_after;
    bool worse;               /* without force it would have been refused */
    uint32_t sectors;         /* of 512 bytes that change: 0 nothing does, 1 is written all or not at all */
    uint32_t writes, flushes; /* in a dry run those that there would be */
    uint64_t bytes_written;
};

/* Set @n single fields of the image @path, which need not open: all of them in one commit, or none. An edit is
 * "FIELD: OLD=NEW"; qcbm-edit(1) has the fields, which have the names of a dump. All are found, and OLD is compared, in
 * the image as it is. Refused are changes behind which the image does not open, or a check finds an error that it does
 * not find before; those of several sectors, of which a power cut may leave some unwritten, without an undo file; edits
 * without OLD.
 * @flags: enum qcbm_open_flag, with QCBM_OPEN_WRITE. @options NULL = defaults. @out is filled on success.
 * Returns 0, QCBM_E_ARG (no such field, no number that fits, two edits of the same bytes), QCBM_E_NOTFOUND (the image
 * has none such), QCBM_E_CORRUPT (what leads to it is damaged), QCBM_E_UNSAFE (refused, or OLD is not what is there),
 * QCBM_E_LIMIT, QCBM_E_READONLY, QCBM_E_EXISTS (the undo file), QCBM_E_LOCKED, QCBM_E_NOLOCKS, QCBM_E_IO,
 * QCBM_E_NOSPACE, QCBM_E_NOMEM, QCBM_E_UNSUPPORTED, QCBM_E_ABORTED. */
QCBM_API int qcbm_edit_fields(const char *path, unsigned flags, const char *const *edits, size_t n,
                              const struct qcbm_edit_fields_options *options, struct qcbm_edit_fields_result *out,
                              size_t size, struct qcbm_error *err);
/* The same on storage of the caller; it is closed when this returns. If the image does not open behind it, which takes
 * QCBM_EDIT_FIELDS_FORCE, there is no undo on such storage: qcbm_undo() takes an open image, qcbm_undo_path() a
 * file. */
QCBM_API int qcbm_edit_fields_io(const struct qcbm_io_ops *ops, void *self, unsigned flags, const char *const *edits,
                                 size_t n, const struct qcbm_edit_fields_options *options,
                                 struct qcbm_edit_fields_result *out, size_t size, struct qcbm_error *err);

/* ---- untrusted images -------------------------------------------------------------------------------------------- */

struct qcbm_verdict_reason { /* its strings live until the callback returns */
    const char *code;        /* stable, e.g. "backing-file"; for what qcbm_check() finds the code of the problem */
    bool refuse;             /* speaks against the image; else a note */
    uint64_t offset;         /* in the image file, or QCBM_NO_OFFSET */
    uint64_t count;          /* how often that was met; offset and message are those of the first */
    const char *message;     /* one line */
};
/* Called once for each code, when all is known. A non-zero return stops with QCBM_E_ABORTED. */
typedef int qcbm_verdict_fn(void *opaque, const struct qcbm_verdict_reason *reason);

struct qcbm_verdict_options {
    size_t struct_size;
    uint64_t memory;                      /* as in qcbm_check_options */
    qcbm_verdict_fn *reason;              /* may be NULL */
    void *opaque;                         /* of reason */
    const struct qcbm_progress *progress; /* as in qcbm_check_options */
};
#define QCBM_VERDICT_OPTIONS_INIT                                                                                      \
    {                                                                                                                  \
        sizeof(struct qcbm_verdict_options), UINT64_C(256) << 20, NULL, NULL, NULL                                     \
    }

struct qcbm_verdict {
    bool harmless; /* no reason against it */
    uint32_t reasons, notes;
};

/* May this image, from a stranger, be given to programs that trust it? Against it are: names of other files, what is
 * unknown, numbers out of proportion, sharing that multiplies work, names that play with terminals, and corruption and
 * damage by qcbm_check(). Writes nothing, opens no other file.
 * Returns 0 whatever the verdict is, QCBM_E_IO, QCBM_E_NOMEM, QCBM_E_ABORTED. */
QCBM_API int qcbm_verdict(struct qcbm_image *img, const struct qcbm_verdict_options *options, struct qcbm_verdict *out,
                          size_t size, struct qcbm_error *err);

/* The verdict where qcbm_open() failed with @why: 0 and one reason if the image's content is why it cannot be opened,
 * else the code of @why (no qcow2 image, locked, no such file ...). */
QCBM_API int qcbm_verdict_refused(const struct qcbm_error *why, const struct qcbm_verdict_options *options,
                                  struct qcbm_verdict *out, size_t size, struct qcbm_error *err);

#ifdef __cplusplus
}
#endif
#endif
