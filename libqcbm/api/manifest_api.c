/* manifest_api.c - manifests for callers: made, brought up to date, told of, compared with
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "api/chain_handle.h"
#include "base/sized.h"
#include "bitmap/bitmap_load.h"
#include "manifest/manifest_compare.h"
#include "manifest/manifest_make.h"
#include "ops/bitmap_below.h"

int qcbm_digest_load(enum qcbm_digest digest, struct qcbm_error *err)
{
    struct qcbmi_hasher hasher = { 0 };
    int ret = qcbmi_hasher_open(&hasher, digest, 0, err);

    qcbmi_hasher_close(&hasher);
    return ret;
}

static int read_options(const struct qcbm_manifest_options *from, struct qcbm_manifest_options *to,
                        struct qcbm_error *err)
{
    *to = (struct qcbm_manifest_options)QCBM_MANIFEST_OPTIONS_INIT;
    return qcbmi_take_options(to, sizeof(*to), from, err);
}

static int make(struct qcbm_chain *disk, const struct qcbm_manifest_options *options, struct qcbm_manifest *old,
                const struct qcbmi_dirtymap *changed, qcbm_write_fn *fn, void *opaque, struct qcbm_manifest_info *info,
                size_t info_size, struct qcbm_error *err)
{
    struct qcbm_manifest_options o;
    struct qcbm_manifest_info told = { 0 };
    int ret = info ? qcbmi_check_size(info_size, err) : 0;

    if (ret == 0)
        ret = read_options(options, &o, err);
    if (ret == 0)
        ret = qcbmi_manifest_make(&disk->chain, &o, old, changed, fn, opaque, &told, err);
    if (ret == 0 && info)
        qcbmi_give(info, info_size, &told, sizeof(told));
    return ret;
}

int qcbm_manifest_write(struct qcbm_chain *disk, const struct qcbm_manifest_options *options, qcbm_write_fn *fn,
                        void *opaque, struct qcbm_manifest_info *info, size_t info_size, struct qcbm_error *err)
{
    return make(disk, options, NULL, NULL, fn, opaque, info, info_size, err);
}

/* A bitmap of a smaller disk would say nothing of the rest. */
static int check_bitmap_size(const struct qcbm_image *image, const struct qcbm_chain *disk, struct qcbm_error *err)
{
    uint64_t size = qcbmi_manifest_disk_size(&disk->chain);

    if (image->image->g.sector_size_down == size)
        return 0;
    return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                      "the bitmap is of a disk of %" PRIu64 " bytes, and this one has %" PRIu64,
                      image->image->g.sector_size_down, size);
}

int qcbm_manifest_update(struct qcbm_manifest *old, struct qcbm_chain *disk, struct qcbm_image *image,
                         const char *bitmap, const struct qcbm_manifest_options *options, qcbm_write_fn *fn,
                         void *opaque, struct qcbm_manifest_info *info, size_t info_size, struct qcbm_error *err)
{
    struct qcbmi_dirtymap changed = { 0 };
    const struct qcbmi_bitmap *b = NULL;
    int ret = check_bitmap_size(image, disk, err);

    if (ret == 0)
        ret = qcbmi_bitmap_find_readable(image, bitmap, &b, err);
    if (ret == 0)
        ret = qcbmi_bitmap_refuse_below(&disk->chain, bitmap, QCBMI_COLLECT_FIRST, err);
    if (ret == 0)
        ret = qcbmi_bitmap_load(image->image, b, &changed, err);
    if (ret == 0)
        ret = make(disk, options, old, &changed, fn, opaque, info, info_size, err);
    qcbmi_dirtymap_free(&changed);
    return ret;
}

int qcbm_manifest_get_info(const struct qcbm_manifest *m, struct qcbm_manifest_info *out, size_t size)
{
    struct qcbm_manifest_info info = { .format = m->is_index ? "fidx" : "qcbm",
                                       .size = m->h.size,
                                       .granularity = UINT64_C(1) << m->h.gran_bits,
                                       .digest = m->h.kind,
                                       .granules = m->granules,
                                       .zero_granules = m->is_index ? QCBM_UNKNOWN : m->zeros,
                                       .time = m->h.time,
                                       .text = m->text,
                                       .file_size = m->io.size };

    memcpy(info.image_id, m->h.image_id, sizeof(info.image_id));
    return qcbmi_give_checked(out, size, &info, sizeof(info));
}

/* ---- verify ---- */

struct verifying {
    qcbm_manifest_range_fn *fn;
    void *opaque;
};

static int tell_range(void *opaque, uint64_t start, uint64_t end, bool unreadable, struct qcbm_error *err)
{
    const struct verifying *v = opaque;
    const struct qcbm_manifest_range range = { start, end - start, unreadable };

    return v->fn && v->fn(v->opaque, &range) ? qcbmi_fail_stopped(err) : 0;
}

static void tell_result(const struct qcbmi_manifest_compare *c, struct qcbm_manifest_result *out, size_t size)
{
    struct qcbm_manifest_result r;

    memset(&r, 0, sizeof(r)); /* what lies between its members, too */
    r.equal = c->out.different_bytes == 0;
    r.disk_size = qcbmi_manifest_disk_size(c->disk);
    r.different_bytes = c->out.different_bytes;
    r.unreadable_bytes = c->out.unreadable_bytes;
    r.compared_granules = c->out.compared;
    r.equal_granules = c->out.equal;
    qcbmi_give(out, size, &r, sizeof(r));
}

int qcbm_manifest_verify(struct qcbm_manifest *manifest, struct qcbm_chain *disk,
                         const struct qcbm_manifest_options *options, qcbm_manifest_range_fn *fn, void *opaque,
                         struct qcbm_manifest_result *out, size_t out_size, struct qcbm_error *err)
{
    struct verifying v = { fn, opaque };
    struct qcbmi_progress progress = { .to = NULL };
    struct qcbmi_manifest_compare c = {
        .manifest = manifest, .disk = &disk->chain, .progress = &progress, .fn = tell_range, .opaque = &v
    };
    struct qcbm_manifest_options o;
    int ret = qcbmi_check_size(out_size, err);

    if (ret == 0)
        ret = read_options(options, &o, err);
    if (ret < 0)
        return ret;
    progress.to = o.progress;
    c.threads = o.threads;
    ret = qcbmi_manifest_compare(&c, err);
    if (ret == 0)
        ret = qcbmi_manifest_check_related(&c, err);
    if (ret == 0)
        tell_result(&c, out, out_size);
    return ret;
}
