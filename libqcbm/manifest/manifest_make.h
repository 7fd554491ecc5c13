/* manifest_make.h - a manifest of a disk, made anew or from an older one of which only a part has changed
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_MANIFEST_MAKE_H
#define QCBMI_MANIFEST_MAKE_H

#include "bitmap/dirtymap.h"
#include "image/chain.h"
#include "manifest/manifest_read.h"

/* @disk: all layers are open. @options are checked, and not NULL. @old may be NULL; then so is @changed. Of @old all
 * granules that @changed leaves clean are taken over; what lies behind its end is read.
 * Returns what qcbm_manifest_write() returns. */
int qcbmi_manifest_make(const struct qcbmi_chain *disk, const struct qcbm_manifest_options *options,
                        struct qcbm_manifest *old, const struct qcbmi_dirtymap *changed, qcbm_write_fn *fn,
                        void *opaque, struct qcbm_manifest_info *info, struct qcbm_error *err);

/* Bytes of the disk, in whole sectors. */
uint64_t qcbmi_manifest_disk_size(const struct qcbmi_chain *disk);
/* Threads that read: as asked, or as the image was told; one alone while somebody watches. */
unsigned qcbmi_manifest_threads(const struct qcbmi_chain *disk, unsigned wanted);

#endif
