/* apply_resize.c - a disk made larger before anything is written to it, or cut when all is
 * SPDX-License-Identifier: MIT
 *
 * Size, length and place of the L1 table of an image are switched by one write inside the first sector. What lies
 * behind the new end is given up before that, so a cut of power leaves the old size or the new one, and tables that fit
 * either. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "bitmap/bitmap_list.h"
#include "delta/apply_target.h"

/* ---- what would be refused ---- */

int qcbmi_target_check_resize(const struct qcbmi_apply_target *t, uint64_t size, struct qcbm_error *err)
{
    const struct qcbmi_bitmap_list *list = t->is_qcow2 ? t->handle.bitmaps : NULL;

    if (size == qcbmi_target_size(t))
        return 0;
    if (qcbmi_target_is_device(t) && size > qcbmi_target_size(t))
        return qcbmi_fail(err, QCBM_E_NOSPACE, QCBM_NO_OFFSET,
                          "the disk becomes %" PRIu64 " bytes large, and the device has %" PRIu64, size,
                          qcbmi_target_size(t));
    if (t->is_qcow2 && 8 * div_up(size, t->handle.image->g.l2_span) > Q2_MAX_L1_BYTES)
        return qcbmi_fail(err, QCBM_E_LIMIT, QCBM_NO_OFFSET, "the L1 table would pass its limit of 32 MiB");
    if (list && list->has_ext && !list->stale && list->n)
        return qcbmi_fail(err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET,
                          "the size of the disk changes, and the image has bitmaps of the old size: remove them first "
                          "('qcbm bitmap --remove'), or make a new image with -o");
    return 0;
}

/* ---- an extent by itself ---- */

struct one {
    struct qcbmi_guest_extent e;
    bool given;
};

static int next_one(void *opaque, struct qcbmi_guest_extent *out, struct qcbm_error *err)
{
    struct one *o = opaque;

    (void)err;
    if (o->given || o->e.off >= o->e.end)
        return 0;
    o->given = true;
    *out = o->e;
    return 1;
}

/* Guest bytes [@off, @end) become zeros, or no part of the disk. */
static int write_one(struct qcbmi_apply_target *t, uint64_t off, uint64_t end, bool drops, struct qcbm_error *err)
{
    struct one one = { { off, end, true }, false };
    const struct qcbmi_guest_stream stream = { next_one, NULL, &one };
    const struct qcbmi_target_write w = { .stream = &stream, .drops = drops };

    return qcbmi_target_write(t, &w, err);
}

/* ---- the header ---- */

/* A longer L1 table in clusters of its own: what it replaces is given up when the header has been switched. */
static int plan_l1(struct qcbmi_image *img, struct qcbmi_alloc *alloc, struct qcbmi_plan *plan, uint64_t entries,
                   uint64_t *off, struct qcbm_error *err)
{
    uint64_t bytes = 8 * entries, old = 8 * (uint64_t)img->h.l1_entries;
    uint8_t *table = qcbmi_alloc_array(align_up(bytes, img->g.cluster_size), 1, err);
    int ret = table ? qcbmi_io_read(&img->io, img->h.l1_offset, table, old, "L1 table", err) : QCBM_E_NOMEM;

    if (ret == 0)
        ret = qcbmi_alloc_take(alloc, div_up(bytes, img->g.cluster_size), off, err);
    if (ret < 0) {
        free(table);
        return ret;
    }
    return qcbmi_plan_write_owned(plan, "L1 table", *off, table, align_up(bytes, img->g.cluster_size), err);
}

static int plan_switch(struct qcbmi_plan *plan, uint64_t size, uint32_t l1_entries, uint64_t l1_offset,
                       struct qcbm_error *err)
{
    uint8_t raw[8];
    int ret = qcbmi_plan_stage(plan, "switch", true, err);

    be64_store(raw, size);
    qcbmi_plan_header_patch(plan, Q2_OFF_SIZE, raw, 8);
    be32_store(raw, l1_entries);
    qcbmi_plan_header_patch(plan, Q2_OFF_L1_ENTRIES, raw, 4);
    be64_store(raw, l1_offset);
    qcbmi_plan_header_patch(plan, Q2_OFF_L1_OFFSET, raw, 8);
    return ret < 0 ? ret
                   : qcbmi_plan_header_write(plan, "header: size of the disk", Q2_OFF_SIZE,
                                             Q2_OFF_L1_OFFSET + 8 - Q2_OFF_SIZE, err);
}

/* Stages: 0 prepare | 1 refcounts | 2 switch | 3 reclaim. */
static int plan_size(struct qcbmi_image *img, struct qcbmi_owners *owners, struct qcbmi_plan *plan, uint64_t size,
                     struct qcbm_error *err)
{
    uint64_t need = div_up(size, img->g.l2_span), off = img->h.l1_offset;
    bool moves = need > img->h.l1_entries;
    struct qcbmi_alloc alloc = { 0 };
    int ret;

    ret = qcbmi_alloc_begin(&alloc, owners, div_up(8 * need, img->g.cluster_size), err);
    if (ret == 0 && moves)
        ret = plan_l1(img, &alloc, plan, need, &off, err);
    if (ret == 0)
        ret = qcbmi_plan_stage(plan, "refcounts", false, err);
    if (ret == 0)
        ret = qcbmi_alloc_emit(&alloc, plan, 0, 1, err);
    if (ret == 0)
        ret = plan_switch(plan, size, moves ? (uint32_t)need : img->h.l1_entries, off, err);
    if (ret == 0)
        ret = qcbmi_plan_stage(plan, "reclaim", true, err);
    if (ret == 0 && moves && img->h.l1_entries)
        ret = qcbmi_alloc_release(&alloc, plan, img->h.l1_offset, 8 * (uint64_t)img->h.l1_entries, err);
    if (ret == 0)
        ret = qcbmi_alloc_emit_released(&alloc, plan, err);
    qcbmi_alloc_free(&alloc);
    return ret;
}

static int set_size(struct qcbmi_apply_target *t, uint64_t size, struct qcbm_error *err)
{
    struct qcbmi_owners owners = { 0 };
    struct qcbmi_plan plan = { 0 };
    int ret = qcbmi_target_plan_begin(t, &plan, &owners, err);

    if (ret == 0)
        ret = plan_size(t->handle.image, &owners, &plan, size, err);
    qcbmi_owners_free(&owners);
    if (ret == 0)
        ret = qcbmi_target_commit(t, &plan, err);
    qcbmi_plan_free(&plan);
    return ret;
}

/* ---- grow and cut ---- */

/* What was behind the end: the rest of its last cluster, and what the backing file has there. Of a raw data file all:
 * whoever reads it does not ask the image, and each of its clusters has an entry. */
static int clear_tail(struct qcbmi_apply_target *t, uint64_t was, uint64_t size, struct qcbm_error *err)
{
    uint64_t end = t->handle.image->g.raw_data_file ? size : align_up(was, t->handle.image->g.cluster_size);

    if (t->chain.n > 1)
        end = u64_max(end, t->chain.layers[1].size);
    return write_one(t, was, u64_min(end, size), false, err);
}

static int grow_qcow2(struct qcbmi_apply_target *t, uint64_t was, uint64_t size, struct qcbm_error *err)
{
    int ret = 0;

    if (t->data_file.ops && t->data_file.size < size)
        ret = qcbmi_io_grow(&t->data_file, size, err);
    if (ret == 0 && qcbmi_target_size(t) < size)
        ret = set_size(t, size, err);
    return ret < 0 ? ret : clear_tail(t, was, size, err);
}

static int grow_raw(struct qcbmi_apply_target *t, uint64_t was, uint64_t size, struct qcbm_error *err)
{
    struct qcbmi_layer *l = &t->chain.layers[0];
    int ret = 0;

    if (l->raw.size < size)
        ret = qcbmi_io_grow(&l->raw, size, err);
    l->size = align_up(l->raw.size, Q2_SECTOR);
    return ret < 0 ? ret : write_one(t, was, size, false, err);
}

int qcbmi_target_grow(struct qcbmi_apply_target *t, uint64_t was, uint64_t size, struct qcbm_error *err)
{
    if (size <= was)
        return 0;
    return t->is_qcow2 ? grow_qcow2(t, was, size, err) : grow_raw(t, was, size, err);
}

static int drop_behind(struct qcbmi_apply_target *t, uint64_t size, struct qcbm_error *err)
{
    int ret = write_one(t, align_up(size, t->handle.image->g.cluster_size), qcbmi_target_size(t), true, err);

    return ret < 0 ? ret : set_size(t, size, err);
}

static int cut_data_file(struct qcbmi_apply_target *t, uint64_t size, struct qcbm_error *err)
{
    int ret;

    if (!t->data_file.ops || !t->handle.image->g.raw_data_file || t->data_file.traits.is_device)
        return 0;
    ret = qcbmi_io_cut(&t->data_file, size, err);
    return ret < 0 ? ret : qcbmi_io_flush(&t->data_file, err);
}

/* Either may have been done before a cut of power. */
static int cut_qcow2(struct qcbmi_apply_target *t, uint64_t size, struct qcbm_error *err)
{
    int ret = size < qcbmi_target_size(t) ? drop_behind(t, size, err) : 0;

    return ret < 0 ? ret : cut_data_file(t, size, err);
}

int qcbmi_target_cut(struct qcbmi_apply_target *t, uint64_t was, uint64_t size, struct qcbm_error *err)
{
    struct qcbmi_layer *l = &t->chain.layers[0];
    int ret;

    if (size >= was || qcbmi_target_is_device(t))
        return 0;
    if (t->is_qcow2)
        return cut_qcow2(t, size, err);
    ret = qcbmi_io_cut(&l->raw, size, err);
    l->size = align_up(l->raw.size, Q2_SECTOR);
    return ret < 0 ? ret : qcbmi_io_flush(&l->raw, err);
}
