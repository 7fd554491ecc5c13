/* read_api.c - guest bytes for callers
 * SPDX-License-Identifier: MIT */
#include "base/checked.h"
#include "bitmap/handle.h"
#include "image/data.h"

static unsigned data_flags(unsigned flags)
{
    return (flags & QCBM_READ_LAYER ? QCBMI_DATA_LAYER : 0u) | (flags & QCBM_READ_DATA_FILE ? QCBMI_DATA_FILES : 0u) |
           (flags & QCBM_READ_FORCE_SHARE ? QCBMI_DATA_FORCE_SHARE : 0u);
}

/* What was opened for the call before serves the next one, too. */
static int open_data(struct qcbm_image *img, unsigned flags, struct qcbm_error *err)
{
    if (img->data && qcbmi_data_serves(img->data, flags))
        return 0;
    qcbmi_data_close(img->data);
    return qcbmi_data_open(img->image, flags, &img->data, err);
}

int qcbm_read(struct qcbm_image *img, uint64_t offset, void *buf, size_t length, unsigned flags, struct qcbm_error *err)
{
    int ret = qcbmi_image_check_sound(img->image, err);

    if (ret < 0)
        return ret;
    if (!range_fits(offset, length, img->image->g.sector_size_down))
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                          "%zu bytes at 0x%" PRIx64 " pass the end of the disk at 0x%" PRIx64, length, offset,
                          img->image->g.sector_size_down);
    ret = open_data(img, data_flags(flags), err);
    return ret < 0 ? ret : qcbmi_data_read(img->data, offset, buf, length, err);
}
