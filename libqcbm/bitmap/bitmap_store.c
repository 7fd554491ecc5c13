/* bitmap_store.c - a dirty map into clusters and a bitmap table, in a plan
 * SPDX-License-Identifier: MIT */
#include "bitmap/bitmap_store.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"

uint64_t qcbmi_bitmap_store_want(const struct qcbmi_dirtymap *map, uint32_t cluster_size)
{
    uint64_t entries = div_up(div_up(map->bits.n_bits, 8), cluster_size);

    return entries + div_up(8 * entries, cluster_size);
}

/* What table entry @i is to be. All ones only for a whole cluster of granules: in the last, partial one the bits behind
 * the end must be zero (spec), and QEMU would take the entry for ones there as well. */
static enum q2_bitmap_entry_kind classify(const struct qcbmi_dirtymap *map, uint64_t i, uint64_t bits_per_cluster)
{
    uint64_t first = i * bits_per_cluster, end = u64_min(first + bits_per_cluster, map->bits.n_bits);

    switch (qcbmi_bitset_state(&map->bits, first, end)) {
    case QCBMI_BITS_CLEAR:
        return Q2_BME_ZEROS;
    case QCBMI_BITS_SET:
        return end - first == bits_per_cluster ? Q2_BME_ONES : Q2_BME_DATA;
    default:
        return Q2_BME_DATA;
    }
}

/* Take clusters for the data entries in as few runs as there are holes, and stage their content. */
static int store_data(struct qcbmi_alloc *alloc, struct qcbmi_plan *plan, const struct qcbmi_dirtymap *map,
                      uint8_t *table, uint64_t entries, uint64_t n_data, struct qcbm_error *err)
{
    uint64_t cs = alloc->img->g.cluster_size, off = 0, got = 0;
    int ret = 0;

    for (uint64_t i = 0; ret == 0 && i < entries; i++) {
        enum q2_bitmap_entry_kind kind = classify(map, i, 8 * cs);

        if (kind != Q2_BME_DATA) {
            be64_store(table + 8 * i, kind == Q2_BME_ONES ? Q2_BITMAP_TABLE_ONES : 0);
            continue;
        }
        if (got == 0) {
            ret = qcbmi_alloc_take_some(alloc, n_data, &off, &got, err);
            if (ret < 0)
                break;
        }
        be64_store(table + 8 * i, off);
        ret = qcbmi_plan_write_from(plan, "bitmap data", off, cs,
                                    &(struct qcbmi_source){ .bits = &map->bits, .first = i * cs }, err);
        off += cs;
        got--;
        n_data--;
    }
    return ret;
}

int qcbmi_bitmap_store(struct qcbmi_alloc *alloc, struct qcbmi_plan *plan, const struct qcbmi_dirtymap *map,
                       uint64_t *table_offset, uint32_t *table_entries, struct qcbm_error *err)
{
    uint64_t cs = alloc->img->g.cluster_size;
    uint64_t entries = div_up(div_up(map->bits.n_bits, 8), cs), n_data = 0;
    uint8_t *table = qcbmi_alloc_array(entries, 8, err);
    int ret = table ? 0 : QCBM_E_NOMEM;

    *table_entries = (uint32_t)entries;
    for (uint64_t i = 0; ret == 0 && i < entries; i++)
        n_data += classify(map, i, 8 * cs) == Q2_BME_DATA;
    if (ret == 0)
        ret = store_data(alloc, plan, map, table, entries, n_data, err);
    if (ret == 0)
        ret = qcbmi_alloc_take(alloc, div_up(8 * entries, cs), table_offset, err);
    if (ret == 0)
        return qcbmi_plan_write_owned(plan, "bitmap table", *table_offset, table, 8 * entries, err);
    free(table);
    return ret;
}
