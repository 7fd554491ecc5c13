/* rescue_out.h - what a rescue found: text for people, JSON for programs, in a file of its own as well
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_RESCUE_OUT_H
#define QCBM_TOOL_RESCUE_OUT_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "json_write.h"
#include "qcbm.h"

struct rescue_out {
    const char *image, *new_path; /* new_path: NULL in a dry run */
    FILE *report;                 /* JSON goes there, too; NULL: there is no such file */
    bool json, quiet;
    FILE *held; /* what is printed if all goes well */
    struct json_writer to_report, to_held;
    bool in_left;             /* the ranges are all told */
    uint64_t shown, left_out; /* lines for people, of ranges */
    uint64_t shown_left, left_out_left;
};

/* False without a file for what is held back. */
bool rescue_out_begin(struct rescue_out *out);
/* For the library; @opaque is the struct. */
int rescue_out_range(void *opaque, const struct qcbm_rescue_range *range);
int rescue_out_left(void *opaque, const struct qcbm_rescue_left *left);
/* The totals; then all goes to stdout. */
void rescue_out_end(struct rescue_out *out, const struct qcbm_rescue_result *result);
void rescue_out_free(struct rescue_out *out);

#endif
