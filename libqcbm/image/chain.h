/* chain.h - the backing chain, for the commands that need it: local qcow2 and raw files only
 * SPDX-License-Identifier: MIT
 *
 * Opens the files that the image names, or what the caller has named in their place, so only commands about the chain
 * use it. Protocol names and json: are never followed, formats never guessed, loops and depth are caught. */
#ifndef QCBMI_CHAIN_H
#define QCBMI_CHAIN_H

#include "image/image.h"

#define QCBMI_CHAIN_MAX_DEPTH 200u

struct qcbmi_layer {
    char *filename; /* as it was opened */
    struct qcbmi_file_id id;
    struct qcbmi_image *img; /* a qcow2 layer, else NULL */
    struct qcbmi_io raw;     /* a raw layer */
    uint64_t size;           /* guest bytes; a raw file rounded up to 512, as QEMU does */
    bool borrowed;           /* img belongs to the caller */
};

struct qcbmi_chain {
    struct qcbmi_layer *layers; /* 0 is the top */
    size_t n, capacity;
};

struct qcbmi_chain_options {
    bool force_share;
    const struct qcbmi_file_id *stop; /* the layer with this identity is the last one; NULL = follow to the end */
    size_t max_layers;                /* 0 = no other limit than QCBMI_CHAIN_MAX_DEPTH */
    struct qcbmi_image *known;        /* an image that the caller has open already, e.g. for writing; may be NULL */
};

/* Is there a name that those below @top are relative to, or have they been named? Of a server the opening says what is
 * missing. */
bool qcbmi_chain_can_be_found(const struct qcbmi_image *top);
/* The chain of @top, which stays the caller's. Free it on failure too.
 * QCBM_E_CHAIN: a name that is not followed, no format, a loop, too deep, or a layer that cannot be opened. */
int qcbmi_chain_open(struct qcbmi_image *top, const struct qcbmi_chain_options *options, struct qcbmi_chain *chain,
                     struct qcbm_error *err);
/* A chain of one raw layer, locked as @flags (enum qcbm_open_flag) say. */
/* As below, of a backend, which is taken over, on failure too; @name is for messages. */
int qcbmi_chain_take_raw(struct qcbmi_io *io, const char *name, unsigned flags, struct qcbmi_chain *chain,
                         struct qcbm_error *err);
int qcbmi_chain_open_raw(const char *path, unsigned flags, struct qcbmi_chain *chain, struct qcbm_error *err);
/* QCBM_E_UNSUPPORTED if a layer is encrypted: its content cannot be known, as the key is nowhere. */
int qcbmi_chain_check_plain(const struct qcbmi_chain *chain, struct qcbm_error *err);
/* QCBM_E_UNSAFE if a delta has been applied to a layer in part: what the chain reads is no state that the disk ever
 * had, and no backup is made of it. */
int qcbmi_chain_check_finished(const struct qcbmi_chain *chain, struct qcbm_error *err);
/* The same of the layers from @first on. */
int qcbmi_chain_check_finished_below(const struct qcbmi_chain *chain, size_t first, struct qcbm_error *err);
void qcbmi_chain_close(struct qcbmi_chain *chain); /* fine on a zeroed struct */

#endif
