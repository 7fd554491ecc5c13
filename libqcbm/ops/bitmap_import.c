/* bitmap_import.c - a bitmap from a file of its own, which may hold anything
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/sized.h"
#include "bitmap/bitmap_edit.h"
#include "format/bitmap_file.h"
#include "ops/fingerprint.h"

#define PIECE (BMF_MAX_BITS / 8)

struct in {
    qcbm_read_fn *fn;
    void *opaque;
    struct qcbm_edit *edit;
    struct qcbm_import_options opt;
    struct qcbm_import_result result;
    uint64_t at; /* bytes read */
    struct qcbmi_digest_state digest;
    unsigned gran_bits;
    uint32_t flags; /* of the new bitmap */
    struct qcbmi_dirtymap map;
    uint8_t piece[PIECE];
};

/* ---- reading ---- */

static int read_some(struct in *in, void *to, size_t len, size_t *got, struct qcbm_error *err)
{
    for (*got = 0; *got < len;) {
        int64_t n = in->fn(in->opaque, (uint8_t *)to + *got, len - *got);

        if (n < 0 || (uint64_t)n > len - *got)
            return qcbmi_fail_stopped(err);
        if (n == 0)
            break;
        *got += (size_t)n;
    }
    in->at += *got;
    return 0;
}

static int read_all(struct in *in, void *to, size_t len, const char *what, struct qcbm_error *err)
{
    size_t got;
    int ret = read_some(in, to, len, &got, err);

    if (ret == 0 && got < len)
        ret = qcbmi_fail(err, QCBM_E_CORRUPT, in->at, "the file ends within %s", what);
    return ret;
}

static int read_digested(struct in *in, void *to, size_t len, const char *what, struct qcbm_error *err)
{
    int ret = read_all(in, to, len, what, err);

    if (ret == 0)
        qcbmi_digest_add(&in->digest, to, len);
    return ret;
}

static int read_end(struct in *in, struct qcbm_error *err)
{
    uint8_t byte;
    size_t got;
    int ret = read_some(in, &byte, 1, &got, err);

    if (ret == 0 && got)
        ret = qcbmi_fail(err, QCBM_E_CORRUPT, in->at - 1, "the file goes on behind the end of the bitmap");
    return ret;
}

/* ---- bits ---- */

/* @granules bits from in->piece to granule @first, a multiple of 8. */
static int store_bits(struct in *in, uint64_t first, uint64_t granules, struct qcbm_error *err)
{
    size_t len = (size_t)div_up(granules, 8);

    if (granules % 8 && in->piece[len - 1] >> (granules % 8))
        return qcbmi_fail(err, QCBM_E_CORRUPT, in->at - 1, "bits behind the end of the disk are set");
    return qcbmi_bitset_store_bytes(&in->map.bits, first / 8, in->piece, len, err);
}

/* An error of the image: its offset would be taken for one in the file that is read. */
static int fail_image(int ret, struct qcbm_error *err)
{
    if (err)
        err->offset = QCBM_NO_OFFSET;
    return ret;
}

/* @size: of the disk that the bits are of. */
static int start_map(struct in *in, uint64_t size, struct qcbm_error *err)
{
    int ret = qcbmi_edit_check_size(in->edit, in->gran_bits, err);

    if (ret < 0)
        return fail_image(ret, err);
    return qcbmi_dirtymap_init(&in->map, size, in->gran_bits, err);
}

/* All has been read: make it a map of the disk as it is now. */
static int grow_map(struct in *in, struct qcbm_error *err)
{
    uint64_t size = in->edit->img->g.sector_size_down;
    struct qcbmi_dirtymap map = { 0 }, old;
    int ret;

    if (in->map.size == size)
        return 0;
    ret = qcbmi_dirtymap_init(&map, size, in->gran_bits, err);
    if (ret == 0)
        ret = qcbmi_dirtymap_merge(&map, &in->map, err);
    if (ret == 0)
        ret = qcbmi_dirtymap_set_tail(&map, in->map.size, err);
    old = in->map;
    in->map = map;
    qcbmi_dirtymap_free(&old);
    return ret;
}

static int read_raw(struct in *in, struct qcbm_error *err)
{
    uint64_t n, left;
    int ret;

    if (in->opt.flags & QCBM_IMPORT_GROWN)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                          "raw bits do not say how large their disk was, so that bits that are missing could be lost");
    if (in->opt.granularity == 0)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "raw bits do not say their granularity: it must be given");
    ret = qcbmi_edit_granularity(in->edit, in->opt.granularity, &in->gran_bits, err);
    if (ret == 0)
        ret = start_map(in, in->edit->img->g.sector_size_down, err);
    for (left = in->map.bits.n_bits; ret == 0 && left; left -= n) {
        n = u64_min(left, 8 * PIECE);
        ret =
            read_all(in, in->piece, (size_t)div_up(n, 8), "the bits (or they are of another size or granularity)", err);
        if (ret == 0 && in->opt.format == QCBM_TRANSFER_RAW_MSB)
            bytes_turn_bits(in->piece, (size_t)div_up(n, 8));
        if (ret == 0)
            ret = store_bits(in, in->map.bits.n_bits - left, n, err);
    }
    return ret < 0 ? ret : read_end(in, err);
}

static int read_records(struct in *in, struct qcbm_error *err)
{
    uint64_t at = 0, n_bits = in->map.bits.n_bits;
    struct granule_record r = { BMF_CLEAN, 0 };
    uint8_t bytes[GRANULE_RECORD];
    int ret = 0;

    while (ret == 0 && r.kind != BMF_END) {
        ret = read_digested(in, bytes, sizeof(bytes), "the head of a record", err);
        if (ret == 0)
            ret = qcbmi_bmf_record_parse(bytes, n_bits - at, in->at - sizeof(bytes), &r, err);
        if (ret < 0)
            break;
        if (r.kind == BMF_DIRTY)
            ret = qcbmi_bitset_set(&in->map.bits, at, at + r.granules, err);
        if (r.kind == BMF_BITS)
            ret = read_digested(in, in->piece, (size_t)div_up(r.granules, 8), "a record of bits", err);
        if (ret == 0 && r.kind == BMF_BITS)
            ret = store_bits(in, at, r.granules, err);
        at += r.granules;
    }
    return ret;
}

/* ---- header ---- */

static int judge_fingerprint(struct in *in, const struct bmf_header *h, struct qcbm_error *err)
{
    uint8_t ours[BMF_DIGEST];
    bool known = false;
    int ret = 0;

    if (h->flags & BMF_HAS_FINGERPRINT)
        ret = qcbmi_fingerprint_at(in->edit->img, h->size, &known, ours, err);
    if (ret < 0)
        return fail_image(ret, err);
    if (!known)
        return 0;
    if (memcmp(ours, h->fingerprint, sizeof(ours)) == 0) {
        in->result.fingerprint = QCBM_FINGERPRINT_EQUAL;
        return 0;
    }
    in->result.fingerprint = QCBM_FINGERPRINT_DIFFERENT;
    if (in->opt.flags & QCBM_IMPORT_FORCE)
        return 0;
    return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                      "the disk does not begin with the bytes that it had when the bitmap was exported: it is another "
                      "disk, or was written since");
}

static int read_header(struct in *in, struct qcbm_error *err)
{
    uint64_t size = in->edit->img->g.sector_size_down;
    uint8_t bytes[BMF_MAX_HEADER];
    struct bmf_header h;
    int ret = read_digested(in, bytes, BMF_FIXED, "the header", err);

    if (ret == 0)
        ret = qcbmi_bmf_header_parse(bytes, &h, err);
    if (ret == 0)
        ret = read_digested(in, bytes, h.length - BMF_FIXED, "the name", err);
    if (ret == 0)
        ret = qcbmi_bmf_name_check(bytes, &h, err);
    if (ret < 0)
        return ret;
    memcpy(in->result.name, bytes, h.name_len);
    if (h.size > size || (h.size < size && !(in->opt.flags & QCBM_IMPORT_GROWN)))
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                          "the bitmap is of a disk of %" PRIu64 " bytes, this one has %" PRIu64, h.size, size);
    if (in->opt.granularity && in->opt.granularity != UINT64_C(1) << h.gran_bits)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                          "the bitmap has a granularity of %" PRIu64 ", another one cannot be asked for",
                          UINT64_C(1) << h.gran_bits);
    in->gran_bits = h.gran_bits;
    in->flags = h.flags & BMF_ENABLED && !(in->opt.flags & QCBM_IMPORT_DISABLED) ? Q2_BITMAP_AUTO : 0;
    ret = judge_fingerprint(in, &h, err);
    return ret < 0 ? ret : start_map(in, h.size, err);
}

static int read_own(struct in *in, struct qcbm_error *err)
{
    uint8_t stored[BMF_DIGEST], digest[BMF_DIGEST];
    int ret = qcbmi_digest_begin(&in->digest, err);

    if (ret < 0)
        return ret;
    ret = read_header(in, err);
    if (ret == 0)
        ret = read_records(in, err);
    qcbmi_digest_end(&in->digest, digest);
    if (ret == 0)
        ret = read_all(in, stored, sizeof(stored), "the digest", err);
    if (ret == 0 && memcmp(stored, digest, sizeof(digest)) != 0)
        ret = qcbmi_fail(err, QCBM_E_CORRUPT, in->at - sizeof(stored),
                         "the digest does not fit: the file has been damaged");
    return ret < 0 ? ret : read_end(in, err);
}

/* ---- the call ---- */

static int import(struct in *in, const char *name, struct qcbm_error *err)
{
    int ret;

    in->flags = in->opt.flags & QCBM_IMPORT_DISABLED ? 0 : Q2_BITMAP_AUTO;
    ret = in->opt.format == QCBM_TRANSFER_QCBM ? read_own(in, err) : read_raw(in, err);
    if (ret == 0)
        ret = grow_map(in, err);
    if (ret == 0)
        ret = qcbmi_edit_insert(in->edit, name, in->gran_bits, in->flags, false, &in->map, err);
    return ret;
}

int qcbm_edit_import(struct qcbm_edit *edit, const char *name, const struct qcbm_import_options *options,
                     qcbm_read_fn *fn, void *opaque, struct qcbm_import_result *out, size_t out_size,
                     struct qcbm_error *err)
{
    int ret = out ? qcbmi_check_size(out_size, err) : 0;
    struct in *in;

    if (ret < 0)
        return ret;
    in = qcbmi_alloc_array(1, sizeof(*in), err);
    if (!in)
        return QCBM_E_NOMEM;
    in->fn = fn;
    in->opaque = opaque;
    in->edit = edit;
    in->opt = (struct qcbm_import_options)QCBM_IMPORT_OPTIONS_INIT;
    ret = qcbmi_take_options(&in->opt, sizeof(in->opt), options, err);
    if (ret == 0)
        ret = import(in, name, err);
    if (ret == 0 && out)
        qcbmi_give(out, out_size, &in->result, sizeof(in->result));
    qcbmi_dirtymap_free(&in->map);
    free(in);
    return ret;
}
