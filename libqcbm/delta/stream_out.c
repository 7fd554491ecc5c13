/* stream_out.c - the writer of a form that is a stream: bytes in a row, and what comes side by side on the disk in one
 * record
 * SPDX-License-Identifier: MIT */
#include "delta/stream_out.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"

int qcbmi_stream_out_open(struct qcbmi_delta_writer *w, int (*put)(struct qcbmi_stream_out *o, struct qcbm_error *err),
                          struct qcbm_error *err)
{
    struct qcbmi_stream_out *o = qcbmi_alloc_array(1, sizeof(*o), err);
    uint8_t *room;

    if (!o)
        return QCBM_E_NOMEM;
    w->self = o;
    room = qcbmi_alloc_array(QCBMI_STREAM_MAX + 2 * QCBMI_STREAM_ROOM, 1, err);
    if (!room)
        return QCBM_E_NOMEM;
    *o = (struct qcbmi_stream_out){ .io = w->io, .seekable = w->seekable, .put = put };
    o->data = room + QCBMI_STREAM_ROOM;
    return 0;
}

void qcbmi_stream_out_free(struct qcbmi_delta_writer *w)
{
    struct qcbmi_stream_out *o = w->self;

    if (o && o->data)
        free(o->data - QCBMI_STREAM_ROOM);
    free(o);
    w->self = NULL;
}

int qcbmi_stream_out_bytes(struct qcbmi_stream_out *o, const void *bytes, uint64_t len, struct qcbm_error *err)
{
    int ret = qcbmi_io_write(o->io, o->at, bytes, len, err);

    o->at += len;
    return ret;
}

int qcbmi_stream_out_flush(struct qcbmi_stream_out *o, struct qcbm_error *err)
{
    int ret = o->r.length ? o->put(o, err) : 0;

    o->r.length = 0;
    return ret;
}

/* Does it go on with what is there? */
static bool goes_on(const struct qcbmi_stream_out *o, enum qcbmi_delta_type type, uint64_t offset)
{
    return o->r.length && o->r.type == type && o->r.offset + o->r.length == offset &&
           (type == QCBMI_DELTA_ZERO || offset % QCBMI_STREAM_MAX != 0);
}

static int add(struct qcbmi_stream_out *o, enum qcbmi_delta_type type, uint64_t offset, uint64_t length,
               struct qcbm_error *err)
{
    int ret = 0;

    if (!goes_on(o, type, offset)) {
        ret = qcbmi_stream_out_flush(o, err);
        o->r = (struct qcbmi_delta_record){ .offset = offset, .type = type };
    }
    o->r.length += length;
    return ret;
}

int qcbmi_stream_out_data(struct qcbmi_delta_writer *w, uint64_t offset, uint64_t length, const uint8_t *bytes,
                          struct qcbm_error *err)
{
    struct qcbmi_stream_out *o = w->self;
    int ret = 0;

    for (uint64_t done = 0, n; ret == 0 && done < length; done += n) {
        n = u64_min(length - done, QCBMI_STREAM_MAX - (offset + done) % QCBMI_STREAM_MAX);
        ret = add(o, QCBMI_DELTA_DATA, offset + done, n, err);
        if (ret == 0)
            memcpy(o->data + (offset + done - o->r.offset), bytes + done, (size_t)n);
    }
    return ret;
}

int qcbmi_stream_out_zero(struct qcbmi_delta_writer *w, uint64_t offset, uint64_t length, struct qcbm_error *err)
{
    return add(w->self, QCBMI_DELTA_ZERO, offset, length, err);
}
