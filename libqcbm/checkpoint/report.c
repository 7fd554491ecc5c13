/* report.c - what a verification of checkpoints has found, kept to be given out row by row
 * SPDX-License-Identifier: MIT */
#include "checkpoint/report.h"

#include <search.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/sized.h"

const char *qcbmi_report_keep(struct qcbm_checkpoint_report *r, const char *text, struct qcbm_error *err)
{
    char *copy;

    if (qcbmi_grow_array(&r->strings, &r->strings_capacity, r->n_strings, sizeof(r->strings[0]), err) < 0)
        return NULL;
    copy = qcbmi_memdup_nul(text, strlen(text), err);
    if (copy)
        r->strings[r->n_strings++] = copy;
    return copy;
}

/* ---- what is looked for ---- */

static int compare_names(const void *a, const void *b)
{
    const struct qcbmi_wanted *x = a, *y = b;

    return strcmp(x->name, y->name);
}

static struct qcbmi_wanted *find(const struct qcbm_checkpoint_report *r, const char *name)
{
    const struct qcbmi_wanted key = { .name = name };
    void *const *node = tfind(&key, &r->by_name, compare_names);

    return node ? *node : NULL;
}

bool qcbmi_report_wants(const struct qcbm_checkpoint_report *r, const char *name)
{
    return find(r, name) != NULL;
}

static int take_xml(struct qcbm_checkpoint_report *r, struct qcbmi_wanted *w, const struct qcbm_checkpoint_xml *xml,
                    struct qcbm_error *err)
{
    struct qcbm_checkpoint_xml_info info;

    if (!xml)
        return 0;
    w->xml = xml;
    qcbm_checkpoint_xml_get_info(xml, &info, sizeof info);
    if (info.parent)
        w->parent = qcbmi_report_keep(r, info.parent, err);
    return info.parent && !w->parent ? QCBM_E_NOMEM : 0;
}

int qcbmi_report_want(struct qcbm_checkpoint_report *r, const char *name, const struct qcbm_checkpoint_xml *xml,
                      bool asked_for, struct qcbm_error *err)
{
    struct qcbmi_wanted *w = find(r, name);
    size_t n = r->sum.checkpoints;

    if (w)
        return take_xml(r, w, xml, err);
    if (qcbmi_grow_array(&r->wanted, &r->wanted_capacity, n, sizeof(r->wanted[0]), err) < 0)
        return QCBM_E_NOMEM;
    w = qcbmi_alloc_array(1, sizeof(*w), err);
    if (!w)
        return QCBM_E_NOMEM;
    *w = (struct qcbmi_wanted){ .index = r->sum.checkpoints, .asked_for = asked_for };
    r->wanted[r->sum.checkpoints++] = w;
    w->name = qcbmi_report_keep(r, name, err);
    if (!w->name)
        return QCBM_E_NOMEM;
    if (!tsearch(w, &r->by_name, compare_names))
        return qcbmi_fail_nomem(err);
    return take_xml(r, w, xml, err);
}

bool qcbmi_wanted_on(const struct qcbmi_wanted *w, const char *target)
{
    struct qcbm_checkpoint_xml_info info = { .all_disks = true };
    struct qcbm_checkpoint_xml_disk disk;

    if (w->xml)
        qcbm_checkpoint_xml_get_info(w->xml, &info, sizeof info);
    for (uint32_t i = 0; !info.all_disks && i < info.disks; i++) {
        qcbm_checkpoint_xml_get_disk(w->xml, i, &disk, sizeof disk);
        if (strcmp(disk.name, target) == 0)
            return disk.has_checkpoint;
    }
    return info.all_disks;
}

/* ---- what is found ---- */

int qcbmi_report_add_target(struct qcbm_checkpoint_report *r, const char *target, struct qcbm_error *err)
{
    int ret = qcbmi_grow_array(&r->targets, &r->targets_capacity, r->n_targets, sizeof(r->targets[0]), err);

    if (ret < 0)
        return ret;
    r->targets[r->n_targets] = qcbmi_report_keep(r, target, err);
    return r->targets[r->n_targets] ? (r->n_targets++, 0) : QCBM_E_NOMEM;
}

int qcbmi_report_add_row(struct qcbm_checkpoint_report *r, const struct qcbmi_report_row *row, struct qcbm_error *err)
{
    int ret = qcbmi_grow_array(&r->rows, &r->rows_capacity, r->sum.rows, sizeof(r->rows[0]), err);

    if (ret < 0)
        return ret;
    r->rows[r->sum.rows++] = *row;
    r->sum.valid_rows += row->row.valid;
    return 0;
}

int qcbmi_report_add_remark(struct qcbm_checkpoint_report *r, const struct qcbm_checkpoint_remark *remark,
                            struct qcbm_error *err)
{
    int ret = qcbmi_grow_array(&r->remarks, &r->remarks_capacity, r->sum.remarks, sizeof(r->remarks[0]), err);

    if (ret == 0)
        r->remarks[r->sum.remarks++] = *remark;
    return ret;
}

/* ---- what only the whole shows ---- */

static int compare_rows(const void *a, const void *b)
{
    const struct qcbmi_report_row *x = a, *y = b;

    if (x->checkpoint != y->checkpoint)
        return x->checkpoint < y->checkpoint ? -1 : 1;
    return (x->disk > y->disk) - (x->disk < y->disk);
}

static struct qcbmi_report_row *row_of(const struct qcbm_checkpoint_report *r, uint32_t checkpoint, uint32_t disk)
{
    const struct qcbmi_report_row key = { .checkpoint = checkpoint, .disk = disk };

    return r->sum.rows ? bsearch(&key, r->rows, r->sum.rows, sizeof(r->rows[0]), compare_rows) : NULL;
}

/* What it says it says of the layers that have it. */
static void make_late(struct qcbm_checkpoint_report *r, struct qcbmi_report_row *row, const char *where)
{
    if (!row->row.valid)
        return;
    row->row.valid = false;
    row->row.reason = QCBM_CHECKPOINT_LATE;
    row->row.where = where;
    r->sum.valid_rows--;
}

/* A younger checkpoint was made when the older one was there, so the older one began in the same layer or further
 * down. */
static int compare_with_older(struct qcbm_checkpoint_report *r, const struct qcbmi_wanted *w,
                              const struct qcbmi_wanted *parent, struct qcbm_error *err)
{
    int ret = 0;

    for (uint32_t i = 0; ret == 0 && i < r->n_targets; i++) {
        const struct qcbmi_report_row *younger = row_of(r, w->index, i);
        struct qcbmi_report_row *older = row_of(r, parent->index, i);
        struct qcbm_checkpoint_remark m = { .kind = QCBM_CHECKPOINT_BEGINS_LATE,
                                            .name = parent->name,
                                            .other = w->name };

        if (!younger || !older || !younger->row.layers || !older->row.layers || older->last >= younger->last ||
            older->row.reason == QCBM_CHECKPOINT_LATE)
            continue;
        m.disk = r->targets[i];
        m.layer = younger->row.begins;
        ret = qcbmi_report_add_remark(r, &m, err);
        make_late(r, older, m.layer);
    }
    return ret;
}

/* With all that came before it: one between them may have lost its bitmaps, too. Parents in a circle end. */
static int compare_with_ancestors(struct qcbm_checkpoint_report *r, const struct qcbmi_wanted *w,
                                  struct qcbm_error *err)
{
    const struct qcbmi_wanted *older = w->parent ? find(r, w->parent) : NULL;
    int ret = 0;

    for (uint32_t steps = 0; ret == 0 && older && older != w && steps < r->sum.checkpoints; steps++) {
        ret = compare_with_older(r, w, older, err);
        older = older->parent ? find(r, older->parent) : NULL;
    }
    return ret;
}

int qcbmi_report_finish(struct qcbm_checkpoint_report *r, struct qcbm_error *err)
{
    int ret = 0;

    if (r->sum.rows)
        qsort(r->rows, r->sum.rows, sizeof(r->rows[0]), compare_rows);
    for (uint32_t i = 0; ret == 0 && i < r->sum.checkpoints; i++) {
        const struct qcbmi_wanted *w = r->wanted[i];
        const struct qcbm_checkpoint_remark zombie = { .kind = QCBM_CHECKPOINT_ZOMBIE, .name = w->name };

        if (w->asked_for && !w->found)
            ret = qcbmi_report_add_remark(r, &zombie, err);
        if (ret == 0)
            ret = compare_with_ancestors(r, w, err);
    }
    return ret;
}

/* ---- for the caller ---- */

int qcbm_checkpoint_report_summary(const struct qcbm_checkpoint_report *r, struct qcbm_checkpoint_summary *out,
                                   size_t size)
{
    return qcbmi_give_checked(out, size, &r->sum, sizeof(r->sum));
}

int qcbm_checkpoint_report_row(const struct qcbm_checkpoint_report *r, uint32_t index, struct qcbm_checkpoint_row *out,
                               size_t size)
{
    return index < r->sum.rows ? qcbmi_give_checked(out, size, &r->rows[index].row, sizeof(*out)) : QCBM_E_ARG;
}

int qcbm_checkpoint_report_remark(const struct qcbm_checkpoint_report *r, uint32_t index,
                                  struct qcbm_checkpoint_remark *out, size_t size)
{
    return index < r->sum.remarks ? qcbmi_give_checked(out, size, &r->remarks[index], sizeof(*out)) : QCBM_E_ARG;
}

static void leave(void *node)
{
    (void)node; /* the array has it, too */
}

void qcbm_checkpoint_report_free(struct qcbm_checkpoint_report *r)
{
    if (!r)
        return;
    tdestroy(r->by_name, leave);
    for (uint32_t i = 0; i < r->sum.checkpoints; i++)
        free(r->wanted[i]);
    for (size_t i = 0; i < r->n_strings; i++)
        free(r->strings[i]);
    free(r->strings);
    free(r->wanted);
    free(r->targets);
    free(r->rows);
    free(r->remarks);
    free(r);
}
