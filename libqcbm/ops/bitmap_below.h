/* bitmap_below.h - does a bitmap begin in this layer, or in one below it?
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_BITMAP_BELOW_H
#define QCBMI_BITMAP_BELOW_H

#include "image/chain.h"

/* QCBM_E_CHAIN if a layer below the first of @chain has a bitmap called @name, too: what changed since it began is in
 * all of them, and who takes the first one's for it misses what was written before that layer was made. @instead says
 * what to do. */
#define QCBMI_COLLECT_FIRST                                                                                            \
    "'qcbm bitmap --collect NAME --as NEW FILE' makes one bitmap of them; remove NEW when it has served"
int qcbmi_bitmap_refuse_below(const struct qcbmi_chain *chain, const char *name, const char *instead,
                              struct qcbm_error *err);

#endif
