/* pump.c - the bytes of a walk, read many pieces at once and given to a writer in the order of the disk
 * SPDX-License-Identifier: MIT
 *
 * While the first of them is written the next ones are read. What is zeros, though metadata did not say so, becomes a
 * record of zeros; not in a pipe, whose reader has been told already what comes. */
#include "delta/pump.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/workers.h"

#define MEMORY (UINT64_C(48) << 20)
#define SLOT_BYTES (UINT64_C(512) << 10)
#define MAX_ITEMS 64u
#define ZERO_STEP (UINT64_C(64) << 10) /* of forms that have no unit of their own */

struct item {
    struct qcbmi_delta_record record;
    size_t at, first_part, n_parts; /* where its bytes are, and what they are read from */
};

/* What one thread works with. */
struct pump_slot {
    struct item items[MAX_ITEMS];
    size_t n_items;
    struct qcbmi_guest_piece *parts;
    uint8_t *bytes;
    struct qcbmi_unpacked unpacked;
    int ret; /* of the walk behind the last item */
    struct qcbm_error why;
};

struct pumping {
    struct qcbmi_delta_pump *p;
    size_t slot_bytes, max_parts;
    bool over;
};

/* ---- what is read ---- */

static void fill_slot(struct pumping *u, struct pump_slot *s)
{
    uint64_t unit = u->p->walk.unit;
    size_t used = 0, parts = 0, unit_parts = (size_t)u64_max(unit / Q2_SECTOR, 1);

    s->n_items = 0;
    s->ret = 1;
    while (s->n_items < MAX_ITEMS && u->slot_bytes - used >= unit && u->slot_bytes > used &&
           u->max_parts - parts >= unit_parts) {
        struct item *i = &s->items[s->n_items];

        s->ret = qcbmi_delta_walk_next(&u->p->walk, align_down(u->slot_bytes - used, unit), &i->record,
                                       s->parts + parts, u->max_parts - parts, &i->n_parts, &s->why);
        if (s->ret <= 0)
            break;
        i->at = used;
        i->first_part = parts;
        parts += i->n_parts;
        used += i->record.type == QCBMI_DELTA_DATA ? (size_t)i->record.length : 0;
        s->n_items++;
    }
    u->over = s->ret <= 0;
}

static bool next_slot(void *opaque, void *slot)
{
    struct pumping *u = opaque;
    struct pump_slot *s = slot;

    if (u->over)
        return false;
    fill_slot(u, s);
    return s->n_items || s->ret < 0;
}

static int read_slot(void *opaque, void *slot, struct qcbm_error *err)
{
    const struct pumping *u = opaque;
    struct pump_slot *s = slot;
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < s->n_items; i++) {
        const struct item *item = &s->items[i];

        for (size_t k = item->first_part; ret == 0 && k < item->first_part + item->n_parts; k++) {
            const struct qcbmi_guest_piece *part = &s->parts[k];

            ret = qcbmi_data_fetch(u->p->walk.data, part, s->bytes + item->at + (part->start - item->record.offset),
                                   &s->unpacked, err);
        }
    }
    return ret;
}

/* ---- what is written ---- */

static int give(struct qcbmi_delta_pump *p, uint64_t offset, uint64_t length, const uint8_t *bytes, bool zeros,
                struct qcbm_error *err)
{
    *(zeros ? &p->zero_bytes : &p->data_bytes) += length;
    p->n_records++;
    return zeros ? qcbmi_delta_zero(p->to, offset, length, err) : qcbmi_delta_data(p->to, offset, length, bytes, err);
}

/* Data, in runs that are all zeros, or of which no step is. */
static int give_data(struct qcbmi_delta_pump *p, const struct qcbmi_delta_record *r, const uint8_t *bytes,
                     struct qcbm_error *err)
{
    uint64_t step = p->walk.unit > 1 ? p->walk.unit : ZERO_STEP, from = r->offset, at, end = r->offset + r->length;
    bool zeros = false;
    int ret = 0;

    if (!p->to->seekable)
        return give(p, r->offset, r->length, bytes, false, err);
    for (at = from; ret == 0 && at < end;) {
        uint64_t stop = u64_min(align_down(at, step) + step, end);
        bool now = bytes_are_zero(bytes + (at - r->offset), stop - at);

        if (at > from && now != zeros) {
            ret = give(p, from, at - from, bytes + (from - r->offset), zeros, err);
            from = at;
        }
        zeros = now;
        at = stop;
    }
    return ret == 0 ? give(p, from, end - from, bytes + (from - r->offset), zeros, err) : ret;
}

static int take_slot(void *opaque, void *slot, struct qcbm_error *err)
{
    struct qcbmi_delta_pump *p = ((struct pumping *)opaque)->p;
    const struct pump_slot *s = slot;
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < s->n_items; i++) {
        const struct item *item = &s->items[i];

        if (item->record.type == QCBMI_DELTA_ZERO)
            ret = give(p, item->record.offset, item->record.length, NULL, true, err);
        else
            ret = give_data(p, &item->record, s->bytes + item->at, err);
        if (ret == 0)
            ret = qcbmi_progress_add(p->progress, item->record.length, err);
    }
    if (ret == 0 && s->ret < 0) {
        ret = s->ret;
        if (err)
            *err = s->why;
    }
    return ret;
}

/* ---- all of it ---- */

/* A compressed cluster is held as it lies, which may take twice as much, and unpacked. */
static size_t slots_for(const struct pumping *u)
{
    uint64_t each = u->slot_bytes + u->max_parts * sizeof(struct qcbmi_guest_piece) +
                    3 * qcbmi_data_largest_cluster(u->p->walk.data);

    return (size_t)u64_max(u64_min(MEMORY / each, QCBMI_WORK_SLOTS), 2);
}

static int run(struct pumping *u, struct pump_slot *slots, size_t n, struct qcbm_error *err)
{
    struct qcbmi_work w = { u, slots, sizeof(slots[0]), n, 1, next_slot, read_slot, take_slot };
    unsigned wanted = u->p->threads ? u->p->threads : QCBMI_MAX_THREADS;

    for (size_t i = 0; i < n; i++) {
        slots[i].bytes = qcbmi_alloc_array(u->slot_bytes, 1, err);
        slots[i].parts = qcbmi_alloc_array(u->max_parts, sizeof(slots[i].parts[0]), err);
        if (!slots[i].bytes || !slots[i].parts)
            return QCBM_E_NOMEM;
    }
    w.threads = qcbmi_threads(wanted, n);
    return qcbmi_work_run(&w, err);
}

int qcbmi_delta_pump_run(struct qcbmi_delta_pump *p, struct qcbm_error *err)
{
    struct pumping u = { .p = p, .slot_bytes = (size_t)u64_max(SLOT_BYTES, p->walk.unit) };
    struct pump_slot *slots;
    size_t n;
    int ret;

    u.max_parts = (size_t)u64_max(p->walk.unit / Q2_SECTOR, 1024);
    n = slots_for(&u);
    slots = qcbmi_alloc_array(n, sizeof(*slots), err);
    if (!slots)
        return QCBM_E_NOMEM;
    ret = run(&u, slots, n, err);
    for (size_t i = 0; i < n; i++) {
        free(slots[i].bytes);
        free(slots[i].parts);
        qcbmi_unpacked_free(&slots[i].unpacked);
    }
    free(slots);
    return ret;
}
