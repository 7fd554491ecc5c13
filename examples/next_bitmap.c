/* next_bitmap.c - close a bitmap and begin the next one, in one commit: what a backup does each night
 *
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdio.h>

#include <qcbm.h>

/* Anything but 0 cancels: before the switch to the new state, or not at all. */
static int show(void *opaque, uint64_t done, uint64_t total)
{
    (void)opaque;
    fprintf(stderr, "%" PRIu64 "/%" PRIu64 "\r", done, total);
    return 0;
}

static int change(struct qcbm_image *img, const char *old, const char *next, struct qcbm_plan_summary *plan,
                  struct qcbm_error *err)
{
    const struct qcbm_progress progress = { show, NULL };
    struct qcbm_edit *edit;
    int ret = qcbm_edit_begin(img, &edit, err);

    if (ret < 0)
        return ret;
    qcbm_edit_set_progress(edit, &progress);
    ret = qcbm_edit_disable(edit, old, err);
    if (ret == 0) /* 0: of the granularity that QEMU takes for this image */
        ret = qcbm_edit_add(edit, next, 0, 0, err);
    if (ret == 0)
        ret = qcbm_edit_commit(edit, plan, sizeof(*plan), err);
    qcbm_edit_free(edit); /* what was not committed has not happened */
    return ret;
}

int main(int argc, char **argv)
{
    struct qcbm_image *img = NULL;
    struct qcbm_plan_summary plan;
    struct qcbm_error err;
    int ret = 1;

    if (argc != 4) {
        fprintf(stderr, "usage: next_bitmap IMAGE OLD NEXT\n");
        return 1;
    }
    if (qcbm_open(argv[1], QCBM_OPEN_WRITE, &img, &err) < 0)
        goto fail;
    if (change(img, argv[2], argv[3], &plan, &err) < 0)
        goto fail;
    printf("%" PRIu64 " bytes in %" PRIu32 " writes\n", plan.bytes_written, plan.writes);
    ret = 0;
    goto out;

fail:
    fprintf(stderr, "next_bitmap: %s: %s\n", argv[1], err.message);
out:
    qcbm_close(img);
    return ret;
}
