/* dirtymap.c - a dirty bitmap in memory: one bit per granule of the virtual disk
 * SPDX-License-Identifier: MIT */
#include "bitmap/dirtymap.h"

#include "base/checked.h"

int qcbmi_dirtymap_init(struct qcbmi_dirtymap *map, uint64_t size, unsigned gran_bits, struct qcbm_error *err)
{
    map->size = size;
    map->gran_bits = gran_bits;
    return qcbmi_bitset_init(&map->bits, div_up(size, UINT64_C(1) << gran_bits), err);
}

void qcbmi_dirtymap_free(struct qcbmi_dirtymap *map)
{
    qcbmi_bitset_free(&map->bits);
}

int qcbmi_dirtymap_set(struct qcbmi_dirtymap *map, uint64_t start, uint64_t end, struct qcbm_error *err)
{
    end = u64_min(end, map->size);
    if (start >= end)
        return 0;
    return qcbmi_bitset_set(&map->bits, start >> map->gran_bits, ((end - 1) >> map->gran_bits) + 1, err);
}

int qcbmi_dirtymap_clear_within(struct qcbmi_dirtymap *map, uint64_t start, uint64_t end, struct qcbm_error *err)
{
    uint64_t first = div_up(start, UINT64_C(1) << map->gran_bits);
    uint64_t stop = end >= map->size ? map->bits.n_bits : end >> map->gran_bits;

    return first < stop ? qcbmi_bitset_clear(&map->bits, first, stop, err) : 0;
}

int qcbmi_dirtymap_set_tail(struct qcbmi_dirtymap *map, uint64_t covered, struct qcbm_error *err)
{
    return qcbmi_dirtymap_set(map, covered < map->size ? covered : map->size - 1, map->size, err);
}

bool qcbmi_dirtymap_next(const struct qcbmi_dirtymap *map, uint64_t from, uint64_t *start, uint64_t *end)
{
    uint64_t first, stop;

    if (from >= map->size)
        return false;
    first = qcbmi_bitset_next_set(&map->bits, from >> map->gran_bits);
    if (first >= map->bits.n_bits)
        return false;
    stop = qcbmi_bitset_next_clear(&map->bits, first);
    *start = u64_max(from, first << map->gran_bits);
    *end = u64_min(map->size, stop << map->gran_bits);
    return true;
}

uint64_t qcbmi_dirtymap_dirty_bytes(const struct qcbmi_dirtymap *map)
{
    uint64_t n = map->bits.n_bits, bytes = qcbmi_bitset_count(&map->bits) << map->gran_bits;

    if (n && qcbmi_bitset_get(&map->bits, n - 1)) /* the last granule may reach past the end */
        bytes -= (n << map->gran_bits) - map->size;
    return bytes;
}

int qcbmi_dirtymap_merge(struct qcbmi_dirtymap *to, const struct qcbmi_dirtymap *from, struct qcbm_error *err)
{
    uint64_t start, end = 0;

    if (to->gran_bits == from->gran_bits && to->size == from->size)
        return qcbmi_bitset_or(&to->bits, &from->bits, err);
    while (qcbmi_dirtymap_next(from, end, &start, &end)) {
        int ret = qcbmi_dirtymap_set(to, start, end, err);

        if (ret < 0)
            return ret;
    }
    return 0;
}

/* Runs that qcbmi_dirtymap_next() gives are as long as can be, so a granule that they cover lies in one of them. */
int qcbmi_dirtymap_subtract(struct qcbmi_dirtymap *to, const struct qcbmi_dirtymap *from, struct qcbm_error *err)
{
    uint64_t start, end = 0;
    int ret = 0;

    while (ret == 0 && qcbmi_dirtymap_next(from, end, &start, &end))
        ret = qcbmi_dirtymap_clear_within(to, start, end, err);
    return ret;
}

int qcbmi_dirtymap_intersect(struct qcbmi_dirtymap *to, const struct qcbmi_dirtymap *from, struct qcbm_error *err)
{
    uint64_t start, end, clean = 0;
    int ret = 0;

    while (ret == 0 && qcbmi_dirtymap_next(from, clean, &start, &end)) {
        ret = qcbmi_dirtymap_clear_within(to, clean, start, err);
        clean = end;
    }
    return ret < 0 ? ret : qcbmi_dirtymap_clear_within(to, clean, to->size, err);
}
