/* attach_measure.c - how much a metadata image, or a bitmap, takes
 * SPDX-License-Identifier: MIT */
#include "base/checked.h"
#include "base/error.h"
#include "base/sized.h"
#include "format/q2_bitmap_dir.h"
#include "format/q2_limits.h"
#include "rawdisk/attach_write.h"

static int check_disk(uint64_t size, struct qcbm_error *err)
{
    if (size == 0 || !is_aligned(size, Q2_SECTOR))
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "the size of a disk is a multiple of 512, and not 0");
    return 0;
}

int qcbm_attach_measure(uint64_t size, uint32_t cluster_size, bool extended_l2, uint64_t *file_size,
                        struct qcbm_error *err)
{
    struct qcbmi_attach a = { .size = size, .cluster_size = cluster_size, .extended_l2 = extended_l2 };
    int ret = check_disk(size, err);

    if (ret == 0)
        ret = qcbmi_attach_write(&a, err);
    *file_size = a.file_size;
    return ret;
}

int qcbm_bitmap_measure(uint64_t size, uint32_t cluster_size, uint64_t granularity, struct qcbm_bitmap_measure *out,
                        size_t out_size, struct qcbm_error *err)
{
    struct q2_bitmap_size s;
    struct qcbm_bitmap_measure m;
    int ret = check_disk(size, err);

    if (ret == 0 && (cluster_size < 1u << Q2_MIN_CLUSTER_BITS || cluster_size > 1u << Q2_MAX_CLUSTER_BITS ||
                     (cluster_size & (cluster_size - 1))))
        ret = qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "a cluster has 512 bytes to 2 MiB, a power of two");
    if (ret == 0 && (granularity < UINT64_C(1) << Q2_MIN_GRANULARITY_BITS ||
                     granularity > UINT64_C(1) << Q2_MAX_GRANULARITY_BITS || (granularity & (granularity - 1))))
        ret = qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "a granule has 512 bytes to 2 GiB, a power of two");
    if (ret == 0)
        ret = q2_bitmap_size(size, (unsigned)__builtin_ctzll(granularity), cluster_size, &s, err);
    if (ret < 0)
        return ret;
    m.granules = s.bits;
    m.least = align_up(8 * s.entries, cluster_size);
    m.most = m.least + s.entries * cluster_size;
    return qcbmi_give_checked(out, out_size, &m, sizeof(m));
}
