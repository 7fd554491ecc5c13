/* fuzz_check.c - check: reads inside the image, within its budget; the same findings each time and with any memory
 * SPDX-License-Identifier: MIT
 *
 * With little memory, clusters with too many references for their refcounts are told in a later walk, so in another
 * order. */
#include <string.h>

#include "fuzz.h"

#define HOLE                                                                                                           \
    (UINT64_C(8) << 20) /* behind the image: 4 times as many small clusters as the least memory counts at once */

struct told {
    uint64_t hash, n;
    bool gave_up; /* the budget was used up: then the walks differ in where */
};

static int on_finding(void *opaque, const struct qcbm_check_finding *f)
{
    struct told *t = opaque;

    fuzz_require(f->problem && f->problem->code && f->message && f->message[0], "finding", "is empty");
    fuzz_require(!strchr(f->message, '\n') && (!f->hint || !strchr(f->hint, '\n')), "finding", "has two lines");
    uint64_t hash = fuzz_hash_text(fuzz_hash_text(FUZZ_HASH_START, f->problem->code), f->message);
    t->hash += fuzz_hash_u64(fuzz_hash_u64(hash, f->offset), f->index); /* in any order */
    t->n++;
    t->gave_up |= f->problem->id == QCBM_PROBLEM_TOO_MUCH_WORK;
    return 0;
}

struct outcome {
    int ret;
    struct told told;
    struct qcbm_check_result r;
};

static void check(struct fuzz_file *f, struct qcbm_image *img, uint64_t memory, struct outcome *out)
{
    struct qcbm_check_options o = QCBM_CHECK_OPTIONS_INIT;
    struct qcbm_error err;

    *out = (struct outcome){ .told = { .hash = FUZZ_HASH_START } };
    o.finding = on_finding;
    o.opaque = &out->told;
    if (memory)
        o.memory = memory;
    fuzz_file_reset(f);
    out->ret = qcbm_check(img, &o, &out->r, sizeof(out->r), &err);
    if (out->ret < 0)
        fuzz_check_error(&err, out->ret);
    /* what check.c affords, and each byte a few times over */
    if (!memory)
        fuzz_file_budget(f, (UINT64_C(65) << 20) + 16 * (uint64_t)f->len, "check");
}

static void compare(const struct outcome *a, const struct outcome *b, const char *what)
{
    struct qcbm_check_result x = a->r, y = b->r;

    x.passes = y.passes = 0;
    fuzz_require(a->ret == b->ret, what, "another return value");
    if (a->ret < 0) /* then it is what was found so far */
        return;
    fuzz_require(memcmp(&x, &y, sizeof(x)) == 0, what, "other totals");
    fuzz_require(a->told.n == b->told.n && a->told.hash == b->told.hash, what, "other findings");
}

/* Twice, the second time with the least memory: several walks if the file is long enough, else the very same. */
static void check_twice(struct fuzz_file *f)
{
    struct qcbm_image *img = fuzz_file_open(f, 0);
    struct outcome much, little;

    if (!img)
        return;
    check(f, img, 0, &much);
    check(f, img, 1, &little);
    if (!much.told.gave_up && !little.told.gave_up)
        compare(&much, &little, "a check with little memory");
    qcbm_close(img);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_file f;

    fuzz_file_init(&f, data, size);
    check_twice(&f);
    f.hole = HOLE;
    check_twice(&f);
    fuzz_file_free(&f);
    return 0;
}
