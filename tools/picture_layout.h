/* picture_layout.h - where a cell of a picture is drawn: in rows, or along Hilbert's curve
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_PICTURE_LAYOUT_H
#define QCBM_TOOL_PICTURE_LAYOUT_H

#include <stdbool.h>
#include <stdint.h>

struct picture_layout {
    bool hilbert;           /* else in rows, from left to right and from the top down */
    uint32_t width, height; /* places; with hilbert both are the same power of two */
};
struct picture_place {
    uint32_t x, y;
};

/* The most cells of a picture that is @width places wide and in rows @max_height high. */
uint32_t picture_layout_room(bool hilbert, uint32_t width, uint32_t max_height);
/* For @n cells, at most that many. Along the curve what is left over stays empty. */
struct picture_layout picture_layout_of(bool hilbert, uint32_t width, uint32_t n);
struct picture_place picture_place_of(const struct picture_layout *l, uint32_t i);

#endif
