/* fence.h - a bit in the header that falls when another program writes to the image
 * SPDX-License-Identifier: MIT
 *
 * Between the decision and the switch of an image lies a cut, perhaps, and then a guest may run that knows nothing of
 * it. A checkpoint that begins behind it would lack what it wrote, and it need not leave a trace in any table. So a bit
 * is set in the header that the format gives a meaning to: whoever opens an image for writing clears the autoclear bits
 * that he does not know, QEMU does, and so does qcbm. While the bit is up nobody wrote. Only version 3 has such
 * bits. */
#ifndef QCBMI_FENCE_H
#define QCBMI_FENCE_H

#include "image/image.h"

#define QCBMI_FENCE (UINT64_C(1) << 63) /* of the autoclear feature bits */

static inline bool qcbmi_fence_is_possible(const struct qcbmi_image *img)
{
    return img->g.version >= 3;
}

/* Durable when they return. One write of 8 bytes; none if it is like that already. */
int qcbmi_fence_up(struct qcbmi_image *img, struct qcbm_error *err);
int qcbmi_fence_down(struct qcbmi_image *img, struct qcbm_error *err);
/* As it is in the file. */
int qcbmi_fence_look(struct qcbmi_image *img, bool *up, struct qcbm_error *err);

#endif
