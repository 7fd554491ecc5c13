/* recover_look.h - a recovery: what it knows of each disk, and the way that each goes
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_RECOVER_LOOK_H
#define QCBMI_RECOVER_LOOK_H

#include "checkpoint/disks.h"
#include "checkpoint/goals.h"
#include "format/journal_file.h"

enum qcbmi_recover_way {
    QCBMI_WAY_NONE,   /* it has its new state; or, back, it is as it was */
    QCBMI_WAY_SWITCH, /* nobody wrote: the rest of the switch */
    QCBMI_WAY_GOALS   /* somebody did, or may have */
};

struct qcbmi_recover_disk {
    const struct qcbmi_journal_disk *d;
    uint32_t index;
    bool linked, overlay_linked;
    bool gone;               /* back: the image is not there any more */
    struct qcbmi_disk *disk; /* NULL: not needed, or gone */
    struct qcbmi_io device;  /* of an overlay */
    enum qcbmi_recover_way way;
    bool fence, image_done, overlay_done;
    bool overlay_lacks; /* it is there, and does not have the new bitmap as it should be */
    uint32_t stage;     /* of the switch, complete */
    struct qcbmi_superset superset;
};

struct qcbmi_recover {
    struct qcbm_checkpoint_options o;
    char *path; /* full */
    struct qcbmi_io file;
    struct qcbmi_journal j;
    struct qcbm_checkpoint_disk *named;
    struct qcbmi_disks disks;
    struct qcbmi_recover_disk *recs;
    struct qcbm_recover_result result;
};

static inline struct qcbmi_image *qcbmi_recover_image(const struct qcbmi_recover_disk *r)
{
    return r->disk->img->image;
}

static inline bool qcbmi_recover_has_overlay(const struct qcbmi_recover_disk *r)
{
    return r->d->flags & QCBMI_JOURNAL_OVERLAY;
}

/* @ret as it is, and in front of the message the disk that it is about. */
int qcbmi_recover_blame(const struct qcbmi_recover_disk *r, int ret, struct qcbm_error *err);

/* Read the journal, open and lock what it needs, and find the way of each disk. Writes nothing. On failure too, the
 * caller ends it. */
int qcbmi_recover_begin(struct qcbmi_recover *r, const char *journal, struct qcbm_error *err);
void qcbmi_recover_end(struct qcbmi_recover *r);

/* Do the name of an overlay and its temporary one lead to one file? So it is behind a cut between the new name and the
 * end of the old. */
bool qcbmi_recover_has_both_names(const struct qcbmi_recover_disk *r);

#endif
