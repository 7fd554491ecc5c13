/* sized.c - structs that grow: what a caller's older, shorter struct gets, and what a newer, longer one may ask for
 * SPDX-License-Identifier: MIT */
#include "base/sized.h"

#include <string.h>

#include "base/bytes.h"
#include "base/error.h"

/* No struct is as short as its first member, none comes near a page of pages: other numbers are not from sizeof. */
#define SIZE_MIN_SANE 4
#define SIZE_MAX_SANE ((size_t)64 << 10)

static bool is_sane(size_t size)
{
    return size >= SIZE_MIN_SANE && size <= SIZE_MAX_SANE;
}

int qcbmi_check_size(size_t size, struct qcbm_error *err)
{
    if (is_sane(size))
        return 0;
    return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "%zu is not the size of a struct to be filled: pass sizeof",
                      size);
}

void qcbmi_give(void *out, size_t size, const void *from, size_t from_size)
{
    size_t n = size < from_size ? size : from_size;

    memcpy(out, from, n);
    memset((char *)out + n, 0, size - n);
}

int qcbmi_give_checked(void *out, size_t size, const void *from, size_t from_size)
{
    if (!is_sane(size))
        return QCBM_E_ARG;
    qcbmi_give(out, size, from, from_size);
    return 0;
}

int qcbmi_take_options(void *to, size_t to_size, const void *from, struct qcbm_error *err)
{
    size_t size;

    if (!from)
        return 0;
    memcpy(&size, from, sizeof(size));
    if (size < sizeof(size) || !is_sane(size))
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                          "%zu is not the struct_size of options: start them with their _INIT macro", size);
    /* what is not set is what this library does anyway; as openat2(2) treats its struct open_how */
    if (size > to_size && bytes_zero_prefix((const uint8_t *)from + to_size, size - to_size) < size - to_size)
        return qcbmi_fail(err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET,
                          "an option is set that this version of the library does not know");
    memcpy(to, from, size < to_size ? size : to_size);
    return 0;
}
