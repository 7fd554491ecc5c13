/* qcow2_form.c - the form qcow2: an image without a backing file, in which what is not allocated is as it was before
 * SPDX-License-Identifier: MIT
 *
 * Read is the image itself, never what lies below it: whoever restores with QEMU gives it a backing file. An image of
 * another program, that has no identity, is a delta as well. */
#include "delta/qcow2_form.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/error.h"
#include "image/data.h"

struct reading {
    struct qcbmi_image *img;
    struct qcbmi_chain chain; /* this image alone */
    struct qcbmi_guest_map map;
    struct qcbmi_data *data;
    uint64_t at, size;
};

static bool detect(const uint8_t *head, size_t len, bool has_map, bool has_json)
{
    (void)has_map;
    (void)has_json;
    return len >= 4 && be32_load(head) == Q2_MAGIC;
}

static int load_identity(struct qcbmi_delta *d, struct reading *r, struct qcbm_error *err)
{
    const struct q2_extension *ext = q2_extension_find(&r->img->exts, Q2_EXT_IDENTITY);
    uint8_t mark[QCBMI_QCOW2_MARK];
    int ret;

    if (!ext)
        return 0;
    ret = qcbmi_delta_meta_parse(ext->data, ext->len, &d->meta, err);
    if (ret == 0 && d->meta.kind != QCBMI_IDENTITY_DELTA)
        ret = qcbmi_fail(err, QCBM_E_ARG, ext->offset, "an image, which says of itself that it is no delta");
    if (ret == 0 && d->meta.size_after != r->img->g.size)
        ret = qcbmi_fail(err, QCBM_E_CORRUPT, ext->offset,
                         "delta: it has been resized: %" PRIu64 " bytes, and %" PRIu64 " when it was made",
                         r->img->g.size, d->meta.size_after);
    if (ret == 0 && d->meta.digest_at) {
        ret = qcbmi_io_read(&r->img->io, d->meta.digest_at, mark, sizeof(mark), "end mark of a stream", err);
        if (ret == 0)
            ret = qcbmi_qcow2_mark_parse(mark, &d->meta, err);
    }
    d->has_meta = ret == 0;
    return ret;
}

static int load(struct qcbmi_delta *d, struct qcbm_error *err)
{
    struct qcbmi_chain_options options = { .max_layers = 1 };
    struct reading *r = qcbmi_alloc_array(1, sizeof(*r), err);
    int ret;

    d->self = r;
    if (!r)
        return QCBM_E_NOMEM;
    ret = qcbmi_image_open(&d->files.main, NULL, QCBM_OPEN_NO_LOCK, &r->img, err);
    d->files.main = (struct qcbmi_io){ 0 };
    if (ret == 0 && r->img->g.data_file)
        ret = qcbmi_fail(err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET, "a delta with an external data file");
    if (ret == 0)
        ret = qcbmi_chain_open(r->img, &options, &r->chain, err);
    if (ret == 0)
        ret = qcbmi_guest_map_init(&r->map, &r->chain, QCBMI_GUEST_ALL | QCBMI_GUEST_STRICT, err);
    if (ret == 0)
        ret = qcbmi_data_of_chain(&r->chain, 0, QCBMI_DATA_LAYER, &r->data, err);
    if (ret < 0)
        return ret;
    r->size = r->img->g.sector_size_down;
    d->meta.size_after = r->img->g.size;
    return load_identity(d, r, err);
}

static enum qcbmi_delta_type type_of(const struct qcbmi_guest_piece *p)
{
    return p->kind == Q2_NORMAL || p->kind == Q2_COMPRESSED ? QCBMI_DELTA_DATA : QCBMI_DELTA_ZERO;
}

/* The next piece that this image has. */
static int find(struct reading *r, struct qcbmi_guest_piece *p, struct qcbm_error *err)
{
    int ret = 0;

    while (ret == 0 && r->at < r->size) {
        ret = qcbmi_guest_map_at(&r->map, r->at, p, err);
        if (ret < 0)
            return ret;
        if (p->kind == Q2_INVALID || p->doubtful)
            return p->kind == Q2_INVALID ? qcbmi_guest_map_fail(&r->map, p, err)
                                         : qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET,
                                                      "the entry of guest 0x%" PRIx64 " breaks a rule", r->at);
        p->start = r->at;
        r->at = u64_min(p->end, r->size);
        if (q2_kind_is_allocated(p->kind))
            return 1;
    }
    return ret;
}

static int next(struct qcbmi_delta *d, struct qcbmi_delta_record *out, struct qcbm_error *err)
{
    struct reading *r = d->self;
    struct qcbmi_guest_piece p;
    int ret = find(r, &p, err);

    if (ret == 1)
        *out = (struct qcbmi_delta_record){ p.start, r->at - p.start, type_of(&p) };
    return ret;
}

static int read_data(struct qcbmi_delta *d, uint64_t offset, void *buf, uint64_t len, struct qcbm_error *err)
{
    return qcbmi_data_read(((struct reading *)d->self)->data, offset, buf, len, err);
}

static int rewind_image(struct qcbmi_delta *d, struct qcbm_error *err)
{
    (void)err;
    ((struct reading *)d->self)->at = 0;
    return 0;
}

static void unload(struct qcbmi_delta *d)
{
    struct reading *r = d->self;

    if (!r)
        return;
    qcbmi_data_close(r->data);
    qcbmi_guest_map_free(&r->map);
    qcbmi_chain_close(&r->chain);
    qcbmi_image_free(r->img);
    free(r);
}

const struct qcbmi_delta_form qcbmi_delta_qcow2 = {
    .name = "qcow2",
    .takes_pipe = true,
    .open = qcbmi_qcow2_open,
    .unit = qcbmi_qcow2_unit,
    .announce = qcbmi_qcow2_announce,
    .begin = qcbmi_qcow2_begin,
    .zero = qcbmi_qcow2_zero,
    .data = qcbmi_qcow2_data,
    .end = qcbmi_qcow2_end,
    .free = qcbmi_qcow2_free,
    .detect = detect,
    .load = load,
    .next = next,
    .read = read_data,
    .rewind = rewind_image,
    .unload = unload,
};
