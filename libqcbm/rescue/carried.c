/* carried.c - what goes along with the disk: bitmaps, extensions of the header, the LUKS header
 * SPDX-License-Identifier: MIT */
#include "rescue/carried.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "bitmap/bitmap_load.h"

#define MAX_EXTENSIONS 64u
#define MIN_BUDGET (UINT64_C(16) << 20) /* bytes of bitmap tables */

/* ---- bitmaps ---- */

static int write_data(struct qcbmi_carried *c, const struct qcbmi_dirtymap *map, uint8_t *table, uint64_t entries,
                      struct qcbm_error *err)
{
    uint64_t cs = c->n->g->cluster_size;
    uint8_t *bytes = qcbmi_alloc_array(cs, 1, err);
    int ret = bytes ? 0 : QCBM_E_NOMEM;

    for (uint64_t i = 0; ret == 0 && i < entries; i++) {
        uint64_t first = u64_min(8 * i * cs, map->bits.n_bits), end = u64_min(first + 8 * cs, map->bits.n_bits), off;

        enum qcbmi_bitset_state state = qcbmi_bitset_state(&map->bits, first, end);

        if (state == QCBMI_BITS_SET && end - first == 8 * cs)
            be64_store(table + 8 * i, Q2_BITMAP_TABLE_ONES);
        if (state == QCBMI_BITS_CLEAR || (state == QCBMI_BITS_SET && end - first == 8 * cs))
            continue;
        qcbmi_bitset_load_bytes(&map->bits, i * cs, bytes, cs);
        off = qcbmi_new_place(c->n, cs);
        be64_store(table + 8 * i, off);
        ret = qcbmi_new_write(c->n, off, bytes, cs, err);
    }
    free(bytes);
    return ret;
}

static int write_map(struct qcbmi_carried *c, const struct qcbmi_dirtymap *map, struct q2_bitmap_dirent *d,
                     struct qcbm_error *err)
{
    uint64_t len = align_up(8 * (uint64_t)d->table_entries, c->n->g->cluster_size);
    uint8_t *table = qcbmi_alloc_array(len, 1, err);
    int ret = table ? write_data(c, map, table, d->table_entries, err) : QCBM_E_NOMEM;

    d->table_offset = qcbmi_new_place(c->n, len);
    if (ret == 0)
        ret = qcbmi_new_write(c->n, d->table_offset, table, len, err);
    free(table);
    return ret;
}

static int carry_one(struct qcbmi_carried *c, const struct qcbmi_bitmap *b, struct qcbm_error *err)
{
    struct q2_bitmap_dirent d = b->d;
    struct qcbmi_dirtymap map = { 0 };
    int ret = qcbmi_bitmap_load(c->w->r->img, b, &map, err);

    if (ret == 0 && c->w->r->l1_in_doubt)
        ret = qcbmi_dirtymap_set(&map, 0, map.size, err);
    if (ret == 0)
        ret = qcbmi_dirtymap_merge(&map, c->doubt, err);
    d.extra_len = 0;
    if (ret == 0)
        ret = write_map(c, &map, &d, err);
    if (ret == 0) {
        q2_bitmap_dirent_store(c->directory + c->ext.directory_size, &d);
        c->ext.directory_size += q2_bitmap_dirent_len(0, d.name_len);
        c->ext.n_bitmaps++;
    }
    qcbmi_dirtymap_free(&map);
    return ret;
}

/* Of two of one name QEMU would open neither. Tables that overlap could make more of the file than it is. */
static bool can_be_carried(const struct qcbmi_rescue *r, const struct qcbmi_bitmap *b, uint64_t *budget)
{
    uint64_t bytes = 8 * (uint64_t)b->d.table_entries;

    if (bytes > *budget)
        return false;
    *budget -= bytes;
    return qcbmi_bitmap_check_bits(r->handle, b, true, NULL) == 0 && qcbmi_bitmap_check_table(r->img, b, NULL) == 0;
}

/* How many there were: the extension says so where the directory does not any more, and none at all is not believed
 * then. */
static uint32_t count_bitmaps(const struct qcbmi_bitmap_list *list)
{
    uint32_t n = list->was ? list->was->n : list->n;

    if (!list->has_ext || (!list->broken && !(list->stale && !list->was)))
        return n;
    if (list->ext.n_bitmaps <= Q2_MAX_BITMAPS && list->ext.n_bitmaps > n)
        n = list->ext.n_bitmaps;
    return n ? n : 1;
}

int qcbmi_carry_bitmaps(struct qcbmi_carried *c, struct qcbm_error *err)
{
    const struct qcbmi_rescue *r = c->w->r;
    struct qcbmi_bitmap_list *list = r->handle->bitmaps;
    uint64_t room = 0, budget = r->img->io.size + MIN_BUDGET;
    int ret;

    if (list->stale || list->n == 0) {
        c->w->bitmaps_lost = count_bitmaps(list);
        return 0;
    }
    ret = qcbmi_bitmap_find_shared_data(r->handle, err);
    for (uint32_t i = 0; i < list->n; i++)
        room += q2_bitmap_dirent_len(0, list->list[i].d.name_len);
    c->directory = qcbmi_alloc_array(align_up(room, r->g->cluster_size), 1, err);
    if (!c->directory)
        return QCBM_E_NOMEM;
    for (uint32_t i = 0; ret == 0 && i < list->n; i++)
        if (can_be_carried(r, &list->list[i], &budget))
            ret = carry_one(c, &list->list[i], err);
    c->w->bitmaps_kept = c->ext.n_bitmaps;
    c->w->bitmaps_lost = count_bitmaps(list) - c->ext.n_bitmaps;
    if (ret < 0 || c->ext.n_bitmaps == 0)
        return ret;
    c->ext.directory_offset = qcbmi_new_place(c->n, c->ext.directory_size);
    return qcbmi_new_write(c->n, c->ext.directory_offset, c->directory, c->ext.directory_size, err);
}

/* ---- header ---- */

/* Extensions that go along as they are; what is only a hint goes where there is no room for it. */
static bool is_carried(const struct q2_extension *e, bool all)
{
    if (e->type == Q2_EXT_BACKING_FORMAT || e->type == Q2_EXT_CRYPTO)
        return true;
    return all && e->type != Q2_EXT_BITMAPS && e->type != Q2_EXT_PADDING && e->type != Q2_EXT_DATA_FILE;
}

static size_t list_extensions(const struct qcbmi_carried *c, const uint8_t *payload, bool all,
                              struct qcbmi_new_extension *to)
{
    const struct q2_extensions *exts = &c->w->r->img->exts;
    size_t n = 0;

    for (size_t i = 0; i < exts->n && n < MAX_EXTENSIONS - 1; i++)
        if (is_carried(&exts->list[i], all))
            to[n++] = (struct qcbmi_new_extension){ exts->list[i].type, exts->list[i].len, exts->list[i].data };
    if (c->ext.n_bitmaps)
        to[n++] = (struct qcbmi_new_extension){ Q2_EXT_BITMAPS, Q2_BITMAPS_EXT_LEN, payload };
    return n;
}

int qcbmi_carry_header(struct qcbmi_carried *c, struct q2_header *h, struct qcbm_error *err)
{
    struct qcbmi_new_extension exts[MAX_EXTENSIONS];
    uint8_t payload[Q2_BITMAPS_EXT_LEN];
    struct qcbm_error first;
    int ret;

    h->version = 3;
    h->n_snapshots = 0;
    h->snapshots_offset = 0;
    h->incompatible &= QCBM_INCOMPAT_COMPRESSION | QCBM_INCOMPAT_EXTENDED_L2;
    h->compatible = 0;
    h->autoclear = c->ext.n_bitmaps ? QCBM_AUTOCLEAR_BITMAPS : 0;
    q2_bitmaps_ext_store(payload, &c->ext);
    ret = qcbmi_new_header(c->n, h, exts, list_extensions(c, payload, true, exts), c->w->r->img->backing_file, &first);
    if (ret == QCBM_E_NOSPACE)
        ret = qcbmi_new_header(c->n, h, exts, list_extensions(c, payload, false, exts), c->w->r->img->backing_file,
                               &first);
    if (ret < 0 && err)
        *err = first;
    return ret;
}

void qcbmi_carried_free(struct qcbmi_carried *c)
{
    free(c->directory);
    c->directory = NULL;
}
