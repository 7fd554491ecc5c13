/* repair_look.h - what repairs of tables and refcounts need: a look at the image as it is by now, and writes of what
 * changed
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_REPAIR_LOOK_H
#define QCBMI_REPAIR_LOOK_H

#include "check/check.h"
#include "repair/repair_parts.h"

#define QCBMI_LOOK_NO_REFCOUNTS 1u /* leave out the refcounts themselves, which are to go */
#define QCBMI_LOOK_TELLS_COPIED 2u /* the caller hears of wrong COPIED flags */

/* A check of r->work that tells nobody unless @how says so; @counted (may be NULL) is called in each of its passes when
 * all is counted. @c is to be freed, on failure too. */
int qcbmi_repair_look(struct qcbmi_repair *r, struct check *c, unsigned how,
                      int (*counted)(struct check *c, void *counted_for), void *counted_for, struct qcbm_error *err);

/* Clusters that have more than one owner, as the check of @c found them. To be freed, on failure too. */
int qcbmi_repair_shared(const struct check *c, struct qcbmi_bitset *out);

/* repair_guard.c: without force no table may be lost, once all entries are put straight that can be. */
int qcbmi_repair_refuse_lost(const struct qcbmi_repair *r, const struct check *c);

/* @cluster has one owner less from here on: what the other finds there may not be his. */
int qcbmi_repair_note_shared(struct qcbmi_repair *r, uint64_t cluster, struct qcbm_error *err);

/* Write those sectors of [@off, @off + @len) into the current stage that differ; @off is a multiple of a sector. */
int qcbmi_repair_write_changes(struct qcbmi_plan *plan, const char *what, uint64_t off, const uint8_t *before,
                               const uint8_t *after, uint64_t len, struct qcbm_error *err);

/* The end of the file in whole clusters, or of what is used of a device, behind which nothing refers to anything, and
 * @n clusters more for @plan. */
uint64_t qcbmi_repair_append(const struct qcbmi_repair *r, struct qcbmi_plan *plan, uint64_t n);

/* A row about the image file at @off, all of it in @done. */
int qcbmi_repair_tell_done(struct qcbmi_repair *r, const char *code, uint64_t off, const char *done,
                           struct qcbm_error *err);

/* Refcounts of single clusters, in rising order, in the blocks that there are. */
struct qcbmi_recount {
    struct check *c;
    struct qcbmi_plan *plan; /* its current stage gets them */
    uint8_t *before, *after; /* a block */
    uint64_t index;          /* of it in the refcount table */
    uint64_t first, n;       /* clusters that got another refcount */
    bool missing;            /* some have no block that can be written: they are left out */
};
/* In a pass of the check: all clusters that count less (@raise), or more, than what refers to them. */
int qcbmi_recount_pass(struct qcbmi_recount *w, struct check *c, bool raise);
/* After the last: into the plan with what is left, unless @ret is a failure; frees all but the plan. Returns @ret or
 * its own failure. */
int qcbmi_recount_end(struct qcbmi_recount *w, int ret);

#endif
