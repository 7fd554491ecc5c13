/* apply_new.c - the disk of the base into a new file, and then the deltas into that
 * SPDX-License-Identifier: MIT
 *
 * The new file has another name until all of it is durable, and is removed if anything fails. After a loss of power, or
 * a kill, the file of that other name is left; the next run with the same name removes it, if nobody has it locked. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "delta/apply_run.h"
#include "format/q2_limits.h"
#include "io/io_file.h"
#include "io/open.h"
#include "write/new_file.h"
#include "write/new_image.h"

#define CLUSTER_BITS 16u

/* ---- the base as a stream ---- */

/* What reads as zeros gets no place in the new file, so bytes are looked at before they are given out: a window of
 * them. */
struct base {
    struct qcbmi_data *data;
    uint64_t at, end;   /* the disk from .at on has not been looked at */
    uint64_t from, len; /* bytes of the disk in .window */
    uint64_t given;     /* of these: up to here */
    uint8_t *window;
    struct qcbmi_progress *progress;
};

#define UNIT (UINT64_C(1) << CLUSTER_BITS)
#define WINDOW (64 * UNIT)

/* The next bytes that are not known to be zeros; len 0: none. */
static int fill_window(struct base *b, struct qcbm_error *err)
{
    struct qcbmi_guest_piece p;
    int ret = 0;

    b->len = b->given = 0;
    while (b->at < b->end) {
        ret = qcbmi_data_find(b->data, b->at, b->end, &p, err);
        if (ret < 0)
            return ret;
        if (!qcbmi_guest_piece_is_zero(&p) && q2_kind_is_allocated(p.kind))
            break;
        b->at = p.end;
    }
    if (b->at == b->end)
        return 0;
    b->from = b->at;
    b->len = u64_min(align_down(b->from, UNIT) + WINDOW, b->end) - b->from;
    b->at += b->len;
    ret = qcbmi_data_read(b->data, b->from, b->window, b->len, err);
    return ret == 0 ? qcbmi_progress_at(b->progress, b->at, err) : ret;
}

/* Bytes of the window from @at on, as far as they lie in one cluster of the new file. */
static uint64_t in_unit(const struct base *b, uint64_t at)
{
    return u64_min(align_up(b->from + at + 1, UNIT) - b->from, b->len) - at;
}

static int next(void *opaque, struct qcbmi_guest_extent *out, struct qcbm_error *err)
{
    struct base *b = opaque;
    uint64_t n;

    for (;;) {
        if (b->given == b->len) {
            int ret = fill_window(b, err);

            if (ret < 0 || b->len == 0)
                return ret;
        }
        n = in_unit(b, b->given);
        b->given += n;
        if (!bytes_are_zero(b->window + b->given - n, n))
            break;
    }
    *out = (struct qcbmi_guest_extent){ b->from + b->given - n, b->from + b->given, false };
    return 1;
}

/* Of a part that was looked at: from the window, or read once more. */
static int read_bytes(void *opaque, uint64_t off, void *buf, uint64_t len, struct qcbm_error *err)
{
    struct base *b = opaque;

    if (off >= b->from && range_fits(off - b->from, len, b->len)) {
        memcpy(buf, b->window + (off - b->from), (size_t)len);
        return 0;
    }
    return qcbmi_data_read(b->data, off, buf, len, err);
}

/* @to has the size of the disk, which on a device may be less than that of the base. */
static int copy_disk(struct qcbmi_apply_run *r, struct qcbmi_apply_target *to, struct qcbm_error *err)
{
    uint64_t size = qcbmi_target_size(&r->t);
    struct base b = { .end = align_down(u64_min(size, qcbmi_target_size(to)), Q2_SECTOR), .progress = &r->progress };
    const struct qcbmi_guest_stream stream = { next, read_bytes, &b };
    const struct qcbmi_target_write w = { .stream = &stream };
    int ret = qcbmi_target_reader(&r->t, &b.data, err);

    b.window = qcbmi_alloc_array(WINDOW, 1, err);
    if (ret == 0 && !b.window)
        ret = QCBM_E_NOMEM;
    if (ret == 0)
        ret = qcbmi_target_write(to, &w, err);
    if (ret == 0)
        ret = qcbmi_progress_at(&r->progress, size, err);
    qcbmi_data_close(b.data);
    free(b.window);
    return ret;
}

/* ---- an empty image ---- */

static int write_empty(struct qcbmi_io *io, const struct q2_header *wanted, struct qcbm_error *err)
{
    struct q2_header h = *wanted;
    struct qcbmi_counts counts = { 0 };
    struct qcbmi_new_image n = { .io = io, .counts = &counts, .first_meta = 1, .next = 1 };
    struct q2_geometry g;
    int ret = qcbmi_counts_init(&counts, 0, 1, err);

    q2_geometry_derive(&h, &g);
    n.g = &g;
    h.l1_entries = (uint32_t)u64_max(g.l1_used, 1);
    h.l1_offset = qcbmi_new_place(&n, 8 * (uint64_t)h.l1_entries);
    if (ret == 0)
        ret = qcbmi_new_refcounts(&n, err);
    if (ret == 0)
        ret = qcbmi_io_grow(io, n.next << g.cluster_bits, err);
    if (ret == 0)
        ret = qcbmi_new_header(&n, &h, NULL, 0, NULL, err);
    qcbmi_counts_free(&counts);
    return ret;
}

static struct q2_header header_of(uint64_t size)
{
    return (struct q2_header){
        .version = 3, .cluster_bits = CLUSTER_BITS, .size = size, .refcount_order = 4, .header_length = Q2_HEADER_BYTES
    };
}

static int check_limit(uint64_t size, struct qcbm_error *err)
{
    const struct q2_header h = header_of(size);
    struct q2_geometry g;

    q2_geometry_derive(&h, &g);
    return 8 * g.l1_used <= Q2_MAX_L1_BYTES ? 0
                                            : qcbmi_fail(err, QCBM_E_LIMIT, QCBM_NO_OFFSET,
                                                         "the disk is too large for an image with clusters of 64 KiB");
}

static int make_empty(struct qcbmi_io *io, uint64_t size, bool is_qcow2, struct qcbm_error *err)
{
    const struct q2_header h = header_of(size);
    int ret = 0;

    if (!is_qcow2)
        return qcbmi_io_grow(io, h.size, err);
    ret = check_limit(h.size, err);
    return ret < 0 ? ret : write_empty(io, &h, err);
}

static bool becomes_qcow2(const struct qcbmi_apply_run *r)
{
    return r->o->new_format ? strcmp(r->o->new_format, "qcow2") == 0 : r->is_qcow2;
}

int qcbmi_apply_foresee_new(struct qcbmi_apply_run *r, size_t i, struct qcbm_error *err)
{
    uint64_t most = u64_max(qcbmi_target_size(&r->t), r->items[i].meta.size_after);
    int ret = qcbmi_new_file_check(r->o->new_path, err);

    return ret == 0 && becomes_qcow2(r) ? check_limit(most, err) : ret;
}

/* ---- the new file ---- */

/* The id of a raw file is put beside it before it has its name: without it that says nothing. */
static int into_new(struct qcbmi_apply_run *r, size_t i, struct qcbm_error *err)
{
    const struct qcbmi_delta_meta *m = &r->items[i].meta;
    struct qcbmi_apply_stream s = { 0 };
    struct qcbmi_target_write w = { .progress = &r->progress };
    int ret = qcbmi_target_grow(&r->t, qcbmi_target_size(&r->t), m->size_after, err);

    if (ret == 0)
        ret = qcbmi_apply_stream_open(&s, r->items[i].path, err);
    w.stream = &s.stream;
    if (ret == 0)
        ret = qcbmi_target_write(&r->t, &w, err);
    if (ret == 0)
        ret = qcbmi_target_cut(&r->t, qcbmi_target_size(&r->t), m->size_after, err);
    qcbmi_apply_stream_close(&s);
    return ret;
}

/* From here on the target of the run is the new file. */
static int fill(struct qcbmi_apply_run *r, struct qcbmi_apply_target *to, size_t first, struct qcbm_error *err)
{
    struct qcbmi_apply_target base = r->t;
    int ret = copy_disk(r, to, err);

    if (ret < 0)
        return ret;
    r->t = *to;
    ret = qcbmi_apply_each(r, first, into_new, err);
    if (ret == 0 && r->disk.known == QCBMI_STATE_KNOWN)
        ret = qcbmi_apply_record_id(r, r->o->new_path, r->disk.id, qcbmi_target_size(&r->t), err);
    *to = r->t;
    r->t = base;
    return ret;
}

/* Of the base, before any delta of those that are to be applied. */
static int size_of_disk(struct qcbmi_apply_run *r, size_t first, uint64_t *size, struct qcbm_error *err)
{
    if (first < r->n)
        return qcbmi_apply_size_before(r, first, size, err);
    *size = r->disk.has_size ? u64_min(r->disk.size, qcbmi_target_size(&r->t)) : qcbmi_target_size(&r->t);
    return 0;
}

int qcbmi_apply_into_new(struct qcbmi_apply_run *r, size_t first, struct qcbm_error *err)
{
    bool is_qcow2 = becomes_qcow2(r);
    struct qcbmi_apply_target to = { 0 };
    struct qcbmi_new_file f;
    uint64_t size = 0;
    int ret = size_of_disk(r, first, &size, err);

    if (ret < 0)
        return ret;
    qcbmi_new_file_remove_leftover(r->o->new_path);
    ret = qcbmi_new_file_begin(&f, r->o->new_path, err);
    if (ret < 0)
        return ret;
    ret = make_empty(&f.io, size, is_qcow2, err);
    if (ret == 0)
        ret = qcbmi_target_open(&to, &f.io, r->o->new_path, is_qcow2, QCBM_OPEN_WRITE | QCBM_OPEN_NO_LOCK, err);
    if (ret == 0)
        ret = fill(r, &to, first, err);
    if (ret == 0)
        size = qcbmi_target_size(&to);
    qcbmi_target_give_back(&to, &f.io);
    qcbmi_target_close(&to);
    ret = qcbmi_new_file_end(&f, ret, err);
    r->result.size = ret == 0 ? size : 0;
    return ret;
}
