/* states.h - the states that a power cut can leave, built from a recording of writes, growth and flushes
 * SPDX-License-Identifier: MIT */
#ifndef TESTS_STATES_H
#define TESTS_STATES_H

#include "io_record.h"

struct states_source {
    const uint8_t *start;
    size_t start_len;
    const struct record_event *events;
    size_t n;
    unsigned random_subsets; /* for each stretch between two flushes; all subsets where they are not more */
    uint64_t seed;
};

struct states_count {
    uint64_t built, distinct; /* equal states are given once */
};

/* Called for each state that differs from all before it. A non-zero return ends the walk. */
typedef int states_fn(void *opaque, const uint8_t *bytes, size_t len, const char *what);

/* All writes before the last flush, and of those after it: every prefix; each one alone, each one missing; each torn
 * at sectors, with the others there, not there, or there as far as they came before it; the length of a write that
 * makes the file longer without its bytes; subsets of sectors, all or random ones. A growth of the file, or a cut, is
 * one of the writes, and so is lost, alone or late like any other. */
void states_walk(const struct states_source *src, states_fn *fn, void *opaque, struct states_count *count);

#endif
