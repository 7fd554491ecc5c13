/* raw_map.c - the form raw+map: a sparse file with the bytes where the disk has them, and PATH.map, which says what
 * counts
 * SPDX-License-Identifier: MIT
 *
 * The map is JSON lines: the size of the disk, a line for each record, and at the end their number and the digest,
 * without which it was cut short. The lines are read one by one. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"
#include "delta/delta.h"
#include "delta/map_text.h"

#define BUFFER (UINT64_C(64) << 10)

/* ---- writer ---- */

struct map_writer {
    struct qcbmi_delta_record last; /* not written yet, as it may go on; length 0: none */
    uint64_t n_records, at;         /* at: bytes of the file that were written */
    size_t len;
    char text[BUFFER];
};

static int write_out(struct qcbmi_delta_writer *w, struct qcbm_error *err)
{
    struct map_writer *m = w->self;
    int ret = qcbmi_io_write(w->map, m->at, m->text, m->len, err);

    m->at += m->len;
    m->len = 0;
    return ret;
}

static int put_line(struct qcbmi_delta_writer *w, const char *line, size_t len, struct qcbm_error *err)
{
    struct map_writer *m = w->self;
    int ret = m->len + len > sizeof(m->text) ? write_out(w, err) : 0;

    if (ret == 0) {
        memcpy(m->text + m->len, line, len);
        m->len += len;
    }
    return ret;
}

static int end_record(struct qcbmi_delta_writer *w, struct qcbm_error *err)
{
    struct map_writer *m = w->self;
    char line[QCBMI_MAP_LINE];

    if (m->last.length == 0)
        return 0;
    m->n_records++;
    return put_line(w, line, qcbmi_map_record_text(line, &m->last), err);
}

static int put_record(struct qcbmi_delta_writer *w, enum qcbmi_delta_type type, uint64_t offset, uint64_t length,
                      struct qcbm_error *err)
{
    struct map_writer *m = w->self;
    int ret;

    if (m->last.length && m->last.type == type && m->last.offset + m->last.length == offset) {
        m->last.length += length;
        return 0;
    }
    ret = end_record(w, err);
    m->last = (struct qcbmi_delta_record){ offset, length, type };
    return ret;
}

static int open_writer(struct qcbmi_delta_writer *w, struct qcbm_error *err)
{
    w->self = qcbmi_alloc_array(1, sizeof(struct map_writer), err);
    return w->self ? 0 : QCBM_E_NOMEM;
}

static int begin(struct qcbmi_delta_writer *w, struct qcbm_error *err)
{
    char line[QCBMI_MAP_LINE];
    int ret = put_line(w, line, qcbmi_map_head_text(line, w->meta.size_after), err);

    return ret == 0 ? qcbmi_io_grow(w->io, w->meta.size_after, err) : ret;
}

static int zero(struct qcbmi_delta_writer *w, uint64_t offset, uint64_t length, struct qcbm_error *err)
{
    return put_record(w, QCBMI_DELTA_ZERO, offset, length, err);
}

static int data(struct qcbmi_delta_writer *w, uint64_t offset, uint64_t length, const uint8_t *bytes,
                struct qcbm_error *err)
{
    int ret = put_record(w, QCBMI_DELTA_DATA, offset, length, err);

    return ret == 0 ? qcbmi_io_write(w->io, offset, bytes, length, err) : ret;
}

static int end(struct qcbmi_delta_writer *w, struct qcbm_error *err)
{
    const struct map_writer *m = w->self;
    char line[QCBMI_MAP_LINE];
    int ret = end_record(w, err);

    if (ret == 0)
        ret = put_line(w, line, qcbmi_map_end_text(line, m->n_records, w->meta.digest), err);
    return ret == 0 ? write_out(w, err) : ret;
}

static void free_writer(struct qcbmi_delta_writer *w)
{
    free(w->self);
}

/* ---- reader ---- */

struct map_reader {
    uint64_t begin, at; /* of the first record; of what is next in the map */
    uint64_t from;      /* of the text that is in .text, */
    size_t len;         /* of so many bytes */
    uint64_t n_records;
    struct qcbmi_map_line end; /* as the last line has it */
    char text[BUFFER];
};

static bool detect(const uint8_t *head, size_t len, bool has_map, bool has_json)
{
    (void)head;
    (void)len;
    (void)has_json;
    return has_map;
}

static int fill(struct qcbmi_delta *d, struct qcbm_error *err)
{
    struct map_reader *m = d->self;

    if (m->at >= m->from && m->at < m->from + m->len &&
        (m->from + m->len == d->files.map.size || m->from + m->len - m->at >= QCBMI_MAP_LINE))
        return 0;
    m->from = m->at;
    m->len = (size_t)u64_min(d->files.map.size - m->at, sizeof(m->text));
    return qcbmi_io_read(&d->files.map, m->from, m->text, m->len, "map", err);
}

/* The next line of the map. */
static int take_line(struct qcbmi_delta *d, struct qcbmi_map_line *out, struct qcbm_error *err)
{
    struct map_reader *m = d->self;
    const char *line, *newline;
    uint64_t at = m->at;
    int ret = fill(d, err);

    if (ret < 0)
        return ret;
    line = m->text + (m->at - m->from);
    newline = memchr(line, '\n', u64_min(m->len - (m->at - m->from), QCBMI_MAP_LINE));
    if (!newline || !qcbmi_map_line_parse(line, (size_t)(newline - line), out))
        return qcbmi_fail(err, QCBM_E_CORRUPT, at, "map: what is at byte %" PRIu64 " is no line of it", at);
    m->at += (uint64_t)(newline - line) + 1;
    return 0;
}

/* The last line: without it the map was cut short. */
static int look_at_end(struct qcbmi_delta *d, struct qcbm_error *err)
{
    struct map_reader *m = d->self;
    uint64_t len = u64_min(d->files.map.size, QCBMI_MAP_LINE), at = len;
    char text[QCBMI_MAP_LINE];
    int ret = qcbmi_io_read(&d->files.map, d->files.map.size - len, text, len, "map", err);

    if (ret < 0)
        return ret;
    while (at > 1 && text[at - 2] != '\n')
        at--;
    if (len < 2 || text[len - 1] != '\n' || !qcbmi_map_line_parse(text + at - 1, len - at, &m->end) ||
        m->end.kind != QCBMI_MAP_END)
        return qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "map: it has no end: it was cut short");
    return 0;
}

static int agree(struct qcbmi_delta *d, const struct qcbmi_map_line *head, struct qcbm_error *err)
{
    const struct map_reader *m = d->self;

    if (d->has_meta && (d->meta.size_after != head->size || memcmp(d->meta.digest, m->end.digest, QCBMI_DIGEST_BYTES)))
        return qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "the map and the sidecar file are not of one delta");
    if (d->files.main.size != head->size)
        return qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET,
                          "the file has %" PRIu64 " bytes, its map is that of %" PRIu64, d->files.main.size,
                          head->size);
    d->meta.size_after = head->size;
    memcpy(d->meta.digest, m->end.digest, QCBMI_DIGEST_BYTES);
    d->meta.has_digest = true;
    return 0;
}

static int load(struct qcbmi_delta *d, struct qcbm_error *err)
{
    struct map_reader *m = qcbmi_alloc_array(1, sizeof(*m), err);
    struct qcbmi_map_line head;
    int ret;

    d->self = m;
    if (!m)
        return QCBM_E_NOMEM;
    ret = take_line(d, &head, err);
    if (ret == 0 && head.kind != QCBMI_MAP_HEAD)
        ret = qcbmi_fail(err, QCBM_E_CORRUPT, 0, "map: its first line is not that of a map");
    m->begin = m->at;
    if (ret == 0)
        ret = look_at_end(d, err);
    return ret == 0 ? agree(d, &head, err) : ret;
}

static int next(struct qcbmi_delta *d, struct qcbmi_delta_record *out, struct qcbm_error *err)
{
    struct map_reader *m = d->self;
    struct qcbmi_map_line line;
    int ret = take_line(d, &line, err);

    if (ret < 0)
        return ret;
    if (line.kind == QCBMI_MAP_RECORD) {
        m->n_records++;
        *out = line.record;
        return 1;
    }
    if (line.kind != QCBMI_MAP_END || m->at != d->files.map.size || line.n_records != m->n_records)
        return qcbmi_fail(err, QCBM_E_CORRUPT, m->at, "map: it has not the records that its last line tells of");
    return 0;
}

static int read_data(struct qcbmi_delta *d, uint64_t offset, void *buf, uint64_t len, struct qcbm_error *err)
{
    return qcbmi_io_read(&d->files.main, offset, buf, len, "data", err);
}

static int rewind_map(struct qcbmi_delta *d, struct qcbm_error *err)
{
    struct map_reader *m = d->self;

    (void)err;
    m->at = m->begin;
    m->n_records = 0;
    return 0;
}

static void unload(struct qcbmi_delta *d)
{
    free(d->self);
}

const struct qcbmi_delta_form qcbmi_delta_raw_map = {
    .name = "raw+map",
    .has_sidecar = true,
    .has_map = true,
    .open = open_writer,
    .begin = begin,
    .zero = zero,
    .data = data,
    .end = end,
    .free = free_writer,
    .detect = detect,
    .load = load,
    .next = next,
    .read = read_data,
    .rewind = rewind_map,
    .unload = unload,
};
