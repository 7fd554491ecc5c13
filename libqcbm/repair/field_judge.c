/* field_judge.c - what a plan makes of an image: does it open, and what does a check find that it did not find before?
 * SPDX-License-Identifier: MIT
 *
 * Both states are looked at in memory, each over a shadow of the file. Findings are told apart by all that is said of
 * them. Where there are too many of them before to be kept, only numbers are compared: of each kind, and the totals. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/digest.h"
#include "base/sort.h"
#include "bitmap/bitmap_list.h"
#include "check/check.h"
#include "io/io_shadow.h"
#include "repair/field.h"
#include "write/commit.h"

#define MAX_SHADOW (UINT64_C(64) << 20) /* bytes: a page for each of the sectors that may change */
#define MAX_KEPT ((size_t)1 << 20)      /* findings before: 16 MiB, twice while they are collected */

struct known {
    struct mark {
        uint64_t mark, n;
    } * marks; /* of findings before, and how many have it; sorted once all are there */
    size_t n, capacity;
    bool too_many;
    uint64_t of_kind[QCBMI_PROBLEM_COUNT], now[QCBMI_PROBLEM_COUNT];
};

struct look {
    struct qcbmi_field_judge *j;
    struct known known;
    struct qcbm_image before; /* open until the end: what it says of itself is compared */
    int failed;
};

/* ---- an image in memory ---- */

/* The image behind @plan (NULL: as it is), as far as it opens. Returns 0 whether it does or not: *@why says so. */
static int open_shadow(struct qcbmi_field_judge *j, const struct qcbmi_plan *plan, struct qcbm_image *out,
                       struct qcbm_error *why, struct qcbm_error *err)
{
    struct qcbmi_shadow *shadow = NULL;
    struct qcbmi_io io;
    int ret = qcbmi_shadow_new(&j->img->io, MAX_SHADOW, &shadow, err);

    if (ret == 0)
        ret = qcbmi_io_init(&io, qcbmi_shadow_ops(), shadow, true, err);
    if (ret == 0)
        ret = qcbmi_image_open_loosely(&io, j->img->path, QCBM_OPEN_WRITE | QCBM_OPEN_NO_LOCK, &out->image, err);
    if (ret == 0 && plan)
        ret = qcbmi_plan_commit(plan, out->image, err);
    if (ret < 0)
        return ret;
    why->code = 0;
    ret = qcbmi_image_reload_header(out->image, why);
    if (ret == QCBM_E_NOMEM || ret == QCBM_E_IO) {
        if (err)
            *err = *why;
        return ret;
    }
    return ret < 0 ? 0 : qcbmi_bitmap_list_load(out, err);
}

static int check(struct qcbmi_field_judge *j, struct qcbm_image *img, qcbm_check_fn *finding, void *opaque,
                 struct qcbm_check_result *result, struct qcbm_error *err)
{
    struct qcbm_check_options o = QCBM_CHECK_OPTIONS_INIT;

    o.memory = j->memory;
    o.finding = finding;
    o.opaque = opaque;
    o.progress = j->progress;
    return qcbm_check(img, &o, result, sizeof(*result), err);
}

static void close_shadow(struct qcbm_image *img)
{
    if (img->image)
        qcbmi_handle_clear(img);
    qcbmi_image_free(img->image);
}

/* ---- findings ---- */

static uint64_t mark_of(const struct qcbm_check_finding *f)
{
    uint8_t digest[QCBMI_DIGEST_BYTES];
    char text[1280];
    int n = snprintf(text, sizeof(text), "%d %" PRIu64 " %" PRIu64 " %" PRIu32 " %s", (int)f->problem->id, f->offset,
                     f->index, f->bitmap, f->message);

    qcbmi_digest(text, n < (int)sizeof(text) ? (size_t)n : sizeof(text) - 1, digest);
    return be64_load(digest);
}

static int keep(void *opaque, const struct qcbm_check_finding *f)
{
    struct look *l = opaque;
    struct known *k = &l->known;

    k->of_kind[f->problem->id]++;
    k->too_many |= k->n == MAX_KEPT;
    if (k->too_many)
        return 0;
    l->failed = qcbmi_grow_array(&k->marks, &k->capacity, k->n, sizeof(k->marks[0]), NULL);
    if (l->failed)
        return 1;
    k->marks[k->n++] = (struct mark){ mark_of(f), 1 };
    return 0;
}

static void sort(struct known *k)
{
    size_t n = 0;

    qcbmi_sort(k->marks, k->n, sizeof(k->marks[0]), qcbmi_by_u64);
    for (size_t i = 0; i < k->n; i++) {
        if (n && k->marks[n - 1].mark == k->marks[i].mark)
            k->marks[n - 1].n++;
        else
            k->marks[n++] = k->marks[i];
    }
    k->n = n;
}

/* Was it found before? Each finding before stands for one behind it. */
static bool take(struct known *k, const struct qcbm_check_finding *f)
{
    uint64_t mark = mark_of(f);
    size_t i = qcbmi_lower_bound_u64(k->marks, k->n, sizeof(k->marks[0]), mark);

    if (i == k->n || k->marks[i].mark != mark || k->marks[i].n == 0)
        return false;
    k->marks[i].n--;
    return true;
}

/* Sums of others: what they stand for is told, or counted, by itself. */
static bool is_sum(const struct qcbm_check_finding *f)
{
    return f->problem->id == QCBM_PROBLEM_TABLE_OVERWRITTEN || f->problem->id == QCBM_PROBLEM_MESSAGES_LEFT_OUT ||
           f->problem->id == QCBM_PROBLEM_TOO_MUCH_WORK;
}

static bool is_error(const struct qcbm_check_finding *f)
{
    return f->problem->severity == QCBM_CHECK_CORRUPTION || f->problem->severity == QCBM_CHECK_DAMAGE ||
           f->problem->severity == QCBM_CHECK_FAULT;
}

static int compare(void *opaque, const struct qcbm_check_finding *f)
{
    struct look *l = opaque;
    struct qcbmi_field_judge *j = l->j;
    struct known *k = &l->known;
    uint64_t n = ++k->now[f->problem->id];
    bool old = k->too_many ? n <= k->of_kind[f->problem->id] : take(k, f);

    if (old || is_sum(f))
        return 0;
    if (is_error(f) && j->worst.code == 0)
        qcbmi_fail(&j->worst, QCBM_E_UNSAFE, f->offset, "the image would have what it has not now: [%s] %s",
                   f->problem->code, f->message);
    return j->made ? j->made(j->opaque, f) : 0;
}

/* ---- the two states ---- */

static int look_before(struct look *l, struct qcbm_error *err)
{
    struct qcbm_error why;
    int ret = open_shadow(l->j, NULL, &l->before, &why, err);

    l->j->opens_before = ret == 0 && why.code == 0;
    if (l->j->opens_before)
        ret = check(l->j, &l->before, keep, l, &l->j->before, err);
    if (l->failed)
        return qcbmi_fail_nomem(err);
    sort(&l->known);
    return ret;
}

static uint64_t errors(const struct qcbm_check_result *r)
{
    return r->corruptions + r->check_errors + r->damages;
}

static int look_behind(struct look *l, const struct qcbmi_plan *plan, struct qcbm_error *err)
{
    struct qcbmi_field_judge *j = l->j;
    struct qcbm_image img = { 0 };
    struct qcbm_error why;
    int ret = open_shadow(j, plan, &img, &why, err);

    j->opens_after = ret == 0 && why.code == 0;
    if (j->opens_after)
        ret = check(j, &img, compare, l, &j->after, err);
    else if (ret == 0)
        qcbmi_fail(&j->worst, QCBM_E_UNSAFE, why.offset, "the image would not open%s: %s",
                   j->opens_before ? "" : ", as it does not now", why.message);
    if (ret == 0 && j->worst.code == 0 && j->opens_before && j->opens_after)
        (void)qcbmi_field_said(&l->before, &img, j->edits, j->n, &j->worst);
    if (ret == 0 && j->worst.code == 0 && errors(&j->after) > errors(&j->before))
        qcbmi_fail(&j->worst, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                   "the image would have %" PRIu64 " errors instead of %" PRIu64, errors(&j->after),
                   errors(&j->before));
    close_shadow(&img);
    return ret;
}

int qcbmi_field_judge(struct qcbmi_field_judge *j, const struct qcbmi_plan *plan, struct qcbm_error *err)
{
    struct look l = { .j = j };
    int ret = look_before(&l, err);

    if (ret == 0)
        ret = look_behind(&l, plan, err);
    close_shadow(&l.before);
    free(l.known.marks);
    return ret;
}
