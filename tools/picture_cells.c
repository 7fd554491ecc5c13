/* picture_cells.c - a disk or file cut into cells of one length, and how many bytes of each kind every cell has
 * SPDX-License-Identifier: MIT
 */
#include "picture_cells.h"

#include <stdlib.h>

static uint64_t least(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t cells_of(uint64_t size, uint64_t cell)
{
    return size / cell + (size % cell != 0);
}

/* A power of two, so that ranges are round numbers, and clusters are not cut where cells are larger than they. */
bool picture_cells_init(struct picture_cells *c, uint64_t size, uint32_t max, unsigned kinds)
{
    uint64_t cell = PICTURE_MIN_CELL;

    while (cells_of(size, cell) > max && cell < UINT64_C(1) << 63)
        cell *= 2;
    *c = (struct picture_cells){ .size = size, .cell = cell, .kinds = kinds };
    c->n = size ? (uint32_t)cells_of(size, cell) : 1;
    c->bytes = calloc((size_t)c->n * kinds, sizeof(c->bytes[0]));
    return c->bytes != NULL;
}

void picture_cells_free(struct picture_cells *c)
{
    free(c->bytes);
    *c = (struct picture_cells){ 0 };
}

void picture_cells_add(struct picture_cells *c, unsigned kind, uint64_t start, uint64_t length)
{
    uint64_t end = start < c->size ? start + least(length, c->size - start) : start;

    if (start >= c->size)
        return;
    c->totals[kind] += end - start;
    while (start < end) {
        uint64_t i = start / c->cell, stop = start + least(end - start, c->cell - start % c->cell);

        c->bytes[i * c->kinds + kind] += stop - start;
        start = stop;
    }
}

uint64_t picture_cell_length(const struct picture_cells *c, uint32_t i)
{
    return least(c->cell, c->size - least(c->size, i * c->cell));
}

const uint64_t *picture_cell_bytes(const struct picture_cells *c, uint32_t i)
{
    return c->bytes + (size_t)i * c->kinds;
}
