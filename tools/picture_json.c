/* picture_json.c - a picture as JSON: the cells with their bytes
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>

#include "picture_out.h"

static void write_kinds(const struct picture *p, struct json_writer *w)
{
    json_begin_array(w, "kinds");
    for (unsigned k = 0; k < p->plan.n; k++) {
        json_begin_object(w, NULL);
        json_string(w, "name", p->plan.kinds[k].name);
        json_string(w, "label", p->plan.kinds[k].label);
        json_u64(w, "bytes", p->cells.totals[k]);
        for (unsigned theme = 0; theme < N_PICTURE_THEMES; theme++) {
            json_begin_array(w, theme == PICTURE_DARK ? "colours-dark" : "colours-light");
            for (unsigned level = 0; level < PICTURE_LEVELS; level++) {
                char text[8];

                snprintf(text, sizeof text, "#%06x",
                         (unsigned)picture_colour(p, (struct picture_look){ k, level }, theme) & 0xFFFFFF);
                json_string(w, NULL, text);
            }
            json_end_array(w);
        }
        json_end_object(w);
    }
    json_end_array(w);
}

static void write_cell(const struct picture *p, struct json_writer *w, uint32_t i)
{
    const uint64_t *bytes = picture_cell_bytes(&p->cells, i);
    struct picture_look look = picture_look_of(p, i);
    struct picture_place at = picture_place_of(&p->layout, i);

    json_begin_object(w, NULL);
    json_u64(w, "start", i * p->cells.cell);
    json_u64(w, "length", picture_cell_length(&p->cells, i));
    json_u64(w, "x", at.x);
    json_u64(w, "y", at.y);
    json_u64(w, "kind", look.kind);
    json_u64(w, "level", look.level);
    json_begin_object(w, "bytes");
    for (unsigned k = 0; k < p->plan.n; k++)
        if (bytes[k])
            json_u64(w, p->plan.kinds[k].name, bytes[k]);
    json_end_object(w);
    json_end_object(w);
}

void picture_write_json(const struct picture *p, struct json_writer *w, enum picture_form form)
{
    struct picture_frame frame = picture_frame_of(p);

    json_u64(w, "size", p->cells.size);
    json_u64(w, "cell-size", p->cells.cell);
    json_string(w, "layout", p->layout.hilbert ? "hilbert" : "rows");
    json_u64(w, "width", p->layout.width);
    json_u64(w, "height", p->layout.height);
    if (form != N_PICTURE_FORMS) {
        json_begin_object(w, "frame");
        json_u64(w, "left", frame.left);
        json_u64(w, "top", frame.top);
        json_u64(w, "side", frame.side);
        json_end_object(w);
    }
    write_kinds(p, w);
    json_begin_array(w, "layers");
    for (unsigned i = 0; i < p->n_layers; i++)
        json_string(w, NULL, p->layers[i].name);
    json_end_array(w);
    json_begin_array(w, "cells");
    for (uint32_t i = 0; p->cells.size && i < p->cells.n; i++)
        write_cell(p, w, i);
    json_end_array(w);
}
