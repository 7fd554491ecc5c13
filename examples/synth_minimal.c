/* synth_minimal.c - attach to an overlay a bitmap of what it changed against its backing file
 *
 * SPDX-License-Identifier: MIT
 *
 * cc synth_minimal.c $(pkg-config --cflags --libs libqcbm)
 */
#include <inttypes.h>
#include <stdio.h>

#include <qcbm.h>

int main(int argc, char **argv)
{
    struct qcbm_image *img = NULL;
    struct qcbm_synth_result *result = NULL;
    struct qcbm_synth_options options = QCBM_SYNTH_OPTIONS_INIT;
    struct qcbm_synth_summary summary;
    struct qcbm_error err;
    int ret = 1;

    if (argc != 3) {
        fprintf(stderr, "usage: synth_minimal OVERLAY NAME\n");
        return 1;
    }

    /* The writer's locks are taken here: a running guest makes this fail, and no guest can start until the close. */
    if (qcbm_open(argv[1], QCBM_OPEN_WRITE, &img, &err) < 0)
        goto fail;
    /* Options left at zero are QEMU's defaults: an enabled bitmap of QEMU's granularity for this image. */
    if (qcbm_synth(img, argv[2], &options, &result, &err) < 0)
        goto fail;

    qcbm_synth_result_summary(result, &summary, sizeof(summary));
    printf("%" PRIu64 " of %" PRIu64 " bytes are dirty, in granules of %" PRIu64 "\n", summary.dirty_bytes,
           summary.virtual_size, summary.granularity);
    ret = 0;
    goto out;

fail:
    fprintf(stderr, "synth_minimal: %s: %s\n", argv[1], err.message);
out:
    qcbm_synth_result_free(result);
    qcbm_close(img);
    return ret;
}
