/* fuzz_manifest.c - the file of a manifest: read in bounds or refused; what is read and written again is the same file
 * SPDX-License-Identifier: MIT
 *
 * The input is such a file. It is taken as it is, and again with its digest set right, so that what comes behind the
 * digest is reached. What opens is written again from what it says, compared with a small disk, and brought up to
 * date. */
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "fuzz.h"
#include "image_builder.h"
#include "manifest/manifest_out.h"
#include "manifest/manifest_read.h"

#define MAX_GRANULES (UINT64_C(1) << 20) /* that are asked for one by one */

struct bytes {
    uint8_t *data;
    size_t len, capacity;
};

static int write_bytes(void *opaque, const void *bytes, size_t len)
{
    struct bytes *b = opaque;

    if (b->len + len > b->capacity) {
        b->capacity = 2 * (b->len + len);
        b->data = realloc(b->data, b->capacity);
        if (!b->data)
            abort();
    }
    memcpy(b->data + b->len, bytes, len);
    b->len += len;
    return 0;
}

static int open_manifest(const uint8_t *data, size_t size, struct qcbm_manifest **m)
{
    struct qcbm_error err = { 0 };
    struct qcbm_mem *mem;
    int ret;

    fuzz_require(qcbm_mem_new(data, size, &mem, &err) == 0, "memory", err.message);
    ret = qcbm_manifest_open_io(qcbm_mem_ops(), mem, m, &err);
    if (ret < 0)
        fuzz_check_error(&err, ret);
    return ret;
}

/* From what it says of each granule, the very same file. */
static void write_again(struct qcbm_manifest *m, const uint8_t *data, size_t size)
{
    struct qcbmi_manifest_place p = { .m = m };
    struct bytes to = { 0 };
    struct qcbmi_manifest_out out = { .fn = write_bytes, .opaque = &to };
    struct qcbm_error err = { 0 };
    int ret = qcbmi_manifest_out_begin(&out, &m->h, m->text, &err);

    for (uint64_t g = 0, n; ret == 0 && g < m->granules; g += n) {
        const uint8_t *digest;

        n = 1;
        ret = qcbmi_manifest_at(&p, g, &digest, &n, &err);
        fuzz_require(ret < 0 || (n > 0 && n <= m->granules - g), "manifest_at", "granules that there are not");
        if (ret == 0 && digest)
            n = 1;
        if (ret == 0)
            ret = digest ? qcbmi_manifest_out_digest(&out, digest, &err) : qcbmi_manifest_out_zeros(&out, n, &err);
    }
    if (ret == 0)
        ret = qcbmi_manifest_out_end(&out, &err);
    fuzz_require(ret == 0, "written again", err.message);
    fuzz_require(to.len == size && memcmp(to.data, data, size) == 0, "written again", "another file");
    qcbmi_manifest_place_free(&p);
    qcbmi_manifest_out_free(&out);
    free(to.data);
}

/* A disk of 1 MiB with some data, and a bitmap. */
static struct qcbm_image *small_disk(struct image_builder *b)
{
    struct build_options opt = { .size = UINT64_C(1) << 20, .cluster_bits = 12 };
    uint64_t data;

    build_start(b, &opt);
    data = build_clusters(b, 1);
    b->bytes[data] = 0x15;
    build_bitmap(b, "c", 12, 0, &data, 1);
    data = build_data(b, 0);
    memset(b->bytes + data, 1, 4096);
    data = build_data(b, 8192);
    memset(b->bytes + data, 2, 4096);
    build_finish(b);
    return build_open(b, 0);
}

static int count_range(void *opaque, const struct qcbm_manifest_range *r)
{
    *(uint64_t *)opaque += r->length;
    return 0;
}

static void use(struct qcbm_manifest *m)
{
    struct image_builder b;
    struct qcbm_image *img = small_disk(&b);
    struct qcbm_manifest_options o = QCBM_MANIFEST_OPTIONS_INIT;
    struct qcbm_manifest_result result = { 0 };
    struct qcbm_manifest_info info;
    struct qcbm_chain *chain;
    struct qcbm_error err = { 0 };
    struct bytes to = { 0 };
    uint64_t told = 0;
    int ret;

    o.threads = 1;
    fuzz_require(qcbm_chain_open(img, &chain, &err) == 0, "chain", err.message);
    fuzz_require(qcbm_manifest_get_info(m, &info, sizeof(info)) == 0, "info", "failed");
    ret = qcbm_manifest_verify(m, chain, &o, count_range, &told, &result, sizeof(result), &err);
    fuzz_require(ret == 0, "verify", err.message);
    fuzz_require(told == result.different_bytes && result.equal == (told == 0), "verify", "figures");
    ret = qcbm_manifest_update(m, chain, img, "c", &o, write_bytes, &to, NULL, 0, &err);
    fuzz_require(ret == 0, "update", err.message);
    qcbm_chain_close(chain);
    qcbm_close(img);
    build_free(&b);
    if (to.len) {
        struct qcbm_manifest *now = NULL;

        fuzz_require(open_manifest(to.data, to.len, &now) == 0, "update", "does not open");
        qcbm_manifest_close(now);
    }
    free(to.data);
}

static void check(const uint8_t *data, size_t size)
{
    struct qcbm_manifest *m = NULL;

    if (open_manifest(data, size, &m) < 0)
        return;
    if (!m->is_index && m->granules - m->zeros < MAX_GRANULES)
        write_again(m, data, size);
    if (!m->is_index)
        use(m);
    qcbm_manifest_close(m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *copy;

    check(data, size);
    if (size < MNF_DIGEST)
        return 0;
    copy = malloc(size);
    if (!copy)
        abort();
    memcpy(copy, data, size);
    qcbmi_digest(copy, size - MNF_DIGEST, copy + size - MNF_DIGEST);
    check(copy, size);
    free(copy);
    return 0;
}
