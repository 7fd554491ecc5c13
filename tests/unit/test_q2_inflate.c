/* test_q2_inflate.c - compressed clusters: whole ones, what follows them, what is missing
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include <zlib.h>

#include "format/q2_inflate.h"

#ifdef QCBM_HAVE_ZSTD
#include <zstd.h>
#endif

#define CLUSTER 4096u

static void fill(uint8_t *to, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++) {
        seed = seed * 1103515245u + 12345u;
        to[i] = (uint8_t)(i % 700 < 300 ? seed >> 24 : i / 97);
    }
}

static size_t deflate_bytes(const uint8_t *plain, size_t len, int window_bits, uint8_t *to, size_t room)
{
    z_stream s = { 0 };
    uint8_t *copy = exact_copy(plain, len);

    assert_int_equal(deflateInit2(&s, 9, Z_DEFLATED, window_bits, 9, Z_DEFAULT_STRATEGY), Z_OK);
    s.next_in = copy;
    s.avail_in = (uInt)len;
    s.next_out = to;
    s.avail_out = (uInt)room;
    assert_int_equal(deflate(&s, Z_FINISH), Z_STREAM_END);
    deflateEnd(&s);
    free(copy);
    return s.total_out;
}

/* @in in a block of exactly its length; the cluster goes into @out. */
static int inflate_exact(struct q2_inflate *z, uint32_t type, const uint8_t *in, size_t len, uint8_t *out,
                         struct qcbm_error *err)
{
    uint8_t *copy = exact_copy(in, len), *cluster = malloc(CLUSTER);
    int ret;

    assert_non_null(cluster);
    ret = q2_inflate(z, type, copy, len, cluster, CLUSTER, err);
    memcpy(out, cluster, CLUSTER);
    free(cluster);
    free(copy);
    return ret;
}

static void every_prefix_of_a_stream_is_an_error(struct q2_inflate *z, uint32_t type, const uint8_t *packed, size_t len,
                                                 const uint8_t *plain)
{
    uint8_t out[CLUSTER];

    for (size_t n = 0; n < len; n += n < 40 || n > len - 40 ? 1 : 37) {
        struct qcbm_error err = { 0 };
        int ret = inflate_exact(z, type, packed, n, out, &err);

        if (ret == 0) { /* all was out before the end mark */
            assert_true(type == Q2_COMPRESSION_ZLIB && n + 8 > len);
            assert_memory_equal(out, plain, CLUSTER);
            continue;
        }
        assert_int_equal(ret, QCBM_E_CORRUPT);
        assert_int_equal(err.code, QCBM_E_CORRUPT);
        assert_true(err.message[0]);
    }
    assert_int_equal(inflate_exact(z, type, packed, len, out, NULL), 0); /* and afterwards a good one is good */
    assert_memory_equal(out, plain, CLUSTER);
}

static void deflate_is_read_as_qemu_reads_it(void **state)
{
    struct q2_inflate z = { 0 };
    uint8_t plain[2 * CLUSTER], packed[4 * CLUSTER] = { 0 }, out[CLUSTER];
    struct qcbm_error err = { 0 };
    size_t len;

    (void)state;
    fill(plain, sizeof(plain), 1);
    len = deflate_bytes(plain, CLUSTER, -12, packed, sizeof(packed));
    every_prefix_of_a_stream_is_an_error(&z, Q2_COMPRESSION_ZLIB, packed, len, plain);
    memset(packed + len, 0xee, 600); /* the rest of the last sector, and a neighbour */
    assert_int_equal(inflate_exact(&z, Q2_COMPRESSION_ZLIB, packed, len + 600, out, NULL), 0);
    assert_memory_equal(out, plain, CLUSTER);
    len = deflate_bytes(plain, 2 * CLUSTER, -12, packed, sizeof(packed)); /* goes on behind the cluster */
    assert_int_equal(inflate_exact(&z, Q2_COMPRESSION_ZLIB, packed, len, out, NULL), 0);
    assert_memory_equal(out, plain, CLUSTER);
    len = deflate_bytes(plain, CLUSTER / 2, -12, packed, sizeof(packed)); /* ends before */
    assert_int_equal(inflate_exact(&z, Q2_COMPRESSION_ZLIB, packed, len, out, &err), QCBM_E_CORRUPT);
    assert_string_equal(err.message, "the data ends after 2048 of 4096 bytes");
    len = deflate_bytes(plain, CLUSTER, 12, packed, sizeof(packed)); /* a header of zlib is none of deflate */
    assert_int_equal(inflate_exact(&z, Q2_COMPRESSION_ZLIB, packed, len, out, &err), QCBM_E_CORRUPT);
    q2_inflate_free(&z);
    q2_inflate_free(&z);
}

static void zstd_is_read_frame_by_frame(void **state)
{
    struct q2_inflate z = { 0 };
    uint8_t plain[CLUSTER], out[CLUSTER], packed[4 * CLUSTER] = { 0 };
    struct qcbm_error err = { 0 };

    (void)state;
    fill(plain, sizeof(plain), 2);
#ifdef QCBM_HAVE_ZSTD
    size_t len = ZSTD_compress(packed, sizeof(packed), plain, CLUSTER, 3), half;
    uint8_t longer[CLUSTER + 1] = { 1 };

    every_prefix_of_a_stream_is_an_error(&z, Q2_COMPRESSION_ZSTD, packed, len, plain);
    memset(packed + len, 0xee, 600);
    assert_int_equal(inflate_exact(&z, Q2_COMPRESSION_ZSTD, packed, len + 600, out, NULL), 0);
    assert_memory_equal(out, plain, CLUSTER);
    half = ZSTD_compress(packed, sizeof(packed), plain, 1000, 3);
    assert_int_equal(inflate_exact(&z, Q2_COMPRESSION_ZSTD, packed, half, out, &err), QCBM_E_CORRUPT);
    assert_string_equal(err.message, "the data ends after 1000 of 4096 bytes");
    len = half + ZSTD_compress(packed + half, sizeof(packed) - half, plain + 1000, CLUSTER - 1000, 3);
    assert_int_equal(inflate_exact(&z, Q2_COMPRESSION_ZSTD, packed, len, out, NULL), 0);
    assert_memory_equal(out, plain, CLUSTER);
    len = ZSTD_compress(packed, sizeof(packed), longer, sizeof(longer),
                        3); /* longer than a cluster: qemu refuses it too */
    assert_int_equal(inflate_exact(&z, Q2_COMPRESSION_ZSTD, packed, len, out, &err), QCBM_E_CORRUPT);
#else
    assert_int_equal(inflate_exact(&z, Q2_COMPRESSION_ZSTD, packed, 100, out, &err), QCBM_E_UNSUPPORTED);
#endif
    q2_inflate_free(&z);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(deflate_is_read_as_qemu_reads_it),
        cmocka_unit_test(zstd_is_read_frame_by_frame),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
