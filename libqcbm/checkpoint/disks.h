/* disks.h - the disks of a machine: named by a target, their active images open together
 * SPDX-License-Identifier: MIT
 *
 * All images, and all block devices that become overlays, are locked in the order of (device, inode), and nobody waits
 * for a lock: of two runs on overlapping disks the one that is first at the first of them that both want has it, and
 * the other ends before it has changed anything. Of any number of runs one goes on: who gives way does so for one that
 * holds a file further on than all that he holds himself, and so does that one in turn. */
#ifndef QCBMI_DISKS_H
#define QCBMI_DISKS_H

#include "bitmap/bitmap_list.h"

struct qcbmi_disk {
    const char *target, *path; /* borrowed from the caller; as "vda", and the image that is in use */
    const char *overlay;       /* NULL, or the new image on top of it; nobody has looked at it */
    struct qcbm_image *img;
    struct qcbmi_io
        device; /* the overlay, open and locked, where it is a block device that is there and was asked for */
};

/* In the order in which the caller named them. */
struct qcbmi_disks {
    struct qcbmi_disk *list;
    size_t n;
};

/* May NAME be that of a checkpoint: for libvirt's XML, and for a bitmap? Letters, digits, - and _, further on dots as
 * well. QCBM_E_ARG says why not. */
int qcbmi_checkpoint_check_name(const char *name, struct qcbm_error *err);

/* Does bitmap @b record writes, and can it be relied on? One with a NUL in its name cannot be named, and counts as
 * none.
 * Returns 0, QCBM_E_IO, QCBM_E_NOMEM. */
int qcbmi_bitmap_records(struct qcbm_image *img, const struct qcbmi_bitmap *b, bool *records, struct qcbm_error *err);

/* Open all of @named (@elem_size bytes each, as the caller was compiled) with @flags (enum qcbm_open_flag). Refused are
 * two disks with one target, or with one file under whatever names: QCBM_E_ARG. An error says which disk it is about.
 * On failure none is open; qcbmi_disks_close() is fine then, too. */
int qcbmi_disks_open(struct qcbmi_disks *disks, const struct qcbm_checkpoint_disk *named, size_t elem_size, size_t n,
                     unsigned flags, struct qcbm_error *err);
/* The same of those that get overlays: the block devices among these are opened and locked, too, in one order with the
 * images. */
int qcbmi_disks_open_below(struct qcbmi_disks *disks, const struct qcbm_checkpoint_disk *named, size_t elem_size,
                           size_t n, unsigned flags, struct qcbm_error *err);
void qcbmi_disks_close(struct qcbmi_disks *disks); /* fine on a zeroed struct */

/* A file in the order in which all are locked. */
struct qcbmi_file_place {
    uint64_t dev, ino;
    size_t index; /* of whatever it is about */
};
void qcbmi_file_places_sort(struct qcbmi_file_place *places, size_t n);
/* Open @path for @flags. QCBM_E_UNSAFE: it is not the file at @place, and what is locked must be what the order was
 * made of. */
int qcbmi_file_place_open(const struct qcbmi_file_place *place, const char *path, unsigned flags,
                          struct qcbm_image **out, struct qcbm_error *err);

/* @ret as it is, and in front of the message the disk that it is about. */
int qcbmi_disk_blame(const struct qcbmi_disk *disk, int ret, struct qcbm_error *err);

#endif
