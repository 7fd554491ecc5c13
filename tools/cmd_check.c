/* cmd_check.c - qcbm check: what qemu-img check reports, and the bitmaps
 * SPDX-License-Identifier: MIT
 *
 * What qemu-img knows is printed in its words, messages on stderr, the totals on stdout; what only qcbm knows are lines
 * of its own on stderr, and fields of its own behind those of qemu-img.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "colour.h"
#include "image_name.h"
#include "json_write.h"
#include "opt_parse.h"
#include "progress.h"
#include "qemu_text.h"
#include "verdict_out.h"

enum { EXIT_CORRUPT = 2, EXIT_LEAKS = 3, EXIT_NO_CHECK = 63, MAX_LISTED = 4096 /* of a kind */, MAX_KINDS = 128 };

struct check_args {
    const char *path, *format, *repair, *cache;
    uint64_t memory;
    enum opt_output output;
    const char *object; /* without effect */
    bool image_opts, force_share, no_lock, no_sandbox, quiet, progress, explain, strict, untrusted;
};

#define FLAG(name, letter, field, help)                                                                                \
    {                                                                                                                  \
        name, letter, OPT_FLAG, offsetof(struct check_args, field), NULL, help                                         \
    }

static const struct opt check_opts[] = {
    OPT_COMMON_FILE(check_args),
    OPT_COMMON_FORMAT_OR_RAW(check_args),
    FLAG("force-share", 'U', force_share, "read while a writer is active"),
    FLAG("quiet", 'q', quiet, "print nothing on stdout"),
    FLAG("progress", 'p', progress, "show progress on stderr"),
    { "memory", 0, OPT_SIZE, offsetof(struct check_args, memory), "SIZE",
      "memory for counting references (default: 256M); with\nless the tables are read more than once" },
    FLAG("strict", 0, strict,
         "exit code 2 also for damage that qemu-img does not see,\nbitmaps in use or stale, marks in the header"),
    FLAG("explain", 0, explain, "tell consequence and cure of each kind of problem"),
    FLAG("untrusted", 0, untrusted,
         "tell instead whether a stranger's image can be passed on;\nexit code 0 harmless, 2 not"),
    OPT_COMMON_OUTPUT(check_args),
    OPT_COMMON_NO_LOCK(check_args),
    OPT_COMMON_NO_SANDBOX(check_args),
    { NULL, 'T', OPT_STRING, offsetof(struct check_args, cache), "CACHE", "cache mode of qemu-img; without effect" },
    { "repair", 'r', OPT_STRING, offsetof(struct check_args, repair), "leaks|all", "not yet: check only reports" },
    OPT_COMMON_IMAGE_OPTS(check_args),
    OPT_END,
};

struct listed {
    struct qcbm_check_finding f; /* its strings but the message are static */
    char *message;
};

struct kind { /* its strings but the cure are static */
    const struct qcbm_problem *problem;
    uint64_t count;
    char *cure;
    enum qcbm_repair_level repair;
};

struct report {
    const char *path;
    const struct check_args *args;
    struct qcbm_check_result result;
    struct listed *listed; /* for JSON */
    size_t n_listed, listed_capacity;
    uint64_t left_out;
    struct kind seen[MAX_KINDS]; /* so far, without their cures */
    size_t n_seen;
    struct kind kinds[MAX_KINDS]; /* that occurred */
    size_t n_kinds;
    bool stays_silent; /* QEMU gives up here: findings on stderr, but no totals */
    bool strict;       /* one of them is a reason for the exit code of --strict */
    struct progress progress;
};

static const char *severity_name(enum qcbm_check_severity s)
{
    static const char *const names[] = { "warning", "leak", "corruption", "damage", "fault" };

    return names[s];
}

static const char *repair_name(enum qcbm_repair_level r)
{
    static const char *const names[] = { "none", "leaks", "all", "bitmaps" };

    return names[r];
}

static int on_kind(void *opaque, const struct qcbm_check_kind *kind)
{
    struct report *r = opaque;
    struct kind *to = &r->kinds[r->n_kinds];

    r->strict |= kind->problem->strict;
    if (r->n_kinds == MAX_KINDS)
        return 0;
    *to = (struct kind){ kind->problem, kind->count, strdup(kind->cure), kind->repair };
    r->n_kinds += to->cure != NULL;
    return 0;
}

/* How many findings of the kind there were before. */
static uint64_t number_of(struct report *r, const struct qcbm_problem *problem)
{
    size_t i = 0;

    while (i < r->n_seen && r->seen[i].problem != problem)
        i++;
    if (i == MAX_KINDS)
        return MAX_LISTED;
    if (i == r->n_seen)
        r->seen[r->n_seen++].problem = problem;
    return r->seen[i].count++;
}

static bool make_room(struct report *r)
{
    size_t capacity = r->listed_capacity ? 2 * r->listed_capacity : 64;
    struct listed *grown;

    if (r->n_listed < r->listed_capacity)
        return true;
    grown = realloc(r->listed, capacity * sizeof grown[0]);
    if (!grown)
        return false;
    r->listed = grown;
    r->listed_capacity = capacity;
    return true;
}

/* Keep it for the JSON, which begins with the totals. Very many of one kind do not push out the others. */
static void list_finding(struct report *r, const struct qcbm_check_finding *f)
{
    char *message = number_of(r, f->problem) < MAX_LISTED && make_room(r) ? strdup(f->message) : NULL;

    if (message)
        r->listed[r->n_listed++] = (struct listed){ *f, message };
    else
        r->left_out++;
}

/* In qemu-img's words, of which the first says how bad it is. */
static void print_line(const char *text, enum tone tone)
{
    size_t word = strcspn(text, " :");

    colour_put(stderr, tone, text, word);
    print_escaped(stderr, text + word, strlen(text + word));
    fputc('\n', stderr);
}

static int on_finding(void *opaque, const struct qcbm_check_finding *f)
{
    struct report *r = opaque;

    if (r->args->output == OUTPUT_JSON)
        list_finding(r, f);
    if (f->problem->id == QCBM_PROBLEM_SNAPSHOT_TABLE) {
        r->stays_silent = true;
        cmd_error("%s", f->message);
    } else if (f->problem->qemu_text) {
        print_line(f->message, f->problem->severity == QCBM_CHECK_LEAK ? TONE_WARNING : TONE_ERROR);
        if (f->hint)
            print_line(f->hint, TONE_PLAIN);
    } else if (f->problem->severity == QCBM_CHECK_WARNING) {
        cmd_warning("[%s] %s", f->problem->code, f->message);
    } else {
        cmd_error("error: [%s] %s", f->problem->code, f->message);
    }
    return 0;
}

static void print_text(const struct qcbm_check_result *r)
{
    if (r->corruptions + r->leaks + r->check_errors == 0)
        printf("No errors were found on the image.\n");
    if (r->corruptions)
        printf("\n%" PRIu64 " errors were found on the image.\n"
               "Data may be corrupted, or further writes to the image may corrupt it.\n",
               r->corruptions);
    if (r->leaks)
        printf("\n%" PRIu64 " leaked clusters were found on the image.\n%s\n", r->leaks,
               r->keep_leaks ? "They may be data that something damaged pointed to: do not free them."
                             : "This means waste of disk space, but no harm to data.");
    if (r->check_errors)
        printf("\n%" PRIu64 " internal errors have occurred during the check.\n", r->check_errors);
    if (r->total_clusters && r->allocated_clusters)
        printf("%" PRIu64 "/%" PRIu64 " = %0.2f%% allocated, %0.2f%% fragmented, %0.2f%% compressed clusters\n",
               r->allocated_clusters, r->total_clusters,
               (double)r->allocated_clusters * 100.0 / (double)r->total_clusters,
               (double)r->fragmented_clusters * 100.0 / (double)r->allocated_clusters,
               (double)r->compressed_clusters * 100.0 / (double)r->allocated_clusters);
    if (r->image_end_offset)
        printf("Image end offset: %" PRIu64 "\n", r->image_end_offset);
}

static void json_unless_zero(struct json_writer *w, const char *key, uint64_t value)
{
    if (value)
        json_u64(w, key, value);
}

static void write_findings(struct json_writer *w, const struct report *r)
{
    json_begin_array(w, "findings");
    for (size_t i = 0; i < r->n_listed; i++) {
        const struct qcbm_check_finding *f = &r->listed[i].f;

        json_begin_object(w, NULL);
        json_string(w, "code", f->problem->code);
        json_string(w, "severity", severity_name(f->problem->severity));
        if (f->offset != QCBM_NO_OFFSET)
            json_u64(w, "offset", f->offset);
        if (f->table)
            json_string(w, "table", f->table);
        if (f->index != UINT64_MAX)
            json_u64(w, "index", f->index);
        if (f->bitmap != UINT32_MAX)
            json_u64(w, "bitmap", f->bitmap);
        json_string(w, "message", r->listed[i].message);
        json_end_object(w);
    }
    json_end_array(w);
    json_unless_zero(w, "findings-left-out", r->left_out);
}

static void write_problems(struct json_writer *w, const struct report *r)
{
    json_begin_array(w, "problems");
    for (size_t i = 0; i < r->n_kinds; i++) {
        const struct qcbm_problem *p = r->kinds[i].problem;

        json_begin_object(w, NULL);
        json_string(w, "code", p->code);
        json_string(w, "severity", severity_name(p->severity));
        json_u64(w, "count", r->kinds[i].count);
        json_string(w, "consequence", p->consequence);
        json_string(w, "cure", r->kinds[i].cure);
        json_string(w, "repair", repair_name(r->kinds[i].repair));
        json_end_object(w);
    }
    json_end_array(w);
}

static void print_json(const struct report *r)
{
    const struct qcbm_check_result *t = &r->result;
    struct json_writer w = JSON_WRITER_INIT(stdout);

    json_begin_object(&w, NULL);
    json_unless_zero(&w, "image-end-offset", t->image_end_offset);
    json_unless_zero(&w, "total-clusters", t->total_clusters);
    json_unless_zero(&w, "corruptions", t->corruptions);
    json_u64(&w, "check-errors", t->check_errors);
    json_unless_zero(&w, "fragmented-clusters", t->fragmented_clusters);
    json_unless_zero(&w, "leaks", t->leaks);
    json_string(&w, "filename", r->path);
    json_unless_zero(&w, "allocated-clusters", t->allocated_clusters);
    json_unless_zero(&w, "compressed-clusters", t->compressed_clusters);
    json_string(&w, "format", "qcow2");
    json_unless_zero(&w, "damages", t->damages);
    json_unless_zero(&w, "warnings", t->warnings);
    json_unless_zero(&w, "passes", t->passes > 1 ? t->passes : 0);
    if (r->n_listed) {
        write_findings(&w, r);
        write_problems(&w, r);
    }
    json_end_object(&w);
    json_finish(&w);
}

/* On stderr: stdout is that of qemu-img. */
static void explain(const struct report *r)
{
    for (size_t i = 0; i < r->n_kinds; i++) {
        const struct qcbm_problem *p = r->kinds[i].problem;

        fprintf(stderr, "qcbm: %s, %" PRIu64 " times (%s)\n    consequence: %s\n    cure: %s\n", p->code,
                r->kinds[i].count, severity_name(p->severity), p->consequence, r->kinds[i].cure);
    }
}

/* Whoever sees errors repairs first and reads later. */
static void point_to_explain(const struct report *r, bool strict)
{
    const struct qcbm_check_result *t = &r->result;

    if (t->corruptions + t->leaks + t->check_errors + t->damages || strict)
        fprintf(stderr,
                "qcbm: before you repair anything: 'qcbm check --explain FILE' tells the way that loses nothing\n");
}

static int finish(const struct report *r)
{
    const struct qcbm_check_result *t = &r->result;

    bool quiet = r->args->quiet || r->stays_silent, strict = r->args->strict && r->strict;

    fflush(stderr);
    if (!quiet && r->args->output == OUTPUT_JSON)
        print_json(r);
    else if (!quiet)
        print_text(t);
    fflush(stdout); /* as qemu-img has it: the totals are out although the command failed */
    if (r->args->explain)
        explain(r);
    else if (!r->args->quiet && r->args->output != OUTPUT_JSON)
        point_to_explain(r, strict);
    if (t->check_errors)
        return cmd_error("Check failed");
    if (t->corruptions || strict)
        return EXIT_CORRUPT;
    return t->leaks ? EXIT_LEAKS : EXIT_DONE;
}

static int check(struct qcbm_image *img, struct report *r)
{
    struct qcbm_check_options options = QCBM_CHECK_OPTIONS_INIT;
    struct qcbm_progress progress;
    struct qcbm_error err;

    if (r->args->memory)
        options.memory = r->args->memory;
    options.finding = on_finding;
    options.kind = on_kind;
    r->progress.wanted = r->args->progress && !r->args->quiet;
    progress = progress_of(&r->progress);
    options.progress = &progress;
    options.opaque = r;
    int ret = qcbm_check(img, &options, &r->result, sizeof r->result, &err);
    progress_end(&r->progress, ret == 0);
    int code = ret < 0 ? cmd_error("Check failed: %s", err.message) : finish(r);
    for (size_t i = 0; i < r->n_listed; i++)
        free(r->listed[i].message);
    free(r->listed);
    for (size_t i = 0; i < r->n_kinds; i++)
        free(r->kinds[i].cure);
    return code;
}

static unsigned open_flags(const struct check_args *args)
{
    return (args->force_share ? QCBM_OPEN_FORCE_SHARE : 0) | (args->no_lock ? QCBM_OPEN_NO_LOCK : 0);
}

static int no_checks(void)
{
    cmd_error("This image format does not support checks");
    return EXIT_NO_CHECK;
}

/* Opens @path, or tells why not: *@code is the exit code then. */
static struct qcbm_image *open_image(const char *path, const struct check_args *args, int *code)
{
    unsigned flags = open_flags(args);
    const char *found = NULL;
    struct cmd_disk disk;

    *code = EXIT_FAILED;
    /* Other formats have checks, but not here. */
    if (!args->format && qcbm_probe(path, &found, NULL) == 0 && strcmp(found, "qcow2") != 0 &&
        strcmp(found, "raw") != 0) {
        *code = no_checks();
        return NULL;
    }
    if (!cmd_open_disk(path, args->format, flags, &disk))
        return NULL;
    if (disk.raw)
        *code = no_checks();
    qcbm_chain_close(disk.raw);
    return disk.img;
}

static int judge(const char *path, const struct check_args *args)
{
    const struct verdict_args how = { path, args->memory, args->output, args->quiet, args->progress };
    struct qcbm_image *img = NULL;
    struct qcbm_error why;
    int code;

    if (args->format && strcmp(args->format, "qcow2") != 0)
        return cmd_error("--untrusted judges qcow2 images only");
    if (qcbm_open(path, open_flags(args), &img, &why) == QCBM_E_NOT_QCOW2)
        return no_checks();
    code = verdict_print(img, &why, &how);
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

static int run_check(const struct cmd *cmd, int argc, char **argv)
{
    struct check_args args = { 0 };
    struct report report = { .args = &args };
    static char lines[1 << 16];
    int code;

    /* There may be a line for each cluster. finish() keeps the order of the two streams. */
    setvbuf(stderr, lines, isatty(STDERR_FILENO) ? _IOLBF : _IOFBF, sizeof lines);
    enum opt_result parsed = opt_parse(cmd, argc, argv, &args);

    if (parsed != OPT_GO_ON)
        return parsed == OPT_HELP_SHOWN ? EXIT_DONE : EXIT_FAILED;
    if (args.repair && strcmp(args.repair, "leaks") != 0 && strcmp(args.repair, "all") != 0)
        return cmd_usage_error(cmd, "Unknown option value for -r (expecting 'leaks' or 'all'): %s", args.repair);
    if (args.repair)
        return cmd_error(
            "-r is not supported, check only reports: 'qcbm check --explain %s' names the way to repair it that "
            "keeps snapshots and bitmaps",
            args.path);
    if (args.cache && !is_cache_mode(args.cache))
        return cmd_error("Invalid source cache option: %s", args.cache);
    report.path = args.path; /* as it was typed, which is what qemu-img calls it */
    if (!image_name_take(&args.path, &args.format, args.image_opts))
        return EXIT_FAILED;
    cmd_shut_in(args.no_sandbox, false, args.path, NULL);
    if (args.untrusted)
        return judge(args.path, &args);
    struct qcbm_image *img = open_image(args.path, &args, &code);
    if (!img)
        return code;
    code = check(img, &report);
    qcbm_close(img);
    return code;
}

const struct cmd cmd_check = {
    .name = "check",
    .summary = "Check a qcow2 image as qemu-img check does, and its bitmaps.",
    .opts = check_opts,
    .run = run_check,
    .exit_codes = "0 good, 1 could not check, 2 corruptions, 3 leaks and no corruption, 63 no qcow2 image",
};
