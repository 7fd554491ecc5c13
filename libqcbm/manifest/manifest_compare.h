/* manifest_compare.h - where a disk differs from what a manifest says it was
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_MANIFEST_COMPARE_H
#define QCBMI_MANIFEST_COMPARE_H

#include "base/progress.h"
#include "bitmap/dirtymap.h"
#include "image/chain.h"
#include "manifest/manifest_read.h"

struct qcbmi_manifest_figures {
    uint64_t compared, equal; /* granules */
    uint64_t compared_bytes, equal_bytes;
    uint64_t different_bytes; /* of the longer of the two disks, those that cannot be read among them */
    uint64_t unreadable_bytes;
    uint64_t grown_bytes;  /* behind the end of the disk of the manifest */
    struct qcbm_error why; /* of the first that cannot be read */
};

struct qcbmi_manifest_compare {
    struct qcbm_manifest *manifest;
    const struct qcbmi_chain *disk;    /* all layers are open */
    bool force_share;                  /* open data files as QCBM_OPEN_FORCE_SHARE does */
    const struct qcbmi_dirtymap *only; /* of the disk no more than the granules that it touches; NULL: all */
    unsigned threads;
    struct qcbmi_progress *progress;
    /* [@start, @end) differs, or cannot be read. In order, as long as they can be; may be NULL. */
    int (*fn)(void *opaque, uint64_t start, uint64_t end, bool unreadable, struct qcbm_error *err);
    void *opaque;
    struct qcbmi_manifest_figures out;
};

/* What of a longer disk lies behind the end of the other differs. So does, of a shorter one, the granule in which it
 * ends: nobody knows what the other held there.
 * Returns 0, QCBM_E_UNSUPPORTED (encrypted), QCBM_E_CORRUPT (the manifest has changed meanwhile), QCBM_E_NOMEM,
 * QCBM_E_IO (of the manifest), QCBM_E_ABORTED, what @fn returns. */
int qcbmi_manifest_compare(struct qcbmi_manifest_compare *c, struct qcbm_error *err);

/* The same into @map, of the size of the disk. */
int qcbmi_manifest_mark(struct qcbmi_manifest_compare *c, struct qcbmi_dirtymap *map, struct qcbm_error *err);

/* Where digests may be keyed: is there a sign that the manifest is of this disk at all? QCBM_E_UNSAFE if none of many
 * granules is equal. */
int qcbmi_manifest_check_related(const struct qcbmi_manifest_compare *c, struct qcbm_error *err);

#endif
