/* switches.h - the states of the sectors that a plan switches
 * SPDX-License-Identifier: MIT
 *
 * Each write of a switch lies in one sector, and stages have a flush between them: so the sectors are, taken together,
 * in one of few states, and which one says how far it came. */
#ifndef QCBMI_SWITCHES_H
#define QCBMI_SWITCHES_H

#include "bitmap/handle.h"
#include "format/journal_file.h"
#include "write/plan.h"

/* Note in @d what @plan switches in @handle: the states from behind its first half on, and the sectors that do not
 * change and tell whether a guest ran: that of the header's begin, and that of the bitmaps extension. */
int qcbmi_switches_collect(struct qcbmi_journal_disk *d, const struct qcbmi_plan *plan, struct qcbm_image *handle,
                           struct qcbm_error *err);

/* Which state are the sectors in: *@stage is the last that is complete, 0 for none; *@known false: in none of them, or
 * one lies behind the end of the file, which would grow by it. The fence is not looked at. */
int qcbmi_switches_look(const struct qcbmi_journal_disk *d, struct qcbmi_io *io, uint32_t *stage, bool *known,
                        struct qcbm_error *err);
/* The last stage there is. */
uint32_t qcbmi_switches_last(const struct qcbmi_journal_disk *d);
/* Write the stages behind @stage, a flush after each. With @fence the bit stays up in what is written. */
int qcbmi_switches_go_on(const struct qcbmi_journal_disk *d, struct qcbmi_io *io, uint32_t stage, bool fence,
                         struct qcbm_error *err);

#endif
