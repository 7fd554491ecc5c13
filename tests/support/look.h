/* look.h - what an image shows through the library, in a form that two states can be compared by
 * SPDX-License-Identifier: MIT */
#ifndef TESTS_LOOK_H
#define TESTS_LOOK_H

#include "qcbm-io.h"

#define LOOK_MAX_BITMAPS 32u

struct look_bitmap {
    char name[64];
    uint32_t flags;
    uint64_t hash; /* of granularity and extents; 0 = the bits cannot be read */
};

struct look {
    uint32_t n; /* bitmaps looked at, at most LOOK_MAX_BITMAPS */
    struct look_bitmap bitmaps[LOOK_MAX_BITMAPS];
    char tag[33];            /* "" if there is none that counts */
    uint64_t names;          /* hash of backing file, backing format, data file and foreign extensions */
    uint64_t dirty, damaged; /* of a synthesised bitmap */
    bool synth_ok;
    uint32_t errors; /* findings of severity error */
    bool plan_ok;    /* a bitmap could be added: no cluster has two owners, none in use lacks a refcount */
};

/* Open @bytes in memory and look at everything; false if it does not open. Ends the program on a broken promise of the
 * API (an error without a text, a plan that does not add up). */
bool look_at(const uint8_t *bytes, size_t len, struct look *out);

/* End the program with a message. */
_Noreturn void look_fail(const char *what, const char *why);
void look_check_error(const struct qcbm_error *err, int ret);

const struct look_bitmap *look_find(const struct look *l, const char *name);

uint8_t *look_read_file(const char *path, size_t *len);

#endif
