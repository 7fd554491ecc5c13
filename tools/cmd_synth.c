/* cmd_synth.c - qcbm synth: a dirty bitmap made from what an overlay has allocated
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "cmd_synth_like.h"
#include "context.h"
#include "image_name.h"
#include "remote.h"

#define FLAG(name, member, help) OPT_ROW(struct synth_args, name, 0, OPT_FLAG, member, NULL, help)

static const struct opt synth_opts[] = {
    OPT_ROW(struct synth_args, NULL, 0, OPT_ARG, common.path, "OVERLAY", "overlay"),
    OPT_ROW(struct synth_args, NULL, 0, OPT_ARG_PERHAPS, name, "NAME", "bitmap name"),
    OPT_ROW(struct synth_args, NULL, 0, OPT_ARG_SURPLUS, surplus, NULL, NULL),
    OPT_ROW(struct synth_args, "granularity", 'g', OPT_SIZE, granularity, "SIZE",
            "bytes per bit, a power of 2 from 512 to 2G (default: the\ncluster size, within 4k and 64k)"),
    OPT_ROW(struct synth_args, "since", 0, OPT_STRING, since, "BASE",
            "changes against this image of the chain, not against\nthe backing file of OVERLAY"),
    OPT_ROW(struct synth_args, "since-snapshot", 0, OPT_STRING, since_snapshot, "S",
            "what changed since this internal snapshot of OVERLAY,\nnamed by id:ID, name:NAME, or one of both"),
    OPT_ROW(struct synth_args, "snapshot", 0, OPT_STRING, snapshot, "S",
            "up to this one, not up to now; with --into, --disabled\nor --dry-run"),
    OPT_ROW(struct synth_args, "like", 0, OPT_STRING, like, "BASE",
            "in place of NAME: a bitmap for each that records in this\nimage of the chain and that OVERLAY lacks"),
    OPT_ROW(struct synth_args, "against", 0, OPT_STRING, against, "MANIFEST",
            "what differs from this manifest, or fixed index (.fidx) of\nProxmox Backup Server; reads the disk"),
    OPT_ROW(struct synth_args, "within", 0, OPT_STRING, within, "BITMAP",
            "of the disk only what this bitmap of OVERLAY has dirty"),
    OPT_ROW(struct synth_args, "from", 0, OPT_STRING, from, "URI",
            "instead of what OVERLAY has allocated: what an NBD server\nsays of the disk; with --context"),
    OPT_ROW(struct synth_args, "context", 0, OPT_STRING, context, "C",
            "of what: base:allocation, all but holes of zeros, or\nqemu:allocation-depth, what its topmost layer has"),
    OPT_ROW(struct synth_args, "into", 0, OPT_STRING, into, "IMAGE", "give the bitmap to this qcow2 image"),
    FLAG("disabled", disabled, "a frozen bitmap, which records no further writes"),
    FLAG("replace", replace, "NAME may exist: put the new bitmap in its place"),
    FLAG("merge", merge, "NAME may exist: add the dirty parts to it"),
    FLAG("if-missing", if_missing, "NAME may exist: then nothing is done, if it can be relied on"),
    FLAG("tag", tag, "give the image an id in its header, if it has none, by which\nrecords know it wherever it goes"),
    FLAG("dirty-tail", dirty_tail, "also mark what lies past the end of the backing file"),
    COMMON_FLAG("force", 0, force,
                "go on with a lost table, with saved bits that cannot be\nread, or a raw external data file"),
    OPT_ROW(struct synth_args, "refine", 0, OPT_STRING_PERHAPS, refine, "zero|content",
            "leave out what reads the same as before: zeros by\nmetadata alone, or by reading (default: content)"),
    OPT_ROW(struct synth_args, "refine-against", 0, OPT_STRING, refine_against, "REFERENCE",
            "what the disk held before: an image, a manifest, or\nsnapshot:S (default: the backing chain)"),
    OPT_COMMON_DRY_RUN,
    OPT_COMMON_UNDO,
    OPT_COMMON_FORMAT,
    COMMON_FLAG("force-share", 'U', force_share, "read OVERLAY while a writer is active; with --dry-run"),
    OPT_COMMON_PROGRESS,
    OPT_COMMON_QUIET,
    OPT_COMMON_OUTPUT,
    OPT_COMMON_THREADS,
    OPT_COMMON_BELOW,
    OPT_COMMON_NO_LOCK,
    OPT_COMMON_NO_SANDBOX,
    OPT_COMMON_IMAGE_OPTS,
    OPT_END,
};

/* ---- the answer ---------------------------------------------------------------------------------------- */

static void print_json(const struct synth_job *job, const struct synth_like *like, const char *claimed)
{
    struct json_writer w = JSON_WRITER_INIT(stdout);

    json_begin_object(&w, NULL);
    json_string(&w, "image", job->target_path);
    json_string(&w, "overlay", job->args->common.path);
    json_bool(&w, "changed", !job->kept && !job->args->common.dry_run && !(like && synth_like_made(like) == 0));
    if (claimed)
        json_string(&w, "claim", claimed);
    json_bool(&w, "enabled", job->enabled);
    json_bool(&w, "dry-run", job->args->common.dry_run);
    if (job->kept)
        synth_kept_write(job, &w);
    else if (like)
        synth_like_write(job, like, &w);
    else
        synth_one_write(job, &w);
    synth_write_tag(job, &w);
    json_fixed(&w, "elapsed-seconds", job->seconds, 6);
    json_end_object(&w);
    json_finish(&w);
}

static int report(const struct synth_job *job, const struct synth_like *like)
{
    char *claimed = job->args->from ? synth_from_claim(job) : synth_claim(job);

    if (!claimed)
        return cmd_error("no memory");
    if (job->args->common.output == OUTPUT_JSON)
        print_json(job, like, claimed);
    else if (!job->args->common.quiet && like)
        synth_like_print(job, like, claimed);
    else if (!job->args->common.quiet)
        synth_one_print(job, claimed);
    free(claimed);
    fflush(stdout); /* the figures are wanted although the command fails */
    if (job->refused.code)
        return cmd_lib_error(&job->refused, "Could not change '%s'", job->target_path);
    if (job->unsafe.code)
        return synth_tell_unsafe(job);
    if (job->summary.damaged_entries == 0)
        return EXIT_DONE;
    return cmd_error("'%s'%s has %" PRIu64 " damaged entr%s, counted as dirty: no bitmap can be made before %s mended",
                     job->args->common.path, job->since ? " or a layer below it" : "", job->summary.damaged_entries,
                     job->summary.damaged_entries == 1 ? "y" : "ies",
                     job->summary.damaged_entries == 1 ? "it is" : "they are");
}

static int report_kept(const struct synth_job *job)
{
    if (job->args->common.output == OUTPUT_JSON)
        print_json(job, NULL, NULL);
    else if (!job->args->common.quiet)
        synth_kept_print(job);
    return EXIT_DONE;
}

/* ---- the command --------------------------------------------------------------------------------------- */

static double now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int run_job(struct synth_job *job)
{
    struct synth_like *like = NULL;
    double start = now();
    int code = synth_open(job);

    if (code == EXIT_DONE)
        code = synth_look(job);
    if (code == EXIT_DONE && !job->kept)
        code = job->args->from ? synth_from(job) : job->args->like ? synth_like_run(job, &like) : synth_one(job);
    job->seconds = now() - start;
    if (code == EXIT_DONE)
        code = job->kept ? report_kept(job) : report(job, like);
    synth_like_free(like);
    plan_clear(&job->plan);
    qcbm_synth_result_free(job->result);
    qcbm_edit_free(job->edit);
    mend_clear(&job->mend);
    qcbm_close(job->into);
    qcbm_close(job->overlay);
    return code;
}

static int check_against(const struct cmd *cmd, const struct synth_args *args)
{
    if (args->within && !args->against)
        return cmd_usage_error(cmd, "--within goes with --against");
    if (args->against && (args->since || args->since_snapshot || args->snapshot || args->like))
        return cmd_usage_error(cmd,
                               "--against cannot be combined with --since, --since-snapshot, --snapshot or --like");
    if (args->against && (args->refine || args->refine_against || args->dirty_tail))
        return cmd_usage_error(cmd, "--against cannot be combined with --refine, --refine-against or --dirty-tail");
    return EXIT_DONE;
}

static int check_from(const struct cmd *cmd, const struct synth_args *args)
{
    if ((args->from != NULL) != (args->context != NULL))
        return cmd_usage_error(cmd, "--from and --context go together");
    if (!args->from)
        return EXIT_DONE;
    if (!uri_is_server(args->from))
        return cmd_usage_error(cmd, "--from takes a URI: nbd://HOST/EXPORT, or nbd+unix:///EXPORT?socket=PATH");
    if (context_kind_of(args->context) != CONTEXT_DEPTH && context_kind_of(args->context) != CONTEXT_ALLOCATION)
        return cmd_usage_error(cmd, "--context knows base:allocation and qemu:allocation-depth here, not '%s'",
                               args->context);
    if (args->since || args->since_snapshot || args->snapshot || args->like || args->against || args->refine ||
        args->refine_against || args->into || args->dirty_tail)
        return cmd_usage_error(cmd, "--from can be combined with -g, --disabled, --replace and --merge only");
    return EXIT_DONE;
}

static int check_usage(const struct cmd *cmd, const struct synth_args *args)
{
    if (check_from(cmd, args) != EXIT_DONE)
        return EXIT_FAILED;
    if (args->replace && args->merge)
        return cmd_usage_error(cmd, "--replace and --merge exclude each other");
    if (args->if_missing && (args->replace || args->merge || args->like))
        return cmd_usage_error(cmd, "--if-missing cannot be combined with --replace, --merge or --like");
    if (args->like && (args->since || args->into || args->merge || args->disabled || args->granularity))
        return cmd_usage_error(cmd, "--like cannot be combined with --since, --into, --merge, --disabled or -g");
    if (args->like && (args->since_snapshot || args->snapshot))
        return cmd_usage_error(cmd, "--like cannot be combined with --since-snapshot or --snapshot");
    if (args->since_snapshot && (args->since || args->dirty_tail))
        return cmd_usage_error(cmd, "--since-snapshot cannot be combined with --since or --dirty-tail");
    if (args->tag && (args->into || args->like))
        return cmd_usage_error(cmd, "--tag cannot be combined with --into or --like; 'qcbm tag IMAGE' gives one");
    if (args->snapshot && !args->since_snapshot)
        return cmd_usage_error(cmd, "--snapshot goes with --since-snapshot");
    if (check_against(cmd, args) != EXIT_DONE)
        return EXIT_FAILED;
    if (args->like && (args->refine || args->refine_against))
        return cmd_usage_error(cmd, "--like cannot be combined with --refine or --refine-against");
    if (synth_refine_mode(args) < 0)
        return cmd_usage_error(cmd, "--refine takes zero or content");
    if (args->refine && args->dirty_tail)
        return cmd_usage_error(cmd, "--refine cannot be combined with --dirty-tail");
    if (args->like && (!args->common.path || args->name))
        return cmd_usage_error(cmd, "Expecting overlay, and with --like no bitmap name");
    if (!args->like && (!args->name || args->surplus))
        return cmd_usage_error(cmd, "Expecting overlay and bitmap name");
    if (args->common.force_share && !args->common.dry_run) /* a bitmap of it would lack what the writer has in memory */
        return cmd_error("-U is for looking only: use it with --dry-run");
    return EXIT_DONE;
}

/* A snapshot has no file name. */
static bool take_reference(struct synth_args *args)
{
    if (args->refine_against && strncmp(args->refine_against, "snapshot:", 9) == 0)
        return true;
    return image_name_take_or_uri(&args->refine_against, &args->refine_format, false);
}

/* Servers are connected to before the process is shut in, and before an image is locked. */
static int connect_servers(const struct synth_args *args)
{
    int code = args->from ? remote_connect_to_disk(args->from, args->context, args->common.no_lock) : EXIT_DONE;

    if (code == EXIT_DONE && uri_is_server(args->refine_against))
        code = remote_connect_to_disk(args->refine_against, NULL, args->common.no_lock);
    return code;
}

static int run_synth(const struct cmd *cmd, int argc, char **argv)
{
    struct synth_args args = { 0 };
    int code = opt_parse(cmd, argc, argv, &args);

    if (code != OPT_GO_ON)
        return code;
    if (check_usage(cmd, &args) != EXIT_DONE)
        return EXIT_FAILED;
    if (!common_take_name_or_uri(&args.common) || !image_name_take(&args.into, NULL, false) ||
        !image_name_take_or_uri(&args.since, NULL, false) || !image_name_take(&args.like, NULL, false) ||
        !take_reference(&args))
        return EXIT_FAILED;
    struct synth_job job = { .args = &args, .progress.wanted = args.common.progress && !args.common.quiet };
    if (args.against || args.refine_against)
        (void)qcbm_digest_load(QCBM_DIGEST_SHA256, NULL); /* cannot be loaded later */
    if (connect_servers(&args) != EXIT_DONE)
        return EXIT_FAILED;
    if (args.common.dry_run)
        common_shut_in(&args.common,
                       args.since || args.like || args.dirty_tail || args.against || synth_refine_mode(&args),
                       args.into);
    return run_job(&job);
}

const struct cmd cmd_synth = { "synth",
                               "OVERLAY NAME  |  --like=BASE [OPTION]... OVERLAY",
                               "Make a dirty bitmap from what an overlay has allocated.",
                               synth_opts,
                               run_synth,
                               NULL };
