/* fixture.h - an image of tests/fixtures that is stored, in memory
 * SPDX-License-Identifier: MIT */
#ifndef TESTS_FIXTURE_H
#define TESTS_FIXTURE_H

#include <stddef.h>
#include <stdint.h>

#include "qcbm.h"

/* The bytes of the case's image.gz, in a block of exactly *@len. Ends the program if there are none. */
uint8_t *fixture_load(const char *name, size_t *len);

/* A copy of it, opened for reading; the caller closes it. */
struct qcbm_image *fixture_open(const char *name);

#endif
