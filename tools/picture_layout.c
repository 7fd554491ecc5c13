/* picture_layout.c - where a cell of a picture is drawn: in rows, or along Hilbert's curve
 * SPDX-License-Identifier: MIT
 */
#include "picture_layout.h"

#include "picture_cells.h"

uint32_t picture_layout_room(bool hilbert, uint32_t width, uint32_t max_height)
{
    uint64_t room = (uint64_t)width * (hilbert ? width : max_height);

    return room < PICTURE_MAX_CELLS ? (uint32_t)room : PICTURE_MAX_CELLS;
}

struct picture_layout picture_layout_of(bool hilbert, uint32_t width, uint32_t n)
{
    struct picture_layout l = { hilbert, width, width };

    if (!hilbert)
        l.height = (n + width - 1) / width;
    return l;
}

/* The curve through a square: four squares of half the side, one behind the other, of which the first and the last are
 * turned so that each ends beside where the next begins. From the smallest square up. */
static struct picture_place on_curve(uint32_t side, uint32_t i)
{
    struct picture_place p = { 0, 0 };

    for (uint32_t half = 1; half < side; half *= 2, i /= 4) {
        uint32_t right = i / 2 & 1, below = (i ^ right) & 1, was_x;

        if (!below && right) { /* the last quarter: seen from its other side */
            p.x = half - 1 - p.x;
            p.y = half - 1 - p.y;
        }
        if (!below) {
            was_x = p.x;
            p.x = p.y;
            p.y = was_x;
        }
        p.x += half * right;
        p.y += half * below;
    }
    return p;
}

struct picture_place picture_place_of(const struct picture_layout *l, uint32_t i)
{
    if (l->hilbert)
        return on_curve(l->width, i);
    return (struct picture_place){ i % l->width, i / l->width };
}
