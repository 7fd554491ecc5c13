/* field_find.c - where a field lies, in an image that may not open
 * SPDX-License-Identifier: MIT
 *
 * Entries of lists are found by a dump, which goes over damage as far as that goes; tables by their index. */
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "format/q2_bitmap_dir.h"
#include "format/q2_l1l2.h"
#include "format/q2_limits.h"
#include "format/q2_refcount.h"
#include "format/q2_snapshot.h"
#include "repair/field.h"

/* Fields of the fixed part of an entry, by the names of a dump, or of the specification where a dump shows no
 * number. */
struct entry_field {
    const char *name;
    uint8_t offset, length;
};

static const struct entry_field snapshot_fields[] = {
    { "l1_table_offset", 0, 8 }, { "l1_size", 8, 4 },        { "id_str_size", 12, 2 },
    { "name_size", 14, 2 },      { "date_sec", 16, 4 },      { "date_nsec", 20, 4 },
    { "vm_clock_nsec", 24, 8 },  { "vm_state_size", 32, 4 }, { "extra_data_size", 36, 4 },
};

static const struct entry_field bitmap_fields[] = {
    { "bitmap_table_offset", 0, 8 }, { "bitmap_table_size", 8, 4 }, { "flags", 12, 4 },           { "type", 16, 1 },
    { "granularity_bits", 17, 1 },   { "name_size", 18, 2 },        { "extra_data_size", 20, 4 },
};

static const struct entry_field bitmaps_fields[] = {
    { "nb_bitmaps", 0, 4 },
    { "reserved", 4, 4 },
    { "bitmap_directory_size", 8, 8 },
    { "bitmap_directory_offset", 16, 8 },
};

static const struct entry_field extension_fields[] = { { "type", 0, 4 }, { "length", 4, 4 } };

#define N(array) (sizeof(array) / sizeof((array)[0]))

static int fail(const struct qcbmi_field *f, int code, uint64_t at, const char *why, struct qcbm_error *err)
{
    char text[128];

    return qcbmi_fail(err, code, at, "'%s': %s", qcbmi_printable(text, sizeof(text), f->text.at, f->text.len), why);
}

/* ---- the bytes ---- */

uint64_t qcbmi_field_max(const struct qcbmi_field_place *p)
{
    return p->bits == 64 ? UINT64_MAX : (UINT64_C(1) << p->bits) - 1;
}

static uint64_t load(const uint8_t *bytes, uint32_t length)
{
    uint64_t value = 0;

    for (uint32_t i = 0; i < length; i++)
        value = value << 8 | bytes[i];
    return value;
}

void qcbmi_field_store(const struct qcbmi_field_place *p, uint8_t *bytes, uint64_t value)
{
    uint64_t mask = qcbmi_field_max(p) << p->shift, all = (load(bytes, p->length) & ~mask) | (value << p->shift & mask);

    for (uint32_t i = p->length; i-- > 0; all >>= 8)
        bytes[i] = (uint8_t)all;
}

/* @length bytes at @offset, all of their bits; the value is read. */
static int place(struct qcbm_dump *d, const struct qcbmi_field *f, uint64_t offset, uint32_t length,
                 struct qcbmi_field_place *out, struct qcbm_error *err)
{
    uint8_t bytes[8];
    int ret;

    if (!range_fits(offset, length, d->io.size))
        return fail(f, QCBM_E_CORRUPT, offset, "it lies past the end of the file", err);
    out->offset = offset;
    out->length = length;
    out->shift = 0;
    out->bits = 8 * length;
    ret = qcbmi_io_read(&d->io, offset, bytes, length, "field", err);
    if (ret == 0)
        out->value = load(bytes, length);
    return ret;
}

/* Entry @i of a table of u64 at @table. */
static int place_entry(struct qcbm_dump *d, const struct qcbmi_field *f, uint64_t table, uint64_t i,
                       struct qcbmi_field_place *out, struct qcbm_error *err)
{
    uint64_t at;

    if (!u64_mul(i, 8, &at) || !u64_add(at, table, &at))
        return fail(f, QCBM_E_CORRUPT, table, "it lies past the end of the file", err);
    return place(d, f, at, 8, out, err);
}

static int place_named(struct qcbm_dump *d, const struct qcbmi_field *f, const struct entry_field *fields, size_t n,
                       uint64_t base, struct qcbmi_field_place *out, struct qcbm_error *err)
{
    for (size_t i = 0; i < n; i++)
        if (qcbmi_word_is(f->name, fields[i].name))
            return place(d, f, base + fields[i].offset, fields[i].length, out, err);
    return fail(f, QCBM_E_ARG, QCBM_NO_OFFSET, "it has no field of that name; 'qcbm dump' shows which there are", err);
}

/* ---- lists, by a dump ---- */

struct search {
    const char *const *names; /* of items that begin an entry, or stand for one that cannot be read, up to a NULL */
    uint64_t index;
    struct qcbmi_word bitmap; /* or by name: then @index is found */
    uint64_t base, n_found;
};

static bool is_entry(const struct search *s, const struct qcbm_dump_item *item)
{
    for (const char *const *name = s->names; *name; name++)
        if (strcmp(item->name, *name) == 0)
            return true;
    return false;
}

static int on_item(void *opaque, const struct qcbm_dump_item *item)
{
    struct search *s = opaque;

    if (!is_entry(s, item) || item->index != s->index)
        return item->index != QCBM_NO_OFFSET && item->index > s->index;
    s->base = item->offset;
    s->n_found = 1;
    return 1;
}

static int on_name(void *opaque, const struct qcbm_dump_item *item)
{
    struct search *s = opaque;

    if (strcmp(item->name, "name") != 0 || item->n_bytes != s->bitmap.len ||
        memcmp(item->bytes, s->bitmap.at, item->n_bytes) != 0)
        return 0;
    s->index = item->index;
    s->n_found++;
    return 0;
}

static int find_entry(struct qcbm_dump *d, const struct qcbmi_field *f, enum qcbm_dump_kind part, struct search *s,
                      struct qcbm_error *err)
{
    int ret;

    s->n_found = 0;
    ret = qcbm_dump_part(d, part, 0, UINT64_MAX, on_item, s, NULL, err);
    if (ret == 0 || s->n_found)
        return s->n_found ? 0 : fail(f, QCBM_E_NOTFOUND, QCBM_NO_OFFSET, "there is no such entry", err);
    return ret == QCBM_E_ABORTED ? fail(f, QCBM_E_NOTFOUND, QCBM_NO_OFFSET, "there is no such entry", err) : ret;
}

static int find_bitmap(struct qcbm_dump *d, const struct qcbmi_field *f, uint64_t *base, struct qcbm_error *err)
{
    static const char *const names[] = { "bitmap_table_offset", "bitmap", NULL };
    struct search s = { .names = names, .bitmap = f->whose };
    int ret = 0;

    if (!qcbmi_word_number(f->whose, &s.index)) {
        ret = qcbm_dump_part(d, QCBM_DUMP_BITMAPS, 0, UINT64_MAX, on_name, &s, NULL, err);
        if (ret == 0 && s.n_found != 1)
            ret = fail(f, QCBM_E_NOTFOUND, QCBM_NO_OFFSET,
                       s.n_found ? "several bitmaps have that name: take the index" : "there is no bitmap of that name",
                       err);
    }
    if (ret == 0)
        ret = find_entry(d, f, QCBM_DUMP_BITMAPS, &s, err);
    *base = s.base;
    return ret;
}

static int find_in_list(struct qcbm_dump *d, const struct qcbmi_field *f, struct qcbmi_field_place *out,
                        struct qcbm_error *err)
{
    static const char *const snapshots[] = { "l1_table_offset", "snapshot", NULL };
    static const char *const extensions[] = { "end",       "backing-format", "feature-table", "bitmaps", "crypto",
                                              "data-file", "padding",        "unknown",       NULL };
    bool extension = f->kind == QCBMI_FIELD_EXTENSION;
    struct search s = { .names = extension ? extensions : snapshots, .index = f->index };
    int ret = find_entry(d, f, extension ? QCBM_DUMP_EXTENSIONS : QCBM_DUMP_SNAPSHOTS, &s, err);

    if (ret < 0)
        return ret;
    snprintf(out->what, sizeof(out->what), "%s %" PRIu64 " at 0x%" PRIx64, extension ? "header extension" : "snapshot",
             f->index, s.base);
    return extension ? place_named(d, f, extension_fields, N(extension_fields), s.base, out, err)
                     : place_named(d, f, snapshot_fields, N(snapshot_fields), s.base, out, err);
}

static int find_of_bitmaps(struct qcbm_dump *d, const struct qcbmi_field *f, struct qcbmi_field_place *out,
                           struct qcbm_error *err)
{
    uint8_t payload[Q2_BITMAPS_EXT_LEN];
    uint64_t at;
    int ret = qcbmi_dump_find_bitmaps(d, payload, &at, err);

    if (ret == 0)
        return fail(f, QCBM_E_NOTFOUND, QCBM_NO_OFFSET, "there is no bitmaps extension", err);
    if (ret < 0)
        return ret;
    snprintf(out->what, sizeof(out->what), "bitmaps extension at 0x%" PRIx64, at - 8);
    return place_named(d, f, bitmaps_fields, N(bitmaps_fields), at, out, err);
}

static int find_of_bitmap(struct qcbm_dump *d, const struct qcbmi_field *f, struct qcbmi_field_place *out,
                          struct qcbm_error *err)
{
    uint8_t entry[Q2_BITMAP_DIRENT_FIXED];
    uint64_t base, table;
    int ret = find_bitmap(d, f, &base, err);

    if (ret < 0)
        return ret;
    snprintf(out->what, sizeof(out->what), "entry at 0x%" PRIx64 " of the bitmap directory", base);
    if (f->kind == QCBMI_FIELD_BITMAP)
        return place_named(d, f, bitmap_fields, N(bitmap_fields), base, out, err);
    ret = qcbmi_io_read(&d->io, base, entry, sizeof(entry), "bitmap directory entry", err);
    if (ret < 0)
        return ret;
    table = be64_load(entry);
    if (f->index >= be32_load(entry + 8))
        return fail(f, QCBM_E_NOTFOUND, base, "the table of the bitmap has no such entry", err);
    snprintf(out->what, sizeof(out->what), "entry %" PRIu64 " of the bitmap table at 0x%" PRIx64, f->index, table);
    return place_entry(d, f, table, f->index, out, err);
}

/* ---- tables ---- */

static int find_l1(struct qcbm_dump *d, const struct qcbmi_field *f, uint64_t index, struct qcbmi_field_place *out,
                   struct qcbm_error *err)
{
    if (index >= d->h.l1_entries)
        return fail(f, QCBM_E_NOTFOUND, QCBM_NO_OFFSET, "the L1 table has no such entry", err);
    snprintf(out->what, sizeof(out->what), "entry %" PRIu64 " of the active L1 table at 0x%" PRIx64, index,
             d->h.l1_offset);
    return place_entry(d, f, d->h.l1_offset, index, out, err);
}

static int find_l2(struct qcbm_dump *d, const struct qcbmi_field *f, struct qcbmi_field_place *out,
                   struct qcbm_error *err)
{
    uint64_t in_table = f->index % d->g.l2_span / d->g.cluster_size, table;
    int ret = find_l1(d, f, f->index / d->g.l2_span, out, err);

    if (ret < 0)
        return ret;
    table = out->value & Q2_ENTRY_OFFSET_MASK;
    if (!is_aligned(f->index, d->g.cluster_size))
        return fail(f, QCBM_E_ARG, QCBM_NO_OFFSET,
                    "the offset is not that of a cluster: no multiple of the cluster size", err);
    if (f->kind == QCBMI_FIELD_SUBCLUSTERS && !d->g.extended_l2)
        return fail(f, QCBM_E_NOTFOUND, QCBM_NO_OFFSET, "the image has no subclusters", err);
    if (table == 0)
        return fail(f, QCBM_E_NOTFOUND, out->offset, "the L1 entry names no L2 table", err);
    if (!is_aligned(table, d->g.cluster_size))
        return fail(f, QCBM_E_CORRUPT, out->offset, "the L1 entry names no place of a table", err);
    snprintf(out->what, sizeof(out->what), "%s %" PRIu64 " of the L2 table at 0x%" PRIx64,
             f->kind == QCBMI_FIELD_SUBCLUSTERS ? "subcluster word of entry" : "entry", in_table, table);
    return place(d, f, table + in_table * d->g.l2_entry_size + (f->kind == QCBMI_FIELD_SUBCLUSTERS ? 8 : 0), 8, out,
                 err);
}

static int find_refcount_table(struct qcbm_dump *d, const struct qcbmi_field *f, uint64_t index,
                               struct qcbmi_field_place *out, struct qcbm_error *err)
{
    if (index >= (uint64_t)d->h.reftable_clusters << (d->g.cluster_bits - 3))
        return fail(f, QCBM_E_NOTFOUND, QCBM_NO_OFFSET, "the refcount table has no such entry", err);
    snprintf(out->what, sizeof(out->what), "entry %" PRIu64 " of the refcount table at 0x%" PRIx64, index,
             d->h.reftable_offset);
    return place_entry(d, f, d->h.reftable_offset, index, out, err);
}

static int find_refcount(struct qcbm_dump *d, const struct qcbmi_field *f, struct qcbmi_field_place *out,
                         struct qcbm_error *err)
{
    uint64_t in_block = f->index % d->g.refblock_entries, bit = in_block * d->g.refcount_bits, block;
    int ret = find_refcount_table(d, f, f->index / d->g.refblock_entries, out, err);

    if (ret < 0)
        return ret;
    block = out->value & Q2_REFTABLE_OFFSET_MASK;
    if (d->h.refcount_order > Q2_MAX_REFCOUNT_ORDER)
        return fail(f, QCBM_E_CORRUPT, Q2_OFF_REFCOUNT_ORDER, "refcount_order is above 6, so the width is not known",
                    err);
    if (block == 0 || !is_aligned(block, d->g.cluster_size))
        return fail(f, block ? QCBM_E_CORRUPT : QCBM_E_NOTFOUND, out->offset, "no refcount block counts that cluster",
                    err);
    snprintf(out->what, sizeof(out->what), "entry %" PRIu64 " of the refcount block at 0x%" PRIx64, in_block, block);
    ret = place(d, f, block + bit / 8, (d->g.refcount_bits + 7) / 8, out, err);
    if (ret < 0 || d->g.refcount_bits >= 8)
        return ret;
    out->shift = (uint32_t)(bit % 8);
    out->bits = d->g.refcount_bits;
    out->value = out->value >> out->shift & qcbmi_field_max(out);
    return 0;
}

static int find_in_header(struct qcbm_dump *d, const struct qcbmi_field *f, struct qcbmi_field_place *out,
                          struct qcbm_error *err)
{
    for (unsigned i = 0; i < q2_header_n_fields; i++) {
        const struct q2_header_field *h = &q2_header_fields[i];

        if (!qcbmi_word_is(f->name, h->name) || !q2_header_has_field(h, d->h.version, d->h.header_length))
            continue;
        snprintf(out->what, sizeof(out->what), "header");
        return place(d, f, h->offset, h->length, out, err);
    }
    return fail(f, QCBM_E_ARG, QCBM_NO_OFFSET,
                "the header has no field of that name; 'qcbm dump' shows which there are", err);
}

int qcbmi_field_find(struct qcbm_dump *d, const struct qcbmi_field *f, struct qcbmi_field_place *out,
                     struct qcbm_error *err)
{
    *out = (struct qcbmi_field_place){ 0 };
    if (f->kind == QCBMI_FIELD_HEADER)
        return find_in_header(d, f, out, err);
    if (f->kind == QCBMI_FIELD_EXTENSION || f->kind == QCBMI_FIELD_SNAPSHOT)
        return find_in_list(d, f, out, err);
    if (d->no_geometry)
        return fail(f, QCBM_E_CORRUPT, Q2_OFF_CLUSTER_BITS, d->no_geometry, err);
    switch (f->kind) {
    case QCBMI_FIELD_L1:
        return find_l1(d, f, f->index, out, err);
    case QCBMI_FIELD_L2:
    case QCBMI_FIELD_SUBCLUSTERS:
        return find_l2(d, f, out, err);
    case QCBMI_FIELD_REFCOUNT:
        return find_refcount(d, f, out, err);
    case QCBMI_FIELD_REFCOUNT_TABLE:
        return find_refcount_table(d, f, f->index, out, err);
    case QCBMI_FIELD_BITMAPS:
        return find_of_bitmaps(d, f, out, err);
    default:
        return find_of_bitmap(d, f, out, err);
    }
}
