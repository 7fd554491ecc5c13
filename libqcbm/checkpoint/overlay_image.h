/* overlay_image.h - a new, empty image on top of another one, with the bitmaps of that one continued
 * SPDX-License-Identifier: MIT
 *
 * It is made in memory, and so is whole before a byte of it is written; it is small. On a file system it is written
 * under a temporary name, and its name is the switch. On a block device all but the first sector is written, and that
 * sector is. */
#ifndef QCBMI_OVERLAY_IMAGE_H
#define QCBMI_OVERLAY_IMAGE_H

#include "base/digest.h"
#include "bitmap/handle.h"

struct qcbmi_overlay_image {
    char *full, *temporary; /* full paths; temporary is "" for a device */
    const uint8_t *bytes;   /* of all of it, in @mem */
    size_t len;
    struct qcbm_mem *mem;
    struct qcbmi_io device;  /* open and locked; only of a device */
    bool is_device, created; /* created: the temporary file is ours */
    uint32_t n_continued;    /* bitmaps of the base that go on in it */
};

struct qcbmi_overlay_image_options {
    const char *base_path; /* as it was typed */
    const char *path;
    const char *name; /* of a bitmap that begins in it */
    uint64_t granularity;
    bool force;              /* a device that has something on it is taken */
    struct qcbmi_io *device; /* @path, open and locked, where it is a block device: is taken */
};

/* Look at the place, and make the image for it: version 3, of the size, cluster size, kind of entries and compression
 * of @base. Each bitmap of @base that records and can be relied on goes on in it, of that name and granularity, empty.
 * Writes nothing. Free it on failure too. QCBM_E_EXISTS, QCBM_E_NOSPACE (the device), QCBM_E_UNSUPPORTED (the base is
 * encrypted). */
int qcbmi_overlay_image_make(struct qcbmi_overlay_image *o, struct qcbm_image *base,
                             const struct qcbmi_overlay_image_options *options, struct qcbm_error *err);
void qcbmi_overlay_image_free(struct qcbmi_overlay_image *o); /* fine on a zeroed struct */

/* All of it but the switch, durably; owner and mode are those of @like. */
int qcbmi_overlay_image_write(struct qcbmi_overlay_image *o, const char *like, struct qcbm_error *err);
/* The switch, durably. */
int qcbmi_overlay_image_publish(struct qcbmi_overlay_image *o, struct qcbm_error *err);

#endif
