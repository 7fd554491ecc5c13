/* mutate_afl.c - the image mutator as a custom mutator of AFL++: AFL_CUSTOM_MUTATOR_LIBRARY=libmutate_afl.so
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "mutate_qcow2.h"

struct mutator {
    uint8_t *buf;
    size_t capacity;
    unsigned rng;
};

void *afl_custom_init(void *afl, unsigned seed);
size_t afl_custom_fuzz(void *self, uint8_t *buf, size_t size, uint8_t **out, uint8_t *other, size_t other_size,
                       size_t max_size);
void afl_custom_deinit(void *self);

void *afl_custom_init(void *afl, unsigned seed)
{
    struct mutator *m = calloc(1, sizeof(*m));

    (void)afl;
    if (m)
        m->rng = seed;
    return m;
}

size_t afl_custom_fuzz(void *self, uint8_t *buf, size_t size, uint8_t **out, uint8_t *other, size_t other_size,
                       size_t max_size)
{
    struct mutator *m = self;
    size_t crossed = 0;

    if (m->capacity < max_size) {
        free(m->buf);
        m->buf = malloc(max_size);
        m->capacity = m->buf ? max_size : 0;
    }
    if (!m->buf || size > max_size)
        return 0;
    m->rng = m->rng * 1664525 + 1013904223;
    if (other && m->rng >> 28 == 0)
        crossed = cross_qcow2(buf, size, other, other_size, m->buf, max_size, m->rng);
    if (!crossed) {
        memcpy(m->buf, buf, size);
        crossed = mutate_qcow2(m->buf, size, max_size, m->rng);
    }
    *out = m->buf;
    return crossed;
}

void afl_custom_deinit(void *self)
{
    struct mutator *m = self;

    free(m->buf);
    free(m);
}
