/* undo_load.c - an undo file, opened and checked as a whole before anything is done with it
 * SPDX-License-Identifier: MIT */
#include "write/undo_load.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "io/open.h"

#define END QCBMI_UNDO_END_BYTES

/* Header, length and end mark: is it an undo file, and complete? */
static int load_frame(struct qcbmi_undo_file *u, struct qcbm_error *err)
{
    uint8_t header[QCBMI_UNDO_HEADER_BYTES] = { 0 }, tail[END + QCBMI_UNDO_SEAL_BYTES];
    uint64_t n_tail;
    int ret = qcbmi_io_read(&u->io, 0, header, u64_min(u->io.size, sizeof(header)), "header", err);

    if (ret == 0)
        ret = qcbmi_undo_header_parse(header, &u->h, err);
    if (ret < 0)
        return ret;
    if (u->io.size < u->h.file_len)
        return qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET,
                          "the undo file is incomplete, it has %" PRIu64 " of %" PRIu64
                          " bytes: the operation was stopped before it changed the image, or the file was cut",
                          u->io.size, u->h.file_len);
    if (u->io.size > u->h.file_len)
        return qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET,
                          "the undo file is damaged: it has %" PRIu64 " bytes and should have %" PRIu64, u->io.size,
                          u->h.file_len);
    n_tail = qcbmi_undo_tail_bytes(&u->h);
    ret = qcbmi_io_read(&u->io, u->h.file_len - n_tail, tail, n_tail, "end mark", err);
    if (ret == 0)
        ret = qcbmi_undo_end_check(tail, header, err);
    if (ret == 0 && n_tail > END)
        ret = qcbmi_undo_seal_parse(tail + END, header, &u->seal, err);
    return ret;
}

int qcbmi_undo_file_record(struct qcbmi_undo_file *u, size_t i, struct qcbm_error *err)
{
    const struct qcbmi_undo_place *p = &u->places[i];
    int ret = qcbmi_io_read(&u->io, p->at, u->record, qcbmi_undo_record_bytes(&p->r), "record", err);

    return ret < 0 ? ret : qcbmi_undo_record_check(u->record, &p->r, p->at, err);
}

/* Records that change something are in order of place and stage; two are about the same bytes, or share none. */
static bool in_order(const struct qcbmi_undo_file *u, const struct qcbmi_undo_record *r)
{
    const struct qcbmi_undo_record *last = u->n ? &u->places[u->n - 1].r : NULL;

    if (!last || r->kind == QCBMI_UNDO_UNTOUCHED)
        return true;
    if (last->kind == QCBMI_UNDO_UNTOUCHED)
        return false;
    if (last->off == r->off)
        return last->len == r->len && last->stage <= r->stage;
    return r->off > last->off && r->off - last->off >= last->len;
}

static int load_record(struct qcbmi_undo_file *u, uint64_t *at, struct qcbm_error *err)
{
    struct qcbmi_undo_place p = { .at = *at };
    uint8_t fixed[QCBMI_UNDO_RECORD_FIXED];
    uint64_t end = u->h.file_len - qcbmi_undo_tail_bytes(&u->h);
    int ret = QCBM_E_CORRUPT;

    if (range_fits(*at, sizeof(fixed), end)) {
        ret = qcbmi_io_read(&u->io, *at, fixed, sizeof(fixed), "record", err);
        if (ret == 0)
            ret = qcbmi_undo_record_parse(fixed, u->n, *at, &u->h, &p.r, err);
        if (ret < 0)
            return ret;
    }
    if (ret < 0 || !range_fits(*at, qcbmi_undo_record_bytes(&p.r), end) || !in_order(u, &p.r))
        return qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET,
                          "the undo file is damaged: record at 0x%" PRIx64 " does not fit", *at);
    if (qcbmi_grow_array(&u->places, &u->capacity, u->n, sizeof(p), err) < 0)
        return QCBM_E_NOMEM;
    u->places[u->n++] = p;
    u->n_changed += p.r.kind != QCBMI_UNDO_UNTOUCHED;
    *at += qcbmi_undo_record_bytes(&p.r);
    return qcbmi_undo_file_record(u, u->n - 1, err);
}

static int load_records(struct qcbmi_undo_file *u, struct qcbm_error *err)
{
    uint64_t at = QCBMI_UNDO_HEADER_BYTES;
    int ret = 0;

    u->record = qcbmi_alloc_array(u64_min(QCBMI_UNDO_MAX_RECORD_BYTES, u->h.file_len), 1, err);
    if (!u->record)
        return QCBM_E_NOMEM;
    while (ret == 0 && u->n < u->h.n_records)
        ret = load_record(u, &at, err);
    if (ret == 0 && qcbmi_undo_end_offset(&u->h, at) + qcbmi_undo_tail_bytes(&u->h) != u->h.file_len)
        ret = qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "the undo file is damaged: its records end at 0x%" PRIx64,
                         at);
    return ret;
}

int qcbmi_undo_file_open(struct qcbmi_undo_file *u, const char *path, struct qcbm_error *err)
{
    char text[256];
    int ret = qcbmi_open(&u->io, path, false, err);

    if (ret == 0)
        ret = load_frame(u, err);
    if (ret == 0)
        ret = load_records(u, err);
    if (ret == 0)
        return 0;
    qcbmi_printable(text, sizeof(text), path, strlen(path));
    return qcbmi_prefix(err, ret, "'%s': ", text);
}

void qcbmi_undo_file_close(struct qcbmi_undo_file *u)
{
    qcbmi_io_close(&u->io);
    free(u->places);
    free(u->record);
    memset(u, 0, sizeof(*u));
}
