/* check_report.h - the findings of a check, kept to be given out page by page
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_CHECK_REPORT_H
#define QCBMI_CHECK_REPORT_H

#include <stdbool.h>
#include <stddef.h>

#include "qcbm.h"

struct qcbmi_kept_finding {
    struct qcbm_check_finding finding; /* its strings point into @text */
    char *text;
};

struct qcbm_check_report {
    struct qcbmi_kept_finding *list;
    size_t n, capacity;
    uint64_t bytes, left_out;
};

/* A copy of @f at the end, or one more that is left out. Returns 0, QCBM_E_NOMEM. */
int qcbmi_check_report_keep(struct qcbm_check_report *report, const struct qcbm_check_finding *f,
                            struct qcbm_error *err);

#endif
