/* common_args.c - options and arguments that several commands have: their rows, and what they mean
 * SPDX-License-Identifier: MIT
 */
#include "common_args.h"

#include <limits.h>

#include "image_name.h"
#include "remote.h"

bool common_take_name(struct common_args *common)
{
    return image_name_take(&common->path, &common->format, common->image_opts);
}

bool common_take_name_or_uri(struct common_args *common)
{
    return image_name_take_or_uri(&common->path, &common->format, common->image_opts);
}

unsigned common_reading(const struct common_args *common)
{
    return (common->no_lock ? QCBM_OPEN_NO_LOCK : 0) | (common->force_share ? QCBM_OPEN_FORCE_SHARE : 0);
}

unsigned common_writing(const struct common_args *common)
{
    return common->dry_run ? common_reading(common) : (common->no_lock ? QCBM_OPEN_NO_LOCK : 0) | QCBM_OPEN_WRITE;
}

struct qcbm_image *common_with_threads(const struct common_args *common, struct qcbm_image *img)
{
    if (img) /* so many that the library takes fewer */
        qcbm_set_threads(img, common->threads < INT_MAX ? (unsigned)common->threads : INT_MAX);
    return img;
}

bool common_is_finished(const struct common_args *common, unsigned flags)
{
    struct qcbm_error err;

    if (uri_is_server(common->path) || (flags & QCBM_OPEN_WRITE) ||
        qcbm_apply_check_finished(common->path, &err) != QCBM_E_UNSAFE)
        return true;
    if (common->dry_run)
        cmd_lib_error(&err, "Could not open '%s'", common->path);
    else
        cmd_warning("%s: %s", common->path, err.message);
    return !common->dry_run;
}

struct qcbm_image *common_open(const struct common_args *common, unsigned flags)
{
    if (!common_is_finished(common, flags))
        return NULL;
    return common_with_threads(common, cmd_open(common->path, common->format, flags));
}

bool common_open_disk(const struct common_args *common, unsigned flags, struct cmd_disk *out)
{
    bool ok = common_is_finished(common, flags) && cmd_open_disk(common->path, common->format, flags, out);

    if (ok)
        common_with_threads(common, out->img);
    return ok;
}

void common_shut_in(const struct common_args *common, bool chain, const char *other)
{
    cmd_shut_in(common->no_sandbox, chain, common->path, other);
}
