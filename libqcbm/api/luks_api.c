/* luks_api.c - how an image is encrypted with LUKS
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/sized.h"
#include "bitmap/handle.h"
#include "format/luks_header.h"

int qcbm_image_luks(struct qcbm_image *img, struct qcbm_luks_info *out, size_t size, struct qcbm_error *err)
{
    const struct q2_extension *ext = q2_extension_find(&img->image->exts, Q2_EXT_CRYPTO);
    struct qcbm_luks_info info;
    uint8_t bytes[LUKS_HEADER_BYTES];
    uint64_t offset;
    bool fits;
    int ret = qcbmi_check_size(size, err);

    if (ret < 0)
        return ret;
    memset(out, 0, size);
    if (!ext)
        return qcbmi_fail(err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET, "the image is not encrypted with LUKS");
    offset = be64_load(ext->data);
    fits = range_fits(offset, sizeof(bytes), img->image->io.size);
    if (fits)
        ret = qcbmi_io_read(&img->image->io, offset, bytes, sizeof(bytes), "LUKS header", err);
    if (ret == 0)
        ret = qcbmi_luks_parse(bytes, fits ? sizeof(bytes) : 0, offset, &info, err);
    if (ret == 0)
        qcbmi_give(out, size, &info, sizeof(info));
    return ret;
}
