/* too_small.c - a device too small by one cluster: nothing changes, and the message gives need and what is there
 * SPDX-License-Identifier: MIT
 *
 * usage: too_small IMAGE...
 *
 * Each operation of ops.c that makes the file longer is run on a backend in memory that ends where the operation
 * would have needed one cluster more. It is refused by the first call that can know: the question for space; where
 * the backend does not answer it, the reservation; where there is none, the growth. With that cluster more it
 * succeeds. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "look.h"
#include "ops.h"
#include "part.h"

enum knows { KNOWS_SPACE, KNOWS_RESERVE, KNOWS_GROW, KNOWS };

static struct {
    struct qcbm_mem *mem;
    uint64_t limit;
    uint64_t writes;
} device;

static int no_space(uint64_t end, struct qcbm_error *err)
{
    err->code = QCBM_E_NOSPACE;
    err->sys_errno = 0;
    err->offset = QCBM_NO_OFFSET;
    snprintf(err->message, sizeof(err->message), "the device must hold %" PRIu64 " bytes and has %" PRIu64, end,
             device.limit);
    return QCBM_E_NOSPACE;
}

static int device_read(void *self, uint64_t off, void *buf, size_t len, struct qcbm_error *err)
{
    return qcbm_mem_ops()->read_at(self, off, buf, len, err);
}

static int device_write(void *self, uint64_t off, const void *buf, size_t len, struct qcbm_error *err)
{
    device.writes++;
    return off + len > device.limit ? no_space(off + len, err) : qcbm_mem_ops()->write_at(self, off, buf, len, err);
}

static int device_flush(void *self, struct qcbm_error *err)
{
    (void)self, (void)err;
    return 0;
}

static int device_size(void *self, uint64_t *len, struct qcbm_error *err)
{
    return qcbm_mem_ops()->size(self, len, err);
}

static int device_grow(void *self, uint64_t len, struct qcbm_error *err)
{
    return len > device.limit ? no_space(len, err) : qcbm_mem_ops()->grow(self, len, err);
}

static int device_reserve(void *self, uint64_t off, uint64_t len, struct qcbm_error *err)
{
    (void)self;
    return off + len > device.limit ? no_space(off + len, err) : 0;
}

static int device_space(void *self, uint64_t *available, uint64_t *allocated, struct qcbm_error *err)
{
    uint64_t size;
    int ret = device_size(self, &size, err);

    *available = size < device.limit ? device.limit - size : 0;
    *allocated = size;
    return ret;
}

static void device_close(void *self)
{
    (void)self; /* looked at afterwards */
}

/* Run @op; *@growth gets how much longer the plan makes the file. */
static int run(const struct crash_op *op, const char *path, enum knows knows, uint64_t *growth, struct qcbm_error *err)
{
    struct qcbm_io_ops ops = { .struct_size = sizeof(ops),
                               .read_at = device_read,
                               .write_at = device_write,
                               .flush = device_flush,
                               .size = device_size,
                               .grow = device_grow,
                               .reserve = knows == KNOWS_RESERVE ? device_reserve : NULL,
                               .space = knows == KNOWS_SPACE ? device_space : NULL,
                               .close = device_close };
    struct qcbm_plan_summary sum = { 0 };
    struct qcbm_edit *edit = NULL;
    struct qcbm_image *img;
    int ret = qcbm_open_io(&ops, device.mem, QCBM_OPEN_WRITE, &img, err);

    if (ret < 0)
        return ret;
    ret = qcbm_edit_begin(img, &edit, err);
    if (ret == 0)
        ret = op->run(edit, img, path, err);
    if (ret == 0)
        ret = qcbm_edit_commit(edit, &sum, sizeof(sum), err);
    qcbm_edit_free(edit);
    qcbm_close(img);
    *growth = sum.file_growth;
    return crash_op_outcome(op, ret);
}

static void device_begin(const uint8_t *bytes, size_t len, uint64_t limit)
{
    device.limit = limit;
    device.writes = 0;
    if (qcbm_mem_new(bytes, len, &device.mem, NULL) < 0)
        abort();
}

/* One cluster too little; false if the operation does not make the file longer. */
static bool try_op(const struct crash_op *op, const char *path, const uint8_t *bytes, size_t len, enum knows knows)
{
    uint64_t cluster = UINT64_C(1) << bytes[23], growth, ignored;
    char text[256], need[64];
    struct qcbm_error err;
    const void *now;
    size_t now_len;
    int ret;

    snprintf(text, sizeof(text), "%s, %s, %d", path, op->name, (int)knows);
    device_begin(bytes, len, UINT64_MAX);
    ret = run(op, path, KNOWS_GROW, &growth, &err);
    qcbm_mem_free(device.mem);
    if (ret < 0)
        look_fail(text, err.message);
    if (ret == OP_NOT_HERE || growth == 0)
        return false;
    device_begin(bytes, len, len + growth - cluster);
    ret = run(op, path, knows, &ignored, &err);
    now = qcbm_mem_data(device.mem, &now_len);
    if (ret != QCBM_E_NOSPACE)
        look_fail(text, ret < 0 ? err.message : "it fits where there is no room");
    if (device.writes || now_len != len || memcmp(now, bytes, len) != 0)
        look_fail(text, "refused, but the file changed");
    snprintf(need, sizeof(need), "needs %" PRIu64 " bytes, %" PRIu64 " available", growth, growth - cluster);
    if (!strstr(err.message, knows == KNOWS_SPACE ? need : "must hold"))
        look_fail(text, err.message);
    if (!strstr(err.message, knows == KNOWS_GROW ? "old state is in place" : "nothing was written"))
        look_fail(text, err.message);
    qcbm_mem_free(device.mem);
    device_begin(bytes, len, len + growth);
    if (run(op, path, knows, &ignored, &err) < 0)
        look_fail(text, err.message);
    qcbm_mem_free(device.mem);
    return true;
}

int main(int argc, char **argv)
{
    uint64_t n = 0;

    for (int i = 1; i < argc; i++) {
        size_t len;
        uint8_t *bytes = look_read_file(argv[i], &len);

        for (size_t k = 0; k < crash_n_ops; k++)
            for (enum knows knows = KNOWS_SPACE; knows < KNOWS; knows++)
                n += test_takes((uint64_t)i + k + knows) && try_op(&crash_ops[k], argv[i], bytes, len, knows);
        free(bytes);
    }
    printf("%" PRIu64 " times refused for one cluster\n", n);
    return n ? 0 : 1;
}
