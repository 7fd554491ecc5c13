/* qcbm-delta.h - what changed, in a file of its own: made, merged, applied; a part of qcbm.h
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_DELTA_H
#define QCBM_DELTA_H

#include "qcbm.h"

#ifdef __cplusplus
extern "C" {
#endif

/* ---- deltas ------------------------------------------------------------------------------------------------------ */

/* What changed on a disk, as a file of its own: for each range that counts its bytes, or that it is zeros.
 * docs/delta-format.md says how the forms store that, and what they know of their origin. */

enum qcbm_delta_flag {
    QCBM_DELTA_LAYER = 1u << 0, /* what the image itself has allocated, as synth takes it */
    QCBM_DELTA_CHAIN =
        1u << 1, /* with .bitmap: the bitmaps of this name in all layers, as qcbm_edit_collect() has it */
    QCBM_DELTA_FORCE_SHARE = 1u << 2, /* open layers of the chain as QCBM_OPEN_FORCE_SHARE does */
    QCBM_DELTA_FORCE = 1u << 3,       /* as QCBM_SYNTH_FORCE */
    QCBM_DELTA_DRY_RUN = 1u << 4 /* what there would be: no guest bytes are read but for refining, nothing is written */
};

enum qcbm_delta_compression { QCBM_DELTA_PLAIN, QCBM_DELTA_ZLIB, QCBM_DELTA_ZSTD };

/* What synthesis has to say, one line for people. A non-zero return stops with QCBM_E_ABORTED. */
typedef int qcbm_delta_note_fn(void *opaque, const char *note);

struct qcbm_delta_options {
    size_t struct_size;
    unsigned flags; /* enum qcbm_delta_flag */
    /* One of these, or QCBM_DELTA_LAYER: which ranges count. */
    const char *bitmap;         /* what this bitmap says, which is not in use */
    const char *since;          /* what the layers above this image of the chain have allocated */
    const char *since_snapshot; /* what differs from this internal snapshot, named as in struct qcbm_synth_options, */
    const char *snapshot;       /* in this one; NULL: in the active state. The bytes are those of that state */
    uint64_t granularity;       /* not with a bitmap; 0 = QEMU's default for the image */
    unsigned refine;            /* enum qcbm_refine; with a bitmap or a snapshot only against a reference */
    const char *refine_against, *refine_format; /* as in struct qcbm_synth_options */
    const char *form;                           /* "qcow2", "raw+map", "rbd-diff", "vnb"; NULL = qcow2 */
    unsigned compression;        /* enum qcbm_delta_compression; of the form qcow2, and not into a pipe */
    uint32_t cluster_size;       /* of the form qcow2, 4 KiB to 2 MiB; 0 = the granularity, at most 64 KiB */
    const char *id;              /* 32 hex digits: the state behind the delta; NULL = a random one */
    const char *parent_id;       /* the state in front of it; NULL = that of the image of .since, if it says one */
    const char *note;            /* free text, 255 bytes at most, without control characters */
    int64_t created;             /* seconds since 1970, not negative; 0 = now */
    qcbm_delta_note_fn *note_fn; /* may be NULL */
    void *opaque;
    const struct qcbm_progress *progress; /* in bytes of what is read and written; may be NULL */
};
#define QCBM_DELTA_OPTIONS_INIT                                                                                        \
    {                                                                                                                  \
        sizeof(struct qcbm_delta_options), 0, NULL, NULL, NULL, NULL, 0, 0, NULL, NULL, NULL, 0, 0, NULL, NULL, NULL,  \
            0, NULL, NULL, NULL                                                                                        \
    }

struct qcbm_delta_result {
    char id[33], parent_id[33];         /* the second is empty if it is not known */
    uint64_t size_before, size_after;   /* of the disk; before: QCBM_UNKNOWN if it is not known */
    uint64_t granularity, cluster_size; /* the second: 0 if the form has none */
    uint64_t dirty_bytes;               /* by the granules that count */
    uint64_t data_bytes, zero_bytes;    /* of records; in a dry run what metadata tells of zeros */
    uint64_t refined_bytes;             /* left out, as they are no difference */
    uint64_t unreadable_bytes;          /* that could not be compared, and so were not left out */
    uint64_t file_size;                 /* 0 in a dry run */
    uint32_t probes;
    char digest[33]; /* of the records; empty in a dry run */
};

/* Write the delta of the open image @img to the new file @path, which is whole or not there; with sidecar files beside
 * it where the form has them. With @path NULL it goes to @fd, a pipe or what else takes bytes in a row, which stays
 * open; a reader of it knows by the end of the form that it is whole. Opens the backing chain, and the data file. @out,
 * of @size bytes, may be NULL.
 * Returns 0, QCBM_E_ARG, QCBM_E_EXISTS (a file of one of the names is there), QCBM_E_NOTFOUND (no such bitmap or
 * snapshot), QCBM_E_INUSE (the bitmap), QCBM_E_UNSUPPORTED (encrypted, raw data file without force), QCBM_E_UNSAFE,
 * QCBM_E_CORRUPT (what counts cannot be read), QCBM_E_CHAIN, QCBM_E_LIMIT, QCBM_E_LOCKED, QCBM_E_IO, QCBM_E_NOSPACE,
 * QCBM_E_NOMEM, QCBM_E_ABORTED. */
QCBM_API int qcbm_delta(struct qcbm_image *img, const char *path, int fd, const struct qcbm_delta_options *options,
                        struct qcbm_delta_result *out, size_t size, struct qcbm_error *err);

struct qcbm_delta_info {
    const char *form;                 /* as in the options */
    bool has_identity;                /* else only sizes and what the records are is known */
    bool verified;                    /* all records were read, and have the digest */
    char id[33], parent_id[33];       /* empty: not known */
    char digest[33];                  /* as the delta says; empty: it says none */
    int64_t created;                  /* seconds since 1970; 0: not known */
    uint64_t size_before, size_after; /* QCBM_UNKNOWN: not known */
    uint64_t granularity;             /* 0: not known */
    uint64_t records, data_bytes, zero_bytes;
    uint32_t probes;
    char bitmap[1024], note[256];
};

enum qcbm_delta_info_flag {
    QCBM_DELTA_VERIFY = 1u << 0 /* read all of it, and compare with its digest */
};

/* What the delta @path is. Reads the list of records; of data nothing unless it is to be verified. @progress in bytes
 * of records, when it is verified; may be NULL.
 * Returns 0, QCBM_E_NOTFOUND, QCBM_E_NOT_QCOW2 (no delta of a form that is known), QCBM_E_CORRUPT (cut short, or
 * damaged), QCBM_E_ARG (an image that says of itself that it is no delta), QCBM_E_UNSUPPORTED, QCBM_E_LIMIT,
 * QCBM_E_LOCKED, QCBM_E_IO, QCBM_E_NOMEM, QCBM_E_ABORTED. */
QCBM_API int qcbm_delta_get_info(const char *path, unsigned flags, const struct qcbm_progress *progress,
                                 struct qcbm_delta_info *out, size_t size, struct qcbm_error *err);

/* ---- deltas made one --------------------------------------------------------------------------------------------- */

enum qcbm_delta_merge_flag {
    QCBM_DELTA_MERGE_FORCE_PARENT = 1u << 0 /* do not ask whether the deltas follow one another */
};

struct qcbm_delta_merge_options {
    size_t struct_size;
    unsigned flags;                       /* enum qcbm_delta_merge_flag */
    const char *note;                     /* 255 bytes at most; NULL: that of the last delta */
    const struct qcbm_progress *progress; /* in bytes of records; may be NULL */
};
#define QCBM_DELTA_MERGE_OPTIONS_INIT                                                                                  \
    {                                                                                                                  \
        sizeof(struct qcbm_delta_merge_options), 0, NULL, NULL                                                         \
    }

struct qcbm_delta_merge_result {
    const char *form;                 /* "qcow2", "raw+map", "rbd-diff", "vnb" */
    char id[33], parent_id[33];       /* that of the last delta, and the parent of the first; empty: not known */
    char digest[33];                  /* of the records */
    uint64_t size_before, size_after; /* of the disk; before: QCBM_UNKNOWN if it is not known */
    uint64_t records_in, bytes_in;    /* of all deltas together */
    uint64_t data_bytes, zero_bytes;  /* of the new one */
    uint32_t probes;
};

/* One delta that does what @n deltas do, the oldest first: later ones win byte by byte, zeros included; bytes behind
 * the end of the last state are left out. Each follows the one before: its parent is the id of that, or, of streams of
 * other programs, the names of snapshots or checkpoints meet. All have one form, and so has the new one. Every delta is
 * compared with its digest first. The result goes to the new file @path, which is whole or not there; with @path NULL
 * to @fd, a pipe or what else takes bytes in a row, which stays open. Time is linear in what is read, memory a few
 * kilobytes a delta. @out, of @size bytes, may be NULL.
 * Returns 0, QCBM_E_ARG, QCBM_E_CHAIN (they do not follow one another, or it is not known), QCBM_E_UNSUPPORTED (several
 * forms), QCBM_E_LIMIT (no whole clusters: the disk was shortened inside one, and made longer again), QCBM_E_EXISTS,
 * and what opening and reading a delta returns: QCBM_E_NOTFOUND, QCBM_E_NOT_QCOW2 (of no form that is known),
 * QCBM_E_CORRUPT (cut short or damaged), QCBM_E_LOCKED, QCBM_E_IO, QCBM_E_NOSPACE, QCBM_E_NOMEM, QCBM_E_ABORTED. */
QCBM_API int qcbm_delta_merge(const char *const *deltas, size_t n, const char *path, int fd,
                              const struct qcbm_delta_merge_options *options, struct qcbm_delta_merge_result *out,
                              size_t size, struct qcbm_error *err);

/* ---- apply ------------------------------------------------------------------------------------------------------- */

enum qcbm_apply_flag {
    /* Check all that can be checked, and write nothing. The first delta that would be applied is compared with the
     * disk; of those behind it, which meet a disk that is not there yet, .probes is 0. */
    QCBM_APPLY_DRY_RUN = 1u << 0,
    QCBM_APPLY_FORCE_PARENT = 1u << 1 /* ids need not fit; digest, sizes and probes must */
};

enum qcbm_apply_what {
    QCBM_APPLY_APPLIED, /* with QCBM_APPLY_DRY_RUN: it would be */
    QCBM_APPLY_RESUMED, /* it had been applied in part, and is whole now */
    QCBM_APPLY_ALREADY  /* the disk's recorded state says that it has been applied: nothing was done */
};

struct qcbm_apply_delta {
    const char *path; /* as the caller gave it */
    const char *form; /* "qcow2", "raw+map", "rbd-diff", "vnb" */
    enum qcbm_apply_what what;
    char id[33],
        parent[33]; /* 32 hex digits; without identity .id is the digest of the records; .parent may be empty */
    uint64_t size_before, size_after; /* of the disk; .size_before UINT64_MAX: the delta does not say */
    uint64_t data_bytes, zero_bytes;  /* of its records */
    uint32_t probes;                  /* ranges that it leaves alone, compared with the disk */
    bool state_was_known;             /* the disk had a recorded state, which is the parent of the delta */
    bool has_digest; /* false: nothing tells damage of it. A stream has it in the file OUT.json beside it */
};
/* Called for each delta in order, when it is applied, durably if in place. A non-zero return ends the work with
 * QCBM_E_ABORTED. */
typedef int qcbm_apply_fn(void *opaque, const struct qcbm_apply_delta *delta);

struct qcbm_apply_options {
    size_t struct_size;
    const char *new_path;    /* the new file; NULL: in place */
    const char *new_format;  /* "raw" or "qcow2"; NULL: that of the base */
    const char *base_format; /* the same; NULL: by its first bytes, which a guest may choose */
    /* Of the names of the files beside the base; NULL: its path without links. A block device needs one, a file has
     * none. */
    const char *state_prefix;
    unsigned flags;       /* enum qcbm_apply_flag */
    unsigned open_flags;  /* QCBM_OPEN_NO_LOCK, and with new_path QCBM_OPEN_FORCE_SHARE, of the base */
    qcbm_apply_fn *delta; /* may be NULL */
    void *opaque;
    const struct qcbm_progress *progress; /* in bytes of records, and of the disk that is copied; may be NULL */
    /* The state that the base has, by the word of the caller, where none is recorded: 32 hex digits, or a UUID; NULL:
     * not known */
    const char *base_id;
};
#define QCBM_APPLY_OPTIONS_INIT                                                                                        \
    {                                                                                                                  \
        sizeof(struct qcbm_apply_options), NULL, NULL, NULL, NULL, 0, 0, NULL, NULL, NULL, NULL                        \
    }

struct qcbm_apply_result {
    uint64_t size;                   /* of the disk, afterwards */
    uint64_t data_bytes, zero_bytes; /* of the records that were applied */
    uint32_t applied, already;       /* deltas */
    bool resumed;
    bool state_was_known; /* the base had a recorded state */
    bool state_was_stale; /* it had one, and was written to since: then it counts as not known */
    bool id_recorded;     /* the new state is recorded, in the header of the image or in PREFIX.qcbm-id */
    bool id_in_header;
    char id[33]; /* of the state that the disk has now; empty: not known */
};

/* Apply @n @deltas, in this order, to the disk @base: a raw file, a block device, or a qcow2 image with its chain.
 * Their forms are found by their first bytes. Each is read wholly and compared with its digest before anything is
 * written. Refused with QCBM_E_UNSAFE are a delta whose parent is not the state that the disk has (recorded in its
 * header or beside it, or told), one that names a parent when the disk has no recorded state, one without a parent
 * behind another, one whose size before is another, and one whose probes differ: deltas that are foreign, out of order,
 * or left out between.
 * In place (new_path NULL) PREFIX.qcbm-apply says how far it is while it is under way. Whatever ends it, the same call
 * goes on; others that would write to the image fail with QCBM_E_UNSAFE till then. The same delta again does nothing.
 * Bytes of images go to new clusters, so internal snapshots keep theirs, and the image is sound at each point; ranges
 * that are written are dirty in bitmaps that record, before they are written. A disk becomes larger first, and smaller
 * last. With new_path @base is only read; the new file, with the whole disk in one layer and without snapshots and
 * bitmaps, is whole or not there.
 * Memory: the records of a batch, at most 24 bytes each, its L2 tables (16 MiB), and the maps of what is in use in the
 * image. @options NULL = in place with defaults. *@out (may be NULL) is filled on success.
 * Returns 0, QCBM_E_UNSAFE (also: applied in part by another call; damage of the image), QCBM_E_CORRUPT (a damaged
 * delta), QCBM_E_ARG (also: a device and no state_prefix, or a file and one), QCBM_E_UNSUPPORTED (encrypted, version 2
 * in place, bitmaps in an image whose disk changes its size), QCBM_E_NOT_QCOW2 (a delta of no known form),
 * QCBM_E_EXISTS, QCBM_E_LIMIT, QCBM_E_NOTFOUND, QCBM_E_CHAIN, QCBM_E_LOCKED, QCBM_E_NOLOCKS, QCBM_E_NOSPACE, QCBM_E_IO,
 * QCBM_E_NOMEM, QCBM_E_ABORTED. */
QCBM_API int qcbm_apply(const char *base, const char *const *deltas, size_t n, const struct qcbm_apply_options *options,
                        struct qcbm_apply_result *out, size_t size, struct qcbm_error *err);
/* QCBM_E_UNSAFE, and words for people that name the file and the way out: a delta has been applied to the disk @path in
 * part (PATH.qcbm-apply is there; where qcbm_apply() was given another prefix it is not known). Such a disk has neither
 * its old state nor its new one: deltas, manifests and synthesised bitmaps of it are refused, opening it for reading is
 * not. Or 0, QCBM_E_NOMEM. */
QCBM_API int qcbm_apply_check_finished(const char *path, struct qcbm_error *err);

#ifdef __cplusplus
}
#endif
#endif
