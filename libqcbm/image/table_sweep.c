/* table_sweep.c - the mapping tables of all states in the order of the file, each once, with the number of references
 * SPDX-License-Identifier: MIT */
#include "image/table_sweep.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/sort.h"
#include "format/q2_l1l2.h"

#define L1_PIECE (UINT64_C(64) << 10)
#define BATCH ((size_t)1 << 20) /* L2 tables sorted at once */

struct job {
    const struct qcbmi_sweep *s;
    struct q2_l2_scan scan;
    struct qcbmi_l1_table *l1; /* the active one first */
    size_t n_l1;
    uint64_t *starts, *ends; /* of the L1 tables, sorted on their own */
    size_t n;
    uint8_t *words; /* L1_PIECE bytes of them */
    struct qcbmi_swept_l2 *refs;
    size_t n_refs, capacity;
    struct qcbm_error *err;
};

/* Weights of equal offsets added up. */
static size_t merge(struct qcbmi_swept_l2 *refs, size_t n)
{
    size_t kept = 0;

    if (n == 0)
        return 0;
    qcbmi_sort(refs, n, sizeof(*refs), qcbmi_by_u64);
    for (size_t i = 1; i < n; i++) {
        if (refs[i].table.offset == refs[kept].table.offset) {
            refs[kept].weight += refs[i].weight;
            refs[kept].active += refs[i].active;
            /* 0 of those that are not active */
            refs[kept].table.l1_index = u64_max(refs[kept].table.l1_index, refs[i].table.l1_index);
        } else {
            refs[++kept] = refs[i];
        }
    }
    return kept + 1;
}

/* On any thread. */
static int look(void *opaque, void *result, const struct qcbmi_l2_ref *table, const uint8_t *bytes,
                struct qcbm_error *err)
{
    const struct job *j = opaque;

    return qcbmi_l2_notes_add(result, &j->scan, &j->s->img->g, table, bytes, err);
}

static int give_content(void *opaque, const struct qcbmi_l2_ref *table, const struct qcbmi_l2_content *content)
{
    const struct qcbmi_sweep *s = ((struct job *)opaque)->s;

    return s->l2_content(s->opaque, (const struct qcbmi_swept_l2 *)(const void *)table, content);
}

static int give_notes(void *opaque, void *result, struct qcbm_error *err)
{
    struct job *j = opaque;

    (void)err;
    return qcbmi_l2_notes_give(result, &j->s->img->g, give_content, j);
}

static void drop(void *result)
{
    qcbmi_l2_notes_free(result);
}

static size_t drop_dear(const struct qcbmi_sweep *s, struct qcbmi_swept_l2 *refs, size_t n)
{
    uint64_t cs = s->img->g.cluster_size;
    size_t kept = 0;

    for (size_t i = 0; i < n; i++)
        if (is_aligned(refs[i].table.offset, cs) || s->afford(s->opaque, cs))
            refs[kept++] = refs[i];
    return kept;
}

static int give_batch(struct job *j)
{
    const struct qcbmi_sweep *s = j->s;
    struct qcbmi_l2_job read = { .refs = j->refs, .stride = sizeof(j->refs[0]), .what = s->what, .opaque = j };
    size_t n = merge(j->refs, j->n_refs);
    int ret = 0;

    j->n_refs = 0;
    for (size_t i = 0; ret == 0 && i < n; i++)
        ret = s->l2_table(s->opaque, &j->refs[i]);
    if (ret < 0)
        return ret;
    read.n = drop_dear(s, j->refs, n);
    read.result_size = sizeof(struct qcbmi_l2_notes);
    read.progress = s->progress;
    read.look = look;
    read.merge = give_notes;
    read.drop = drop;
    return qcbmi_l2_read(s->img, &read, j->err);
}

static int give_l1_word(struct job *j, uint64_t raw, uint64_t off, uint64_t depth)
{
    const struct qcbmi_sweep *s = j->s;
    bool active = off >= j->l1[0].offset && off < j->l1[0].offset + 8 * j->l1[0].entries;
    uint64_t index = active ? (off - j->l1[0].offset) / 8 : UINT64_MAX;
    int ret = s->l1_entry ? s->l1_entry(s->opaque, raw, off, index, depth) : 0;

    if (ret == 0 && j->n_refs == BATCH)
        ret = give_batch(j);
    if (ret == 0)
        ret = qcbmi_grow_array(&j->refs, &j->capacity, j->n_refs, sizeof(*j->refs), j->err);
    if (ret == 0)
        j->refs[j->n_refs++] =
            (struct qcbmi_swept_l2){ { raw & Q2_ENTRY_OFFSET_MASK, active ? index : 0 }, depth, active };
    return ret;
}

/* What lies past the end of the file is zeros. */
static int give_l1_words(struct job *j, uint64_t start, uint64_t end, uint64_t depth)
{
    int ret = 0;

    end = u64_min(end, align_up(j->s->img->io.size, 8));
    for (uint64_t len; ret == 0 && start < end; start += len) {
        bool zeros;

        len = u64_min(L1_PIECE, end - start);
        ret = qcbmi_holes_read(j->s->holes, start, j->words, len, &zeros, j->s->what, j->err);
        for (uint64_t i = 0; ret == 0 && !zeros && i < len; i += 8)
            if (be64_load(j->words + i))
                ret = give_l1_word(j, be64_load(j->words + i), start + i, depth);
    }
    return ret;
}

/* @end is rounded up to a cluster. */
static int give_l1_clusters(struct job *j, uint64_t start, uint64_t end, uint64_t depth)
{
    return j->s->l1_clusters(j->s->opaque, start, end, depth);
}

/* Call @fn for each range in which the number of tables is the same and not zero. */
static int sweep_over(struct job *j, int (*fn)(struct job *, uint64_t, uint64_t, uint64_t))
{
    size_t begun = 0, over = 0;
    uint64_t at = 0;
    int ret = 0;

    if (j->n == 0)
        return 0;
    qcbmi_sort(j->starts, j->n, sizeof(j->starts[0]), qcbmi_by_u64);
    qcbmi_sort(j->ends, j->n, sizeof(j->ends[0]), qcbmi_by_u64);
    while (ret == 0 && over < j->n) {
        uint64_t next = begun < j->n ? u64_min(j->starts[begun], j->ends[over]) : j->ends[over];

        if (begun > over && next > at)
            ret = fn(j, at, next, begun - over);
        at = next;
        while (begun < j->n && j->starts[begun] == at)
            begun++;
        while (over < begun && j->ends[over] == at)
            over++;
    }
    return ret;
}

static void add_range(struct job *j, const struct qcbmi_l1_table *l1, bool whole_clusters)
{
    uint64_t end = l1->offset + 8 * l1->entries;

    if (l1->entries == 0)
        return;
    j->starts[j->n] = l1->offset;
    j->ends[j->n++] = whole_clusters ? align_up(end, j->s->img->g.cluster_size) : end;
}

static int sweep_clusters(struct job *j)
{
    int ret = 0;

    for (size_t i = 0; ret >= 0 && i < j->n_l1; i++) {
        ret = j->s->l1_table(j->s->opaque, &j->l1[i]);
        if (ret == 0)
            add_range(j, &j->l1[i], true);
    }
    return ret < 0 ? ret : sweep_over(j, give_l1_clusters);
}

static int sweep_words(struct job *j)
{
    int ret;

    j->n = 0;
    for (size_t i = 0; i < j->n_l1; i++)
        add_range(j, &j->l1[i], false);
    ret = sweep_over(j, give_l1_words);
    return ret < 0 ? ret : give_batch(j);
}

static int list_tables(struct job *j)
{
    const struct qcbmi_loose_snapshots *snapshots = j->s->snapshots;
    uint64_t most = (uint64_t)snapshots->n + 1;

    j->l1 = qcbmi_alloc_array(most, sizeof(j->l1[0]), j->err);
    j->starts = qcbmi_alloc_array(most, sizeof(j->starts[0]), j->err);
    j->ends = qcbmi_alloc_array(most, sizeof(j->ends[0]), j->err);
    if (!j->l1 || !j->starts || !j->ends)
        return QCBM_E_NOMEM;
    j->l1[j->n_l1++] = qcbmi_active_l1(j->s->img);
    for (uint32_t i = 0; i < snapshots->n; i++)
        if (qcbmi_snapshot_l1_is_sound(j->s->img, &snapshots->list[i]))
            j->l1[j->n_l1++] = qcbmi_snapshot_l1(j->s->img, snapshots->bytes, &snapshots->list[i]);
    return 0;
}

int qcbmi_table_sweep(const struct qcbmi_sweep *sweep, struct qcbm_error *err)
{
    struct job j = { .s = sweep, .err = err };
    int ret = list_tables(&j);

    q2_l2_scan_init(&j.scan, &sweep->img->g, qcbmi_image_end(sweep->img));
    j.words = qcbmi_alloc_array(L1_PIECE, 1, err);
    if (ret == 0)
        ret = j.words ? sweep_clusters(&j) : QCBM_E_NOMEM;
    if (ret == 0)
        ret = sweep_words(&j);
    free(j.l1);
    free(j.starts);
    free(j.ends);
    free(j.words);
    free(j.refs);
    return ret;
}
