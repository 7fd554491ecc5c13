/* q2_cursor.h - reader that cannot pass its end
 * SPDX-License-Identifier: MIT
 *
 * A take beyond the end yields zeros and sets overrun, which is tested once when the structure has been read. */
#ifndef Q2_CURSOR_H
#define Q2_CURSOR_H

#include <stdbool.h>
#include <stddef.h>

#include "base/bytes.h"

struct q2_cursor {
    const uint8_t *at, *end;
    bool overrun;
};

static inline void q2_cursor_init(struct q2_cursor *c, const uint8_t *bytes, size_t len)
{
    c->at = bytes;
    c->end = bytes + len;
    c->overrun = false;
}

static inline size_t q2_cursor_left(const struct q2_cursor *c)
{
    return (size_t)(c->end - c->at);
}

/* The next @len bytes, or NULL (and overrun) if there are fewer. */
static inline const uint8_t *q2_take(struct q2_cursor *c, size_t len)
{
    const uint8_t *p = c->at;

    if (len > q2_cursor_left(c)) {
        c->overrun = true;
        c->at = c->end;
        return NULL;
    }
    c->at += len;
    return p;
}

static inline uint8_t q2_take_u8(struct q2_cursor *c)
{
    const uint8_t *p = q2_take(c, 1);

    return p ? *p : 0;
}

static inline uint16_t q2_take_u16(struct q2_cursor *c)
{
    const uint8_t *p = q2_take(c, 2);

    return p ? be16_load(p) : 0;
}

static inline uint32_t q2_take_u32(struct q2_cursor *c)
{
    const uint8_t *p = q2_take(c, 4);

    return p ? be32_load(p) : 0;
}

static inline uint64_t q2_take_u64(struct q2_cursor *c)
{
    const uint8_t *p = q2_take(c, 8);

    return p ? be64_load(p) : 0;
}

#endif
