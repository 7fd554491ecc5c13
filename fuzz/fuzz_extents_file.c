/* fuzz_extents_file.c - extents in each form: what is taken lies in order on the disk, and a refusal has a reason and a
 * place
 * SPDX-License-Identifier: MIT
 *
 * The first byte says which form, the second how much larger than 1 MiB the disk is. */
#include <stdio.h>
#include <stdlib.h>

#include "extents_read.h"
#include "fuzz.h"

struct taken {
    uint64_t disk, end, bytes;
    bool covering;
};

static int take(void *opaque, const struct qcbm_extent *e, struct qcbm_error *err)
{
    struct taken *t = opaque;

    (void)err;
    fuzz_require(e->offset >= t->end, "extents", "an overlap");
    fuzz_require(!t->covering || e->offset == t->end, "extents", "a gap");
    fuzz_require(t->covering || e->dirty, "extents", "what is left out is clean, and so is this");
    fuzz_require(e->length > 0 && e->length <= t->disk - e->offset, "extents", "one that passes the end of the disk");
    t->end = e->offset + e->length;
    return 0;
}

static void read_file(FILE *in, enum extents_form form, uint64_t disk, size_t size)
{
    struct extents_in from = { .in = in, .form = form, .size = disk, .cluster_size = 1 << 16 };
    struct taken t = { .disk = disk, .covering = form <= EXTENTS_OVIRT };
    struct qcbm_error err = { 0 };
    int ret = extents_read(&from, take, &t, &err);

    if (ret == 0)
        fuzz_require(!t.covering || t.end == disk, "extents", "do not cover the disk");
    else
        fuzz_require(ret == QCBM_E_CORRUPT && err.code == ret && err.message[0] && err.offset <= size, "extents",
                     "refused without a reason or a place");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *copy;
    FILE *in;

    if (size < 3)
        return 0;
    copy = malloc(size - 2);
    if (!copy)
        abort();
    for (size_t i = 2; i < size; i++)
        copy[i - 2] = (char)data[i];
    in = fmemopen(copy, size - 2, "rb");
    if (!in)
        abort();
    read_file(in, (enum extents_form)((data[0] - '0') & 0xffu) % N_EXTENTS_FORMS,
              (UINT64_C(1) << 20) + 512u * ((data[1] - '0') & 15u), size - 2);
    fclose(in);
    free(copy);
    return 0;
}
