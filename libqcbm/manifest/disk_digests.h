/* disk_digests.h - digests of the granules of a disk, in its order, read and made by several threads
 * SPDX-License-Identifier: MIT
 *
 * The disk is what the guest reads, through all layers of a chain. What metadata alone shows to be zeros is not read,
 * and comes in runs. One thread asks what lies where; many read, each into its own memory, and make the digests. */
#ifndef QCBMI_DISK_DIGESTS_H
#define QCBMI_DISK_DIGESTS_H

#include "base/progress.h"
#include "bitmap/dirtymap.h"
#include "image/data.h"
#include "manifest/hasher.h"

enum qcbmi_granule { QCBMI_GRANULE_ZEROS, QCBMI_GRANULE_DIGEST, QCBMI_GRANULE_UNREADABLE };

/* Neighbouring granules. */
struct qcbmi_digests {
    uint64_t first, n;
    enum qcbmi_granule all;       /* where there is no list: what each of them is, zeros or unreadable */
    const uint8_t *kinds;         /* enum qcbmi_granule of each; NULL: .all */
    const uint8_t *digests;       /* of each, whatever it is */
    const struct qcbm_error *why; /* of the first that is unreadable */
};
/* On the thread of the call, in the order of the disk. */
typedef int qcbmi_digests_fn(void *opaque, const struct qcbmi_digests *digests, struct qcbm_error *err);

struct qcbmi_disk_digests {
    struct qcbmi_data *disk;
    uint64_t
        size; /* bytes of it that are of interest: the last granule ends here, and its digest is of so many bytes */
    unsigned gran_bits; /* MNF_MAX_GRANULARITY_BITS at most */
    const struct qcbmi_hasher *hasher;
    const struct qcbmi_dirtymap *only; /* granules that it touches, and no others; NULL: all. Of any granularity */
    uint64_t all_from;                 /* from here on all of them; UINT64_MAX: none */
    unsigned threads;                  /* that read; 0: as many as keep a disk busy */
    struct qcbmi_progress *progress;   /* in bytes of the disk; may be NULL */
    qcbmi_digests_fn *fn;
    void *opaque;
};

/* Granules that cannot be read are told, and are no error. Memory: 64 MiB at most, whatever the disk.
 * Returns 0, QCBM_E_NOMEM, QCBM_E_ABORTED, what @fn returns. */
int qcbmi_disk_digests(const struct qcbmi_disk_digests *job, struct qcbm_error *err);

/* Bytes that will be gone over, about: for who tells of progress. */
uint64_t qcbmi_disk_digests_cost(const struct qcbmi_disk_digests *job);

#endif
