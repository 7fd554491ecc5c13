/* bitmap_export.c - a stored bitmap to a file of its own, streamed
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "bitmap/bitmap_load.h"
#include "format/bitmap_file.h"
#include "ops/fingerprint.h"

#define PIECE 65536u

struct out {
    qcbm_write_fn *fn;
    void *opaque;
    bool raw, msb; /* bits alone; the highest one of a byte first */
    uint64_t n_bits;
    struct granule_record run; /* clean or dirty, not yet written; granules 0 = none */
    struct qcbmi_digest_state digest;
    uint8_t piece[PIECE], turned[PIECE];
};

static int put_turned(struct out *o, const uint8_t *bytes, size_t len, struct qcbm_error *err)
{
    for (size_t done = 0, n; done < len; done += n) {
        n = (size_t)u64_min(len - done, PIECE);
        memcpy(o->turned, bytes + done, n);
        bytes_turn_bits(o->turned, n);
        if (o->fn(o->opaque, o->turned, n))
            return qcbmi_fail_stopped(err);
    }
    return 0;
}

static int put(struct out *o, const void *bytes, size_t len, struct qcbm_error *err)
{
    if (o->msb)
        return put_turned(o, bytes, len, err);
    if (!o->raw)
        qcbmi_digest_add(&o->digest, bytes, len);
    if (o->fn(o->opaque, bytes, len))
        return qcbmi_fail_stopped(err);
    return 0;
}

static int put_record(struct out *o, uint32_t kind, uint64_t granules, struct qcbm_error *err)
{
    uint8_t bytes[GRANULE_RECORD];

    qcbmi_granule_record_store(bytes, kind, granules);
    return put(o, bytes, sizeof(bytes), err);
}

static int end_run(struct out *o, struct qcbm_error *err)
{
    int ret = o->run.granules ? put_record(o, o->run.kind, o->run.granules, err) : 0;

    o->run.granules = 0;
    return ret;
}

static int put_run(struct out *o, bool dirty, uint64_t granules, struct qcbm_error *err)
{
    uint32_t kind = dirty ? BMF_DIRTY : BMF_CLEAN;
    int ret = 0;

    if (o->run.kind != kind)
        ret = end_run(o, err);
    o->run.kind = kind;
    o->run.granules += granules;
    return ret;
}

/* @granules bits, of which the last byte may hold more, which must not go out. */
static int put_bits(struct out *o, const uint8_t *bytes, uint64_t granules, struct qcbm_error *err)
{
    size_t len = (size_t)div_up(granules, 8);
    uint8_t last;
    int ret;

    if (granules % 8 == 0)
        return put(o, bytes, len, err);
    last = (uint8_t)(bytes[len - 1] & ((1u << (granules % 8)) - 1));
    ret = len > 1 ? put(o, bytes, len - 1, err) : 0;
    return ret < 0 ? ret : put(o, &last, 1, err);
}

static int put_records(struct out *o, enum q2_bitmap_entry_kind kind, uint64_t granules, const uint8_t *bytes,
                       struct qcbm_error *err)
{
    int ret;

    if (kind != Q2_BME_DATA)
        return put_run(o, kind == Q2_BME_ONES, granules, err);
    ret = end_run(o, err);
    for (uint64_t done = 0, n; ret == 0 && done < granules; done += n) {
        n = u64_min(granules - done, BMF_MAX_BITS);
        ret = put_record(o, BMF_BITS, n, err);
        if (ret == 0)
            ret = put_bits(o, bytes + done / 8, n, err);
    }
    return ret;
}

static int put_raw(struct out *o, enum q2_bitmap_entry_kind kind, uint64_t granules, const uint8_t *bytes,
                   struct qcbm_error *err)
{
    int ret = 0;

    if (kind == Q2_BME_DATA)
        return put_bits(o, bytes, granules, err);
    memset(o->piece, kind == Q2_BME_ONES ? 0xff : 0, sizeof(o->piece));
    for (uint64_t done = 0, n; ret == 0 && done < granules; done += n) {
        n = u64_min(granules - done, 8 * PIECE);
        ret = put_bits(o, o->piece, n, err);
    }
    return ret;
}

static int export_piece(void *opaque, enum q2_bitmap_entry_kind kind, uint64_t first_byte, uint64_t n_bytes,
                        const uint8_t *bytes, struct qcbm_error *err)
{
    struct out *o = opaque;
    uint64_t first = 8 * first_byte, end = u64_min(first + 8 * n_bytes, o->n_bits);

    if (first >= end)
        return 0;
    return (o->raw ? put_raw : put_records)(o, kind, end - first, bytes, err);
}

static int put_header(struct out *o, struct qcbmi_image *img, const struct qcbmi_bitmap *b, struct qcbm_error *err)
{
    struct bmf_header h = { .size = img->g.sector_size_down, .gran_bits = b->d.granularity_bits };
    uint8_t bytes[BMF_MAX_HEADER];
    bool known;
    int ret = qcbmi_fingerprint(img, &known, h.fingerprint, err);

    if (ret < 0)
        return ret;
    h.name_len = b->d.name_len;
    h.flags = (b->d.flags & Q2_BITMAP_AUTO ? BMF_ENABLED : 0) | (known ? BMF_HAS_FINGERPRINT : 0);
    return put(o, bytes, qcbmi_bmf_header_store(bytes, &h, b->name), err);
}

static int put_all(struct out *o, struct qcbmi_image *img, const struct qcbmi_bitmap *b, struct qcbm_error *err)
{
    uint8_t digest[BMF_DIGEST];
    int ret;

    if (o->raw)
        return qcbmi_bitmap_walk(img, b, export_piece, o, NULL, err);
    ret = qcbmi_digest_begin(&o->digest, err);
    if (ret < 0)
        return ret;
    ret = put_header(o, img, b, err);
    if (ret == 0)
        ret = qcbmi_bitmap_walk(img, b, export_piece, o, NULL, err);
    if (ret == 0)
        ret = end_run(o, err);
    if (ret == 0)
        ret = put_record(o, BMF_END, 0, err);
    qcbmi_digest_end(&o->digest, digest);
    if (ret == 0 && o->fn(o->opaque, digest, sizeof(digest)))
        ret = qcbmi_fail_stopped(err);
    return ret;
}

int qcbm_bitmap_export(struct qcbm_image *img, const char *name, enum qcbm_transfer_format format, qcbm_write_fn *fn,
                       void *opaque, struct qcbm_error *err)
{
    const struct qcbmi_bitmap *b;
    struct q2_bitmap_size size;
    struct out *o;
    int ret = qcbmi_bitmap_find_readable(img, name, &b, err);

    if (ret == 0)
        ret = q2_bitmap_size(img->image->g.sector_size_down, b->d.granularity_bits, img->image->g.cluster_size, &size,
                             err);
    if (ret == 0)
        ret = qcbmi_bitmap_check_table(img->image, b, err); /* before the first byte goes out */
    if (ret < 0)
        return ret;
    o = qcbmi_alloc_array(1, sizeof(*o), err);
    if (!o)
        return QCBM_E_NOMEM;
    o->fn = fn;
    o->opaque = opaque;
    o->raw = format != QCBM_TRANSFER_QCBM;
    o->msb = format == QCBM_TRANSFER_RAW_MSB;
    o->n_bits = size.bits;
    ret = put_all(o, img->image, b, err);
    free(o);
    return ret;
}
