/* deflate.c - a cluster as QEMU compresses it
 * SPDX-License-Identifier: MIT */
#include "delta/deflate.h"

#include <stdlib.h>
#include <zlib.h>
#ifdef QCBM_HAVE_ZSTD
#include <zstd.h>
#endif

#include "base/alloc.h"
#include "base/error.h"

/* A raw stream with a window of 4 KiB: QEMU inflates with that, and nothing larger. */
#define WINDOW_BITS (-12)

static int begin_zlib(struct qcbmi_deflate *z, struct qcbm_error *err)
{
    z_stream *s = qcbmi_alloc_array(1, sizeof(*s), err);

    if (!s)
        return QCBM_E_NOMEM;
    if (deflateInit2(s, Z_DEFAULT_COMPRESSION, Z_DEFLATED, WINDOW_BITS, 9, Z_DEFAULT_STRATEGY) != Z_OK) {
        free(s);
        return qcbmi_fail_nomem(err);
    }
    z->state = s;
    return 0;
}

static size_t run_zlib(z_stream *s, const uint8_t *in, size_t in_len, uint8_t *out, size_t out_size)
{
    if (deflateReset(s) != Z_OK)
        return 0;
    s->next_in = (z_const Bytef *)(uintptr_t)in;
    s->avail_in = (uInt)in_len;
    s->next_out = out;
    s->avail_out = (uInt)out_size;
    return deflate(s, Z_FINISH) == Z_STREAM_END ? out_size - s->avail_out : 0;
}

static int begin_zstd(struct qcbmi_deflate *z, struct qcbm_error *err)
{
#ifdef QCBM_HAVE_ZSTD
    z->state = ZSTD_createCCtx();
    return z->state ? 0 : qcbmi_fail_nomem(err);
#else
    (void)z;
    return qcbmi_fail(err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET, "this build has no zstd");
#endif
}

static size_t run_zstd(void *state, const uint8_t *in, size_t in_len, uint8_t *out, size_t out_size)
{
#ifdef QCBM_HAVE_ZSTD
    size_t n = ZSTD_compressCCtx(state, out, out_size, in, in_len, ZSTD_CLEVEL_DEFAULT);

    return ZSTD_isError(n) ? 0 : n;
#else
    (void)state, (void)in, (void)in_len, (void)out, (void)out_size;
    return 0;
#endif
}

int qcbmi_deflate_begin(struct qcbmi_deflate *z, enum qcbmi_delta_compression how, struct qcbm_error *err)
{
    *z = (struct qcbmi_deflate){ .how = how };
    if (how == QCBMI_DELTA_PLAIN)
        return 0;
    return how == QCBMI_DELTA_ZLIB ? begin_zlib(z, err) : begin_zstd(z, err);
}

void qcbmi_deflate_free(struct qcbmi_deflate *z)
{
    if (z->state && z->how == QCBMI_DELTA_ZLIB) {
        (void)deflateEnd(z->state);
        free(z->state);
    }
#ifdef QCBM_HAVE_ZSTD
    if (z->state && z->how == QCBMI_DELTA_ZSTD)
        (void)ZSTD_freeCCtx(z->state);
#endif
    *z = (struct qcbmi_deflate){ 0 };
}

size_t qcbmi_deflate(struct qcbmi_deflate *z, const uint8_t *in, size_t in_len, uint8_t *out, size_t out_size)
{
    if (!z->state)
        return 0;
    return z->how == QCBMI_DELTA_ZLIB ? run_zlib(z->state, in, in_len, out, out_size)
                                      : run_zstd(z->state, in, in_len, out, out_size);
}
