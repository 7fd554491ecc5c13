/* attach_write.h - a metadata image for raw data, written from scratch
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_ATTACH_WRITE_H
#define QCBMI_ATTACH_WRITE_H

#include "base/progress.h"
#include "io/io.h"

struct qcbmi_attach {
    uint64_t size; /* of the disk: not 0, whole sectors */
    uint32_t cluster_size;
    bool extended_l2;
    const char *data_name;                /* NULL: without */
    const char *bitmap;                   /* NULL: none */
    unsigned gran_bits;                   /* of it; 0: QEMU's default, and afterwards what that is */
    bool disabled;                        /* it is */
    struct qcbmi_io *to;                  /* empty; NULL: nothing is written */
    const struct qcbm_progress *progress; /* in bytes written; may be NULL */
    uint64_t file_size;                   /* afterwards */
};

/* Returns 0, QCBM_E_ARG, QCBM_E_LIMIT, QCBM_E_NOSPACE (names that are too long for a cluster, or the device),
 * QCBM_E_IO, QCBM_E_NOMEM, QCBM_E_ABORTED. */
int qcbmi_attach_write(struct qcbmi_attach *a, struct qcbm_error *err);

/* The size of clusters for a device that can discard units of @discard bytes, 0: not known. What a guest can discard is
 * a cluster; a device may do no less than its own unit. (attach.c) */
uint32_t qcbmi_attach_cluster(uint64_t discard);

#endif
