/* rbd_form.c - a delta as a stream of `rbd export-diff`: version 1 is written, 1 and 2 are read
 * SPDX-License-Identifier: MIT
 *
 * The two snapshots have the ids of the states before and after as their names, unless they are told: so a stream that
 * has lost its sidecar file, or came through a pipe, still knows what it belongs to. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"
#include "delta/stream_out.h"
#include "format/rbd_stream.h"

/* ---- writer -------------------------------------------------------------------------------------------- */

static int put_record(struct qcbmi_stream_out *o, struct qcbm_error *err)
{
    bool data = o->r.type == QCBMI_DELTA_DATA;
    const struct qcbmi_rbd_record r = { .kind = data ? QCBMI_RBD_DATA : QCBMI_RBD_ZERO,
                                        .offset = o->r.offset,
                                        .length = o->r.length,
                                        .payload = data ? o->r.length : 0 };
    uint8_t head[QCBMI_RBD_MAX_HEAD];
    size_t len = qcbmi_rbd_store(head, &r);

    memcpy(o->data - len, head, len); /* head and data in one write */
    return qcbmi_stream_out_bytes(o, o->data - len, len + r.payload, err);
}

static int open_writer(struct qcbmi_delta_writer *w, struct qcbm_error *err)
{
    if ((w->wish.from && strlen(w->wish.from) > QCBMI_RBD_MAX_NAME) ||
        (w->wish.to && strlen(w->wish.to) > QCBMI_RBD_MAX_NAME))
        return qcbmi_fail(err, QCBM_E_LIMIT, QCBM_NO_OFFSET, "the name of a snapshot is longer than %u bytes",
                          QCBMI_RBD_MAX_NAME);
    return qcbmi_stream_out_open(w, put_record, err);
}

static int put_head(struct qcbmi_stream_out *o, const struct qcbmi_rbd_record *r, struct qcbm_error *err)
{
    uint8_t head[QCBMI_RBD_MAX_HEAD];

    return qcbmi_stream_out_bytes(o, head, qcbmi_rbd_store(head, r), err);
}

/* @name, or @id in its place. */
static int put_name(struct qcbmi_stream_out *o, enum qcbmi_rbd_kind kind, const char *name, const uint8_t *id,
                    struct qcbm_error *err)
{
    struct qcbmi_rbd_record r = { .kind = kind };
    char text[2 * QCBMI_IDENTITY_BYTES + 1];
    int ret;

    if (!name) {
        qcbmi_identity_text(id, text);
        name = text;
    }
    r.payload = strlen(name);
    ret = put_head(o, &r, err);
    return ret < 0 ? ret : qcbmi_stream_out_bytes(o, name, strlen(name), err);
}

static int begin(struct qcbmi_delta_writer *w, struct qcbm_error *err)
{
    const struct qcbmi_rbd_record size = { .kind = QCBMI_RBD_SIZE, .length = w->meta.size_after };
    struct qcbmi_stream_out *o = w->self;
    uint8_t banner[QCBMI_RBD_BANNER];
    int ret = qcbmi_stream_out_bytes(o, banner, qcbmi_rbd_banner_store(banner), err);

    if (ret == 0 && (w->wish.from || w->meta.has_parent))
        ret = put_name(o, QCBMI_RBD_FROM, w->wish.from, w->meta.parent, err);
    if (ret == 0)
        ret = put_name(o, QCBMI_RBD_TO, w->wish.to, w->meta.id, err);
    return ret < 0 ? ret : put_head(o, &size, err);
}

static int end(struct qcbmi_delta_writer *w, struct qcbm_error *err)
{
    static const struct qcbmi_rbd_record last = { .kind = QCBMI_RBD_END };
    struct qcbmi_stream_out *o = w->self;
    int ret = qcbmi_stream_out_flush(o, err);

    return ret < 0 ? ret : put_head(o, &last, err);
}

/* ---- reader -------------------------------------------------------------------------------------------- */

struct rbd_in {
    struct qcbmi_rbd_order order, first_order;
    uint64_t at, first_at;         /* of the next record; of the first one that is no metadata */
    uint64_t data_at, disk_offset; /* of the last record of data */
    char *from, *to;
};

static bool detect(const uint8_t *head, size_t len, bool has_map, bool has_json)
{
    (void)has_map, (void)has_json;
    return len >= QCBMI_RBD_BANNER && qcbmi_rbd_version(head) != 0;
}

/* The head of the record at in->at, which then lies in the file as a whole. */
static int peek(struct qcbmi_delta *d, struct qcbmi_rbd_order *order, struct qcbmi_rbd_record *r,
                struct qcbm_error *err)
{
    struct qcbmi_io *io = &d->files.main;
    struct rbd_in *in = d->self;
    uint64_t avail = u64_min(io->size - in->at, QCBMI_RBD_MAX_HEAD);
    uint8_t head[QCBMI_RBD_MAX_HEAD];
    int ret = qcbmi_io_read(io, in->at, head, avail, "record", err);

    if (ret == 0)
        ret = qcbmi_rbd_parse(head, (size_t)avail, in->at, order, r, err);
    if (ret == 0 && !range_fits(in->at + r->head, r->payload, io->size))
        return qcbmi_fail(err, QCBM_E_CORRUPT, in->at,
                          "rbd diff: a record of %" PRIu64 " bytes, but the file ends %" PRIu64 " bytes further on",
                          r->payload, io->size - in->at - r->head);
    if (ret == 0 && r->kind == QCBMI_RBD_END && in->at + r->head != io->size)
        return qcbmi_fail(err, QCBM_E_CORRUPT, in->at + r->head, "rbd diff: %" PRIu64 " bytes follow its end mark",
                          io->size - in->at - r->head);
    return ret;
}

static int take_name(struct qcbmi_delta *d, const struct qcbmi_rbd_record *r, char **name, struct qcbm_error *err)
{
    struct rbd_in *in = d->self;
    uint64_t at = in->at + r->head;
    int ret;

    *name = qcbmi_alloc_array(r->payload + 1, 1, err);
    if (!*name)
        return QCBM_E_NOMEM;
    ret = qcbmi_io_read(&d->files.main, at, *name, r->payload, "name", err);
    if (ret == 0 && memchr(*name, 0, (size_t)r->payload))
        ret = qcbmi_fail(err, QCBM_E_CORRUPT, at, "rbd diff: a NUL in the name of a snapshot");
    return ret;
}

/* Up to the first record that is no metadata. */
static int load_metadata(struct qcbmi_delta *d, struct qcbm_error *err)
{
    struct rbd_in *in = d->self;

    for (;;) {
        struct qcbmi_rbd_order order = in->order;
        struct qcbmi_rbd_record r;
        int ret = peek(d, &order, &r, err);

        if (ret == 0 && r.kind == QCBMI_RBD_FROM)
            ret = take_name(d, &r, &in->from, err);
        if (ret == 0 && r.kind == QCBMI_RBD_TO)
            ret = take_name(d, &r, &in->to, err);
        if (ret < 0 || r.kind == QCBMI_RBD_DATA || r.kind == QCBMI_RBD_ZERO || r.kind == QCBMI_RBD_END)
            return ret;
        in->order = order;
        in->at += r.head + r.payload;
    }
}

/* A name is an id as qcbm writes one: a UUID, which a user or a platform may call a snapshot, is a name. */
static bool is_id(const char *name, uint8_t id[QCBMI_IDENTITY_BYTES])
{
    char text[2 * QCBMI_IDENTITY_BYTES + 1];

    if (!name || !qcbmi_identity_parse(name, id))
        return false;
    qcbmi_identity_text(id, text);
    return strcmp(text, name) == 0;
}

/* Names that are ids say who it is; with a sidecar file they must not say something else. */
static int take_identity(struct qcbmi_delta *d, const struct rbd_in *in, struct qcbm_error *err)
{
    uint8_t id[QCBMI_IDENTITY_BYTES], parent[QCBMI_IDENTITY_BYTES];
    bool has_id = is_id(in->to, id), has_parent = is_id(in->from, parent);

    if (d->has_meta && ((has_id && memcmp(id, d->meta.id, sizeof id) != 0) ||
                        (has_parent && d->meta.has_parent && memcmp(parent, d->meta.parent, sizeof parent) != 0)))
        return qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET,
                          "rbd diff: it has other ids than its sidecar file, which belongs to another delta");
    if (d->has_meta || !has_id)
        return 0;
    d->has_meta = true;
    d->meta.kind = QCBMI_IDENTITY_DELTA;
    memcpy(d->meta.id, id, sizeof id);
    d->meta.has_parent = has_parent;
    if (has_parent)
        memcpy(d->meta.parent, parent, sizeof parent);
    return 0;
}

static int load(struct qcbmi_delta *d, struct qcbm_error *err)
{
    uint8_t banner[QCBMI_RBD_BANNER];
    struct rbd_in *in = qcbmi_alloc_array(1, sizeof(*in), err);
    int ret;

    if (!in)
        return QCBM_E_NOMEM;
    d->self = in;
    ret = qcbmi_io_read(&d->files.main, 0, banner, sizeof banner, "banner", err);
    if (ret < 0)
        return ret;
    in->order.version = qcbmi_rbd_version(banner);
    in->at = sizeof banner;
    ret = load_metadata(d, err);
    if (ret < 0)
        return ret;
    if (d->has_meta && d->meta.size_after != in->order.size)
        return qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET,
                          "rbd diff: a disk of %" PRIu64 " bytes, and the sidecar file says %" PRIu64, in->order.size,
                          d->meta.size_after);
    in->first_order = in->order;
    in->first_at = in->at;
    d->meta.size_after = in->order.size;
    d->from = in->from;
    d->to = in->to;
    return take_identity(d, in, err);
}

static int next(struct qcbmi_delta *d, struct qcbmi_delta_record *out, struct qcbm_error *err)
{
    struct rbd_in *in = d->self;
    struct qcbmi_rbd_record r;
    int ret;

    do { /* past what only version 2 has */
        ret = peek(d, &in->order, &r, err);
        if (ret < 0 || r.kind == QCBMI_RBD_END)
            return ret;
        in->data_at = in->at + r.head;
        in->at = in->data_at + r.payload;
    } while (r.kind == QCBMI_RBD_OTHER);
    in->disk_offset = r.offset;
    *out = (struct qcbmi_delta_record){ r.offset, r.length,
                                        r.kind == QCBMI_RBD_DATA ? QCBMI_DELTA_DATA : QCBMI_DELTA_ZERO };
    return 1;
}

static int read_data(struct qcbmi_delta *d, uint64_t offset, void *buf, uint64_t len, struct qcbm_error *err)
{
    const struct rbd_in *in = d->self;

    return qcbmi_io_read(&d->files.main, in->data_at + (offset - in->disk_offset), buf, len, "data", err);
}

static int rewind_to_first(struct qcbmi_delta *d, struct qcbm_error *err)
{
    struct rbd_in *in = d->self;

    (void)err;
    in->order = in->first_order;
    in->at = in->first_at;
    return 0;
}

static void unload(struct qcbmi_delta *d)
{
    struct rbd_in *in = d->self;

    if (in) {
        free(in->from);
        free(in->to);
    }
    free(in);
    d->self = NULL;
    d->from = d->to = NULL;
}

const struct qcbmi_delta_form qcbmi_delta_rbd = {
    .name = "rbd-diff",
    .has_sidecar = true,
    .takes_pipe = true,
    .open = open_writer,
    .begin = begin,
    .zero = qcbmi_stream_out_zero,
    .data = qcbmi_stream_out_data,
    .end = end,
    .free = qcbmi_stream_out_free,
    .detect = detect,
    .load = load,
    .next = next,
    .read = read_data,
    .rewind = rewind_to_first,
    .unload = unload,
};
