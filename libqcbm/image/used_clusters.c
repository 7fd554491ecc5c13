/* used_clusters.c - which clusters of the file have a refcount, from one reading of all refcount blocks
 * SPDX-License-Identifier: MIT */
#include "image/used_clusters.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/sort.h"
#include "format/q2_refcount.h"
#include "image/l2_read.h"

struct reading {
    struct qcbmi_used_job *job;
    const struct q2_geometry *g;
    uint64_t max;   /* blocks that a piece has at most */
    uint64_t words; /* of one block */
};

/* Of the blocks of a piece: for each its index in the refcount table, and then, from word @max on, a bit for each
 * cluster. */
struct part {
    uint64_t n;
    uint64_t data[];
};

static int look_at_block(void *opaque, void *result, const struct qcbmi_l2_ref *ref, const uint8_t *block,
                         struct qcbm_error *err)
{
    const struct reading *r = opaque;
    struct part *to = result;

    (void)err;
    if (!block)
        return 0;
    q2_refcount_used(block, r->g->refblock_entries, r->g->refcount_order, to->data + r->max + to->n * r->words);
    to->data[to->n++] = ref->l1_index;
    return 0;
}

/* Is a bit set from bit @first on? */
static bool any_from(const uint64_t *words, uint64_t n_words, uint64_t first)
{
    uint64_t any = first % 64 ? words[first / 64] >> first % 64 : 0;

    for (uint64_t i = div_up(first, 64); i < n_words; i++)
        any |= words[i];
    return any != 0;
}

static int merge_part(void *opaque, void *result, struct qcbm_error *err)
{
    struct reading *r = opaque;
    struct part *from = result;
    int ret = 0;

    for (uint64_t i = 0; ret == 0 && i < from->n; i++) {
        const uint64_t *bits = from->data + r->max + i * r->words;
        uint64_t base = from->data[i] * r->g->refblock_entries, left = r->job->set->n_bits - base;

        if (left < r->g->refblock_entries)
            r->job->beyond |= any_from(bits, r->words, left);
        ret = qcbmi_bitset_or_words(r->job->set, base, bits, r->g->refblock_entries, err);
    }
    from->n = 0;
    return ret;
}

/* Those that are wanted into @refs, in the order of the file. */
static int list_blocks(struct qcbmi_used_job *job, struct qcbmi_l2_ref *refs, size_t *n, struct qcbm_error *err)
{
    uint64_t wanted = u64_min(job->n_table, div_up(job->set->n_bits, job->img->g.refblock_entries));

    *n = 0;
    for (uint64_t i = 0; i < wanted; i++)
        if (job->table[i])
            refs[(*n)++] = (struct qcbmi_l2_ref){ job->table[i], i };
    for (uint64_t i = wanted; i < job->n_table; i++)
        job->beyond |= job->table[i] != 0;
    qcbmi_sort(refs, *n, sizeof(*refs), qcbmi_by_two_u64);
    for (size_t i = 0; i + 1 < *n; i++)
        if (refs[i].offset == refs[i + 1].offset)
            return qcbmi_fail(err, QCBM_E_UNSAFE, job->img->h.reftable_offset + 8 * refs[i + 1].l1_index,
                              "refcount table entries %" PRIu64 " and %" PRIu64 " name the same block",
                              refs[i].l1_index, refs[i + 1].l1_index);
    return 0;
}

int qcbmi_used_read(struct qcbmi_used_job *job, struct qcbm_error *err)
{
    const struct q2_geometry *g = &job->img->g;
    struct reading r = { .job = job, .g = g, .words = g->refblock_entries / 64 };
    struct qcbmi_l2_job read = { .stride = sizeof(struct qcbmi_l2_ref), .what = job->what, .opaque = &r };
    struct qcbmi_l2_ref *refs =
        qcbmi_alloc_array(u64_min(job->n_table, div_up(job->set->n_bits, g->refblock_entries)), sizeof(*refs), err);
    int ret;

    job->beyond = false;
    if (!refs)
        return QCBM_E_NOMEM;
    r.max = u64_max(QCBMI_L2_PIECE >> g->cluster_bits, 1);
    read.refs = refs;
    read.result_size = sizeof(struct part) + r.max * (r.words + 1) * sizeof(uint64_t);
    read.look = look_at_block;
    read.merge = merge_part;
    ret = list_blocks(job, refs, &read.n, err);
    if (ret == 0)
        ret = qcbmi_l2_read(job->img, &read, err);
    free(refs);
    return ret;
}
