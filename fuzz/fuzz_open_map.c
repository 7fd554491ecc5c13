/* fuzz_open_map.c - all that reading commands ask of one image: it tells one story, within a budget of reads
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "fuzz.h"

#define MAX_BITMAPS 8u
#define READ_BYTES (256u << 10)
#define MAX_CALLS 100000u /* of a callback; a disk may be sparse and huge */

/* Bytes that are read of a file, whatever it says. A table may be read once for each entry that names it, of which as
 * many as there are tables, and 1024, are tolerated; a window of 64 KiB is read where tables lie close together. */
static uint64_t map_budget(const struct fuzz_file *f)
{
    return (UINT64_C(80) << 20) + 300 * (uint64_t)f->len;
}

struct walk {
    uint64_t end, calls;
    bool last; /* state of the extent before */
};

static int on_map(void *opaque, const struct qcbm_map_entry *e)
{
    struct walk *w = opaque;

    fuzz_require(e->start == w->end && e->length > 0, "map", "a gap or an overlap");
    fuzz_require(e->offset == QCBM_NO_OFFSET || e->filename, "map", "an offset without a file");
    fuzz_require(e->depth == 0, "map", "another layer");
    w->end += e->length;
    return ++w->calls >= MAX_CALLS;
}

static void look_at_map(struct fuzz_file *f, struct qcbm_image *img, const struct qcbm_image_info *info)
{
    struct walk w = { 0 };
    struct qcbm_error err;
    int ret;

    if (info->backing_file)
        return; /* fuzz_chain opens other files */
    fuzz_file_reset(f);
    ret = qcbm_map(img, 0, UINT64_MAX, 0, on_map, &w, &err);
    if (ret < 0)
        fuzz_check_error(&err, ret);
    else
        fuzz_require(w.end == info->virtual_size / 512 * 512, "map", "does not end with the disk");
    fuzz_file_budget(f, map_budget(f), "map");
}

/* What the bytes of the file are used for. */
static int on_host(void *opaque, const struct qcbm_host_extent *e)
{
    struct walk *w = opaque;

    fuzz_require(e->offset == w->end && e->length > 0, "host map", "a gap or an overlap");
    fuzz_require(e->kind <= QCBM_HOST_SNAPSHOTS, "host map", "a kind that there is not");
    w->end += e->length;
    return ++w->calls >= MAX_CALLS;
}

static void look_at_file(struct fuzz_file *f, struct qcbm_image *img)
{
    struct walk w = { 0 };
    struct qcbm_error err;
    int ret;

    fuzz_file_reset(f);
    ret = qcbm_host_map(img, on_host, &w, NULL, &err);
    if (ret < 0)
        fuzz_check_error(&err, ret);
    else
        fuzz_require(w.end == f->len, "host map", "does not end with the file");
    fuzz_file_budget(f, 2 * map_budget(f), "host map");
}

static int on_extent(void *opaque, const struct qcbm_extent *e)
{
    struct walk *w = opaque;

    fuzz_require(e->offset == w->end && e->length > 0, "extents", "a gap or an overlap");
    fuzz_require(w->calls == 0 || e->dirty != w->last, "extents", "two runs of the same state");
    w->end += e->length;
    w->last = e->dirty;
    return ++w->calls >= MAX_CALLS;
}

static void look_at_bitmap(struct fuzz_file *f, struct qcbm_image *img, uint32_t i, uint64_t size)
{
    struct qcbm_bitmap_usage usage = { 0 };
    struct qcbm_bitmap_info b;
    struct qcbm_error err;
    struct walk w = { 0 };
    int ret;

    qcbm_bitmap_get(img, i, &b, sizeof(b));
    fuzz_require(b.name && strlen(b.name) <= 65535, "bitmap", "name");
    fuzz_file_reset(f);
    ret = qcbm_bitmap_usage(img, i, &usage, sizeof(usage), NULL, &err);
    if (ret < 0)
        fuzz_check_error(&err, ret);
    fuzz_require(ret < 0 || usage.dirty_granules <= usage.granules, "bitmap", "more dirty bits than bits");
    fuzz_require(ret < 0 || usage.dirty_bytes <= size, "bitmap", "dirty bytes past the end of the disk");
    ret = qcbm_bitmap_extents(img, b.name, 0, on_extent, &w, &err);
    if (ret < 0)
        fuzz_check_error(&err, ret);
    fuzz_require(ret < 0 || w.end == size / 512 * 512, "extents", "do not end with the disk");
    fuzz_file_budget(f, (UINT64_C(1) << 20) + 16 * (uint64_t)f->len, "bitmap");
}

static void look_at_lists(struct fuzz_file *f, struct qcbm_image *img)
{
    struct qcbm_image_usage usage;
    struct qcbm_error err;
    uint32_t n = 0;
    int ret;

    fuzz_file_reset(f);
    ret = qcbm_snapshots_load(img, &n, &err);
    if (ret < 0)
        fuzz_check_error(&err, ret);
    for (uint32_t i = 0; ret == 0 && i < n; i++) {
        struct qcbm_snapshot_info s;

        qcbm_snapshot_get(img, i, &s, sizeof(s));
        fuzz_require(strlen(s.id) <= 65535 && strlen(s.name) <= 65535, "snapshot", "a string without end");
    }
    fuzz_file_budget(f, (UINT64_C(1) << 20) + 2 * (uint64_t)f->len, "snapshots");
    fuzz_file_reset(f);
    ret = qcbm_image_usage(img, &usage, sizeof(usage), NULL, &err);
    if (ret < 0)
        fuzz_check_error(&err, ret);
    fuzz_file_budget(f, map_budget(f), "usage");
}

static void look_at_findings(const struct qcbm_image *img)
{
    for (uint32_t i = 0; i < qcbm_finding_count(img); i++) {
        struct qcbm_finding found;

        qcbm_finding_get(img, i, &found, sizeof(found));
        fuzz_require(found.problem && found.problem->code && found.message[0] && !strchr(found.message, '\n'),
                     "finding", "text");
    }
}

/* Bytes at the start of the disk, at once and in odd pieces. */
static void look_at_bytes(struct fuzz_file *f, struct qcbm_image *img, uint64_t size)
{
    static uint8_t whole[READ_BYTES], part[READ_BYTES];
    size_t len = size / 512 * 512 < READ_BYTES ? (size_t)(size / 512 * 512) : READ_BYTES;
    struct qcbm_error err;
    int ret, again = 0;

    if (len == 0) /* no pieces, and of nothing the tables are looked at all the same */
        return;
    fuzz_file_reset(f);
    ret = qcbm_read(img, 0, whole, len, QCBM_READ_LAYER, &err);
    if (ret < 0)
        fuzz_check_error(&err, ret);
    for (size_t at = 0; again == 0 && at < len; at += 5001)
        again = qcbm_read(img, at, part + at, len - at < 5001 ? len - at : 5001, QCBM_READ_LAYER, &err);
    fuzz_require(ret == again, "read", "pieces fail otherwise than the whole");
    fuzz_require(ret < 0 || memcmp(whole, part, len) == 0, "read", "pieces are not the whole");
    fuzz_file_budget(f, 2 * map_budget(f), "read");
}

static void measure(struct qcbm_image *img)
{
    struct qcbm_measure m;
    struct qcbm_error err;
    int ret = qcbm_measure(img, 0, NULL, &m, sizeof(m), &err);

    if (ret < 0)
        fuzz_check_error(&err, ret);
    else
        fuzz_require(m.required <= m.fully_allocated, "measure", "required above fully allocated");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qcbm_image_info info;
    struct qcbm_image *img;
    struct fuzz_file f;

    fuzz_file_init(&f, data, size);
    img = fuzz_file_open(&f, 0);
    fuzz_file_budget(&f, (UINT64_C(4) << 20) + 4 * (uint64_t)size, "open");
    if (img) {
        qcbm_image_get_info(img, &info, sizeof(info));
        look_at_lists(&f, img);
        for (uint32_t i = 0; i < info.bitmap_count && i < MAX_BITMAPS; i++)
            look_at_bitmap(&f, img, i, info.virtual_size);
        look_at_map(&f, img, &info);
        look_at_file(&f, img);
        if (!info.backing_file)
            measure(img);
        look_at_bytes(&f, img, info.virtual_size);
        look_at_findings(img);
        qcbm_close(img);
    }
    fuzz_require(f.len == size && f.writes == 0 && (size == 0 || memcmp(f.bytes, data, size) == 0), "reading", "wrote");
    fuzz_file_free(&f);
    return 0;
}
