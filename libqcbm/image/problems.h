/* problems.h - the one table of problems, which opening an image and checking it both tell from
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_PROBLEMS_H
#define QCBMI_PROBLEMS_H

#include "qcbm.h"

enum { QCBMI_PROBLEM_COUNT = QCBM_PROBLEM_TAG + 1 };

#endif
