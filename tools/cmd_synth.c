/* cmd_synth.c - qcbm synth: a dirty bitmap made from what an overlay has allocated
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cmd_synth.h"
#include "colour.h"
#include "image_name.h"
#include "qemu_text.h"

#define FLAG(name, letter, member, help)                                                                               \
    {                                                                                                                  \
        name, letter, OPT_FLAG, offsetof(struct synth_args, member), NULL, help                                        \
    }

static const struct opt synth_opts[] = {
    { NULL, 0, OPT_ARG, offsetof(struct synth_args, path), "OVERLAY", "overlay" },
    { NULL, 0, OPT_ARG_PERHAPS, offsetof(struct synth_args, name), "NAME", "bitmap name" },
    { NULL, 0, OPT_ARG_SURPLUS, offsetof(struct synth_args, surplus), NULL, NULL },
    { "granularity", 'g', OPT_SIZE, offsetof(struct synth_args, granularity), "SIZE",
      "bytes per bit, a power of 2 from 512 to 2G (default: the\ncluster size, within 4k and 64k)" },
    { "since", 0, OPT_STRING, offsetof(struct synth_args, since), "BASE",
      "changes against this image of the chain, not against\nthe backing file of OVERLAY" },
    { "like", 0, OPT_STRING, offsetof(struct synth_args, like), "BASE",
      "in place of NAME: a bitmap for each that records in this\nimage of the chain and that OVERLAY lacks" },
    { "into", 0, OPT_STRING, offsetof(struct synth_args, into), "IMAGE", "give the bitmap to this qcow2 image" },
    FLAG("disabled", 0, disabled, "a frozen bitmap, which records no further writes"),
    FLAG("replace", 0, replace, "NAME may exist: put the new bitmap in its place"),
    FLAG("merge", 0, merge, "NAME may exist: add the dirty parts to it"),
    FLAG("dirty-tail", 0, dirty_tail, "also mark what lies past the end of the backing file"),
    FLAG("force", 0, force, "go on with a lost table, or a raw external data file"),
    FLAG("dry-run", 0, dry_run, "print what would be written, and write nothing"),
    OPT_COMMON_UNDO(synth_args),
    OPT_COMMON_FORMAT(synth_args),
    FLAG("force-share", 'U', force_share, "read OVERLAY while a writer is active; with --dry-run"),
    FLAG("progress", 'p', progress, "show progress on stderr"),
    FLAG("quiet", 'q', quiet, "print errors only"),
    OPT_COMMON_OUTPUT(synth_args),
    OPT_COMMON_NO_LOCK(synth_args),
    OPT_COMMON_NO_SANDBOX(synth_args),
    OPT_COMMON_IMAGE_OPTS(synth_args),
    OPT_END,
};

/* ---- the work ------------------------------------------------------------------------------------------ */

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int open_images(struct synth_job *job)
{
    const struct synth_args *args = job->args;
    unsigned no_lock = args->no_lock ? QCBM_OPEN_NO_LOCK : 0;
    unsigned reading = no_lock | (args->force_share ? QCBM_OPEN_FORCE_SHARE : 0);
    unsigned changing = args->dry_run ? reading : no_lock | QCBM_OPEN_WRITE;
    bool other = args->into && !qcbm_same_file(args->into, job->args->path);

    job->target_path = other ? args->into : job->args->path;
    job->overlay = cmd_open(job->args->path, args->format, other ? reading : changing);
    if (!job->overlay)
        return EXIT_FAILED;
    if (other)
        job->into = cmd_open(args->into, NULL, changing);
    return other && !job->into ? EXIT_FAILED : EXIT_DONE;
}

static unsigned synth_flags(const struct synth_args *args)
{
    return (args->disabled ? QCBM_SYNTH_DISABLED : 0) | (args->replace ? QCBM_SYNTH_REPLACE : 0) |
           (args->merge ? QCBM_SYNTH_MERGE : 0) | (args->force ? QCBM_SYNTH_FORCE : 0) |
           (args->dry_run ? QCBM_SYNTH_ALLOW_DAMAGE : 0) | (args->force_share ? QCBM_SYNTH_FORCE_SHARE : 0) |
           (args->dirty_tail ? QCBM_SYNTH_DIRTY_TAIL : 0);
}

/* --merge leaves a bitmap that is there already as it is, enabled or disabled. */
static void look_at_old(struct synth_job *job)
{
    struct qcbm_image *target = job->into ? job->into : job->overlay;
    struct qcbm_image_info image;
    struct qcbm_bitmap_info bitmap;

    job->enabled = !job->args->disabled;
    qcbm_image_get_info(target, &image, sizeof image);
    for (uint32_t i = 0; job->args->merge && !job->merged && i < image.bitmap_count; i++) {
        qcbm_bitmap_get(target, i, &bitmap, sizeof bitmap);
        job->merged = strcmp(bitmap.name, job->args->name) == 0;
        if (job->merged)
            job->enabled = bitmap.enabled;
    }
}

int synth_stage(struct synth_job *job, const char *name, uint64_t granularity, struct qcbm_synth_result **result,
                struct qcbm_synth_summary *summary)
{
    struct qcbm_synth_options options = QCBM_SYNTH_OPTIONS_INIT;
    const struct qcbm_progress progress = progress_of(&job->progress);
    struct qcbm_error err;
    int ret;

    options.granularity = granularity;
    options.since = job->since;
    options.flags = synth_flags(job->args);
    options.progress = &progress;
    ret = qcbm_edit_synth(job->edit, job->overlay, name, &options, result, &err);
    progress_end(&job->progress, ret == 0);
    if (ret < 0)
        return cmd_lib_error(&err, "Could not synthesise bitmap '%s' from '%s'", name, job->args->path);
    qcbm_synth_result_summary(*result, summary, sizeof *summary);
    return EXIT_DONE;
}

int synth_carry_out(struct synth_job *job)
{
    struct qcbm_error err;

    if (job->summary.damaged_entries > 0)
        return EXIT_DONE; /* a dry run: report() tells it */
    int ret = plan_run(
        &job->plan, job->into ? job->into : job->overlay, job->edit,
        &(struct plan_how){ job->args->dry_run, job->args->progress && !job->args->quiet, job->args->undo }, &err);
    if (ret == 0)
        return EXIT_DONE;
    if (!job->args->dry_run || ret == QCBM_E_EXISTS)
        return cmd_lib_error(&err, "Could not change '%s'", job->target_path);
    job->plan.made = false;
    job->refused = err; /* the figures are known all the same */
    return EXIT_DONE;
}

static int synthesise(struct synth_job *job)
{
    struct qcbm_error err;

    job->since = job->args->since;
    look_at_old(job);
    if (qcbm_edit_begin(job->into ? job->into : job->overlay, &job->edit, &err) < 0)
        return cmd_lib_error(&err, "Could not change '%s'", job->target_path);
    int code = synth_stage(job, job->args->name, job->args->granularity, &job->result, &job->summary);
    return code == EXIT_DONE ? synth_carry_out(job) : code;
}

/* ---- the answer ---------------------------------------------------------------------------------------- */

/* What OVERLAY is said to differ from; never more than can be known. */
static const char *reference(const struct synth_job *job)
{
    struct qcbm_image_info image;

    qcbm_image_get_info(job->overlay, &image, sizeof image);
    if (job->since)
        return job->since;
    if (!image.backing_file)
        return "an empty disk (there is no backing file)";
    return job->into ? "the current backing file of the overlay" : "the current backing file";
}

static char *claim(const struct synth_job *job)
{
    const char *old = job->merged || job->summary.kept_bits ? ", or was dirty in the bitmap before" : "";
    char *text = NULL;
    int ret;

    if (job->summary.says_nothing)
        ret = asprintf(&text, "may differ from %s anywhere", reference(job));
    else
        ret = asprintf(&text, "differs from %s%s", reference(job), old);
    return ret < 0 ? NULL : text;
}

void synth_print_figures(const char *name, const struct qcbm_synth_summary *s)
{
    double percent = s->virtual_size ? 100.0 * (double)s->dirty_bytes / (double)s->virtual_size : 0;

    print_escaped(stdout, name, strlen(name));
    printf(": %s dirty (%.2f %% of %s), ", size_text(s->dirty_bytes).text, percent, size_text(s->virtual_size).text);
    printf("%" PRIu64 " of %" PRIu64 " granules of %s", s->dirty_granules, s->granules, size_text(s->granularity).text);
}

void synth_print_rest(const struct synth_job *job)
{
    for (uint32_t i = 0; i < job->summary.notes; i++) {
        const char *note = qcbm_synth_result_note(job->result, i);

        colour_word(stdout, TONE_NOTE, "note:");
        putchar(' ');
        print_escaped(stdout, note, strlen(note));
        putchar('\n');
    }
    if (job->args->dry_run && job->plan.made)
        plan_print(&job->plan, stdout);
}

static void print_text(const struct synth_job *job, const char *claimed)
{
    synth_print_figures(job->args->name, &job->summary);
    printf(", %.3f s; ", job->seconds);
    print_escaped(stdout, claimed, strlen(claimed));
    putchar('\n');
    synth_print_rest(job);
}

static void write_layers(const struct synth_job *job, struct json_writer *w)
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

void synth_write_figures(const struct qcbm_synth_summary *s, struct json_writer *w)
{
    json_u64(w, "granularity", s->granularity);
    json_u64(w, "virtual-size", s->virtual_size);
    json_u64(w, "granules", s->granules);
    json_u64(w, "dirty-granules", s->dirty_granules);
    json_u64(w, "dirty-bytes", s->dirty_bytes);
}

void synth_write_rest(const struct synth_job *job, struct json_writer *w)
{
    json_u64(w, "damaged-entries", job->summary.damaged_entries);
    write_layers(job, w);
    plan_write_json(&job->plan, job->args->dry_run, w);
    json_begin_array(w, "notes");
    for (uint32_t i = 0; i < job->summary.notes; i++)
        json_string(w, NULL, qcbm_synth_result_note(job->result, i));
}

static void write_one(const struct synth_job *job, struct json_writer *w)
{
    json_string(w, "bitmap", job->args->name);
    synth_write_figures(&job->summary, w);
    synth_write_rest(job, w);
    json_end_array(w);
}

static void print_json(const struct synth_job *job, const struct synth_like *like, const char *claimed)
{
    struct json_writer w = JSON_WRITER_INIT(stdout);

    json_begin_object(&w, NULL);
    json_string(&w, "image", job->target_path);
    json_string(&w, "overlay", job->args->path);
    json_string(&w, "claim", claimed);
    json_bool(&w, "enabled", job->enabled);
    json_bool(&w, "dry-run", job->args->dry_run);
    if (like)
        synth_like_write(job, like, &w);
    else
        write_one(job, &w);
    json_fixed(&w, "elapsed-seconds", job->seconds, 6);
    json_end_object(&w);
    json_finish(&w);
}

static int report(const struct synth_job *job, const struct synth_like *like)
{
    char *claimed = claim(job);

    if (!claimed)
        return cmd_error("no memory");
    if (job->args->output == OUTPUT_JSON)
        print_json(job, like, claimed);
    else if (!job->args->quiet && like)
        synth_like_print(job, like, claimed);
    else if (!job->args->quiet)
        print_text(job, claimed);
    free(claimed);
    fflush(stdout); /* the figures are wanted although the command fails */
    if (job->refused.code)
        return cmd_lib_error(&job->refused, "Could not change '%s'", job->target_path);
    if (job->summary.damaged_entries == 0)
        return EXIT_DONE;
    return cmd_error("'%s'%s has %" PRIu64
                     " damaged entries, counted as dirty: no bitmap can be made before they are mended",
                     job->args->path, job->since ? " or a layer below it" : "", job->summary.damaged_entries);
}

static int run_job(struct synth_job *job)
{
    struct synth_like *like = NULL;
    double start = now();
    int code = open_images(job);

    if (code == EXIT_DONE)
        code = job->args->like ? synth_like_run(job, &like) : synthesise(job);
    job->seconds = now() - start;
    if (code == EXIT_DONE)
        code = report(job, like);
    synth_like_free(like);
    plan_clear(&job->plan);
    qcbm_synth_result_free(job->result);
    qcbm_edit_free(job->edit);
    qcbm_close(job->into);
    qcbm_close(job->overlay);
    return code;
}

static int check_usage(const struct cmd *cmd, const struct synth_args *args)
{
    if (args->replace && args->merge)
        return cmd_usage_error(cmd, "--replace and --merge exclude each other");
    if (args->like && (args->since || args->into || args->merge || args->disabled || args->granularity))
        return cmd_usage_error(cmd, "--like cannot be combined with --since, --into, --merge, --disabled or -g");
    if (args->like && (!args->path || args->name))
        return cmd_usage_error(cmd, "Expecting overlay, and with --like no bitmap name");
    if (!args->like && (!args->name || args->surplus))
        return cmd_usage_error(cmd, "Expecting overlay and bitmap name");
    if (args->force_share && !args->dry_run) /* a bitmap of it would lack what the writer has in memory */
        return cmd_error("-U is for looking only: use it with --dry-run");
    return EXIT_DONE;
}

static int run_synth(const struct cmd *cmd, int argc, char **argv)
{
    struct synth_args args = { 0 };
    enum opt_result parsed = opt_parse(cmd, argc, argv, &args);

    if (parsed != OPT_GO_ON)
        return parsed == OPT_HELP_SHOWN ? EXIT_DONE : EXIT_FAILED;
    if (check_usage(cmd, &args) != EXIT_DONE)
        return EXIT_FAILED;
    if (!image_name_take(&args.path, &args.format, args.image_opts) || !image_name_take(&args.into, NULL, false) ||
        !image_name_take(&args.since, NULL, false) || !image_name_take(&args.like, NULL, false))
        return EXIT_FAILED;
    struct synth_job job = { .args = &args, .progress.wanted = args.progress && !args.quiet };
    if (args.dry_run)
        cmd_shut_in(args.no_sandbox, args.since || args.like || args.dirty_tail, args.path, args.into);
    return run_job(&job);
}

const struct cmd cmd_synth = { "synth",
                               "OVERLAY NAME  |  --like=BASE [OPTION]... OVERLAY",
                               "Make a dirty bitmap from what an overlay has allocated.",
                               synth_opts,
                               run_synth,
                               NULL };
