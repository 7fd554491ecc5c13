/* refine_compare.c - parts of two disks read side by side, in the order of the file, and compared
 * SPDX-License-Identifier: MIT */
#include "ops/refine_compare.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/sort.h"
#include "base/workers.h"

#define MEMORY (UINT64_C(48) << 20) /* of buffers, with compressed clusters on both sides */

void qcbmi_refine_note_unreadable(struct qcbmi_refine *r, uint64_t len, const struct qcbm_error *why)
{
    if (r->out.unreadable_bytes == 0)
        r->out.why = *why;
    r->out.unreadable_bytes += len;
}

/* What one thread works with. */
struct compare_slot {
    const struct qcbmi_refine_task *task;
    uint8_t *disk, *reference; /* QCBMI_REFINE_READ_BYTES each */
    struct qcbmi_unpacked unpacked[2];
    uint64_t unreadable;
    struct qcbm_error why;
};

struct comparing {
    struct qcbmi_refine_batch *b;
    size_t at;
};

static bool next_task(void *opaque, void *slot)
{
    struct comparing *c = opaque;
    struct compare_slot *s = slot;

    if (c->at == c->b->n_tasks)
        return false;
    s->task = &c->b->tasks[c->at++];
    s->unreadable = 0;
    return true;
}

/* ---- flags, which several threads set ---- */

static void set_flags(const struct qcbmi_refine_batch *b, size_t first, size_t n)
{
    for (size_t i = first; i < first + n; i++)
        __atomic_store_n(&b->flags[i], QCBMI_REFINE_DIFFERS | QCBMI_REFINE_READ, __ATOMIC_RELAXED);
}

static bool all_differ(const struct qcbmi_refine_batch *b, size_t first, size_t n)
{
    for (size_t i = first; i < first + n; i++)
        if (!(__atomic_load_n(&b->flags[i], __ATOMIC_RELAXED) & QCBMI_REFINE_DIFFERS))
            return false;
    return true;
}

static size_t granules_of(const struct qcbmi_refine_batch *b, uint64_t start, uint64_t end)
{
    return (size_t)(((end - 1) >> b->gran_bits) - (start >> b->gran_bits) + 1);
}

/* ---- one part ---- */

/* NULL: zeros. */
static bool are_equal(const uint8_t *a, const uint8_t *b, uint64_t len)
{
    if (a && b)
        return memcmp(a, b, (size_t)len) == 0;
    return bytes_are_zero(a ? a : b, len);
}

static void find_differing(const struct qcbmi_refine_batch *b, const struct qcbmi_refine_part *p, const uint8_t *disk,
                           const uint8_t *reference)
{
    uint64_t start = p->disk.start, end = p->disk.end, gran = UINT64_C(1) << b->gran_bits, at = start, stop;

    if (are_equal(disk, reference, end - start))
        return;
    for (; at < end; at = stop) {
        uint64_t off = at - start;

        stop = u64_min(align_down(at, gran) + gran, end);
        if (!are_equal(disk ? disk + off : NULL, reference ? reference + off : NULL, stop - at))
            set_flags(b, p->flag + (size_t)((at >> b->gran_bits) - (start >> b->gran_bits)), 1);
    }
}

static int compare_part(const struct qcbmi_refine_batch *b, struct compare_slot *s, const struct qcbmi_refine_part *p,
                        struct qcbm_error *err)
{
    size_t n = granules_of(b, p->disk.start, p->disk.end);
    bool disk = !qcbmi_refine_is_zero(&p->disk), reference = !qcbmi_refine_is_zero(&p->reference);
    struct qcbm_error why = { .code = 0 };
    int ret = 0;

    if (all_differ(b, p->flag, n))
        return 0;
    if (disk)
        ret = qcbmi_data_fetch(b->r->disk, &p->disk, s->disk, &s->unpacked[0], &why);
    if (ret == 0 && reference)
        ret = qcbmi_data_fetch(b->r->reference, &p->reference, s->reference, &s->unpacked[1], &why);
    if (ret == QCBM_E_NOMEM && err)
        *err = why;
    if (ret == QCBM_E_NOMEM)
        return ret;
    if (ret == 0) {
        find_differing(b, p, disk ? s->disk : NULL, reference ? s->reference : NULL);
        return 0;
    }
    set_flags(b, p->flag, n);
    if (s->unreadable == 0)
        s->why = why;
    s->unreadable += p->disk.end - p->disk.start;
    return 0;
}

static int compare_task(void *opaque, void *slot, struct qcbm_error *err)
{
    const struct qcbmi_refine_batch *b = ((struct comparing *)opaque)->b;
    struct compare_slot *s = slot;
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < s->task->n; i++)
        ret = compare_part(b, s, &b->parts[s->task->first + i], err);
    return ret;
}

static int take_task(void *opaque, void *slot, struct qcbm_error *err)
{
    struct qcbmi_refine_batch *b = ((struct comparing *)opaque)->b;
    const struct compare_slot *s = slot;
    uint64_t bytes = 0;

    if (s->unreadable)
        qcbmi_refine_note_unreadable(b->r, s->unreadable, &s->why);
    for (size_t i = 0; i < s->task->n; i++)
        bytes += b->parts[s->task->first + i].disk.end - b->parts[s->task->first + i].disk.start;
    b->told += bytes;
    return qcbmi_progress_add(b->r->progress, bytes, err);
}

/* ---- all of them ---- */

/* Compressed clusters are held whole on either side, as they lie, which may take twice as much, and unpacked. */
static size_t slots_for(const struct qcbmi_refine_batch *b)
{
    uint64_t each = 2 * QCBMI_REFINE_READ_BYTES;

    for (size_t i = 0; i < b->n_parts; i++)
        if (b->parts[i].disk.kind == Q2_COMPRESSED || b->parts[i].reference.kind == Q2_COMPRESSED) {
            each += 3 * qcbmi_data_largest_cluster(b->r->disk) + 3 * qcbmi_data_largest_cluster(b->r->reference);
            break;
        }
    return (size_t)u64_max(u64_min(MEMORY / each, QCBMI_WORK_SLOTS), 1);
}

static int get_memory(struct compare_slot *slots, size_t n, struct qcbm_error *err)
{
    for (size_t i = 0; i < n; i++) {
        slots[i].disk = qcbmi_alloc_array(QCBMI_REFINE_READ_BYTES, 1, err);
        slots[i].reference = qcbmi_alloc_array(QCBMI_REFINE_READ_BYTES, 1, err);
        if (!slots[i].disk || !slots[i].reference)
            return QCBM_E_NOMEM;
    }
    return 0;
}

static void give_back(struct compare_slot *slots, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(slots[i].disk);
        free(slots[i].reference);
        qcbmi_unpacked_free(&slots[i].unpacked[0]);
        qcbmi_unpacked_free(&slots[i].unpacked[1]);
    }
}

int qcbmi_refine_compare(struct qcbmi_refine_batch *b, struct qcbm_error *err)
{
    struct compare_slot slots[QCBMI_WORK_SLOTS] = { { 0 } };
    struct comparing c = { .b = b };
    struct qcbmi_work w = { &c, slots, sizeof(slots[0]), 1, 1, next_task, compare_task, take_task };
    unsigned wanted =
        b->r->threads ? b->r->threads : QCBMI_MAX_THREADS; /* they wait for the disk, not for a processor */
    int ret;

    if (b->n_tasks == 0)
        return 0;
    qcbmi_sort(b->tasks, b->n_tasks, sizeof(b->tasks[0]), qcbmi_by_two_u64);
    w.n_slots = slots_for(b);
    w.threads = qcbmi_threads(wanted, u64_min(b->n_tasks, w.n_slots));
    w.n_slots = w.threads;
    ret = get_memory(slots, w.n_slots, err);
    if (ret == 0)
        ret = qcbmi_work_run(&w, err);
    give_back(slots, w.n_slots);
    return ret;
}
