/* rescue_run.h - a rescue from one backend to another
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_RESCUE_RUN_H
#define QCBMI_RESCUE_RUN_H

#include "io/io.h"

/* @from is locked by the caller and only read; @to (NULL: nothing is written) is empty. @o has all its members. */
int qcbmi_rescue_run(struct qcbmi_io *from, const char *path, struct qcbmi_io *to, const struct qcbm_rescue_options *o,
                     struct qcbm_rescue_result *out, struct qcbm_error *err);

#endif
