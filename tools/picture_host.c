/* picture_host.c - a picture of an image file: metadata, data in order and scattered, leaks
 * SPDX-License-Identifier: MIT
 */
#include "picture_host.h"

/* A disk seeks, and an SSD reads ahead in vain, at the end of each run. */
#define LONG_RUN (UINT64_C(1) << 20)

enum { LEAKED, UNCOUNTED, METADATA, BITMAPS, SNAPSHOTS, COMPRESSED, SCATTERED, DATA, FREE };

static const struct picture_kind host_kinds[] = {
    { "leaked", "leaked: counted, not in use", 'L', { 0xC64301, 0xD4600A } },
    { "uncounted", "in use, not counted: check it", 'U', { 0x002600, 0xF5FFFF } },
    { "metadata", "metadata: tables, refcounts", 'M', { 0x6B0091, 0xE47AAB } },
    { "bitmaps", "bitmaps", 'B', { 0xFFD314, 0xEBD954 } },
    { "snapshots", "data of snapshots alone", 'S', { 0x7CE882, 0x99624D } },
    { "compressed", "compressed data", 'C', { 0xA14F73, 0x9EE396 } },
    { "scattered", "data in runs below 1 MiB", 'F', { 0x23002F, 0x989AF9 } },
    { "data", "data in longer runs", 'D', { 0x0C84FF, 0x3C37B7 } },
    { "free", "free", '.', { 0xE9E9E9, 0x2B2B2B } },
};

struct picture_plan picture_host_plan(void)
{
    return (struct picture_plan){ host_kinds, sizeof(host_kinds) / sizeof(host_kinds[0]) };
}

uint64_t picture_host_size(struct qcbm_image *img)
{
    struct qcbm_image_info info;

    qcbm_image_get_info(img, &info, sizeof info);
    return info.file_size;
}

static unsigned kind_of(const struct qcbm_host_extent *e)
{
    switch (e->kind) {
    case QCBM_HOST_LEAKED:
        return LEAKED;
    case QCBM_HOST_UNCOUNTED:
        return UNCOUNTED;
    case QCBM_HOST_HEADER:
    case QCBM_HOST_TABLES:
    case QCBM_HOST_REFCOUNTS:
        return METADATA;
    case QCBM_HOST_BITMAPS:
        return BITMAPS;
    case QCBM_HOST_SNAPSHOTS:
        return SNAPSHOTS;
    case QCBM_HOST_COMPRESSED:
        return COMPRESSED;
    case QCBM_HOST_DATA:
        return e->length < LONG_RUN ? SCATTERED : DATA;
    default:
        return FREE;
    }
}

static int count(void *opaque, const struct qcbm_host_extent *e)
{
    picture_cells_add(opaque, kind_of(e), e->offset, e->length);
    return 0;
}

int picture_host_count(struct qcbm_image *img, struct picture_cells *cells, const struct qcbm_progress *progress,
                       struct qcbm_error *err)
{
    return qcbm_host_map(img, count, cells, progress, err);
}
