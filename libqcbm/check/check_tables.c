/* check_tables.c - the L1 and L2 tables of all states: counted in file order, told in the order of qemu-img
 * SPDX-License-Identifier: MIT
 *
 * Counting sweeps over the bytes that L1 tables cover: bytes that belong to several tables are read once, with the number
 * of tables as their weight. The L2 tables found are sorted, and read once each, with the number of entries that name
 * them. So the cost is that of the file, whatever refers to what. */
#include <inttypes.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "check/check.h"

#define L1_PIECE (UINT64_C(64) << 10)
#define BATCH ((size_t)1 << 20) /* L2 tables sorted at once */

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

int qcbmi_check_by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static int by_offset(const void *a, const void *b)
{
    return qcbmi_check_by_value(&((const struct l2_ref *)a)->table.offset, &((const struct l2_ref *)b)->table.offset);
}

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
    qsort(refs, n, sizeof(*refs), by_offset);
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

static int refer_to_l2(struct check *c, const struct l2_ref *ref)
{
    uint64_t cluster = ref->table.offset >> c->g->cluster_bits;
    uint64_t exclusive = in_set(&c->l2_seen, cluster) ? 0 : 1;
    struct check_place at = { ref->table.offset, "L1 table", UINT64_MAX, UINT32_MAX };
    struct check_owner owner = { OWNER_L2, NULL, 0, 0 };
    int ret;

    exclusive += ref->active > 1 ? ref->active - 1 : 0;
    ret = put_in_set(&c->l2_seen, cluster, c->err);
    return ret < 0
               ? ret
               : qcbmi_check_reference(c, ref->table.offset, c->g->cluster_size, ref->weight, exclusive, &owner, &at);
}

static int count_l2(struct check *c, const struct l2_ref *ref, const uint8_t *bytes)
{
    struct check_table t = { .offset = ref->table.offset, .weight = ref->weight, .active = ref->active };
    struct check_look look;
    bool noise = c->noise;
    int ret;

    t.guest = ref->table.l1_index * c->g->l2_span;
    t.has_guest = ref->active == 1;
    c->noise = false;
    ret = qcbmi_check_count_table(c, &t, bytes);
    if (ret == 0 && c->noise)
        ret = put_in_set(&c->l2_noisy, ref->table.offset >> c->g->cluster_bits, c->err);
    if (ret == 0 && c->noise && t.has_guest && !c->again && qcbmi_check_l2_overwritten(c, bytes, &look))
        ret = qcbmi_check_note_blank(c, ref->table.l1_index);
    c->noise |= noise;
    return ret;
}

/* A table of the active state that is all zeros: it may be what is left of one. */
static int note_blank(struct check *c, const struct l2_ref *ref, const uint8_t *bytes)
{
    if (ref->active != 1 || c->again || (bytes && !bytes_are_zero(bytes, c->g->cluster_size)))
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

/* What is wrong with an L1 entry alone; the past-end problem belongs to the reference. */
static int check_l1_entry(struct check *c, uint64_t raw, uint64_t at_off, uint64_t index, uint64_t weight, bool before)
{
    struct check_place at = { at_off, "L1 table", index, UINT32_MAX };
    struct q2_l1_entry e;

    q2_l1_entry_parse(raw, c->g, &e);
    if (before && e.reserved)
        return qcbmi_check_problem(c, P_L1_RESERVED, weight, &at,
                                   "ERROR found L1 entry with reserved bits set: %" PRIx64, raw);
    if (!before && e.unaligned)
        return qcbmi_check_problem(c, P_L1_UNALIGNED, weight, &at,
                                   "ERROR l2_offset=%" PRIx64 ": Table is not cluster aligned; L1 entry corrupted",
                                   e.l2_offset);
    return 0;
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
    int ret = check_l1_entry(s->c, raw, off, index, depth, true);

    if (ret == 0)
        ret = check_l1_entry(s->c, raw, off, index, depth, false);
    if (ret == 0 && s->n_refs == BATCH)
        ret = count_batch(s);
    if (ret == 0)
        ret = qcbmi_grow_array(&s->refs, &s->capacity, s->n_refs, sizeof(*s->refs), s->c->err);
    if (ret < 0)
        return ret;
    s->refs[s->n_refs++] = (struct l2_ref){ { raw & Q2_ENTRY_OFFSET_MASK, active ? index : 0 }, depth, active };
    if (active && !s->c->again)
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
    return qcbmi_check_reference(s->c, start, end - start - s->c->g->cluster_size + 1, depth, depth, NULL,
                                 &CHECK_NOWHERE);
}

/* Call @fn for each range in which the number of tables is the same and not zero. */
static int sweep_over(struct sweep *s, int (*fn)(struct sweep *, uint64_t, uint64_t, uint64_t))
{
    size_t begun = 0, over = 0;
    uint64_t at = 0;
    int ret = 0;

    if (s->n == 0)
        return 0;
    qsort(s->starts, s->n, sizeof(s->starts[0]), qcbmi_check_by_value);
    qsort(s->ends, s->n, sizeof(s->ends[0]), qcbmi_check_by_value);
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
    struct check_owner owner = { OWNER_META, "", 0, 0 }; /* its name is told in the walk that tells */

    *past = entries && (int64_t)(off + 8 * entries - c->file_len) >= (int64_t)c->g->cluster_size;
    return *past ? qcbmi_check_reference(c, off, 8 * entries, 1, 1, NULL, &CHECK_NOWHERE)
                 : qcbmi_check_cut(c, off, 8 * entries, &owner, &CHECK_NOWHERE);
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

int qcbmi_check_count_tables(struct check *c)
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

/* ---- in QEMU's order ----------------------------------------------------------------------------------- */

/* Entries of an overwritten table are told if they make sense, and counted as before. */
static int tell_entry(struct check *c, struct check_table *t, uint32_t i, const uint8_t *bytes, bool overwritten)
{
    bool before = c->only_overflow;
    int ret;

    c->only_overflow |= overwritten && qcbmi_check_is_bad_l2_entry(c, bytes);
    ret = qcbmi_check_entry(c, t, i, bytes);
    c->only_overflow = before;
    return ret;
}

static int tell_l2(struct check *c, struct check_table *t, uint8_t *buf)
{
    bool zeros, overwritten = false;
    struct check_look look;
    int ret;

    if (!qcbmi_check_afford(c, c->g->cluster_size))
        return 0;
    ret = qcbmi_check_read(c, t->offset, buf, c->g->cluster_size, &zeros);
    if (ret == 0 && !zeros && !c->search)
        overwritten = qcbmi_check_l2_overwritten(c, buf, &look);
    if (overwritten)
        ret = qcbmi_check_tell_l2_overwritten(c, t, &look);
    for (uint32_t i = 0; ret == 0 && !zeros && i < c->g->l2_entries; i++)
        ret = tell_entry(c, t, i, buf + (size_t)i * c->g->l2_entry_size, overwritten);
    return ret < 0 || zeros || c->search || overwritten ? ret : qcbmi_check_shared_data(c, t, buf);
}

static int tell_l1_word(struct check *c, uint64_t raw, uint64_t off, uint64_t index, uint32_t state, uint8_t *buf)
{
    struct check_table t = { .offset = raw & Q2_ENTRY_OFFSET_MASK, .weight = 1, .active = state == 0 };
    struct check_owner owner = { OWNER_L2, NULL, state, index };
    struct check_place at = { off, "L1 table", index, UINT32_MAX };
    int ret = check_l1_entry(c, raw, off, index, 1, true);

    t.guest = index * c->g->l2_span;
    t.state = state;
    t.has_guest = true;
    if (ret == 0)
        ret = qcbmi_check_reference(c, t.offset, c->g->cluster_size, 1, 1, &owner, &at);
    if (ret == 0)
        ret = check_l1_entry(c, raw, off, index, 1, false);
    if (ret == 0 && (c->search || c->overflow || in_set(&c->l2_noisy, t.offset >> c->g->cluster_bits)))
        ret = tell_l2(c, &t, buf);
    return ret;
}

struct l1_walk {
    struct check *c;
    uint64_t off; /* of the table */
    uint32_t state;
    uint8_t *buf; /* a cluster */
    struct check_look look;
    bool overwritten;
};

typedef int l1_word_fn(struct l1_walk *w, uint64_t raw, uint64_t at);

/* Call @fn for each entry that is not 0. */
static int walk_l1(struct l1_walk *w, uint64_t entries, bool from_budget, l1_word_fn *fn)
{
    struct check *c = w->c;
    uint64_t inside = w->off < c->img->io.size ? align_up(c->img->io.size - w->off, 8) : 0;
    uint64_t end = w->off + u64_min(8 * entries, inside);
    int ret = 0;

    for (uint64_t piece = w->off; ret == 0 && piece < end; piece += L1_PIECE) {
        uint64_t len = u64_min(L1_PIECE, end - piece);
        uint8_t bytes[L1_PIECE];
        bool zeros;

        if (from_budget && !qcbmi_check_afford(c, len))
            break;
        ret = qcbmi_check_read(c, piece, bytes, len, &zeros);
        for (uint64_t i = 0; ret == 0 && !zeros && i < len; i += 8)
            if (be64_load(bytes + i))
                ret = fn(w, be64_load(bytes + i), piece + i);
    }
    return ret;
}

static int look_at_l1_word(struct l1_walk *w, uint64_t raw, uint64_t at)
{
    (void)at;
    qcbmi_check_look_at(&w->look, raw, qcbmi_check_is_bad_l1_entry(w->c, raw));
    return 0;
}

static int tell_word(struct l1_walk *w, uint64_t raw, uint64_t at)
{
    bool before = w->c->only_overflow;
    int ret;

    w->c->only_overflow |= w->overwritten && qcbmi_check_is_bad_l1_entry(w->c, raw);
    ret = tell_l1_word(w->c, raw, at, (at - w->off) / 8, w->state, w->buf);
    w->c->only_overflow = before;
    return ret;
}

int qcbmi_check_tell_l1(struct check *c, uint64_t off, uint64_t entries, uint32_t state)
{
    struct check_owner owner = { OWNER_META, state ? "the L1 table of snapshot" : "the active L1 table", 0,
                                 state ? state - 1 : UINT64_MAX };
    struct check_place at = { off, "L1 table", UINT64_MAX, UINT32_MAX };
    struct l1_walk w = { .c = c, .off = off, .state = state };
    int ret;

    w.buf = qcbmi_alloc_array(c->g->cluster_size, 1, c->err);
    ret = w.buf ? qcbmi_check_reference(c, off, 8 * entries, 1, 1, &owner, &at) : QCBM_E_NOMEM;
    if (ret == 0 && !c->search)
        ret = walk_l1(&w, entries, true, look_at_l1_word);
    w.overwritten = qcbmi_check_is_overwritten(&w.look);
    if (ret == 0 && w.overwritten)
        ret = qcbmi_check_tell_l1_overwritten(c, off, state, &w.look);
    if (ret == 0)
        ret = walk_l1(&w, entries, true, tell_word);
    free(w.buf);
    return ret;
}

/* ---- COPIED flags, against the refcounts as stored ------------------------------------------------------- */

static int tell_copied_entry(struct check *c, uint64_t l2_off, uint32_t i, const uint8_t *bytes)
{
    uint64_t raw = be64_load(bytes), value = 1;
    struct check_place at = { l2_off + (uint64_t)i * c->g->l2_entry_size, "L2 table", i, UINT32_MAX };
    struct q2_l2_entry e;

    q2_l2_entry_parse(raw, 0, 0, c->g, &e);
    if (e.kind != Q2_NORMAL && e.kind != Q2_ZERO_ALLOC)
        return 0;
    if (!c->g->data_file && !qcbmi_check_stored(c, (raw & Q2_ENTRY_OFFSET_MASK) >> c->g->cluster_bits, &value))
        return 0;
    if ((value == 1) == e.copied)
        return 0;
    return qcbmi_check_problem(c, P_COPIED_L2, 1, &at,
                               "ERROR OFLAG_COPIED data cluster: l2_entry=%" PRIx64 " refcount=%" PRIu64, raw, value);
}

/* Counted, but not told, where the table says that it was overwritten. */
static int tell_copied_l2(struct check *c, uint64_t l2_off, const uint8_t *bytes)
{
    struct check_look look;
    bool overwritten = qcbmi_check_l2_overwritten(c, bytes, &look);
    int ret = 0;

    for (uint32_t i = 0; ret == 0 && i < c->g->l2_entries; i++) {
        const uint8_t *at = bytes + (size_t)i * c->g->l2_entry_size;

        c->tell = !overwritten || !qcbmi_check_is_bad_l2_entry(c, at);
        ret = tell_copied_entry(c, l2_off, i, at);
    }
    c->tell = true;
    return ret;
}

static int tell_copied_word(struct l1_walk *w, uint64_t raw, uint64_t at)
{
    uint64_t l2_off = raw & Q2_ENTRY_OFFSET_MASK, index = (at - w->off) / 8, value;
    struct check_place place = { at, "L1 table", index, UINT32_MAX };
    struct check *c = w->c;
    bool zeros;
    int ret = 0;

    if (!l2_off || !qcbmi_check_stored(c, l2_off >> c->g->cluster_bits, &value))
        return 0;
    c->tell = !w->overwritten || !qcbmi_check_is_bad_l1_entry(c, raw);
    if ((value == 1) != !!(raw & Q2_ENTRY_COPIED))
        ret = qcbmi_check_problem(c, P_COPIED_L1, 1, &place,
                                  "ERROR OFLAG_COPIED L2 cluster: l1_index=%" PRIu64 " l1_entry=%" PRIx64
                                  " refcount=%" PRIu64,
                                  index, raw, value);
    c->tell = true;
    if (ret < 0 || !in_set(&c->l2_copied, l2_off >> c->g->cluster_bits) || !qcbmi_check_afford(c, c->g->cluster_size))
        return ret;
    ret = qcbmi_check_read(c, l2_off, w->buf, c->g->cluster_size, &zeros);
    return ret < 0 || zeros ? ret : tell_copied_l2(c, l2_off, w->buf);
}

int qcbmi_check_tell_copied(struct check *c)
{
    struct l1_walk w = { .c = c, .off = c->img->h.l1_offset };
    int ret;

    w.buf = qcbmi_alloc_array(c->g->cluster_size, 1, c->err);
    ret = w.buf ? walk_l1(&w, c->img->h.l1_entries, false, look_at_l1_word) : QCBM_E_NOMEM;
    w.overwritten = qcbmi_check_is_overwritten(&w.look);
    if (ret == 0)
        ret = walk_l1(&w, c->img->h.l1_entries, false, tell_copied_word);
    free(w.buf);
    return ret;
}
