/* fuzz_geometry.h - the first bytes of an input choose a geometry, for parsers that need one
 * SPDX-License-Identifier: MIT */
#ifndef FUZZ_GEOMETRY_H
#define FUZZ_GEOMETRY_H

#include <string.h>

#include "base/bytes.h"
#include "format/q2_geometry.h"

#define FUZZ_GEOMETRY_BYTES 16u

/* @data has FUZZ_GEOMETRY_BYTES: version, cluster size, flags, refcount width, 4 bytes without meaning, size. */
static inline void fuzz_geometry(const uint8_t *data, struct q2_geometry *g)
{
    struct q2_header h = { .version = 2 + data[0] % 2, .cluster_bits = 9 + data[1] % 13, .refcount_order = 4 };

    if (h.version == 3) {
        h.refcount_order = data[3] % 7;
        if (data[2] & 1)
            h.incompatible |= QCBM_INCOMPAT_DATA_FILE;
        if ((data[2] & 2) && h.cluster_bits >= 14)
            h.incompatible |= QCBM_INCOMPAT_EXTENDED_L2;
    }
    h.size = be64_load(data + 8) & INT64_MAX;
    q2_geometry_derive(&h, g);
}

#endif
