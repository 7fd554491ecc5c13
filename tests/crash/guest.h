/* guest.h - the bytes of an image that no change of bitmaps may touch
 * SPDX-License-Identifier: MIT */
#ifndef TESTS_GUEST_H
#define TESTS_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct guest_range {
    size_t off, len;
};

struct guest {
    const uint8_t *bytes; /* the image they are of; borrowed */
    size_t len;
    struct guest_range *ranges;
    size_t n, capacity;
};

/* Header fields, the L1 and L2 tables of the active state and of snapshots, their data clusters, the snapshot table:
 * from the bytes alone, without the library. Ends the program on an image that it does not understand. */
void guest_find(struct guest *g, const uint8_t *bytes, size_t len);
bool guest_is_same(const struct guest *g, const uint8_t *bytes, size_t len);
void guest_free(struct guest *g);

#endif
