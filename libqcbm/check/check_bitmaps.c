/* check_bitmaps.c - references of the bitmaps, and their health
 * SPDX-License-Identifier: MIT
 *
 * QEMU does not open an image with one bad bitmap; here the others are checked all the same. */
#include <inttypes.h>

#include "base/checked.h"
#include "bitmap/bitmap_list.h"
#include "bitmap/bitmap_load.h"
#include "bitmap/bitmap_refs.h"
#include "check/check_parts.h"

#define TAIL_BYTES 4096u /* behind the last granule that are looked at; QEMU itself leaves up to 63 bits there */

static struct qcbmi_place place_of(const struct check *c, uint32_t i)
{
    return (struct qcbmi_place){ c->handle->bitmaps->list[i].entry_offset, "bitmap directory", i, i };
}

static const char *name_of(const struct qcbmi_bitmap *b, char *to, size_t size)
{
    return qcbmi_printable(to, size, b->d.name, b->d.name_len);
}

/* Tables that do not overlap cost no more than the file; any other time is paid for. @once: it is the first. */
static bool may_read_table(struct check *c, const struct qcbmi_bitmap *b, bool once)
{
    return (once && !b->bad && !b->shared) || qcbmi_check_afford(c, 8 * (uint64_t)b->d.table_entries);
}

static int refer(void *opaque, const struct qcbmi_ref *ref)
{
    return qcbmi_check_reference(opaque, ref);
}

static int refer_to_table(void *opaque, const struct qcbmi_ref *table)
{
    struct check *c = opaque;
    const struct qcbmi_bitmap *b = &c->handle->bitmaps->list[table->owner.index];
    int ret;

    if (!qcbmi_bitmap_table_is_plausible(c->g, b))
        return 0;
    ret = qcbmi_check_reference(c, table);
    return ret < 0 ? ret : may_read_table(c, b, c->sink->once);
}

/* All of them in one line: a table that was overwritten has thousands. */
static int tell_bad_entries(void *opaque, uint32_t bitmap, const struct qcbmi_bad_entries *bad)
{
    struct check *c = opaque;
    const struct qcbmi_bitmap *b = &c->handle->bitmaps->list[bitmap];
    struct qcbmi_place at = { b->d.table_offset + 8 * bad->index, "bitmap table", bad->index, bitmap };
    char name[128];

    return qcbmi_check_problem(c, QCBM_PROBLEM_BITMAP_TABLE_ENTRY, bad->n, &at,
                               "bitmap '%s': %" PRIu64 " of %" PRIu32 " table entries are not 0, 1 or the offset of a "
                               "cluster, the first is entry %" PRIu64 ", 0x%016" PRIx64,
                               name_of(b, name, sizeof(name)), bad->n, b->d.table_entries, bad->index, bad->raw);
}

int qcbmi_check_bitmap_references(struct check *c)
{
    const struct qcbmi_bitmap_list *list = c->handle->bitmaps;
    struct qcbmi_ref_sink sink = { c, refer, NULL, NULL };
    struct qcbmi_bitmap_refs refs = { c->img, list, &c->holes, "metadata", &sink, refer_to_table, tell_bad_entries };

    return list->has_ext && !list->stale ? qcbmi_bitmap_refs_walk(&refs, c->err) : 0;
}

/* ---- health -------------------------------------------------------------------------------------------- */

static int check_extension(struct check *c)
{
    const struct qcbmi_bitmap_list *list = c->handle->bitmaps;
    struct qcbmi_place at = { list->ext_offset, "header", UINT64_MAX, UINT32_MAX };

    if (!list->has_ext && (c->img->h.autoclear & QCBM_AUTOCLEAR_BITMAPS)) {
        at.offset = Q2_OFF_AUTOCLEAR;
        return qcbmi_check_problem(c, QCBM_PROBLEM_BITMAPS_AUTOCLEAR_ALONE, 1, &at,
                                   "autoclear feature bit 0 (bitmaps) is set without a bitmaps extension");
    }
    if (list->stale)
        return qcbmi_check_problem(c, QCBM_PROBLEM_BITMAPS_STALE, 1, &at,
                                   "bitmaps extension without autoclear feature bit 0: its bitmaps cannot be trusted");
    if (list->broken) {
        at.offset = list->why_broken.offset;
        return qcbmi_check_problem(c, QCBM_PROBLEM_BITMAP_DIRECTORY_BROKEN, 1, &at, "%s", list->why_broken.message);
    }
    return 0;
}

/* Which of the rules makes the entry bad. QEMU opens an image with an empty name, or one cut by a NUL. */
static enum qcbm_problem_id why_bad(const struct check *c, const struct qcbmi_bitmap *b)
{
    struct q2_bitmap_dirent d = b->d;

    if (q2_bitmap_dirent_check(&d, b->entry_offset, c->g, NULL) == 0)
        return QCBM_PROBLEM_BITMAP_NAME_DUPLICATE;
    if (d.name_len <= Q2_MAX_BITMAP_NAME) {
        d.name = (const uint8_t *)"?";
        d.name_len = 1;
    }
    return q2_bitmap_dirent_check(&d, b->entry_offset, c->g, NULL) == 0 ? QCBM_PROBLEM_BITMAP_NAME_UNREACHABLE
                                                                        : QCBM_PROBLEM_BITMAP_ENTRY_CONSTRAINT;
}

static int check_directory_entry(struct check *c, uint32_t i)
{
    const struct qcbmi_bitmap *b = &c->handle->bitmaps->list[i];
    struct qcbmi_place at = place_of(c, i);
    char name[128];
    int ret = 0;

    if (b->bad)
        ret = qcbmi_check_problem(c, why_bad(c, b), 1, &at, "%s", b->why.message);
    if (ret == 0 && b->shared)
        ret = qcbmi_check_problem(c, QCBM_PROBLEM_BITMAP_TABLE_SHARED, 1, &at, "%s", b->why.message);
    if (ret == 0 && (b->d.flags & Q2_BITMAP_IN_USE))
        ret = qcbmi_check_problem(c, QCBM_PROBLEM_BITMAP_IN_USE, 1, &at, "bitmap '%s' is marked in use",
                                  name_of(b, name, sizeof(name)));
    return ret;
}

struct lost {
    const struct check *c;
    uint64_t bytes; /* of the payload */
    uint64_t n;     /* data clusters past the end of the file */
    uint64_t last;  /* the last entry, raw */
    uint64_t last_index;
};

static int note_entry(void *opaque, uint64_t raw, uint64_t index)
{
    struct lost *l = opaque;
    uint64_t cs = l->c->g->cluster_size, off, len;

    if (index == l->last_index)
        l->last = raw;
    if (q2_bitmap_table_entry(raw, l->c->g->cluster_size, &off) != Q2_BME_DATA || index * cs >= l->bytes)
        return 0;
    len = u64_min(cs, l->bytes - index * cs);
    l->n += !range_fits(off, len, l->c->img->io.size);
    return 0;
}

static int find_lost(struct check *c, const struct qcbmi_bitmap *b, const struct q2_bitmap_size *size, struct lost *l)
{
    struct qcbmi_table_walk walk = { c->img, &c->holes, "metadata", l, NULL, note_entry };

    *l = (struct lost){ .c = c, .bytes = size->bytes, .last_index = size->entries - 1 };
    return may_read_table(c, b, false) ? qcbmi_table_walk(&walk, b->d.table_offset, b->d.table_entries, c->err) : 0;
}

static bool has_tail_bits(struct check *c, const struct q2_bitmap_size *size, uint64_t raw)
{
    uint64_t cs = c->g->cluster_size, first = size->bits % (8 * cs), off, start = first / 8;
    uint8_t bytes[TAIL_BYTES];
    uint64_t len;

    if (first == 0 || q2_bitmap_table_entry(raw, c->g->cluster_size, &off) != Q2_BME_DATA)
        return false;
    len = u64_min(cs - start, sizeof(bytes));
    if (qcbmi_check_read(c, off + start, bytes, len, NULL) < 0)
        return false;
    bytes[0] &= (uint8_t)(0xffu << (first % 8));
    for (uint64_t i = 0; i < len; i++)
        if (bytes[i])
            return true;
    return false;
}

/* What the table of a bitmap with a sound entry tells. */
static int check_content(struct check *c, uint32_t i)
{
    const struct qcbmi_bitmap *b = &c->handle->bitmaps->list[i];
    struct qcbmi_place at = place_of(c, i);
    struct q2_bitmap_size size;
    struct lost lost;
    char name[128];
    int ret;

    (void)name_of(b, name, sizeof(name));
    if (!qcbmi_bitmap_table_in_file(c->img, b))
        return qcbmi_check_problem(c, QCBM_PROBLEM_BITMAP_TABLE_PAST_END, 1, &at,
                                   "bitmap '%s': its table passes the end of the file", name);
    if (q2_bitmap_size(c->g->sector_size_down, b->d.granularity_bits, c->g->cluster_size, &size, NULL) < 0 ||
        size.entries != b->d.table_entries)
        return qcbmi_check_problem(c, QCBM_PROBLEM_BITMAP_TABLE_SIZE, 1, &at,
                                   "bitmap '%s': a table of %" PRIu32 " entries does not fit the virtual size", name,
                                   b->d.table_entries);
    ret = find_lost(c, b, &size, &lost);
    if (ret == 0 && lost.n)
        ret = qcbmi_check_problem(c, QCBM_PROBLEM_BITMAP_DATA_PAST_END, 1, &at,
                                  "bitmap '%s': %" PRIu64 " clusters of its data lie past the end of the file", name,
                                  lost.n);
    if (ret == 0 && has_tail_bits(c, &size, lost.last))
        ret = qcbmi_check_problem(c, QCBM_PROBLEM_BITMAP_TAIL_BITS, 1, &at,
                                  "bitmap '%s': bits are set behind its last granule", name);
    return ret;
}

int qcbmi_check_bitmap_health(struct check *c)
{
    const struct qcbmi_bitmap_list *list = c->handle->bitmaps;
    int ret = check_extension(c);

    for (uint32_t i = 0; ret == 0 && i < list->n; i++) {
        ret = check_directory_entry(c, i);
        if (ret == 0 && !list->list[i].bad)
            ret = check_content(c, i);
    }
    return ret;
}
