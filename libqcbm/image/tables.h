/* tables.h - the active L1, and what tables say that is damaged
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_TABLES_H
#define QCBMI_TABLES_H

#include "format/q2_l1l2.h"
#include "image/image.h"

/* Read the part of the active L1 that maps guest data into img->l1, unless it is there. */
int qcbmi_l1_load(struct qcbmi_image *img, struct qcbm_error *err);

/* Damage that was met on the way: how much, and the first of it. */
struct qcbmi_damage {
    uint64_t count;
    struct qcbm_error first;
};
/* Count it; the message of the first is kept. @offset is where the bad entry lies. */
void qcbmi_damage_add(struct qcbmi_damage *d, uint64_t offset, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* Add what @from counted, which was met later, and empty it. */
void qcbmi_damage_merge(struct qcbmi_damage *d, struct qcbmi_damage *from);

/* Refuse to go on with any: returns 0 if there is none, else QCBM_E_UNSAFE with how many and the first. */
int qcbmi_damage_refuse(const struct qcbmi_damage *d, struct qcbm_error *err);

/* Does the host range of @e lie in the file (a last cluster may be cut short)? True also for entries without one, and
 * with an external data file, whose length is not looked at. */
bool qcbmi_l2_entry_in_file(const struct qcbmi_image *img, const struct q2_l2_entry *e);

#endif
