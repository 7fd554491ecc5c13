/* part.h - QCBM_TEST_PART=N: each Nth case only, for builds with sanitizers, which are slow
 * SPDX-License-Identifier: MIT */
#ifndef TESTS_PART_H
#define TESTS_PART_H

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>

static inline unsigned test_part(void)
{
    const char *text = getenv("QCBM_TEST_PART");
    unsigned long n = text ? strtoul(text, NULL, 10) : 1;

    return n ? (unsigned)n : 1;
}

static inline bool test_takes(uint64_t number)
{
    return number % test_part() == 0;
}

#endif
