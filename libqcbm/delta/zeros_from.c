/* zeros_from.c - from where on what a delta does not have is zeros: what stands in for the size of a disk before, where
 * nobody knows it
 * SPDX-License-Identifier: MIT
 *
 * A bitmap does not record that the disk has grown. What it calls clean and is not zeros was there before, so the disk
 * reached up to that at least; whoever applies the delta may make zeros of all that is clean behind it. Looked for from
 * the end, where it mostly is: by metadata in steps that double, and byte by byte where there is data. */
#include "delta/source.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"

#define PIECE (UINT64_C(1) << 20)

/* @data: a reader of its own, to which holes of raw data files are zeros; an empty end of a terabyte is not read. */
struct finding {
    const struct qcbmi_chain *chain;
    const struct qcbmi_dirtymap *map;
    struct qcbmi_data *data;
    uint8_t *buf; /* a PIECE */
};

/* Of a preallocated image, too: clusters that nobody wrote are holes of its file. *@end: as far as it is one. */
static bool is_hole(const struct finding *f, const struct qcbmi_guest_piece *p, uint64_t at, uint64_t *end)
{
    const struct qcbmi_layer *l = &f->chain->layers[p->layer];
    uint64_t host = qcbmi_guest_piece_host(p, at), stop = 0;
    bool is_data = true;

    if (p->kind != Q2_NORMAL || !l->img || l->img->g.data_file || l->img->h.crypt_method ||
        qcbmi_io_extent(&l->img->io, host, &is_data, &stop, NULL) < 0 || is_data)
        return false;
    *end = at + u64_min(p->end - at, stop - host);
    return true;
}

/* The first clean data in [@at, @end): 1, or 0 if there is none. */
static int next_data(struct finding *s, uint64_t at, uint64_t end, uint64_t *off, uint64_t *stop,
                     struct qcbm_error *err)
{
    while (at < end) {
        struct qcbmi_guest_piece p;
        uint64_t dirty = end, dirty_end = end;
        int ret;

        if (qcbmi_dirtymap_next(s->map, at, &dirty, &dirty_end) && dirty <= at) {
            at = dirty_end;
            continue;
        }
        ret = qcbmi_data_find(s->data, at, u64_min(dirty, end), &p, err);
        if (ret == 0 && p.doubtful)
            ret = qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "the entry of guest 0x%" PRIx64 " breaks a rule", at);
        if (ret < 0)
            return ret;
        *off = at;
        *stop = p.end;
        if (!qcbmi_guest_piece_is_zero(&p) && !is_hole(s, &p, at, stop))
            return 1;
        at = *stop;
    }
    return 0;
}

/* Behind the last byte of clean data in [@from, @end), a PIECE at most, that is none of zeros; @from if there is
 * none. */
static int last_byte(struct finding *s, uint64_t from, uint64_t end, uint64_t *last, struct qcbm_error *err)
{
    uint64_t off = from, stop = from;
    int ret;

    *last = from;
    while ((ret = next_data(s, stop, end, &off, &stop, err)) == 1) {
        ret = qcbmi_data_read(s->data, off, s->buf, stop - off, err);
        if (ret < 0)
            break;
        for (uint64_t n = stop - off; n && *last <= off; n--)
            if (s->buf[n - 1])
                *last = off + n;
    }
    return ret;
}

static int find(struct finding *s, uint64_t size, uint64_t *found, struct qcbm_error *err)
{
    uint64_t step = PIECE, off, stop;
    int ret = 0;

    *found = size;
    while (ret >= 0 && *found) {
        uint64_t from = *found > step ? *found - step : 0, last = from;

        ret = next_data(s, from, *found, &off, &stop, err);
        if (ret == 1 && step > PIECE) {
            step = PIECE;
            continue;
        }
        if (ret == 1)
            ret = last_byte(s, from, *found, &last, err);
        if (ret >= 0 && last > from) {
            *found = last;
            break;
        }
        *found = from;
        step = u64_min(2 * step, UINT64_C(1) << 62);
    }
    return ret;
}

/* What cannot be read may be anything: then it is not known. */
int qcbmi_delta_find_zeros_from(struct qcbmi_delta_source *s, struct qcbm_error *err)
{
    unsigned share = s->o.flags & QCBM_DELTA_FORCE_SHARE ? QCBMI_DATA_FORCE_SHARE : 0;
    struct finding f = { .chain = &s->chain, .map = &s->map, .buf = qcbmi_alloc_array(PIECE, 1, err) };
    uint64_t found = 0;
    int ret = f.buf ? qcbmi_data_of_chain(&s->chain, 0, QCBMI_DATA_FILES | QCBMI_DATA_HOLES | share, &f.data, err)
                    : QCBM_E_NOMEM;

    if (ret == 0) {
        s->has_zeros_from = find(&f, s->size, &found, NULL) >= 0;
        s->zeros_from = s->has_zeros_from ? align_up(found, Q2_SECTOR) : 0;
    }
    qcbmi_data_close(f.data);
    free(f.buf);
    return ret;
}
