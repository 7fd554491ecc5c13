/* picture_svg.c - a picture as SVG: a rectangle for each block of cells, whose title tells its range and its bytes
 * SPDX-License-Identifier: MIT
 *
 * No scripts, nothing that is fetched. Names come from images: they are escaped for a terminal first, then for XML. */
#include <inttypes.h>
#include <string.h>

#include "picture_out.h"
#include "qemu_text.h"

static void print_xml(FILE *out, const char *text)
{
    for (; *text; text++) {
        switch (*text) {
        case '&':
            fputs("&amp;", out);
            break;
        case '<':
            fputs("&lt;", out);
            break;
        case '>':
            fputs("&gt;", out);
            break;
        case '"':
            fputs("&quot;", out);
            break;
        case '\'':
            fputs("&#39;", out);
            break;
        default:
            putc(*text, out);
        }
    }
}

static void print_rules(const struct picture *p, FILE *out, enum picture_theme theme)
{
    fprintf(out, "svg{background:#%06x}text{fill:#%06x}", (unsigned)picture_paper(theme),
            (unsigned)picture_letters(theme));
    for (unsigned k = 0; k < p->plan.n; k++)
        for (unsigned level = 0; level < PICTURE_LEVELS; level++)
            fprintf(out, ".k%ul%u{fill:#%06x}", k, level,
                    (unsigned)picture_colour(p, (struct picture_look){ k, level }, theme));
}

static void print_style(const struct picture *p, FILE *out, enum picture_theme theme)
{
    fputs("<style>text{font:14px sans-serif;white-space:pre}rect{shape-rendering:crispEdges}", out);
    print_rules(p, out, theme == PICTURE_DARK ? PICTURE_DARK : PICTURE_LIGHT);
    if (theme == N_PICTURE_THEMES) {
        fputs("@media (prefers-color-scheme:dark){", out);
        print_rules(p, out, PICTURE_DARK);
        putc('}', out);
    }
    fputs("</style>\n", out);
}

/* All cells of a block are alike, so their sums tell each of them. */
static void print_block(const struct picture *p, FILE *out, const struct picture_frame *f,
                        const struct picture_block *b)
{
    const uint64_t *bytes = picture_cell_bytes(&p->cells, b->first);
    struct picture_look look = picture_look_of(p, b->first);
    uint64_t start = b->first * p->cells.cell, length = picture_cell_length(&p->cells, b->first) * b->n;
    const char *before = "";

    fprintf(out, "<rect class=\"k%ul%u\" x=\"%u\" y=\"%u\" width=\"%u\" height=\"%u\"><title>", look.kind, look.level,
            (unsigned)(f->left + b->at.x * f->side), (unsigned)(f->top + b->at.y * f->side),
            (unsigned)(b->width * f->side), (unsigned)(b->height * f->side));
    fprintf(out, "%" PRIu64 " to %" PRIu64 " (%s", start, start + length, size_text(length).text);
    fprintf(out, " at %s): ", size_text(start).text);
    for (unsigned k = 0; k < p->plan.n; k++) {
        if (bytes[k] == 0)
            continue;
        fprintf(out, "%s", before);
        print_xml(out, p->plan.kinds[k].label);
        fprintf(out, " %" PRIu64 " bytes", bytes[k] * b->n);
        before = "; ";
    }
    fputs("</title></rect>\n", out);
}

static void print_line(FILE *out, uint32_t x, uint32_t y, const char *text)
{
    fprintf(out, "<text x=\"%u\" y=\"%u\">", (unsigned)x, (unsigned)y);
    print_xml(out, text);
    fputs("</text>\n", out);
}

/* A swatch of each shade, then words. */
static void print_legend(const struct picture *p, FILE *out, const struct picture_frame *f)
{
    uint32_t y = f->top + f->side * p->layout.height + 28;
    uint64_t size = p->cells.size ? p->cells.size : 1;

    for (unsigned k = 0; k < p->plan.n; k++, y += 22) {
        uint64_t bytes = p->cells.totals[k];

        for (unsigned level = 0; level < PICTURE_LEVELS; level++)
            fprintf(out, "<rect class=\"k%ul%u legend\" x=\"%u\" y=\"%u\" width=\"14\" height=\"14\"/>\n", k,
                    k + 1 < p->plan.n ? level : PICTURE_LEVELS - 1, (unsigned)(f->left + 16 * level),
                    (unsigned)(y - 12));
        print_line(out, f->left + 60, y, p->plan.kinds[k].label);
        print_line(out, f->left + 330, y, size_text(bytes).text);
        fprintf(out, "<text x=\"%u\" y=\"%u\">%" PRIu64 " bytes, %.2f %%</text>\n", (unsigned)(f->left + 430),
                (unsigned)y, bytes, 100.0 * (double)bytes / (double)size);
    }
    for (unsigned i = 0; i < p->n_lines; i++, y += 22)
        print_line(out, f->left + 60, y, p->layers[i].line);
    print_line(out, f->left, y,
               "A cell shows the first kind of this list that it has a byte of: faint, below a quarter; middle;");
    print_line(out, f->left, y + 18, "full, three quarters and more.");
}

void picture_write_svg(const struct picture *p, FILE *out, enum picture_theme theme)
{
    struct picture_frame f = picture_frame_of(p);

    fprintf(
        out,
        "<svg xmlns=\"http://www.w3.org/2000/svg\" role=\"img\" width=\"%u\" height=\"%u\" viewBox=\"0 0 %u %u\">\n",
        (unsigned)f.width, (unsigned)f.height, (unsigned)f.width, (unsigned)f.height);
    fputs("<title>", out);
    print_xml(out, p->title);
    fputs("</title>\n<desc>", out);
    print_xml(out, p->note);
    fputs("</desc>\n", out);
    print_style(p, out, theme);
    print_line(out, f.left, 22, p->title);
    print_line(out, f.left, 42, p->note);
    for (uint32_t i = 0; p->cells.size && i < p->cells.n;) {
        struct picture_block block = picture_block_at(p, i);

        print_block(p, out, &f, &block);
        i += block.n;
    }
    print_legend(p, out, &f);
    fputs("</svg>\n", out);
}
