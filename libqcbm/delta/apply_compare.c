/* apply_compare.c - does the disk hold what a delta, or the beginning of one, has written to it?
 * SPDX-License-Identifier: MIT
 *
 * An id and a state file say what was done to a disk; a backup that was copied over it, or a snapshot that it was taken
 * back to, is another one under the same name. Records are absolute, so reading them back tells. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "delta/apply_run.h"

#define PART QCBMI_DELTA_PROBE_MAX /* bytes that are compared at a time */

struct comparing {
    struct qcbmi_apply_stream s;
    uint64_t zero_from; /* what the delta does not have from here on is zeros: the disk was no larger before */
    struct qcbmi_data *disk;
    uint8_t *have, *want;
};

static int compare_part(struct comparing *c, uint64_t off, uint64_t end, bool zero, bool *same, struct qcbm_error *err)
{
    uint64_t n = end - off;
    int ret = qcbmi_data_read(c->disk, off, c->have, n, err);

    if (ret < 0 || zero) {
        *same = ret == 0 && bytes_are_zero(c->have, n);
        return ret;
    }
    ret = c->s.stream.read(c->s.stream.opaque, off, c->want, n, err);
    *same = ret == 0 && memcmp(c->have, c->want, n) == 0;
    return ret;
}

static int compare_extent(struct comparing *c, const struct qcbmi_guest_extent *e, uint64_t end, bool *same,
                          uint64_t *at, struct qcbm_error *err)
{
    struct qcbmi_guest_piece p;
    int ret = 0;

    for (*at = e->off; ret == 0 && *at < end; *at = p.end) {
        ret = qcbmi_data_find(c->disk, *at, u64_min(end, *at + PART), &p, err);
        if (ret == 0 && !(e->zero && qcbmi_guest_piece_is_zero(&p)))
            ret = compare_part(c, *at, p.end, e->zero, same, err);
        if (ret == 0 && !*same)
            break;
    }
    return ret;
}

/* Of @e what lies before @end. */
static int compare_before(struct comparing *c, const struct qcbmi_guest_extent *e, uint64_t end, uint64_t size,
                          bool *same, uint64_t *at, struct qcbm_error *err)
{
    uint64_t to = u64_min(e->end, end);

    if (e->off >= to)
        return 0;
    *at = size;
    *same = align_down(to, Q2_SECTOR) <= size;
    return *same ? compare_extent(c, e, u64_min(to, size), same, at, err) : 0;
}

static int compare(struct comparing *c, uint64_t end, uint64_t size, bool *same, uint64_t *at, struct qcbm_error *err)
{
    struct qcbmi_guest_extent e = { 0, 0, false };
    int ret = 0, more = 1;

    while (ret == 0 && *same && more > 0 && e.end < end) {
        struct qcbmi_guest_extent gap = { u64_max(e.end, c->zero_from), end, true };

        more = c->s.stream.next(c->s.stream.opaque, &e, err);
        gap.end = more > 0 ? e.off : gap.end;
        ret = more < 0 ? more : compare_before(c, &gap, end, size, same, at, err);
        if (ret == 0 && *same && more > 0)
            ret = compare_before(c, &e, end, size, same, at, err);
    }
    return ret;
}

static uint64_t zero_from(const struct qcbmi_apply_run *r, size_t i)
{
    const struct qcbmi_delta_meta *m = &r->items[i].meta;
    uint64_t from = m->has_zeros_from ? m->zeros_from : m->size_before;

    return r->state.there ? u64_min(from, r->state.file.size_before) : from;
}

int qcbmi_apply_compare(struct qcbmi_apply_run *r, size_t i, uint64_t end, bool *same, uint64_t *at,
                        struct qcbm_error *err)
{
    struct comparing c = { .have = qcbmi_alloc_array(2, PART, err) };
    int ret = c.have ? qcbmi_apply_stream_open(&c.s, r->items[i].path, err) : QCBM_E_NOMEM;
    uint64_t size_after = r->items[i].meta.size_after;

    *same = true;
    *at = 0;
    c.want = c.have ? c.have + PART : NULL;
    if (ret == 0)
        ret = qcbmi_target_reader(&r->t, &c.disk, err);
    c.zero_from = zero_from(r, i);
    if (ret == 0)
        ret = compare(&c, u64_min(end, size_after), align_down(qcbmi_target_size(&r->t), Q2_SECTOR), same, at, err);
    qcbmi_data_close(c.disk);
    qcbmi_apply_stream_close(&c.s);
    free(c.have);
    return ret;
}
