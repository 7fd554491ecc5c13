/* source.h - what a delta is made of: the granules that count, and the disk that they are read from
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_DELTA_SOURCE_H
#define QCBMI_DELTA_SOURCE_H

#include "bitmap/dirtymap.h"
#include "format/delta_meta.h"
#include "image/data.h"
#include "image/snapshot_view.h"

struct qcbmi_delta_source {
    struct qcbm_image *handle;
    struct qcbm_delta_options o;
    struct qcbmi_snapshot_view view; /* of the state at the end, if that is a snapshot */
    struct qcbmi_chain chain;        /* of that state, to its last layer */
    struct qcbmi_data *data;
    uint64_t size, size_before; /* of the disk, in whole sectors; before: UINT64_MAX if it is not known */
    bool has_zeros_from;        /* of struct qcbmi_delta_meta */
    uint64_t zeros_from;
    struct qcbmi_dirtymap map;
    bool has_parent; /* the layer that the delta begins at says which state it has: */
    uint8_t parent[QCBMI_IDENTITY_BYTES];
    uint64_t refined_bytes, unreadable_bytes;
};

/* Both, open. Close it on failure too. Returns what qcbm_delta() returns. */
int qcbmi_delta_source_open(struct qcbmi_delta_source *s, struct qcbm_image *handle, const struct qcbm_delta_options *o,
                            struct qcbm_error *err);
/* zeros_from.c: .zeros_from of a source that is open but for that. QCBM_E_NOMEM. */
int qcbmi_delta_find_zeros_from(struct qcbmi_delta_source *s, struct qcbm_error *err);
void qcbmi_delta_source_close(struct qcbmi_delta_source *s); /* fine on a zeroed struct */

#endif
