/* picture_out.h - a picture on a terminal, as a file, as JSON
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_PICTURE_OUT_H
#define QCBM_TOOL_PICTURE_OUT_H

#include <stdio.h>

#include "json_write.h"
#include "picture.h"
#include "terminal.h"

/* Write errors stay in the FILE, if nothing else is said. */
void picture_print(const struct picture *p, FILE *out, const struct terminal *terminal, enum picture_theme theme);

enum picture_form { PICTURE_SVG, PICTURE_PNG, N_PICTURE_FORMS };
/* "svg", "png" */
extern const char *const picture_forms[N_PICTURE_FORMS];

/* Where cell (0, 0) lies in a file, and the side of a cell: in dots of a PNG, in user units of an SVG. */
struct picture_frame {
    uint32_t left, top, side;
    uint32_t width, height; /* of everything */
};
struct picture_frame picture_frame_of(const struct picture *p);

/* @theme N_PICTURE_THEMES: that of who looks at it. */
void picture_write_svg(const struct picture *p, FILE *out, enum picture_theme theme);
/* Returns 0, or an errno. */
int picture_write_png(const struct picture *p, FILE *out, enum picture_theme theme);

/* Members of the object that is open: size, cells, kinds, and the frame of @form (N_PICTURE_FORMS: none). */
void picture_write_json(const struct picture *p, struct json_writer *w, enum picture_form form);

#endif
