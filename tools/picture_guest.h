/* picture_guest.h - pictures of a disk: what is allocated or dirty, in which layer it lies, how two of them differ
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_PICTURE_GUEST_H
#define QCBM_TOOL_PICTURE_GUEST_H

#include "picture.h"
#include "qcbm.h"

enum { PICTURE_MAX_BITMAPS = 6 };

struct picture_disk {
    struct qcbm_image *img; /* NULL: a raw disk */
    struct qcbm_chain *chain;
};

struct picture_guest {
    struct picture_disk disk, other; /* the second one to compare with; its chain NULL: none */
    const char *bitmaps[PICTURE_MAX_BITMAPS];
    unsigned n_bitmaps; /* with @other at most 1, which both images have */
    bool depth;         /* tell layers apart; without bitmaps and @other. Of bitmaps: those of all layers together */
    unsigned extents_flags;
    const struct qcbm_progress *progress; /* in bytes of the disk */
};

/* Which kinds there are; they live until the program ends. */
struct picture_plan picture_guest_plan(const struct picture_guest *g);
/* The layers that kinds are called after, into @p, if any are. False: out of memory. */
bool picture_guest_layers(const struct picture_guest *g, struct picture *p);
/* Bytes of the disk, of the larger one of two. */
uint64_t picture_guest_size(const struct picture_guest *g);
/* Count all of it. Returns what qcbm_chain_map(), qcbm_extents_open() and their _fill return; *@of says whose bitmap
 * @err is about, or NULL. */
int picture_guest_count(const struct picture_guest *g, struct picture_cells *cells, const char **of,
                        struct qcbm_error *err);

#endif
