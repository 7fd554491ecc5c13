/* vnb_form.c - a delta as a stream of virtnbdbackup, so that it can stand among the increments that virtnbdrestore
 * restores
 * SPDX-License-Identifier: MIT
 *
 * virtnbdrestore passes over frames of zeros, so what is dirty and reads as zeros is written as data. In a file these
 * bytes are a hole; they take no space, and are told as zeros again when they are read. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"
#include "delta/stream_out.h"
#include "format/vnb_frame.h"
#include "format/vnb_meta.h"

#define ASK_FOR_HOLES 65536u /* bytes of a frame */

/* ---- writer -------------------------------------------------------------------------------------------- */

static int put_zeros(struct qcbmi_stream_out *o, struct qcbm_error *err)
{
    int ret = 0;

    if (o->seekable) {
        o->at += o->r.length; /* a hole: the end of the line comes behind it */
        return 0;
    }
    memset(o->data, 0, QCBMI_STREAM_MAX);
    for (uint64_t done = 0, n; ret == 0 && done < o->r.length; done += n) {
        n = u64_min(o->r.length - done, QCBMI_STREAM_MAX);
        ret = qcbmi_stream_out_bytes(o, o->data, n, err);
    }
    return ret;
}

static int put_frame(struct qcbmi_stream_out *o, struct qcbm_error *err)
{
    const struct qcbmi_vnb_frame f = { QCBMI_VNB_DATA, o->r.offset, o->r.length };
    uint8_t line_end[QCBMI_VNB_LINE_END], head[QCBMI_VNB_HEAD];
    int ret;

    qcbmi_vnb_frame_store(head, &f);
    qcbmi_vnb_line_end_store(line_end);
    if (o->r.type == QCBMI_DELTA_DATA) { /* all in one write */
        memcpy(o->data - sizeof head, head, sizeof head);
        memcpy(o->data + o->r.length, line_end, sizeof line_end);
        return qcbmi_stream_out_bytes(o, o->data - sizeof head, sizeof head + o->r.length + sizeof line_end, err);
    }
    ret = qcbmi_stream_out_bytes(o, head, sizeof head, err);
    if (ret == 0)
        ret = put_zeros(o, err);
    return ret < 0 ? ret : qcbmi_stream_out_bytes(o, line_end, sizeof line_end, err);
}

static int open_writer(struct qcbmi_delta_writer *w, struct qcbm_error *err)
{
    return qcbmi_stream_out_open(w, put_frame, err);
}

static void take_part(char to[QCBMI_VNB_MAX_NAME + 1], const char *from, size_t len)
{
    size_t n = len < QCBMI_VNB_MAX_NAME ? len : QCBMI_VNB_MAX_NAME;

    memcpy(to, from, n);
    to[n] = '\0';
}

/* The name of the file tells disk and checkpoint, where it is one of virtnbdbackup's: DISK.inc.CHECKPOINT.data */
static void names_of_file(const char *path, struct qcbmi_vnb_meta *m)
{
    static const char tail[] = ".data";
    const char *base = path && strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    size_t len = base ? strlen(base) : 0, disk = base ? strcspn(base, ".") : 0;

    if (disk)
        take_part(m->disk, base, disk);
    if (len < disk + 5 + sizeof tail || strcmp(base + len - (sizeof tail - 1), tail) != 0 ||
        (memcmp(base + disk, ".inc.", 5) != 0 && memcmp(base + disk, ".diff.", 6) != 0))
        return;
    base += disk + 1;
    base = strchr(base, '.') + 1;
    take_part(m->checkpoint, base, strlen(base) - (sizeof tail - 1));
}

static void describe(const struct qcbmi_delta_writer *w, struct qcbmi_vnb_meta *m)
{
    *m = (struct qcbmi_vnb_meta){ .virtual_size = w->meta.size_after,
                                  .data_size = w->data_bytes + w->zero_bytes,
                                  .created = w->meta.created,
                                  .incremental = true,
                                  .disk = "disk",
                                  .has_id = true,
                                  .has_parent_id = w->meta.has_parent };
    memcpy(m->id, w->meta.id, sizeof m->id);
    memcpy(m->parent_id, w->meta.parent, sizeof m->parent_id);
    qcbmi_identity_text(w->meta.id, m->checkpoint);
    names_of_file(w->wish.path, m);
    if (w->wish.to)
        take_part(m->checkpoint, w->wish.to, strlen(w->wish.to));
    take_part(m->parent, w->wish.from ? w->wish.from : w->meta.bitmap,
              strlen(w->wish.from ? w->wish.from : w->meta.bitmap));
}

static int begin(struct qcbmi_delta_writer *w, struct qcbm_error *err)
{
    struct qcbmi_vnb_frame f = { QCBMI_VNB_META, 0, 0 };
    struct qcbmi_stream_out *o = w->self;
    struct qcbmi_vnb_meta m;
    uint8_t head[QCBMI_VNB_HEAD];
    char *text;
    int ret;

    describe(w, &m);
    text = qcbmi_vnb_meta_text(&m, err);
    if (!text)
        return QCBM_E_NOMEM;
    f.length = strlen(text);
    qcbmi_vnb_frame_store(head, &f);
    ret = qcbmi_stream_out_bytes(o, head, sizeof head, err);
    if (ret == 0)
        ret = qcbmi_stream_out_bytes(o, text, f.length, err);
    if (ret == 0)
        ret = qcbmi_stream_out_bytes(o, "\r\n", QCBMI_VNB_LINE_END, err);
    free(text);
    return ret;
}

static int end(struct qcbmi_delta_writer *w, struct qcbm_error *err)
{
    static const struct qcbmi_vnb_frame stop = { QCBMI_VNB_STOP, 0, 0 };
    struct qcbmi_stream_out *o = w->self;
    uint8_t head[QCBMI_VNB_HEAD];
    int ret = qcbmi_stream_out_flush(o, err);

    qcbmi_vnb_frame_store(head, &stop);
    return ret < 0 ? ret : qcbmi_stream_out_bytes(o, head, sizeof head, err);
}

/* ---- reader -------------------------------------------------------------------------------------------- */

struct vnb_in {
    struct qcbmi_vnb_meta meta;
    struct qcbmi_vnb_order order;
    uint64_t at, first_at;        /* of the next frame; of the first one behind the metadata */
    struct qcbmi_vnb_frame frame; /* the last one */
    uint64_t data_at, given;      /* where its bytes are; how many of them were in records */
};

static bool detect(const uint8_t *head, size_t len, bool has_map, bool has_json)
{
    struct qcbmi_vnb_frame f;

    (void)has_map, (void)has_json;
    return len >= QCBMI_VNB_HEAD && qcbmi_vnb_frame_parse(head, 0, &f, NULL) == 0 && f.kind == QCBMI_VNB_META;
}

/* The line at in->at, and what it carries lies in the file, up to the end of that line. */
static int take_frame(struct qcbmi_delta *d, struct qcbmi_vnb_frame *f, struct qcbm_error *err)
{
    struct qcbmi_io *io = &d->files.main;
    struct vnb_in *in = d->self;
    uint8_t head[QCBMI_VNB_HEAD], line_end[QCBMI_VNB_LINE_END];
    uint64_t left = io->size - in->at;
    int ret;

    if (left < sizeof head)
        return qcbmi_fail(err, QCBM_E_CORRUPT, in->at, "virtnbdbackup stream: it ends without a stop frame");
    ret = qcbmi_io_read(io, in->at, head, sizeof head, "frame", err);
    if (ret == 0)
        ret = qcbmi_vnb_frame_parse(head, in->at, f, err);
    if (ret < 0 || (f->kind != QCBMI_VNB_DATA && f->kind != QCBMI_VNB_META))
        return ret;
    left -= sizeof head;
    if (left < sizeof line_end || f->length > left - sizeof line_end)
        return qcbmi_fail(err, QCBM_E_CORRUPT, in->at,
                          "virtnbdbackup stream: a frame of %" PRIu64 " bytes, but the file ends %" PRIu64
                          " bytes further on",
                          f->length, left);
    ret = qcbmi_io_read(io, in->at + sizeof head + f->length, line_end, sizeof line_end, "end of a frame", err);
    return ret < 0 ? ret : qcbmi_vnb_line_end_check(line_end, in->at + sizeof head + f->length, err);
}

static int take_metadata(struct qcbmi_delta *d, struct qcbm_error *err)
{
    struct vnb_in *in = d->self;
    struct qcbmi_vnb_frame f;
    int ret = take_frame(d, &f, err);
    char *json;

    if (ret < 0)
        return ret;
    if (f.kind != QCBMI_VNB_META || f.start != 0 || f.length > QCBMI_VNB_MAX_META)
        return qcbmi_fail(err, QCBM_E_CORRUPT, 0,
                          "virtnbdbackup stream: no frame of metadata of up to %u bytes at its beginning",
                          QCBMI_VNB_MAX_META);
    json = qcbmi_alloc_array(f.length, 1, err);
    if (!json)
        return QCBM_E_NOMEM;
    ret = qcbmi_io_read(&d->files.main, QCBMI_VNB_HEAD, json, f.length, "metadata", err);
    if (ret == 0)
        ret = qcbmi_vnb_meta_parse(json, (size_t)f.length, QCBMI_VNB_HEAD, &in->meta, err);
    free(json);
    in->first_at = QCBMI_VNB_HEAD + f.length + QCBMI_VNB_LINE_END;
    return ret;
}

static int take_identity(struct qcbmi_delta *d, const struct qcbmi_vnb_meta *m, struct qcbm_error *err)
{
    if (d->has_meta && m->has_id && memcmp(m->id, d->meta.id, sizeof m->id) != 0)
        return qcbmi_fail(
            err, QCBM_E_CORRUPT, QCBMI_VNB_HEAD,
            "virtnbdbackup stream: it has another id than its sidecar file, which belongs to another delta");
    if (d->has_meta || !m->has_id)
        return 0;
    d->has_meta = true;
    d->meta.kind = QCBMI_IDENTITY_DELTA;
    memcpy(d->meta.id, m->id, sizeof m->id);
    d->meta.has_parent = m->has_parent_id;
    memcpy(d->meta.parent, m->parent_id, sizeof m->parent_id);
    return 0;
}

static int rewind_to_first(struct qcbmi_delta *d, struct qcbm_error *err)
{
    struct vnb_in *in = d->self;

    (void)err;
    in->order = (struct qcbmi_vnb_order){ .size = in->meta.virtual_size, .data_size = in->meta.data_size };
    in->at = in->first_at;
    in->frame.length = in->given = 0;
    return 0;
}

static int load(struct qcbmi_delta *d, struct qcbm_error *err)
{
    struct vnb_in *in = qcbmi_alloc_array(1, sizeof(*in), err);
    int ret;

    if (!in)
        return QCBM_E_NOMEM;
    d->self = in;
    ret = take_metadata(d, err);
    if (ret < 0)
        return ret;
    if (d->has_meta && d->meta.size_after != in->meta.virtual_size)
        return qcbmi_fail(err, QCBM_E_CORRUPT, QCBMI_VNB_HEAD,
                          "virtnbdbackup stream: a disk of %" PRIu64 " bytes, and the sidecar file says %" PRIu64,
                          in->meta.virtual_size, d->meta.size_after);
    d->meta.size_after = in->meta.virtual_size;
    d->from = in->meta.parent[0] ? in->meta.parent : NULL;
    d->to = in->meta.checkpoint[0] ? in->meta.checkpoint : NULL;
    rewind_to_first(d, err);
    return take_identity(d, &in->meta, err);
}

/* The next piece of the frame: a hole of the file is zeros, and need not be read. Asked of long frames alone, since
 * that costs a call. Holes begin and end with blocks of the file, so there is some data before and behind. */
static int give_piece(struct qcbmi_delta *d, struct qcbmi_delta_record *out, struct qcbm_error *err)
{
    struct vnb_in *in = d->self;
    uint64_t left = in->frame.length - in->given, end = UINT64_MAX;
    bool is_data = true;
    int ret = 0;

    if (in->frame.kind == QCBMI_VNB_ZERO)
        is_data = false;
    else if (in->frame.length > ASK_FOR_HOLES)
        ret = qcbmi_io_extent(&d->files.main, in->data_at + in->given, &is_data, &end, err);
    if (ret < 0)
        return ret;
    out->offset = in->frame.start + in->given;
    out->length = end == UINT64_MAX ? left : u64_min(left, end - (in->data_at + in->given));
    out->type = is_data ? QCBMI_DELTA_DATA : QCBMI_DELTA_ZERO;
    in->given += out->length;
    return 1;
}

static int next(struct qcbmi_delta *d, struct qcbmi_delta_record *out, struct qcbm_error *err)
{
    struct vnb_in *in = d->self;
    struct qcbmi_vnb_frame f;
    int ret = 0;

    if (in->given < in->frame.length)
        return give_piece(d, out, err);
    ret = take_frame(d, &f, err);
    if (ret == 0)
        ret = qcbmi_vnb_frame_check(&f, in->at, &in->order, err);
    if (ret < 0)
        return ret;
    in->data_at = in->at + QCBMI_VNB_HEAD;
    if (f.kind == QCBMI_VNB_STOP && in->data_at != d->files.main.size)
        return qcbmi_fail(err, QCBM_E_CORRUPT, in->data_at,
                          "virtnbdbackup stream: %" PRIu64 " bytes follow its stop frame",
                          d->files.main.size - in->data_at);
    if (f.kind == QCBMI_VNB_STOP)
        return 0;
    in->at = in->data_at + (f.kind == QCBMI_VNB_DATA ? f.length + QCBMI_VNB_LINE_END : 0);
    in->frame = f;
    in->given = 0;
    return give_piece(d, out, err);
}

static int read_data(struct qcbmi_delta *d, uint64_t offset, void *buf, uint64_t len, struct qcbm_error *err)
{
    const struct vnb_in *in = d->self;

    return qcbmi_io_read(&d->files.main, in->data_at + (offset - in->frame.start), buf, len, "data", err);
}

static void unload(struct qcbmi_delta *d)
{
    free(d->self);
    d->self = NULL;
    d->from = d->to = NULL;
}

const struct qcbmi_delta_form qcbmi_delta_vnb = {
    .name = "vnb",
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
