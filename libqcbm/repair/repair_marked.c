/* repair_marked.c - the bits of ranges that a repair changes, where bitmaps are stored, before the ranges change
 * SPDX-License-Identifier: MIT
 *
 * A cut of power must not leave a range that reads as zeros beside a bitmap that calls it clean. Bitmaps are written
 * anew only when all else is sound, so the bits go where the old ones are: set in their clusters, or into new ones
 * behind the end of the file, which are counted with the rest. What cannot be read here, or is somebody else's, too,
 * becomes all dirty later. */
#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "repair/repair_changed.h"
#include "repair/repair_look.h"

#include <stdlib.h>
#include <string.h>

#define MAX_NEW_BYTES (UINT64_C(256) << 20)

struct mark {
    struct qcbmi_repair *r;
    const struct check *c;
    struct qcbmi_plan *plan;
    size_t bits_stage;             /* the entries of tables are in the one behind it */
    struct qcbmi_bitset shared;    /* clusters with two owners */
    struct qcbmi_dirtymap add;     /* at the granularity of the bitmap */
    uint8_t *before, *after, *new; /* a cluster each */
    uint64_t n_new;
    bool any;
};

static bool is_shared(const struct mark *m, uint64_t off)
{
    uint64_t cluster = off >> m->c->g->cluster_bits;

    return cluster < m->shared.n_bits && qcbmi_bitset_get(&m->shared, cluster);
}

static int set_in_place(struct mark *m, uint64_t off)
{
    uint32_t cs = m->c->g->cluster_size;
    int ret;

    if (is_shared(m, off) || !range_fits(off, cs, m->c->img->io.size))
        return 0;
    ret = qcbmi_io_read(&m->c->img->io, off, m->before, cs, "bitmap", m->c->err);
    for (uint32_t i = 0; i < cs; i++)
        m->after[i] = m->before[i] | m->new[i];
    m->any |= ret == 0 && memcmp(m->before, m->after, cs) != 0;
    m->plan->current = m->bits_stage;
    return ret < 0 ? ret : qcbmi_repair_write_changes(m->plan, "bitmap data", off, m->before, m->after, cs, m->c->err);
}

static int put_anew(struct mark *m, uint64_t at)
{
    uint32_t cs = m->c->g->cluster_size;
    uint64_t off = qcbmi_repair_append(m->r, m->plan, 1);
    uint8_t bytes[8];
    int ret;

    m->any = true;
    if (++m->n_new * cs > MAX_NEW_BYTES)
        return qcbmi_fail(m->c->err, QCBM_E_LIMIT, at, "too many bits of bitmaps would have to be set");
    m->plan->current = m->bits_stage;
    ret = qcbmi_plan_write(m->plan, "bitmap data", off, m->new, cs, m->c->err);
    m->plan->current = m->bits_stage + 1;
    be64_store(bytes, off);
    return ret < 0 ? ret : qcbmi_plan_write(m->plan, "bitmap table entry", at, bytes, sizeof(bytes), m->c->err);
}

static int mark_entry(struct mark *m, uint64_t at, uint64_t index)
{
    uint32_t cs = m->c->g->cluster_size;
    uint64_t off = 0;
    uint8_t bytes[8];
    int ret;

    if (is_shared(m, at))
        return 0;
    ret = qcbmi_io_read(&m->c->img->io, at, bytes, sizeof(bytes), "bitmap", m->c->err);
    if (ret < 0)
        return ret;
    qcbmi_bitset_load_bytes(&m->add.bits, index * cs, m->new, cs);
    switch (q2_bitmap_table_entry(be64_load(bytes), cs, &off)) {
    case Q2_BME_DATA:
        return set_in_place(m, off);
    case Q2_BME_ZEROS:
        return put_anew(m, at);
    default:
        return 0;
    }
}

static int mark_bitmap(struct mark *m, const struct qcbmi_bitmap *b)
{
    uint64_t per = 8 * (uint64_t)m->c->g->cluster_size, n;
    int ret = qcbmi_dirtymap_init(&m->add, m->c->img->g.sector_size_down, b->d.granularity_bits, m->c->err);

    if (ret == 0 && m->r->all_changed)
        ret = qcbmi_dirtymap_set(&m->add, 0, m->add.size, m->c->err);
    else if (ret == 0)
        ret = qcbmi_dirtymap_merge(&m->add, &m->r->changed, m->c->err);
    n = ret == 0 ? m->add.bits.n_bits : 0;
    for (uint64_t bit = 0; ret == 0; bit = align_down(bit, per) + per) {
        bit = bit < n ? qcbmi_bitset_next_set(&m->add.bits, bit) : n;
        if (bit >= n || bit / per >= b->d.table_entries)
            break;
        ret = mark_entry(m, b->d.table_offset + 8 * (bit / per), bit / per);
    }
    qcbmi_dirtymap_free(&m->add);
    return ret;
}

int qcbmi_repair_mark_stored(struct qcbmi_repair *r, const struct check *c, struct qcbmi_plan *plan, size_t bits_stage)
{
    const struct qcbmi_bitmap_list *list = r->work->bitmaps;
    uint32_t cs = c->g->cluster_size;
    struct mark m = { .r = r, .c = c, .plan = plan, .bits_stage = bits_stage };
    size_t was = plan->current;
    int ret = 0;

    if ((!r->changed.size && !r->all_changed) || list->n == 0)
        return 0;
    m.before = qcbmi_alloc_array(cs, 3, c->err);
    if (!m.before)
        return QCBM_E_NOMEM;
    m.after = m.before + cs;
    m.new = m.after + cs;
    ret = qcbmi_repair_shared(c, &m.shared);
    for (uint32_t i = 0; ret == 0 && i < list->n; i++)
        if (!list->list[i].bad && qcbmi_bitmap_check_entry(c->img, &list->list[i], true, NULL) == 0)
            ret = mark_bitmap(&m, &list->list[i]);
    qcbmi_bitset_free(&m.shared);
    free(m.before);
    plan->current = was;
    return ret == 0 && m.any ? qcbmi_repair_tell_marked(r, c->err) : ret;
}
