/* looks.c - metadata by its look: does a table of snapshots begin here?
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "format/q2_snapshot.h"
#include "rescue/rescue.h"

#define MAX_ID 10u /* digits of what QEMU counts up */

static bool are_digits(const uint8_t *p, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        if (p[i] < '0' || p[i] > '9')
            return false;
    return n > 0;
}

/* The first entry: an L1 table in the file, extra data as QEMU writes it, an ID of digits, a name. */
bool qcbmi_looks_like_snapshots(const struct q2_geometry *g, uint64_t file_size, const uint8_t *bytes)
{
    uint64_t l1 = be64_load(bytes), l1_len = 8 * (uint64_t)be32_load(bytes + 8);
    unsigned id_len = be16_load(bytes + 12), name_len = be16_load(bytes + 14), extra = be32_load(bytes + 36);

    if (l1 == 0 || !is_aligned(l1, g->cluster_size) || l1_len == 0 || l1_len > Q2_MAX_L1_BYTES ||
        !range_fits(l1, l1_len, align_up(file_size, g->cluster_size)))
        return false;
    if (id_len == 0 || id_len > MAX_ID || name_len == 0 || (extra != 0 && (extra < 8 || extra > 64)))
        return false;
    return are_digits(bytes + Q2_SNAPSHOT_FIXED + extra, id_len);
}
