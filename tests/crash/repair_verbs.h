/* repair_verbs.h - what mends a damaged image: a table
 * SPDX-License-Identifier: MIT */
#ifndef TESTS_REPAIR_VERBS_H
#define TESTS_REPAIR_VERBS_H

#include <stdbool.h>

#include "qcbm-io.h"

struct repair_verb {
    const char *name;
    /* As a program would, up to the commit. @flags: enum qcbm_repair_flag. */
    int (*run)(struct qcbm_image *img, unsigned flags, struct qcbm_error *err);
    bool is_whole;   /* it mends all that there is, so a check finds nothing afterwards */
    bool of_bitmaps; /* for images whose bitmaps are damaged */
    bool repeats;    /* writes again what is there already */
};

extern const struct repair_verb repair_verbs[];
extern const size_t repair_n_verbs;

#endif
