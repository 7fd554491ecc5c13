/* apply_target.c - a disk that deltas are applied to: opened, read, marked, and committed to
 * SPDX-License-Identifier: MIT */
#include "delta/apply_target.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "bitmap/bitmap_ext.h"
#include "bitmap/bitmap_list.h"
#include "bitmap/bitmap_mark.h"
#include "bitmap/bitmap_refs.h"
#include "bitmap/session.h"
#include "io/holes.h"
#include "io/open.h"

/* ---- open ---- */

static int open_raw(struct qcbmi_apply_target *t, struct qcbmi_io *io, const char *path, struct qcbm_error *err)
{
    struct qcbmi_layer *l = qcbmi_alloc_array(1, sizeof(*l), err);
    int ret;

    if (!l)
        return QCBM_E_NOMEM;
    t->chain = (struct qcbmi_chain){ .layers = l, .n = 1, .capacity = 1 };
    l->raw = *io;
    *io = (struct qcbmi_io){ 0 };
    l->id = l->raw.id;
    l->filename = qcbmi_memdup_nul(path, strlen(path), err);
    ret = l->filename ? qcbmi_lock(&l->raw, t->flags, err) : QCBM_E_NOMEM;
    if (ret == 0)
        ret = qcbmi_io_refresh_size(&l->raw, err);
    l->size = align_up(l->raw.size, Q2_SECTOR);
    return ret;
}

static int open_data_file(struct qcbmi_apply_target *t, struct qcbm_error *err)
{
    const char *name = t->handle.image->full_data_file;
    char text[256];
    int ret = qcbmi_open(&t->data_file, name, true, err);

    if (ret == 0)
        ret = qcbmi_lock(&t->data_file, t->flags, err);
    if (ret == 0)
        ret = qcbmi_io_refresh_size(&t->data_file, err);
    return ret < 0 ? qcbmi_prefix(err, ret, "data file '%s': ", qcbmi_printable(text, sizeof(text), name, strlen(name)))
                   : 0;
}

static int check_writable(struct qcbmi_image *img, struct qcbm_error *err)
{
    if (img->g.version < 3)
        return qcbmi_fail(err, QCBM_E_UNSUPPORTED, Q2_OFF_VERSION,
                          "an image of version 2 is not written to: make a new one with -o, or run 'qemu-img amend -o "
                          "compat=1.1' first");
    if (img->h.crypt_method)
        return qcbmi_fail(err, QCBM_E_UNSUPPORTED, Q2_OFF_CRYPT_METHOD, "the image is encrypted");
    return qcbmi_image_refuse(img, qcbmi_image_check_writable(img, err), err);
}

int qcbmi_target_check_writable(const struct qcbmi_apply_target *t, struct qcbm_error *err)
{
    return t->is_qcow2 ? check_writable(t->handle.image, err) : 0;
}

static int open_qcow2(struct qcbmi_apply_target *t, struct qcbmi_io *io, const char *path, struct qcbm_error *err)
{
    struct qcbmi_chain_options options = { .force_share = t->flags & QCBM_OPEN_FORCE_SHARE };
    int ret = qcbmi_image_open(io, path, t->flags | QCBMI_OPEN_APPLIES, &t->handle.image, err);

    if (ret == 0)
        ret = qcbmi_bitmap_list_load(&t->handle, err);
    if (ret == 0)
        ret = qcbmi_chain_open(t->handle.image, &options, &t->chain, err);
    if (ret == 0) /* the top is looked at by the caller, who may go on with it */
        ret = qcbmi_chain_check_finished_below(&t->chain, 1, err);
    if (ret < 0 || !(t->flags & QCBM_OPEN_WRITE))
        return ret;
    ret = check_writable(t->handle.image, err);
    return ret == 0 && t->handle.image->g.data_file ? open_data_file(t, err) : ret;
}

int qcbmi_target_open(struct qcbmi_apply_target *t, struct qcbmi_io *io, const char *path, bool is_qcow2,
                      unsigned flags, struct qcbm_error *err)
{
    int ret;

    *t = (struct qcbmi_apply_target){ .is_qcow2 = is_qcow2, .flags = flags };
    ret = is_qcow2 ? open_qcow2(t, io, path, err) : open_raw(t, io, path, err);
    qcbmi_io_close(io); /* what has not been taken */
    return ret;
}

void qcbmi_target_close(struct qcbmi_apply_target *t)
{
    qcbmi_io_close(&t->data_file);
    qcbmi_chain_close(&t->chain);
    qcbmi_handle_clear(&t->handle);
    qcbmi_image_free(t->handle.image);
    *t = (struct qcbmi_apply_target){ 0 };
}

struct qcbmi_io *qcbmi_target_io(struct qcbmi_apply_target *t)
{
    return t->is_qcow2 ? &t->handle.image->io : &t->chain.layers[0].raw;
}

void qcbmi_target_give_back(struct qcbmi_apply_target *t, struct qcbmi_io *io)
{
    struct qcbmi_io *own = t->is_qcow2 && !t->handle.image ? NULL : t->chain.n ? qcbmi_target_io(t) : NULL;

    if (!own)
        return;
    *io = *own;
    io->trace = NULL;
    *own = (struct qcbmi_io){ 0 };
}

/* ---- what it is ---- */

uint64_t qcbmi_target_size(const struct qcbmi_apply_target *t)
{
    return t->is_qcow2 ? t->handle.image->g.size : t->chain.layers[0].size;
}

bool qcbmi_target_is_device(const struct qcbmi_apply_target *t)
{
    return !t->is_qcow2 && t->chain.layers[0].raw.traits.is_device;
}

int qcbmi_target_reader(const struct qcbmi_apply_target *t, struct qcbmi_data **out, struct qcbm_error *err)
{
    unsigned shares = t->flags & QCBM_OPEN_FORCE_SHARE ? QCBMI_DATA_FORCE_SHARE : 0;
    int ret = qcbmi_data_of_chain(&t->chain, 0, QCBMI_DATA_FILES | shares, out, err);

    if (ret == 0 && t->data_file.ops)
        qcbmi_data_lend_file(*out, &t->data_file);
    return ret;
}

/* ---- commits ---- */

static int note_ref(void *opaque, const struct qcbmi_ref *ref)
{
    return qcbmi_owners_add_ref(opaque, ref, NULL);
}

static int note_table(void *opaque, const struct qcbmi_ref *table)
{
    int ret = note_ref(opaque, table);

    return ret < 0 ? ret : 1;
}

/* All that bitmaps refer to; those of a stale extension own nothing. */
static int own_bitmaps(const struct qcbm_image *handle, struct qcbmi_owners *owners, struct qcbm_error *err)
{
    struct qcbmi_ref_sink sink = { owners, note_ref, NULL, NULL };
    struct qcbmi_holes holes;
    struct qcbmi_bitmap_refs refs = { handle->image, handle->bitmaps, &holes, "bitmap table", &sink, note_table, NULL };
    int ret;

    if (!handle->bitmaps->has_ext || handle->bitmaps->stale)
        return 0;
    qcbmi_holes_init(&holes, &handle->image->io);
    ret = qcbmi_bitmap_refs_walk(&refs, NULL);
    qcbmi_holes_free(&holes);
    return ret < 0 ? qcbmi_fail(err, ret, handle->bitmaps->ext_offset, "the bitmaps of the image are damaged") : 0;
}

static int begin_plan(struct qcbmi_image *img, struct qcbmi_plan *plan, struct qcbm_error *err)
{
    int ret = qcbmi_image_check_sound(img, err);

    if (ret == 0)
        ret = qcbmi_plan_header_init(plan, img->cluster0, img->g.cluster_size, err);
    if (ret == 0)
        ret = qcbmi_plan_stage(plan, "prepare", false, err);
    return ret == 0 ? qcbmi_ext_plan_clear_unknown(img, plan, err) : ret;
}

int qcbmi_target_plan_begin(struct qcbmi_apply_target *t, struct qcbmi_plan *plan, struct qcbmi_owners *owners,
                            struct qcbm_error *err)
{
    struct qcbmi_image *img = t->handle.image;
    int ret = begin_plan(img, plan, err);

    if (ret == 0)
        ret = qcbmi_owners_scan_metadata(img, owners, err);
    if (ret == 0)
        ret = own_bitmaps(&t->handle, owners, err);
    if (ret == 0)
        ret = qcbmi_owners_scan_data(owners, NULL, err);
    return qcbmi_image_refuse(img, ret, err);
}

int qcbmi_target_plan_again(struct qcbmi_apply_target *t, struct qcbmi_plan *plan, struct qcbmi_owners *owners,
                            struct qcbmi_bitset *busy, struct qcbm_error *err)
{
    qcbmi_owners_take_busy(owners, t->handle.image, busy);
    return qcbmi_image_refuse(t->handle.image, begin_plan(t->handle.image, plan, err), err);
}

void qcbmi_target_forget(struct qcbmi_apply_target *t)
{
    struct qcbmi_image *img = t->handle.image;

    free(img->l1);
    img->l1 = NULL;
    t->chain.layers[0].size = img->g.size;
}

int qcbmi_target_commit(struct qcbmi_apply_target *t, const struct qcbmi_plan *plan, struct qcbm_error *err)
{
    int ret = qcbmi_commit_and_reload(plan, &t->handle, err);

    qcbmi_target_forget(t);
    return ret;
}

/* ---- bitmaps ---- */

unsigned qcbmi_target_granularity(const struct qcbmi_apply_target *t)
{
    const struct qcbmi_bitmap_list *list = t->handle.bitmaps;
    unsigned bits = t->handle.image->g.cluster_bits;

    for (uint32_t i = 0; i < list->n; i++)
        if (qcbmi_bitmap_records(list->list[i].d.flags) && list->list[i].d.granularity_bits < bits)
            bits = list->list[i].d.granularity_bits;
    return bits;
}

bool qcbmi_target_records(const struct qcbmi_apply_target *t)
{
    const struct qcbmi_bitmap_list *list = t->is_qcow2 ? t->handle.bitmaps : NULL;

    for (uint32_t i = 0; list && !list->stale && i < list->n; i++)
        if (qcbmi_bitmap_records(list->list[i].d.flags))
            return true;
    return false;
}

int qcbmi_target_mark(struct qcbmi_apply_target *t, const struct qcbmi_dirtymap *changed, struct qcbm_error *err)
{
    struct qcbm_edit *edit;
    bool any = false;
    int ret = qcbm_edit_begin(&t->handle, &edit, err);

    if (ret < 0)
        return ret;
    ret = qcbmi_edit_mark(edit, changed, true, &any, err);
    if (ret == 0 && any)
        ret = qcbm_edit_commit(edit, NULL, 0, err);
    qcbm_edit_free(edit);
    return ret < 0 ? qcbmi_prefix(err, ret, "bitmaps: ") : 0;
}
