/* io_mem.c - an image in memory
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "qcbm-io.h"

struct qcbm_mem {
    uint8_t *data; /* never NULL; bytes in [len, capacity) mean nothing */
    size_t len;
    size_t capacity;
    bool keep;
};

int qcbm_mem_new(const void *data, size_t len, struct qcbm_mem **out, struct qcbm_error *err)
{
    struct qcbm_mem *mem;

    *out = NULL;
    if (!data && len > 0)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "no data for a length of %zu", len);
    mem = calloc(1, sizeof(*mem));
    if (!mem)
        return qcbmi_fail_nomem(err);
    mem->capacity = len ? len : 1;
    mem->data = malloc(mem->capacity);
    if (!mem->data) {
        free(mem);
        return qcbmi_fail_nomem(err);
    }
    if (len > 0)
        memcpy(mem->data, data, len);
    mem->len = len;
    *out = mem;
    return 0;
}

void qcbm_mem_free(struct qcbm_mem *mem)
{
    if (!mem)
        return;
    free(mem->data);
    free(mem);
}

void qcbm_mem_keep(struct qcbm_mem *mem)
{
    mem->keep = true;
}

const void *qcbm_mem_data(const struct qcbm_mem *mem, size_t *len)
{
    *len = mem->len;
    return mem->data;
}

/* Room for @end bytes. Half as much again, so that appending stays cheap. */
static int make_room(struct qcbm_mem *mem, uint64_t end, struct qcbm_error *err)
{
    uint64_t capacity;
    uint8_t *data;

    if (end <= mem->capacity)
        return 0;
    if (end > SIZE_MAX / 2)
        return qcbmi_fail_nomem(err);
    capacity = u64_max(end, mem->capacity + mem->capacity / 2);
    data = realloc(mem->data, (size_t)capacity);
    if (!data)
        return qcbmi_fail_nomem(err);
    mem->data = data;
    mem->capacity = (size_t)capacity;
    return 0;
}

static int mem_grow(void *self, uint64_t len_bytes, struct qcbm_error *err)
{
    struct qcbm_mem *mem = self;
    int ret;

    if (len_bytes <= mem->len)
        return 0;
    ret = make_room(mem, len_bytes, err);
    if (ret < 0)
        return ret;
    memset(mem->data + mem->len, 0, (size_t)len_bytes - mem->len);
    mem->len = (size_t)len_bytes;
    return 0;
}

static int mem_cut(void *self, uint64_t len_bytes, struct qcbm_error *err)
{
    struct qcbm_mem *mem = self;

    (void)err;
    if (len_bytes < mem->len)
        mem->len = (size_t)len_bytes;
    return 0;
}

static int mem_read_at(void *self, uint64_t off, void *buf, size_t len, struct qcbm_error *err)
{
    const struct qcbm_mem *mem = self;

    if (!range_fits(off, len, mem->len))
        return qcbmi_fail(err, QCBM_E_IO, off, "read of %zu bytes at 0x%" PRIx64 " passes the end at 0x%zx", len, off,
                          mem->len);
    memcpy(buf, mem->data + off, len);
    return 0;
}

static int mem_write_at(void *self, uint64_t off, const void *buf, size_t len, struct qcbm_error *err)
{
    struct qcbm_mem *mem = self;
    uint64_t end;
    int ret;

    if (len == 0)
        return 0;
    if (!u64_add(off, len, &end))
        return qcbmi_fail_nomem(err);
    ret = mem_grow(mem, end, err);
    if (ret == 0)
        memcpy(mem->data + off, buf, len);
    return ret;
}

static int mem_flush(void *self, struct qcbm_error *err)
{
    (void)self;
    (void)err;
    return 0;
}

static int mem_size(void *self, uint64_t *len_bytes, struct qcbm_error *err)
{
    const struct qcbm_mem *mem = self;

    (void)err;
    *len_bytes = mem->len;
    return 0;
}

static int mem_reserve(void *self, uint64_t off, uint64_t len, struct qcbm_error *err)
{
    uint64_t end;

    if (!u64_add(off, len, &end))
        return qcbmi_fail_nomem(err);
    return make_room(self, end, err);
}

static int mem_space(void *self, uint64_t *available, uint64_t *allocated, struct qcbm_error *err)
{
    const struct qcbm_mem *mem = self;

    (void)err;
    *available = UINT64_MAX;
    *allocated = mem->len;
    return 0;
}

static void mem_close(void *self)
{
    struct qcbm_mem *mem = self;

    if (!mem->keep)
        qcbm_mem_free(mem);
}

const struct qcbm_io_ops *qcbm_mem_ops(void)
{
    /* No ->extent: all data. No ->lock: nobody else sees this memory. */
    static const struct qcbm_io_ops ops = {
        .struct_size = sizeof(ops),
        .read_at = mem_read_at,
        .write_at = mem_write_at,
        .flush = mem_flush,
        .size = mem_size,
        .grow = mem_grow,
        .cut = mem_cut,
        .reserve = mem_reserve,
        .space = mem_space,
        .close = mem_close,
    };

    return &ops;
}
