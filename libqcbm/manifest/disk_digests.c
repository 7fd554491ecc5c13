/* disk_digests.c - digests of the granules of a disk, in its order, read and made by several threads
 * SPDX-License-Identifier: MIT */
#include "manifest/disk_digests.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/workers.h"

#define UNIT (UINT64_C(512) << 10)  /* bytes that a thread reads at least, if there are so many side by side */
#define MEMORY (UINT64_C(64) << 20) /* of buffers */

/* What one thread works with: a run of granules of one kind, or a stretch of the disk that is read. */
struct digest_slot {
    struct qcbmi_digests told;
    uint64_t start, end; /* guest bytes */
    struct qcbmi_guest_piece *pieces;
    size_t n_pieces, capacity;
    uint8_t *bytes, *kinds, *digests; /* of one unit */
    struct qcbmi_unpacked unpacked;
    struct qcbm_error why; /* of the first granule that cannot be read */
    int failed;            /* what ends all */
};

struct digesting {
    const struct qcbmi_disk_digests *job;
    uint64_t gran, unit;
    uint64_t at, until;             /* guest bytes that are selected and not gone over yet; @at begins a granule */
    struct qcbmi_guest_piece piece; /* what was asked for last */
    bool lost;                      /* it cannot be read: */
    struct qcbm_error why;
};

/* ---- what lies where: on the thread of the call ---- */

/* The next granules that are wanted; false if there are none. */
static bool select_next(struct digesting *d)
{
    const struct qcbmi_disk_digests *job = d->job;
    uint64_t start = d->at, end = job->size;

    while (d->at >= d->until && d->at < job->size) {
        start = d->at;
        end = job->size;
        if (job->only && start < job->all_from) {
            if (!qcbmi_dirtymap_next(job->only, start, &start, &end) || start >= job->all_from) {
                start = u64_min(job->all_from, job->size);
                end = job->size;
            }
        }
        d->at = u64_max(d->at, align_down(u64_min(start, job->size), d->gran));
        if (start >= job->size)
            d->at = job->size;
        d->until = u64_min(align_up(end, d->gran), job->size);
    }
    return d->at < job->size;
}

/* Keep in d->piece what is at @at. */
static int look(struct digesting *d, uint64_t at, struct qcbm_error *err)
{
    struct qcbmi_guest_piece *p = &d->piece;
    int ret;

    if (at >= p->start && at < p->end)
        return 0;
    ret = qcbmi_data_find(d->job->disk, at, d->job->size, p, &d->why);
    if (ret == 0 && p->doubtful) /* whatever is read there, nobody can say that it is the disk's */
        ret = qcbmi_fail(&d->why, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "the entry of guest 0x%" PRIx64 " breaks a rule", at);
    if (ret == QCBM_E_NOMEM) {
        if (err)
            *err = d->why;
        return ret;
    }
    d->lost = ret < 0;
    p->start = at;
    if (p->end <= at) /* not known how far */
        p->end = u64_min(align_down(at, d->gran) + d->gran, d->job->size);
    return 0;
}

/* Bytes up to the end of the last granule that lies wholly in [@at, @end). */
static uint64_t whole_granules(const struct digesting *d, uint64_t at, uint64_t end)
{
    return end >= d->job->size ? d->job->size - at : align_down(end, d->gran) - u64_min(align_down(end, d->gran), at);
}

/* Is what was found last a run of granules from @at on, of which none has to be read? */
static bool is_run(const struct digesting *d, uint64_t at)
{
    return is_aligned(at, d->gran) && (d->lost || qcbmi_guest_piece_is_zero(&d->piece)) &&
           whole_granules(d, at, u64_min(d->piece.end, d->until)) > 0;
}

static void take_run(struct digesting *d, struct digest_slot *s)
{
    s->told.all = d->lost ? QCBMI_GRANULE_UNREADABLE : QCBMI_GRANULE_ZEROS;
    s->why = d->why;
    d->at += whole_granules(d, d->at, u64_min(d->piece.end, d->until));
}

static void mark_lost(const struct digesting *d, struct digest_slot *s, uint64_t start, uint64_t end,
                      const struct qcbm_error *why)
{
    uint64_t first = (start - s->start) >> d->job->gran_bits, last = (end - 1 - s->start) >> d->job->gran_bits;

    if (!s->told.why)
        s->why = *why;
    s->told.why = &s->why;
    memset(s->kinds + first, QCBMI_GRANULE_UNREADABLE, (size_t)(last - first + 1));
}

/* A piece of the unit, up to @end. */
static int add_piece(struct digesting *d, struct digest_slot *s, uint64_t at, uint64_t end, struct qcbm_error *err)
{
    struct qcbmi_guest_piece *p;
    int ret = qcbmi_grow_array(&s->pieces, &s->capacity, s->n_pieces, sizeof(*s->pieces), err);

    if (ret < 0)
        return ret;
    p = &s->pieces[s->n_pieces++];
    *p = d->piece;
    p->host = qcbmi_guest_piece_host(&d->piece, at);
    p->start = at;
    p->end = end;
    return 0;
}

/* From d->at on all that is to be read, as far as a unit goes and nothing that is a run begins. */
static int take_pieces(struct digesting *d, struct digest_slot *s, struct qcbm_error *err)
{
    uint64_t at = d->at, end = u64_min(align_down(at, d->unit) + d->unit, d->until), stop;
    int ret = 0;

    s->told.kinds = s->kinds;
    s->told.digests = s->digests;
    memset(s->kinds, QCBMI_GRANULE_DIGEST, (size_t)div_up(end - at, d->gran));
    while (ret == 0 && at < end) {
        ret = look(d, at, err);
        if (ret < 0 || (at > d->at && is_run(d, at)))
            break;
        stop = u64_min(d->piece.end, end);
        if (d->lost) {
            stop = u64_min(align_up(stop, d->gran), end);
            mark_lost(d, s, at, stop, &d->why);
        } else {
            ret = add_piece(d, s, at, stop, err);
        }
        at = stop;
    }
    d->at = at;
    return ret;
}

static bool next_unit(void *opaque, void *slot)
{
    struct digesting *d = opaque;
    struct digest_slot *s = slot;

    if (!select_next(d))
        return false;
    s->told = (struct qcbmi_digests){ .first = d->at >> d->job->gran_bits };
    s->start = d->at;
    s->n_pieces = 0;
    s->why = (struct qcbm_error){ .code = 0 };
    s->failed = look(d, d->at, &s->why);
    if (s->failed == 0 && is_run(d, d->at))
        take_run(d, s);
    else if (s->failed == 0)
        s->failed = take_pieces(d, s, &s->why);
    s->end = d->at;
    s->told.n = div_up(s->end - s->start, d->gran);
    if (s->told.all == QCBMI_GRANULE_UNREADABLE)
        s->told.why = &s->why;
    return true;
}

/* ---- reading, on any thread ---- */

static int read_pieces(const struct digesting *d, struct digest_slot *s, struct qcbm_error *err)
{
    for (size_t i = 0; i < s->n_pieces; i++) {
        const struct qcbmi_guest_piece *p = &s->pieces[i];
        struct qcbm_error why = { .code = 0 };
        int ret = qcbmi_data_fetch(d->job->disk, p, s->bytes + (p->start - s->start), &s->unpacked, &why);

        if (ret == QCBM_E_NOMEM) {
            if (err)
                *err = why;
            return ret;
        }
        if (ret < 0)
            mark_lost(d, s, p->start, p->end, &why);
    }
    return 0;
}

static int work_unit(void *opaque, void *slot, struct qcbm_error *err)
{
    const struct digesting *d = opaque;
    struct digest_slot *s = slot;
    int ret = s->failed;

    if (ret < 0 && err)
        *err = s->why;
    if (ret < 0 || !s->told.kinds)
        return ret;
    ret = read_pieces(d, s, err);
    for (uint64_t i = 0; ret == 0 && i < s->told.n; i++) {
        const uint8_t *bytes = s->bytes + (i << d->job->gran_bits);
        uint64_t len = u64_min(d->gran, s->end - s->start - (i << d->job->gran_bits));

        if (s->kinds[i] == QCBMI_GRANULE_UNREADABLE)
            continue;
        if (bytes_are_zero(bytes, len))
            s->kinds[i] = QCBMI_GRANULE_ZEROS;
        else
            ret = qcbmi_hash(d->job->hasher, bytes, (size_t)len, s->digests + i * d->job->hasher->bytes, err);
    }
    return ret;
}

static int take_unit(void *opaque, void *slot, struct qcbm_error *err)
{
    const struct digesting *d = opaque;
    const struct digest_slot *s = slot;
    int ret = d->job->fn(d->job->opaque, &s->told, err);

    return ret < 0 ? ret : qcbmi_progress_add(d->job->progress, s->end - s->start, err);
}

/* ---- all of it ---- */

/* Compressed clusters are held whole, as they lie, which may take twice as much, and unpacked. */
static size_t slots_for(const struct digesting *d)
{
    uint64_t each = d->unit + 3 * qcbmi_data_largest_cluster(d->job->disk) + (d->unit >> d->job->gran_bits) * 64;

    return (size_t)u64_max(u64_min(MEMORY / each, QCBMI_WORK_SLOTS), 1);
}

static int get_memory(const struct digesting *d, struct digest_slot *slots, size_t n, struct qcbm_error *err)
{
    uint64_t granules = d->unit >> d->job->gran_bits;

    for (size_t i = 0; i < n; i++) {
        slots[i].bytes = qcbmi_alloc_array(d->unit, 1, err);
        slots[i].kinds = qcbmi_alloc_array(granules, 1, err);
        slots[i].digests = qcbmi_alloc_array(granules, d->job->hasher->bytes, err);
        if (!slots[i].bytes || !slots[i].kinds || !slots[i].digests)
            return QCBM_E_NOMEM;
    }
    return 0;
}

static void give_back(struct digest_slot *slots, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        free(slots[i].bytes);
        free(slots[i].kinds);
        free(slots[i].digests);
        free(slots[i].pieces);
        qcbmi_unpacked_free(&slots[i].unpacked);
    }
}

uint64_t qcbmi_disk_digests_cost(const struct qcbmi_disk_digests *job)
{
    uint64_t tail = job->size - u64_min(job->all_from, job->size);

    return job->only ? u64_min(qcbmi_dirtymap_dirty_bytes(job->only) + tail, job->size) : job->size;
}

int qcbmi_disk_digests(const struct qcbmi_disk_digests *job, struct qcbm_error *err)
{
    uint64_t gran = UINT64_C(1) << job->gran_bits;
    struct digest_slot slots[QCBMI_WORK_SLOTS] = { { .failed = 0 } };
    struct digesting d = { .job = job, .gran = gran };
    struct qcbmi_work w = { &d, slots, sizeof(slots[0]), 1, 1, next_unit, work_unit, take_unit };
    unsigned wanted = job->threads ? job->threads : QCBMI_MAX_THREADS; /* they wait for the disk, not for a processor */
    int ret;

    /* a compressed cluster is unpacked by one thread, once */
    d.unit = u64_max(u64_max(UNIT, gran), qcbmi_data_largest_cluster(job->disk));
    w.threads = qcbmi_threads(wanted, u64_min(slots_for(&d), div_up(job->size, d.unit)));
    w.n_slots = u64_min(slots_for(&d), w.threads < 2 ? 1 : w.threads + 4);
    ret = get_memory(&d, slots, w.n_slots, err);
    if (ret == 0)
        ret = qcbmi_work_run(&w, err);
    give_back(slots, w.n_slots);
    return ret;
}
