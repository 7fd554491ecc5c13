/* delta_unit.h - deltas written to files and read from memory, for tests of forms
 * SPDX-License-Identifier: MIT */
#ifndef DELTA_UNIT_H
#define DELTA_UNIT_H

#include "unit.h"

#include <fcntl.h>

#include "delta/delta.h"
#include "qcbm-io.h"
#include "temp_dir.h"

/* What a delta is written of: byte b of data at offset o is o % 251 + 1. */
static inline void fill_pattern(uint8_t *to, uint64_t offset, uint64_t length)
{
    for (uint64_t i = 0; i < length; i++)
        to[i] = (uint8_t)((offset + i) % 251 + 1);
}

static inline struct qcbmi_delta_meta some_meta(uint64_t size)
{
    struct qcbmi_delta_meta m = {
        .kind = QCBMI_IDENTITY_DELTA, .size_before = size, .size_after = size, .has_parent = true, .granularity = 65536
    };

    memset(m.id, 0xab, sizeof m.id);
    memset(m.parent, 0xcd, sizeof m.parent);
    return m;
}

/* Write @n records in pieces of @piece bytes. */
static inline int write_records(const struct qcbmi_delta_wish *wish, const struct qcbmi_delta_meta *meta,
                                const struct qcbmi_delta_record *r, size_t n, uint64_t piece, struct qcbm_error *err)
{
    struct qcbmi_delta_writer w;
    uint8_t *buf = malloc(piece);
    int ret = qcbmi_delta_writer_open(&w, wish, meta, err);

    assert_non_null(buf);
    for (size_t i = 0; ret == 0 && i < n; i++)
        ret = qcbmi_delta_announce(&w, &r[i], err);
    if (ret == 0)
        ret = qcbmi_delta_begin(&w, err);
    for (size_t i = 0; i < n; i++)
        for (uint64_t at = 0, step; ret == 0 && at < r[i].length; at += step) {
            step = r[i].length - at < piece ? r[i].length - at : piece;
            fill_pattern(buf, r[i].offset + at, step);
            ret = r[i].type == QCBMI_DELTA_ZERO ? qcbmi_delta_zero(&w, r[i].offset + at, step, err)
                                                : qcbmi_delta_data(&w, r[i].offset + at, step, buf, err);
        }
    if (ret == 0)
        ret = qcbmi_delta_end(&w, err);
    qcbmi_delta_writer_close(&w);
    free(buf);
    return ret;
}

/* The bytes of a file, from malloc(). */
static inline uint8_t *slurp(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    uint8_t *bytes;

    assert_non_null(f);
    assert_int_equal(fseek(f, 0, SEEK_END), 0);
    *len = (size_t)ftell(f);
    rewind(f);
    bytes = malloc(*len ? *len : 1);
    assert_non_null(bytes);
    assert_int_equal(fread(bytes, 1, *len, f), *len);
    fclose(f);
    return bytes;
}

static inline void memory_io(struct qcbmi_io *io, const void *bytes, size_t len)
{
    struct qcbm_mem *mem = NULL;

    assert_int_equal(qcbm_mem_new(bytes, len, &mem, NULL), 0);
    assert_int_equal(qcbmi_io_init(io, qcbm_mem_ops(), mem, false, NULL), 0);
}

/* Open @len bytes in memory, with no other file beside, or with the sidecar @json. */
static inline int open_bytes(const void *bytes, size_t len, const char *json, struct qcbmi_delta **out,
                             struct qcbm_error *err)
{
    struct qcbmi_delta_files files = { 0 };

    memory_io(&files.main, bytes, len);
    if (json)
        memory_io(&files.json, json, strlen(json));
    return qcbmi_delta_open_files(&files, out, err);
}

/* All records, and all data in them, on an array of the size of the disk, in which what no record has is 0xff. */
static inline int read_all(struct qcbmi_delta *d, uint8_t *disk, struct qcbm_error *err)
{
    struct qcbmi_delta_record r;
    int ret;

    memset(disk, 0xff, d->meta.size_after);
    while ((ret = qcbmi_delta_next(d, &r, err)) == 1) {
        if (r.type == QCBMI_DELTA_ZERO)
            memset(disk + r.offset, 0, r.length);
        else if ((ret = qcbmi_delta_read(d, r.offset, disk + r.offset, r.length, err)) < 0)
            return ret;
    }
    return ret;
}

#endif
