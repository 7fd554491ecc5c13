/* dirty_extents.c - print what a backup has to copy: the dirty extents of a stored bitmap, "offset length" a line
 *
 * SPDX-License-Identifier: MIT
 *
 * With --zero, extents that read as zeros are marked: they need no copy, only a "write zeroes" on the target. That
 * opens the backing chain; without it only IMAGE is opened.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <qcbm.h>

struct walk {
    bool with_zero;
    uint64_t dirty_bytes;
};

/* Called in guest order, while the bitmap is read: memory does not grow with the disk. */
static int print_extent(void *opaque, const struct qcbm_extent *e)
{
    struct walk *walk = opaque;

    if (!e->dirty)
        return 0;
    walk->dirty_bytes += e->length;
    if (printf("%" PRIu64 " %" PRIu64 "%s\n", e->offset, e->length, walk->with_zero && e->zero ? " zero" : "") < 0)
        return 1; /* stops the walk with QCBM_E_ABORTED */
    return 0;
}

int main(int argc, char **argv)
{
    struct walk walk = { false, 0 };
    struct qcbm_image *img = NULL;
    struct qcbm_error err;
    int ret = 1;

    if (argc == 4 && strcmp(argv[1], "--zero") == 0) {
        walk.with_zero = true;
        argv++;
    } else if (argc != 3) {
        fprintf(stderr, "usage: dirty_extents [--zero] IMAGE NAME\n");
        return 1;
    }

    if (qcbm_open(argv[1], 0, &img, &err) < 0 ||
        qcbm_bitmap_extents(img, argv[2], walk.with_zero ? QCBM_EXTENTS_ZERO : 0, print_extent, &walk, &err) < 0) {
        fprintf(stderr, "dirty_extents: %s: %s\n", argv[1], err.message);
        goto out;
    }
    fprintf(stderr, "%" PRIu64 " bytes to copy\n", walk.dirty_bytes);
    ret = 0;
out:
    qcbm_close(img);
    return ret;
}
