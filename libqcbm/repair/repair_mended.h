/* repair_mended.h - entries of mapping tables that were mended: which may be, how many, and what of the disk is lost
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_REPAIR_MENDED_H
#define QCBMI_REPAIR_MENDED_H

#include "repair/repair_entry.h"
#include "repair/repair_look.h"

struct qcbmi_mended {
    struct qcbmi_repair *r;
    struct check c; /* of the image as it is by now */
    struct qcbmi_mend_rules rules;
    struct qcbmi_bitset own, shared; /* clusters: used less than is counted; with two owners */
    struct qcbmi_plan plan;
    uint8_t *before, *after;         /* a cluster each */
    uint64_t n[QCBMI_MEND_LEFT + 1]; /* entries, by what became of them */
    uint64_t first;                  /* of those that changed */
    uint32_t state;                  /* whose tables are at work: 0 = active, i + 1 = snapshot i */
    /* Guest clusters of that state: given up; to be given up; that read what they did not. Told when its tables are
     * done. */
    struct qcbmi_spans lost, left, doubtful;
};

/* Check the image as it is by now. Free it on failure too. */
int qcbmi_mended_begin(struct qcbmi_mended *m, struct qcbmi_repair *r, struct qcbm_error *err);
void qcbmi_mended_free(struct qcbmi_mended *m);

bool qcbmi_mended_is_shared(const struct qcbmi_mended *m, uint64_t cluster);
/* An entry @raw at @off of the file, for @len bytes at @guest of the disk or of the snapshot. */
int qcbmi_mended_note(struct qcbmi_mended *m, enum qcbmi_mend how, uint64_t off, uint64_t raw, uint64_t guest,
                      uint64_t len);
/* [@guest, @guest + @len) had a table, or part of one, that something was written over: entries of zeros in it are no
 * less wrong than the others, so with these all of the range changes. */
int qcbmi_mended_note_overwritten(struct qcbmi_mended *m, uint64_t guest, uint64_t len);
/* The tables of @m->state are done: tell of its ranges. */
int qcbmi_mended_tell_state(struct qcbmi_mended *m);
/* Are most entries of this sector of a table nonsense? Then the others, too, are what was written over it. */
bool qcbmi_mended_is_overwritten(const struct qcbmi_mended *m, const uint8_t *sector, uint64_t len, bool l1);

/* Tell what was mended, as @what, and carry it out. */
int qcbmi_mended_commit(struct qcbmi_mended *m, const char *what, struct qcbm_error *err);

#endif
