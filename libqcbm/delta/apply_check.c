/* apply_check.c - may this delta be applied to this disk? Whole, in order, at the state that it begins at
 * SPDX-License-Identifier: MIT
 *
 * A wrong base is refused and not guessed:
 *   - the delta is read wholly before anything is written, and has its digest;
 *   - sizes are equal;
 *   - the disk's recorded id is the delta's parent. A disk without an id is taken for the beginning of a row: for
 *     deltas that name no parent. One that names its parent is the second or a later of its row, and applied to a disk
 *     that nobody knows the state of it would leave out those before it in silence; nor does one without a parent come
 *     behind another. Where nothing is recorded the caller may say what state the disk has;
 *   - ranges that the delta does not have, and that were the same before and after, have the content that they had: the
 *     probes, whatever the ids say.
 * Ids may be overridden, for who knows better; the rest may not. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/error.h"
#include "delta/apply_run.h"
#include "io/open.h"

static bool is_forced(const struct qcbmi_apply_run *r)
{
    return r->o->flags & QCBM_APPLY_FORCE_PARENT;
}

/* ---- the deltas by themselves ---- */

static int count_records(struct qcbmi_delta *d, struct qcbmi_apply_item *item, struct qcbm_error *err)
{
    struct qcbmi_delta_record rec;
    int ret;

    while ((ret = qcbmi_delta_next(d, &rec, err)) > 0)
        *(rec.type == QCBMI_DELTA_DATA ? &item->data_bytes : &item->zero_bytes) += rec.length;
    return ret < 0 ? ret : qcbmi_delta_rewind(d, err);
}

static int read_item(struct qcbmi_delta *d, struct qcbmi_apply_item *item, struct qcbm_error *err)
{
    int ret = count_records(d, item, err);

    if (ret == 0)
        ret = qcbmi_delta_verify(d, item->digest, NULL, err);
    if (ret < 0)
        return ret;
    item->form = d->form->name;
    item->has_meta = d->has_meta;
    item->meta = d->meta;
    if (d->has_meta && d->meta.kind != QCBMI_IDENTITY_DELTA)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "this is an image, and no delta");
    if (!d->has_meta) {
        item->meta.size_before = UINT64_MAX;
        item->meta.has_zeros_from = false;
        item->meta.n_probes = 0;
        item->meta.has_parent = false;
        memcpy(item->meta.id, item->digest, sizeof(item->meta.id));
    }
    return 0;
}

static int in_delta(const char *path, int ret, struct qcbm_error *err)
{
    char text[256];

    return ret < 0 ? qcbmi_prefix(err, ret, "'%s': ", qcbmi_printable(text, sizeof(text), path, strlen(path))) : 0;
}

/* Whatever its names are. */
static int check_other(struct qcbmi_apply_run *r, const char *path, struct qcbm_error *err)
{
    struct qcbmi_file_id id;

    if (qcbmi_identify(path, &id, NULL) < 0 ||
        !(qcbmi_same_file(&id, &qcbmi_target_io(&r->t)->id) || qcbmi_same_file(&id, &r->t.data_file.id)))
        return 0;
    return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "it is the disk itself, and no delta for it");
}

int qcbmi_apply_read_items(struct qcbmi_apply_run *r, const char *const *paths, struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < r->n; i++) {
        struct qcbmi_delta *d = NULL;

        r->items[i].path = paths[i];
        ret = check_other(r, paths[i], err);
        if (ret == 0)
            ret = qcbmi_delta_open(paths[i], &d, err);
        if (ret == 0)
            ret = read_item(d, &r->items[i], err);
        qcbmi_delta_close(d);
        ret = in_delta(paths[i], ret, err);
    }
    return ret;
}

static int check_pair(const struct qcbmi_apply_item *a, const struct qcbmi_apply_item *b, bool forced,
                      struct qcbm_error *err)
{
    bool follows = b->meta.has_parent && memcmp(a->meta.id, b->meta.parent, sizeof(a->meta.id)) == 0;
    char want[33] = "", have[33];

    if (b->meta.size_before != UINT64_MAX && b->meta.size_before != a->meta.size_after)
        return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                          "it does not follow '%.100s': that leaves a disk of %" PRIu64
                          " bytes, and this begins at one of %" PRIu64,
                          a->path, a->meta.size_after, b->meta.size_before);
    if (follows || forced)
        return 0;
    qcbmi_identity_text(a->meta.id, have);
    if (!b->meta.has_parent)
        return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                          "it names no parent, so nothing says that it follows '%.100s' (%s)", a->path, have);
    qcbmi_identity_text(b->meta.parent, want);
    return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET, "it does not follow '%.100s' (%s): its parent is %s", a->path,
                      have, want);
}

int qcbmi_apply_check_row(const struct qcbmi_apply_run *r, struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 1; ret == 0 && i < r->n; i++)
        ret = in_delta(r->items[i].path, check_pair(&r->items[i - 1], &r->items[i], is_forced(r), err), err);
    return ret;
}

/* ---- the disk ---- */

/* A device may be longer than its disk, and have anything behind that. */
int qcbmi_apply_size_before(const struct qcbmi_apply_run *r, size_t i, uint64_t *size, struct qcbm_error *err)
{
    const struct qcbmi_delta_meta *m = &r->items[i].meta;
    bool is_recorded = r->disk.known == QCBMI_STATE_KNOWN && r->disk.has_size && !is_forced(r);
    bool is_device = qcbmi_target_is_device(&r->t);
    uint64_t told = m->size_before != UINT64_MAX ? m->size_before : is_recorded ? r->disk.size : m->zeros_from;

    *size = qcbmi_target_size(&r->t);
    if (is_device && m->size_before == UINT64_MAX && !is_recorded && !m->has_zeros_from)
        return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                          "it does not say how large the disk was before, and a device has more behind its disk than "
                          "zeros: copy the disk into a file of that size, and apply it to the file");
    *size = is_device ? u64_min(*size, told) : *size;
    return !m->has_zeros_from || m->zeros_from <= *size
               ? 0
               : qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                            "it leaves alone what is at guest 0x%" PRIx64 ", and the disk has %" PRIu64 " bytes",
                            m->zeros_from - 1, *size);
}

/* The end of what was the disk before anything was done. */
static uint64_t old_end(const struct qcbmi_apply_run *r, size_t i)
{
    uint64_t size = qcbmi_target_size(&r->t), before = size;

    if (qcbmi_target_is_device(&r->t) && r->state.there)
        return u64_min(size, r->state.file.size_before);
    return qcbmi_apply_size_before(r, i, &before, NULL) == 0 ? before : size;
}

static int check_size(const struct qcbmi_apply_run *r, size_t i, struct qcbm_error *err)
{
    const struct qcbmi_delta_meta *m = &r->items[i].meta;
    uint64_t size = qcbmi_target_size(&r->t);
    bool fits = qcbmi_target_is_device(&r->t) ? size >= m->size_before : size == m->size_before;

    if (m->size_before == UINT64_MAX || fits)
        return qcbmi_apply_size_before(r, i, &size, err);
    return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                      "it begins at a disk of %" PRIu64 " bytes, and this one has %" PRIu64, m->size_before, size);
}

/* A disk of which nobody has said what state it has, and a delta that is not the first of its row. What the probes say
 * is told with it: who knows the disk is helped by that. */
static int fail_unknown(struct qcbmi_apply_run *r, size_t i, struct qcbm_error *err)
{
    struct qcbm_error why = { 0 };
    uint32_t probes = 0;
    char want[33];
    int ret = qcbmi_apply_check_probes(r, i, &probes, &why);

    qcbmi_identity_text(r->items[i].meta.parent, want);
    if (ret < 0)
        return qcbmi_fail(err, ret, QCBM_NO_OFFSET, "%s", why.message);
    return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                      "its parent is %s, and %s: deltas before it may be missing, though %" PRIu32
                      " probe%s; if the disk has that state, --base-id=%s says so",
                      want,
                      r->disk.known == QCBMI_STATE_STALE ? "the disk was written to since its state was recorded"
                                                         : "the disk has no recorded state",
                      probes, probes == 1 ? " agrees" : "s agree", want);
}

static int check_parent(struct qcbmi_apply_run *r, size_t i, struct qcbm_error *err)
{
    const struct qcbmi_apply_item *item = &r->items[i];
    const struct qcbmi_delta_meta *m = &item->meta;
    bool known = r->disk.known == QCBMI_STATE_KNOWN;
    char want[33], have[33];

    qcbmi_identity_text(m->parent, want);
    qcbmi_identity_text(r->disk.id, have);
    if (known && m->has_parent && memcmp(m->parent, r->disk.id, sizeof(m->parent)) != 0)
        return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET, "its parent is %s, and the disk has the state %s", want,
                          have);
    if (known && !m->has_parent)
        return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                          "it names no parent, so nothing says that it follows the state of the disk, %s", have);
    if (!known && m->has_parent)
        return fail_unknown(r, i, err);
    if (!known && !item->has_meta)
        return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET, "it has no identity, so nothing says what it begins at");
    return 0;
}

/* @end: of the sectors that the disk has. What an apply makes behind them is zeros: other content there is what the
 * delta misses. */
static int check_probe(struct qcbmi_apply_run *r, struct qcbmi_data *d, const struct qcbmi_delta_probe *p, uint64_t end,
                       uint8_t *buf, struct qcbm_error *err)
{
    uint64_t there = p->offset < end ? u64_min(p->length, end - p->offset) : 0;
    int ret = there ? qcbmi_data_read(d, p->offset, buf, there, err) : 0;

    memset(buf + there, 0, (size_t)(p->length - there));
    if (ret == 0 && !qcbmi_digest_is(buf, (size_t)p->length, p->digest))
        ret = qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                         "the disk is not the one that it begins at: guest 0x%" PRIx64
                         ", which it does not change, has other content%s",
                         p->offset, there == p->length ? "" : ", and this disk ends before that");
    r->data_probes += ret == 0 && !bytes_are_zero(buf, p->length);
    return ret;
}

/* A raw file may end within a sector, and that part of it is not read. */
static bool has_part_of_sector(const struct qcbmi_delta_probe *p, uint64_t size)
{
    uint64_t end = align_down(size, Q2_SECTOR);

    return size > end && p->offset < size && !range_fits(p->offset, p->length, end);
}

int qcbmi_apply_check_probes(struct qcbmi_apply_run *r, size_t i, uint32_t *probes, struct qcbm_error *err)
{
    const struct qcbmi_delta_meta *m = &r->items[i].meta;
    uint64_t size = old_end(r, i);
    uint8_t *buf = m->n_probes ? qcbmi_alloc_array(QCBMI_DELTA_PROBE_MAX, 1, err) : NULL;
    struct qcbmi_data *d = NULL;
    int ret = m->n_probes && !buf ? QCBM_E_NOMEM : 0;

    *probes = r->data_probes = 0;
    if (ret == 0 && m->n_probes)
        ret = qcbmi_target_reader(&r->t, &d, err);
    for (uint32_t p = 0; ret == 0 && p < m->n_probes; p++) {
        if (has_part_of_sector(&m->probes[p], size))
            continue;
        ret = check_probe(r, d, &m->probes[p], align_down(size, Q2_SECTOR), buf, err);
        ++*probes;
    }
    qcbmi_data_close(d);
    free(buf);
    return ret;
}

/* ---- a delta without probes of data ---- */

/* Does the disk read as zeros in [@off, @end)? */
static int check_zeros(struct qcbmi_data *d, uint64_t off, uint64_t end, uint8_t *buf, struct qcbm_error *err)
{
    struct qcbmi_guest_piece p;
    int ret = 0;

    while (ret == 0 && off < end) {
        ret = qcbmi_data_find(d, off, u64_min(end, off + QCBMI_DELTA_PROBE_MAX), &p, err);
        if (ret == 0 && !qcbmi_guest_piece_is_zero(&p))
            ret = qcbmi_data_read(d, off, buf, p.end - off, err);
        if (ret == 0 && !qcbmi_guest_piece_is_zero(&p) && !bytes_are_zero(buf, p.end - off))
            ret = qcbmi_fail(
                err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                "it has no probes of data, the disk has no recorded state, and there is data at guest 0x%" PRIx64
                ", which it leaves alone: nothing says that they belong together (--force-parent takes "
                "your word for it)",
                off);
        off = p.end;
    }
    return ret;
}

/* Nothing can be compared: then what the delta leaves alone, and does not cut off, must be empty. */
static int check_rest(struct qcbmi_apply_run *r, size_t i, struct qcbm_error *err)
{
    const struct qcbmi_apply_item *item = &r->items[i];
    uint64_t end = align_down(u64_min(old_end(r, i), item->meta.size_after), Q2_SECTOR), at = 0;
    uint8_t *buf = qcbmi_alloc_array(QCBMI_DELTA_PROBE_MAX, 1, err);
    struct qcbmi_apply_stream s = { 0 };
    struct qcbmi_data *d = NULL;
    struct qcbmi_guest_extent e = { 0 };
    int ret = buf ? qcbmi_apply_stream_open(&s, item->path, err) : QCBM_E_NOMEM, more = 1;

    if (ret == 0)
        ret = qcbmi_target_reader(&r->t, &d, err);
    while (ret == 0 && more > 0 && at < end) {
        more = s.stream.next(s.stream.opaque, &e, err);
        ret = more < 0 ? more : check_zeros(d, at, more ? u64_min(e.off, end) : end, buf, err);
        at = e.end;
    }
    qcbmi_data_close(d);
    qcbmi_apply_stream_close(&s);
    free(buf);
    return ret;
}

/* ---- all of it ---- */

int qcbmi_apply_check_base(struct qcbmi_apply_run *r, size_t i, uint32_t *probes, struct qcbm_error *err)
{
    const struct qcbmi_apply_item *item = &r->items[i];
    int ret = check_size(r, i, err);

    if (ret == 0 && !is_forced(r))
        ret = check_parent(r, i, err);
    if (ret == 0)
        ret = qcbmi_apply_check_probes(r, i, probes, err);
    if (ret == 0 && !is_forced(r) && r->disk.known != QCBMI_STATE_KNOWN && r->data_probes == 0)
        ret = check_rest(r, i, err);
    return in_delta(item->path, ret, err);
}
