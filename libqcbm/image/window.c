/* window.c - reading tables piece by piece: flat memory, few reads, holes of a sparse file skipped
 * SPDX-License-Identifier: MIT */
#include "image/window.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "io/slow.h"

#define NEAR (UINT64_C(16) << 10) /* bytes that are cheaper to read than to skip */

void qcbmi_window_free(struct qcbmi_window *w)
{
    free(w->buf);
    memset(w, 0, sizeof(*w));
}

/* How far the zeros that were read go on: a hostile file is sparse, and long. */
static int find_zero_end(struct qcbmi_window *w, struct qcbmi_io *io, struct qcbm_error *err)
{
    bool is_data;
    uint64_t end;
    int ret;

    w->zero_end = w->start;
    if (!bytes_are_zero(w->buf, w->end - w->start))
        return 0;
    ret = w->holes ? qcbmi_holes_at(w->holes, w->end, &is_data, &end, err)
                   : qcbmi_io_extent(io, w->end, &is_data, &end, err);
    w->zero_end = ret == 0 && !is_data ? end : w->end;
    return ret;
}

static int load(struct qcbmi_window *w, struct qcbmi_io *io, uint64_t off, uint64_t want, struct qcbm_error *err)
{
    uint64_t there = off < io->size ? u64_min(want, io->size - off) : 0, begun = qcbmi_read_begins();
    int ret = 0;

    if (!w->buf)
        w->buf = qcbmi_alloc_array(QCBMI_WINDOW_BYTES, 1, err);
    if (!w->buf)
        return QCBM_E_NOMEM;
    w->start = w->end = w->zero_end = 0;
    if (there)
        ret = qcbmi_io_read(io, off, w->buf, there, "table", err);
    if (ret < 0)
        return ret;
    w->n_slow += qcbmi_read_was_slow(begun, there);
    memset(w->buf + there, 0, (size_t)(want - there));
    w->start = off;
    w->end = off + want;
    return find_zero_end(w, io, err);
}

int qcbmi_window_at(struct qcbmi_window *w, struct qcbmi_io *io, uint64_t off, uint64_t need, uint64_t rest,
                    const uint8_t **out, struct qcbm_error *err)
{
    static const uint8_t zeros[4096];
    int ret = 0;

    if (!w->buf || off < w->start || off + need > w->end) {
        if (qcbmi_window_is_zero(w, off, need)) {
            *out = zeros;
            return 0;
        }
        bool near = w->buf && off >= w->start && off - w->start <= w->end - w->start + NEAR && !qcbmi_io_is_remote(io);

        ret = load(w, io, off, near ? QCBMI_WINDOW_BYTES : u64_min(rest, QCBMI_WINDOW_BYTES), err);
    }
    if (ret == 0)
        *out = w->buf + (off - w->start);
    return ret;
}

uint64_t qcbmi_window_zero_end(const struct qcbmi_window *w, uint64_t off)
{
    if (w->buf && off >= w->start && w->zero_end > off)
        return w->zero_end;
    return w->holes ? qcbmi_holes_known(w->holes, off) : off;
}

bool qcbmi_window_is_zero(const struct qcbmi_window *w, uint64_t off, uint64_t len)
{
    return qcbmi_window_zero_end(w, off) - off >= len;
}
