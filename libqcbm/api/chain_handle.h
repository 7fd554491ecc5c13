/* chain_handle.h - a chain that a caller holds open
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_CHAIN_HANDLE_H
#define QCBMI_CHAIN_HANDLE_H

#include "bitmap/handle.h"
#include "image/chain.h"
#include "image/guest_map.h"

struct qcbm_chain {
    struct qcbmi_chain chain;
    struct qcbm_image *top;     /* the caller's; NULL for a raw file */
    struct qcbm_image lower;    /* the layer below it that was looked at last */
    struct qcbmi_guest_map map; /* that pages are filled from */
    bool has_map;
};

#endif
