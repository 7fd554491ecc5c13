/* fuzz_extents.c - a list of extents in JSON: what is taken covers the disk, and a refusal has a reason and a place
 * SPDX-License-Identifier: MIT */
#include <stdio.h>
#include <stdlib.h>

#include "extents_read.h"
#include "fuzz.h"

#define DISK (UINT64_C(1) << 20)

static int take(void *opaque, const struct qcbm_extent *e, struct qcbm_error *err)
{
    uint64_t *end = opaque;

    (void)err;
    fuzz_require(e->offset == *end, "extents", "a gap, or an overlap");
    fuzz_require(e->length > 0 && e->length <= DISK - *end, "extents", "one that passes the end of the disk");
    *end += e->length;
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qcbm_error err = { 0 };
    uint64_t end = 0;
    char *copy = malloc(size + 1);
    FILE *in;
    int ret;

    if (!copy)
        abort();
    for (size_t i = 0; i < size; i++)
        copy[i] = (char)data[i];
    in = fmemopen(copy, size, "rb");
    if (!in)
        abort();
    ret = extents_read(in, DISK, take, &end, &err);
    if (ret == 0)
        fuzz_require(end == DISK, "extents", "do not cover the disk");
    else
        fuzz_require(ret == QCBM_E_CORRUPT && err.code == ret && err.message[0] && err.offset <= size, "extents",
                     "refused without a reason or a place");
    fclose(in);
    free(copy);
    return 0;
}
