/* geometry_unit.h - geometries of images of each kind, for tests of what is derived from one
 * SPDX-License-Identifier: MIT */
#ifndef GEOMETRY_UNIT_H
#define GEOMETRY_UNIT_H

#include "format/q2_geometry.h"

enum { V2 = 1, EXT = 2, DATA_FILE = 4 }; /* @kind */

static inline struct q2_geometry geometry(uint32_t cluster_bits, unsigned kind)
{
    struct q2_header h = { .version = kind & V2 ? 2 : 3, .cluster_bits = cluster_bits, .refcount_order = 4 };
    struct q2_geometry g;

    if (kind & EXT)
        h.incompatible |= QCBM_INCOMPAT_EXTENDED_L2;
    if (kind & DATA_FILE)
        h.incompatible |= QCBM_INCOMPAT_DATA_FILE;
    q2_geometry_derive(&h, &g);
    return g;
}

#endif
