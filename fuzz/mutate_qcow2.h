/* mutate_qcow2.h - changes of an image that know where its structures lie
 * SPDX-License-Identifier: MIT */
#ifndef FUZZ_MUTATE_QCOW2_H
#define FUZZ_MUTATE_QCOW2_H

#include <stddef.h>
#include <stdint.h>

/* Change the image in @data (@size bytes, room for @max_size); the new size. What comes out depends on @seed alone. */
size_t mutate_qcow2(uint8_t *data, size_t size, size_t max_size, uint32_t seed);

/* Put a cluster of the second image into the first, copied to @out; the size, 0 if they do not go together. */
size_t cross_qcow2(const uint8_t *a, size_t a_size, const uint8_t *b, size_t b_size, uint8_t *out, size_t max_size,
                   uint32_t seed);

#endif
