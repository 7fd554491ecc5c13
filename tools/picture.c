/* picture.c - a picture: cells, what kinds of bytes they are counted by, and how a cell looks
 * SPDX-License-Identifier: MIT
 */
#include "picture.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "qemu_text.h"

/* A single dirty granule among terabytes must be seen, so the share of the cell makes a shade, not the kind. */
struct picture_look picture_look_of(const struct picture *p, uint32_t i)
{
    const uint64_t *bytes = picture_cell_bytes(&p->cells, i);
    uint64_t length = picture_cell_length(&p->cells, i);
    struct picture_look look = { 0, PICTURE_LEVELS - 1 };

    while (look.kind + 1 < p->plan.n && bytes[look.kind] == 0)
        look.kind++;
    if (look.kind + 1 < p->plan.n && bytes[look.kind] < length - length / 4)
        look.level = bytes[look.kind] < length / 4 ? 0 : 1;
    return look;
}

uint32_t picture_paper(enum picture_theme theme)
{
    return theme == PICTURE_DARK ? 0x121212 : 0xFFFFFF;
}

uint32_t picture_letters(enum picture_theme theme)
{
    return theme == PICTURE_DARK ? 0xE8E8E8 : 0x1A1A1A;
}

/* @percent of the one colour, the rest of the other. */
static uint32_t mix(uint32_t ink, uint32_t paper, unsigned percent)
{
    uint32_t out = 0;

    for (unsigned shift = 0; shift < 24; shift += 8) {
        uint32_t a = ink >> shift & 0xFF, b = paper >> shift & 0xFF;

        out |= (a * percent + b * (100 - percent) + 50) / 100 << shift;
    }
    return out;
}

uint32_t picture_colour(const struct picture *p, struct picture_look look, enum picture_theme theme)
{
    static const unsigned percent[PICTURE_LEVELS] = { 42, 70, 100 };

    return mix(p->plan.kinds[look.kind].ink[theme], picture_paper(theme), percent[look.level]);
}

char *picture_scale_text(const struct picture *p)
{
    static const char *const ways[] = { "in rows from left to right", "along a Hilbert curve" };
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    if (!out)
        return NULL;
    fprintf(out, "each cell is %s, %s", size_text(p->cells.cell).text, ways[p->layout.hilbert]);
    return fclose(out) == 0 ? text : NULL;
}

static bool are_alike(const struct picture *p, uint32_t i, uint32_t j)
{
    return picture_cell_length(&p->cells, i) == picture_cell_length(&p->cells, j) &&
           memcmp(picture_cell_bytes(&p->cells, i), picture_cell_bytes(&p->cells, j),
                  p->cells.kinds * sizeof(p->cells.bytes[0])) == 0;
}

/* How many cells from @i on, up to @end, are like it. */
static uint32_t alike_from(const struct picture *p, uint32_t i, uint32_t end)
{
    uint32_t j = i + 1;

    while (j < end && are_alike(p, i, j))
        j++;
    return j - i;
}

/* 4, 16, 64 ... cells that begin at a multiple of their number are a square, wherever the curve enters and leaves. */
static struct picture_block square_at(const struct picture *p, uint32_t i)
{
    struct picture_block b = { i, 1, picture_place_of(&p->layout, i), 1, 1 };
    struct picture_place last;
    uint32_t alike;

    if (i % 4) /* most: no need to look ahead */
        return b;
    alike = alike_from(p, i, p->cells.n);
    while (i % (4 * b.n) == 0 && alike >= 4 * b.n && b.width < p->layout.width) {
        b.n *= 4;
        b.width *= 2;
    }
    b.height = b.width;
    last = picture_place_of(&p->layout, i + b.n - 1);
    b.at.x = (b.at.x < last.x ? b.at.x : last.x) / b.width * b.width;
    b.at.y = (b.at.y < last.y ? b.at.y : last.y) / b.width * b.width;
    return b;
}

struct picture_block picture_block_at(const struct picture *p, uint32_t i)
{
    uint32_t row_end = (i / p->layout.width + 1) * p->layout.width, n;

    if (p->layout.hilbert)
        return square_at(p, i);
    n = alike_from(p, i, row_end < p->cells.n ? row_end : p->cells.n);
    return (struct picture_block){ i, n, picture_place_of(&p->layout, i), n, 1 };
}

void picture_free(struct picture *p)
{
    picture_cells_free(&p->cells);
    free(p->title);
    free(p->note);
    for (unsigned i = 0; i < p->n_layers; i++) {
        free(p->layers[i].name);
        free(p->layers[i].line);
    }
    free(p->layers);
    *p = (struct picture){ 0 };
}
