/* sized.h - structs of callers, who may know less or more members than this library
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_SIZED_H
#define QCBMI_SIZED_H

#include <stddef.h>

/* Options, which begin with their struct_size, over the defaults that are in @to. @from NULL: the defaults stay.
 * Members that @from does not have keep theirs. */
void qcbmi_take_options(void *to, size_t to_size, const void *from);

/* A result: as much of @from as a caller with @out_size bytes knows; zeros in what this library does not. */
void qcbmi_give(void *out, size_t out_size, const void *from, size_t from_size);

#endif
