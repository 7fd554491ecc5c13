/* map.h - where the guest's bytes are in a chain that is open, as qemu-img map tells it
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_MAP_H
#define QCBMI_MAP_H

#include "bitmap/handle.h"
#include "image/chain.h"

/* As qcbm_map(). Findings go to @top, the handle of the top layer; NULL if that is no qcow2 image. */
int qcbmi_map_chain(struct qcbm_image *top, const struct qcbmi_chain *chain, uint64_t start, uint64_t length,
                    qcbm_map_fn *fn, void *opaque, struct qcbm_error *err);

#endif
