/* cmd_synth.c - qcbm synth: a dirty bitmap made from what an overlay has allocated
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "opt_parse.h"
#include "plan_out.h"
#include "qemu_text.h"

struct synth_args {
    uint64_t granularity;
    const char *path, *name, *format, *since, *into, *undo;
    enum opt_output output;
    bool disabled, replace, merge, dry_run, force, dirty_tail, quiet, progress, force_share, no_lock, no_sandbox;
};

#define FLAG(name, letter, member, help)                                                                               \
    {                                                                                                                  \
        name, letter, OPT_FLAG, offsetof(struct synth_args, member), NULL, help                                        \
    }

static const struct opt synth_opts[] = {
    { NULL, 0, OPT_ARG, offsetof(struct synth_args, path), "OVERLAY", "overlay" },
    { NULL, 0, OPT_ARG, offsetof(struct synth_args, name), "NAME", "bitmap name" },
    { "granularity", 'g', OPT_SIZE, offsetof(struct synth_args, granularity), "SIZE",
      "bytes per bit, a power of 2 from 512 to 2G (default: the\ncluster size, within 4k and 64k)" },
    { "since", 0, OPT_STRING, offsetof(struct synth_args, since), "BASE",
      "changes against this image of the chain, not against\nthe backing file of OVERLAY" },
    { "into", 0, OPT_STRING, offsetof(struct synth_args, into), "IMAGE", "give the bitmap to this qcow2 image" },
    FLAG("disabled", 0, disabled, "a frozen bitmap, which records no further writes"),
    FLAG("replace", 0, replace, "NAME may exist: put the new bitmap in its place"),
    FLAG("merge", 0, merge, "NAME may exist: add the dirty parts to it"),
    FLAG("dirty-tail", 0, dirty_tail, "also mark what lies past the end of the backing file"),
    FLAG("force", 0, force, "raw external data file: mark everything dirty"),
    FLAG("dry-run", 0, dry_run, "print what would be written, and write nothing"),
    OPT_COMMON_UNDO(synth_args),
    OPT_COMMON_FORMAT(synth_args),
    FLAG("force-share", 'U', force_share, "read OVERLAY while a writer is active; with --dry-run"),
    FLAG("progress", 'p', progress, "show progress on stderr"),
    FLAG("quiet", 'q', quiet, "print errors only"),
    OPT_COMMON_OUTPUT(synth_args),
    OPT_COMMON_NO_LOCK(synth_args),
    OPT_COMMON_NO_SANDBOX(synth_args),
    OPT_COMMON_REFUSED,
    OPT_END,
};

struct job {
    const struct synth_args *args;
    const char *overlay_path, *target_path, *name;
    struct qcbm_image *overlay, *into; /* into: NULL if the overlay gets the bitmap */
    struct qcbm_edit *edit;
    struct qcbm_synth_result *result;
    struct qcbm_synth_summary summary;
    struct plan plan;
    double seconds;
    int shown_percent;
    bool enabled; /* the state of the bitmap afterwards */
};

/* ---- the work ------------------------------------------------------------------------------------------ */

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int open_images(struct job *job)
{
    const struct synth_args *args = job->args;
    unsigned no_lock = args->no_lock ? QCBM_OPEN_NO_LOCK : 0;
    unsigned reading = no_lock | (args->force_share ? QCBM_OPEN_FORCE_SHARE : 0);
    unsigned changing = args->dry_run ? reading : no_lock | QCBM_OPEN_WRITE;
    bool other = args->into && !cmd_same_file(args->into, job->overlay_path);

    if (args->force_share && !args->dry_run) /* a bitmap of it would lack what the writer has in memory */
        return cmd_error("-U is for looking only: use it with --dry-run");
    job->target_path = other ? args->into : job->overlay_path;
    job->overlay = cmd_open(job->overlay_path, args->format, other ? reading : changing);
    if (!job->overlay)
        return EXIT_FAILED;
    if (other)
        job->into = cmd_open(args->into, NULL, changing);
    return other && !job->into ? EXIT_FAILED : EXIT_DONE;
}

static int show_progress(void *opaque, uint64_t done, uint64_t total)
{
    struct job *job = opaque;
    double percent = total ? 100.0 * (double)done / (double)total : 100;

    if ((int)percent > job->shown_percent) {
        job->shown_percent = (int)percent;
        fprintf(stderr, "    (%.2f/100%%)\r", percent);
        fflush(stderr);
    }
    return 0;
}

static unsigned synth_flags(const struct synth_args *args)
{
    return (args->disabled ? QCBM_SYNTH_DISABLED : 0) | (args->replace ? QCBM_SYNTH_REPLACE : 0) |
           (args->merge ? QCBM_SYNTH_MERGE : 0) | (args->force ? QCBM_SYNTH_FORCE : 0) |
           (args->dry_run ? QCBM_SYNTH_ALLOW_DAMAGE : 0) | (args->force_share ? QCBM_SYNTH_FORCE_SHARE : 0) |
           (args->dirty_tail ? QCBM_SYNTH_DIRTY_TAIL : 0);
}

/* --merge leaves a bitmap that is there already as it is, enabled or disabled. */
static bool will_be_enabled(const struct job *job)
{
    struct qcbm_image *target = job->into ? job->into : job->overlay;
    struct qcbm_image_info image;
    struct qcbm_bitmap_info bitmap;

    qcbm_image_get_info(target, &image, sizeof image);
    for (uint32_t i = 0; job->args->merge && i < image.bitmap_count; i++) {
        qcbm_bitmap_get(target, i, &bitmap, sizeof bitmap);
        if (strcmp(bitmap.name, job->name) == 0)
            return bitmap.enabled;
    }
    return !job->args->disabled;
}

static int synthesise(struct job *job)
{
    struct qcbm_synth_options options = QCBM_SYNTH_OPTIONS_INIT;
    struct qcbm_error err;

    options.granularity = job->args->granularity;
    options.since = job->args->since;
    options.flags = synth_flags(job->args);
    options.progress = job->args->progress && !job->args->quiet ? show_progress : NULL;
    options.opaque = job;
    job->shown_percent = -1;
    job->enabled = will_be_enabled(job);
    if (qcbm_edit_begin(job->into ? job->into : job->overlay, &job->edit, &err) < 0)
        return cmd_lib_error(&err, "Could not change '%s'", job->target_path);
    int ret = qcbm_edit_synth(job->edit, job->overlay, job->name, &options, &job->result, &err);
    if (job->shown_percent >= 0)
        fputc('\n', stderr);
    if (ret < 0)
        return cmd_lib_error(&err, "Could not synthesise bitmap '%s' from '%s'", job->name, job->overlay_path);
    qcbm_synth_result_summary(job->result, &job->summary, sizeof job->summary);
    if (job->summary.damaged_entries > 0)
        return EXIT_DONE; /* a dry run: report() tells it; nothing could be allocated in such an image */
    if (plan_run(&job->plan, job->edit, job->args->dry_run, job->args->undo, &err) < 0)
        return cmd_lib_error(&err, "Could not change '%s'", job->target_path);
    return EXIT_DONE;
}

/* ---- the answer ---------------------------------------------------------------------------------------- */

/* What the bitmap is said to cover; never more than can be known. */
static char *claim(const struct job *job)
{
    struct qcbm_image_info image;
    char *text = NULL;
    int ret;

    qcbm_image_get_info(job->overlay, &image, sizeof image);
    if (job->args->since)
        ret = asprintf(&text, "differs from %s", job->args->since);
    else
        ret = asprintf(&text, "differs from %s",
                       image.backing_file ? "the current backing file" : "an empty disk (there is no backing file)");
    return ret < 0 ? NULL : text;
}

static void print_text(const struct job *job, const char *claimed)
{
    const struct qcbm_synth_summary *s = &job->summary;
    double percent = s->virtual_size ? 100.0 * (double)s->dirty_bytes / (double)s->virtual_size : 0;

    print_escaped(stdout, job->name, strlen(job->name));
    printf(": %s dirty (%.2f %% of %s), ", size_text(s->dirty_bytes).text, percent, size_text(s->virtual_size).text);
    printf("%" PRIu64 " of %" PRIu64 " granules of %s, %.3f s; ", s->dirty_granules, s->granules,
           size_text(s->granularity).text, job->seconds);
    print_escaped(stdout, claimed, strlen(claimed));
    putchar('\n');
    for (uint32_t i = 0; i < s->notes; i++) {
        const char *note = qcbm_synth_result_note(job->result, i);

        printf("note: ");
        print_escaped(stdout, note, strlen(note));
        putchar('\n');
    }
    if (job->args->dry_run && job->plan.made)
        plan_print(&job->plan, stdout);
}

static void write_layers(const struct job *job, struct json_writer *w)
{
    struct qcbm_synth_layer layer;

    json_begin_array(w, "layers");
    for (uint32_t i = 0; i < job->summary.layers; i++) {
        qcbm_synth_result_layer(job->result, i, &layer, sizeof layer);
        json_begin_object(w, NULL);
        json_string(w, "filename", layer.filename);
        json_string(w, "format", layer.format);
        json_u64(w, "virtual-size", layer.virtual_size);
        json_u64(w, "cluster-size", layer.cluster_size);
        json_u64(w, "allocated-bytes", layer.allocated_bytes);
        json_end_object(w);
    }
    json_end_array(w);
}

static void write_figures(const struct job *job, struct json_writer *w)
{
    const struct qcbm_synth_summary *s = &job->summary;

    json_u64(w, "granularity", s->granularity);
    json_u64(w, "virtual-size", s->virtual_size);
    json_u64(w, "granules", s->granules);
    json_u64(w, "dirty-granules", s->dirty_granules);
    json_u64(w, "dirty-bytes", s->dirty_bytes);
    json_bool(w, "enabled", job->enabled);
    json_bool(w, "dry-run", job->args->dry_run);
}

static void print_json(const struct job *job, const char *claimed)
{
    struct json_writer w = JSON_WRITER_INIT(stdout);

    json_begin_object(&w, NULL);
    json_string(&w, "image", job->target_path);
    json_string(&w, "overlay", job->overlay_path);
    json_string(&w, "bitmap", job->name);
    write_figures(job, &w);
    json_string(&w, "claim", claimed);
    json_u64(&w, "damaged-entries", job->summary.damaged_entries);
    write_layers(job, &w);
    plan_write_json(&job->plan, job->args->dry_run, &w);
    json_begin_array(&w, "notes");
    for (uint32_t i = 0; i < job->summary.notes; i++)
        json_string(&w, NULL, qcbm_synth_result_note(job->result, i));
    json_end_array(&w);
    json_fixed(&w, "elapsed-seconds", job->seconds, 6);
    json_end_object(&w);
    json_finish(&w);
}

static int report(const struct job *job)
{
    char *claimed = claim(job);

    if (!claimed)
        return cmd_error("no memory");
    if (job->args->output == OUTPUT_JSON)
        print_json(job, claimed);
    else if (!job->args->quiet)
        print_text(job, claimed);
    free(claimed);
    if (job->summary.damaged_entries == 0)
        return EXIT_DONE;
    fflush(stdout); /* the figures are wanted although the command fails */
    return cmd_error("'%s' has %" PRIu64 " damaged entries, counted as dirty: no bitmap will be attached before "
                     "'qemu-img check' finds no errors",
                     job->overlay_path, job->summary.damaged_entries);
}

static int run_job(struct job *job)
{
    double start = now();
    int code = open_images(job);

    if (code == EXIT_DONE)
        code = synthesise(job);
    job->seconds = now() - start;
    if (code == EXIT_DONE)
        code = report(job);
    plan_clear(&job->plan);
    qcbm_synth_result_free(job->result);
    qcbm_edit_free(job->edit);
    qcbm_close(job->into);
    qcbm_close(job->overlay);
    return code;
}

static int run_synth(const struct cmd *cmd, int argc, char **argv)
{
    struct synth_args args = { 0 };
    enum opt_result parsed = opt_parse(cmd, argc, argv, &args);

    if (parsed != OPT_GO_ON)
        return parsed == OPT_HELP_SHOWN ? EXIT_DONE : EXIT_FAILED;
    if (args.replace && args.merge)
        return cmd_usage_error(cmd, "--replace and --merge exclude each other");
    struct job job = { .args = &args, .overlay_path = args.path, .name = args.name };
    if (args.dry_run)
        cmd_shut_in(args.no_sandbox, args.since || args.dirty_tail, job.overlay_path, args.into);
    return run_job(&job);
}

const struct cmd cmd_synth = { "synth",    NULL,      "Make a dirty bitmap from what an overlay has allocated.",
                               synth_opts, run_synth, NULL };
