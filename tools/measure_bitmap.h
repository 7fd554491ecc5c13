/* measure_bitmap.h - measure --bitmap: what metadata images of raw disks take, and bitmaps
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_MEASURE_BITMAP_H
#define QCBM_TOOL_MEASURE_BITMAP_H

#include <stdint.h>

#include "opt.h"

/* Of a disk of @size bytes; the bitmaps in an image with clusters of @cluster_size bytes. Returns the exit code. */
int measure_bitmap_out(uint64_t size, uint32_t cluster_size, enum opt_output output);

#endif
