/* alloc.h - memory for counts that have passed a named limit
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_ALLOC_H
#define QCBMI_ALLOC_H

#include <stddef.h>

#include "qcbm.h"

/* Zeroed array of @n elements; never NULL on success, also for @n 0. Frees with free(). */
void *qcbmi_alloc_array(uint64_t n, size_t elem_size, struct qcbm_error *err);

/* Make room in a growing array for one more element: *@items has *@capacity places, @count in use.
 * Returns 0 or QCBM_E_NOMEM with everything as before. */
int qcbmi_grow_array(void *items, size_t *capacity, size_t count, size_t elem_size, struct qcbm_error *err);

/* A copy of @len bytes with a NUL behind it. */
char *qcbmi_memdup_nul(const void *bytes, size_t len, struct qcbm_error *err);

#endif
