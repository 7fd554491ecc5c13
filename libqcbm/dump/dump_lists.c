/* dump_lists.c - structures as they lie on the disk: snapshot table, bitmap directory, bitmap tables and bits
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "dump/dump.h"
#include "format/q2_bitmap_dir.h"
#include "format/q2_l1l2.h"
#include "format/q2_limits.h"
#include "format/q2_snapshot.h"

/* A number of an entry; in text the name of the field is enough. */
static int give_field(struct qcbm_dump *d, uint64_t at, unsigned length, const char *name, uint64_t index,
                      uint64_t value, struct qcbm_error *err)
{
    struct qcbm_dump_item item = { .offset = at, .length = length, .name = name, .index = index, .value = value };

    return qcbmi_dump_give(d, &item, NULL, err, "%" PRIu64, value);
}

static int give_bytes(struct qcbm_dump *d, uint64_t at, const char *name, uint64_t index, const uint8_t *bytes,
                      size_t len, struct qcbm_error *err)
{
    static const uint8_t none[1];
    struct qcbm_dump_item item = { .offset = at, .length = len, .name = name, .index = index };

    item.bytes = len ? bytes : none;
    item.n_bytes = len;
    return qcbmi_dump_give(d, &item, NULL, err, "%s", "");
}

static int give_problem(struct qcbm_dump *d, uint64_t at, const char *name, uint64_t index, const char *problem,
                        struct qcbm_error *err)
{
    struct qcbm_dump_item item = { .offset = at, .name = name, .index = index };

    return qcbmi_dump_give(d, &item, problem, err, "%s",
                           strcmp(name, "verdict") == 0 ? "QEMU refuses the image" : "the rest cannot be read");
}

/* ---- snapshots ---- */

static int give_snapshot(struct qcbm_dump *d, uint64_t at, uint64_t i, const struct q2_snapshot *s,
                         struct qcbm_error *err)
{
    uint64_t strings = at + Q2_SNAPSHOT_FIXED + s->extra_len;
    int ret = give_field(d, at, 8, "l1_table_offset", i, s->l1_offset, err);

    if (ret == 0)
        ret = give_field(d, at + 8, 4, "l1_size", i, s->l1_entries, err);
    if (ret == 0)
        ret = give_field(d, at + 16, 4, "date_sec", i, s->date_sec, err);
    if (ret == 0)
        ret = give_field(d, at + 20, 4, "date_nsec", i, s->date_nsec, err);
    if (ret == 0)
        ret = give_field(d, at + 24, 8, "vm_clock_nsec", i, s->vm_clock_nsec, err);
    if (ret == 0)
        ret = give_field(d, at + 32, 4, "vm_state_size", i, s->vm_state_size32, err);
    if (ret == 0)
        ret = give_bytes(d, at + Q2_SNAPSHOT_FIXED, "extra_data", i, s->extra, s->extra_len, err);
    if (ret == 0)
        ret = give_bytes(d, strings, "id", i, s->id, s->id_len, err);
    if (ret == 0)
        ret = give_bytes(d, strings + s->id_len, "name", i, s->name, s->name_len, err);
    return ret;
}

/* Bytes of a list that can be there: in the file, and within what QEMU would read. */
static int read_list(struct qcbm_dump *d, uint64_t at, uint64_t limit, uint8_t **out, uint64_t *len,
                     struct qcbm_error *err)
{
    int ret;

    *len = at < d->io.size ? u64_min(d->io.size - at, limit) : 0;
    *out = qcbmi_alloc_array(*len, 1, err);
    if (!*out)
        return QCBM_E_NOMEM;
    ret = *len ? qcbmi_io_read(&d->io, at, *out, *len, "list", err) : 0;
    if (ret < 0) {
        free(*out);
        *out = NULL;
    }
    return ret;
}

int qcbmi_dump_snapshots(struct qcbm_dump *d, uint64_t first, uint64_t last, struct qcbm_error *err)
{
    uint64_t base = d->h.snapshots_offset, len;
    struct qcbm_error why;
    struct q2_cursor in;
    uint8_t *table;
    int ret;

    if (d->h.n_snapshots == 0)
        return 0;
    ret = read_list(d, base, Q2_MAX_SNAPSHOT_TABLE_BYTES, &table, &len, err);
    if (ret < 0)
        return ret;
    q2_cursor_init(&in, table, (size_t)len);
    for (uint32_t i = 0; ret == 0 && i < d->h.n_snapshots && i <= last; i++) {
        uint64_t at = base + (uint64_t)(in.at - table);
        struct q2_snapshot s;

        if (q2_snapshot_parse(&in, table, base, i, &s, &why) < 0) {
            ret = give_problem(d, at, "snapshot", i, why.message, err);
            break;
        }
        if (i >= first)
            ret = give_snapshot(d, at, i, &s, err);
    }
    free(table);
    return ret;
}

/* ---- bitmaps ---- */

static int give_entry(struct qcbm_dump *d, uint64_t at, uint64_t i, const struct q2_bitmap_dirent *b,
                      struct qcbm_error *err)
{
    uint64_t extra = at + Q2_BITMAP_DIRENT_FIXED;
    struct qcbm_error why;
    int ret = give_field(d, at, 8, "bitmap_table_offset", i, b->table_offset, err);

    if (ret == 0)
        ret = give_field(d, at + 8, 4, "bitmap_table_size", i, b->table_entries, err);
    if (ret == 0)
        ret = give_field(d, at + 12, 4, "flags", i, b->flags, err);
    if (ret == 0)
        ret = give_field(d, at + 16, 1, "type", i, b->type, err);
    if (ret == 0)
        ret = give_field(d, at + 17, 1, "granularity_bits", i, b->granularity_bits, err);
    if (ret == 0 && b->extra_len)
        ret = give_bytes(d, extra, "extra_data", i, b->extra, b->extra_len, err);
    if (ret == 0)
        ret = give_bytes(d, extra + b->extra_len, "name", i, b->name, b->name_len, err);
    if (ret == 0 && q2_bitmap_dirent_check(b, at, &d->g, &why) < 0)
        ret = give_problem(d, why.offset, "verdict", i, why.message, err);
    return ret;
}

static int give_bits(struct qcbm_dump *d, uint64_t at, uint64_t first_bit, uint64_t n, struct qcbm_error *err)
{
    struct qcbm_dump_item item = {
        .offset = at, .length = div_up(n + first_bit % 8, 8), .name = "bits", .index = first_bit, .value = n
    };

    return qcbmi_dump_give(d, &item, NULL, err, "bits %" PRIu64 " to %" PRIu64 " are set", first_bit,
                           first_bit + n - 1);
}

/* Runs of set bits of one data cluster, whose first bit is @base. */
static int dump_bits(struct qcbm_dump *d, uint64_t data, uint64_t base, struct qcbm_error *err)
{
    uint64_t cs = d->g.cluster_size, piece = u64_min(cs, 4096), run = 0, n = 0;
    int ret = 0;

    for (uint64_t at = 0; ret == 0 && at < cs; at += piece) {
        const uint8_t *bytes;

        ret = qcbmi_window_at(&d->window2, &d->io, data + at, piece, cs - at, &bytes, err);
        if (ret < 0 || (n == 0 && qcbmi_window_is_zero(&d->window2, data + at, cs - at)))
            return ret;
        for (uint64_t i = 0; ret == 0 && i < 8 * piece; i++) {
            if (bytes[i / 8] >> (i % 8) & 1) {
                run = n++ ? run : 8 * at + i;
            } else if (n) {
                ret = give_bits(d, data + run / 8, base + run, n, err);
                n = 0;
            }
        }
    }
    return ret == 0 && n ? give_bits(d, data + run / 8, base + run, n, err) : ret;
}

static int dump_table_entry(struct qcbm_dump *d, uint64_t table, uint64_t i, uint64_t value, struct qcbm_error *err)
{
    struct qcbm_dump_item item = {
        .offset = table + 8 * i, .length = 8, .name = "bitmap-table-entry", .index = i, .value = value
    };
    enum q2_bitmap_entry_kind kind;
    const char *problem = NULL;
    uint64_t data = 0;
    int ret;

    kind = q2_bitmap_table_entry(value, d->g.cluster_size, &data);
    if (kind == Q2_BME_BAD)
        problem = "reserved bits, bit 0 with an offset, or an unaligned offset";
    else if (kind == Q2_BME_DATA && data >= d->io.size)
        problem = "the offset lies past the end of the file";
    if (kind == Q2_BME_ONES)
        ret = qcbmi_dump_give(d, &item, NULL, err, "all bits are set");
    else
        ret = qcbmi_dump_give(d, &item, problem, err, "data at 0x%" PRIx64, value & Q2_ENTRY_OFFSET_MASK);
    if (ret < 0 || kind != Q2_BME_DATA || problem)
        return ret;
    if (d->budget < d->g.cluster_size)
        return give_problem(d, table + 8 * i, "bits", i, "the same clusters are named again and again", err);
    d->budget -= d->g.cluster_size;
    return dump_bits(d, data, i * d->g.cluster_size * 8, err);
}

static int dump_bitmap_table(struct qcbm_dump *d, const struct q2_bitmap_dirent *b, struct qcbm_error *err)
{
    uint64_t n = qcbmi_dump_entries(d, b->table_offset, b->table_entries, UINT64_MAX);
    int ret = 0;

    if (n < b->table_entries)
        ret = give_problem(d, b->table_offset, "bitmap-table", n, "the table passes the end of the file", err);
    for (uint64_t i = 0, next; ret == 0 && i < n; i = next) {
        uint64_t value;

        ret = qcbmi_dump_word(d, b->table_offset, i, n, &value, &next, err);
        if (ret < 0 || value == 0)
            continue;
        if (d->budget < 8)
            return give_problem(d, b->table_offset, "bitmap-table", i, "the same tables are named again and again",
                                err);
        d->budget -= 8;
        ret = dump_table_entry(d, b->table_offset, i, value, err);
    }
    return ret;
}

static int dump_directory(struct qcbm_dump *d, const struct q2_bitmaps_ext *ext, uint64_t first, uint64_t last,
                          struct qcbm_error *err)
{
    struct qcbm_error why;
    struct q2_cursor in;
    uint8_t *directory;
    uint64_t len;
    int ret = read_list(d, ext->directory_offset, u64_min(ext->directory_size, Q2_MAX_BITMAP_DIRECTORY), &directory,
                        &len, err);

    if (ret < 0)
        return ret;
    q2_cursor_init(&in, directory, (size_t)len);
    for (uint32_t i = 0; ret == 0 && i < ext->n_bitmaps && i <= last; i++) {
        uint64_t at = ext->directory_offset + (uint64_t)(in.at - directory);
        struct q2_bitmap_dirent b;

        if (q2_bitmap_dirent_parse(&in, at, &b, &why) < 0) {
            ret = give_problem(d, at, "bitmap", i, why.message, err);
            break;
        }
        if (i >= first)
            ret = give_entry(d, at, i, &b, err);
        if (ret == 0 && i >= first && last != UINT64_MAX) /* tables and bits of those that were asked for */
            ret = dump_bitmap_table(d, &b, err);
    }
    free(directory);
    return ret;
}

int qcbmi_dump_bitmaps(struct qcbm_dump *d, uint64_t first, uint64_t last, struct qcbm_error *err)
{
    uint8_t payload[Q2_BITMAPS_EXT_LEN];
    struct q2_bitmaps_ext ext;
    struct qcbm_error why;
    uint64_t at;
    int ret;

    ret = qcbmi_dump_find_bitmaps(d, payload, &at, err);
    if (ret <= 0)
        return ret;
    q2_bitmaps_ext_parse(payload, &ext);
    ret = give_field(d, at, 4, "nb_bitmaps", QCBM_NO_OFFSET, ext.n_bitmaps, err);
    if (ret == 0)
        ret = give_field(d, at + 4, 4, "reserved", QCBM_NO_OFFSET, ext.reserved, err);
    if (ret == 0)
        ret = give_field(d, at + 8, 8, "bitmap_directory_size", QCBM_NO_OFFSET, ext.directory_size, err);
    if (ret == 0)
        ret = give_field(d, at + 16, 8, "bitmap_directory_offset", QCBM_NO_OFFSET, ext.directory_offset, err);
    if (ret == 0 && q2_bitmaps_ext_check(&ext, at, d->g.cluster_size, &why) < 0)
        ret = give_problem(d, why.offset, "verdict", QCBM_NO_OFFSET, why.message, err);
    return ret < 0 ? ret : dump_directory(d, &ext, first, last, err);
}
