/* snapshots.h - the table of internal snapshots
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_SNAPSHOTS_H
#define QCBMI_SNAPSHOTS_H

#include "image/image.h"

/* Read the table into img->snapshots, unless it is there. Its L1 tables are not looked at. An entry that breaks a rule
 * is an error each time; those before it stay to be shown. */
int qcbmi_snapshots_load(struct qcbmi_image *img, struct qcbm_error *err);
void qcbmi_snapshots_forget(struct qcbmi_image *img);

#endif
