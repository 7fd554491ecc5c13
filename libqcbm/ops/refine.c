/* refine.c - granules that are dirty and hold what a reference holds, dropped from a dirty map
 * SPDX-License-Identifier: MIT */
#include "ops/refine.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"

/* Of one batch. Its memory does not depend on the disk. */
#define MAX_GRANULES (UINT64_C(1) << 20)
#define MAX_RUNS ((size_t)1 << 14)
#define MAX_PARTS ((size_t)1 << 14)

/* Granules side by side, whose flags are side by side. */
struct run {
    uint64_t first, n; /* granules */
    size_t flag;
};

struct refining {
    struct qcbmi_refine *r;
    struct qcbmi_dirtymap *map;
    uint64_t end; /* guest bytes that can be compared */
    uint64_t at;  /* up to where it has been gone over */
    struct qcbmi_refine_batch b;
    struct run runs[MAX_RUNS];
    size_t n_runs;
    uint64_t n_flags;
    uint64_t task_end;                  /* the next part belongs to the last task if it begins before it */
    uint64_t carried;                   /* a granule that the last batch has begun and not ended, or UINT64_MAX */
    uint8_t carried_flag;               /* what is known of it */
    struct qcbmi_guest_piece disk, ref; /* what is at r->at and goes on behind it */
    bool disk_failed, ref_failed;       /* that cannot be read: */
    struct qcbm_error disk_why, ref_why;
};

/* ---- what is on both sides ---- */

/* @p from @start on. */
static void cut(const struct qcbmi_guest_piece *p, uint64_t start, uint64_t end, struct qcbmi_guest_piece *out)
{
    *out = *p;
    if (p->kind != Q2_COMPRESSED && p->host != QCBM_NO_OFFSET)
        out->host += start - p->start;
    out->start = start;
    out->end = end;
}

/* Keep in @p what is at @at. Only what ends all is an error; what cannot be read is @failed, for @why. */
static int look(struct qcbmi_data *d, uint64_t size, uint64_t at, uint64_t step, struct qcbmi_guest_piece *p,
                bool *failed, struct qcbm_error *why, struct qcbm_error *err)
{
    int ret;

    if (at >= p->start && at < p->end)
        return 0;
    *failed = false;
    if (!d || at >= size) {
        *p = (struct qcbmi_guest_piece){ .start = at, .end = UINT64_MAX, .host = QCBM_NO_OFFSET };
        return 0;
    }
    ret = qcbmi_data_find(d, at, size, p, why);
    if (ret == QCBM_E_NOMEM && err)
        *err = *why;
    if (ret == QCBM_E_NOMEM)
        return ret;
    if (ret == 0 && p->doubtful)
        ret = qcbmi_fail(why, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "the entry of guest 0x%" PRIx64 " breaks a rule", at);
    *failed = ret < 0;
    p->start = at;
    if (p->end == at) /* not known how far */
        p->end = u64_min(align_down(at, step) + step, size);
    return 0;
}

/* The very same bytes of the file, read through the layers above them. */
static bool are_the_same(const struct refining *f)
{
    const struct qcbmi_guest_piece *a = &f->disk, *b = &f->ref;
    uint64_t at = f->at;

    return f->r->shared && f->r->reference && at < f->r->reference_size && !f->disk_failed && !f->ref_failed &&
           a->layer == b->layer + f->r->shared && a->kind == b->kind && a->host != QCBM_NO_OFFSET &&
           a->host + (a->kind == Q2_COMPRESSED ? 0 : at - a->start) ==
               b->host + (b->kind == Q2_COMPRESSED ? 0 : at - b->start);
}

static bool are_both_zero(const struct refining *f)
{
    return qcbmi_guest_piece_is_zero(&f->disk) && qcbmi_guest_piece_is_zero(&f->ref);
}

/* ---- a batch ---- */

static uint64_t granule_at(const struct refining *f, uint64_t at)
{
    return at >> f->map->gran_bits;
}

static size_t flag_at(const struct refining *f, uint64_t at)
{
    const struct run *run = &f->runs[f->n_runs - 1];

    return run->flag + (size_t)(granule_at(f, at) - run->first);
}

/* [f->at, @end) differs as far as anybody knows; whatever else is in its last granule does not matter. */
static void differs(struct refining *f, uint64_t end)
{
    size_t first = flag_at(f, f->at), last = flag_at(f, end - 1);

    for (size_t i = first; i <= last; i++)
        f->b.flags[i] |= QCBMI_REFINE_DIFFERS;
    f->at = (granule_at(f, end - 1) + 1) << f->map->gran_bits;
}

/* A compressed cluster is unpacked by one thread, once: what is in it stays together. */
static void add_to_task(struct refining *f, const struct qcbmi_refine_part *p)
{
    bool by_disk = !qcbmi_refine_is_zero(&p->disk);
    const struct qcbmi_guest_piece *key = by_disk ? &p->disk : &p->reference;

    if (f->at >= f->task_end) {
        f->b.tasks[f->b.n_tasks++] =
            (struct qcbmi_refine_task){ key->layer + (by_disk ? 0 : f->r->shared), key->host, f->b.n_parts - 1, 0 };
        f->task_end = 0;
    }
    f->b.tasks[f->b.n_tasks - 1].n++;
    if (f->disk.kind == Q2_COMPRESSED)
        f->task_end = u64_max(f->task_end, f->disk.end);
    if (f->ref.kind == Q2_COMPRESSED)
        f->task_end = u64_max(f->task_end, f->ref.end);
}

static void add_part(struct refining *f, uint64_t end)
{
    struct qcbmi_refine_part *p = &f->b.parts[f->b.n_parts++];

    p->flag = flag_at(f, f->at);
    cut(&f->disk, f->at, end, &p->disk);
    cut(&f->ref, f->at, end, &p->reference);
    for (size_t i = p->flag; i <= flag_at(f, end - 1); i++)
        f->b.flags[i] |= QCBMI_REFINE_READ;
    add_to_task(f, p);
    f->at = end;
}

/* What is at f->at, up to @end at most. */
static int look_at(struct refining *f, uint64_t end, struct qcbm_error *err)
{
    uint64_t gran = UINT64_C(1) << f->map->gran_bits;
    int ret = look(f->r->disk, f->r->size, f->at, gran, &f->disk, &f->disk_failed, &f->disk_why, err);

    if (ret == 0)
        ret = look(f->r->reference, f->r->reference_size, f->at, gran, &f->ref, &f->ref_failed, &f->ref_why, err);
    if (ret < 0)
        return ret;
    end = u64_min(end, u64_min(f->disk.end, f->ref.end));
    if (are_the_same(f) || (!f->disk_failed && !f->ref_failed && are_both_zero(f))) {
        f->at = end;
    } else if (f->disk_failed || f->ref_failed) {
        qcbmi_refine_note_unreadable(f->r, end - f->at, f->disk_failed ? &f->disk_why : &f->ref_why);
        differs(f, end);
    } else if (f->r->metadata_alone) {
        differs(f, end);
    } else {
        add_part(f, u64_min(end, f->at + QCBMI_REFINE_READ_BYTES));
    }
    return 0;
}

/* The next dirty run from f->at on, as far as there are flags for it; false if there is none. */
static bool begin_run(struct refining *f, uint64_t *end)
{
    uint64_t start, stop, room = MAX_GRANULES - f->n_flags;
    struct run *run = &f->runs[f->n_runs];

    if (!qcbmi_dirtymap_next(f->map, f->at, &start, &stop) || start >= f->end) {
        f->at = f->end;
        return false;
    }
    f->at = start;
    run->first = granule_at(f, start);
    run->n = u64_min(granule_at(f, u64_min(stop, f->end) - 1) + 1 - run->first, room);
    run->flag = (size_t)f->n_flags;
    memset(f->b.flags + run->flag, 0, (size_t)run->n);
    if (run->first == f->carried)
        f->b.flags[run->flag] = f->carried_flag;
    f->carried = UINT64_MAX;
    f->n_flags += run->n;
    f->n_runs++;
    *end = u64_min(f->end, (run->first + run->n) << f->map->gran_bits);
    return true;
}

static int fill_batch(struct refining *f, struct qcbm_error *err)
{
    uint64_t end;
    int ret = 0;

    f->n_runs = 0;
    f->n_flags = 0;
    f->b.n_parts = f->b.n_tasks = 0;
    f->b.told = 0;
    f->task_end = 0;
    while (ret == 0 && f->n_runs < MAX_RUNS && f->n_flags < MAX_GRANULES && f->b.n_parts < MAX_PARTS &&
           begin_run(f, &end))
        while (ret == 0 && f->at < end && f->b.n_parts < MAX_PARTS)
            ret = look_at(f, end, err);
    return ret;
}

/* ---- what comes of it ---- */

static int drop(struct refining *f, uint64_t first, uint64_t end, struct qcbm_error *err)
{
    return qcbmi_bitset_clear(&f->map->bits, first, end, err);
}

/* Granules of one run that were gone over up to f->at: those without a difference are dropped. */
static int drop_of_run(struct refining *f, const struct run *run, struct qcbm_error *err)
{
    const uint8_t *flags = f->b.flags + run->flag;
    uint64_t known = f->at >= f->end ? run->n : u64_min(run->n, granule_at(f, f->at) - run->first), i, k;
    uint64_t gran = UINT64_C(1) << f->map->gran_bits;
    int ret = 0;

    for (i = 0; ret == 0 && i < known; i = k) {
        uint64_t start = (run->first + i) << f->map->gran_bits, bytes;

        for (k = i + 1; k < known && flags[k] == flags[i]; k++)
            ;
        if (flags[i] & QCBMI_REFINE_DIFFERS)
            continue;
        bytes = u64_min((k - i) * gran, f->map->size - start);
        if (flags[i])
            f->r->out.equal_bytes += bytes;
        else
            f->r->out.zero_bytes += bytes;
        ret = drop(f, run->first + i, run->first + k, err);
    }
    return ret;
}

/* A batch may end inside a granule. If that differs by now, the rest of it is of no interest. */
static void carry(struct refining *f)
{
    const struct run *last = &f->runs[f->n_runs - 1];
    uint64_t g = granule_at(f, f->at);

    if (f->at >= f->end || (f->at & ((UINT64_C(1) << f->map->gran_bits) - 1)) == 0 || g >= last->first + last->n)
        return;
    f->carried = g;
    f->carried_flag = f->b.flags[last->flag + (size_t)(g - last->first)];
    if (f->carried_flag & QCBMI_REFINE_DIFFERS)
        f->at = (g + 1) << f->map->gran_bits;
}

static int finish_batch(struct refining *f, struct qcbm_error *err)
{
    int ret = qcbmi_refine_compare(&f->b, err);

    for (size_t i = 0; ret == 0 && i < f->n_runs; i++)
        ret = drop_of_run(f, &f->runs[i], err);
    if (ret == 0 && f->n_runs)
        carry(f);
    return ret;
}

static int run(struct refining *f, struct qcbm_error *err)
{
    int ret = 0;

    while (ret == 0 && f->at < f->end) {
        uint64_t before = f->at;

        ret = fill_batch(f, err);
        if (ret == 0)
            ret = finish_batch(f, err);
        if (ret == 0)
            ret = qcbmi_progress_add(f->r->progress, u64_min(f->at, f->end) - before - f->b.told, err);
    }
    return ret < 0 ? ret : qcbmi_progress_add(f->r->progress, f->map->size - f->end, err);
}

int qcbmi_refine(struct qcbmi_refine *r, struct qcbmi_dirtymap *map, struct qcbm_error *err)
{
    struct refining *f = qcbmi_alloc_array(1, sizeof(*f), err);
    int ret = f ? 0 : QCBM_E_NOMEM;

    r->out = (struct qcbmi_refine_figures){ 0 };
    if (!f)
        return ret;
    f->r = r;
    f->map = map;
    f->end = u64_min(map->size, r->size);
    if (map->size - f->end >= Q2_SECTOR) /* the granule at the end of a disk that was cut has bytes that are gone */
        f->end = align_down(f->end, UINT64_C(1) << map->gran_bits);
    f->carried = UINT64_MAX;
    f->b.r = r;
    f->b.gran_bits = map->gran_bits;
    f->b.flags = qcbmi_alloc_array(MAX_GRANULES, 1, err);
    f->b.parts = qcbmi_alloc_array(MAX_PARTS, sizeof(*f->b.parts), err);
    f->b.tasks = qcbmi_alloc_array(MAX_PARTS, sizeof(*f->b.tasks), err);
    if (!f->b.flags || !f->b.parts || !f->b.tasks)
        ret = QCBM_E_NOMEM;
    if (ret == 0)
        ret = run(f, err);
    free(f->b.flags);
    free(f->b.parts);
    free(f->b.tasks);
    free(f);
    return ret;
}
