/* fuzz_bitmap_dir.c - bitmap directory and table entries: limits hold, and store of parse is identity
 * SPDX-License-Identifier: MIT
 *
 * Input: a geometry, then a directory; its bytes also serve as table entries. */
#include <stdlib.h>
#include <string.h>

#include "format/q2_bitmap_dir.h"
#include "fuzz.h"
#include "fuzz_geometry.h"

static void check_identity(const struct q2_bitmap_dirent *d, const uint8_t *from, size_t len)
{
    size_t used = (size_t)Q2_BITMAP_DIRENT_FIXED + d->extra_len + d->name_len;
    uint8_t *stored = malloc(len);

    if (!stored)
        abort();
    fuzz_require(q2_bitmap_dirent_len(d->extra_len, d->name_len) == len, "bitmap entry", "length");
    q2_bitmap_dirent_store(stored, d);
    fuzz_require(memcmp(stored, from, used) == 0, "bitmap entry", "store of parse is not identity");
    free(stored);
}

/* Cannot overflow, where adding before dividing might. */
static uint64_t quotient_up(uint64_t a, uint64_t b)
{
    return a / b + (a % b != 0);
}

/* What passes is what QEMU would open. */
static void check_rules(const struct q2_bitmap_dirent *d, const struct q2_geometry *g)
{
    uint64_t granules, entries;

    fuzz_require(d->granularity_bits >= 9 && d->granularity_bits <= 31, "bitmap entry", "granularity");
    granules = quotient_up(g->size / 512 * 512, UINT64_C(1) << d->granularity_bits);
    entries = quotient_up(quotient_up(granules, 8), g->cluster_size);
    fuzz_require(d->table_offset && d->table_offset % g->cluster_size == 0, "bitmap entry", "place of the table");
    fuzz_require((uint64_t)d->table_entries * g->cluster_size <= 512u << 20, "bitmap entry", "table too large");
    fuzz_require(d->table_entries > 0 && d->extra_len == 0 && d->flags <= 3 && d->type == 1, "bitmap entry", "field");
    fuzz_require(d->name_len >= 1 && d->name_len <= 1023 && !memchr(d->name, 0, d->name_len), "bitmap entry", "name");
    fuzz_require((d->flags & 1) || d->table_entries == entries, "bitmap entry", "table does not fit the disk");
}

static void check_table_entry(uint64_t raw, uint32_t cs)
{
    uint64_t off;
    enum q2_bitmap_entry_kind kind = q2_bitmap_table_entry(raw, cs, &off);

    fuzz_require((kind == Q2_BME_ZEROS) == (raw == 0), "bitmap table", "zeros");
    fuzz_require((kind == Q2_BME_ONES) == (raw == 1), "bitmap table", "ones");
    if (kind == Q2_BME_DATA)
        fuzz_require(off == raw && off % cs == 0 && off < UINT64_C(1) << 56, "bitmap table", "place of data");
    if (kind == Q2_BME_BAD)
        fuzz_require(raw % cs != 0 || raw >> 56, "bitmap table", "a sound entry is refused");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct q2_geometry g;
    struct q2_cursor in;

    if (size < FUZZ_GEOMETRY_BYTES)
        return 0;
    fuzz_geometry(data, &g);
    for (size_t at = FUZZ_GEOMETRY_BYTES; size - at >= 8; at += 8)
        check_table_entry(be64_load(data + at), g.cluster_size);
    q2_cursor_init(&in, data + FUZZ_GEOMETRY_BYTES, size - FUZZ_GEOMETRY_BYTES);
    while (q2_cursor_left(&in)) {
        const uint8_t *from = in.at;
        struct q2_bitmap_dirent d;
        struct qcbm_error err;
        int ret = q2_bitmap_dirent_parse(&in, 4096, &d, &err);

        if (ret < 0) {
            fuzz_check_error(&err, ret);
            return 0;
        }
        check_identity(&d, from, (size_t)(in.at - from));
        ret = q2_bitmap_dirent_check(&d, 4096, &g, &err);
        if (ret < 0)
            fuzz_check_error(&err, ret);
        else
            check_rules(&d, &g);
    }
    return 0;
}
