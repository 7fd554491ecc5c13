/* fingerprint.c - what tells one disk from another across a migration
 * SPDX-License-Identifier: MIT */
#include "ops/fingerprint.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "image/guest_map.h"

#define HEAD 65536u

/* The bytes of @piece into @to, which is all zeros; false if they are not in the file as they are. */
static bool read_piece(struct qcbmi_image *img, const struct qcbmi_guest_piece *piece, uint8_t *to, int *ret,
                       struct qcbm_error *err)
{
    uint64_t len = piece->end - piece->start;

    if (!q2_kind_is_allocated(piece->kind))
        return !img->backing_file;
    if (piece->kind == Q2_COMPRESSED)
        return false;
    if (piece->kind == Q2_NORMAL)
        *ret = qcbmi_io_read_slack(&img->io, piece->host, to, len, img->g.cluster_size, "guest data", err);
    return *ret == 0;
}

/* QCBM_E_CORRUPT means that some of it cannot be read. */
static int read_head(struct qcbmi_image *img, uint8_t *to, uint64_t len, bool *known, struct qcbm_error *err)
{
    struct qcbmi_chain_options this_layer = { .max_layers = 1 };
    struct qcbmi_guest_piece piece = { 0 };
    struct qcbmi_guest_map map = { 0 };
    struct qcbmi_chain chain = { 0 };
    int ret = qcbmi_chain_open(img, &this_layer, &chain, err);

    if (ret == 0)
        ret = qcbmi_guest_map_init(&map, &chain, QCBMI_GUEST_STRICT, err);
    *known = true;
    while (ret == 0 && *known && piece.end < len) {
        ret = qcbmi_guest_map_at(&map, piece.end, &piece, err);
        if (ret == 0 && piece.kind == Q2_INVALID)
            ret = qcbmi_guest_map_fail(&map, &piece, err);
        piece.end = u64_min(piece.end, len);
        if (ret == 0)
            *known = read_piece(img, &piece, to + piece.start, &ret, err);
    }
    qcbmi_guest_map_free(&map);
    qcbmi_chain_close(&chain);
    return ret;
}

int qcbmi_fingerprint_at(struct qcbmi_image *img, uint64_t size, bool *known, uint8_t out[QCBMI_DIGEST_BYTES],
                         struct qcbm_error *err)
{
    uint64_t len = u64_min(size, HEAD);
    struct qcbm_error local; /* what cannot be read is no error here, and must not leave one */
    uint8_t *bytes;
    int ret = 0;

    *known = false;
    if (img->g.data_file || img->h.crypt_method)
        return 0;
    bytes = qcbmi_alloc_array(8 + len, 1, err);
    if (!bytes)
        return QCBM_E_NOMEM;
    be64_store(bytes, size);
    ret = read_head(img, bytes + 8, len, known, &local);
    if (ret == QCBM_E_CORRUPT)
        *known = false;
    if (*known && ret == 0)
        qcbmi_digest(bytes, (size_t)(8 + len), out);
    free(bytes);
    if (ret == 0 || ret == QCBM_E_CORRUPT)
        return 0;
    if (err)
        *err = local;
    return ret;
}

int qcbmi_fingerprint(struct qcbmi_image *img, bool *known, uint8_t out[QCBMI_DIGEST_BYTES], struct qcbm_error *err)
{
    return qcbmi_fingerprint_at(img, img->g.sector_size_down, known, out, err);
}
