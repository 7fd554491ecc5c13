/* shared_clusters.c - clusters that two states of an image share, and whether their refcounts let them be shared
 * SPDX-License-Identifier: MIT */
#include "ops/shared_clusters.h"

#include "base/checked.h"
#include "image/stored_counts.h"

int qcbmi_shared_init(struct qcbmi_shared *s, struct qcbmi_image *img, struct qcbm_error *err)
{
    *s = (struct qcbmi_shared){ .img = img };
    return qcbmi_bitset_init(&s->set, qcbmi_image_end(img) >> img->g.cluster_bits, err);
}

void qcbmi_shared_free(struct qcbmi_shared *s)
{
    qcbmi_bitset_free(&s->set);
    *s = (struct qcbmi_shared){ 0 };
}

int qcbmi_shared_add(struct qcbmi_shared *s, uint64_t off, uint64_t len, struct qcbm_error *err)
{
    unsigned cb = s->img->g.cluster_bits;
    uint64_t first = off >> cb, end = ((off + len - 1) >> cb) + 1;
    int ret = 0;

    if (first != s->end) {
        ret = qcbmi_bitset_set(&s->set, s->first, s->end, err);
        s->first = first;
    }
    s->end = end;
    return ret;
}

static int look_at(struct qcbmi_shared *s, struct qcbmi_stored_counts *counts, uint64_t cluster,
                   struct qcbmi_damage *damage, struct qcbm_error *err)
{
    uint64_t host = cluster << s->img->g.cluster_bits, n;
    struct qcbm_error why = { .code = 0 };

    if (!qcbmi_stored_get(counts, cluster, &n, &why)) {
        if (why.code == QCBM_E_IO || why.code == QCBM_E_NOMEM) {
            if (err)
                *err = why;
            return why.code;
        }
        qcbmi_damage_add(damage, host, "cluster at 0x%" PRIx64 ": its refcount cannot be read", host);
    } else if (n < 2) {
        qcbmi_damage_add(damage, host,
                         "cluster at 0x%" PRIx64 " belongs to both states, but its refcount is %" PRIu64
                         ": it may have been overwritten",
                         host, n);
    }
    return 0;
}

int qcbmi_shared_check(struct qcbmi_shared *s, struct qcbmi_damage *damage, struct qcbm_error *err)
{
    struct qcbmi_stored_counts counts;
    struct qcbmi_holes holes;
    int ret = qcbmi_bitset_set(&s->set, s->first, s->end, err);
    uint64_t cluster = qcbmi_bitset_next_set(&s->set, 0);

    s->first = s->end;
    if (ret < 0 || cluster >= s->set.n_bits)
        return ret;
    qcbmi_holes_init(&holes, &s->img->io);
    ret = qcbmi_stored_counts_init(&counts, s->img, &holes, err);
    while (ret == 0 && cluster < s->set.n_bits) {
        uint64_t end = qcbmi_bitset_next_clear(&s->set, cluster);

        for (; ret == 0 && cluster < end; cluster++)
            ret = look_at(s, &counts, cluster, damage, err);
        cluster = qcbmi_bitset_next_set(&s->set, end);
    }
    qcbmi_stored_counts_free(&counts);
    qcbmi_holes_free(&holes);
    return ret;
}
