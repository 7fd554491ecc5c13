/* q2_inflate.c - the bytes of a compressed cluster: raw deflate, or frames of zstd
 * SPDX-License-Identifier: MIT */
#include "format/q2_inflate.h"

#include <stdlib.h>
#include <string.h>
#define ZLIB_CONST
#include <zlib.h>

#include "base/alloc.h"

#ifdef QCBM_HAVE_ZSTD
#include <zstd.h>
#endif

#define WINDOW_BITS (-12) /* no zlib header; the window that QEMU writes and reads with */

static int fail_short(struct qcbm_error *err, size_t got, size_t want)
{
    return qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "the data ends after %zu of %zu bytes", got, want);
}

static int start_zlib(struct q2_inflate *z, struct qcbm_error *err)
{
    z_stream *s;

    if (z->zlib) {
        inflateReset(z->zlib);
        return 0;
    }
    s = qcbmi_alloc_array(1, sizeof(*s), err);
    if (s && inflateInit2(s, WINDOW_BITS) == Z_OK) {
        z->zlib = s;
        return 0;
    }
    free(s);
    return qcbmi_fail(err, QCBM_E_NOMEM, QCBM_NO_OFFSET, "no memory to decompress");
}

/* The stream may go on behind the cluster (Z_BUF_ERROR then: no room for more), QEMU does not look. */
static int inflate_zlib(struct q2_inflate *z, const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len,
                        struct qcbm_error *err)
{
    int ret = start_zlib(z, err);
    z_stream *s = z->zlib;

    if (ret < 0)
        return ret;
    s->next_in = (z_const Bytef *)in;
    s->avail_in = (uInt)in_len;
    s->next_out = out;
    s->avail_out = (uInt)out_len;
    ret = inflate(s, Z_FINISH);
    if (ret != Z_STREAM_END && ret != Z_BUF_ERROR)
        return qcbmi_fail(err, ret == Z_MEM_ERROR ? QCBM_E_NOMEM : QCBM_E_CORRUPT, QCBM_NO_OFFSET, "deflate: %s",
                          s->msg ? s->msg : "the stream is damaged");
    return s->avail_out ? fail_short(err, out_len - s->avail_out, out_len) : 0;
}

#ifdef QCBM_HAVE_ZSTD
/* Frame by frame, each as a whole: so the window that a frame claims takes no memory. */
static int inflate_zstd(struct q2_inflate *z, const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len,
                        struct qcbm_error *err)
{
    size_t done = 0;

    if (!z->zstd)
        z->zstd = ZSTD_createDCtx();
    if (!z->zstd)
        return qcbmi_fail(err, QCBM_E_NOMEM, QCBM_NO_OFFSET, "no memory to decompress");
    while (done < out_len) {
        size_t frame = in_len ? ZSTD_findFrameCompressedSize(in, in_len) : 0, n;

        if (frame == 0)
            return fail_short(err, done, out_len);
        n = ZSTD_isError(frame) ? frame : ZSTD_decompressDCtx(z->zstd, out + done, out_len - done, in, frame);
        if (ZSTD_isError(n))
            return qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "zstd: %s", ZSTD_getErrorName(n));
        done += n;
        in += frame;
        in_len -= frame;
    }
    return 0;
}

static void free_zstd(void *zstd)
{
    ZSTD_freeDCtx(zstd);
}
#else
static int inflate_zstd(struct q2_inflate *z, const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len,
                        struct qcbm_error *err)
{
    (void)z;
    (void)in;
    (void)in_len;
    (void)out;
    (void)out_len;
    return qcbmi_fail(err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET, "zstd: this library was built without it");
}

static void free_zstd(void *zstd)
{
    (void)zstd;
}
#endif

int q2_inflate(struct q2_inflate *z, uint32_t type, const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len,
               struct qcbm_error *err)
{
    if (type == Q2_COMPRESSION_ZSTD)
        return inflate_zstd(z, in, in_len, out, out_len, err);
    return inflate_zlib(z, in, in_len, out, out_len, err);
}

void q2_inflate_free(struct q2_inflate *z)
{
    if (z->zlib)
        inflateEnd(z->zlib);
    free(z->zlib);
    free_zstd(z->zstd);
    *z = (struct q2_inflate){ 0 };
}
