/* source.h - where the bytes of a planned write come from, so that large ones need not lie in memory
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_SOURCE_H
#define QCBMI_SOURCE_H

#include "base/bitset.h"

/* Bytes of a payload from @at on into @to: *@got of them, 1 to @len. It is asked when they are written, and before that
 * where an undo file is made, so one place has the same bytes each time. What it returns below 0 ends the commit. */
typedef int qcbmi_source_fn(void *opaque, uint64_t at, uint8_t *to, uint64_t len, uint64_t *got,
                            struct qcbm_error *err);

/* Words of 64 bits, as they are stored, that count up; behind each of them another one that stays, if there is to be
 * one. */
struct qcbmi_series {
    uint64_t base, step;
    uint64_t pair;
    unsigned width; /* bytes of an element: 8, or 16 with the pair; 0: this is none */
};

/* One of the four. */
struct qcbmi_source {
    uint8_t *bytes;                  /* in memory, owned */
    const struct qcbmi_bitset *bits; /* borrowed: its bits as the format stores them, zeros behind its end */
    qcbmi_source_fn *fn;
    void *opaque;
    struct qcbmi_series series;
    uint64_t first; /* of @bits, @fn and the series: the byte that the write begins with */
};

void qcbmi_source_free(struct qcbmi_source *s);

/* Bytes [@at, @at + @len) of the write into @to. What a function says is passed on; one that has no more bytes is
 * QCBM_E_IO. */
int qcbmi_source_load(const struct qcbmi_source *s, uint64_t at, uint8_t *to, uint64_t len, struct qcbm_error *err);

/* Does @next begin where @len bytes of @s, neither of them in memory, end? */
bool qcbmi_source_continues(const struct qcbmi_source *s, uint64_t len, const struct qcbmi_source *next);

#endif
