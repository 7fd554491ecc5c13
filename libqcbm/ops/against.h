/* against.h - what of a disk differs from a manifest that is named, for all who make bitmaps of it
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_AGAINST_H
#define QCBMI_AGAINST_H

#include "manifest/manifest_compare.h"

/* Open the manifest or index @path, and set in @map, of the size of c->disk, what differs from it. c->manifest and
 * c->fn are set here. A disk that is smaller than that of the manifest is another one; an index of which nothing is
 * equal is refused unless @force or c->only; a disk of which a layer has a delta in part is none. Returns what
 * qcbm_edit_revive_against() returns. */
int qcbmi_against(struct qcbmi_manifest_compare *c, const char *path, bool force, struct qcbmi_dirtymap *map,
                  struct qcbm_error *err);

#endif
