/* cmd_check.c - qcbm check: what qemu-img check reports, and the bitmaps
 * SPDX-License-Identifier: MIT
 *
 * What qemu-img knows is printed in its words, messages on stderr, the totals on stdout; what only qcbm knows are lines
 * of its own on stderr, and fields of its own behind those of qemu-img.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "cmd_check.h"
#include "common_args.h"
#include "opt_parse.h"
#include "progress.h"
#include "qemu_text.h"
#include "uri.h"
#include "verdict_out.h"

enum { EXIT_CORRUPT = 2, EXIT_LEAKS = 3, EXIT_NO_CHECK = 63 };

COMMON_ARGS_FIRST(struct check_args);

#define FLAG(name, member, help) OPT_ROW(struct check_args, name, 0, OPT_FLAG, member, NULL, help)

static const struct opt check_opts[] = {
    OPT_COMMON_FILE,
    OPT_COMMON_FORMAT_OR_RAW,
    OPT_COMMON_FORCE_SHARE,
    COMMON_FLAG("quiet", 'q', quiet, "print nothing on stdout"),
    OPT_COMMON_PROGRESS,
    OPT_ROW(struct check_args, "memory", 0, OPT_SIZE, memory, "SIZE",
            "memory for counting references (default: 256M); with\nless the tables are read more than once"),
    FLAG("strict", strict,
         "exit code 2 also for damage that qemu-img does not see,\nbitmaps in use or stale, marks in the header"),
    FLAG("all", all,
         "tell all findings, also where very many of one kind are\nin one table; without, the first 20 and a line for "
         "all"),
    FLAG("explain", explain, "tell consequence and cure of each kind of problem"),
    FLAG("untrusted", untrusted,
         "tell instead whether a stranger's image can be passed on;\nexit code 0 harmless, 2 not"),
    OPT_COMMON_OUTPUT,
    OPT_COMMON_THREADS,
    OPT_COMMON_NO_LOCK,
    OPT_COMMON_NO_SANDBOX,
    OPT_ROW(struct check_args, NULL, 'T', OPT_STRING, cache, "CACHE", "cache mode of qemu-img; without effect"),
    OPT_ROW(struct check_args, "repair", 'r', OPT_STRING, repair, "leaks|all|bitmaps",
            "repair leaks, all that can be repaired, or bitmaps alone"),
    OPT_COMMON_DRY_RUN,
    OPT_COMMON_UNDO,
    FLAG("force", common.force,
         "with -r: give up what leads nowhere, and free leaks, too,\nthat may be what something lost had mapped"),
    OPT_ROW(struct check_args, "lost", 0, OPT_STRING, lost, "zeros|backing",
            "with -r all: what is lost reads as zeros (default), or\nshows what the backing file has there"),
    OPT_COMMON_IMAGE_OPTS,
    OPT_END,
};

/* Whoever sees errors repairs first and reads later. */
static void point_to_explain(const struct check_report *r, bool strict, const char *path)
{
    const struct qcbm_check_result *t = &r->result;

    if (t->corruptions + t->leaks + t->check_errors + t->damages == 0 && !strict)
        return;
    fprintf(stderr, "qcbm: %s: ", r->repaired ? "what is left" : "before you repair anything");
    check_print_copying(stderr, path);
    fputs("'qcbm check --explain ", stderr);
    if (uri_is_server(path))
        fputs("COPY", stderr);
    else
        print_shell_name(stderr, path);
    fprintf(stderr, "' tells %s\n", r->repaired ? "what to do about it" : "the way that loses nothing");
}

static int finish(const struct check_args *args, const struct check_report *r)
{
    const struct qcbm_check_result *t = &r->result;
    bool quiet = args->common.quiet || r->stays_silent, strict = args->strict && r->strict;

    if (!r->json)
        check_report_tell_sums(r);
    fflush(stderr);
    if (!quiet && r->json)
        check_print_json(r);
    else if (!quiet)
        check_print_text(t);
    fflush(stdout); /* as qemu-img has it: the totals are out although the command failed */
    if (args->explain)
        check_explain(r, args->common.path);
    else if (!args->common.quiet && !r->json)
        point_to_explain(r, strict, args->common.path);
    if (t->check_errors)
        return cmd_error("Check failed");
    if (t->corruptions || strict)
        return EXIT_CORRUPT;
    return t->leaks ? EXIT_LEAKS : EXIT_DONE;
}

static int check(struct qcbm_image *img, const struct check_args *args, struct check_report *r)
{
    struct qcbm_check_options options = QCBM_CHECK_OPTIONS_INIT;
    struct progress shown = { .wanted = args->common.progress && !args->common.quiet };
    const struct qcbm_progress progress = progress_of(&shown);
    struct qcbm_error err;

    if (args->memory)
        options.memory = args->memory;
    options.finding = check_report_finding;
    options.kind = check_report_kind;
    options.summary = check_report_summary;
    r->json = args->common.output == OUTPUT_JSON;
    options.progress = &progress;
    options.opaque = r;
    int ret = qcbm_check(img, &options, &r->result, sizeof r->result, &err);
    progress_end(&shown, ret == 0);
    int code = ret < 0 ? cmd_error("Check failed: %s", err.message) : finish(args, r);
    check_report_clear(r);
    return code;
}

/* The first pass, the repairs, and what is left of it. */
static int repair(struct qcbm_image *img, const struct check_args *args, struct check_report *r)
{
    struct check_report first = { .path = r->path, .all = args->all, .repairs = check_repair_level(args->repair) };
    struct check_repairs repairs = { .dry_run = args->common.dry_run };
    int code = EXIT_FAILED;

    r->json = args->common.output == OUTPUT_JSON;
    r->later = true;
    r->repaired = &repairs; // cppcheck-suppress autoVariables; it is taken back below
    if (check_repair(img, args, &first, r, &repairs)) {
        if (!args->common.quiet && !r->json)
            check_print_repairs(&repairs);
        if (r->later)
            check_report_tell(r);
        code = finish(args, r);
    }
    check_repairs_clear(&repairs);
    check_report_clear(&first);
    check_report_clear(r);
    r->repaired = NULL;
    return code;
}

static int no_checks(void)
{
    cmd_error("This image format does not support checks");
    return EXIT_NO_CHECK;
}

static bool wants_a_way(const struct check_args *args)
{
    return args->repair || args->explain || args->strict;
}

/* Of an image that does not open for what its header says there are no findings, and no cures. */
static void hint_at_header(const struct check_args *args)
{
    struct qcbm_image *img = NULL;
    struct qcbm_error why;
    int ret = wants_a_way(args) ? cmd_try_open(args->common.path, common_reading(&args->common), &img, &why) : 0;

    qcbm_close(img);
    if (ret == QCBM_E_CORRUPT || ret == QCBM_E_LIMIT || ret == QCBM_E_UNSUPPORTED)
        check_hint(
            "where the header is damaged 'qcbm dump FILE header' shows its fields, 'qcbm edit --undo UNDO FILE EDIT' "
            "sets one, and 'qcbm rescue FILE -o NEW' puts the disk together in a new image",
            args->common.path);
}

/* Opens the image, or tells why not: *@code is the exit code then. */
static struct qcbm_image *open_image(const struct check_args *args, int *code)
{
    const char *format = args->common.format;
    bool probed = !format && cmd_try_probe(args->common.path, &format, NULL) == 0;
    bool writes = args->repair && (!format || strcmp(format, "raw") != 0); /* raw is not refused for being written */
    struct cmd_disk disk;

    *code = EXIT_FAILED;
    if (args->repair && !args->common.dry_run && cmd_refuse_server(args->common.path, QCBM_OPEN_WRITE))
        return NULL; /* whatever it is */
    /* Other formats have checks, but not here. */
    if (probed && strcmp(format, "qcow2") != 0 && strcmp(format, "raw") != 0) {
        *code = no_checks();
        return NULL;
    }
    if (!common_open_disk(&args->common, writes ? common_writing(&args->common) : common_reading(&args->common),
                          &disk)) {
        hint_at_header(args);
        return NULL;
    }
    if (disk.raw) {
        *code = no_checks();
        if (wants_a_way(args))
            check_hint("of a qcow2 image whose first bytes are lost 'qcbm dump FILE header' tells what is there, and "
                       "'qcbm rescue FILE -o NEW' puts the disk together in a new image",
                       args->common.path);
    }
    qcbm_chain_close(disk.raw);
    return disk.img;
}

static int judge(const struct check_args *args)
{
    const struct verdict_args how = { args->common.path, args->memory, args->common.output, args->common.quiet,
                                      args->common.progress };
    struct qcbm_image *img = NULL;
    struct qcbm_error why;
    int code;

    if (args->common.format && strcmp(args->common.format, "qcow2") != 0)
        return cmd_error("--untrusted judges qcow2 images only");
    if (cmd_try_open(args->common.path, common_reading(&args->common), &img, &why) == QCBM_E_NOT_QCOW2)
        return no_checks();
    code = verdict_print(common_with_threads(&args->common, img), &why, &how);
    qcbm_close(img);
    return code;
}

static bool is_cache_mode(const char *text)
{
    static const char *const modes[] = { "none", "off", "directsync", "writeback", "unsafe", "writethrough" };

    for (size_t i = 0; i < sizeof modes / sizeof modes[0]; i++)
        if (strcmp(text, modes[i]) == 0)
            return true;
    return false;
}

/* Do the options go together? Prints the error. */
static bool check_usage(const struct cmd *cmd, const struct check_args *args)
{
    if (args->repair && check_repair_level(args->repair) == QCBM_REPAIR_NONE)
        cmd_usage_error(cmd, "Unknown option value for -r (expecting 'leaks', 'all' or 'bitmaps'): %s", args->repair);
    else if (!args->repair && (args->common.dry_run || args->common.undo || args->common.force))
        cmd_usage_error(cmd, "--dry-run, --undo and --force go with -r only");
    else if (args->lost && (!args->repair || strcmp(args->repair, "all") != 0))
        cmd_usage_error(cmd, "--lost goes with -r all only");
    else if (args->lost && strcmp(args->lost, "zeros") != 0 && strcmp(args->lost, "backing") != 0)
        cmd_usage_error(cmd, "Unknown option value for --lost (expecting 'zeros' or 'backing'): %s", args->lost);
    else if (args->repair && args->untrusted)
        cmd_usage_error(cmd, "--untrusted and -r do not go together");
    else if (args->repair && args->common.force_share && !args->common.dry_run)
        cmd_usage_error(cmd, "-U is for reading: with -r it goes with --dry-run only");
    else
        return true;
    return false;
}

static int run_check(const struct cmd *cmd, int argc, char **argv)
{
    struct check_args args = { 0 };
    struct check_report report = { 0 };
    static char lines[1 << 16];

    /* There may be a line for each cluster. finish() keeps the order of the two streams. */
    setvbuf(stderr, lines, isatty(STDERR_FILENO) ? _IOLBF : _IOFBF, sizeof lines);
    int code = opt_parse(cmd, argc, argv, &args);

    if (code == EXIT_FAILED && !args.common.path && args.repair && check_repair_level(args.repair) == QCBM_REPAIR_NONE)
        cmd_hint("-r takes leaks, all or bitmaps, and then the image");
    if (code != OPT_GO_ON)
        return code;
    if (!check_usage(cmd, &args))
        return EXIT_FAILED;
    if (args.cache && !is_cache_mode(args.cache))
        return cmd_error("Invalid source cache option: %s", args.cache);
    report.all = args.all;
    report.path = args.common.path; /* as it was typed, which is what qemu-img calls it */
    if (!common_take_name_or_uri(&args.common))
        return EXIT_FAILED;
    if (!args.repair || args.common.dry_run)
        common_shut_in(&args.common, false, NULL);
    if (args.untrusted)
        return judge(&args);
    struct qcbm_image *img = open_image(&args, &code);
    if (!img)
        return code;
    code = args.repair ? repair(img, &args, &report) : check(img, &args, &report);
    qcbm_close(img);
    return code;
}

const struct cmd cmd_check = {
    .name = "check",
    .summary = "Check a qcow2 image as qemu-img check does, and its bitmaps; repair it.",
    .opts = check_opts,
    .run = run_check,
    .exit_codes = "0 good, 1 could not check, 2 corruptions, 3 leaks and no corruption, 63 no qcow2 image",
};
