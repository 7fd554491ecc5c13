/* overlay_image.c - a new, empty image on top of another one, with the bitmaps of that one continued
 * SPDX-License-Identifier: MIT */
#include "checkpoint/overlay_image.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/text.h"
#include "bitmap/bitmap_edit.h"
#include "checkpoint/disks.h"
#include "format/journal_file.h"
#include "io/io_file.h"
#include "io/journal_link.h"
#include "io/open.h"
#include "qcbm-io.h"
#include "write/new_image.h"

#define SECTOR QCBMI_JOURNAL_SECTOR

/* ---- the place ---- */

/* Old content would be lost while it is not yet decided that it shall be. */
static int check_device(struct qcbmi_overlay_image *o, bool force, struct qcbm_error *err)
{
    uint8_t first[4096];
    uint64_t len = u64_min(sizeof(first), o->device.size);
    int ret = qcbmi_io_read(&o->device, 0, first, len, "begin of the device", err);

    if (ret == 0 && !force && !bytes_are_zero(first, len))
        ret = qcbmi_fail(err, QCBM_E_EXISTS, QCBM_NO_OFFSET,
                         "there is something on the block device already; with force it is overwritten");
    return ret;
}

static int take_device(struct qcbmi_overlay_image *o, const struct qcbmi_overlay_image_options *options,
                       struct qcbm_error *err)
{
    if (!options->device->ops)
        return qcbmi_fail(err, QCBM_E_EXISTS, QCBM_NO_OFFSET, "the file exists already and is not overwritten");
    o->device = *options->device;
    *options->device = (struct qcbmi_io){ 0 };
    return check_device(o, options->force, err);
}

static int find_place(struct qcbmi_overlay_image *o, const struct qcbmi_overlay_image_options *options,
                      struct qcbm_error *err)
{
    int ret;

    o->full = qcbmi_full_path(options->path, err);
    if (!o->full)
        return err ? err->code : QCBM_E_IO;
    ret = qcbmi_journal_link_check(o->full, err);
    if (ret < 0)
        return ret;
    o->is_device = qcbmi_file_exists(o->full);
    o->temporary =
        o->is_device ? qcbmi_memdup_nul("", 0, err) : qcbmi_concat(o->full, QCBMI_JOURNAL_TEMPORARY, "", err);
    if (!o->temporary)
        return QCBM_E_NOMEM;
    if (o->is_device)
        return take_device(o, options, err);
    if (qcbmi_file_exists(o->temporary))
        return qcbmi_fail(err, QCBM_E_EXISTS, QCBM_NO_OFFSET, "'%.200s' is in the way", o->temporary);
    return 0;
}

/* ---- the image ---- */

/* As it was typed, if that says where it is; else beside the overlay, or from the root on. */
static char *backing_name(const struct qcbmi_overlay_image *o, const char *typed, struct qcbm_error *err)
{
    size_t folder = (size_t)(strrchr(o->full, '/') - o->full) + 1;
    const char *own;
    char *full, *name;

    if (typed[0] == '/')
        return qcbmi_memdup_nul(typed, strlen(typed), err);
    full = qcbmi_full_in_folder(typed, err);
    if (!full)
        return NULL;
    own = strrchr(full, '/') + 1;
    if ((size_t)(own - full) != folder || memcmp(full, o->full, folder) != 0)
        return full;
    if (qcbmi_name_has_protocol(own)) /* it would be taken for one */
        return full;
    name = qcbmi_memdup_nul(own, strlen(own), err);
    free(full);
    return name;
}

static void header_of(const struct qcbmi_image *base, struct q2_header *h)
{
    *h = (struct q2_header){ .version = 3,
                             .cluster_bits = base->h.cluster_bits,
                             .size = base->h.size,
                             .incompatible =
                                 base->h.incompatible & (QCBM_INCOMPAT_EXTENDED_L2 | QCBM_INCOMPAT_COMPRESSION),
                             .refcount_order = 4,
                             .compression_type = base->h.compression_type };
}

static int write_empty(struct qcbmi_io *io, const struct qcbmi_image *base, const char *backing, struct qcbm_error *err)
{
    static const struct qcbmi_new_extension format = { Q2_EXT_BACKING_FORMAT, 5, "qcow2" };
    struct qcbmi_counts none = { 0 };
    struct q2_geometry g;
    struct q2_header h;
    struct qcbmi_new_image n = { .io = io, .g = &g, .counts = &none, .first_meta = 1, .next = 1 };
    int ret;

    header_of(base, &h);
    q2_geometry_derive(&h, &g);
    h.l1_entries = (uint32_t)u64_max(g.l1_used, 1);
    h.l1_offset = qcbmi_new_place(&n, 8 * (uint64_t)h.l1_entries);
    ret = qcbmi_counts_init(&none, 0, 1, err);
    if (ret == 0)
        ret = qcbmi_new_refcounts(&n, err);
    if (ret == 0)
        ret = qcbmi_io_grow(io, n.next << g.cluster_bits, err);
    if (ret == 0)
        ret = qcbmi_new_header(&n, &h, &format, 1, backing, err);
    qcbmi_counts_free(&none);
    return ret;
}

/* libvirt's rule for a snapshot: those that record and can be relied on. */
static int add_bitmaps(struct qcbmi_overlay_image *o, struct qcbm_edit *edit, struct qcbm_image *base,
                       const struct qcbmi_overlay_image_options *options, struct qcbm_error *err)
{
    const struct qcbmi_bitmap_list *list = base->bitmaps;
    int ret = 0;

    for (uint32_t i = 0; ret == 0 && i < list->n; i++) {
        bool records;

        ret = qcbmi_bitmap_records(base, &list->list[i], &records, err);
        if (ret < 0 || !records)
            continue;
        ret = qcbm_edit_add(edit, list->list[i].name, UINT64_C(1) << list->list[i].d.granularity_bits, 0, err);
        o->n_continued++;
    }
    return ret < 0 ? ret : qcbm_edit_add(edit, options->name, options->granularity, 0, err);
}

static int put_bitmaps(struct qcbmi_overlay_image *o, struct qcbmi_io *io, struct qcbm_image *base,
                       const struct qcbmi_overlay_image_options *options, struct qcbm_error *err)
{
    struct qcbm_image *img;
    struct qcbm_edit *edit = NULL;
    int ret = qcbmi_handle_open(io, NULL, QCBM_OPEN_WRITE, &img, err);

    if (ret < 0)
        return ret;
    ret = qcbm_edit_begin(img, &edit, err);
    if (ret == 0)
        ret = add_bitmaps(o, edit, base, options, err);
    if (ret == 0)
        ret = qcbm_edit_commit(edit, NULL, 0, err);
    qcbm_edit_free(edit);
    qcbmi_handle_close(img);
    return ret;
}

static int make_image(struct qcbmi_overlay_image *o, struct qcbm_image *base,
                      const struct qcbmi_overlay_image_options *options, struct qcbm_error *err)
{
    char *backing = backing_name(o, options->base_path, err);
    struct qcbmi_io io = { 0 };
    int ret = backing ? qcbm_mem_new(NULL, 0, &o->mem, err) : err ? err->code : QCBM_E_IO;

    if (ret == 0 && strlen(backing) > Q2_MAX_BACKING_NAME)
        ret = qcbmi_fail(err, QCBM_E_LIMIT, QCBM_NO_OFFSET, "the name of the image has more than %u bytes",
                         (unsigned)Q2_MAX_BACKING_NAME);
    if (ret == 0) {
        qcbm_mem_keep(o->mem);
        ret = qcbmi_io_init(&io, qcbm_mem_ops(), o->mem, true, err);
    }
    if (ret == 0)
        ret = write_empty(&io, base->image, backing, err);
    if (ret == 0)
        ret = put_bitmaps(o, &io, base, options, err);
    qcbmi_io_close(&io);
    free(backing);
    return ret;
}

int qcbmi_overlay_image_make(struct qcbmi_overlay_image *o, struct qcbm_image *base,
                             const struct qcbmi_overlay_image_options *options, struct qcbm_error *err)
{
    int ret = 0;

    *o = (struct qcbmi_overlay_image){ 0 };
    if (base->image->h.crypt_method)
        ret = qcbmi_fail(err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET,
                         "the image is encrypted, and an overlay of it that is not would show what the guest writes");
    if (ret == 0)
        ret = find_place(o, options, err);
    if (ret == 0)
        ret = make_image(o, base, options, err);
    if (ret < 0)
        return ret;
    o->bytes = qcbm_mem_data(o->mem, &o->len);
    if (o->is_device && o->device.size < o->len)
        return qcbmi_fail(err, QCBM_E_NOSPACE, QCBM_NO_OFFSET, "the block device has %" PRIu64 " bytes, %zu are needed",
                          o->device.size, o->len);
    return 0;
}

void qcbmi_overlay_image_free(struct qcbmi_overlay_image *o)
{
    qcbmi_io_close(&o->device);
    qcbm_mem_free(o->mem);
    free(o->full);
    free(o->temporary);
    *o = (struct qcbmi_overlay_image){ 0 };
}

/* ---- written ---- */

/* Pieces that are zeros in a new file are there already. */
static int write_from(const struct qcbmi_overlay_image *o, struct qcbmi_io *io, uint64_t from, struct qcbm_error *err)
{
    const uint64_t piece = UINT64_C(64) << 10;
    int ret = 0;

    for (uint64_t at = from; ret == 0 && at < o->len;) {
        uint64_t end = u64_min(align_down(at, piece) + piece, o->len);

        if (o->is_device || !bytes_are_zero(o->bytes + at, end - at))
            ret = qcbmi_io_write(io, at, o->bytes + at, end - at, err);
        at = end;
    }
    return ret < 0 ? ret : qcbmi_io_flush(io, err);
}

static int write_file(struct qcbmi_overlay_image *o, const char *like, struct qcbm_error *err)
{
    struct qcbmi_io io;
    int ret = qcbmi_create(&io, o->temporary, err);

    if (ret < 0)
        return ret;
    o->created = true;
    qcbmi_file_look_like(o->temporary, like);
    ret = qcbmi_io_grow(&io, o->len, err);
    if (ret == 0)
        ret = qcbmi_io_reserve(&io, 0, o->len, err);
    if (ret == 0)
        ret = write_from(o, &io, 0, err);
    qcbmi_io_close(&io);
    return ret < 0 ? ret : qcbmi_file_sync_folder(o->temporary, err);
}

int qcbmi_overlay_image_write(struct qcbmi_overlay_image *o, const char *like, struct qcbm_error *err)
{
    return o->is_device ? write_from(o, &o->device, SECTOR, err) : write_file(o, like, err);
}

int qcbmi_overlay_image_publish(struct qcbmi_overlay_image *o, struct qcbm_error *err)
{
    int ret;

    if (!o->is_device)
        return qcbmi_file_publish(o->temporary, o->full, err);
    ret = qcbmi_io_write(&o->device, 0, o->bytes, SECTOR, err);
    return ret < 0 ? ret : qcbmi_io_flush(&o->device, err);
}
