/* check_copied.c - COPIED flags of the active state against the refcounts as stored, in the order of QEMU
 * SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "check/check_parts.h"

static int tell_copied_entry(struct check *c, uint64_t l2_off, uint32_t i, const uint8_t *bytes)
{
    uint64_t raw = be64_load(bytes), value = 1;
    struct qcbmi_place at = { l2_off + (uint64_t)i * c->g->l2_entry_size, "L2 table", i, UINT32_MAX };
    struct q2_l2_entry e;

    q2_l2_entry_parse(raw, 0, 0, c->g, &e);
    if (e.kind != Q2_NORMAL && e.kind != Q2_ZERO_ALLOC)
        return 0;
    if (!c->g->data_file && !qcbmi_check_stored(c, (raw & Q2_ENTRY_OFFSET_MASK) >> c->g->cluster_bits, &value))
        return 0;
    if ((value == 1) == e.copied)
        return 0;
    return qcbmi_check_problem(c, QCBM_PROBLEM_COPIED_L2, 1, &at,
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

        c->voice.say = !overwritten || !qcbmi_check_is_bad_l2_entry(c, at);
        ret = tell_copied_entry(c, l2_off, i, at);
    }
    c->voice.say = true;
    return ret;
}

struct walk {
    struct check *c;
    uint8_t *buf; /* a cluster */
    struct check_look look;
    bool overwritten;
};

static int look_at_entry(void *opaque, uint64_t raw, uint64_t index)
{
    struct walk *w = opaque;

    (void)index;
    qcbmi_check_look_at(&w->look, raw, qcbmi_check_is_bad_l1_entry(w->c, raw));
    return 0;
}

static int tell_l1_entry(struct walk *w, uint64_t raw, uint64_t index, uint64_t value)
{
    struct check *c = w->c;
    struct qcbmi_place place = { c->img->h.l1_offset + 8 * index, "L1 table", index, UINT32_MAX };
    int ret = 0;

    c->voice.say = !w->overwritten || !qcbmi_check_is_bad_l1_entry(c, raw);
    if ((value == 1) != !!(raw & Q2_ENTRY_COPIED))
        ret = qcbmi_check_problem(c, QCBM_PROBLEM_COPIED_L1, 1, &place,
                                  "ERROR OFLAG_COPIED L2 cluster: l1_index=%" PRIu64 " l1_entry=%" PRIx64
                                  " refcount=%" PRIu64,
                                  index, raw, value);
    c->voice.say = true;
    return ret;
}

static int take_entry(void *opaque, uint64_t raw, uint64_t index)
{
    struct walk *w = opaque;
    struct check *c = w->c;
    uint64_t l2_off = raw & Q2_ENTRY_OFFSET_MASK, cluster = l2_off >> c->g->cluster_bits, value;
    struct check_table t = { .offset = l2_off, .guest = index * c->g->l2_span, .has_guest = true };
    bool zeros;
    int ret;

    if (!l2_off || !qcbmi_check_stored(c, cluster, &value))
        return 0;
    ret = tell_l1_entry(w, raw, index, value);
    if (ret < 0 || cluster >= c->l2_copied.n_bits || !qcbmi_bitset_get(&c->l2_copied, cluster) ||
        !qcbmi_check_afford(c, c->g->cluster_size))
        return ret;
    ret = qcbmi_check_read(c, l2_off, w->buf, c->g->cluster_size, &zeros);
    if (ret < 0 || zeros)
        return ret;
    c->telling = &t;
    ret = tell_copied_l2(c, l2_off, w->buf);
    c->telling = NULL;
    return ret;
}

int qcbmi_check_tell_copied(struct check *c)
{
    struct walk w = { .c = c };
    struct qcbmi_table_walk walk = { c->img, &c->holes, "metadata", &w, NULL, look_at_entry };
    uint64_t off = c->img->h.l1_offset, entries = c->img->h.l1_entries;
    int ret;

    w.buf = qcbmi_alloc_array(c->g->cluster_size, 1, c->err);
    ret = w.buf ? qcbmi_table_walk(&walk, off, entries, c->err) : QCBM_E_NOMEM;
    w.overwritten = qcbmi_check_is_overwritten(&w.look);
    walk.entry = take_entry;
    if (ret == 0)
        ret = qcbmi_table_walk(&walk, off, entries, c->err);
    free(w.buf);
    return ret;
}
