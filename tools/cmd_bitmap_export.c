/* cmd_bitmap_export.c - qcbm bitmap --export: a bitmap to a file of its own
 * SPDX-License-Identifier: MIT
 *
 * Reading the image is shut in; making, replacing and removing a file could not be. So they are two processes, and the
 * one that sees the image has nothing of the file but a descriptor to write to. */
#include <errno.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>

#include "apart.h"
#include "cmd_bitmap.h"
#include "disk_files.h"
#include "every_args.h"
#include "extents_write.h"
#include "json_write.h"
#include "output.h"
#include "progress.h"
#include "qemu_text.h"

struct job {
    const struct bitmap_args *args;
    struct output out;
    int lost; /* errno of a failed write */
    struct progress progress;
    uint64_t written, expected; /* bytes, the latter about */
};

/* ---- in the sandbox ------------------------------------------------------------------------------------ */

static int write_out(void *opaque, const void *bytes, size_t len)
{
    struct job *job = opaque;

    job->written += len;
    progress_show(&job->progress, job->written < job->expected ? job->written : job->expected, job->expected);
    if (fwrite(bytes, 1, len, job->out.file) == len)
        return 0;
    job->lost = errno ? errno : EIO;
    return 1;
}

static int write_extents(struct job *job, struct qcbm_image *img, struct qcbm_error *err)
{
    enum extents_form form = bitmap_form(job->args);
    struct extents_out to = { .json = form == EXTENTS_JSON, .progress = job->progress, .out = job->out.file };
    struct qcbm_extents *extents;
    int ret;

    if (form == EXTENTS_JSON || form == EXTENTS_HUMAN) {
        ret = extents_print(&to, img, job->args->name, err);
    } else {
        ret = qcbm_extents_open(img, job->args->name, NULL, &extents, err);
        if (ret < 0)
            return ret;
        ret = extents_write(&to, form, false, img, extents, err);
        qcbm_extents_close(extents);
    }
    job->lost = to.lost;
    return ret;
}

/* The bits of the bitmap, in bytes. */
static uint64_t bits_size(struct qcbm_image *img, const char *name)
{
    struct qcbm_image_info info;
    struct qcbm_bitmap_info b;

    qcbm_image_get_info(img, &info, sizeof info);
    for (uint32_t i = 0; i < info.bitmap_count; i++) {
        qcbm_bitmap_get(img, i, &b, sizeof b);
        if (strcmp(b.name, name) == 0 && b.granularity)
            return info.virtual_size / b.granularity / 8 + 1;
    }
    return 1;
}

static int write_bitmap(struct job *job, struct qcbm_image *img, struct qcbm_error *err)
{
    int ret;

    job->progress.wanted = job->args->common.progress && !job->args->common.quiet;
    job->expected = bits_size(img, job->args->name);
    if (bitmap_form(job->args) != N_EXTENTS_FORMS)
        ret = write_extents(job, img, err);
    else
        ret = qcbm_bitmap_export(img, job->args->name, bitmap_transfer(job->args), write_out, job, err);
    progress_end(&job->progress, ret == 0);
    return ret;
}

static int export_image(struct job *job, struct qcbm_image *img)
{
    struct qcbm_error err;
    int code = output_replaces(&job->out) ? disk_files_keep(job->out.name, img, NULL) : EXIT_DONE;

    if (code != EXIT_DONE)
        return code;
    if (write_bitmap(job, img, &err) < 0 && !job->lost)
        return cmd_lib_error(&err, "Could not export bitmap '%s' of '%s'", job->args->name, job->args->common.path);
    if (!job->lost && fflush(job->out.file) != 0)
        job->lost = errno;
    return job->lost ? cmd_error("could not write '%s': %s", job->out.name, strerror(job->lost)) : EXIT_DONE;
}

static int export_shut_in(void *arg)
{
    struct job *job = arg;
    struct qcbm_image *img;
    int code;

    common_shut_in(&job->args->common, output_replaces(&job->out), NULL); /* what lies below is not to be lost */
    img = common_open(&job->args->common, common_reading(&job->args->common));
    code = img ? export_image(job, img) : EXIT_FAILED;
    if (code != EXIT_DONE)
        __fpurge(job->out.file); /* what is not out yet stays in */
    qcbm_close(img);
    return code;
}

/* ---- outside ------------------------------------------------------------------------------------------- */

static void tell_export(const struct bitmap_args *args, const char *file)
{
    const char *name = args->name;
    struct json_writer w = JSON_WRITER_INIT(stdout);
    const char *order = bitmap_bit_order(args);

    if (args->common.output == OUTPUT_HUMAN) {
        printf("export: '");
        print_escaped(stdout, name, strlen(name));
        printf("' to '");
        print_escaped(stdout, file, strlen(file));
        printf("'%s%s\n", order ? "; " : "", order ? bitmap_bit_order_text(order) : "");
        return;
    }
    json_begin_object(&w, NULL);
    json_string(&w, "image", args->common.path);
    json_string(&w, "bitmap", name);
    json_string(&w, "file", file);
    json_string(&w, "format", args->file_format ? args->file_format : "qcbm");
    if (order)
        json_string(&w, "bit-order", order);
    json_bool(&w, "dry-run", args->common.dry_run);
    json_end_object(&w);
    json_finish(&w);
}

int bitmap_export(const struct bitmap_args *args, const char *file)
{
    struct job job = { .args = args };
    bool to_std = strcmp(file, "-") == 0;
    int code;

    if (bitmap_form(args) == EXTENTS_THIN_DELTA)
        return cmd_error("--format=thin-delta is for --import only");
    if (to_std && every_refuses_stdout())
        return EXIT_FAILED;
    if (to_std && args->common.output == OUTPUT_JSON)
        return cmd_error("--output=json cannot be combined with --export -: both print to stdout");
    code = output_open(&job.out, file, args->common.force, args->common.dry_run);
    if (code == EXIT_DONE)
        code = run_apart(export_shut_in, &job);
    code = output_close(&job.out, code);
    if (code == EXIT_DONE && !to_std && !args->common.quiet)
        tell_export(args, file);
    return code;
}
