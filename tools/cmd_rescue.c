/* cmd_rescue.c - qcbm rescue: a new image with what the bytes of a damaged one still prove, and what is likely
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <libgen.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "apart.h"
#include "common_args.h"
#include "opt_parse.h"
#include "output.h"
#include "progress.h"
#include "rescue_out.h"
#include "run_note.h"

enum { EXIT_IN_DOUBT = 3 };

struct rescue_args {
    struct common_args common;
    const char *new_path, *report;
    uint64_t size, cluster_size;
    bool probe_backing;
};
COMMON_ARGS_FIRST(struct rescue_args);

static const struct opt rescue_opts[] = {
    OPT_ROW(struct rescue_args, NULL, 0, OPT_ARG, common.path, "IMAGE", "damaged image"),
    OPT_ROW(struct rescue_args, "new", 'o', OPT_STRING, new_path, "NEW",
            "the new image; there is no file of that name yet"),
    OPT_ROW(struct rescue_args, "size", 0, OPT_SIZE, size, "S", "size of the disk, where the header is lost"),
    OPT_ROW(struct rescue_args, "cluster-size", 0, OPT_SIZE, cluster_size, "C",
            "size of a cluster, where the header is lost"),
    OPT_ROW(struct rescue_args, "report", 0, OPT_STRING, report, "FILE",
            "write what was found to this new file, as JSON"),
    OPT_ROW(struct rescue_args, "probe-backing", 0, OPT_FLAG, probe_backing, NULL,
            "read the backing file that the image names: content that\nboth have tells where a table belongs"),
    OPT_ROW(struct rescue_args, "dry-run", 0, OPT_FLAG, common.dry_run, NULL,
            "tell what would be found, and write no image"),
    OPT_COMMON_FORCE_SHARE,
    OPT_COMMON_QUIET,
    OPT_COMMON_PROGRESS,
    OPT_COMMON_OUTPUT,
    OPT_COMMON_NO_LOCK,
    OPT_COMMON_NO_SANDBOX,
    OPT_END,
};

static struct qcbm_rescue_options options_of(const struct rescue_args *args)
{
    struct qcbm_rescue_options o = QCBM_RESCUE_OPTIONS_INIT;

    o.size = args->size == UINT64_MAX ? 0 : args->size;
    o.cluster_size = args->cluster_size == UINT64_MAX ? 0 : (uint32_t)args->cluster_size;
    o.flags = args->probe_backing ? QCBM_RESCUE_PROBE_BACKING : 0;
    o.open_flags =
        (args->common.force_share ? QCBM_OPEN_FORCE_SHARE : 0) | (args->common.no_lock ? QCBM_OPEN_NO_LOCK : 0);
    o.range = rescue_out_range;
    o.left = rescue_out_left;
    return o;
}

static void warn(const struct rescue_args *args, const struct qcbm_rescue_result *r)
{
    if (r->backing_unknown)
        cmd_warning(
            "the header was lost, and with it the name of the backing file, if there was one: what is not mapped "
            "reads as zeros in the new image until 'qemu-img rebase -u' puts the name in");
    if (!r->header_lost && args->size != UINT64_MAX && args->size != r->virtual_size)
        cmd_warning("the header is there: --size is not used");
}

struct job {
    const struct rescue_args *args;
    FILE *report;
    bool shut_in;
};

/* Returns the exit code. What is written meanwhile is open before the process is shut in. */
static int rescue_and_tell(void *arg)
{
    const struct job *job = arg;
    const struct rescue_args *args = job->args;
    struct qcbm_rescue_options options = options_of(args);
    struct qcbm_rescue_result result;
    struct progress progress = { .wanted = args->common.progress && !args->common.quiet };
    const struct qcbm_progress told = progress_of(&progress);
    struct rescue_out out = { .image = args->common.path,
                              .new_path = args->common.dry_run ? NULL : args->new_path,
                              .report = job->report,
                              .json = args->common.output == OUTPUT_JSON,
                              .quiet = args->common.quiet };
    struct qcbm_error err;
    int ret;

    options.progress = &told;
    options.opaque = &out;
    if (!rescue_out_begin(&out))
        return cmd_error("no file for what is to be told: out of space?");
    if (job->shut_in)
        common_shut_in(&args->common, args->probe_backing, NULL);
    run_note_image(args->common.path);
    ret = qcbm_rescue(args->common.path, out.new_path, &options, &result, sizeof result, &err);
    progress_end(&progress, ret == 0);
    if (ret == 0)
        rescue_out_end(&out, &result);
    rescue_out_free(&out);
    if (ret < 0) {
        cmd_lib_error(&err, "Could not rescue '%s'", args->common.path);
        cmd_hint_at_sharing(&err, options.open_flags);
        return EXIT_FAILED;
    }
    warn(args, &result);
    return result.likely || result.unknown || !result.size_proven || result.backing_unknown ? EXIT_IN_DOUBT : EXIT_DONE;
}

static bool is_same_folder(const char *a, const char *b)
{
    char *x = strdup(a), *y = strdup(b);
    bool same = x && y && qcbm_same_file(dirname(x), dirname(y));

    free(x);
    free(y);
    return same;
}

/* A relative name of the backing file is looked for beside the image. */
static void warn_of_folder(const struct rescue_args *args)
{
    struct qcbm_image *img = NULL;
    struct qcbm_image_info info;
    const char *name;

    if (is_same_folder(args->common.path, args->new_path) || qcbm_open(args->new_path, QCBM_OPEN_INFO, &img, NULL) < 0)
        return;
    qcbm_image_get_info(img, &info, sizeof info);
    name = info.backing_file ? qcbm_local_name(info.backing_file) : NULL;
    if (name && name[0] != '/')
        cmd_warning(
            "the backing file of the new image is now '%s', which need not be that of '%s': 'qemu-img rebase -u' "
            "puts another name in",
            info.full_backing ? info.full_backing : name, args->common.path);
    qcbm_close(img);
}

/* The report is whole or not there, as the image is. */
static int rescue(const struct rescue_args *args)
{
    struct output report = { 0 };
    struct job job = { args, NULL, args->common.dry_run };
    struct stat st;
    int code;

    if (args->report && stat(args->report, &st) == 0 && S_ISREG(st.st_mode))
        return cmd_error("'%s' is there already, and a report does not replace it", args->report);
    code = args->report ? output_open(&report, args->report, false, false) : EXIT_DONE;
    if (code != EXIT_DONE)
        return code;
    job.report = report.file;
    code = job.shut_in ? run_apart(rescue_and_tell, &job) : rescue_and_tell(&job);
    if (code != EXIT_FAILED && !args->common.dry_run) {
        warn_of_folder(args);
        cmd_note_done("the new image has been written all the same");
    }
    if (args->report && output_close(&report, code == EXIT_IN_DOUBT ? EXIT_DONE : code) != EXIT_DONE)
        return EXIT_FAILED;
    return code;
}

static int run_rescue(const struct cmd *cmd, int argc, char **argv)
{
    struct rescue_args args = { .size = UINT64_MAX, .cluster_size = UINT64_MAX };
    int code = opt_parse(cmd, argc, argv, &args);

    if (code != OPT_GO_ON)
        return code;
    if (!common_take_name(&args.common))
        return EXIT_FAILED;
    if (!args.new_path && !args.common.dry_run)
        return cmd_usage_error(cmd, "Expecting -o NEW, or --dry-run");
    if (args.cluster_size != UINT64_MAX && (args.cluster_size == 0 || args.cluster_size > UINT32_MAX))
        return cmd_error("a cluster has 512 bytes to 2 MiB, a power of two");
    return rescue(&args);
}

const struct cmd cmd_rescue = {
    "rescue",
    "IMAGE -o NEW",
    "Make a new image of one whose tables or header are lost.",
    rescue_opts,
    run_rescue,
    "0 all of the disk is proven, 3 some of it is only likely, or unknown, 1 failed: no new image, unless that is said"
};
