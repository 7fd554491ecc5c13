/* fuzz_fidx.c - a fixed index of Proxmox Backup Server: read in bounds or refused; what differs is told without doubt
 * SPDX-License-Identifier: MIT
 *
 * The input is such a file, taken as it is; and one of which the zeros at the end of the header are left out, whose
 * checksum is set right. What opens is compared with a small disk: the ranges that are told are in order, apart, and
 * their sum is the figure. */
#include <stdlib.h>
#include <string.h>

#include "base/sha256.h"
#include "format/fidx_file.h"
#include "fuzz.h"
#include "image_builder.h"

static struct qcbm_chain *disk;

/* 1 MiB with some data; made once. */
static void make_disk(void)
{
    static struct image_builder b;
    struct build_options opt = { .size = UINT64_C(1) << 20, .cluster_bits = 12 };
    struct qcbm_error err = { 0 };
    uint64_t data;

    build_start(&b, &opt);
    data = build_data(&b, 0);
    memset(b.bytes + data, 1, 4096);
    data = build_data(&b, 8192);
    memset(b.bytes + data, 2, 4096);
    build_finish(&b);
    fuzz_require(qcbm_chain_open(build_open(&b, 0), &disk, &err) == 0, "chain", err.message);
}

struct ranges {
    uint64_t end, bytes;
};

static int take_range(void *opaque, const struct qcbm_manifest_range *r)
{
    struct ranges *s = opaque;

    fuzz_require(r->length > 0 && r->offset >= s->end, "verify", "ranges overlap");
    s->end = r->offset + r->length;
    s->bytes += r->length;
    return 0;
}

static void check(const uint8_t *data, size_t size)
{
    struct qcbm_manifest_options o = QCBM_MANIFEST_OPTIONS_INIT;
    struct qcbm_manifest_result result;
    struct qcbm_manifest_info info;
    struct qcbm_manifest *m = NULL;
    struct qcbm_error err = { 0 };
    struct ranges told = { 0 };
    struct qcbm_mem *mem;
    int ret;

    fuzz_require(qcbm_mem_new(data, size, &mem, &err) == 0, "memory", err.message);
    ret = qcbm_manifest_open_io(qcbm_mem_ops(), mem, &m, &err);
    if (ret < 0) {
        fuzz_check_error(&err, ret);
        return;
    }
    o.threads = 1;
    fuzz_require(qcbm_manifest_get_info(m, &info, sizeof(info)) == 0, "info", "failed");
    ret = qcbm_manifest_verify(m, disk, &o, take_range, &told, &result, sizeof(result), &err);
    fuzz_require(ret == 0 || ret == QCBM_E_UNSAFE, "verify", err.message);
    if (ret == 0)
        fuzz_require(told.bytes == result.different_bytes, "verify", "figures");
    qcbm_manifest_close(m);
}

static void set_checksum(uint8_t *data, size_t size)
{
    struct qcbmi_sha256 sha;

    if (qcbmi_sha256_open(&sha, NULL) < 0)
        return;
    (void)qcbmi_sha256(&sha, data + FIDX_HEADER, size - FIDX_HEADER, data + 32, NULL);
    qcbmi_sha256_close(&sha);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t whole = size + FIDX_HEADER - FIDX_FIXED;
    uint8_t *copy;

    if (!disk)
        make_disk();
    check(data, size);
    if (size < FIDX_FIXED)
        return 0;
    copy = calloc(whole, 1);
    if (!copy)
        abort();
    memcpy(copy, data, FIDX_FIXED);
    memcpy(copy + FIDX_HEADER, data + FIDX_FIXED, size - FIDX_FIXED);
    set_checksum(copy, whole);
    check(copy, whole);
    free(copy);
    return 0;
}
