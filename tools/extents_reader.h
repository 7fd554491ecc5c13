/* extents_reader.h - what the readers of the forms share: the place that they have come to, and who gets the extents
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_EXTENTS_READER_H
#define QCBM_TOOL_EXTENTS_READER_H

#include "extents_read.h"
#include "text_in.h"

struct extents_reader {
    struct text_in text;
    const struct extents_in *from;
    extents_read_fn *fn;
    void *opaque;
    bool sparse;  /* what is left out is clean; else all must be there */
    uint64_t end; /* of the last extent */
};

/* The next extent, as it was read: judge its place, and give it out. Returns 0, fails, or returns what the caller's
 * function did. */
int extents_reader_give(struct extents_reader *r, const struct qcbm_extent *extent);

/* A reader of each form: all of it, but for what may follow. */
typedef int extents_form_fn(struct extents_reader *r);

extents_form_fn extents_read_human, extents_read_list, extents_read_lines, extents_read_csi, extents_read_csi_lines;
extents_form_fn extents_read_xen_bits, extents_read_xen_json, extents_read_thin_delta;

#endif
