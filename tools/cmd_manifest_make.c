/* cmd_manifest_make.c - qcbm manifest: a manifest made anew, or brought up to date
 * SPDX-License-Identifier: MIT
 *
 * Reading the disk is shut in; making and replacing a file could not be. So they are two processes, and the one that
 * sees the disk has nothing of the new file but a descriptor to write to. */
#include <errno.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "apart.h"
#include "cmd_manifest.h"
#include "disk_files.h"
#include "every_args.h"
#include "output.h"
#include "progress.h"
#include "qemu_text.h"
#include "rows.h"

struct job {
    const struct manifest_args *args;
    struct output out;
    int lost;                        /* errno of a failed write */
    struct qcbm_manifest_info *made; /* memory of both processes */
};

/* ---- in the sandbox ------------------------------------------------------------------------------------ */

static int write_out(void *opaque, const void *bytes, size_t len)
{
    struct job *job = opaque;

    if (fwrite(bytes, 1, len, job->out.file) == len)
        return 0;
    job->lost = errno ? errno : EIO;
    return 1;
}

static int hex_digit(char c)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    const char *at = c ? strchr(digits, c) : NULL;

    return at ? (int)((at - digits) % 16) : -1;
}

/* 32 digits, perhaps with dashes in between. */
static bool take_id(const char *text, uint8_t id[16])
{
    unsigned n = 0;

    for (; *text; text++) {
        int digit = hex_digit(*text);

        if (*text == '-')
            continue;
        if (digit < 0 || n == 32)
            return false;
        id[n / 2] = (uint8_t)(id[n / 2] << 4 | digit);
        n++;
    }
    return n == 32;
}

static void warn_of_disabled(struct qcbm_image *img, const char *name)
{
    struct qcbm_bitmap_info b;

    for (uint32_t i = 0; qcbm_bitmap_get(img, i, &b, sizeof b) == 0; i++)
        if (b.usable && !b.enabled && strcmp(b.name, name) == 0)
            cmd_warning("bitmap '%s' is disabled: what was written since it was disabled is not in it", name);
}

static int write_manifest(struct job *job, struct manifest_disk *disk, struct qcbm_manifest *old)
{
    const struct manifest_args *args = job->args;
    struct qcbm_manifest_options options = QCBM_MANIFEST_OPTIONS_INIT;
    struct progress progress = { .wanted = args->common.progress && !args->common.quiet };
    const struct qcbm_progress told = progress_of(&progress);
    struct qcbm_error err;
    int ret;

    options.granularity = args->granularity;
    options.digest = args->digest ? manifest_digest_of(args->digest) : 0;
    options.threads = (unsigned)(args->common.threads < 64 ? args->common.threads : 64);
    options.time = (int64_t)time(NULL);
    options.text = args->text;
    options.progress = &told;
    if (args->image_id)
        take_id(args->image_id, options.image_id);
    ret = old ? qcbm_manifest_update(old, disk->chain, disk->disk.img, args->bitmap, &options, write_out, job,
                                     job->made, sizeof *job->made, &err)
              : qcbm_manifest_write(disk->chain, &options, write_out, job, job->made, sizeof *job->made, &err);
    progress_end(&progress, ret == 0);
    if (ret < 0 && !job->lost)
        return cmd_lib_error(&err, "Could not make a manifest of '%s'", args->common.path);
    if (ret == 0 && old)
        warn_of_disabled(disk->disk.img, args->bitmap);
    if (!job->lost && fflush(job->out.file) != 0)
        job->lost = errno;
    return job->lost ? cmd_error("could not write '%s': %s", job->out.name, strerror(job->lost)) : EXIT_DONE;
}

static int make_from(struct job *job, struct manifest_disk *disk)
{
    const struct manifest_args *args = job->args;
    struct qcbm_manifest *old = NULL;
    struct qcbm_error err;
    int code = disk_files_keep(job->out.name, disk->disk.img, disk->chain);

    if (code == EXIT_DONE && args->update && !disk->disk.img)
        code = cmd_error("'%s' is raw and has no bitmaps: name the qcow2 image that has them", args->common.path);
    if (code == EXIT_DONE && args->update && qcbm_manifest_open(args->update, &old, &err) < 0)
        code = cmd_lib_error(&err, "Could not open '%s'", args->update);
    if (code == EXIT_DONE)
        code = write_manifest(job, disk, old);
    qcbm_manifest_close(old);
    return code;
}

static int make_shut_in(void *arg)
{
    struct job *job = arg;
    struct manifest_disk disk;
    int code = EXIT_FAILED;

    common_shut_in(&job->args->common, true, NULL);
    if (manifest_open_disk(job->args, &disk))
        code = make_from(job, &disk);
    if (code != EXIT_DONE)
        __fpurge(job->out.file); /* what is not out yet stays in */
    manifest_close_disk(&disk);
    return code;
}

/* ---- outside ------------------------------------------------------------------------------------------- */

static void tell_made(const struct job *job)
{
    const struct qcbm_manifest_info *made = job->made;
    struct json_writer w = JSON_WRITER_INIT(stdout);
    struct rows rows = ROWS_JSON(&w);

    if (job->args->common.output == OUTPUT_HUMAN) {
        printf("manifest: %s of digests (%s), for %s in granules of %s", size_text(made->file_size).text,
               manifest_digest_name(made->digest), size_text(made->size).text, size_text(made->granularity).text);
        printf(", of which %s read as zeros\n", count_text(made->zero_granules, "granule").text);
        return;
    }
    json_begin_object(&w, NULL);
    json_string(&w, "image", job->args->common.path);
    json_string(&w, "manifest", job->out.name);
    manifest_rows(&rows, made);
    json_end_object(&w);
    json_finish(&w);
}

/* A manifest has an end, behind which nothing follows: on a device there would be. */
static int check_names(const struct manifest_args *args, const char *name)
{
    bool to_std = strcmp(name, "-") == 0;
    uint8_t id[16] = { 0 };
    struct stat st;

    if (to_std && isatty(STDOUT_FILENO))
        return cmd_error("a manifest is not printed to a terminal: -o OUT names a file");
    if (to_std && every_refuses_stdout())
        return EXIT_FAILED;
    if (to_std && args->common.output == OUTPUT_JSON)
        return cmd_error("--output=json cannot be combined with -o -: both print to stdout");
    if (!to_std && stat(name, &st) == 0 && S_ISBLK(st.st_mode))
        return cmd_error("'%s' is a block device: a manifest is written to a file", name);
    if (args->update && stat(args->update, &st) < 0)
        return cmd_error("Could not open '%s': %s", args->update, strerror(errno));
    if (args->image_id && !take_id(args->image_id, id))
        return cmd_error("--image-id takes 32 hexadecimal digits, with or without dashes, not '%s'", args->image_id);
    return EXIT_DONE;
}

int manifest_make(const struct manifest_args *args)
{
    const char *name = args->update ? args->update : args->out ? args->out : "-";
    struct job job = { .args = args };
    bool to_std = strcmp(name, "-") == 0;
    int code = check_names(args, name);

    if (code != EXIT_DONE)
        return code;
    job.made = mmap(NULL, sizeof *job.made, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (job.made == MAP_FAILED)
        return cmd_error("no memory");
    manifest_prepare();
    code = output_open(&job.out, name, args->common.force || args->update, false);
    if (code == EXIT_DONE)
        code = run_apart(make_shut_in, &job);
    code = output_close(&job.out, code);
    job.out.name = name;
    if (code == EXIT_DONE && !to_std && !args->common.quiet)
        tell_made(&job);
    munmap(job.made, sizeof *job.made);
    return code;
}
