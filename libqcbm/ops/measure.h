/* measure.h - how large a copy of a chain that is open would be
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_MEASURE_H
#define QCBMI_MEASURE_H

#include "bitmap/handle.h"
#include "image/chain.h"

/* As qcbm_measure(). @top is the handle of the top layer; NULL if that is no qcow2 image. */
int qcbmi_measure_chain(struct qcbm_image *top, const struct qcbmi_chain *chain,
                        const struct qcbm_measure_options *options, struct qcbm_measure *out, size_t out_size,
                        struct qcbm_error *err);

#endif
