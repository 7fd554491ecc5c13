/* sized.h - structs that grow: what a caller's older, shorter struct gets, and what a newer, longer one may ask for
 * SPDX-License-Identifier: MIT
 *
 * Public structs grow at their end alone, behind the last byte of what they were, padding included. A program tells
 * which one it was compiled with by its size. */
#ifndef QCBMI_SIZED_H
#define QCBMI_SIZED_H

#include <stddef.h>

#include "qcbm.h"

/* Can @size be sizeof a struct that is to be filled? Returns 0 or QCBM_E_ARG: to be asked before any work is done. */
int qcbmi_check_size(size_t size, struct qcbm_error *err);

/* Fill the caller's @out: a shorter struct up to its end, a longer one with zeros behind what is known here. */
void qcbmi_give(void *out, size_t size, const void *from, size_t from_size);

/* Both, for what is known at once. Returns 0 or QCBM_E_ARG. */
int qcbmi_give_checked(void *out, size_t size, const void *from, size_t from_size);

/* Options of a caller over the defaults in @to. @from, which begins with its size_t struct_size, may be NULL. Members
 * that an older program does not have stay at their defaults.
 * Returns 0, QCBM_E_ARG (no size of a struct), QCBM_E_UNSUPPORTED (a newer program sets what is not known here). */
int qcbmi_take_options(void *to, size_t to_size, const void *from, struct qcbm_error *err);

#endif
