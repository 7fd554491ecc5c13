/* check_sweep.c - the tables of all states in the order of the file, each once, with the number of references as weight
 * SPDX-License-Identifier: MIT
 *
 * It goes over the bytes that L1 tables cover: bytes that belong to several tables are read once, with the number of tables
 * as their weight. The L2 tables found are sorted, and read once each, with the number of entries that name them. So the
 * cost is that of the file, whatever refers to what. */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/sort.h"
#include "check/check.h"

#define L1_PIECE (UINT64_C(4) << 10) /* on the stack */
#define BATCH ((size_t)1 << 20)      /* L2 tables sorted at once */

struct l2_ref {
    struct qcbmi_l2_ref table; /* its index is that of an active L1 entry, if there is one */
    uint64_t weight, active;   /* entries that name it, in all and of the active state */
};

struct sweep {
    struct check *c;
    uint64_t *starts, *ends; /* of the L1 tables, sorted on their own */
    size_t n;
    uint64_t active_start, active_end;
    struct l2_ref *refs;
    size_t n_refs, capacity;
};

static bool in_set(const struct qcbmi_bitset *set, uint64_t bit)
{
    return bit < set->n_bits && qcbmi_bitset_get(set, bit);
}

static int put_in_set(struct qcbmi_bitset *set, uint64_t bit, struct qcbm_error *err)
{
    return bit < set->n_bits ? qcbmi_bitset_set(set, bit, bit + 1, err) : 0;
}

/* Weights of equal offsets added up. */
static size_t merge(struct l2_ref *refs, size_t n)
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

static int refer_to_l2(struct check *c, const struct l2_ref *l2)
{
    uint64_t cluster = l2->table.offset >> c->g->cluster_bits;
    struct qcbmi_ref ref = { .owner = { QCBMI_REF_L2, 0, 0 }, .offset = l2->table.offset, .len = c->g->cluster_size };
    int ret;

    ref.weight = l2->weight;
    ref.exclusive = (in_set(&c->l2_seen, cluster) ? 0 : 1) + (l2->active > 1 ? l2->active - 1 : 0);
    ref.at = (struct qcbmi_place){ l2->table.offset, "L1 table", UINT64_MAX, UINT32_MAX };
    ret = put_in_set(&c->l2_seen, cluster, c->err);
    return ret < 0 ? ret : qcbmi_check_reference(c, &ref);
}

static int count_l2(struct check *c, const struct l2_ref *ref, const uint8_t *bytes)
{
    struct check_table t = { .offset = ref->table.offset, .weight = ref->weight, .active = ref->active };
    uint64_t before = c->n_met;
    struct check_look look;
    int ret;

    t.guest = ref->table.l1_index * c->g->l2_span;
    t.has_guest = ref->active == 1;
    ret = qcbmi_check_entries(c, &t, bytes);
    if (ret < 0 || c->n_met == before)
        return ret;
    ret = put_in_set(&c->l2_noisy, ref->table.offset >> c->g->cluster_bits, c->err);
    if (ret == 0 && t.has_guest && check_is_first(c) && qcbmi_check_l2_overwritten(c, bytes, &look))
        ret = qcbmi_check_note_blank(c, ref->table.l1_index);
    return ret;
}

/* A table of the active state that is all zeros: it may be what is left of one. */
static int note_blank(struct check *c, const struct l2_ref *ref, const uint8_t *bytes)
{
    if (ref->active != 1 || !check_is_first(c) || (bytes && !bytes_are_zero(bytes, c->g->cluster_size)))
        return 0;
    return qcbmi_check_note_blank(c, ref->table.l1_index);
}

static int look_at_table(void *opaque, void *none, const struct qcbmi_l2_ref *table, const uint8_t *bytes,
                         struct qcbm_error *err)
{
    struct check *c = opaque;
    const struct l2_ref *ref = (const struct l2_ref *)(const void *)table;
    int ret = note_blank(c, ref, bytes);

    (void)none;
    (void)err;
    return ret == 0 && bytes ? count_l2(c, ref, bytes) : ret;
}

static bool afford(void *opaque, uint64_t bytes)
{
    return qcbmi_check_afford(opaque, bytes);
}

static int count_batch(struct sweep *s)
{
    struct check *c = s->c;
    struct qcbmi_l2_job job = { .refs = s->refs, .n = merge(s->refs, s->n_refs), .stride = sizeof(s->refs[0]) };
    int ret = 0;

    s->n_refs = 0;
    for (size_t i = 0; ret == 0 && i < job.n; i++)
        ret = refer_to_l2(c, &s->refs[i]);
    job.what = "metadata";
    job.progress = &c->progress;
    job.opaque = c;
    job.afford = afford;
    job.look = look_at_table;
    return ret < 0 ? ret : qcbmi_l2_read(c->img, &job, c->err);
}

static void compare_l1_copied(struct check *c, uint64_t raw)
{
    uint64_t off = raw & Q2_ENTRY_OFFSET_MASK, value;

    if (off && !c->l1_copied && qcbmi_check_stored(c, off >> c->g->cluster_bits, &value))
        c->l1_copied = (value == 1) != !!(raw & Q2_ENTRY_COPIED);
}

static int count_l1_word(struct sweep *s, uint64_t raw, uint64_t off, uint64_t depth)
{
    bool active = off >= s->active_start && off < s->active_end;
    uint64_t index = active ? (off - s->active_start) / 8 : UINT64_MAX;
    struct qcbmi_place at = { off, "L1 table", index, UINT32_MAX };
    int ret = qcbmi_check_l1_reserved(s->c, raw, &at, depth);

    if (ret == 0)
        ret = qcbmi_check_l1_alignment(s->c, raw, &at, depth);
    if (ret == 0 && s->n_refs == BATCH)
        ret = count_batch(s);
    if (ret == 0)
        ret = qcbmi_grow_array(&s->refs, &s->capacity, s->n_refs, sizeof(*s->refs), s->c->err);
    if (ret < 0)
        return ret;
    s->refs[s->n_refs++] = (struct l2_ref){ { raw & Q2_ENTRY_OFFSET_MASK, active ? index : 0 }, depth, active };
    if (active && check_is_first(s->c))
        compare_l1_copied(s->c, raw);
    return 0;
}

static int count_l1_segment(struct sweep *s, uint64_t start, uint64_t end, uint64_t depth)
{
    int ret = 0;

    end = u64_min(end, align_up(s->c->img->io.size, 8)); /* zeros from there on */
    while (ret == 0 && start < end) {
        uint64_t len = u64_min(L1_PIECE, end - start);
        uint8_t bytes[L1_PIECE];
        bool zeros;

        ret = qcbmi_check_read(s->c, start, bytes, len, &zeros);
        for (uint64_t i = 0; ret == 0 && !zeros && i < len; i += 8) {
            uint64_t raw = be64_load(bytes + i);

            if (raw)
                ret = count_l1_word(s, raw, start + i, depth);
        }
        start += len;
    }
    return ret;
}

/* The clusters of L1 tables; @end is rounded up to a cluster. The last of them need only begin in the file. */
static int refer_to_l1(struct sweep *s, uint64_t start, uint64_t end, uint64_t depth)
{
    struct qcbmi_ref ref = { .owner = { QCBMI_REF_L1, 0, UINT64_MAX }, .offset = start, .weight = depth };

    ref.len = end - start - s->c->g->cluster_size + 1;
    ref.exclusive = depth;
    ref.at = CHECK_NOWHERE;
    return qcbmi_check_clusters(s->c, &ref);
}

/* Call @fn for each range in which the number of tables is the same and not zero. */
static int sweep_over(struct sweep *s, int (*fn)(struct sweep *, uint64_t, uint64_t, uint64_t))
{
    size_t begun = 0, over = 0;
    uint64_t at = 0;
    int ret = 0;

    if (s->n == 0)
        return 0;
    qcbmi_sort(s->starts, s->n, sizeof(s->starts[0]), qcbmi_by_u64);
    qcbmi_sort(s->ends, s->n, sizeof(s->ends[0]), qcbmi_by_u64);
    while (ret == 0 && over < s->n) {
        uint64_t next = begun < s->n ? u64_min(s->starts[begun], s->ends[over]) : s->ends[over];

        if (begun > over && next > at)
            ret = fn(s, at, next, begun - over);
        at = next;
        while (begun < s->n && s->starts[begun] == at)
            begun++;
        while (over < begun && s->ends[over] == at)
            over++;
    }
    return ret;
}

static void add_range(struct sweep *s, uint64_t off, uint64_t entries, bool whole_clusters)
{
    uint64_t end = off + 8 * entries;

    if (entries == 0)
        return;
    s->starts[s->n] = off;
    s->ends[s->n++] = whole_clusters ? align_up(end, s->c->g->cluster_size) : end;
}

/* Does the table pass the end of the file? Then the problem is noted, and its clusters do not count. Does it by less than
 * a cluster, then QEMU is silent. */
static int l1_past_end(struct check *c, uint64_t off, uint64_t entries, bool *past)
{
    struct qcbmi_ref ref = { .owner = { QCBMI_REF_L1, 0, UINT64_MAX }, .offset = off, .len = 8 * entries, .weight = 1 };

    ref.exclusive = 1;
    ref.at = CHECK_NOWHERE; /* its place is told in the walk that tells */
    *past = entries && (int64_t)(off + 8 * entries - c->file_len) >= (int64_t)c->g->cluster_size;
    return *past ? qcbmi_check_clusters(c, &ref) : qcbmi_check_cut(c, &ref);
}

static int list_tables(struct sweep *s, bool whole_clusters)
{
    const struct check *c = s->c;
    bool past;
    int ret = 0;

    s->n = 0;
    ret = whole_clusters ? l1_past_end(s->c, c->img->h.l1_offset, c->img->h.l1_entries, &past) : 0;
    if (!whole_clusters || !past)
        add_range(s, c->img->h.l1_offset, c->img->h.l1_entries, whole_clusters);
    for (uint32_t i = 0; ret == 0 && i < c->n_snapshots; i++) {
        const struct check_snapshot *sn = &c->snapshots[i];

        if (!sn->sound)
            continue;
        ret = whole_clusters ? l1_past_end(s->c, sn->l1_offset, sn->l1_entries, &past) : 0;
        if (!whole_clusters || !past)
            add_range(s, sn->l1_offset, sn->l1_entries, whole_clusters);
    }
    return ret;
}

int qcbmi_check_sweep(struct check *c)
{
    uint64_t n = (uint64_t)c->n_snapshots + 1;
    struct sweep s = { .c = c, .active_start = c->img->h.l1_offset };
    int ret = 0;

    s.active_end = s.active_start + 8 * (uint64_t)c->img->h.l1_entries;
    s.starts = qcbmi_alloc_array(n, sizeof(s.starts[0]), c->err);
    s.ends = qcbmi_alloc_array(n, sizeof(s.ends[0]), c->err);
    if (!s.starts || !s.ends)
        ret = QCBM_E_NOMEM;
    if (ret == 0)
        ret = list_tables(&s, true);
    if (ret == 0)
        ret = sweep_over(&s, refer_to_l1);
    if (ret == 0)
        ret = list_tables(&s, false);
    if (ret == 0)
        ret = sweep_over(&s, count_l1_segment);
    if (ret == 0)
        ret = count_batch(&s);
    free(s.starts);
    free(s.ends);
    free(s.refs);
    return ret;
}
