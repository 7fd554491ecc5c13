/* measure.h - how large a copy of a chain that is open would be
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_MEASURE_H
#define QCBMI_MEASURE_H

#include "image/chain.h"

/* As qcbm_measure(). */
int qcbmi_measure_chain(const struct qcbmi_chain *chain, const struct qcbm_measure_options *options,
                        struct qcbm_measure *out, size_t out_size, struct qcbm_error *err);

#endif
