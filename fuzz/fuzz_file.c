/* fuzz_file.c - what the fuzz targets share: failing, and an image in memory that watches how it is read
 * SPDX-License-Identifier: MIT */
#include "fuzz.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"

#define ROOM_TO_GROW (UINT64_C(8) << 20)

void fuzz_fail(const char *what, const char *why)
{
    fprintf(stderr, "BROKEN PROMISE: %s: %s\n", what, why);
    abort();
}

void fuzz_require(bool holds, const char *what, const char *why)
{
    if (!holds)
        fuzz_fail(what, why);
}

void fuzz_check_error(const struct qcbm_error *err, int ret)
{
    fuzz_require(ret < 0 && ret >= QCBM_E_NOLOCKS, "return value", "is no error code");
    fuzz_require(err->code == ret, "error object", "does not have the code that was returned");
    fuzz_require(err->message[0] && memchr(err->message, 0, sizeof(err->message)), "error object", "has no text");
    for (const char *p = err->message; *p; p++)
        fuzz_require((unsigned char)*p >= 0x20 && *p != 0x7f, "error text", "has a control character");
}

void fuzz_file_init(struct fuzz_file *f, const uint8_t *data, size_t size)
{
    *f = (struct fuzz_file){ .len = size, .capacity = size ? size : 1, .max_len = size + (size_t)ROOM_TO_GROW };
    f->bytes = malloc(f->capacity);
    if (!f->bytes)
        abort();
    if (size)
        memcpy(f->bytes, data, size);
}

void fuzz_file_free(struct fuzz_file *f)
{
    free(f->bytes);
}

void fuzz_file_reset(struct fuzz_file *f)
{
    f->reads = f->bytes_read = f->writes = 0;
}

void fuzz_file_budget(const struct fuzz_file *f, uint64_t bytes, const char *what)
{
    char text[128];

    snprintf(text, sizeof(text), "read %" PRIu64 " bytes in %" PRIu64 " calls of a file of %zu, allowed: %" PRIu64,
             f->bytes_read, f->reads, f->len, bytes);
    fuzz_require(f->bytes_read <= bytes, what, text);
}

static int read_at(void *self, uint64_t off, void *buf, size_t len, struct qcbm_error *err)
{
    struct fuzz_file *f = self;
    size_t inside = off < f->len ? (size_t)u64_min(len, f->len - off) : 0;

    (void)err;
    fuzz_require(range_fits(off, len, f->len + f->hole), "read", "passes the end of the file");
    fuzz_require(len > 0, "read", "of nothing");
    if (inside)
        memcpy(buf, f->bytes + off, inside);
    memset((uint8_t *)buf + inside, 0, len - inside);
    f->reads++;
    f->bytes_read += len;
    return 0;
}

static int reserve(void *self, uint64_t off, uint64_t len, struct qcbm_error *err)
{
    const struct fuzz_file *f = self;

    if (!range_fits(off, len, f->max_len))
        return qcbmi_fail(err, QCBM_E_NOSPACE, off, "the fuzzer's device is full");
    return 0;
}

static int grow(void *self, uint64_t len_bytes, struct qcbm_error *err)
{
    struct fuzz_file *f = self;
    int ret = reserve(self, len_bytes, 0, err);

    if (ret < 0 || len_bytes <= f->len)
        return ret;
    if (len_bytes > f->capacity) {
        f->capacity = (size_t)u64_min(len_bytes + len_bytes / 2, f->max_len);
        f->bytes = realloc(f->bytes, f->capacity);
        if (!f->bytes)
            abort();
    }
    memset(f->bytes + f->len, 0, (size_t)len_bytes - f->len);
    f->len = (size_t)len_bytes;
    return 0;
}

static int write_at(void *self, uint64_t off, const void *buf, size_t len, struct qcbm_error *err)
{
    struct fuzz_file *f = self;
    uint64_t end;
    int ret;

    fuzz_require(u64_add(off, len, &end), "write", "its end is no offset");
    ret = grow(self, end, err);
    if (ret == 0)
        memcpy(f->bytes + off, buf, len);
    f->writes++;
    return ret;
}

static int flush(void *self, struct qcbm_error *err)
{
    (void)self;
    (void)err;
    return 0;
}

static int size_of(void *self, uint64_t *len_bytes, struct qcbm_error *err)
{
    const struct fuzz_file *f = self;

    (void)err;
    *len_bytes = f->len + f->hole;
    return 0;
}

static int extent(void *self, uint64_t off, bool *is_data, uint64_t *end, struct qcbm_error *err)
{
    const struct fuzz_file *f = self;

    (void)err;
    *is_data = off < f->len;
    *end = *is_data ? f->len : f->len + f->hole;
    return 0;
}

static void leave_open(void *self)
{
    (void)self; /* the target frees it, after it has looked at the bytes */
}

const struct qcbm_io_ops *fuzz_file_ops(void)
{
    static const struct qcbm_io_ops ops = {
        .struct_size = sizeof(ops),
        .read_at = read_at,
        .write_at = write_at,
        .flush = flush,
        .size = size_of,
        .grow = grow,
        .reserve = reserve,
        .extent = extent,
        .close = leave_open,
    };

    return &ops;
}

struct qcbm_image *fuzz_file_open(struct fuzz_file *f, unsigned flags)
{
    struct qcbm_image *img = NULL;
    struct qcbm_error err;
    int ret = qcbm_open_io(fuzz_file_ops(), f, flags, &img, &err);

    if (ret < 0) {
        fuzz_check_error(&err, ret);
        fuzz_require(!img, "open", "failed, but gave an image");
    }
    return img;
}

uint64_t fuzz_hash(uint64_t h, const void *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        h = (h ^ ((const uint8_t *)bytes)[i]) * UINT64_C(0x100000001b3);
    return h;
}

uint64_t fuzz_hash_u64(uint64_t h, uint64_t v)
{
    return (h ^ v ^ v >> 32) * UINT64_C(0x100000001b3) + (h >> 31);
}

uint64_t fuzz_hash_text(uint64_t h, const char *text)
{
    return text ? fuzz_hash(fuzz_hash_u64(h, 1), text, strlen(text)) : fuzz_hash_u64(h, 0);
}
