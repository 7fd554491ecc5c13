/* dump_items.c - what all parts of a dump give out items with, and read tables of words by
 * SPDX-License-Identifier: MIT */
#include "dump/dump.h"

#include <stdarg.h>
#include <stdio.h>

#include "base/checked.h"

int qcbmi_dump_give(struct qcbm_dump *d, struct qcbm_dump_item *item, const char *problem, struct qcbm_error *err,
                    const char *meaning, ...)
{
    char text[256];
    va_list args;

    va_start(args, meaning);
    vsnprintf(text, sizeof(text), meaning, args);
    va_end(args);
    item->meaning = text;
    item->problem = problem;
    if (d->fn(d->opaque, item))
        return qcbmi_fail_stopped(err);
    return 0;
}

uint64_t qcbmi_dump_entries(const struct qcbm_dump *d, uint64_t base, uint64_t n, uint64_t limit_bytes)
{
    uint64_t there = base < d->io.size ? (d->io.size - base) / 8 : 0;

    return u64_min(u64_min(n, limit_bytes / 8), there);
}

int qcbmi_dump_word(struct qcbm_dump *d, uint64_t base, uint64_t i, uint64_t n, uint64_t *value, uint64_t *next,
                    struct qcbm_error *err)
{
    const uint8_t *at;
    int ret = qcbmi_window_at(&d->window, &d->io, base + 8 * i, 8, 8 * (n - i), &at, err);

    if (ret < 0)
        return ret;
    *value = be64_load(at);
    *next = i + 1;
    if (qcbmi_window_is_zero(&d->window, base + 8 * i, 8))
        *next = u64_max(*next, u64_min(n, (d->window.zero_end - base) / 8));
    return 0;
}
