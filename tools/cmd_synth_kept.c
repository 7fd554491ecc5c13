/* cmd_synth_kept.c - synth --if-missing: a bitmap that is there is left as it is, if it is what was asked for
 * SPDX-License-Identifier: MIT
 *
 * Who asks goes on as if the bitmap had been made. So nothing passes that a new one would not have: an image that synth
 * would refuse, bits that cannot be read, a bitmap that misses what is written from now on.
 */
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd_synth.h"
#include "qemu_text.h"
#include "uri.h"

static struct qcbm_image *target_of(const struct synth_job *job)
{
    return job->into ? job->into : job->overlay;
}

static bool find(struct qcbm_image *img, const char *name, uint32_t *index, struct qcbm_bitmap_info *bitmap)
{
    struct qcbm_image_info image;

    qcbm_image_get_info(img, &image, sizeof image);
    for (*index = 0; *index < image.bitmap_count; (*index)++) {
        qcbm_bitmap_get(img, *index, bitmap, sizeof *bitmap);
        if (strcmp(bitmap->name, name) == 0)
            return true;
    }
    return false;
}

static int refuse(const struct synth_job *job, int code, const char *why)
{
    struct qcbm_error err = { .code = code, .offset = QCBM_NO_OFFSET };

    snprintf(err.message, sizeof err.message, "%s", why);
    cmd_lib_error(&err, "Bitmap '%s' of '%s' is there, but cannot be kept", job->args->name, job->target_path);
    cmd_hint("--replace in place of --if-missing makes it anew");
    return EXIT_FAILED;
}

/* Files that would be read beside the image, though not what is in them: that takes as long as making the bitmap
 * anew. */
static int look_at_files(const struct synth_args *args)
{
    const char *const names[] = { args->since, args->against, args->refine_against };
    struct stat st;

    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *name = names[i];

        if (name && !uri_is_server(name) && strncmp(name, "snapshot:", 9) != 0 && stat(name, &st) != 0)
            return cmd_error("Could not open '%s': %s", name, strerror(errno));
    }
    return EXIT_DONE;
}

/* The bitmap of --within would be read, too. */
static int look_at_within(const struct synth_job *job)
{
    const char *name = job->args->within;
    struct qcbm_bitmap_usage usage;
    struct qcbm_bitmap_info bitmap;
    struct qcbm_error err;
    uint32_t index;

    if (!name)
        return EXIT_DONE;
    if (!find(job->overlay, name, &index, &bitmap))
        return cmd_error("Bitmap '%s' of '%s' is not there", name, job->args->common.path);
    if (bitmap.in_use)
        return cmd_error("Bitmap '%s' of '%s' is in use, and cannot be relied on", name, job->args->common.path);
    return qcbm_bitmap_usage(job->overlay, index, &usage, sizeof usage, NULL, &err) == 0
               ? EXIT_DONE
               : cmd_lib_error(&err, "Could not read bitmap '%s' of '%s'", name, job->args->common.path);
}

/* The bitmap in place of the old one, as far as metadata alone tell it. */
static int stage_again(struct synth_job *job, struct qcbm_edit *edit, struct qcbm_error *err)
{
    const struct synth_args *args = job->args;
    struct qcbm_synth_options options = QCBM_SYNTH_OPTIONS_INIT;
    struct qcbm_synth_result *result = NULL;
    int ret;

    if (args->from || args->against) { /* which do not ask the metadata */
        ret = qcbm_edit_remove(edit, args->name, err);
        return ret < 0 ? ret : qcbm_edit_add(edit, args->name, args->granularity, 0, err);
    }
    options.granularity = args->granularity;
    options.since = args->since;
    options.since_snapshot = args->since_snapshot;
    options.snapshot = args->snapshot;
    options.flags = QCBM_SYNTH_REPLACE | (args->disabled ? QCBM_SYNTH_DISABLED : 0) |
                    (args->common.force ? QCBM_SYNTH_FORCE : 0) | (args->dirty_tail ? QCBM_SYNTH_DIRTY_TAIL : 0) |
                    (args->common.force_share ? QCBM_SYNTH_FORCE_SHARE : 0);
    ret = qcbm_edit_synth(edit, job->overlay, args->name, &options, &result, err);
    qcbm_synth_result_free(result);
    return ret;
}

/* Would it be made if it were not there? */
static int try_again(struct synth_job *job)
{
    struct qcbm_edit *edit = NULL;
    struct qcbm_error err;
    int ret = qcbm_edit_begin(target_of(job), &edit, &err);

    if (ret == 0)
        ret = stage_again(job, edit, &err);
    if (ret == 0)
        ret = qcbm_edit_plan(edit, NULL, 0, NULL, NULL, &err);
    qcbm_edit_free(edit);
    return ret < 0 ? cmd_lib_error(&err, "Bitmap '%s' of '%s' is there, but could not be made now", job->args->name,
                                   job->target_path)
                   : EXIT_DONE;
}

/* The tag alone may be missing. Who names a file for undo finds it, perhaps with nothing to take back. */
static int change_the_rest(struct synth_job *job)
{
    struct qcbm_error err;

    if (!job->args->common.undo && (!job->args->tag || synth_has_tag(job)))
        return EXIT_DONE;
    if (qcbm_edit_begin(target_of(job), &job->edit, &err) < 0 || synth_stage_tag(job, job->edit, &err) < 0 ||
        plan_run(&job->plan, target_of(job), job->edit, &job->args->common, &err) < 0)
        return cmd_lib_error(&err, "Could not change '%s'", job->target_path);
    return EXIT_DONE;
}

static int judge(struct synth_job *job, uint32_t index, const struct qcbm_bitmap_info *bitmap)
{
    struct qcbm_bitmap_usage usage;
    struct qcbm_image_info image;
    struct qcbm_error err;
    int ret;

    qcbm_image_get_info(target_of(job), &image, sizeof image);
    if (image.incompatible_features & (QCBM_INCOMPAT_DIRTY | QCBM_INCOMPAT_CORRUPT))
        return refuse(job, QCBM_E_UNSAFE, "the image is marked as dirty or corrupt");
    if (bitmap->in_use)
        return refuse(job, QCBM_E_INUSE, "it is in use: its program was killed, and bits are missing");
    if (bitmap->enabled == job->args->disabled)
        return refuse(job, QCBM_E_EXISTS,
                      bitmap->enabled ? "it records writes" : "it is disabled, and misses later writes");
    ret = qcbm_bitmap_check_table(target_of(job), index, &err);
    if (ret == 0)
        ret = qcbm_bitmap_usage(target_of(job), index, &usage, sizeof usage, NULL, &err);
    if (ret < 0)
        return refuse(job, ret, err.message);
    if (!bitmap->usable)
        return refuse(job, QCBM_E_CORRUPT, "it is damaged");
    if (look_at_files(job->args) != EXIT_DONE || look_at_within(job) != EXIT_DONE || try_again(job) != EXIT_DONE ||
        change_the_rest(job) != EXIT_DONE)
        return EXIT_FAILED;
    job->kept = true;
    job->enabled = bitmap->enabled;
    job->summary.granularity = bitmap->granularity;
    job->summary.virtual_size = image.virtual_size;
    job->summary.granules = usage.granules;
    job->summary.dirty_granules = usage.dirty_granules;
    job->summary.dirty_bytes = usage.dirty_bytes;
    return EXIT_DONE;
}

int synth_look(struct synth_job *job)
{
    struct qcbm_bitmap_info bitmap;
    uint32_t index;

    return job->args->if_missing && find(target_of(job), job->args->name, &index, &bitmap) ? judge(job, index, &bitmap)
                                                                                           : EXIT_DONE;
}

void synth_kept_print(const struct synth_job *job)
{
    synth_print_figures(job->args->name, &job->summary);
    puts("; is there already");
    synth_print_tag(job);
}

void synth_kept_write(const struct synth_job *job, struct json_writer *w)
{
    json_string(w, "bitmap", job->args->name);
    synth_write_figures(&job->summary, w);
}
