/* all_refs.c - all that refers to clusters, in all states and in bitmaps, for who does not mind what is wrong with it
 * SPDX-License-Identifier: MIT */
#include "bitmap/all_refs.h"

#include "base/bytes.h"
#include "base/checked.h"
#include "bitmap/bitmap_refs.h"
#include "format/q2_refcount.h"

struct walk {
    const struct qcbmi_all_refs *to;
    const struct q2_geometry *g;
    uint64_t file_len; /* rounded up to a sector, as QEMU has it */
    struct qcbm_error *err;
};

/* ---- mapping tables ---- */

static int look_at_l1(void *opaque, const struct qcbmi_l1_table *l1)
{
    const struct walk *w = opaque;

    return l1->entries && qcbmi_leads_nowhere(l1->offset, 8 * l1->entries, w->file_len, w->g->cluster_size);
}

/* The last of the clusters need only begin in the file. */
static int give_l1(void *opaque, uint64_t start, uint64_t end, uint64_t depth)
{
    const struct walk *w = opaque;

    return w->to->ref(w->to->opaque, QCBMI_REF_L1, start, end - start - w->g->cluster_size + 1, depth);
}

static int give_l2(void *opaque, const struct qcbmi_swept_l2 *l2)
{
    const struct walk *w = opaque;

    return w->to->ref(w->to->opaque, QCBMI_REF_L2, l2->table.offset, w->g->cluster_size, l2->weight);
}

static int give_odd(const struct walk *w, const struct qcbmi_swept_l2 *l2, uint64_t raw, uint64_t word)
{
    struct qcbmi_entry_refs refs = { .n = 1, .compressed = raw & Q2_L2_COMPRESSED };
    struct q2_l2_entry e;

    if (refs.compressed && (w->g->data_file || word))
        return 0;
    q2_l2_entry_parse(raw, word, 0, w->g, &e);
    if (!refs.compressed && e.kind != Q2_NORMAL && e.kind != Q2_ZERO_ALLOC)
        return 0;
    refs.offset = e.host_offset;
    refs.len = w->g->data_file ? 0 : e.host_len;
    return w->to->entries(w->to->opaque, l2, &refs);
}

/* Entries that are sound on their own: each of their clusters begins in the file, which is what counts. */
static int give_run(const struct walk *w, const struct qcbmi_swept_l2 *l2, const struct qcbmi_l2_note *note)
{
    struct qcbmi_entry_refs refs = { .n = note->n, .offset = note->raw & Q2_ENTRY_OFFSET_MASK };

    refs.len = (refs.n - 1) * w->g->cluster_size + 1;
    return w->to->entries(w->to->opaque, l2, &refs);
}

/* Of an odd entry: the bytes of the table are there for these alone. */
static uint64_t bitmap_word(const struct walk *w, const struct qcbmi_l2_content *content,
                            const struct qcbmi_l2_note *note)
{
    return w->g->extended_l2 ? be64_load(content->bytes + 16 * (size_t)note->index + 8) : 0;
}

static int give_content(void *opaque, const struct qcbmi_swept_l2 *l2, const struct qcbmi_l2_content *content)
{
    const struct walk *w = opaque;
    int ret = 0;

    if (content->n == 0 && w->to->blank)
        return w->to->blank(w->to->opaque, l2);
    for (size_t i = 0; ret == 0 && i < content->n; i++) {
        const struct qcbmi_l2_note *note = &content->notes[i];

        ret = note->n ? give_run(w, l2, note) : give_odd(w, l2, note->raw, bitmap_word(w, content, note));
    }
    return ret;
}

static bool afford(void *opaque, uint64_t bytes)
{
    const struct walk *w = opaque;

    return w->to->afford(w->to->opaque, bytes);
}

static int sweep(struct walk *w)
{
    struct qcbmi_sweep sweep = { .img = w->to->img, .holes = w->to->holes, .what = "metadata", .opaque = w };

    sweep.snapshots = w->to->snapshots;
    sweep.progress = w->to->progress;
    sweep.l1_table = look_at_l1;
    sweep.l1_clusters = give_l1;
    sweep.l2_table = give_l2;
    sweep.l2_content = give_content;
    sweep.afford = afford;
    return qcbmi_table_sweep(&sweep, w->err);
}

/* ---- all else ---- */

static int give_ref(void *opaque, const struct qcbmi_ref *ref)
{
    const struct walk *w = opaque;

    if (ref->owner.kind == QCBMI_REF_LUKS && w->to->img->h.crypt_method != 2)
        return 0;
    return w->to->ref(w->to->opaque, ref->owner.kind, ref->offset, ref->len, ref->weight);
}

/* All tables at once, instead of the first. */
static int give_state(void *opaque, const struct qcbmi_ref *l1)
{
    return l1->owner.state == 0 ? sweep(opaque) : 0;
}

/* Tables that do not overlap cost no more than the file; any other is paid for. */
static int give_bitmap_table(void *opaque, const struct qcbmi_ref *table)
{
    const struct walk *w = opaque;
    const struct qcbmi_bitmap *b = &w->to->bitmaps->list[table->owner.index];
    int ret;

    if (!qcbmi_bitmap_table_is_plausible(w->g, b))
        return 0;
    ret = give_ref(opaque, table);
    return ret < 0 ? ret : (!b->bad && !b->shared) || afford(opaque, table->len);
}

static int give_bitmaps(void *opaque)
{
    const struct walk *w = opaque;
    const struct qcbmi_bitmap_list *list = w->to->bitmaps;
    struct qcbmi_ref_sink sink = { opaque, give_ref, NULL, NULL };
    struct qcbmi_bitmap_refs refs = { w->to->img, list, w->to->holes, "metadata", &sink, give_bitmap_table, NULL };

    return list->has_ext && !list->stale ? qcbmi_bitmap_refs_walk(&refs, w->err) : 0;
}

static int give_refblocks(struct walk *w)
{
    const struct qcbmi_stored_counts *s = w->to->stored;
    int ret = 0;

    for (uint64_t i = 0; ret == 0 && i < s->n_table; i++) {
        uint64_t off = s->table[i] & Q2_REFTABLE_OFFSET_MASK;

        if (off && !(s->table[i] & Q2_REFTABLE_RESERVED) && is_aligned(off, w->g->cluster_size))
            ret = w->to->ref(w->to->opaque, QCBMI_REF_REFBLOCK, off, w->g->cluster_size, 1);
    }
    return ret;
}

int qcbmi_all_refs_walk(const struct qcbmi_all_refs *refs, struct qcbm_error *err)
{
    struct walk w = { refs, &refs->img->g, align_up(refs->img->io.size, Q2_SECTOR), err };
    struct qcbmi_refs list = qcbmi_loose_refs(refs->img, refs->snapshots);
    struct qcbmi_ref_sink sink = { &w, give_ref, give_state, give_bitmaps };
    int ret = qcbmi_refs_walk(&list, &sink);

    return ret < 0 ? ret : give_refblocks(&w);
}
