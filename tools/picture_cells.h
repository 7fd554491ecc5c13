/* picture_cells.h - a disk or file cut into cells of one length, and how many bytes of each kind every cell has
 * SPDX-License-Identifier: MIT
 *
 * Exact: each byte is in one cell and of one kind, so sums over all cells are those over all ranges that were added. */
#ifndef QCBM_TOOL_PICTURE_CELLS_H
#define QCBM_TOOL_PICTURE_CELLS_H

#include <stdbool.h>
#include <stdint.h>

#define PICTURE_MAX_CELLS 65536u
#define PICTURE_MAX_KINDS 16u
#define PICTURE_MIN_CELL 512u /* bytes */

struct picture_cells {
    uint64_t size;   /* bytes of the whole, at most INT64_MAX */
    uint64_t cell;   /* bytes of a cell, a power of two; the last one may have fewer */
    uint32_t n;      /* cells, at least 1 */
    unsigned kinds;  /* 1 .. PICTURE_MAX_KINDS */
    uint64_t *bytes; /* n times kinds */
    uint64_t totals[PICTURE_MAX_KINDS];
};

/* As many cells as are needed, at most @max (1 .. PICTURE_MAX_CELLS), all of them empty. False: no memory. */
bool picture_cells_init(struct picture_cells *c, uint64_t size, uint32_t max, unsigned kinds);
void picture_cells_free(struct picture_cells *c); /* fine on a zeroed struct */

/* Bytes [@start, @start + @length) are of @kind; what lies past the end is left out. */
void picture_cells_add(struct picture_cells *c, unsigned kind, uint64_t start, uint64_t length);

/* Bytes that cell @i stands for. */
uint64_t picture_cell_length(const struct picture_cells *c, uint32_t i);
/* Bytes of each kind in it. */
const uint64_t *picture_cell_bytes(const struct picture_cells *c, uint32_t i);

#endif
