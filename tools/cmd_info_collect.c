/* cmd_info_collect.c - what qcbm info tells of one qcow2 image, gathered; what is wrong with it is told on stderr
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "cmd.h"
#include "cmd_info.h"

/* A bad entry, with which qemu-img does not open the image, does not keep the rest from being shown. */
static void collect_snapshots(struct info *info)
{
    struct qcbm_error err;

    if (qcbm_snapshots_load(info->img, &info->snapshots, &err) == 0)
        return;
    cmd_warning("%s: %s (at offset 0x%" PRIx64 "); %" PRIu32 " of %" PRIu32 " snapshots are shown", info->path,
                err.message, err.offset, info->snapshots, info->image.snapshot_count);
}

enum { MAX_TOLD = 20 };

/* One line on stderr for what is wrong; false when there have been enough. */
static bool warn_of(const struct info *info, uint32_t *told, const char *what, const char *message, uint64_t offset)
{
    if (*told == MAX_TOLD)
        return false;
    if (offset == QCBM_NO_OFFSET)
        cmd_warning("%s: %s%s", info->path, what, message);
    else
        cmd_warning("%s: %s%s (at offset 0x%" PRIx64 ")", info->path, what, message, offset);
    if (++*told == MAX_TOLD)
        cmd_warning("%s: qcbm bitmap --list shows what else is wrong", info->path);
    return true;
}

/* Tables that QEMU reads when it opens the image, and refuses it for. */
static void warn_of_tables(const struct info *info, uint32_t *told)
{
    for (uint32_t i = 0; i < info->image.bitmap_count; i++) {
        struct qcbm_bitmap_info bitmap;
        struct qcbm_error err;
        char *what = NULL;
        bool more = true;

        qcbm_bitmap_get(info->img, i, &bitmap, sizeof bitmap);
        if (!bitmap.usable || qcbm_bitmap_check_table(info->img, i, &err) == 0)
            continue;
        if (asprintf(&what, "bitmap '%s': ", bitmap.name) >= 0)
            more = warn_of(info, told, what, err.message, err.offset);
        free(what);
        if (!more)
            return;
    }
}

/* Bad bitmaps, with which qemu-img does not open the image, are told on stderr. That a bitmap is in use is among the
 * flags already. */
static void warn_of_findings(const struct info *info)
{
    uint32_t count = qcbm_finding_count(info->img), told = 0;
    struct qcbm_finding f;

    for (uint32_t i = 0; i < count; i++) {
        qcbm_finding_get(info->img, i, &f, sizeof f);
        if (f.problem->id != QCBM_PROBLEM_BITMAP_IN_USE && !warn_of(info, &told, "", f.message, f.offset))
            return;
    }
    warn_of_tables(info, &told);
}

static int collect_usage(struct info *info, struct progress *progress)
{
    const struct qcbm_progress told = progress_of(progress);
    struct qcbm_error err;
    int ret = qcbm_image_usage(info->img, &info->usage, sizeof info->usage, &told, &err);

    progress_end(progress, ret == 0);
    if (ret < 0)
        return cmd_lib_error(&err, "Could not read the refcounts of '%s'", info->path);
    info->has_usage = true;
    return EXIT_DONE;
}

static void collect_luks(struct info *info)
{
    struct qcbm_error err;

    if (info->image.crypt_method != 2)
        return;
    info->has_luks = qcbm_image_luks(info->img, &info->luks, sizeof info->luks, &err) == 0;
    if (!info->has_luks)
        cmd_warning("%s: %s", info->path, err.message);
}

int info_collect(struct info *info, struct progress *usage)
{
    const struct qcbm_image_info *image = &info->image;

    qcbm_image_get_info(info->img, &info->image, sizeof info->image);
    info->file =
        (struct file_node){ info->path, image->file_size, image->disk_size, image->extent_size_hint, image->is_device };
    collect_snapshots(info);
    collect_luks(info);
    warn_of_findings(info);
    return usage ? collect_usage(info, usage) : EXIT_DONE;
}
