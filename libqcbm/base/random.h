/* random.h - numbers that nobody can guess
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_RANDOM_H
#define QCBMI_RANDOM_H

#include "qcbm.h"

/* Returns 0, QCBM_E_IO. */
int qcbmi_random(void *to, size_t len, struct qcbm_error *err);

#endif
