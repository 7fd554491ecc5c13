/* attach_reset.c - all entries of a metadata image made plain again, as part of an edit
 * SPDX-License-Identifier: MIT
 *
 * An entry that is not plain hides what the data has. Where that is not zeros, what the guest reads changes with the
 * entry: so these ranges are dirty in all bitmaps, which are switched in the same commit before any entry is written.
 * Each entry is right by itself, old or new, and none crosses a sector, so a cut in between leaves a sound image, and
 * another reset ends it. */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/sized.h"
#include "bitmap/bitmap_edit.h"
#include "bitmap/bitmap_load.h"
#include "rawdisk/raw_scan.h"

#define MAX_CHANGED_BITS (UINT64_C(1) << 32)

struct reset {
    struct qcbm_edit *edit;
    struct qcbmi_image *img;
    struct qcbmi_io data;
    struct qcbmi_holes holes;
    struct qcbmi_progress progress;
    uint8_t *buf;
    struct qcbmi_dirtymap changed; /* what the guest reads differently */
    struct qcbm_attach_reset r;
};

/* ---- what changes ---- */

static int mark(void *opaque, uint64_t start, uint64_t end, struct qcbm_error *err)
{
    struct reset *s = opaque;

    return qcbmi_dirtymap_set(&s->changed, start, end, err);
}

static int refuse_table(const struct qcbmi_raw_range *range, struct qcbm_error *err)
{
    return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                      "the L2 table of guest bytes 0x%" PRIx64 " to 0x%" PRIx64
                      " is missing or not theirs alone: make a new image with 'qcbm attach --data', and copy the "
                      "bitmaps with 'qcbm bitmap --copy-to'",
                      range->start, range->end);
}

static int on_range(void *opaque, const struct qcbmi_raw_range *range, struct qcbm_error *err)
{
    struct reset *s = opaque;

    s->r.reset_bytes += range->end - range->start;
    switch (range->kind) {
    case QCBMI_RAW_NO_TABLE:
    case QCBMI_RAW_BAD_TABLE:
        return refuse_table(range, err);
    case QCBMI_RAW_ZERO:
    case QCBMI_RAW_UNALLOCATED:
        return qcbmi_raw_nonzero(&s->holes, range->start, range->end, s->img->g.subcluster_size, s->buf, mark, s, err);
    case QCBMI_RAW_NOT_COPIED:
        return 0;
    default: /* nobody knows what the guest read there */
        return mark(s, range->start, range->end, err);
    }
}

static int on_table(void *opaque, uint64_t offset, uint64_t l1_index, uint32_t first, uint32_t end, uint32_t n,
                    struct qcbm_error *err)
{
    struct reset *s = opaque;
    struct qcbm_edit *edit = s->edit;
    const struct q2_geometry *g = &s->img->g;
    uint64_t cluster = l1_index * g->l2_entries + first;

    if (qcbmi_grow_array(&edit->tables, &edit->tables_capacity, edit->n_tables, sizeof(edit->tables[0]), err) < 0)
        return QCBM_E_NOMEM;
    edit->tables[edit->n_tables++] = (struct qcbmi_table_write){
        .off = offset + (uint64_t)first * g->l2_entry_size,
        .len = (uint64_t)(end - first) * g->l2_entry_size,
        .series = { Q2_ENTRY_COPIED, g->cluster_size, g->extended_l2 ? Q2_SUBCLUSTERS_ALL_DATA : 0, g->l2_entry_size },
        .first = cluster * g->l2_entry_size,
    };
    s->r.entries += n;
    return 0;
}

/* ---- bitmaps ---- */

static int mark_bitmap(struct reset *s, struct qcbmi_edit_bitmap *b, struct qcbm_error *err)
{
    struct qcbmi_dirtymap map = { 0 };
    struct qcbm_error why;
    int ret = b->stored && !b->bits_changed ? qcbmi_bitmap_check_bits(s->edit->handle, b->stored, false, &why) : 0;

    if (ret < 0 && err && ret != QCBM_E_INUSE && ret != QCBM_E_CORRUPT)
        *err = why;
    if (ret == QCBM_E_INUSE || ret == QCBM_E_CORRUPT) {
        s->r.bitmaps_left++;
        return 0;
    }
    if (ret == 0)
        ret = qcbmi_edit_copy_bits(s->edit, b, &map, err);
    if (ret == 0)
        ret = qcbmi_dirtymap_merge(&map, &s->changed, err);
    if (ret == 0) {
        qcbmi_edit_take_map(b, &map);
        s->r.bitmaps_marked++;
    }
    qcbmi_dirtymap_free(&map);
    return ret;
}

static int mark_bitmaps(struct reset *s, struct qcbm_error *err)
{
    const struct qcbmi_edit_list *list = &s->edit->list;
    int ret = 0;

    s->r.changed_bytes = qcbmi_dirtymap_dirty_bytes(&s->changed);
    for (size_t i = 0; ret == 0 && s->r.changed_bytes && i < list->n; i++)
        if (list->at[i])
            ret = mark_bitmap(s, list->at[i], err);
    return ret;
}

/* ---- all of it ---- */

static int check(const struct reset *s, struct qcbm_error *err)
{
    int ret = qcbmi_edit_check_open(s->edit, err);

    if (ret == 0 && s->edit->n_tables)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "the edit has a reset already");
    if (ret == 0 && s->edit->mend)
        return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET, "an edit that mends cannot reset entries");
    if (ret < 0 || s->img->g.raw_data_file)
        return ret;
    return qcbmi_fail(
        err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET,
        "the image has no external data file that is said to be raw: 'qcbm attach --data' makes one that has");
}

static int open_data(struct reset *s, const char *name, struct qcbm_error *err)
{
    const char *shown = name ? name : s->img->data_file ? s->img->data_file : "";
    int ret = qcbmi_raw_open(&s->data, s->img, name, err);
    char text[256];

    if (ret == 0 || ret == QCBM_E_NOMEM)
        return ret;
    return qcbmi_prefix(err, ret == QCBM_E_LOCKED || ret == QCBM_E_NOLOCKS ? ret : QCBM_E_CHAIN,
                        "the data '%s': ", qcbmi_printable(text, sizeof(text), shown, strlen(shown)));
}

static int reset(struct reset *s, struct qcbm_error *err)
{
    struct qcbmi_raw_scan scan = { s->img, &s->progress, s, on_range, on_table, { 0 } };
    const struct q2_geometry *g = &s->img->g;
    unsigned bits = (unsigned)__builtin_ctz(g->subcluster_size);
    int ret;

    while (g->size >> bits > MAX_CHANGED_BITS)
        bits++;
    ret = qcbmi_dirtymap_init(&s->changed, g->size, bits, err);
    qcbmi_holes_init(&s->holes, &s->data);
    s->buf = ret == 0 ? qcbmi_alloc_array(QCBMI_RAW_PIECE, 1, err) : NULL;
    if (ret == 0)
        ret = s->buf ? qcbmi_raw_scan(&scan, err) : QCBM_E_NOMEM;
    return ret < 0 ? ret : mark_bitmaps(s, err);
}

int qcbm_edit_attach_reset(struct qcbm_edit *edit, const char *data, struct qcbm_attach_reset *out, size_t size,
                           struct qcbm_error *err)
{
    struct reset s = { .edit = edit, .img = edit->img, .progress = { .to = edit->progress } };
    int ret = out ? qcbmi_check_size(size, err) : 0;

    if (ret == 0)
        ret = check(&s, err);
    if (ret == 0)
        ret = open_data(&s, data, err);
    if (ret == 0)
        ret = reset(&s, err);
    if (ret < 0)
        edit->n_tables = 0;
    qcbmi_holes_free(&s.holes);
    qcbmi_dirtymap_free(&s.changed);
    qcbmi_io_close(&s.data);
    free(s.buf);
    if (ret == 0 && out)
        qcbmi_give(out, size, &s.r, sizeof(s.r));
    return ret;
}
