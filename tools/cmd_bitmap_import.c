/* cmd_bitmap_import.c - qcbm bitmap --import: a bitmap out of a file of its own
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

#include "base64_in.h"
#include "cmd_bitmap_edit.h"
#include "context.h"
#include "extents_read.h"
#include "progress.h"

/* Replace the error. Returns @code. */
__attribute__((format(printf, 3, 4))) static int fail(struct qcbm_error *err, int code, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    *err = (struct qcbm_error){ .code = code, .offset = QCBM_NO_OFFSET };
    vsnprintf(err->message, sizeof err->message, fmt, args);
    va_end(args);
    return code;
}

static int64_t read_in(void *opaque, void *buf, size_t len)
{
    FILE *in = opaque;
    size_t got = fread(buf, 1, len, in);

    return got == 0 && ferror(in) ? -1 : (int64_t)got;
}

static int set_extent(void *opaque, const struct qcbm_extent *extent, struct qcbm_error *err)
{
    struct bitmap_job *job = opaque;

    if (!extent->dirty)
        return 0;
    return qcbm_edit_set_range(job->edit, job->name, extent->offset, extent->length, err);
}

static int import_extents(struct bitmap_job *job, FILE *in, struct qcbm_error *err)
{
    struct extents_in from = { .form = bitmap_form(job->args) };
    struct qcbm_image_info info;
    int ret = 0;

    if (job->args->grown)
        return fail(err, QCBM_E_ARG,
                    "lists of extents do not say how large their disk was: --grown is for the format qcbm");
    ret = qcbm_edit_add(job->edit, job->name, job->args->granularity, 0, err);

    if (ret < 0) {
        err->offset = QCBM_NO_OFFSET; /* one in the image, and not in what is read */
        return ret;
    }
    qcbm_image_get_info(job->img, &info, sizeof info);
    from.in = in;
    from.size = info.virtual_size / 512 * 512;
    from.cluster_size = info.cluster_size;
    return extents_read(&from, set_extent, job, err);
}

static int import_own(struct bitmap_job *job, FILE *in, struct bitmap_result *result, struct qcbm_error *err)
{
    struct qcbm_import_options opt = QCBM_IMPORT_OPTIONS_INIT;
    struct qcbm_import_result imported = { .fingerprint = QCBM_FINGERPRINT_UNKNOWN };
    int ret;

    opt.format = bitmap_transfer(job->args);
    opt.granularity = job->args->granularity;
    opt.flags = (job->args->common.force ? QCBM_IMPORT_FORCE : 0) | (job->args->grown ? QCBM_IMPORT_GROWN : 0);
    ret = qcbm_edit_import(job->edit, job->name, &opt, read_in, in, &imported, sizeof imported, err);
    if (ret == QCBM_E_ABORTED)
        return fail(err, QCBM_E_IO, "could not read the bitmap: %s", strerror(errno));
    result->has_fingerprint = ret == 0 && opt.format == QCBM_TRANSFER_QCBM;
    result->fingerprint = imported.fingerprint;
    result->bit_order = bitmap_bit_order(job->args);
    return ret;
}

static int import_from(struct bitmap_job *job, FILE *in, struct bitmap_result *result, struct qcbm_error *err)
{
    return bitmap_form(job->args) != N_EXTENTS_FORMS ? import_extents(job, in, err) : import_own(job, in, result, err);
}

/* Places are then those of the bytes, but where the base64 itself is at fault. */
static int import_base64(struct bitmap_job *job, FILE *in, struct bitmap_result *result, struct qcbm_error *err)
{
    struct base64_in base64;
    FILE *bytes = base64_open(&base64, in);
    int ret;

    if (!bytes)
        return fail(err, QCBM_E_NOMEM, "no memory");
    ret = import_from(job, bytes, result, err);
    fclose(bytes);
    if (base64.fault) {
        ret = fail(err, QCBM_E_CORRUPT, "%s", base64.fault);
        err->offset = base64.at - (base64.at > 0);
    }
    return ret;
}

/* The disk is the one that the bitmap tells of. */
static int check_copy(struct bitmap_job *job, struct bitmap_result *result, struct qcbm_error *err)
{
    struct progress progress = { .wanted = job->args->common.progress && !job->args->common.quiet };
    const struct qcbm_progress told = progress_of(&progress);
    int ret = qcbm_edit_check_copy(job->edit, job->name, job->args->check, 0, &told, &result->checked,
                                   sizeof result->checked, err);

    progress_end(&progress, ret == 0);
    result->has_check = ret == 0;
    return ret;
}

static int import_context(struct bitmap_job *job, const char *uri, struct qcbm_error *err)
{
    int ret = qcbm_edit_add(job->edit, job->name, job->args->granularity, 0, err);

    return ret < 0 ? ret : context_mark(uri, job->args->context, job->img, job->edit, job->name, err);
}

int bitmap_import(struct bitmap_job *job, struct bitmap_result *result, struct qcbm_error *err)
{
    FILE *in = job->inputs[result->action - job->args->actions.list].file;
    int ret = job->args->context  ? import_context(job, result->action->value, err)
              : job->args->base64 ? import_base64(job, in, result, err)
                                  : import_from(job, in, result, err);

    if (ret == 0 && job->args->check)
        return check_copy(job, result, err);
    if (ret < 0 && err->offset != QCBM_NO_OFFSET) { /* in the file that was read, not in the image */
        char text[sizeof err->message];

        memcpy(text, err->message, sizeof text);
        return fail(err, ret, "%.400s (at byte %" PRIu64 " of '%.80s')", text, err->offset, result->action->value);
    }
    return ret;
}
