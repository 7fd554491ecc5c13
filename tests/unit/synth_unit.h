/* synth_unit.h - what the unit tests of synth share
 * SPDX-License-Identifier: MIT */
#ifndef SYNTH_UNIT_H
#define SYNTH_UNIT_H

#include "image_unit.h"

static inline void build_overlay(struct image_builder *b, uint64_t size)
{
    struct build_options opt = { .size = size, .backing = "base", .backing_format = "raw" };

    build_start(b, &opt);
}

#endif
