/* picture_print.c - a picture on a terminal: two cells a character in half blocks, or a letter a cell
 * SPDX-License-Identifier: MIT
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>

#include "picture_out.h"
#include "qemu_text.h"

#define NO_CELL UINT32_MAX
#define NO_COLOUR UINT32_MAX

struct page {
    const struct picture *p;
    FILE *out;
    enum terminal_colours colours;
    enum picture_theme theme;
    uint32_t *cells;      /* of each place, row by row; NO_CELL: none */
    uint32_t front, back; /* colours that are set; NO_COLOUR: the terminal's own */
};

static bool find_cells(struct page *page)
{
    const struct picture *p = page->p;
    size_t n = (size_t)p->layout.width * p->layout.height;

    page->cells = malloc(n * sizeof(page->cells[0]));
    for (size_t i = 0; page->cells && i < n; i++)
        page->cells[i] = NO_CELL;
    for (uint32_t i = 0; page->cells && p->cells.size && i < p->cells.n; i++) {
        struct picture_place at = picture_place_of(&p->layout, i);

        page->cells[(size_t)at.y * p->layout.width + at.x] = i;
    }
    return page->cells != NULL;
}

static uint32_t cell_at(const struct page *page, uint32_t x, uint32_t y)
{
    return y < page->p->layout.height ? page->cells[(size_t)y * page->p->layout.width + x] : NO_CELL;
}

/* ---- colours -------------------------------------------------------------------------------------------- */

static void set_colour(struct page *page, unsigned ground, uint32_t colour)
{
    if (colour == NO_COLOUR)
        fprintf(page->out, "\033[%um", ground + 9);
    else if (page->colours == TERMINAL_24BIT)
        fprintf(page->out, "\033[%u;2;%u;%u;%um", ground + 8, (unsigned)(colour >> 16 & 0xFF),
                (unsigned)(colour >> 8 & 0xFF), (unsigned)(colour & 0xFF));
    else
        fprintf(page->out, "\033[%u;5;%um", ground + 8, terminal_nearest_256(colour));
}

static void set_colours(struct page *page, uint32_t front, uint32_t back)
{
    if (front != page->front)
        set_colour(page, 30, front);
    if (back != page->back)
        set_colour(page, 40, back);
    page->front = front;
    page->back = back;
}

static uint32_t colour_of_cell(const struct page *page, uint32_t cell)
{
    return cell == NO_CELL ? NO_COLOUR : picture_colour(page->p, picture_look_of(page->p, cell), page->theme);
}

static void print_blocks(struct page *page, uint32_t y)
{
    for (uint32_t x = 0; x < page->p->layout.width; x++) {
        uint32_t above = colour_of_cell(page, cell_at(page, x, y));
        uint32_t below = colour_of_cell(page, cell_at(page, x, y + 1));

        if (above == NO_COLOUR && below == NO_COLOUR) {
            set_colours(page, page->front, NO_COLOUR);
            putc(' ', page->out);
        } else if (above == NO_COLOUR) {
            set_colours(page, below, NO_COLOUR);
            fputs("\xE2\x96\x84", page->out); /* the lower half */
        } else {
            set_colours(page, above, below);
            fputs("\xE2\x96\x80", page->out); /* the upper half */
        }
    }
    set_colours(page, NO_COLOUR, NO_COLOUR);
}

/* ---- letters -------------------------------------------------------------------------------------------- */

static char letter_of(const struct page *page, uint32_t cell)
{
    struct picture_look look;
    char letter;

    if (cell == NO_CELL)
        return ' ';
    look = picture_look_of(page->p, cell);
    letter = page->p->plan.kinds[look.kind].letter;
    return look.level == PICTURE_LEVELS - 1 ? letter : (char)tolower((unsigned char)letter);
}

static void print_letters(const struct page *page, uint32_t y)
{
    uint32_t x = 0, end = page->p->layout.width;

    while (end > 0 && cell_at(page, end - 1, y) == NO_CELL) /* no blanks at the end of a line */
        end--;
    for (; x < end; x++)
        putc(letter_of(page, cell_at(page, x, y)), page->out);
}

/* ---- all of it ------------------------------------------------------------------------------------------ */

static void print_rows(struct page *page)
{
    const struct picture *p = page->p;
    bool letters = page->colours == TERMINAL_LETTERS;

    for (uint32_t y = 0; y < p->layout.height; y += letters ? 1 : 2) {
        if (!p->layout.hilbert)
            fprintf(page->out, "%9s ", size_text((uint64_t)y * p->layout.width * p->cells.cell).text);
        if (letters)
            print_letters(page, y);
        else
            print_blocks(page, y);
        putc('\n', page->out);
    }
}

static void print_swatch(struct page *page, unsigned kind)
{
    if (page->colours == TERMINAL_LETTERS) {
        fprintf(page->out, "  %c  ", page->p->plan.kinds[kind].letter);
        return;
    }
    for (unsigned level = 0; level < PICTURE_LEVELS; level++) {
        bool ground = kind + 1 == page->p->plan.n;
        struct picture_look look = { kind, ground ? PICTURE_LEVELS - 1 : level };

        set_colours(page, picture_colour(page->p, look, page->theme), NO_COLOUR);
        fputs("\xE2\x96\x88", page->out); /* a full block */
    }
    set_colours(page, NO_COLOUR, NO_COLOUR);
    fputs("  ", page->out);
}

static void print_legend(struct page *page)
{
    const struct picture_cells *cells = &page->p->cells;
    double size = cells->size ? (double)cells->size : 1;

    for (unsigned k = 0; k < page->p->plan.n; k++) {
        uint64_t bytes = cells->totals[k];

        print_swatch(page, k);
        fprintf(page->out, "%-34s %9s %18" PRIu64 " %6.2f %%\n", page->p->plan.kinds[k].label, size_text(bytes).text,
                bytes, 100.0 * (double)bytes / size);
    }
    for (unsigned i = 0; i < page->p->n_lines; i++)
        fprintf(page->out, "     %s\n", page->p->layers[i].line);
    if (page->colours == TERMINAL_LETTERS)
        fputs("A cell shows the first of these kinds that it has a byte of; a small letter:\n"
              "below three quarters of the cell.\n",
              page->out);
    else
        fputs("A cell shows the first of these kinds that it has a byte of; fainter: below\n"
              "three quarters of the cell, below a quarter.\n",
              page->out);
}

void picture_print(const struct picture *p, FILE *out, const struct terminal *terminal, enum picture_theme theme)
{
    struct page page = { .p = p, .out = out, .colours = terminal->colours, .theme = theme };

    page.front = page.back = NO_COLOUR;
    fprintf(out, "%s\n%s\n", p->title, p->note);
    if (find_cells(&page))
        print_rows(&page);
    print_legend(&page);
    free(page.cells);
}
