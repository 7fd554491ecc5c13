/* shared_clusters.h - clusters that two states of an image share, and whether their refcounts let them be shared
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_SHARED_CLUSTERS_H
#define QCBMI_SHARED_CLUSTERS_H

#include "base/bitset.h"
#include "image/tables.h"

struct qcbmi_shared {
    struct qcbmi_image *img;
    struct qcbmi_bitset set;
    uint64_t first, end; /* a run that is not in it yet */
};

int qcbmi_shared_init(struct qcbmi_shared *s, struct qcbmi_image *img, struct qcbm_error *err);
void qcbmi_shared_free(struct qcbmi_shared *s); /* fine on a zeroed struct */

/* The clusters of host bytes [@off, @off + @len), which end by qcbmi_image_end(). */
int qcbmi_shared_add(struct qcbmi_shared *s, uint64_t off, uint64_t len, struct qcbm_error *err);

/* A cluster with a refcount below 2 belongs to one state: QEMU will write to it in place, or has given it to somebody
 * else. Each that is shared all the same goes to @damage. Reads the refcount blocks of what was added, each once. */
int qcbmi_shared_check(struct qcbmi_shared *s, struct qcbmi_damage *damage, struct qcbm_error *err);

#endif
