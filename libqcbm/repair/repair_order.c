/* repair_order.c - the stages of a repair in an order in which a cut does no harm
 * SPDX-License-Identifier: MIT
 *
 * The steps put copies, new tables and bits behind the end of the file and let pointers lead there, and refcounts are
 * counted when all of that is known. Written in this order a cut would leave clusters that are in use and count as
 * free, which the next program that writes to the image takes. So the stages that make refcounts high enough come
 * first: a count that is too high leaks, and does no harm. They have room for what the image has, or write all
 * refcounts anew behind the end.
 *
 * Where that cannot be, the image is marked corrupt first and gets its own marks back last, so that QEMU does not write
 * to it until the repair was run again. That is where a step before writes to what holds refcounts, too (a cluster with
 * two owners), where a bitmap has a cluster of the refcounts, which has to be known until the bitmap is written anew,
 * so that the switch to other refcounts comes last; and where leaks beside clusters with two owners would keep the same
 * repair from being run again without force. Version 2 has no such mark. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/sort.h"
#include "repair/repair_parts.h"

#define LOWEST_BYTE (Q2_OFF_INCOMPATIBLE + 7) /* of the features, with the mark in it */

/* What stages [@first, @end) write, in order of offsets. */
static struct qcbmi_range *ranges_of(const struct qcbmi_plan *plan, size_t first, size_t end, size_t *n,
                                     struct qcbm_error *err)
{
    struct qcbmi_range *list;

    *n = 0;
    for (size_t i = first; i < end; i++)
        *n += plan->stages[i].n;
    list = qcbmi_alloc_array(*n, sizeof(list[0]), err);
    if (!list)
        return NULL;
    *n = 0;
    for (size_t i = first; i < end; i++)
        for (size_t j = 0; j < plan->stages[i].n; j++)
            list[(*n)++] = (struct qcbmi_range){ plan->stages[i].writes[j].off, plan->stages[i].writes[j].len };
    qcbmi_sort(list, *n, sizeof(list[0]), qcbmi_by_u64);
    return list;
}

/* @list, whose ranges lie apart. */
static bool meets(const struct qcbmi_range *list, size_t n, const struct qcbmi_plan_write *w)
{
    size_t i = qcbmi_lower_bound_u64(list, n, sizeof(list[0]), w->off);

    return (i < n && list[i].off < w->off + w->len) || (i > 0 && list[i - 1].off + list[i - 1].len > w->off);
}

/* Is nothing that stages [@first, @end) write also written by one in front of them? */
static int are_apart(const struct qcbmi_plan *plan, size_t first, size_t end, bool *apart, struct qcbm_error *err)
{
    size_t n;
    struct qcbmi_range *list = ranges_of(plan, first, end, &n, err);

    *apart = true;
    for (size_t i = 0; list && i < first; i++)
        for (size_t j = 0; j < plan->stages[i].n; j++)
            *apart &= !meets(list, n, &plan->stages[i].writes[j]);
    free(list);
    return list ? 0 : QCBM_E_NOMEM;
}

/* Stages [@first, @end) to the front. */
static int move_to_front(struct qcbmi_plan *plan, size_t first, size_t end, struct qcbm_error *err)
{
    size_t n = end - first, size = sizeof(plan->stages[0]);
    struct qcbmi_plan_stage *moved = qcbmi_alloc_array(n, size, err);

    if (!moved)
        return QCBM_E_NOMEM;
    memcpy(moved, plan->stages + first, n * size);
    memmove(plan->stages + n, plan->stages, first * size);
    memcpy(plan->stages, moved, n * size);
    free(moved);
    return 0;
}

static int write_marks(struct qcbmi_plan *plan, const char *stage, uint64_t marks, struct qcbm_error *err)
{
    int ret = qcbmi_plan_stage(plan, stage, true, err);
    uint8_t field[8];

    be64_store(field, marks);
    return ret < 0 ? ret : qcbmi_plan_write(plan, "header: features", Q2_OFF_INCOMPATIBLE, field, sizeof(field), err);
}

/* No write of the header in between takes the mark off. */
static void keep_marked(struct qcbmi_plan *plan)
{
    for (size_t i = 0; i < plan->n; i++)
        for (size_t j = 0; j < plan->stages[i].n; j++) {
            struct qcbmi_plan_write *w = &plan->stages[i].writes[j];

            if (w->off <= LOWEST_BYTE && LOWEST_BYTE < w->off + w->len)
                w->source.bytes[LOWEST_BYTE - w->off] |= QCBM_INCOMPAT_CORRUPT;
        }
}

static int mark_meanwhile(struct qcbmi_repair *r, struct qcbm_error *err)
{
    struct qcbmi_plan *plan = &r->whole;
    int ret;

    if (r->img->image->h.version < 3 || r->img->image->h.incompatible & QCBM_INCOMPAT_CORRUPT)
        return 0;
    keep_marked(plan);
    ret = write_marks(plan, "mark", r->img->image->h.incompatible | QCBM_INCOMPAT_CORRUPT, err);
    if (ret == 0)
        ret = move_to_front(plan, plan->n - 1, plan->n, err);
    return ret < 0 ? ret : write_marks(plan, "header", r->work->image->h.incompatible, err);
}

/* The switch to other refcounts, which is the last of their stages, behind all but the marks of the header. */
static void delay_switch(struct qcbmi_plan *plan, size_t at)
{
    struct qcbmi_plan_stage moved = plan->stages[at];
    const struct qcbmi_plan_stage *last = &plan->stages[plan->n - 1];
    size_t to = plan->n - 1;

    if (to > at && last->n && last->writes[0].off == Q2_OFF_INCOMPATIBLE)
        to--;
    memmove(plan->stages + at, plan->stages + at + 1, (to - at) * sizeof(moved));
    plan->stages[to] = moved;
}

int qcbmi_repair_order(struct qcbmi_repair *r, struct qcbm_error *err)
{
    bool apart = true, again = qcbmi_repair_is_forced(r) || !r->separated || r->img->image->h.version < 3;
    int ret = 0;

    if (r->bitmaps_first && r->counts != r->counts_end) {
        delay_switch(&r->whole, r->counts_end - 1);
        return mark_meanwhile(r, err);
    }
    if (r->counts == 0 || r->counts == r->counts_end)
        return 0;
    if (again)
        ret = are_apart(&r->whole, r->counts, r->counts_end, &apart, err);
    if (ret < 0)
        return ret;
    return again && apart ? move_to_front(&r->whole, r->counts, r->counts_end, err) : mark_meanwhile(r, err);
}
