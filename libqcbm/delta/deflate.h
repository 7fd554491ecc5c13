/* deflate.h - a cluster as QEMU compresses it
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_DEFLATE_H
#define QCBMI_DEFLATE_H

#include "delta/delta.h"

/* What is kept from one cluster to the next. */
struct qcbmi_deflate {
    enum qcbmi_delta_compression how;
    void *state;
};

/* Returns 0, QCBM_E_NOMEM, QCBM_E_UNSUPPORTED (zstd, in a build without). Free it on failure too. */
int qcbmi_deflate_begin(struct qcbmi_deflate *z, enum qcbmi_delta_compression how, struct qcbm_error *err);
void qcbmi_deflate_free(struct qcbmi_deflate *z); /* fine on a zeroed struct */

/* @in_len bytes into @out, which has @out_size. Returns how many they are, or 0: they do not fit, store them as they
 * are. */
size_t qcbmi_deflate(struct qcbmi_deflate *z, const uint8_t *in, size_t in_len, uint8_t *out, size_t out_size);

#endif
