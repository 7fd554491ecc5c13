/* cmd_rescue.c - qcbm rescue: a new image with what the bytes of a damaged one still prove, and what is likely
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

#include "common_args.h"
#include "opt_parse.h"
#include "output.h"
#include "progress.h"
#include "rescue_out.h"

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
    OPT_END,
};

/* The report is whole or not there, as the image is. */
static int rescue_and_tell(const struct rescue_args *args, FILE *report, struct qcbm_rescue_result *result)
{
    struct qcbm_rescue_options options = QCBM_RESCUE_OPTIONS_INIT;
    struct progress progress = { .wanted = args->common.progress && !args->common.quiet };
    const struct qcbm_progress told = progress_of(&progress);
    struct rescue_out out = { .image = args->common.path,
                              .new_path = args->common.dry_run ? NULL : args->new_path,
                              .report = report,
                              .json = args->common.output == OUTPUT_JSON,
                              .quiet = args->common.quiet };
    struct qcbm_error err;
    int ret;

    options.size = args->size == UINT64_MAX ? 0 : args->size;
    options.cluster_size = args->cluster_size == UINT64_MAX ? 0 : (uint32_t)args->cluster_size;
    options.flags = args->probe_backing ? QCBM_RESCUE_PROBE_BACKING : 0;
    options.open_flags =
        (args->common.force_share ? QCBM_OPEN_FORCE_SHARE : 0) | (args->common.no_lock ? QCBM_OPEN_NO_LOCK : 0);
    options.progress = &told;
    options.range = rescue_out_range;
    options.opaque = &out;
    if (!rescue_out_begin(&out))
        return cmd_error("no file for what is to be told: out of space?");
    ret = qcbm_rescue(args->common.path, out.new_path, &options, result, sizeof *result, &err);
    progress_end(&progress, ret == 0);
    if (ret == 0)
        rescue_out_end(&out, result);
    rescue_out_free(&out);
    return ret < 0 ? cmd_lib_error(&err, "Could not rescue '%s'", args->common.path) : EXIT_DONE;
}

static int rescue(const struct rescue_args *args)
{
    struct qcbm_rescue_result result;
    struct output report = { 0 };
    int code = args->report ? output_open(&report, args->report, false, false) : EXIT_DONE;

    if (code != EXIT_DONE)
        return code;
    code = rescue_and_tell(args, report.file, &result);
    if (code == EXIT_DONE && !args->common.dry_run)
        cmd_note_done("the new image has been written all the same");
    if (args->report)
        code = output_close(&report, code);
    if (code == EXIT_DONE && (result.likely || result.unknown || !result.size_proven || result.backing_unknown))
        return EXIT_IN_DOUBT;
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
    "0 all of the disk is proven, 3 some of it is only likely, or unknown, 1 failed: no new image"
};
