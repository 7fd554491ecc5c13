/* q2_limits.h - every limit, with where it comes from
 * SPDX-License-Identifier: MIT */
#ifndef Q2_LIMITS_H
#define Q2_LIMITS_H

#include <stdint.h>

#define Q2_MAGIC UINT32_C(0x514649fb)
#define Q2_SECTOR 512u /* unit that a device writes whole or not at all; also of QEMU's virtual sizes */

#define Q2_MIN_CLUSTER_BITS 9u /* spec, QEMU: 512 bytes .. 2 MiB */
#define Q2_MAX_CLUSTER_BITS 21u
#define Q2_MIN_CLUSTER_BITS_EXTL2 14u /* QEMU: a subcluster has at least 512 bytes */
#define Q2_V2_HEADER_LENGTH 72u
#define Q2_V3_MIN_HEADER_LENGTH 104u
#define Q2_MAX_REFCOUNT_ORDER 6u
#define Q2_MAX_L1_BYTES (UINT64_C(32) << 20)             /* QEMU: active and snapshot L1 */
#define Q2_MAX_REFTABLE_BYTES (UINT64_C(8) << 20)        /* QEMU */
#define Q2_MAX_SNAPSHOTS 65536u                          /* QEMU */
#define Q2_MAX_SNAPSHOT_TABLE_BYTES (UINT64_C(64) << 20) /* QEMU: 1024 * 65536 */
#define Q2_MAX_SNAPSHOT_EXTRA 1024u                      /* QEMU */
#define Q2_MAX_BACKING_NAME 1023u                        /* spec */
#define Q2_MAX_BACKING_FORMAT 15u                        /* QEMU */
#define Q2_MAX_BITMAPS 65535u                            /* QEMU */
#define Q2_MAX_BITMAP_DIRECTORY UINT64_C(67107840)       /* QEMU: 1024 * 65535 */
#define Q2_MAX_BITMAP_NAME 1023u                         /* QEMU */
#define Q2_MIN_GRANULARITY_BITS 9u                       /* QEMU */
#define Q2_MAX_GRANULARITY_BITS 31u                      /* QEMU */
#define Q2_MAX_BITMAP_BYTES (UINT64_C(512) << 20)        /* QEMU: hence 2^32 bits */
#define Q2_MAX_BITMAP_TABLE UINT64_C(0x8000000)          /* QEMU: entries; the bytes above bite first */
#define Q2_MAX_HOST_OFFSET (UINT64_C(1) << 56)           /* spec: bits 9..55 of an entry */
#define Q2_MAX_OFFSET ((UINT64_C(1) << 63) - 1)          /* QEMU: offsets are int64_t */

#endif
