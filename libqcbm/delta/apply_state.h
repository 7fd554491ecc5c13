/* apply_state.h - the files beside an image: how far an apply is, and which state the disk has
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_APPLY_STATE_H
#define QCBMI_APPLY_STATE_H

#include "delta/apply_target.h"
#include "format/apply_file.h"

/* PREFIX.qcbm-apply */
struct qcbmi_apply_state {
    char *path;
    struct qcbmi_io io; /* open while an apply is under way */
    bool there;         /* one was found, that is sound: .file and .step are what it says */
    bool leftover; /* one was found that was cut short when it was made, before anything was written to the image */
    struct qcbmi_apply_file file;
    struct qcbmi_apply_step step;
    uint8_t *bytes; /* of the file */
};

/* Look for it. QCBM_E_CORRUPT and others: there is one that cannot be relied on. Free it on failure too. */
int qcbmi_apply_state_load(struct qcbmi_apply_state *s, const char *prefix, struct qcbm_error *err);
/* Make one for s->file, at the first step: durable when it returns 0. */
int qcbmi_apply_state_begin(struct qcbmi_apply_state *s, struct qcbm_error *err);
/* Go on with the one that is there. */
int qcbmi_apply_state_resume(struct qcbmi_apply_state *s, struct qcbm_error *err);
/* All before @phase and @offset is durable. */
int qcbmi_apply_state_step(struct qcbmi_apply_state *s, enum qcbmi_apply_phase phase, uint64_t offset,
                           struct qcbm_error *err);
int qcbmi_apply_state_end(struct qcbmi_apply_state *s, struct qcbm_error *err);
void qcbmi_apply_state_free(struct qcbmi_apply_state *s);

/* ---- the id of the state that the disk has ---- */

enum qcbmi_state_known {
    QCBMI_STATE_UNKNOWN,
    QCBMI_STATE_KNOWN,
    QCBMI_STATE_STALE /* it was known, and the file has been written to since by somebody who did not say what */
};
struct qcbmi_disk_state {
    enum qcbmi_state_known known;
    uint8_t id[QCBMI_IDENTITY_BYTES];
    bool in_header; /* of the image; else in PREFIX.qcbm-id */
    bool has_size;  /* the size of the disk was recorded, too: */
    uint64_t size;
};
/* From the header of a qcow2 image, or else from PREFIX.qcbm-id. QCBM_E_ARG: the image is a delta. */
int qcbmi_disk_state_load(struct qcbmi_apply_target *t, const char *prefix, struct qcbmi_disk_state *out,
                          struct qcbm_error *err);
/* No id, durably, before the first write; the id of the new state behind the last one. */
int qcbmi_disk_state_clear(struct qcbmi_apply_target *t, const char *prefix, struct qcbm_error *err);
/* @size: of the disk, of which a device may be more. @prefix NULL: in the header or nowhere. *@where: as above, UNKNOWN
 * if there is no place for it. */
int qcbmi_disk_state_set(struct qcbmi_apply_target *t, const char *prefix, const uint8_t id[QCBMI_IDENTITY_BYTES],
                         uint64_t size, struct qcbmi_disk_state *where, struct qcbm_error *err);

#endif
