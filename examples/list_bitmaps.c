/* list_bitmaps.c - the bitmaps of an image, their state and what they cover; damaged ones included
 *
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdio.h>

#include <qcbm.h>

/* A name is bytes from the image: never to a terminal as they are. */
static void print_name(const struct qcbm_bitmap_info *b)
{
    size_t i;

    for (i = 0; i < b->name_len; i++) {
        unsigned char c = (unsigned char)b->name[i];

        if (c > 0x20 && c < 0x7f && c != '\\')
            putchar(c);
        else
            printf("\\x%02x", c);
    }
}

static int print_bitmap(struct qcbm_image *img, uint32_t index, struct qcbm_error *err)
{
    struct qcbm_bitmap_info info;
    struct qcbm_bitmap_usage usage;

    qcbm_bitmap_get(img, index, &info, sizeof(info));
    print_name(&info);
    if (!info.usable) {
        puts(info.in_use ? " in-use" : " damaged");
        return 0;
    }
    if (qcbm_bitmap_usage(img, index, &usage, sizeof(usage), NULL, err) < 0)
        return -1;
    printf(" %s granularity %" PRIu64 " dirty %" PRIu64 "\n", info.enabled ? "enabled" : "disabled", info.granularity,
           usage.dirty_bytes);
    return 0;
}

int main(int argc, char **argv)
{
    struct qcbm_image *img = NULL;
    struct qcbm_image_info info;
    struct qcbm_error err;
    uint32_t i;
    int ret = 1;

    if (argc != 2) {
        fprintf(stderr, "usage: list_bitmaps IMAGE\n");
        return 1;
    }
    if (qcbm_open(argv[1], 0, &img, &err) < 0)
        goto fail;

    qcbm_image_get_info(img, &info, sizeof(info));
    for (i = 0; i < info.bitmap_count; i++)
        if (print_bitmap(img, i, &err) < 0)
            goto fail;

    /* One bad entry hides no other: what is wrong is listed beside what is good. */
    for (i = 0; i < qcbm_finding_count(img); i++) {
        struct qcbm_finding finding;

        qcbm_finding_get(img, i, &finding, sizeof(finding));
        printf("finding %s: %s\n", finding.problem->code, finding.message);
    }
    ret = 0;
    goto out;

fail:
    fprintf(stderr, "list_bitmaps: %s: %s\n", argv[1], err.message);
out:
    qcbm_close(img);
    return ret;
}
