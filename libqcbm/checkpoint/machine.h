/* machine.h - all layers of all disks of a machine, open for one change of their bitmaps
 * SPDX-License-Identifier: MIT
 *
 * A look at all chains, which locks nothing, says which layers will be changed; then they are closed, and each image is
 * opened once, however many disks have it below them: for writing if it is to be changed, for reading if not, in the
 * order of (device, inode), without waiting for a lock. What was seen before is seen again then: nothing is done on the
 * word of what was not locked. A layer that is only read must have no journal either. */
#ifndef QCBMI_MACHINE_H
#define QCBMI_MACHINE_H

#include "bitmap/bitmap_edit.h"
#include "checkpoint/disk_chain.h"
#include "checkpoint/disks.h"

struct qcbmi_machine_image {
    char *path;
    struct qcbmi_file_id id;
    size_t disk, depth; /* where it was met first */
    bool changes;
    struct qcbm_image *img;
    struct qcbm_edit *edit; /* NULL until something is changed in it */
};

struct qcbmi_machine_disk {
    const char *target, *path; /* the caller's */
    struct qcbmi_disk_chain c; /* of the images below */
    size_t *images;            /* of each layer; SIZE_MAX: a raw file, */
    char **raw;                /* of which this is the name */
};

struct qcbmi_machine {
    struct qcbmi_machine_disk *disks;
    size_t n_disks;
    struct qcbmi_machine_image *images;
    size_t n_images, capacity;
};

/* Will layer @at of @c be changed? */
typedef bool qcbmi_changes_fn(void *opaque, const struct qcbmi_disk_chain *c, size_t at);

/* @flags: enum qcbm_open_flag; without QCBM_OPEN_WRITE all are opened for reading, and edits can be planned only. Close
 * it on failure too. */
int qcbmi_machine_open(struct qcbmi_machine *m, const struct qcbm_checkpoint_disk *named, size_t elem_size, size_t n,
                       unsigned flags, qcbmi_changes_fn *changes, void *opaque, struct qcbm_error *err);
void qcbmi_machine_close(struct qcbmi_machine *m); /* fine on a zeroed struct */

/* Of all disks together: what a look at each of them is measured in. */
uint64_t qcbmi_machine_layers(const struct qcbmi_machine *m);

/* The edit of layer @at, begun if it is the first: with qcbmi_edit_begin_keeping(). QCBM_E_UNSAFE: it was not to be
 * changed when nobody had locked it. */
int qcbmi_machine_edit(struct qcbmi_machine *m, const struct qcbmi_machine_disk *disk, size_t at,
                       struct qcbm_edit **out, struct qcbm_error *err);
/* Its edit, or NULL. */
struct qcbm_edit *qcbmi_machine_edit_of(const struct qcbmi_machine *m, const struct qcbmi_machine_disk *disk,
                                        size_t at);

/* @ret as it is, with disk and layer in front of the message. */
int qcbmi_machine_blame(const struct qcbmi_machine_disk *disk, size_t at, int ret, struct qcbm_error *err);

#endif
