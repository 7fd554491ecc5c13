/* since.h - the layers of a chain above a base that is named
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_SINCE_H
#define QCBMI_SINCE_H

#include "image/chain.h"

/* The chain of @overlay as far as the image @base, or, with @whole, to its end. *@n_above: the layers above the base,
 * which is the next one. Close the chain on failure too.
 * Returns 0, QCBM_E_ARG (the base is the overlay itself), QCBM_E_CHAIN (it is not in the chain), and what
 * qcbmi_chain_open() returns. */
int qcbmi_since_open(struct qcbmi_image *overlay, const char *base, struct qcbmi_chain_options *options, bool whole,
                     struct qcbmi_chain *chain, size_t *n_above, struct qcbm_error *err);

#endif
