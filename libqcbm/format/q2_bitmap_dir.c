/* q2_bitmap_dir.c - bitmap directory entries and bitmap table entries
 * SPDX-License-Identifier: MIT */
#include "format/q2_bitmap_dir.h"

#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "format/q2_l1l2.h"
#include "format/q2_limits.h"

enum { /* where the fields of an entry lie */
       OFF_TABLE_OFFSET = 0,
       OFF_TABLE_ENTRIES = 8,
       OFF_FLAGS = Q2_BITMAP_DIRENT_FLAGS_OFF,
       OFF_TYPE = 16,
       OFF_GRANULARITY = 17,
       OFF_NAME_LEN = 18,
       OFF_EXTRA_LEN = 20
};

uint64_t q2_bitmap_dirent_len(uint32_t extra_len, uint16_t name_len)
{
    return align_up((uint64_t)Q2_BITMAP_DIRENT_FIXED + extra_len + name_len, 8);
}

int q2_bitmap_dirent_parse(struct q2_cursor *in, uint64_t entry_offset, struct q2_bitmap_dirent *out,
                           struct qcbm_error *err)
{
    struct q2_bitmap_dirent d = { 0 };
    size_t left = q2_cursor_left(in);
    uint64_t used;

    d.table_offset = q2_take_u64(in);
    d.table_entries = q2_take_u32(in);
    d.flags = q2_take_u32(in);
    d.type = q2_take_u8(in);
    d.granularity_bits = q2_take_u8(in);
    d.name_len = q2_take_u16(in);
    d.extra_len = q2_take_u32(in);
    d.extra = q2_take(in, d.extra_len);
    d.name = q2_take(in, d.name_len);
    used = (uint64_t)Q2_BITMAP_DIRENT_FIXED + d.extra_len + d.name_len;
    (void)q2_take(in, (size_t)(align_up(used, 8) - used));
    if (in->overrun)
        return qcbmi_fail(err, QCBM_E_CORRUPT, entry_offset,
                          "Broken bitmap directory: an entry of %" PRIu64 " bytes with %zu bytes left",
                          align_up(used, 8), left);
    *out = d;
    return 0;
}

void q2_bitmap_dirent_store(uint8_t *to, const struct q2_bitmap_dirent *d)
{
    size_t used = (size_t)Q2_BITMAP_DIRENT_FIXED + d->extra_len + d->name_len;

    be64_store(to + OFF_TABLE_OFFSET, d->table_offset);
    be32_store(to + OFF_TABLE_ENTRIES, d->table_entries);
    be32_store(to + OFF_FLAGS, d->flags);
    to[OFF_TYPE] = d->type;
    to[OFF_GRANULARITY] = d->granularity_bits;
    be16_store(to + OFF_NAME_LEN, d->name_len);
    be32_store(to + OFF_EXTRA_LEN, d->extra_len);
    if (d->extra_len)
        memcpy(to + Q2_BITMAP_DIRENT_FIXED, d->extra, d->extra_len);
    if (d->name_len)
        memcpy(to + Q2_BITMAP_DIRENT_FIXED + d->extra_len, d->name, d->name_len);
    memset(to + used, 0, (size_t)q2_bitmap_dirent_len(d->extra_len, d->name_len) - used);
}

/* A name may be 64 KiB of anything; so much of it goes into a message. */
#define SHOWN_NAME 160
#define UNFIT "Bitmap '%s' doesn't satisfy the constraints: "

static int check_table_place(const struct q2_bitmap_dirent *d, uint64_t at, const struct q2_geometry *g,
                             const char *name, struct qcbm_error *err)
{
    if (d->table_offset == 0 || !is_aligned(d->table_offset, g->cluster_size))
        return qcbmi_fail(err, QCBM_E_CORRUPT, at + OFF_TABLE_OFFSET, UNFIT "table offset 0x%" PRIx64 " is %s", name,
                          d->table_offset, d->table_offset ? "not cluster-aligned" : "not allowed");
    if (d->table_entries == 0 || d->table_entries > Q2_MAX_BITMAP_TABLE ||
        (uint64_t)d->table_entries * g->cluster_size > Q2_MAX_BITMAP_BYTES)
        return qcbmi_fail(err, QCBM_E_CORRUPT, at + OFF_TABLE_ENTRIES,
                          UNFIT "table of %" PRIu32 " entries, allowed: 1 to %" PRIu64, name, d->table_entries,
                          u64_min(Q2_MAX_BITMAP_TABLE, Q2_MAX_BITMAP_BYTES / g->cluster_size));
    if (!range_fits(d->table_offset, (uint64_t)d->table_entries * 8, Q2_MAX_OFFSET))
        return qcbmi_fail(err, QCBM_E_CORRUPT, at + OFF_TABLE_OFFSET, UNFIT "table at 0x%" PRIx64 " passes 2^63 - 1",
                          name, d->table_offset);
    return 0;
}

static int check_name(const struct q2_bitmap_dirent *d, uint64_t at, const char *name, struct qcbm_error *err)
{
    const uint8_t *nul;

    if (d->name_len == 0 || d->name_len > Q2_MAX_BITMAP_NAME)
        return qcbmi_fail(err, QCBM_E_CORRUPT, at + OFF_NAME_LEN, UNFIT "name of %u bytes, allowed: 1 to %u", name,
                          d->name_len, Q2_MAX_BITMAP_NAME);
    nul = memchr(d->name, 0, d->name_len);
    if (nul)
        return qcbmi_fail(err, QCBM_E_CORRUPT, at + Q2_BITMAP_DIRENT_FIXED + d->extra_len + (uint64_t)(nul - d->name),
                          UNFIT "byte %zu of the name is NUL", name, (size_t)(nul - d->name));
    return 0;
}

/* QEMU loads a bitmap that is not in use and wants its table to fit the virtual size to the entry. */
static int check_exact(const struct q2_bitmap_dirent *d, uint64_t at, const struct q2_geometry *g, const char *name,
                       struct qcbm_error *err)
{
    struct q2_bitmap_size want = { 0 };
    int ret;

    if (d->flags & Q2_BITMAP_IN_USE)
        return 0;
    ret = q2_bitmap_size(g->sector_size_down, d->granularity_bits, g->cluster_size, &want, NULL);
    if (ret < 0)
        return qcbmi_fail(err, QCBM_E_CORRUPT, at + OFF_GRANULARITY,
                          UNFIT "granularity 2^%u is too fine for the size %" PRIu64, name, d->granularity_bits,
                          g->size);
    if (d->table_entries != want.entries)
        return qcbmi_fail(err, QCBM_E_CORRUPT, at + OFF_TABLE_ENTRIES,
                          UNFIT "table of %" PRIu32 " entries, size %" PRIu64 " needs %" PRIu64, name, d->table_entries,
                          g->size, want.entries);
    return 0;
}

int q2_bitmap_dirent_check(const struct q2_bitmap_dirent *d, uint64_t entry_offset, const struct q2_geometry *g,
                           struct qcbm_error *err)
{
    const uint32_t known = Q2_BITMAP_IN_USE | Q2_BITMAP_AUTO;
    char name[SHOWN_NAME];
    int ret;

    (void)qcbmi_printable(name, sizeof(name), d->name, d->name_len);
    ret = check_table_place(d, entry_offset, g, name, err);
    if (ret < 0)
        return ret;
    if (d->flags & ~known)
        return qcbmi_fail(err, QCBM_E_CORRUPT, entry_offset + OFF_FLAGS,
                          UNFIT "flags 0x%" PRIx32 ", QEMU allows bits 0 and 1", name, d->flags);
    if (d->type != Q2_BITMAP_TYPE_DIRTY)
        return qcbmi_fail(err, QCBM_E_CORRUPT, entry_offset + OFF_TYPE, UNFIT "type %u, must be 1 (dirty tracking)",
                          name, d->type);
    if (d->granularity_bits < Q2_MIN_GRANULARITY_BITS || d->granularity_bits > Q2_MAX_GRANULARITY_BITS)
        return qcbmi_fail(err, QCBM_E_CORRUPT, entry_offset + OFF_GRANULARITY,
                          UNFIT "granularity 2^%u, allowed: 2^9 to 2^31", name, d->granularity_bits);
    if (d->extra_len != 0)
        return qcbmi_fail(err, QCBM_E_CORRUPT, entry_offset + OFF_EXTRA_LEN,
                          "Bitmap '%s': extra data is not supported (%" PRIu32 " bytes)", name, d->extra_len);
    ret = check_name(d, entry_offset, name, err);
    if (ret < 0)
        return ret;
    return check_exact(d, entry_offset, g, name, err);
}

int q2_bitmap_size(uint64_t size, unsigned granularity_bits, uint32_t cluster_size, struct q2_bitmap_size *out,
                   struct qcbm_error *err)
{
    uint64_t bits, bytes;

    if (granularity_bits > 63)
        return qcbmi_fail(err, QCBM_E_LIMIT, QCBM_NO_OFFSET, "granularity 2^%u: at most 2^63", granularity_bits);
    bits = div_up(size, UINT64_C(1) << granularity_bits);
    bytes = div_up(bits, 8);
    if (bytes > Q2_MAX_BITMAP_BYTES)
        return qcbmi_fail(err, QCBM_E_LIMIT, QCBM_NO_OFFSET,
                          "Too much space will be occupied by the bitmap. Use larger granularity");
    out->bits = bits;
    out->bytes = bytes;
    out->entries = div_up(bytes, cluster_size);
    return 0;
}

enum q2_bitmap_entry_kind q2_bitmap_table_entry(uint64_t raw, uint32_t cluster_size, uint64_t *data_offset)
{
    uint64_t offset = raw & Q2_ENTRY_OFFSET_MASK;

    *data_offset = 0;
    if (raw == 0)
        return Q2_BME_ZEROS;
    if (raw == Q2_BITMAP_TABLE_ONES)
        return Q2_BME_ONES;
    /* what is left must be an offset and nothing else */
    if (raw != offset || !is_aligned(offset, cluster_size))
        return Q2_BME_BAD;
    *data_offset = offset;
    return Q2_BME_DATA;
}
