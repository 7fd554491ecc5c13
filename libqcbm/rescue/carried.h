/* carried.h - what goes along with the disk: bitmaps, extensions of the header, the LUKS header
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_CARRIED_H
#define QCBMI_CARRIED_H

#include "rescue/writing.h"
#include "write/new_image.h"

struct qcbmi_carried {
    struct qcbmi_writing *w;
    struct qcbmi_new_image *n;
    const struct qcbmi_dirtymap *doubt; /* what of the disk is not proven: dirty in each bitmap */
    uint8_t *directory;
    struct q2_bitmaps_ext ext; /* n_bitmaps 0: none */
};

/* Those that can be read, in use or not, written anew. */
int qcbmi_carry_bitmaps(struct qcbmi_carried *c, struct qcbm_error *err);
/* The header of the new image, by that of the old one. */
int qcbmi_carry_header(struct qcbmi_carried *c, struct q2_header *h, struct qcbm_error *err);
void qcbmi_carried_free(struct qcbmi_carried *c); /* fine on a zeroed struct */

#endif
