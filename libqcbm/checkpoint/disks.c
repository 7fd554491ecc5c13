/* disks.c - the disks of a machine: named by a target, their active images open together
 * SPDX-License-Identifier: MIT */
#include "checkpoint/disks.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/sized.h"
#include "base/sort.h"
#include "bitmap/bitmap_load.h"
#include "format/q2_limits.h"
#include "io/journal_link.h"
#include "io/open.h"

int qcbmi_checkpoint_check_name(const char *name, struct qcbm_error *err)
{
    static const char legal[] = ".abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-";
    char text[100];

    if (name[0] && name[0] != '.' && name[strspn(name, legal)] == '\0' && strlen(name) <= Q2_MAX_BITMAP_NAME)
        return 0;
    return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                      "'%s' is no name of a checkpoint: letters, digits, '_', '-' and, not in front, '.'; at most %u",
                      qcbmi_printable(text, sizeof(text), name, strlen(name)), (unsigned)Q2_MAX_BITMAP_NAME);
}

int qcbmi_disk_blame(const struct qcbmi_disk *disk, int ret, struct qcbm_error *err)
{
    char target[64], path[200];

    return ret == 0
               ? 0
               : qcbmi_prefix(err, ret,
                              "%s (%s): ", qcbmi_printable(target, sizeof(target), disk->target, strlen(disk->target)),
                              qcbmi_printable(path, sizeof(path), disk->path, strlen(disk->path)));
}

int qcbmi_bitmap_records(struct qcbm_image *img, const struct qcbmi_bitmap *b, bool *records, struct qcbm_error *err)
{
    struct qcbm_error why;
    int ret;

    *records = false;
    if (!(b->d.flags & Q2_BITMAP_AUTO) || strlen(b->name) != b->d.name_len)
        return 0;
    ret = qcbmi_bitmap_check_bits(img, b, false, &why);
    *records = ret == 0;
    if (ret != QCBM_E_IO && ret != QCBM_E_NOMEM)
        return 0;
    if (err)
        *err = why;
    return ret;
}

/* ---- in the order of files ---- */

void qcbmi_file_places_sort(struct qcbmi_file_place *places, size_t n)
{
    qcbmi_sort(places, n, sizeof(*places), qcbmi_by_two_u64);
}

int qcbmi_file_place_open(const struct qcbmi_file_place *place, const char *path, unsigned flags,
                          struct qcbm_image **out, struct qcbm_error *err)
{
    struct qcbmi_io io;
    int ret = qcbmi_open(&io, path, flags & QCBM_OPEN_WRITE, err);

    *out = NULL;
    if (ret < 0)
        return ret;
    if (io.id.dev == place->dev && io.id.ino == place->ino)
        return qcbmi_handle_open(&io, path, flags, out, err);
    qcbmi_io_close(&io);
    return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET, "another file has just come into this place");
}

/* The image of each, and behind all of these the overlays that are devices: @n and more of the index. */
static int find_places(const struct qcbmi_disks *disks, bool overlays, struct qcbmi_file_place *places, size_t *n,
                       struct qcbm_error *err)
{
    struct qcbmi_file_id id;
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < disks->n; i++) {
        ret = qcbmi_disk_blame(&disks->list[i], qcbmi_identify(disks->list[i].path, &id, err), err);
        places[(*n)++] = (struct qcbmi_file_place){ id.dev, id.ino, i };
    }
    for (size_t i = 0; ret == 0 && overlays && i < disks->n; i++) {
        const char *path = disks->list[i].overlay;

        if (path && qcbmi_identify(path, &id, NULL) == 0 && qcbmi_id_is_device(&id))
            places[(*n)++] = (struct qcbmi_file_place){ id.dev, id.ino, disks->n + i };
    }
    return ret;
}

/* Places are those of images, numbered as the disks are, and behind these those of overlays. */
static bool is_overlay(const struct qcbmi_disks *disks, const struct qcbmi_file_place *place)
{
    return place->index >= disks->n;
}

static struct qcbmi_disk *disk_at(const struct qcbmi_disks *disks, const struct qcbmi_file_place *place,
                                  const char **path)
{
    struct qcbmi_disk *disk = &disks->list[place->index % disks->n];

    *path = is_overlay(disks, place) ? disk->overlay : disk->path;
    return disk;
}

static int refuse_twins(const struct qcbmi_disks *disks, const struct qcbmi_file_place *places, size_t n,
                        struct qcbm_error *err)
{
    const char *a, *b;

    for (size_t i = 1; i < n; i++) {
        const struct qcbmi_disk *first = disk_at(disks, &places[i - 1], &a), *disk = disk_at(disks, &places[i], &b);

        if (qcbmi_by_two_u64(&places[i - 1], &places[i]) == 0)
            return qcbmi_disk_blame(
                disk,
                disk == first ? qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "the overlay '%s' is the image itself", b)
                              : qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                                           "this is the file that another disk has, too: '%s'", a),
                err);
    }
    return 0;
}

/* One of an open change is its own: that holds it, perhaps, and must not lose it to who gives way anyhow. */
static int open_overlay(const struct qcbmi_file_place *place, struct qcbmi_disk *disk, unsigned flags,
                        struct qcbm_error *err)
{
    int ret = qcbmi_journal_link_check(disk->overlay, err);

    if (ret == 0)
        ret = qcbmi_open(&disk->device, disk->overlay, flags & QCBM_OPEN_WRITE, err);
    if (ret == 0 && (disk->device.id.dev != place->dev || disk->device.id.ino != place->ino))
        ret = qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET, "another file has just come into this place");
    if (ret == 0)
        ret = qcbmi_lock(&disk->device, flags, err);
    return ret < 0 ? qcbmi_prefix(err, ret, "overlay '%.150s': ", disk->overlay) : 0;
}

static int open_place(const struct qcbmi_disks *disks, const struct qcbmi_file_place *place, unsigned flags,
                      struct qcbm_error *err)
{
    const char *path;
    struct qcbmi_disk *disk = disk_at(disks, place, &path);
    int ret = is_overlay(disks, place) ? open_overlay(place, disk, flags, err)
                                       : qcbmi_file_place_open(place, path, flags, &disk->img, err);

    return qcbmi_disk_blame(disk, ret, err);
}

/* Names of the caller; a journal may have several images of one disk. */
static int refuse_namesakes(const struct qcbmi_disks *disks, struct qcbm_error *err)
{
    for (size_t i = 0; i < disks->n; i++)
        for (size_t j = 0; j < i; j++)
            if (strcmp(disks->list[i].target, disks->list[j].target) == 0)
                return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "there are two disks '%s'", disks->list[i].target);
    return 0;
}

static int open_all(struct qcbmi_disks *disks, bool overlays, unsigned flags, struct qcbm_error *err)
{
    struct qcbmi_file_place *places = qcbmi_alloc_array(2 * disks->n, sizeof(*places), err);
    size_t n = 0;
    int ret = places ? find_places(disks, overlays, places, &n, err) : QCBM_E_NOMEM;

    if (ret == 0) {
        qcbmi_file_places_sort(places, n);
        ret = refuse_twins(disks, places, n, err);
    }
    for (size_t i = 0; ret == 0 && i < n; i++)
        ret = open_place(disks, &places[i], flags, err);
    free(places);
    return ret;
}

/* ---- as the caller named them ---- */

#define MAX_DISKS 1024u /* libvirt's limit is far below */

static int take_names(struct qcbmi_disks *disks, const struct qcbm_checkpoint_disk *named, size_t elem_size, size_t n,
                      struct qcbm_error *err)
{
    for (size_t i = 0; i < n; i++) {
        struct qcbm_checkpoint_disk one;

        qcbmi_give(&one, sizeof(one), (const char *)named + i * elem_size, elem_size);
        if (!one.target || !one.target[0] || !one.image)
            return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "disk %zu lacks its target or its image", i);
        disks->list[i] = (struct qcbmi_disk){ .target = one.target, .path = one.image, .overlay = one.overlay };
    }
    return 0;
}

static int open_disks(struct qcbmi_disks *disks, const struct qcbm_checkpoint_disk *named, size_t elem_size, size_t n,
                      bool overlays, unsigned flags, struct qcbm_error *err)
{
    int ret = qcbmi_check_size(elem_size, err);

    *disks = (struct qcbmi_disks){ 0 };
    if (ret == 0 && (n == 0 || n > MAX_DISKS))
        ret = qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "%zu disks: 1 to %u are possible", n, MAX_DISKS);
    if (ret < 0)
        return ret;
    disks->list = qcbmi_alloc_array(n, sizeof(*disks->list), err);
    if (!disks->list)
        return QCBM_E_NOMEM;
    disks->n = n;
    ret = take_names(disks, named, elem_size, n, err);
    if (ret == 0 && !(flags & QCBMI_OPEN_RECOVERS))
        ret = refuse_namesakes(disks, err);
    if (ret == 0)
        ret = open_all(disks, overlays, flags, err);
    if (ret < 0)
        qcbmi_disks_close(disks);
    return ret;
}

int qcbmi_disks_open(struct qcbmi_disks *disks, const struct qcbm_checkpoint_disk *named, size_t elem_size, size_t n,
                     unsigned flags, struct qcbm_error *err)
{
    return open_disks(disks, named, elem_size, n, false, flags, err);
}

int qcbmi_disks_open_below(struct qcbmi_disks *disks, const struct qcbm_checkpoint_disk *named, size_t elem_size,
                           size_t n, unsigned flags, struct qcbm_error *err)
{
    return open_disks(disks, named, elem_size, n, true, flags, err);
}

void qcbmi_disks_close(struct qcbmi_disks *disks)
{
    for (size_t i = 0; i < disks->n; i++) {
        qcbmi_handle_close(disks->list[i].img);
        qcbmi_io_close(&disks->list[i].device);
    }
    free(disks->list);
    *disks = (struct qcbmi_disks){ 0 };
}
