/* manifest_out.h - a manifest, written from front to back, in the one way in which its content can be written
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_MANIFEST_OUT_H
#define QCBMI_MANIFEST_OUT_H

#include "base/digest.h"
#include "format/manifest_file.h"

struct qcbmi_manifest_out {
    qcbm_write_fn *fn;
    void *opaque;
    struct qcbmi_digest_state state;
    size_t bytes;                         /* of a digest */
    uint64_t zeros;                       /* granules that are not written yet: zeros, or */
    uint64_t digests;                     /* so many in @run */
    uint8_t *run;                         /* MNF_MAX_DIGESTS of them */
    uint64_t n_zeros, n_digests, n_bytes; /* in all */
};

/* Free it on failure too. Each returns 0, QCBM_E_NOMEM, QCBM_E_ABORTED. */
int qcbmi_manifest_out_begin(struct qcbmi_manifest_out *o, const struct mnf_header *h, const char *text,
                             struct qcbm_error *err);
int qcbmi_manifest_out_zeros(struct qcbmi_manifest_out *o, uint64_t n, struct qcbm_error *err);
int qcbmi_manifest_out_digest(struct qcbmi_manifest_out *o, const uint8_t *digest, struct qcbm_error *err);
int qcbmi_manifest_out_end(struct qcbmi_manifest_out *o, struct qcbm_error *err);
void qcbmi_manifest_out_free(struct qcbmi_manifest_out *o); /* fine on a zeroed struct */

#endif
