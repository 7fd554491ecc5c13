/* check_image.c - what is wrong with an image, finding by finding, and the code of each
 *
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdio.h>

#include <qcbm.h>

/* Page by page, as a binding for another language would take them; qcbm_check() with a callback gives the same. */
static int print_findings(const struct qcbm_check_report *report, struct qcbm_error *err)
{
    struct qcbm_check_finding page[32];
    uint64_t from = 0;
    size_t got, i;

    do {
        if (qcbm_check_fill(report, from, page, sizeof(page[0]), 32, &got, &from, err) < 0)
            return -1;
        for (i = 0; i < got; i++)
            printf("%s: %s\n", page[i].problem->code, page[i].message);
    } while (got > 0);
    if (qcbm_check_left_out(report) > 0)
        printf("and %" PRIu64 " more\n", qcbm_check_left_out(report));
    return 0;
}

int main(int argc, char **argv)
{
    struct qcbm_image *img = NULL;
    struct qcbm_check_report *report = NULL;
    struct qcbm_check_result result;
    struct qcbm_error err;
    int ret = 1;

    if (argc != 2) {
        fprintf(stderr, "usage: check_image IMAGE\n");
        return 1;
    }
    if (qcbm_open(argv[1], 0, &img, &err) < 0)
        goto fail;
    if (qcbm_check_open(img, NULL, &report, &result, sizeof(result), &err) < 0)
        goto fail;
    if (print_findings(report, &err) < 0)
        goto fail;
    printf("%" PRIu64 " corruptions, %" PRIu64 " leaks, %" PRIu64 " damages, %" PRIu64 " warnings\n",
           result.corruptions, result.leaks, result.damages, result.warnings);
    ret = 0;
    goto out;

fail:
    fprintf(stderr, "check_image: %s: %s\n", argv[1], err.message);
out:
    qcbm_check_close(report);
    qcbm_close(img);
    return ret;
}
