/* fingerprint.c - what tells one disk from another across a migration
 * SPDX-License-Identifier: MIT */
#include "ops/fingerprint.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "image/layer_map.h"

#define HEAD 65536u

/* The bytes of @piece from @guest on into @to, which is all zeros; false if they are not in the file. */
static bool read_piece(struct qcbm_image *img, const struct qcbmi_layer_piece *piece, uint64_t guest, uint8_t *to,
                       int *ret, struct qcbm_error *err)
{
    if (piece->zero)
        return true;
    if (!piece->data) /* unallocated */
        return !img->backing_file;
    if (!piece->has_offset)
        return false;
    *ret = qcbmi_io_read_slack(&img->io, piece->offset, to, piece->end - guest, img->g.cluster_size, "guest data", err);
    return *ret == 0;
}

/* QCBM_E_CORRUPT means that some of it cannot be read. */
static int read_head(struct qcbm_image *img, uint8_t *to, uint64_t len, bool *known, struct qcbm_error *err)
{
    struct qcbmi_layer layer = { .img = img, .size = img->g.size, .borrowed = true };
    struct qcbmi_layer_piece piece = { 0 };
    struct qcbmi_layer_map map;
    int ret = qcbmi_layer_map_init(&map, &layer, err);

    *known = true;
    for (uint64_t at = 0; ret == 0 && *known && at < len; at = piece.end) {
        ret = qcbmi_layer_map_at(&map, at, len, &piece, err);
        if (ret == 0)
            *known = read_piece(img, &piece, at, to + at, &ret, err);
    }
    qcbmi_layer_map_free(&map);
    return ret;
}

int qcbmi_fingerprint(struct qcbm_image *img, bool *known, uint8_t out[QCBMI_DIGEST_BYTES], struct qcbm_error *err)
{
    uint64_t size = img->g.sector_size_down, len = u64_min(size, HEAD);
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
