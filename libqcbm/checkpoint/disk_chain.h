/* disk_chain.h - the layers of one disk with the bitmaps of each, and what they have of a checkpoint
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_DISK_CHAIN_H
#define QCBMI_DISK_CHAIN_H

#include "bitmap/bitmap_list.h"
#include "bitmap/dirtymap.h"
#include "image/chain.h"

/* What a layer has of the bitmap of one name. */
enum qcbmi_layer_state {
    QCBMI_LAYER_RAW,      /* a raw file has no bitmaps */
    QCBMI_LAYER_MISSING,  /* it provably has none */
    QCBMI_LAYER_VALID,    /* consistent, and it records */
    QCBMI_LAYER_DISABLED, /* consistent, but what was written since it was disabled is not in it */
    QCBMI_LAYER_IN_USE,
    QCBMI_LAYER_DAMAGED, /* QEMU refuses it, or its bits cannot be read */
    QCBMI_LAYER_STALE,   /* a program that does not know bitmaps wrote to the layer, which had it or may have had it */
    QCBMI_LAYER_BROKEN   /* the directory cannot be read where it may have it */
};

struct qcbmi_disk_layer {
    const char *filename;
    struct qcbm_image *img; /* NULL: a raw file */
    uint64_t size;          /* guest bytes, in whole sectors */
};

/* The layers, 0 is the top; all directories are in memory. */
struct qcbmi_disk_chain {
    struct qcbmi_disk_layer *layers;
    size_t n;
    struct qcbmi_chain chain;   /* what they are borrowed from, if it was opened here */
    struct qcbm_image *handles; /* likewise */
};

/* Open for reading what lies below @top, which stays the caller's. Free it on failure too. */
int qcbmi_disk_chain_open(struct qcbmi_disk_chain *c, struct qcbm_image *top, struct qcbm_error *err);
void qcbmi_disk_chain_close(struct qcbmi_disk_chain *c); /* fine on a zeroed struct */

/* @*out (may be NULL): the bitmap; NULL if the layer does not have it. */
enum qcbmi_layer_state qcbmi_layer_look(const struct qcbmi_disk_layer *layer, const char *name,
                                        const struct qcbmi_bitmap **out);
/* Is there a bitmap in the list? */
static inline bool qcbmi_layer_has(enum qcbmi_layer_state state)
{
    return state >= QCBMI_LAYER_VALID && state <= QCBMI_LAYER_DAMAGED;
}

/* libvirt's verdict, by its rules: the top has the bitmap, so have all layers down to the last that has one, and each
 * of these records and is consistent. */
struct qcbmi_verdict {
    enum qcbm_checkpoint_reason reason;
    size_t where;       /* the layer that is the reason */
    size_t first, last; /* layers that have it in any state, if n_layers is not 0 */
    uint32_t n_layers;  /* how many these are */
    unsigned gran_bits; /* of the first of them; 0: it is damaged, or there is none */
};
void qcbmi_disk_chain_judge(const struct qcbmi_disk_chain *c, const char *name, struct qcbmi_verdict *out);

/* What the bitmaps of @name say in all layers, as they are stored (those in use, too), ORed into @map, a map of the
 * size of the top that is initialised. A bitmap that cannot be read adds nothing: *@unread counts these. */
int qcbmi_disk_chain_bits(const struct qcbmi_disk_chain *c, const char *name, struct qcbmi_dirtymap *map,
                          size_t *unread, struct qcbm_error *err);

#endif
