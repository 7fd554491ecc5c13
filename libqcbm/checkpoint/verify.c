/* verify.c - what libvirt would say of checkpoints, disk by disk, and what else is worth knowing of their bitmaps
 * SPDX-License-Identifier: MIT
 *
 * Disks are looked at one after the other, each with all its layers open; rows are sorted by checkpoint afterwards. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/sized.h"
#include "checkpoint/report.h"
#include "io/journal_link.h"

/* ---- reasons ---- */

const char *qcbm_checkpoint_reason_name(enum qcbm_checkpoint_reason reason)
{
    static const char *const names[] = {
        [QCBM_CHECKPOINT_VALID] = "valid",
        [QCBM_CHECKPOINT_MISSING] = "missing",
        [QCBM_CHECKPOINT_NOT_ON_TOP] = "not-on-top",
        [QCBM_CHECKPOINT_GAP] = "gap",
        [QCBM_CHECKPOINT_DISABLED] = "disabled",
        [QCBM_CHECKPOINT_IN_USE] = "in-use",
        [QCBM_CHECKPOINT_DAMAGED] = "damaged",
        [QCBM_CHECKPOINT_STALE] = "stale",
        [QCBM_CHECKPOINT_LATE] = "late",
    };

    return (size_t)reason < sizeof names / sizeof names[0] ? names[reason] : "?";
}

struct disk {
    uint32_t index;
    struct qcbmi_disk_chain c;
    const char **files; /* of its layers; the report has them */
};

/* ---- one row ---- */

/* What changed since the checkpoint, as libvirt counts it: at the granularity of the first layer. What lies behind the
 * end of a layer that has the bitmap is no part of what that tells. */
static int count_dirty(const struct qcbmi_disk_chain *c, const char *name, const struct qcbmi_verdict *v,
                       struct qcbm_checkpoint_row *row, struct qcbm_error *err)
{
    struct qcbmi_dirtymap map = { 0 };
    uint64_t shortest = c->layers[0].size;
    size_t unread = 0;
    int ret = qcbmi_dirtymap_init(&map, c->layers[0].size, v->gran_bits, err);

    if (ret == 0)
        ret = qcbmi_disk_chain_bits(c, name, &map, &unread, err);
    for (size_t i = v->first; i <= v->last; i++)
        shortest = u64_min(shortest, c->layers[i].size);
    row->tail_bytes = c->layers[0].size - shortest;
    if (ret == 0 && row->tail_bytes)
        ret = qcbmi_dirtymap_set_tail(&map, shortest, err);
    if (ret == 0 && unread) {
        row->valid = false;
        row->reason = QCBM_CHECKPOINT_DAMAGED;
        row->where = row->begins;
    } else if (ret == 0) {
        row->dirty_bytes = qcbmi_dirtymap_dirty_bytes(&map);
    }
    qcbmi_dirtymap_free(&map);
    return ret;
}

static int look(struct qcbm_checkpoint_report *r, const struct disk *d, struct qcbmi_wanted *w, struct qcbm_error *err)
{
    struct qcbmi_report_row all = { .checkpoint = w->index, .disk = d->index };
    struct qcbm_checkpoint_row *row = &all.row;
    struct qcbmi_verdict v;
    int ret = 0;

    qcbmi_disk_chain_judge(&d->c, w->name, &v);
    *row = (struct qcbm_checkpoint_row){ .checkpoint = w->name, .disk = r->targets[d->index] };
    row->valid = v.reason == QCBM_CHECKPOINT_VALID;
    row->reason = v.reason;
    row->where = row->valid ? NULL : d->files[v.where];
    row->begins = v.n_layers ? d->files[v.last] : NULL;
    row->layers = v.n_layers;
    row->granularity = v.gran_bits ? UINT64_C(1) << v.gran_bits : 0;
    row->dirty_bytes = QCBM_UNKNOWN;
    all.last = v.last;
    w->found |= v.n_layers > 0;
    if (row->valid)
        ret = count_dirty(&d->c, w->name, &v, row, err);
    return ret < 0 ? ret : qcbmi_report_add_row(r, &all, err);
}

/* ---- one disk ---- */

static bool is_debris(const char *name)
{
    return strncmp(name, "libvirt-tmp-", strlen("libvirt-tmp-")) == 0;
}

static int look_at_names(struct qcbm_checkpoint_report *r, const struct disk *d, size_t at, struct qcbm_error *err)
{
    const struct qcbm_image *img = d->c.layers[at].img;
    int ret = 0;

    for (uint32_t i = 0; ret == 0 && img && i < img->bitmaps->n; i++) {
        const char *name = img->bitmaps->list[i].name;
        struct qcbm_checkpoint_remark m = { .disk = r->targets[d->index], .layer = d->files[at] };

        m.kind = is_debris(name) ? QCBM_CHECKPOINT_DEBRIS : QCBM_CHECKPOINT_ORPHAN;
        if (m.kind == QCBM_CHECKPOINT_ORPHAN && qcbmi_report_wants(r, name))
            continue;
        m.name = qcbmi_report_keep(r, name, err);
        ret = m.name ? qcbmi_report_add_remark(r, &m, err) : QCBM_E_NOMEM;
    }
    return ret;
}

/* Its bitmaps may become others yet, or go. */
static int look_at_journal(struct qcbm_checkpoint_report *r, const struct disk *d, size_t at, struct qcbm_error *err)
{
    struct qcbm_checkpoint_remark m = { .disk = r->targets[d->index], .layer = d->files[at] };
    char *journal;
    int ret = qcbmi_journal_link_find(d->files[at], &journal, err);

    if (ret < 0 || !journal)
        return ret;
    m.kind = QCBM_CHECKPOINT_OPEN_JOURNAL;
    m.name = qcbmi_report_keep(r, journal, err);
    free(journal);
    return m.name ? qcbmi_report_add_remark(r, &m, err) : QCBM_E_NOMEM;
}

static int look_at_layer(struct qcbm_checkpoint_report *r, const struct disk *d, size_t at, struct qcbm_error *err)
{
    uint64_t top = d->c.layers[0].size, size = d->c.layers[at].size;
    struct qcbm_checkpoint_remark m = { .disk = r->targets[d->index], .layer = d->files[at] };
    int ret = 0;

    m.kind = size < top ? QCBM_CHECKPOINT_GROWN_TAIL : QCBM_CHECKPOINT_SIZES_DIFFER;
    m.bytes = size < top ? top - size : size - top;
    if (size != top)
        ret = qcbmi_report_add_remark(r, &m, err);
    if (ret == 0)
        ret = look_at_journal(r, d, at, err);
    return ret < 0 ? ret : look_at_names(r, d, at, err);
}

static int find_names(struct qcbm_checkpoint_report *r, const struct disk *d, struct qcbmi_progress *way,
                      struct qcbm_error *err)
{
    int ret = 0;

    (void)way;
    for (size_t i = 0; i < d->c.n; i++) {
        const struct qcbmi_bitmap_list *list = d->c.layers[i].img ? d->c.layers[i].img->bitmaps : NULL;

        for (uint32_t k = 0; ret == 0 && list && k < list->n; k++)
            if (!is_debris(list->list[k].name))
                ret = qcbmi_report_want(r, list->list[k].name, NULL, false, err);
    }
    return ret;
}

static int look_at_disk(struct qcbm_checkpoint_report *r, const struct disk *d, struct qcbmi_progress *way,
                        struct qcbm_error *err)
{
    int ret = 0;

    for (uint32_t i = 0; ret == 0 && i < r->sum.checkpoints; i++) {
        if (qcbmi_wanted_on(r->wanted[i], r->targets[d->index]))
            ret = look(r, d, r->wanted[i], err);
        if (ret == 0)
            ret = qcbmi_progress_add(way, 1, err);
    }
    for (size_t i = 0; ret == 0 && i < d->c.n; i++)
        ret = look_at_layer(r, d, i, err);
    return ret;
}

typedef int disk_fn(struct qcbm_checkpoint_report *r, const struct disk *d, struct qcbmi_progress *way,
                    struct qcbm_error *err);

static int open_disk(struct qcbm_checkpoint_report *r, struct disk *d, struct qcbm_image *top, struct qcbm_error *err)
{
    int ret = qcbmi_disk_chain_open(&d->c, top, err);

    if (ret < 0)
        return ret;
    d->files = qcbmi_alloc_array(d->c.n, sizeof(d->files[0]), err);
    if (!d->files)
        return QCBM_E_NOMEM;
    for (size_t i = 0; i < d->c.n; i++) {
        d->files[i] = qcbmi_report_keep(r, d->c.layers[i].filename, err);
        if (!d->files[i])
            return QCBM_E_NOMEM;
    }
    return 0;
}

static int each_disk(struct qcbm_checkpoint_report *r, struct qcbmi_disks *disks, disk_fn *fn,
                     struct qcbmi_progress *way, struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < disks->n; i++) {
        struct disk d = { .index = (uint32_t)i };

        ret = open_disk(r, &d, disks->list[i].img, err);
        if (ret == 0)
            ret = fn(r, &d, way, err);
        if (ret < 0 && ret != QCBM_E_ABORTED)
            ret = qcbmi_disk_blame(&disks->list[i], ret, err);
        qcbmi_disk_chain_close(&d.c);
        free(d.files);
    }
    return ret;
}

/* ---- the whole ---- */

static int take_wanted(struct qcbm_checkpoint_report *r, const struct qcbm_checkpoint_verify_options *opt,
                       struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < opt->n_names; i++)
        ret = qcbmi_report_want(r, opt->names[i], NULL, true, err);
    for (size_t i = 0; ret == 0 && i < opt->n_xml; i++) {
        struct qcbm_checkpoint_xml_info info;

        qcbm_checkpoint_xml_get_info(opt->xml[i], &info, sizeof info);
        ret = qcbmi_report_want(r, info.name, opt->xml[i], true, err);
    }
    return ret;
}

static int run(struct qcbm_checkpoint_report *r, struct qcbmi_disks *disks,
               const struct qcbm_checkpoint_verify_options *opt, struct qcbm_error *err)
{
    struct qcbmi_progress way = { .to = opt->progress };
    int ret = take_wanted(r, opt, err);

    for (size_t i = 0; ret == 0 && i < disks->n; i++)
        ret = qcbmi_report_add_target(r, disks->list[i].target, err);
    if (ret == 0 && opt->n_names + opt->n_xml == 0)
        ret = each_disk(r, disks, find_names, NULL, err);
    way.total = (uint64_t)r->sum.checkpoints * disks->n;
    if (ret == 0)
        ret = each_disk(r, disks, look_at_disk, &way, err);
    return ret < 0 ? ret : qcbmi_report_finish(r, err);
}

int qcbm_checkpoint_verify(const struct qcbm_checkpoint_disk *named, size_t elem_size, size_t n,
                           const struct qcbm_checkpoint_verify_options *options, struct qcbm_checkpoint_report **out,
                           struct qcbm_error *err)
{
    struct qcbm_checkpoint_verify_options opt = QCBM_CHECKPOINT_VERIFY_OPTIONS_INIT;
    struct qcbm_checkpoint_report *r;
    struct qcbmi_disks disks = { 0 };
    int ret = qcbmi_take_options(&opt, sizeof opt, options, err);

    *out = NULL;
    if (ret == 0 && (opt.flags & QCBM_OPEN_WRITE))
        ret = qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "a verification opens for reading only");
    if (ret < 0)
        return ret;
    r = qcbmi_alloc_array(1, sizeof(*r), err);
    if (!r)
        return QCBM_E_NOMEM;
    ret = qcbmi_disks_open(&disks, named, elem_size, n, opt.flags, err);
    if (ret == 0)
        ret = run(r, &disks, &opt, err);
    qcbmi_disks_close(&disks);
    if (ret < 0) {
        qcbm_checkpoint_report_free(r);
        return ret;
    }
    *out = r;
    return 0;
}
