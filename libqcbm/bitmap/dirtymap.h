/* dirtymap.h - a dirty bitmap in memory: one bit per granule of the virtual disk
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_DIRTYMAP_H
#define QCBMI_DIRTYMAP_H

#include "base/bitset.h"

struct qcbmi_dirtymap {
    struct qcbmi_bitset bits;
    uint64_t size; /* guest bytes that it covers */
    unsigned gran_bits;
};

int qcbmi_dirtymap_init(struct qcbmi_dirtymap *map, uint64_t size, unsigned gran_bits, struct qcbm_error *err);
void qcbmi_dirtymap_free(struct qcbmi_dirtymap *map); /* fine on a zeroed struct */

/* Set every granule that [@start, @end) touches: rounded outward, clipped at the size. */
int qcbmi_dirtymap_set(struct qcbmi_dirtymap *map, uint64_t start, uint64_t end, struct qcbm_error *err);

/* Clear every granule of which no byte lies outside [@start, @end): rounded inward. A last granule that reaches past
 * the size counts up to it. */
int qcbmi_dirtymap_clear_within(struct qcbmi_dirtymap *map, uint64_t start, uint64_t end, struct qcbm_error *err);

/* First dirty range at or after @from: [*@start, *@end), clipped at the size. False if there is none. */
bool qcbmi_dirtymap_next(const struct qcbmi_dirtymap *map, uint64_t from, uint64_t *start, uint64_t *end);

uint64_t qcbmi_dirtymap_dirty_bytes(const struct qcbmi_dirtymap *map); /* clipped at the size */

/* @to |= @from, at any granularities; what lies past the end of @to is dropped. */
int qcbmi_dirtymap_merge(struct qcbmi_dirtymap *to, const struct qcbmi_dirtymap *from, struct qcbm_error *err);

/* Of a bitmap that covered @covered bytes of a disk that was smaller: all behind them is dirty, as it tells nothing of
 * it. At least the last granule is: the disks may differ by the part of a sector that QEMU rounds off. */
int qcbmi_dirtymap_set_tail(struct qcbmi_dirtymap *map, uint64_t covered, struct qcbm_error *err);

/* @to &= @from and @to &= ~@from, of equal size, at any granularities. A granule stays dirty as long as one of its
 * bytes is dirty by the exact answer. @from must not be @to. */
int qcbmi_dirtymap_intersect(struct qcbmi_dirtymap *to, const struct qcbmi_dirtymap *from, struct qcbm_error *err);
int qcbmi_dirtymap_subtract(struct qcbmi_dirtymap *to, const struct qcbmi_dirtymap *from, struct qcbm_error *err);

#endif
