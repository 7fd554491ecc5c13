/* report.h - what a verification of checkpoints has found
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_REPORT_H
#define QCBMI_REPORT_H

#include "base/progress.h"
#include "checkpoint/disk_chain.h"
#include "checkpoint/disks.h"

/* A checkpoint that is looked for. */
struct qcbmi_wanted {
    const char *name;
    const struct qcbm_checkpoint_xml
        *xml;           /* the caller's, during the verification only; NULL: it should be on all disks */
    const char *parent; /* by the XML, or NULL */
    uint32_t index;     /* in the order of the report */
    bool asked_for, found;
};

struct qcbmi_report_row {
    struct qcbm_checkpoint_row row;
    uint32_t checkpoint, disk;
    size_t last; /* the lowest layer that has it, if row.layers */
};

struct qcbm_checkpoint_report {
    struct qcbm_checkpoint_summary sum;
    struct qcbmi_wanted **wanted; /* sum.checkpoints */
    void *by_name;                /* tree of tsearch(3) of them */
    const char **targets;
    struct qcbmi_report_row *rows;
    struct qcbm_checkpoint_remark *remarks;
    char **strings; /* whatever the others point to */
    size_t n_targets, n_strings;
    size_t wanted_capacity, targets_capacity, rows_capacity, remarks_capacity, strings_capacity;
};

/* A copy of @text that lives as long as the report. NULL: no memory. */
const char *qcbmi_report_keep(struct qcbm_checkpoint_report *r, const char *text, struct qcbm_error *err);

/* Look for the checkpoint @name; a second time is no other. @xml may be NULL. */
int qcbmi_report_want(struct qcbm_checkpoint_report *r, const char *name, const struct qcbm_checkpoint_xml *xml,
                      bool asked_for, struct qcbm_error *err);
bool qcbmi_report_wants(const struct qcbm_checkpoint_report *r, const char *name);
/* Should the disk have it? */
bool qcbmi_wanted_on(const struct qcbmi_wanted *w, const char *target);

int qcbmi_report_add_target(struct qcbm_checkpoint_report *r, const char *target, struct qcbm_error *err);
/* Both take a copy of the struct, whose strings live as long as the report. */
int qcbmi_report_add_row(struct qcbm_checkpoint_report *r, const struct qcbmi_report_row *row, struct qcbm_error *err);
int qcbmi_report_add_remark(struct qcbm_checkpoint_report *r, const struct qcbm_checkpoint_remark *remark,
                            struct qcbm_error *err);

/* All disks have been looked at: bring the rows into order, and remark on what only all of them show. */
int qcbmi_report_finish(struct qcbm_checkpoint_report *r, struct qcbm_error *err);

#endif
