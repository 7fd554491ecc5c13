/* geometry.c - a damaged image opened: by its header, or by one that is put together from what the rest of the file
 * shows
 * SPDX-License-Identifier: MIT */
#include "rescue/geometry.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "io/io_shadow.h"
#include "rescue/lost_header.h"

#define HEADER_LENGTH 112u
#define MAX_HELD (UINT64_C(8) << 20) /* of a shadow: a first cluster */

/* The image as its file would be with @bytes (NULL: as it is) at its begin. */
static int open_with(struct qcbmi_io *io, const char *path, const uint8_t *bytes, uint64_t len,
                     struct qcbmi_image **out, struct qcbm_error *err)
{
    struct qcbmi_shadow *shadow;
    struct qcbmi_io over = { 0 };
    int ret = qcbmi_shadow_new(io, MAX_HELD, &shadow, err);

    if (ret == 0)
        ret = qcbmi_io_init(&over, qcbmi_shadow_ops(), shadow, true, err);
    if (ret == 0 && bytes)
        ret = qcbmi_io_write(&over, 0, bytes, len, err);
    if (ret < 0) {
        qcbmi_io_close(&over);
        return ret;
    }
    return qcbmi_image_open(&over, path, QCBM_OPEN_NO_LOCK, out, err);
}

/* @found as the first cluster, and nothing else in it but the place of the LUKS header. */
static int open_as(struct qcbmi_io *io, const char *path, const struct qcbmi_lost_header *found,
                   struct qcbmi_image **out, struct qcbm_error *err)
{
    uint64_t cs = UINT64_C(1) << found->h.cluster_bits;
    uint8_t *bytes = qcbmi_alloc_array(cs, 1, err);
    struct q2_header h = found->h;
    int ret;

    if (!bytes)
        return QCBM_E_NOMEM;
    if (found->luks_length && HEADER_LENGTH + 32 <= cs) {
        h.crypt_method = 2;
        be32_store(bytes + HEADER_LENGTH, Q2_EXT_CRYPTO);
        be32_store(bytes + HEADER_LENGTH + 4, 16);
        be64_store(bytes + HEADER_LENGTH + 8, found->luks_offset);
        be64_store(bytes + HEADER_LENGTH + 16, found->luks_length);
    }
    q2_header_store(bytes, &h);
    ret = open_with(io, path, bytes, cs, out, err);
    free(bytes);
    return ret;
}

/* What all headers that are tried have in common. */
static struct q2_header bare_header(const struct qcbmi_refcount_root *root, bool subclusters)
{
    return (struct q2_header){ .version = 3,
                               .cluster_bits = root->cluster_bits,
                               .refcount_order = root->order,
                               .reftable_offset = root->offset,
                               .reftable_clusters = root->clusters,
                               .header_length = HEADER_LENGTH,
                               .incompatible = subclusters ? QCBM_INCOMPAT_EXTENDED_L2 : 0 };
}

static int try_header(struct qcbmi_io *io, const char *path, const struct qcbmi_refcount_root *root, bool subclusters,
                      uint64_t size, struct qcbmi_lost_header *found, struct qcbm_error *err)
{
    struct qcbmi_lost_header bare = { .h = bare_header(root, subclusters) };
    struct qcbmi_image *img;
    int ret = open_as(io, path, &bare, &img, err);

    if (ret < 0)
        return ret;
    ret = qcbmi_find_header(img, size, found, err);
    qcbmi_image_free(img);
    return ret;
}

/* ---- what is left of the header ---- */

/* Where only the magic or the version is gone, the rest still says all, and it must agree with the refcounts. */
static bool read_remains(struct qcbmi_io *io, const struct qcbmi_refcount_root *root, uint8_t *bytes, uint64_t len)
{
    static const uint8_t magic[] = { 'Q', 'F', 'I', 0xfb };
    struct q2_header h;

    if (qcbmi_io_read(io, 0, bytes, len, "header", NULL) < 0 || len < Q2_HEADER_BYTES)
        return false;
    memcpy(bytes, magic, sizeof(magic));
    for (uint32_t version = 3; version >= 2; version--) {
        be32_store(bytes + Q2_OFF_VERSION, version);
        if (q2_header_parse(bytes, Q2_HEADER_BYTES, &h, NULL) == 0 && h.cluster_bits == root->cluster_bits &&
            h.reftable_offset == root->offset && h.refcount_order == root->order && h.l1_offset && h.size)
            return true;
    }
    return false;
}

static int open_by_remains(struct qcbmi_io *io, const char *path, const struct qcbmi_refcount_root *root,
                           struct qcbmi_image **out, struct qcbm_error *err)
{
    uint64_t len = u64_min(UINT64_C(1) << root->cluster_bits, io->size);
    uint8_t *bytes = qcbmi_alloc_array(len, 1, err);
    int ret = !bytes                               ? QCBM_E_NOMEM
              : read_remains(io, root, bytes, len) ? open_with(io, path, bytes, len, out, NULL)
                                                   : 1;

    free(bytes);
    return ret == QCBM_E_NOMEM || ret == QCBM_E_IO ? ret : ret != 0; /* 1: they say nothing */
}

/* ---- without ---- */

static unsigned bits_of(uint32_t cluster_size)
{
    unsigned bits = 0;

    while (cluster_size >> bits > 1)
        bits++;
    return bits;
}

static int find_root(struct qcbmi_io *io, uint32_t cluster_size, struct qcbmi_refcount_root *root,
                     struct qcbm_error *err)
{
    struct qcbmi_holes holes;
    bool found = false;
    int ret;

    qcbmi_holes_init(&holes, io);
    ret = qcbmi_find_refcount_root(&holes, bits_of(cluster_size), root, &found, err);
    qcbmi_holes_free(&holes);
    if (ret == 0 && !found)
        ret =
            qcbmi_fail(err, QCBM_E_NOT_QCOW2, QCBM_NO_OFFSET,
                       "the header is lost, and no refcount table is to be found that would tell the size of clusters");
    return ret;
}

static int open_without_header(struct qcbmi_io *io, const char *path, const struct qcbmi_geometry_wish *wish,
                               struct qcbmi_image **out, struct qcbmi_geometry_found *result, struct qcbm_error *err)
{
    struct qcbmi_refcount_root root;
    struct qcbmi_lost_header found;
    int ret = find_root(io, wish->cluster_size, &root, err);

    if (ret == 0)
        ret = open_by_remains(io, path, &root, out, err);
    result->backing_unknown = ret != 0 || !(*out)->backing_file; /* what says "none" may be what was overwritten */
    if (ret <= 0)
        return ret;
    ret = try_header(io, path, &root, false, wish->size, &found, err);
    if (ret == QCBM_E_NOT_QCOW2 && root.cluster_bits >= Q2_MIN_CLUSTER_BITS_EXTL2)
        ret = try_header(io, path, &root, true, wish->size, &found, err);
    if (ret < 0)
        return ret;
    result->size_proven = found.size_proven;
    result->l1_guessed = found.guessed;
    return open_as(io, path, &found, out, err);
}

int qcbmi_rescue_open(struct qcbmi_io *io, const char *path, const struct qcbmi_geometry_wish *wish,
                      struct qcbmi_image **out, struct qcbmi_geometry_found *found, struct qcbm_error *err)
{
    int ret = open_with(io, path, NULL, 0, out, err);

    *found = (struct qcbmi_geometry_found){ .size_proven = true };
    if (ret == 0 && wish->cluster_size && wish->cluster_size != (*out)->g.cluster_size) {
        qcbmi_image_free(*out);
        ret = QCBM_E_NOT_QCOW2;
    }
    if (ret != QCBM_E_NOT_QCOW2 && ret != QCBM_E_CORRUPT && ret != QCBM_E_LIMIT && ret != QCBM_E_UNSUPPORTED)
        return ret;
    found->lost = true;
    return open_without_header(io, path, wish, out, found, err);
}
