/* apply_stream.c - a delta as a stream of extents
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "delta/apply_run.h"

static int next(void *opaque, struct qcbmi_guest_extent *out, struct qcbm_error *err)
{
    struct qcbmi_apply_stream *s = opaque;
    struct qcbmi_delta_record r;
    int ret = qcbmi_delta_next(s->ahead, &r, err);

    if (ret > 0)
        *out = (struct qcbmi_guest_extent){ r.offset, r.offset + r.length, r.type == QCBMI_DELTA_ZERO };
    return ret;
}

/* The record of data that has byte @off. */
static int go_to(struct qcbmi_apply_stream *s, uint64_t off, struct qcbm_error *err)
{
    while (!s->begun || s->at.offset + s->at.length <= off) {
        int ret = qcbmi_delta_next(s->bytes, &s->at, err);

        if (ret < 0)
            return ret;
        s->begun = true;
        if (ret == 0 || s->at.offset > off)
            return qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "the delta has changed since it was read");
    }
    return 0;
}

static int read_bytes(void *opaque, uint64_t off, void *buf, uint64_t len, struct qcbm_error *err)
{
    struct qcbmi_apply_stream *s = opaque;
    uint8_t *to = buf;
    int ret = 0;

    while (ret == 0 && len) {
        uint64_t n;

        ret = go_to(s, off, err);
        if (ret < 0)
            return ret;
        n = u64_min(len, s->at.offset + s->at.length - off);
        if (s->at.type == QCBMI_DELTA_ZERO)
            memset(to, 0, (size_t)n);
        else
            ret = qcbmi_delta_read(s->bytes, off, to, n, err);
        to += n;
        off += n;
        len -= n;
    }
    return ret;
}

int qcbmi_apply_stream_open(struct qcbmi_apply_stream *s, const char *path, struct qcbm_error *err)
{
    int ret;

    *s = (struct qcbmi_apply_stream){ .stream = { next, read_bytes, s } };
    ret = qcbmi_delta_open(path, &s->ahead, err);
    return ret < 0 ? ret : qcbmi_delta_open(path, &s->bytes, err);
}

void qcbmi_apply_stream_close(struct qcbmi_apply_stream *s)
{
    qcbmi_delta_close(s->ahead);
    qcbmi_delta_close(s->bytes);
    *s = (struct qcbmi_apply_stream){ 0 };
}
