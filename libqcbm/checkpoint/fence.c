/* fence.c - a bit in the header that falls when another program writes to the image
 * SPDX-License-Identifier: MIT */
#include "checkpoint/fence.h"

#include "base/bytes.h"

static int read_word(struct qcbmi_image *img, uint64_t *word, struct qcbm_error *err)
{
    uint8_t raw[8] = { 0 };
    int ret = qcbmi_io_read(&img->io, Q2_OFF_AUTOCLEAR, raw, sizeof(raw), "header", err);

    *word = be64_load(raw);
    return ret;
}

static int set(struct qcbmi_image *img, bool up, struct qcbm_error *err)
{
    uint64_t word = 0, wanted;
    uint8_t raw[8];
    int ret = read_word(img, &word, err);

    wanted = up ? word | QCBMI_FENCE : word & ~QCBMI_FENCE;
    if (ret < 0 || wanted == word)
        return ret;
    be64_store(raw, wanted);
    img->io.doing = "header: fence";
    ret = qcbmi_io_write(&img->io, Q2_OFF_AUTOCLEAR, raw, sizeof(raw), err);
    return ret < 0 ? ret : qcbmi_io_flush(&img->io, err);
}

int qcbmi_fence_up(struct qcbmi_image *img, struct qcbm_error *err)
{
    return set(img, true, err);
}

int qcbmi_fence_down(struct qcbmi_image *img, struct qcbm_error *err)
{
    return set(img, false, err);
}

int qcbmi_fence_look(struct qcbmi_image *img, bool *up, struct qcbm_error *err)
{
    uint64_t word = 0;
    int ret = read_word(img, &word, err);

    *up = word & QCBMI_FENCE;
    return ret;
}
