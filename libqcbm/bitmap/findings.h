/* findings.h - what was found wrong with an image while it was opened and read
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_FINDINGS_H
#define QCBMI_FINDINGS_H

#include "base/error.h"

struct qcbmi_findings {
    struct qcbm_finding *list;
    size_t n, capacity;
};

/* Note a finding; @fmt is formatted. Quietly drops it when memory is short or there are thousands. */
void qcbmi_finding_add(struct qcbmi_findings *all, enum qcbm_problem_id id, uint64_t offset, uint32_t bitmap,
                       const char *fmt, ...) __attribute__((format(printf, 5, 6)));
void qcbmi_findings_free(struct qcbmi_findings *all); /* fine on a zeroed struct, which it leaves */

#endif
