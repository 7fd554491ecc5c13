/* attach_entries.c - the entries of a metadata image, verified: ranges that do not show the data as it is
 * SPDX-License-Identifier: MIT
 *
 * Tables come in the order of the file, so what is found is kept, up to a limit, and told in the order of the disk. */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "rawdisk/attach_verify.h"
#include "rawdisk/raw_scan.h"

#define MAX_FOUND 65536u
#define CURE_ATTACH "make a new image with 'qcbm attach --data', and copy the bitmaps with 'qcbm bitmap --copy-to'"
#define CURE_RESET "'qcbm attach --reset' makes all entries plain again"

enum { ZERO_OVER_DATA = QCBMI_RAW_BAD_TABLE + 1 };

struct found {
    uint64_t start, end;
    unsigned kind; /* enum qcbmi_raw_kind, or the one above */
};

struct verify {
    const struct qcbm_attach_verify_options *o;
    struct qcbm_attach_verify_result *r;
    struct qcbmi_io *data;
    struct qcbmi_holes holes;
    uint64_t unit;
    uint8_t *buf;
    struct qcbmi_progress progress;
    struct found *list;
    size_t n, capacity;
};

static const struct {
    const char *code, *message, *cure;
    bool fault;
} texts[] = {
    [QCBMI_RAW_UNALLOCATED] = { "entry-unallocated", "the guest reads zeros, whatever the data has: nothing is mapped",
                                CURE_RESET, true },
    [QCBMI_RAW_NOT_COPIED] = { "entry-not-copied",
                               "the entries lack the flag that says that the data may be written in place", CURE_RESET,
                               true },
    [QCBMI_RAW_ELSEWHERE] = { "entry-elsewhere",
                              "the entries name another offset of the data: QEMU gives up on the image there",
                              CURE_RESET, true },
    [QCBMI_RAW_BAD] = { "entry-bad", "the entries break a rule of the format", CURE_RESET, true },
    [QCBMI_RAW_NO_TABLE] = { "table-missing", "the guest reads zeros, whatever the data has: there is no L2 table",
                             CURE_ATTACH, true },
    [QCBMI_RAW_BAD_TABLE] = { "table-bad", "the L1 table names no L2 table that is this range's alone", CURE_ATTACH,
                              true },
    [ZERO_OVER_DATA] = { "zero-over-data",
                         "the guest reads zeros where the data has something else: it was written behind the guest's "
                         "back",
                         CURE_RESET " and shows it to the guest", true },
};

/* One more range, joined with the one before if that is its neighbour of the same kind. */
static int keep(struct verify *v, unsigned kind, uint64_t start, uint64_t end, struct qcbm_error *err)
{
    struct found *last = v->n ? &v->list[v->n - 1] : NULL;

    if (last && last->kind == kind && last->end == start) {
        last->end = end;
        return 0;
    }
    v->r->faults++;
    if (v->n == MAX_FOUND) {
        v->r->left_out++;
        return 0;
    }
    if (qcbmi_grow_array(&v->list, &v->capacity, v->n, sizeof(v->list[0]), err) < 0)
        return QCBM_E_NOMEM;
    v->list[v->n++] = (struct found){ start, end, kind };
    return 0;
}

static int on_nonzero(void *opaque, uint64_t start, uint64_t end, struct qcbm_error *err)
{
    struct verify *v = opaque;

    v->r->zero_over_data += end - start;
    return keep(v, ZERO_OVER_DATA, start, end, err);
}

/* A range of zeros may be long: whoever waits for it can end it. */
static int compare_zeros(struct verify *v, const struct qcbmi_raw_range *range, struct qcbm_error *err)
{
    const uint64_t step = UINT64_C(64) << 20;
    int ret = 0;

    v->r->zero_bytes += range->end - range->start;
    for (uint64_t at = range->start; ret == 0 && v->data->ops && at < range->end; at += step) {
        ret = qcbmi_raw_nonzero(&v->holes, at, u64_min(at + step, range->end), v->unit, v->buf, on_nonzero, v, err);
        if (ret == 0)
            ret = qcbmi_progress_add(&v->progress, 0, err);
        if (at >= v->data->size)
            break;
    }
    return ret;
}

static int on_range(void *opaque, const struct qcbmi_raw_range *range, struct qcbm_error *err)
{
    struct verify *v = opaque;

    return range->kind == QCBMI_RAW_ZERO ? compare_zeros(v, range, err)
                                         : keep(v, range->kind, range->start, range->end, err);
}

static int by_start(const void *a, const void *b)
{
    const struct found *x = a, *y = b;

    return (x->start > y->start) - (x->start < y->start);
}

static int tell(struct verify *v, struct qcbm_error *err)
{
    if (v->n)
        qsort(v->list, v->n, sizeof(v->list[0]), by_start);
    for (size_t i = 0; v->o->finding && i < v->n; i++) {
        const struct found *f = &v->list[i];
        const struct qcbm_attach_finding finding = { texts[f->kind].code, texts[f->kind].fault,   f->start,
                                                     f->end - f->start,   texts[f->kind].message, texts[f->kind].cure };

        if (v->o->finding(v->o->opaque, &finding))
            return qcbmi_fail_stopped(err);
    }
    return 0;
}

int qcbmi_attach_verify_entries(struct qcbmi_image *img, struct qcbmi_io *data,
                                const struct qcbm_attach_verify_options *o, struct qcbm_attach_verify_result *r,
                                struct qcbm_error *err)
{
    struct verify v = {
        .o = o, .r = r, .data = data, .unit = img->g.subcluster_size, .progress = { .to = o->progress }
    };
    struct qcbmi_raw_scan scan = { .img = img, .progress = &v.progress, .opaque = &v, .range = on_range };
    int ret;

    qcbmi_holes_init(&v.holes, data);
    v.buf = qcbmi_alloc_array(QCBMI_RAW_PIECE, 1, err);
    ret = v.buf ? qcbmi_raw_scan(&scan, err) : QCBM_E_NOMEM;
    if (ret == 0)
        ret = tell(&v, err);
    qcbmi_holes_free(&v.holes);
    free(v.buf);
    free(v.list);
    return ret;
}
