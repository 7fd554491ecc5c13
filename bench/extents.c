/* extents.c - what an image holds, in pages of 65536 extents: the C beside which bench/extents.py is measured
 * SPDX-License-Identifier: MIT
 *
 * usage: extents IMAGE. Prints how many extents there are, and the bytes of the dirty ones. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include <qcbm.h>

enum { PAGE = 65536 };

static int count(struct qcbm_extents *extents, struct qcbm_error *err)
{
    struct qcbm_extent *page = calloc(PAGE, sizeof *page);
    uint64_t n = 0, bytes = 0, next = 0;
    size_t got = 0;
    int ret = 0;

    if (!page)
        return QCBM_E_NOMEM;
    do {
        ret = qcbm_extents_fill(extents, next, page, sizeof *page, PAGE, &got, &next, err);
        for (size_t i = 0; ret == 0 && i < got; i++)
            bytes += page[i].dirty ? page[i].length : 0;
        n += got;
    } while (ret == 0 && got > 0);
    free(page);
    printf("%" PRIu64 " %" PRIu64 "\n", n, bytes);
    return ret;
}

int main(int argc, char **argv)
{
    struct qcbm_extents *extents = NULL;
    struct qcbm_image *img = NULL;
    struct qcbm_error err;
    int ret;

    if (argc != 2)
        return 2;
    ret = qcbm_open(argv[1], 0, &img, &err);
    if (ret == 0)
        ret = qcbm_extents_open_layers(img, NULL, NULL, &extents, &err);
    if (ret == 0)
        ret = count(extents, &err);
    if (ret != 0)
        fprintf(stderr, "extents: %s\n", err.message);
    qcbm_extents_close(extents);
    qcbm_close(img);
    return ret == 0 ? 0 : 1;
}
