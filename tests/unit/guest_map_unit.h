/* guest_map_unit.h - what the unit tests of the guest map share: images that count how they are read
 * SPDX-License-Identifier: MIT */
#ifndef GUEST_MAP_UNIT_H
#define GUEST_MAP_UNIT_H

#include "image_unit.h"

#include "base/checked.h"
#include "image/guest_map.h"

/* A chain of images that are open, without files. */
#define MAX_LAYERS 200u
struct stack {
    struct qcbm_image *handles[MAX_LAYERS];
    struct qcbmi_layer layers[MAX_LAYERS];
    struct qcbmi_chain chain;
};

static inline void stack_push(struct stack *s, struct qcbm_image *img)
{
    static char name[] = "layer";

    s->handles[s->chain.n] = img;
    s->layers[s->chain.n++] =
        (struct qcbmi_layer){ .filename = name, .img = img->image, .size = img->image->g.size, .borrowed = true };
    s->chain.layers = s->layers;
}

static inline void stack_close(struct stack *s)
{
    for (size_t i = 0; i < s->chain.n; i++)
        qcbm_close(s->handles[i]);
}

static inline struct qcbmi_guest_piece piece_at(struct qcbmi_guest_map *m, uint64_t guest)
{
    struct qcbmi_guest_piece p = { 0 };
    struct qcbm_error err = { 0 };

    assert_ok(qcbmi_guest_map_at(m, guest, &p, &err), &err);
    assert_true(p.start == guest && p.end > guest);
    return p;
}

#endif
