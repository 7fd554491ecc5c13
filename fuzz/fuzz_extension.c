/* fuzz_extension.c - header extensions: inside their area, in order, nothing skipped, payloads kept
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "format/q2_extension.h"
#include "fuzz.h"

static void check_bitmaps(const struct q2_extension *e, uint32_t cluster_size)
{
    uint8_t stored[Q2_BITMAPS_EXT_LEN];
    struct q2_bitmaps_ext ext;
    struct qcbm_error err;
    int ret;

    q2_bitmaps_ext_parse(e->data, &ext);
    q2_bitmaps_ext_store(stored, &ext);
    fuzz_require(memcmp(stored, e->data, sizeof(stored)) == 0, "bitmaps extension", "store of parse is not identity");
    ret = q2_bitmaps_ext_check(&ext, e->offset + 8, cluster_size, &err);
    if (ret < 0) {
        fuzz_check_error(&err, ret);
        return;
    }
    fuzz_require(ext.n_bitmaps >= 1 && ext.n_bitmaps <= 65535 && ext.reserved == 0, "bitmaps extension", "count");
    fuzz_require(ext.directory_size <= UINT64_C(1024) * 65535, "bitmaps extension", "size of the directory");
    fuzz_require(ext.directory_offset && ext.directory_offset % cluster_size == 0, "bitmaps extension", "place");
}

static void check_feature_names(const struct q2_extensions *exts)
{
    char name[48];

    for (unsigned kind = 0; kind < 3; kind++)
        for (unsigned bit = 0; bit < 64; bit++)
            if (q2_feature_name(exts, kind, bit, name))
                fuzz_require(memchr(name, 0, sizeof(name)), "feature name", "does not end");
}

/* Walk the list a second time, by hand. */
static void check_list(const uint8_t *cluster, const struct q2_header *h, const struct q2_extensions *exts)
{
    uint64_t at = h->header_length;

    for (size_t i = 0; i < exts->n; i++) {
        const struct q2_extension *e = &exts->list[i];

        fuzz_require(e->offset == at, "extension", "not where the one before it ends");
        fuzz_require(at + 8 + e->len <= exts->limit, "extension", "passes the end of its area");
        if (e->len)
            fuzz_require(e->data == cluster + at + 8, "extension", "its data are not behind its header");
        fuzz_require(e->type == be32_load(cluster + at) && e->stored_len == be32_load(cluster + at + 4), "extension",
                     "header");
        fuzz_require(e->type != Q2_EXT_END, "extension", "END is in the list");
        if (e->type == Q2_EXT_BITMAPS)
            check_bitmaps(e, UINT32_C(1) << h->cluster_bits);
        at += 8 + align_up(e->len, 8);
    }
    fuzz_require(!exts->has_end || exts->end_offset == at, "extension", "END is not behind the last one");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct q2_extensions exts;
    struct q2_header h;
    struct qcbm_error err;
    int ret;

    if (q2_header_parse(data, size, &h, &err) < 0)
        return 0;
    size = (size_t)u64_min(size, UINT64_C(1) << h.cluster_bits);
    ret = q2_extensions_parse(data, size, &h, &exts, &err);
    if (ret < 0) {
        fuzz_check_error(&err, ret);
        return 0;
    }
    check_list(data, &h, &exts);
    check_feature_names(&exts);
    q2_extensions_free(&exts);
    return 0;
}
