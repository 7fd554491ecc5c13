/* picture_png.c - a picture as PNG: a palette, and one compressed stream of dots
 * SPDX-License-Identifier: MIT
 *
 * Colours of the palette: 0 paper, 1 letters, then PICTURE_LEVELS of each kind. */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "picture_font.h"
#include "picture_out.h"
#include "qemu_text.h"

enum { PAPER, LETTERS, FIRST_COLOUR, ZOOM = 2 };

struct raster {
    uint32_t width, height;
    size_t pitch;   /* of a row: its filter, which is none, and a byte a dot */
    uint8_t *bytes; /* all rows */
};

static void fill(struct raster *r, uint32_t x, uint32_t y, uint32_t width, uint32_t height, uint8_t colour)
{
    for (uint32_t row = y; row < y + height && row < r->height; row++)
        if (x < r->width)
            memset(r->bytes + row * r->pitch + 1 + x, colour, width < r->width - x ? width : r->width - x);
}

static uint8_t colour_of(struct picture_look look)
{
    return (uint8_t)(FIRST_COLOUR + look.kind * PICTURE_LEVELS + look.level);
}

static void draw_letter(struct raster *r, uint32_t x, uint32_t y, char c)
{
    const uint8_t *rows = picture_font_glyph(c);

    y += strchr("gpqy", c) ? ZOOM : 0; /* what goes below the line */
    for (uint32_t row = 0; row < FONT_HEIGHT; row++)
        for (uint32_t dot = 0; dot < FONT_WIDTH; dot++)
            if (rows[row] >> (FONT_WIDTH - 1 - dot) & 1)
                fill(r, x + dot * ZOOM, y + row * ZOOM, ZOOM, ZOOM, LETTERS);
}

/* What does not fit ends in dots. A character beyond ASCII is one "?". */
static void draw_text(struct raster *r, uint32_t x, uint32_t y, const char *text)
{
    for (; *text; text++) {
        bool last = x + 4 * FONT_PITCH * ZOOM > r->width && strlen(text) > 3;

        if (((unsigned char)*text & 0xC0) == 0x80)
            continue;
        for (int i = 0; last && i < 3; i++)
            draw_letter(r, x + (uint32_t)i * FONT_PITCH * ZOOM, y, '.');
        if (last)
            return;
        draw_letter(r, x, y, *text);
        x += FONT_PITCH * ZOOM;
    }
}

static void draw_legend(const struct picture *p, struct raster *r, const struct picture_frame *f)
{
    uint32_t y = f->top + f->side * p->layout.height + 14;
    uint64_t size = p->cells.size ? p->cells.size : 1;
    char text[128];

    for (unsigned k = 0; k < p->plan.n; k++, y += FONT_LINE * ZOOM) {
        for (unsigned level = 0; level < PICTURE_LEVELS; level++)
            fill(r, f->left + 16 * level, y, 14, 14,
                 colour_of((struct picture_look){ k, k + 1 < p->plan.n ? level : PICTURE_LEVELS - 1 }));
        snprintf(text, sizeof text, "%-34s %9s %6.2f %%", p->plan.kinds[k].label, size_text(p->cells.totals[k]).text,
                 100.0 * (double)p->cells.totals[k] / (double)size);
        draw_text(r, f->left + 60, y, text);
    }
    for (unsigned i = 0; i < p->n_lines; i++, y += FONT_LINE * ZOOM)
        draw_text(r, f->left + 60, y, p->layers[i].line);
    draw_text(r, f->left, y, "faint: below 1/4 of a cell, full: from 3/4 on");
}

static void draw(const struct picture *p, struct raster *r, const struct picture_frame *f)
{
    draw_text(r, f->left, 8, p->title);
    draw_text(r, f->left, 32, p->note);
    for (uint32_t i = 0; p->cells.size && i < p->cells.n; i++) {
        struct picture_place at = picture_place_of(&p->layout, i);

        fill(r, f->left + at.x * f->side, f->top + at.y * f->side, f->side, f->side, colour_of(picture_look_of(p, i)));
    }
    draw_legend(p, r, f);
}

/* ---- the file ------------------------------------------------------------------------------------------- */

static void put_u32(uint8_t *at, uint32_t value)
{
    for (unsigned i = 0; i < 4; i++)
        at[i] = (uint8_t)(value >> (24 - 8 * i));
}

static void put_chunk(FILE *out, const char *type, const uint8_t *bytes, uint32_t len)
{
    uint8_t head[8], tail[4];

    put_u32(head, len);
    memcpy(head + 4, type, 4);
    put_u32(tail, (uint32_t)crc32(crc32(0, head + 4, 4), bytes, len));
    fwrite(head, 1, sizeof head, out);
    fwrite(bytes, 1, len, out);
    fwrite(tail, 1, sizeof tail, out);
}

static void put_colour(uint8_t *at, uint32_t colour)
{
    at[0] = (uint8_t)(colour >> 16);
    at[1] = (uint8_t)(colour >> 8);
    at[2] = (uint8_t)colour;
}

static void put_palette(const struct picture *p, FILE *out, enum picture_theme theme)
{
    uint8_t palette[3 * (FIRST_COLOUR + PICTURE_MAX_KINDS * PICTURE_LEVELS)], *at = palette + 3 * FIRST_COLOUR;

    put_colour(palette, picture_paper(theme));
    put_colour(palette + 3, picture_letters(theme));
    for (unsigned k = 0; k < p->plan.n; k++)
        for (unsigned level = 0; level < PICTURE_LEVELS; level++, at += 3)
            put_colour(at, picture_colour(p, (struct picture_look){ k, level }, theme));
    put_chunk(out, "PLTE", palette, (uint32_t)(at - palette));
}

static void put_header(const struct raster *r, FILE *out)
{
    static const uint8_t magic[8] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1A, '\n' };
    uint8_t header[13] = { 0 };

    put_u32(header, r->width);
    put_u32(header + 4, r->height);
    header[8] = 8; /* bits a dot */
    header[9] = 3; /* which are numbers of the palette */
    fwrite(magic, 1, sizeof magic, out);
    put_chunk(out, "IHDR", header, sizeof header);
}

static int put_dots(const struct raster *r, FILE *out)
{
    uLong len = (uLong)(r->pitch * r->height);
    uLongf packed = compressBound(len);
    uint8_t *bytes = malloc(packed);
    int ret = bytes && compress2(bytes, &packed, r->bytes, len, Z_BEST_COMPRESSION) == Z_OK ? 0 : ENOMEM;

    if (ret == 0)
        put_chunk(out, "IDAT", bytes, (uint32_t)packed);
    free(bytes);
    return ret;
}

int picture_write_png(const struct picture *p, FILE *out, enum picture_theme theme)
{
    struct picture_frame f = picture_frame_of(p);
    struct raster r = { .width = f.width, .height = f.height, .pitch = (size_t)f.width + 1 };
    int ret;

    r.bytes = calloc(r.pitch, r.height);
    if (!r.bytes)
        return ENOMEM;
    draw(p, &r, &f);
    put_header(&r, out);
    put_palette(p, out, theme);
    ret = put_dots(&r, out);
    put_chunk(out, "IEND", (const uint8_t *)"", 0);
    free(r.bytes);
    return ret;
}
