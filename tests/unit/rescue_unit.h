/* rescue_unit.h - what the unit tests of a rescue share: a built image, damaged and rescued in memory, its ranges as
 * text
 * SPDX-License-Identifier: MIT */
#ifndef RESCUE_UNIT_H
#define RESCUE_UNIT_H

#include "image_unit.h"

#include "io/io.h"
#include "rescue/rescue_run.h"

struct rescued {
    char ranges[2048]; /* "start-end score code", separated by "; " */
    struct qcbm_rescue_result result;
    struct qcbm_error err;
    int ret;
    struct qcbm_mem *mem; /* the new image */
};

static inline int add_range_text(void *opaque, const struct qcbm_rescue_range *r)
{
    char *text = ((struct rescued *)opaque)->ranges;
    size_t n = strlen(text), size = sizeof(((struct rescued *)opaque)->ranges);

    snprintf(text + n, size - n, "%s%llu-%llu %u %s", n ? "; " : "", (unsigned long long)r->start,
             (unsigned long long)(r->start + r->length), r->score, r->code);
    return 0;
}

/* @size: of the disk, where the header is lost. */
static inline void rescue_bytes(struct rescued *out, const void *bytes, size_t len, uint64_t size)
{
    struct qcbm_rescue_options o = QCBM_RESCUE_OPTIONS_INIT;
    struct qcbmi_io from, to;
    struct qcbm_mem *old;

    memset(out, 0, sizeof(*out));
    o.range = add_range_text;
    o.opaque = out;
    o.size = size;
    assert_int_equal(qcbm_mem_new(bytes, len, &old, NULL), 0);
    assert_int_equal(qcbm_mem_new(NULL, 0, &out->mem, NULL), 0);
    qcbm_mem_keep(out->mem);
    assert_int_equal(qcbmi_io_init(&from, qcbm_mem_ops(), old, false, NULL), 0);
    assert_int_equal(qcbmi_io_init(&to, qcbm_mem_ops(), out->mem, true, NULL), 0);
    out->ret = qcbmi_rescue_run(&from, NULL, &to, &o, &out->result, &out->err);
    qcbmi_io_close(&from);
    qcbmi_io_close(&to);
}

static inline void assert_rescue(struct rescued *out, const struct image_builder *b, const char *ranges)
{
    rescue_bytes(out, b->bytes, b->len, 0);
    assert_ok(out->ret, &out->err);
    assert_string_equal(out->ranges, ranges);
}

/* The new image, which is clean; close it. */
static inline struct qcbm_image *open_rescued(const struct rescued *r)
{
    struct qcbm_check_result check;
    struct qcbm_image *img;
    struct qcbm_error err = { 0 };
    struct qcbm_mem *copy;
    size_t len;
    const void *bytes = qcbm_mem_data(r->mem, &len);

    assert_int_equal(qcbm_mem_new(bytes, len, &copy, NULL), 0);
    assert_ok(qcbm_open_io(qcbm_mem_ops(), copy, 0, &img, &err), &err);
    assert_ok(qcbm_check(img, NULL, &check, sizeof(check), &err), &err);
    assert_int_equal(check.corruptions + check.leaks + check.check_errors, 0);
    return img;
}

static inline void assert_guest_byte(struct qcbm_image *img, uint64_t guest, uint8_t want)
{
    struct qcbm_error err = { 0 };
    uint8_t got;

    assert_ok(qcbm_read(img, guest, &got, 1, QCBM_READ_LAYER, &err), &err);
    assert_int_equal(got, want);
}

static inline void free_rescued(struct rescued *r)
{
    qcbm_mem_free(r->mem);
}

/* Guest clusters of 512 bytes filled with @byte; returns where that lies. */
static inline uint64_t build_filled(struct image_builder *b, uint64_t guest, uint8_t byte)
{
    uint64_t at = build_data(b, guest);

    memset(b->bytes + at, byte, b->cluster_size);
    return at;
}

#endif
