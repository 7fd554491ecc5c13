/* text.h - texts put together: names of files, and what stands behind them
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_TEXT_H
#define QCBMI_TEXT_H

#include "qcbm.h"

/* @a, @b and @c one behind the other, from malloc(). NULL: no memory. */
char *qcbmi_concat(const char *a, const char *b, const char *c, struct qcbm_error *err);

#endif
