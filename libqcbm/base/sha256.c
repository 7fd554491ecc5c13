/* sha256.c - SHA-256 of bytes, by libcrypto, which is loaded when it is asked for
 * SPDX-License-Identifier: MIT */
#include "base/sha256.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/error.h"

#ifdef QCBM_HAVE_SHA256
#include <dlfcn.h>
#include <openssl/evp.h>
#include <openssl/opensslv.h>

#define TEXT(x) #x
#define TEXT_OF(x) TEXT(x)
#define SONAME "libcrypto.so." TEXT_OF(OPENSSL_SHLIB_VERSION) /* of the headers that this was compiled with */
#define PIECE ((size_t)64 << 10)

struct qcbmi_sha256_calls {
    EVP_MD *(*fetch)(OSSL_LIB_CTX *, const char *, const char *);
    void (*free_md)(EVP_MD *);
    int (*digest)(const void *, size_t, unsigned char *, unsigned *, const EVP_MD *, ENGINE *);
    EVP_MD_CTX *(*new_ctx)(void);
    void (*free_ctx)(EVP_MD_CTX *);
    int (*init)(EVP_MD_CTX *, const EVP_MD *, ENGINE *);
    int (*update)(EVP_MD_CTX *, const void *, size_t);
    int (*final)(EVP_MD_CTX *, unsigned char *, unsigned *);
};

/* Into a pointer to a function, as POSIX wants it. */
static bool find(void *lib, const char *name, void *to)
{
    *(void **)to = dlsym(lib, name);
    return *(void **)to != NULL;
}

static bool find_all(void *lib, struct qcbmi_sha256_calls *c)
{
    return find(lib, "EVP_MD_fetch", &c->fetch) && find(lib, "EVP_MD_free", &c->free_md) &&
           find(lib, "EVP_Digest", &c->digest) && find(lib, "EVP_MD_CTX_new", &c->new_ctx) &&
           find(lib, "EVP_MD_CTX_free", &c->free_ctx) && find(lib, "EVP_DigestInit_ex", &c->init) &&
           find(lib, "EVP_DigestUpdate", &c->update) && find(lib, "EVP_DigestFinal_ex", &c->final);
}

/* It is never unloaded: it leaves behind what runs when the program ends. */
int qcbmi_sha256_open(struct qcbmi_sha256 *s, struct qcbm_error *err)
{
    void *lib = dlopen(SONAME, RTLD_NOW | RTLD_LOCAL);
    struct qcbmi_sha256_calls *calls;

    *s = (struct qcbmi_sha256){ 0 };
    if (!lib)
        return qcbmi_fail(err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET, "SHA-256 takes %s, which cannot be loaded: %s",
                          SONAME, dlerror());
    calls = qcbmi_alloc_array(1, sizeof(*calls), err);
    if (!calls)
        return QCBM_E_NOMEM;
    s->calls = calls;
    if (find_all(lib, calls))
        s->md = calls->fetch(NULL, "SHA2-256", NULL);
    if (s->md)
        return 0;
    free(calls);
    *s = (struct qcbmi_sha256){ 0 };
    return qcbmi_fail(err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET, "%s of this system has no SHA-256", SONAME);
}

void qcbmi_sha256_close(struct qcbmi_sha256 *s)
{
    if (s->md)
        s->calls->free_md(s->md);
    free((void *)(uintptr_t)s->calls);
    *s = (struct qcbmi_sha256){ 0 };
}

int qcbmi_sha256(const struct qcbmi_sha256 *s, const void *bytes, size_t len, uint8_t out[QCBMI_SHA256_BYTES],
                 struct qcbm_error *err)
{
    return s->calls->digest(bytes, len, out, NULL, s->md, NULL) == 1 ? 0 : qcbmi_fail_nomem(err);
}

static int digest_pieces(const struct qcbmi_sha256 *s, EVP_MD_CTX *ctx, qcbmi_sha256_more_fn *more, void *opaque,
                         uint8_t *buf, struct qcbm_error *err)
{
    int64_t n;

    if (s->calls->init(ctx, s->md, NULL) != 1)
        return qcbmi_fail_nomem(err);
    while ((n = more(opaque, buf, PIECE, err)) > 0)
        if (s->calls->update(ctx, buf, (size_t)n) != 1)
            return qcbmi_fail_nomem(err);
    return (int)n;
}

int qcbmi_sha256_pieces(const struct qcbmi_sha256 *s, qcbmi_sha256_more_fn *more, void *opaque,
                        uint8_t out[QCBMI_SHA256_BYTES], struct qcbm_error *err)
{
    uint8_t *buf = qcbmi_alloc_array(PIECE, 1, err);
    EVP_MD_CTX *ctx = buf ? s->calls->new_ctx() : NULL;
    int ret = !buf ? QCBM_E_NOMEM : ctx ? 0 : qcbmi_fail_nomem(err);

    if (ret == 0)
        ret = digest_pieces(s, ctx, more, opaque, buf, err);
    if (ret == 0 && s->calls->final(ctx, out, NULL) != 1)
        ret = qcbmi_fail_nomem(err);
    if (ctx)
        s->calls->free_ctx(ctx);
    free(buf);
    return ret;
}

#else

int qcbmi_sha256_open(struct qcbmi_sha256 *s, struct qcbm_error *err)
{
    *s = (struct qcbmi_sha256){ 0 };
    return qcbmi_fail(err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET, "this build has no SHA-256");
}

void qcbmi_sha256_close(struct qcbmi_sha256 *s)
{
    *s = (struct qcbmi_sha256){ 0 };
}

int qcbmi_sha256(const struct qcbmi_sha256 *s, const void *bytes, size_t len, uint8_t out[QCBMI_SHA256_BYTES],
                 struct qcbm_error *err)
{
    (void)s, (void)bytes, (void)len, (void)out;
    return qcbmi_fail(err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET, "this build has no SHA-256");
}

int qcbmi_sha256_pieces(const struct qcbmi_sha256 *s, qcbmi_sha256_more_fn *more, void *opaque,
                        uint8_t out[QCBMI_SHA256_BYTES], struct qcbm_error *err)
{
    (void)s, (void)more, (void)opaque, (void)out;
    return qcbmi_fail(err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET, "this build has no SHA-256");
}
#endif
