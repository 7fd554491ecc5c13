/* merge.h - several deltas that follow one another made one
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_MERGE_H
#define QCBMI_MERGE_H

#include "delta/delta.h"

struct qcbmi_merge {
    struct qcbmi_delta *const *deltas; /* the oldest first; borrowed */
    const char *const *names;          /* what they are called in messages */
    size_t n;                          /* 1 at least */
    const char *path;                  /* of the new delta; NULL: into .fd */
    int fd;
    bool force_parent; /* do not ask whether they follow one another */
    const char *note;  /* NULL: that of the last one */
    struct qcbmi_progress *progress;
};

struct qcbmi_merge_result {
    uint64_t data_bytes, zero_bytes;       /* of the records of the new delta */
    uint64_t records_before, bytes_before; /* of all that were merged */
    struct qcbmi_delta_meta meta;          /* who it is */
};

/* Every delta is read through first and compared with its digest. The new one has the form of the old ones.
 * Returns 0, QCBM_E_UNSUPPORTED (several forms), QCBM_E_CHAIN (they do not follow one another, or it cannot be told),
 * QCBM_E_CORRUPT, QCBM_E_EXISTS, QCBM_E_LIMIT, QCBM_E_NOSPACE, QCBM_E_IO, QCBM_E_NOMEM, QCBM_E_ABORTED. */
int qcbmi_delta_merge(const struct qcbmi_merge *m, struct qcbmi_merge_result *out, struct qcbm_error *err);

/* Do they follow one another? 0, QCBM_E_UNSUPPORTED, QCBM_E_CHAIN. */
int qcbmi_merge_check_order(const struct qcbmi_merge *m, struct qcbm_error *err);
/* Who the merged delta is, but for its probes and its digest. */
int qcbmi_merge_identity(const struct qcbmi_merge *m, struct qcbmi_delta_meta *out, struct qcbm_error *err);

#endif
