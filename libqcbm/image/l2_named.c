/* l2_named.c - the clusters that L2 tables name, found in a reading that is for something else as well
 * SPDX-License-Identifier: MIT */
#include "image/l2_named.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "format/q2_l2_runs.h"
#include "image/tables.h"

/* ---- of a few tables ---- */

int qcbmi_l2_found_add(struct qcbmi_l2_runs_found *to, uint64_t first, uint64_t end, struct qcbm_error *err)
{
    if (to->n && to->list[to->n - 1].end == first) {
        to->list[to->n - 1].end = end;
        return 0;
    }
    if (to->n == to->capacity && qcbmi_grow_array(&to->list, &to->capacity, to->n, sizeof(to->list[0]), err) < 0)
        return QCBM_E_NOMEM;
    to->list[to->n++] = (struct qcbmi_cluster_run){ first, end };
    return 0;
}

/* An entry that must be parsed: compressed, or zeros, or wrong in some way. */
static int add_odd(struct qcbmi_l2_runs_found *to, const struct qcbmi_image *img, uint64_t raw, uint64_t word,
                   struct qcbm_error *err)
{
    unsigned cb = img->g.cluster_bits;
    struct q2_l2_entry e;

    q2_l2_entry_parse(raw, word, 0, &img->g, &e);
    if (e.defects || ((raw & Q2_L2_COMPRESSED) && word))
        to->unsure = true;
    if (to->unsure || e.host_len == 0)
        return 0;
    if (!qcbmi_l2_entry_in_file(img, &e)) {
        to->unsure = true;
        return 0;
    }
    return qcbmi_l2_found_add(to, e.host_offset >> cb, ((e.host_offset + e.host_len - 1) >> cb) + 1, err);
}

static int add_run(struct qcbmi_l2_runs_found *to, const struct qcbmi_image *img, const uint8_t *table,
                   const struct q2_l2_run *run, struct qcbm_error *err)
{
    const struct q2_geometry *g = &img->g;
    uint64_t first = (run->raw & Q2_ENTRY_OFFSET_MASK) >> g->cluster_bits;

    if (!run->odd)
        return qcbmi_l2_found_add(to, first, first + run->n, err);
    return add_odd(to, img, run->raw, g->extended_l2 ? be64_load(table + 16 * (size_t)run->index + 8) : 0, err);
}

int qcbmi_l2_found_in(struct qcbmi_l2_runs_found *to, const struct qcbmi_image *img, const struct q2_l2_scan *scan,
                      const uint8_t *table, struct qcbm_error *err)
{
    struct q2_l2_run list[Q2_L2_SCAN_MAX];
    struct q2_l2_runs runs;
    uint32_t n = 1;
    int ret = 0;

    q2_l2_runs_begin(&runs, scan, &img->g, table);
    while (ret == 0 && n && !to->unsure) {
        n = q2_l2_runs_next(&runs, list);
        for (uint32_t i = 0; ret == 0 && i < n; i++)
            ret = add_run(to, img, table, &list[i], err);
    }
    return ret;
}

int qcbmi_l2_found_give(struct qcbmi_l2_runs_found *from, struct qcbmi_bitset *set, struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < from->n; i++)
        ret = qcbmi_bitset_set(set, from->list[i].first, from->list[i].end, err);
    from->n = 0;
    return ret;
}

void qcbmi_l2_found_free(struct qcbmi_l2_runs_found *from)
{
    free(from->list);
    from->list = NULL;
}

/* ---- of an image ---- */

int qcbmi_l2_named_begin(struct qcbmi_l2_named *named, struct qcbmi_image *img, uint64_t *room, struct qcbm_error *err)
{
    uint64_t n = qcbmi_image_end(img) >> img->g.cluster_bits;
    int ret;

    *named = (struct qcbmi_l2_named){ 0 };
    if (img->g.data_file || img->h.n_snapshots || (img->open_flags & QCBM_OPEN_FORCE_SHARE) || n > *room)
        return 0;
    *room -= n;
    ret = qcbmi_bitset_init(&named->tables, n, err);
    if (ret == 0)
        ret = qcbmi_bitset_init(&named->data, n, err);
    named->known = ret == 0;
    return ret;
}

int qcbmi_l2_named_take(struct qcbmi_l2_named *named, struct qcbmi_l2_runs_found *from, struct qcbm_error *err)
{
    if (from->unsure)
        named->known = false;
    return qcbmi_l2_found_give(from, &named->data, err);
}

void qcbmi_l2_named_free(struct qcbmi_l2_named *named)
{
    qcbmi_bitset_free(&named->tables);
    qcbmi_bitset_free(&named->data);
    qcbmi_bitset_free(&named->used);
    named->known = named->counted = false;
}
