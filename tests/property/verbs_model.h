/* verbs_model.h - what bitmaps are to verbs.c: arrays of bits, every answer found byte range by byte range
 * SPDX-License-Identifier: MIT */
#ifndef TESTS_VERBS_MODEL_H
#define TESTS_VERBS_MODEL_H

#include <stdbool.h>
#include <stdint.h>

#define MAX_BITS 512u /* granules of a disk of MAX_BITS sectors */
#define N_NAMES 6u
#define MAX_BITMAPS (N_NAMES + 1) /* and one in use */

struct bitmap {
    char name[4];
    unsigned gran_bits;
    bool enabled, in_use;
    bool bits[MAX_BITS];
};

struct model {
    uint64_t size;
    unsigned n;
    struct bitmap list[MAX_BITMAPS];
};

enum combination { OR, AND, AND_NOT };

struct bitmap *model_find(struct model *m, const char *name);
unsigned model_granules(const struct model *m, unsigned gran_bits);
/* Bytes of granule @i that the disk has: [*@start, *@end). */
void model_bytes_of(const struct model *m, const struct bitmap *b, unsigned i, uint64_t *start, uint64_t *end);
bool model_dirty_at(const struct bitmap *b, uint64_t byte);
/* @to = @to combined with @from, to the sector; a granule is dirty if one of its sectors is. */
void model_combine(const struct model *m, struct bitmap *to, const struct bitmap *from, enum combination how);
struct bitmap *model_append(struct model *m, const char *name, unsigned gran_bits, bool enabled);

#endif
