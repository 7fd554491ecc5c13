/* fuzz_rescue.c - a rescue of any bytes: it ends, within bounds, and what it makes checks clean
 * SPDX-License-Identifier: MIT
 *
 * The input is an image; a digest of it chooses what is lost besides what the mutator did: nothing, the first cluster,
 * or a piece of the rest. Then
 *  - the ranges cover the disk in order, and add up to the totals;
 *  - the new image has neither errors nor leaks, and a rescue of it proves all of it;
 *  - a run that writes nothing says the same; the damaged image is only read, within a budget. */
#include <stdlib.h>
#include <string.h>

#include "fuzz.h"
#include "io/io.h"
#include "rescue/rescue_run.h"

#define MAX_NEW (UINT64_C(64) << 20)

struct run {
    uint64_t at, bytes[3], hash;
    struct qcbm_rescue_result r;
    int ret;
};

static int on_range(void *opaque, const struct qcbm_rescue_range *range)
{
    struct run *run = opaque;

    fuzz_require(range->start == run->at && range->length, "a range", "does not follow the one before it");
    fuzz_require((range->score == 100) == (range->certainty == QCBM_RESCUE_PROVEN) && range->score <= 100 &&
                     (range->score == 0) == (range->certainty == QCBM_RESCUE_UNKNOWN),
                 "a range", "has a score that is none of its certainty");
    run->at += range->length;
    run->bytes[range->certainty] += range->length;
    run->hash = fuzz_hash_u64(fuzz_hash_text(fuzz_hash_u64(run->hash, range->length), range->code), range->score);
    return 0;
}

static void rescue(struct fuzz_file *from, struct fuzz_file *to, struct run *run)
{
    struct qcbm_rescue_options o = QCBM_RESCUE_OPTIONS_INIT;
    struct qcbmi_io in, out = { 0 };
    struct qcbm_error err;

    memset(run, 0, sizeof(*run));
    o.range = on_range;
    o.opaque = run;
    fuzz_require(qcbmi_io_init(&in, fuzz_file_ops(), from, false, &err) == 0, "the input", "does not open");
    if (to)
        fuzz_require(qcbmi_io_init(&out, fuzz_file_ops(), to, true, &err) == 0, "the output", "does not open");
    fuzz_file_reset(from);
    run->ret = qcbmi_rescue_run(&in, NULL, to ? &out : NULL, &o, &run->r, &err);
    fuzz_file_budget(from, 256 * (uint64_t)from->len + (UINT64_C(64) << 20), "a rescue");
    fuzz_require(from->writes == 0, "a rescue", "writes to the damaged image");
    if (run->ret < 0)
        fuzz_check_error(&err, run->ret);
    else
        fuzz_require(run->at == run->r.virtual_size && run->bytes[QCBM_RESCUE_PROVEN] == run->r.proven &&
                         run->bytes[QCBM_RESCUE_LIKELY] == run->r.likely &&
                         run->bytes[QCBM_RESCUE_UNKNOWN] == run->r.unknown,
                     "ranges", "do not add up");
    qcbmi_io_close(&out);
    qcbmi_io_close(&in);
}

static void look(struct fuzz_file *made)
{
    struct qcbm_image *img = fuzz_file_open(made, 0);
    struct qcbm_check_options o = QCBM_CHECK_OPTIONS_INIT;
    struct qcbm_check_result now;
    struct run again;

    fuzz_require(img != NULL, "a new image", "does not open");
    if (qcbm_check(img, &o, &now, sizeof(now), NULL) < 0)
        fuzz_fail("a new image", "cannot be checked");
    fuzz_require(now.corruptions == 0 && now.leaks == 0 && now.check_errors == 0, "a new image", "is not clean");
    qcbm_close(img);
    rescue(made, NULL, &again);
    fuzz_require(again.ret == 0 && again.r.likely == 0 && again.r.unknown == 0, "a new image", "is not proven");
}

/* What else is lost. */
static void damage(struct fuzz_file *f, uint64_t digest)
{
    size_t first = f->len < 512 ? f->len : 512, at = f->len ? (size_t)(digest >> 8) % f->len & ~(size_t)511 : 0;

    if (digest % 4 == 1)
        memset(f->bytes, 0, first);
    else if (digest % 4 == 2 && f->len)
        memset(f->bytes + at, 0, f->len - at < 512 ? f->len - at : 512);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct fuzz_file from, to;
    struct run dry, wet;

    fuzz_file_init(&from, data, size);
    fuzz_file_init(&to, NULL, 0);
    to.max_len = MAX_NEW;
    damage(&from, fuzz_hash(FUZZ_HASH_START, data, size));
    rescue(&from, NULL, &dry);
    rescue(&from, &to, &wet);
    fuzz_require(wet.ret == dry.ret || wet.ret == QCBM_E_NOSPACE, "a rescue", "ends otherwise than its dry run");
    if (wet.ret == 0) {
        fuzz_require(wet.hash == dry.hash && wet.r.file_size == dry.r.file_size, "a rescue",
                     "says other things than its dry run");
        look(&to);
    }
    fuzz_file_free(&to);
    fuzz_file_free(&from);
    return 0;
}
