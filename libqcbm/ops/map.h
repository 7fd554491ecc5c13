/* map.h - where the guest's bytes are in a chain that is open, as qemu-img map tells it
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_MAP_H
#define QCBMI_MAP_H

#include "base/page.h"
#include "bitmap/handle.h"
#include "image/chain.h"
#include "image/guest_map.h"

/* As qcbm_map(). Findings go to @top, the handle of the top layer; NULL if that is no qcow2 image. */
int qcbmi_map_chain(struct qcbm_image *top, const struct qcbmi_chain *chain, uint64_t start, uint64_t length,
                    qcbm_map_fn *fn, void *opaque, struct qcbm_error *err);

/* A map of @chain that pages are filled from, in any order; the caller frees it, on failure too. Entries from guest
 * offset @from on. Nothing is added to the findings. */
int qcbmi_map_begin(struct qcbmi_guest_map *map, const struct qcbmi_chain *chain, struct qcbm_error *err);
int qcbmi_map_fill(struct qcbmi_guest_map *map, uint64_t from, struct qcbmi_page *page, struct qcbm_error *err);

#endif
