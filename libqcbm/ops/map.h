/* map.h - where the guest's bytes are in a chain that is open, as qemu-img map tells it
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_MAP_H
#define QCBMI_MAP_H

#include "image/chain.h"

/* As qcbm_map(). Findings go to the top layer, if it is a qcow2 image. */
int qcbmi_map_chain(const struct qcbmi_chain *chain, uint64_t start, uint64_t length, qcbm_map_fn *fn, void *opaque,
                    struct qcbm_error *err);

#endif
