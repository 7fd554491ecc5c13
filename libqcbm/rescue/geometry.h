/* geometry.h - a damaged image opened: by its header, or by one that is put together from what the rest of the file
 * shows
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_RESCUE_GEOMETRY_H
#define QCBMI_RESCUE_GEOMETRY_H

#include "image/image.h"

struct qcbmi_geometry_wish {
    uint64_t size;         /* 0: not known */
    uint32_t cluster_size; /* 0: not known */
};

struct qcbmi_geometry_found {
    bool lost;        /* the header was */
    bool size_proven; /* that of the disk */
    bool l1_guessed;  /* one of several L1 tables was taken */
    bool backing_unknown;
};

/* @io is borrowed, must outlive *@out, and is only read. Returns 0, QCBM_E_NOT_QCOW2, QCBM_E_ARG, QCBM_E_IO,
 * QCBM_E_NOMEM, and what qcbmi_image_open() returns. */
int qcbmi_rescue_open(struct qcbmi_io *io, const char *path, const struct qcbmi_geometry_wish *wish,
                      struct qcbmi_image **out, struct qcbmi_geometry_found *found, struct qcbm_error *err);

#endif
