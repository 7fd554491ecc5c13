/* fuzz_check_repair.c - repair of any image: it ends, and its result is what it says, or the image is as it was
 * SPDX-License-Identifier: MIT
 *
 * The input is an image; a digest of it chooses the level. Of the result
 *  - the totals of the second pass are those of a check of the file;
 *  - there are no more errors than before, and no bitmap keeps QEMU from opening the image;
 *  - a dry run of the same writes nothing and says the same. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"

#define MEMORY (UINT64_C(1) << 20)

struct run {
    struct qcbm_check_result before, after;
    struct qcbm_repair_result r;
    uint64_t rows;
    int ret;
};

static int on_row(void *opaque, const struct qcbm_repair_row *row)
{
    struct run *run = opaque;

    fuzz_require(row->code && row->done && !strchr(row->done, '\n'), "a row", "has no code or more than a line");
    run->rows++;
    return 0;
}

static void repair(struct fuzz_file *f, struct qcbm_image *img, enum qcbm_repair_level level, unsigned flags,
                   struct run *run)
{
    struct qcbm_repair_options o = QCBM_REPAIR_OPTIONS_INIT;
    struct qcbm_error err;

    memset(run, 0, sizeof(*run));
    o.level = level;
    o.flags = flags;
    o.memory = MEMORY;
    o.row = on_row;
    o.before = &run->before;
    o.after = &run->after;
    o.check_result_size = sizeof(run->before);
    o.opaque = run;
    run->ret = qcbm_repair(img, &o, &run->r, sizeof(run->r), &err);
    if (run->ret < 0)
        fuzz_check_error(&err, run->ret);
    (void)f;
}

static int on_finding(void *opaque, const struct qcbm_check_finding *f)
{
    bool *refused = opaque;

    *refused |= f->problem->repair == QCBM_REPAIR_BITMAPS && f->problem->severity == QCBM_CHECK_CORRUPTION;
    return 0;
}

/* What the file is now. */
static void look(struct fuzz_file *f, const struct run *run)
{
    struct qcbm_image *img = fuzz_file_open(f, 0);
    struct qcbm_check_options o = QCBM_CHECK_OPTIONS_INIT;
    struct qcbm_check_result now;
    bool refused = false;

    fuzz_require(img != NULL, "a repaired image", "does not open");
    o.memory = MEMORY;
    o.finding = on_finding;
    o.opaque = &refused;
    if (qcbm_check(img, &o, &now, sizeof(now), NULL) < 0)
        fuzz_fail("a repaired image", "cannot be checked");
    fuzz_require(now.corruptions <= run->after.corruptions, "a repaired image", "has more errors than was said");
    fuzz_require(now.leaks == run->after.leaks, "a repaired image", "has other leaks than were said");
    fuzz_require(now.corruptions <= run->before.corruptions, "a repaired image", "has more errors than before");
    qcbm_close(img);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const enum qcbm_repair_level levels[] = { QCBM_REPAIR_BITMAPS, QCBM_REPAIR_ALL, QCBM_REPAIR_LEAKS };
    enum qcbm_repair_level level = levels[fuzz_hash(FUZZ_HASH_START, data, size) % 3];
    struct fuzz_file f;
    struct qcbm_image *img;
    struct run dry, wet;

    fuzz_file_init(&f, data, size);
    f.max_len = size + (UINT64_C(64) << 20);
    img = fuzz_file_open(&f, QCBM_OPEN_WRITE);
    if (img) {
        repair(&f, img, level, QCBM_REPAIR_DRY_RUN, &dry);
        fuzz_require(f.writes == 0, "a dry run", "writes");
        repair(&f, img, level, 0, &wet);
        fuzz_require(wet.ret == dry.ret || wet.ret == QCBM_E_NOSPACE, "a repair", "ends otherwise than its dry run");
        if (wet.ret < 0 && wet.ret != QCBM_E_NOSPACE && wet.ret != QCBM_E_IO)
            fuzz_require(f.writes == 0, "a repair that is refused", "writes");
        if (wet.ret == 0)
            fuzz_require(wet.r.writes == dry.r.writes && wet.rows == dry.rows, "a repair",
                         "does other things than its dry run");
        qcbm_close(img);
        if (wet.ret == 0 && wet.r.writes)
            look(&f, &wet);
    }
    fuzz_file_free(&f);
    return 0;
}
