/* content.h - blocks of data that the backing file or a snapshot has as well: where?
 * SPDX-License-Identifier: MIT
 *
 * A guest that writes a part of a cluster has QEMU fill the rest from the backing file. So such a cluster has blocks
 * that the backing file has at the same place of the disk; and the same with what a snapshot has. A few blocks of each
 * are remembered by their hashes; the backing file is read once, and looked up. */
#ifndef QCBMI_RESCUE_CONTENT_H
#define QCBMI_RESCUE_CONTENT_H

#include "rescue/rescue.h"

/* A block of something that looks for its place. */
struct qcbmi_print {
    uint64_t hash;
    uint64_t what;
    uint64_t place; /* of the block within what it is part of */
};

struct qcbmi_prints {
    struct qcbmi_print *list;
    size_t n, capacity;
    uint64_t unit; /* bytes of the disk that a thing has: a slot, or a cluster */
};

/* @what belongs at @where, in units: @n of its blocks are there, and fewer anywhere else. */
struct qcbmi_match {
    uint64_t what, where, n;
};

/* Some blocks of the cluster @bytes, which begins @place bytes into @what. Blocks of zeros are left out. */
int qcbmi_prints_add(struct qcbmi_prints *p, const struct qcbmi_rescue *r, uint64_t what, uint64_t place,
                     const uint8_t *bytes, struct qcbm_error *err);

/* Look in the slots that @wanted says. *@out is for free(), sorted by what; The backing file is asked only if that is
 * allowed, and if it can be read.
 * Returns 0, QCBM_E_NOMEM, QCBM_E_ABORTED. */
int qcbmi_prints_match(struct qcbmi_prints *p, struct qcbmi_rescue *r, bool (*wanted)(const struct qcbmi_slot *),
                       struct qcbmi_match **out, size_t *n, struct qcbm_error *err);

#endif
