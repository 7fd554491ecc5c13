/* fuzz_inflate.c - compressed clusters: all bytes or an error, the same each time, alone and through an image
 * SPDX-License-Identifier: MIT
 *
 * Input: a byte for the compression type and the cluster size, a byte for where in a sector the stream begins, and the
 * stream, which is also taken for plain bytes that are compressed here. */
#include <stdlib.h>
#include <string.h>
#include <zlib.h>

#include "format/q2_inflate.h"
#include "fuzz.h"
#include "image_builder.h"

#ifdef QCBM_HAVE_ZSTD
#include <zstd.h>
#endif

static uint8_t *allocate(size_t len)
{
    uint8_t *p = malloc(len ? len : 1); /* to the byte, for ASan */

    if (!p)
        abort();
    return p;
}

/* The cluster in a buffer that held @poison before; NULL if the stream is refused. */
static uint8_t *inflate_into(struct q2_inflate *z, uint32_t type, const uint8_t *in, size_t len, size_t cluster,
                             int poison)
{
    uint8_t *exact = allocate(len), *out = allocate(cluster);
    struct qcbm_error err;
    int ret;

    if (len)
        memcpy(exact, in, len);
    memset(out, poison, cluster);
    ret = q2_inflate(z, type, exact, len, out, cluster, &err);
    free(exact);
    if (ret == 0)
        return out;
    fuzz_check_error(&err, ret);
    fuzz_require(ret == QCBM_E_CORRUPT || ret == QCBM_E_UNSUPPORTED, "inflate", "another code");
    free(out);
    return NULL;
}

/* Cluster 1 of an image is the stream, cluster 0 empty: qcbm_read() gives @want, or an error if that is NULL. */
static void read_through_image(uint32_t type, const uint8_t *in, size_t len, size_t cluster, unsigned at,
                               const uint8_t *want)
{
    struct build_options opt = { .size = 2 * cluster, .cluster_bits = (uint32_t)__builtin_ctzll(cluster) };
    unsigned shift = 62 - (opt.cluster_bits - 8);
    size_t part = cluster > 512 ? 512 : 0;
    uint8_t *got = allocate(2 * cluster);
    struct image_builder b;
    struct qcbm_image *img;
    struct qcbm_error err;
    struct fuzz_file f;
    uint64_t host;
    int ret;

    opt.incompatible = type ? QCBM_INCOMPAT_COMPRESSION : 0;
    build_start(&b, &opt);
    build_l2_entry(&b, 0); /* the table first: the file ends with the stream, as QEMU may leave it */
    host = build_clusters(&b, 3) + at;
    build_map(&b, cluster, BUILD_COMPRESSED | (uint64_t)((at + len + 511) / 512 - 1) << shift | host, 0);
    build_finish(&b);
    memcpy(b.bytes + host, in, len);
    b.bytes[104] = (uint8_t)type;
    fuzz_file_init(&f, b.bytes, (size_t)(host + len));
    img = fuzz_file_open(&f, 0);
    fuzz_require(img, "image", "does not open");
    memset(got, 0x3c, 2 * cluster);
    ret = qcbm_read(img, 0, got, 2 * cluster, 0, &err);
    if (ret < 0)
        fuzz_check_error(&err, ret);
    fuzz_require((ret == 0) == (want != NULL), "read", "inflates elsewhere, or not, but not here");
    for (size_t i = 0; ret == 0 && i < cluster; i++)
        fuzz_require(got[i] == 0, "read", "bytes in an empty cluster");
    fuzz_require(ret < 0 || memcmp(got + cluster, want, cluster) == 0, "read", "other bytes");
    ret = qcbm_read(img, cluster + part, got, 512, QCBM_READ_LAYER, &err);
    fuzz_require((ret == 0) == (want != NULL), "read", "a part fails, or not, as the whole does not");
    fuzz_require(ret < 0 || memcmp(got, want + part, 512) == 0, "read", "another part");
    fuzz_file_budget(&f, (UINT64_C(2) << 20) + 8 * (uint64_t)f.len, "read");
    qcbm_close(img);
    fuzz_file_free(&f);
    build_free(&b);
    free(got);
}

/* The stream of a cluster that begins with @plain; *@len is its length. */
static uint8_t *deflate_cluster(const uint8_t *plain, size_t cluster, size_t *len)
{
    uint8_t *to = allocate(2 * cluster + 128);
    z_stream s = { 0 };

    if (deflateInit2(&s, 6, Z_DEFLATED, -12, 9, Z_DEFAULT_STRATEGY) != Z_OK)
        abort();
    s.next_in = (Bytef *)(uintptr_t)plain;
    s.avail_in = (uInt)cluster;
    s.next_out = to;
    s.avail_out = (uInt)(2 * cluster + 128);
    fuzz_require(deflate(&s, Z_FINISH) == Z_STREAM_END, "deflate", "does not end");
    *len = s.total_out;
    deflateEnd(&s);
    return to;
}

static uint8_t *compress_cluster(uint32_t type, const uint8_t *plain, size_t cluster, size_t *len)
{
#ifdef QCBM_HAVE_ZSTD
    if (type == Q2_COMPRESSION_ZSTD) {
        uint8_t *to = allocate(ZSTD_compressBound(cluster));

        *len = ZSTD_compress(to, ZSTD_compressBound(cluster), plain, cluster, 3);
        return to;
    }
#endif
    (void)type;
    return deflate_cluster(plain, cluster, len);
}

static void there_and_back(struct q2_inflate *z, uint32_t type, const uint8_t *in, size_t len, size_t cluster)
{
    uint8_t *plain = allocate(cluster), *packed, *out;
    size_t packed_len;

    memset(plain, 0, cluster);
    memcpy(plain, in, len < cluster ? len : cluster);
    packed = compress_cluster(type, plain, cluster, &packed_len);
    out = inflate_into(z, type, packed, packed_len, cluster, 0x77);
    fuzz_require(out && memcmp(out, plain, cluster) == 0, "inflate", "does not give back what was compressed");
    free(out);
    out = inflate_into(z, type, packed, packed_len / 2, cluster, 0x77);
    fuzz_require(!out, "inflate", "takes half a stream"); /* its last bytes can be of no use, half of them cannot */
    free(out);
    free(packed);
    free(plain);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct q2_inflate z = { 0 }, fresh = { 0 };
    size_t cluster, len;
    uint8_t *one, *two;
    uint32_t type;
    unsigned at;

    if (size < 3)
        return 0;
    type = data[0] & 1;
#ifndef QCBM_HAVE_ZSTD
    type = 0;
#endif
    cluster = (size_t)512 << (data[0] >> 1) % 8;
    at = data[1] * 2u;
    len = size - 2 < 2 * cluster - 512 ? size - 2 : 2 * cluster - 512;
    there_and_back(&z, type, data + 2, len, cluster);
    one = inflate_into(&z, type, data + 2, len, cluster, 0x5a);
    two = inflate_into(&fresh, type, data + 2, len, cluster, 0xa5);
    fuzz_require(!one == !two, "inflate", "one time it does, one time not");
    fuzz_require(!one || memcmp(one, two, cluster) == 0, "inflate", "leaves bytes as they were");
    read_through_image(type, data + 2, len, cluster, at, one);
    free(one);
    free(two);
    q2_inflate_free(&z);
    q2_inflate_free(&fresh);
    return 0;
}
