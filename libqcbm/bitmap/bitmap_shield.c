/* bitmap_shield.c - the plan of an edit that mends: what it must not take, and what it gives up
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "bitmap/bitmap_mend.h"

void qcbmi_mend_free(struct qcbmi_mend *mend)
{
    if (!mend)
        return;
    qcbmi_judge_free(&mend->judge);
    qcbmi_handle_clear(&mend->view);
    free(mend);
}

int qcbmi_mend_check_writable(const struct qcbmi_image *img, struct qcbm_error *err)
{
    return img->g.version < 3 ? qcbmi_image_check_writable(img, err) : 0;
}

int qcbmi_mend_shield(const struct qcbmi_mend *mend, struct qcbmi_alloc *alloc, struct qcbm_error *err)
{
    const struct qcbmi_bitset *named = &mend->judge.named;
    uint64_t end;
    int ret = 0;

    for (uint64_t c = 0; ret == 0 && (c = qcbmi_bitset_next_set(named, c)) < named->n_bits; c = end) {
        end = qcbmi_bitset_next_clear(named, c);
        ret = qcbmi_bitset_set(&alloc->busy, c, end, err);
    }
    return ret;
}

/* What only bitmaps named, and the new ones do not. What is somebody else's, too, or was named by a table that makes no
 * sense, stays as it is: better a leak than a hole. */
int qcbmi_mend_release(const struct qcbmi_mend *mend, const struct qcbmi_owners *owners, struct qcbmi_alloc *alloc,
                       struct qcbmi_plan *plan, struct qcbm_error *err)
{
    const struct qcbmi_judge *j = &mend->judge;
    unsigned cb = alloc->img->g.cluster_bits;
    int ret = 0;

    for (uint64_t c = 0; ret == 0 && (c = qcbmi_bitset_next_set(&j->named, c)) < j->named.n_bits; c++)
        if (!qcbmi_bitset_get(&j->twice, c) && !qcbmi_bitset_get(&owners->meta, c))
            ret = qcbmi_alloc_release(alloc, plan, c << cb, alloc->img->g.cluster_size, err);
    return ret;
}
