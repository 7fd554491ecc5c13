/* commit.h - carrying a plan out, in two halves
 * SPDX-License-Identifier: MIT
 *
 * The first half makes durable all that the new state needs and nobody refers to yet; the second switches to it, and
 * then gives up what the old state used alone. Between them every image still has its old state, so that those of
 * several images can be prepared before the first of them is switched. */
#ifndef QCBMI_COMMIT_H
#define QCBMI_COMMIT_H

#include "base/progress.h"
#include "write/plan.h"

/* Is there room on the device? QCBM_E_NOSPACE says what is needed and what is there. */
int qcbmi_plan_check_space(const struct qcbmi_plan *plan, struct qcbmi_image *img, struct qcbm_error *err);

/* Take the blocks that the writes need from the file system now, while nothing has changed; the first half does it,
 * too. */
int qcbmi_plan_reserve(const struct qcbmi_plan *plan, struct qcbmi_image *img, struct qcbm_error *err);

struct qcbmi_commit {
    const struct qcbmi_plan *plan; /* borrowed, like the image */
    struct qcbmi_image *img;
    size_t next;                    /* stage of the plan that has not been run */
    uint8_t *buf;                   /* a piece of a payload that is not in memory */
    bool may_stop;                  /* the old state stands, or an undo can be repeated */
    struct qcbmi_progress progress; /* in bytes written */
    bool undo_made;                 /* plan->undo_path is there, and is this commit's */
};

/* The first half: all stages up to the switch, each with a flush. The first cluster must still be as it was read. With
 * plan->undo_path the old bytes are durable in that file before; it is removed again if nothing was written.
 * On failure the old state is in place, and the message says whether clusters may have leaked. */
int qcbmi_commit_prepare(struct qcbmi_commit *c, const struct qcbmi_plan *plan, struct qcbmi_image *img,
                         struct qcbm_error *err);
/* The second half, once. On failure the message says that the new state may be in place. */
int qcbmi_commit_switch(struct qcbmi_commit *c, struct qcbm_error *err);
/* Its two parts: the new state is in place and durable behind the first; the second gives up the rest of the old one,
 * and seals the undo file. */
int qcbmi_commit_publish(struct qcbmi_commit *c, struct qcbm_error *err);
int qcbmi_commit_finish(struct qcbmi_commit *c, struct qcbm_error *err);
/* After either half, whatever it returned; without the second one the old state stays. */
void qcbmi_commit_end(struct qcbmi_commit *c);

/* Both halves for one image. */
int qcbmi_plan_commit(const struct qcbmi_plan *plan, struct qcbmi_image *img, struct qcbm_error *err);

#endif
