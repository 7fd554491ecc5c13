/* writing.c - the new image: tables, data, bitmaps, refcounts, and the header at last
 * SPDX-License-Identifier: MIT
 *
 * Two passes over the slots: one counts references, since the COPIED flag of an entry says how many there are; the
 * second tells the ranges and writes the tables. The data goes in the order of the file. */
#include "rescue/writing.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "format/q2_l1l2.h"
#include "rescue/carried.h"
#include "rescue/final.h"
#include "write/new_image.h"

#define MAX_DOUBT_BITS (UINT64_C(1) << 32)

struct state {
    struct qcbmi_writing *w;
    struct qcbmi_rescue *r;
    struct qcbmi_final f;
    struct qcbmi_counts counts; /* references of the new image to data */
    struct qcbmi_new_image n;
    uint64_t *l1;
    struct qcbmi_dirtymap doubt;
};

/* ---- counting ---- */

static int count_slot(struct state *s, uint64_t slot, struct qcbm_error *err)
{
    const struct q2_geometry *g = s->r->g;
    int ret = qcbmi_final_slot(&s->f, slot, err);

    for (uint32_t i = 0; ret == 0 && s->f.has_table && i < g->l2_entries; i++) {
        struct q2_l2_entry e;
        uint64_t first, end, excess = 0;

        qcbmi_rescue_parse(s->r, s->f.table, i, slot, &e);
        if (e.host_len == 0)
            continue;
        first = e.host_offset >> g->cluster_bits;
        end = u64_min(((e.host_offset + e.host_len - 1) >> g->cluster_bits) + 1, s->r->n_clusters);
        ret = qcbmi_counts_add(&s->counts, first, end - first, 1, UINT32_MAX, &excess, err);
    }
    return ret;
}

/* ---- tables ---- */

static void set_copied(struct state *s, uint8_t *at)
{
    uint64_t raw = be64_load(at), off = raw & Q2_ENTRY_OFFSET_MASK;

    if (raw & Q2_L2_COMPRESSED)
        return;
    raw &= ~Q2_ENTRY_COPIED;
    if (off && qcbmi_counts_get(&s->counts, off >> s->r->g->cluster_bits) == 1)
        raw |= Q2_ENTRY_COPIED;
    be64_store(at, raw);
}

static int tell_table(struct state *s, uint64_t slot, struct qcbm_error *err)
{
    const struct q2_geometry *g = s->r->g;
    uint64_t start = slot * g->l2_span;
    int ret = 0;

    for (uint32_t i = 0; ret == 0 && i < g->l2_entries; i++) {
        const uint8_t *at = s->f.table + (uint64_t)i * g->l2_entry_size;

        ret = qcbmi_tell(&s->w->tell, start + ((uint64_t)i << g->cluster_bits), g->cluster_size, s->f.score[i],
                         (enum qcbmi_rescue_why)s->f.why[i], !bytes_are_zero(at, g->l2_entry_size), err);
    }
    return ret;
}

static int write_slot(struct state *s, uint64_t slot, struct qcbm_error *err)
{
    const struct q2_geometry *g = s->r->g;
    uint64_t off;
    int ret = qcbmi_final_slot(&s->f, slot, err);

    if (ret < 0)
        return ret;
    if (!s->f.has_table)
        return qcbmi_tell(&s->w->tell, slot * g->l2_span, g->l2_span, s->f.all_score,
                          (enum qcbmi_rescue_why)s->f.all_why, false, err);
    ret = tell_table(s, slot, err);
    for (uint32_t i = 0; i < g->l2_entries; i++)
        set_copied(s, s->f.table + (uint64_t)i * g->l2_entry_size);
    if (bytes_are_zero(s->f.table, g->cluster_size))
        return ret;
    off = qcbmi_new_place(&s->n, g->cluster_size);
    be64_store((uint8_t *)&s->l1[slot], off | Q2_ENTRY_COPIED);
    return ret == 0 ? qcbmi_new_write(&s->n, off, s->f.table, g->cluster_size, err) : ret;
}

/* ---- data ---- */

/* Clusters [@from, @end) as they are; what is zeros stays a hole. */
static int copy_run(struct state *s, uint8_t *buf, uint64_t from, uint64_t end, struct qcbm_error *err)
{
    unsigned cb = s->r->g->cluster_bits;
    uint64_t len = (end - from) << cb, piece = u64_min(len, u64_max(s->r->g->cluster_size, 4096));
    bool zeros;
    int ret = qcbmi_holes_read(&s->r->holes, from << cb, buf, len, &zeros, "guest data", err);

    for (uint64_t at = 0; ret == 0 && !zeros && at < len;) {
        uint64_t n = 0;

        while (at + n < len && !bytes_are_zero(buf + at + n, u64_min(piece, len - at - n)))
            n += u64_min(piece, len - at - n);
        if (n)
            ret = qcbmi_new_write(&s->n, (from << cb) + at, buf + at, n, err);
        s->w->bytes_copied += n;
        at += n ? n : u64_min(piece, len - at);
    }
    return ret == 0 ? qcbmi_progress_at(&s->r->progress, s->r->img->io.size + (end << cb), err) : ret;
}

static int copy_data(struct state *s, struct qcbm_error *err)
{
    unsigned cb = s->r->g->cluster_bits;
    uint64_t per = u64_max(QCBMI_RESCUE_PIECE >> cb, 1), end;
    uint8_t *buf = qcbmi_alloc_array(per << cb, 1, err);
    int ret = buf ? 0 : QCBM_E_NOMEM;

    for (uint64_t i = 1; ret == 0 && i < s->r->n_clusters; i = u64_max(end, i + 1)) {
        end = i;
        if (i % QCBMI_COUNTS_CHUNK == 0 && !qcbmi_new_is_used(&s->n, i, i + QCBMI_COUNTS_CHUNK)) {
            end = i + QCBMI_COUNTS_CHUNK;
            continue;
        }
        for (; end < s->r->n_clusters && end - i < per && qcbmi_counts_get(&s->counts, end);)
            end++;
        if (end > i)
            ret = copy_run(s, buf, i, end, err);
    }
    free(buf);
    return ret;
}

/* ---- all of it ---- */

static int each_slot(struct state *s, int (*fn)(struct state *, uint64_t, struct qcbm_error *), struct qcbm_error *err)
{
    int ret = 0;

    for (uint64_t i = 0; ret == 0 && i < s->r->n_slots; i++)
        ret = fn(s, i, err);
    return ret;
}

static int write_tables(struct state *s, struct qcbm_error *err)
{
    int ret = each_slot(s, write_slot, err);

    return ret == 0 ? qcbmi_tell_end(&s->w->tell, err) : ret;
}

static int write_l1_and_header(struct state *s, struct qcbm_error *err)
{
    struct q2_header h = s->r->img->h;
    struct qcbmi_carried carried = { .w = s->w, .n = &s->n, .doubt = &s->doubt };
    int ret;

    h.l1_offset = qcbmi_new_place(&s->n, u64_max(8 * s->r->n_slots, 1));
    h.l1_entries = (uint32_t)u64_max(s->r->n_slots, 1);
    ret = qcbmi_new_write(&s->n, h.l1_offset, s->l1, 8 * s->r->n_slots, err);
    if (ret == 0)
        ret = qcbmi_carry_bitmaps(&carried, err);
    if (ret == 0)
        ret = qcbmi_new_refcounts(&s->n, err);
    s->w->file_size = s->n.next << s->r->g->cluster_bits;
    if (ret == 0 && s->w->to)
        ret = qcbmi_io_grow(s->w->to, s->w->file_size, err);
    if (ret == 0)
        ret = qcbmi_carry_header(&carried, &h, err);
    qcbmi_carried_free(&carried);
    return ret;
}

/* The LUKS header stays where it was, too. */
static int keep_luks(struct state *s, struct qcbm_error *err)
{
    const struct q2_extension *crypto = q2_extension_find(&s->r->img->exts, Q2_EXT_CRYPTO);
    unsigned cb = s->r->g->cluster_bits;
    uint64_t off, len, excess;

    if (!crypto || crypto->len != 16)
        return 0;
    off = be64_load(crypto->data);
    len = be64_load(crypto->data + 8);
    if (len == 0 || off == 0 || !is_aligned(off, s->r->g->cluster_size) ||
        !range_fits(off, len, s->r->n_clusters << cb))
        return qcbmi_fail(err, QCBM_E_CORRUPT, crypto->offset,
                          "the LUKS header does not lie in the file, and without it nothing can be read");
    return qcbmi_counts_add(&s->counts, off >> cb, ((off + len - 1) >> cb) - (off >> cb) + 1, 1, UINT32_MAX, &excess,
                            err);
}

static int begin(struct state *s, struct qcbm_error *err)
{
    struct qcbmi_rescue *r = s->r;
    unsigned bits = r->g->cluster_bits;
    int ret = qcbmi_final_init(&s->f, r, err);

    s->n = (struct qcbmi_new_image){ .io = s->w->to, .g = r->g, .counts = &s->counts };
    s->n.first_meta = s->n.next = r->n_clusters;
    s->l1 = qcbmi_alloc_array(r->n_slots, sizeof(*s->l1), err);
    if (ret == 0 && !s->l1)
        ret = QCBM_E_NOMEM;
    if (ret == 0)
        ret = qcbmi_counts_init(&s->counts, 0, r->n_clusters, err);
    while (r->g->size >> bits > MAX_DOUBT_BITS)
        bits++;
    if (ret == 0)
        ret = qcbmi_dirtymap_init(&s->doubt, r->g->size, bits, err);
    if (ret == 0)
        ret = keep_luks(s, err);
    s->w->tell.doubt = &s->doubt;
    s->w->tell.size = r->g->size;
    return ret;
}

int qcbmi_rescue_write(struct qcbmi_writing *w, struct qcbm_error *err)
{
    struct state s = { .w = w, .r = w->r };
    int ret = begin(&s, err);

    if (ret == 0)
        ret = each_slot(&s, count_slot, err);
    if (ret == 0)
        ret = qcbmi_progress_at(&w->r->progress, w->r->img->io.size, err);
    if (ret == 0)
        ret = write_tables(&s, err);
    if (ret == 0 && w->to)
        ret = copy_data(&s, err);
    if (ret == 0)
        ret = write_l1_and_header(&s, err);
    qcbmi_final_free(&s.f);
    qcbmi_counts_free(&s.counts);
    qcbmi_dirtymap_free(&s.doubt);
    free(s.l1);
    w->tell.doubt = NULL;
    return ret;
}
