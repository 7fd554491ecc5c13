/* apply_run.h - deltas applied to a disk one after the other: what an apply knows
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_APPLY_RUN_H
#define QCBMI_APPLY_RUN_H

#include "delta/apply_state.h"
#include "delta/delta.h"

/* A delta of the command line, after it has been read wholly. */
struct qcbmi_apply_item {
    const char *path;
    const char *form;
    struct qcbmi_delta_meta meta; /* .id of one without identity: the digest of its records */
    bool has_meta;
    uint8_t digest[QCBMI_DIGEST_BYTES];
    uint64_t data_bytes, zero_bytes;
};

struct qcbmi_apply_run {
    const struct qcbm_apply_options *o;
    const char *base;
    char *prefix; /* of files beside the base */
    bool is_qcow2;
    struct qcbmi_apply_item *items;
    size_t n;
    struct qcbmi_apply_target t;
    struct qcbmi_apply_state state;
    struct qcbmi_disk_state disk;
    bool has_no_leaks;
    uint32_t data_probes; /* of those that were compared last: the others are of zeros */
    bool resumes;         /* a state file says that the disk was written to */
    uint64_t durable;     /* before this guest offset the disk was seen to hold what the delta has */
    bool is_replaced;     /* it does not hold what the state file says that it has durably: it is another one */
    struct qcbmi_progress progress;
    struct qcbm_apply_result result;
};

/* apply_check.c: */
/* Read each delta wholly, and compare it with its digest; fill the items. */
int qcbmi_apply_read_items(struct qcbmi_apply_run *r, const char *const *paths, struct qcbm_error *err);
/* Do they follow one another? */
int qcbmi_apply_check_row(const struct qcbmi_apply_run *r, struct qcbm_error *err);
/* Does item @i begin at the state that the disk has? Sizes, ids, and probes of the disk. *@probes: how many were
 * compared. */
int qcbmi_apply_check_base(struct qcbmi_apply_run *r, size_t i, uint32_t *probes, struct qcbm_error *err);
int qcbmi_apply_check_probes(struct qcbmi_apply_run *r, size_t i, uint32_t *probes, struct qcbm_error *err);
/* How large the disk is that item @i meets, or how much of it at least is what it was: what the delta does not have
 * behind that is to become zeros. QCBM_E_UNSAFE: it is on a device, and nothing tells. */
int qcbmi_apply_size_before(const struct qcbmi_apply_run *r, size_t i, uint64_t *size, struct qcbm_error *err);

/* apply_compare.c: does the disk hold, before @end, what item @i has, and zeros where that made it larger? *@at: if
 * not, where about. */
int qcbmi_apply_compare(struct qcbmi_apply_run *r, size_t i, uint64_t end, bool *same, uint64_t *at,
                        struct qcbm_error *err);

/* apply_stream.c: a delta as a stream of extents. It is open twice: what comes is found out ahead of its bytes being
 * read. */
struct qcbmi_apply_stream {
    struct qcbmi_delta *ahead, *bytes;
    struct qcbmi_delta_record at; /* of .bytes */
    bool begun;
    struct qcbmi_guest_stream stream;
};
int qcbmi_apply_stream_open(struct qcbmi_apply_stream *s, const char *path, struct qcbm_error *err);
void qcbmi_apply_stream_close(struct qcbmi_apply_stream *s);

/* apply_each.c: */
/* The id of the disk's new state and its size, and in the result whether there was a place for it. */
int qcbmi_apply_record_id(struct qcbmi_apply_run *r, const char *prefix, const uint8_t id[QCBMI_IDENTITY_BYTES],
                          uint64_t size, struct qcbm_error *err);
typedef int qcbmi_apply_steps_fn(struct qcbmi_apply_run *r, size_t i, struct qcbm_error *err);
/* Items from @first on, those before have been applied already; @steps does it. */
int qcbmi_apply_each(struct qcbmi_apply_run *r, size_t first, qcbmi_apply_steps_fn *steps, struct qcbm_error *err);

/* apply_new.c: the base's disk into a new file, and then the deltas into that. */
int qcbmi_apply_foresee_new(struct qcbmi_apply_run *r, size_t i,
                            struct qcbm_error *err); /* what would keep it from that */
int qcbmi_apply_into_new(struct qcbmi_apply_run *r, size_t first, struct qcbm_error *err);

#endif
