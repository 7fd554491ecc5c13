/* manifest_read.h - a manifest, or a fixed index, that is open: checked as a whole first, then asked granule by granule
 * SPDX-License-Identifier: MIT
 *
 * Its bytes are as hostile as those of an image, also after the check: another program may write to the file
 * meanwhile. */
#ifndef QCBMI_MANIFEST_READ_H
#define QCBMI_MANIFEST_READ_H

#include "base/checked.h"
#include "format/fidx_file.h"
#include "format/manifest_file.h"
#include "io/io.h"
#include "manifest/hasher.h"

struct qcbm_manifest {
    struct qcbmi_io io;
    bool is_index; /* of Proxmox Backup Server */
    struct mnf_header h;
    char text[MNF_MAX_TEXT + 1];
    uint64_t granules, zeros; /* of an index: zeros 0, its digests do not say it at a glance */
    struct qcbmi_hasher hasher;
    uint8_t zero_digest[MNF_MAX_DIGEST]; /* of an index: of a chunk of zeros, and of the last one */
    uint8_t zero_tail[MNF_MAX_DIGEST];
};

/* Is the file @path one of the two, by its first bytes? What cannot be read is none. */
bool qcbmi_manifest_is(const char *path);

/* Open and check it: structure, digest and end. Takes @io over, on failure too.
 * Returns 0, QCBM_E_CORRUPT (neither of the two, cut, or damaged), QCBM_E_UNSUPPORTED (another version or kind of
 * digest, or this build has no such digests), QCBM_E_IO, QCBM_E_NOMEM. */
int qcbmi_manifest_open(struct qcbmi_io *io, struct qcbm_manifest **out, struct qcbm_error *err);

#define QCBMI_MANIFEST_WINDOW 65536u

/* A place in it, which moves forward. Zeroed at the start but for @m. */
struct qcbmi_manifest_place {
    struct qcbm_manifest *m;
    uint64_t next_record;         /* where it lies in the file; 0: none was read yet */
    uint64_t first, end;          /* granules of the record that was read last */
    struct granule_record record; /* that one */
    uint64_t digests;             /* where its digests lie */
    uint64_t from, to;            /* bytes of the file that are in the window */
    uint8_t *window;              /* QCBMI_MANIFEST_WINDOW bytes */
};
void qcbmi_manifest_place_free(struct qcbmi_manifest_place *p); /* fine on a zeroed struct */

/* What granule @granule holds, and how many more from there on the same record tells of: *@digest of the first of them,
 * valid until the next call, or NULL for zeros, all of *@n. Asked in order. Returns 0, QCBM_E_CORRUPT, QCBM_E_IO,
 * QCBM_E_NOMEM. */
int qcbmi_manifest_at(struct qcbmi_manifest_place *p, uint64_t granule, const uint8_t **digest, uint64_t *n,
                      struct qcbm_error *err);

static inline uint64_t qcbmi_manifest_granules(uint64_t size, unsigned gran_bits)
{
    return div_up(size, UINT64_C(1) << gran_bits);
}

#endif
