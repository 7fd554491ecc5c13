/* verbs_model.c - what bitmaps are to verbs.c: arrays of bits, every answer found byte range by byte range
 * SPDX-License-Identifier: MIT */
#include "verbs_model.h"

#include <stdio.h>
#include <string.h>

struct bitmap *model_find(struct model *m, const char *name)
{
    for (unsigned i = 0; i < m->n; i++)
        if (strcmp(m->list[i].name, name) == 0)
            return &m->list[i];
    return NULL;
}

unsigned model_granules(const struct model *m, unsigned gran_bits)
{
    return (unsigned)((m->size + (UINT64_C(1) << gran_bits) - 1) >> gran_bits);
}

void model_bytes_of(const struct model *m, const struct bitmap *b, unsigned i, uint64_t *start, uint64_t *end)
{
    *start = (uint64_t)i << b->gran_bits;
    *end = *start + (UINT64_C(1) << b->gran_bits);
    if (*end > m->size)
        *end = m->size;
}

bool model_dirty_at(const struct bitmap *b, uint64_t byte)
{
    return b->bits[byte >> b->gran_bits];
}

void model_combine(const struct model *m, struct bitmap *to, const struct bitmap *from, enum combination how)
{
    bool result[MAX_BITS] = { false };

    for (uint64_t byte = 0; byte < m->size; byte += 512) {
        bool a = model_dirty_at(to, byte), b = model_dirty_at(from, byte);

        if (how == OR ? a || b : how == AND ? a && b : a && !b)
            result[byte >> to->gran_bits] = true;
    }
    memcpy(to->bits, result, sizeof(result));
}

struct bitmap *model_append(struct model *m, const char *name, unsigned gran_bits, bool enabled)
{
    struct bitmap *b = &m->list[m->n++];

    memset(b, 0, sizeof(*b));
    snprintf(b->name, sizeof(b->name), "%s", name);
    b->gran_bits = gran_bits;
    b->enabled = enabled;
    return b;
}
