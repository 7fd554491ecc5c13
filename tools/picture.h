/* picture.h - a picture: cells, what kinds of bytes they are counted by, and how a cell looks
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_PICTURE_H
#define QCBM_TOOL_PICTURE_H

#include "picture_cells.h"
#include "picture_layout.h"

enum { PICTURE_LEVELS = 3 };
enum picture_theme { PICTURE_LIGHT, PICTURE_DARK, N_PICTURE_THEMES };

/* A colour is 0xRRGGBB. */
struct picture_kind {
    const char *name;  /* in JSON */
    const char *label; /* for people */
    char letter;       /* a capital; the small one is shown where there is little of it */
    uint32_t ink[N_PICTURE_THEMES];
};

/* Kinds are in the order of what must not be overlooked: the last one is the ground. */
struct picture_plan {
    const struct picture_kind *kinds;
    unsigned n;
};

struct picture_layer {
    char *name; /* of the file */
    char *line; /* below the kinds of the legend, escaped as the title is; NULL: all kinds have their layer by now */
};

struct picture {
    struct picture_plan plan;
    struct picture_cells cells;
    struct picture_layout layout;
    char *title;                  /* escaped: as print_escaped() prints it */
    char *note;                   /* what the cells are of, for people */
    struct picture_layer *layers; /* that kinds are called after, from the top down; NULL: none are */
    unsigned n_layers, n_lines;   /* lines: those that have one, the first ones */
};

/* A cell shows the first kind of which it has a byte, and how much it has of that. */
struct picture_look {
    unsigned kind;
    unsigned level; /* 0: below a quarter of the cell; 1; 2: three quarters and more, and of the ground always */
};
struct picture_look picture_look_of(const struct picture *p, uint32_t i);
uint32_t picture_colour(const struct picture *p, struct picture_look look, enum picture_theme theme);
uint32_t picture_paper(enum picture_theme theme);   /* behind everything */
uint32_t picture_letters(enum picture_theme theme); /* of text on it */

/* "each cell is 16 MiB, in rows from left to right" */
char *picture_scale_text(const struct picture *p); /* from malloc(), or NULL */

/* Cells drawn as one from @i on: @i alone, or those that are alike to the byte and make up a row or a square. */
struct picture_block {
    uint32_t first, n;
    struct picture_place at; /* the left upper corner */
    uint32_t width, height;
};
struct picture_block picture_block_at(const struct picture *p, uint32_t i);

void picture_free(struct picture *p); /* fine on a zeroed struct */

#endif
