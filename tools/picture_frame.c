/* picture_frame.c - where a picture lies in a file: cells, title and legend
 * SPDX-License-Identifier: MIT
 */
#include "picture_out.h"

enum { MARGIN = 12, TITLE = 44, LINE = 22, SPAN = 768, MIN_WIDTH = 780, MAX_SIDE = 48 };

const char *const picture_forms[N_PICTURE_FORMS] = { "svg", "png" };

static uint32_t side_of(const struct picture_layout *l)
{
    uint32_t longer = l->width > l->height ? l->width : l->height;
    uint32_t side = longer < SPAN ? SPAN / longer : 1;

    return side < MAX_SIDE ? side : MAX_SIDE;
}

struct picture_frame picture_frame_of(const struct picture *p)
{
    struct picture_frame f = { .left = MARGIN, .top = TITLE + MARGIN, .side = side_of(&p->layout) };

    f.width = 2 * MARGIN + f.side * p->layout.width;
    if (f.width < MIN_WIDTH)
        f.width = MIN_WIDTH;
    f.height = f.top + f.side * p->layout.height + MARGIN + LINE * (p->plan.n + p->n_lines + 2);
    return f;
}
