/* fuzz_bitmap_file.c - the file of a bitmap: imported in bounds or refused; export of import is identity
 * SPDX-License-Identifier: MIT
 *
 * The input is such a file. It is taken as it is, and again with its digest set right, so that what comes behind the
 * digest is reached. */
#include <stdlib.h>
#include <string.h>

#include "base/digest.h"
#include "fuzz.h"
#include "image_builder.h"

struct bytes {
    uint8_t *data;
    size_t len, at, capacity;
};

static int64_t read_bytes(void *opaque, void *buf, size_t len)
{
    struct bytes *b = opaque;
    size_t n = len < b->len - b->at ? len : b->len - b->at;

    if (n)
        memcpy(buf, b->data + b->at, n);
    b->at += n;
    return (int64_t)n;
}

static int write_bytes(void *opaque, const void *bytes, size_t len)
{
    struct bytes *b = opaque;

    if (b->len + len > b->capacity) {
        b->capacity = 2 * (b->len + len);
        b->data = realloc(b->data, b->capacity);
        if (!b->data)
            abort();
    }
    if (len)
        memcpy(b->data + b->len, bytes, len);
    b->len += len;
    return 0;
}

/* Import @in into an image of 1 MiB with @flags, commit, and export what is there. False if it is refused. */
static bool through_an_image(struct bytes *in, unsigned flags, struct bytes *out)
{
    struct qcbm_import_options o = QCBM_IMPORT_OPTIONS_INIT;
    struct build_options opt = { .size = UINT64_C(1) << 20, .cluster_bits = 12 };
    struct image_builder b;
    struct qcbm_image *img;
    struct qcbm_edit *edit = NULL;
    struct fuzz_file f;
    struct qcbm_error err;
    int ret;

    build_start(&b, &opt);
    build_finish(&b);
    fuzz_file_init(&f, b.bytes, b.len);
    img = fuzz_file_open(&f, QCBM_OPEN_WRITE);
    fuzz_require(img, "image", "does not open");
    o.flags = flags;
    in->at = 0;
    ret = qcbm_edit_begin(img, &edit, &err);
    if (ret == 0)
        ret = qcbm_edit_import(edit, "new", &o, read_bytes, in, NULL, 0, &err);
    if (ret < 0)
        fuzz_check_error(&err, ret);
    fuzz_require(ret == 0 || f.writes == 0, "import", "refused, but something was written");
    if (ret == 0)
        fuzz_require(qcbm_edit_commit(edit, NULL, 0, &err) == 0, "commit", err.message);
    if (ret == 0)
        fuzz_require(qcbm_bitmap_export(img, "new", QCBM_TRANSFER_QCBM, write_bytes, out, &err) == 0, "export",
                     err.message);
    qcbm_edit_free(edit);
    qcbm_close(img);
    fuzz_file_free(&f);
    build_free(&b);
    return ret == 0;
}

static void check(struct bytes *in, unsigned flags)
{
    struct bytes first = { 0 }, second = { 0 };

    if (through_an_image(in, flags, &first)) {
        fuzz_require(through_an_image(&first, 0, &second), "import", "does not take what was exported");
        fuzz_require(first.len == second.len && memcmp(first.data, second.data, first.len) == 0, "export",
                     "of an import is another file");
    }
    free(first.data);
    free(second.data);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct bytes in = { .data = malloc(size ? size : 1), .len = size };

    if (!in.data)
        abort();
    if (size)
        memcpy(in.data, data, size);
    check(&in, 0);
    if (size >= QCBMI_DIGEST_BYTES) {
        qcbmi_digest(in.data, size - QCBMI_DIGEST_BYTES, in.data + size - QCBMI_DIGEST_BYTES);
        check(&in, QCBM_IMPORT_FORCE);
    }
    free(in.data);
    return 0;
}
