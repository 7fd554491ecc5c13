/* lost_tables.h - does an image speak for a lost mapping table, whose range every list of allocated clusters lacks?
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_LOST_TABLES_H
#define QCBMI_LOST_TABLES_H

#include "bitmap/handle.h"

struct qcbmi_lost_tables {
    uint64_t tables;     /* leaked clusters that are mapping tables: evidence */
    char evidence[512];  /* the first of them; "" if there is none */
    char suspicion[512]; /* leaks that may be what a lost table maps, and the guest ranges; "" if there is none */
    char unknown[512];   /* why nothing can be told; "" if it can */
};

/* One pass over tables and refcounts. What others write meanwhile tells nothing: an image that is shared is not looked at.
 * Returns 0, QCBM_E_IO, QCBM_E_NOMEM. */
int qcbmi_lost_tables_look(struct qcbm_image *handle, struct qcbmi_lost_tables *out, struct qcbm_error *err);

#endif
