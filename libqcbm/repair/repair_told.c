/* repair_told.c - rows and findings of a repair, kept until all of it is planned
 * SPDX-License-Identifier: MIT
 *
 * A repair that is refused in the end has done nothing, so nobody is told of it before. Wrong COPIED flags are told
 * among the rows, in QEMU's order. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "repair/repair_parts.h"

#define MAX_KEPT ((size_t)1 << 16) /* of them; with more the first are told early */
#define TEXTS 5u

struct qcbmi_repair_item {
    bool is_row, is_left;
    struct qcbm_repair_row row;
    struct qcbm_check_finding finding;
    char *texts[TEXTS]; /* of the row: code, bitmap, done, kept, lost; of the finding the first is its message */
};

static void clear(struct qcbmi_repair_item *item)
{
    for (size_t i = 0; i < TEXTS; i++)
        free(item->texts[i]);
}

static int give(const struct qcbmi_repair *r, const struct qcbmi_repair_item *item, struct qcbm_error *err)
{
    qcbm_check_fn *finding = item->is_left ? r->o.left : r->o.finding;
    int stop = 0;

    if (item->is_row && r->o.row)
        stop = r->o.row(r->o.opaque, &item->row);
    else if (!item->is_row && finding)
        stop = finding(r->o.opaque, &item->finding);
    return stop ? qcbmi_fail_stopped(err) : 0;
}

void qcbmi_repair_forget(struct qcbmi_repair *r, size_t from)
{
    while (r->n_items > from)
        clear(&r->items[--r->n_items]);
    if (from == 0) {
        free(r->items);
        r->items = NULL;
        r->items_capacity = 0;
    }
}

void qcbmi_repair_leave(struct qcbmi_repair *r, size_t from)
{
    for (size_t i = from; i < r->n_items; i++)
        r->items[i].is_left = true;
}

int qcbmi_repair_tell_all(struct qcbmi_repair *r, struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < r->n_items; i++) {
        r->r.rows += r->items[i].is_row;
        ret = give(r, &r->items[i], err);
    }
    qcbmi_repair_forget(r, 0);
    return ret;
}

static int copy(const char *from, char **to, struct qcbm_error *err)
{
    if (from)
        *to = qcbmi_memdup_nul(from, strlen(from), err);
    return from && !*to ? QCBM_E_NOMEM : 0;
}

/* Room for one more, which is zeroed and counted; NULL: no memory, or the caller stopped. */
static struct qcbmi_repair_item *add(struct qcbmi_repair *r, int *ret, struct qcbm_error *err)
{
    if (r->n_items == MAX_KEPT)
        *ret = qcbmi_repair_tell_all(r, err);
    if (*ret == 0)
        *ret = qcbmi_grow_array(&r->items, &r->items_capacity, r->n_items, sizeof(r->items[0]), err);
    if (*ret < 0)
        return NULL;
    r->items[r->n_items] = (struct qcbmi_repair_item){ 0 };
    return &r->items[r->n_items++];
}

int qcbmi_repair_tell(struct qcbmi_repair *r, const struct qcbm_repair_row *row, struct qcbm_error *err)
{
    const char *from[TEXTS] = { row->code, row->bitmap, row->done, row->kept, row->lost };
    int ret = 0;
    struct qcbmi_repair_item *item = add(r, &ret, err);

    if (!item)
        return ret;
    item->is_row = true;
    for (size_t i = 0; ret == 0 && i < TEXTS; i++)
        ret = copy(from[i], &item->texts[i], err);
    item->row = *row;
    item->row.code = item->texts[0];
    item->row.bitmap = item->texts[1];
    item->row.done = item->texts[2];
    item->row.kept = item->texts[3];
    item->row.lost = item->texts[4];
    if (ret < 0)
        qcbmi_repair_forget(r, r->n_items - 1);
    return ret;
}

int qcbmi_repair_tell_finding(struct qcbmi_repair *r, const struct qcbm_check_finding *f, struct qcbm_error *err)
{
    int ret = 0;
    struct qcbmi_repair_item *item = r->o.finding || r->o.left ? add(r, &ret, err) : NULL;

    if (!item)
        return ret;
    ret = copy(f->message, &item->texts[0], err);
    item->finding = *f;
    item->finding.message = item->texts[0];
    if (ret < 0)
        qcbmi_repair_forget(r, r->n_items - 1);
    return ret;
}
