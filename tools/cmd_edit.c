/* cmd_edit.c - qcbm edit: single fields of an image set by hand
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common_args.h"
#include "opt_parse.h"
#include "plan_out.h"
#include "progress.h"
#include "qemu_text.h"

struct edit_args {
    struct common_args common;
    char **edits;
};
COMMON_ARGS_FIRST(struct edit_args);

static const struct opt edit_opts[] = {
    OPT_ROW(struct edit_args, NULL, 0, OPT_ARG, common.path, "FILE", "image"),
    OPT_ROW(struct edit_args, NULL, 0, OPT_ARGS, edits, "EDIT", "edits as 'FIELD: OLD=NEW'"),
    OPT_COMMON_DRY_RUN,
    OPT_COMMON_UNDO,
    OPT_ROW(struct edit_args, "force", 0, OPT_FLAG, common.force, NULL,
            "do it without old values, though the image gets worse, and\nover several sectors without --undo"),
    OPT_COMMON_QUIET,
    OPT_COMMON_PROGRESS,
    OPT_COMMON_OUTPUT,
    OPT_COMMON_NO_LOCK,
    OPT_COMMON_NO_SANDBOX,
    OPT_END,
};

enum { MAX_MADE = 100 }; /* findings that are kept, and told */

/* All that the callbacks of one edit work on; the output comes when it is done. */
struct job {
    const struct edit_args *args;
    struct change { /* its strings are copies */
        struct qcbm_field_change c;
        char *field, *what;
        uint8_t old_bytes[8], new_bytes[8];
    } * changes;
    size_t n;
    struct made {
        const struct qcbm_problem *problem;
        uint64_t offset;
        char *message;
    } made[MAX_MADE];
    size_t n_made;
    uint64_t n_more;
    struct plan plan; /* the steps of a dry run */
    struct qcbm_edit_fields_result result;
};

static int on_field(void *opaque, const struct qcbm_field_change *c)
{
    struct job *job = opaque;
    struct change *to = &job->changes[job->n];

    job->n++;
    to->c = *c;
    to->field = strdup(c->field);
    to->what = strdup(c->what);
    memcpy(to->old_bytes, c->old_bytes, c->length);
    memcpy(to->new_bytes, c->new_bytes, c->length);
    return !to->field || !to->what;
}

static int on_made(void *opaque, const struct qcbm_check_finding *f)
{
    struct job *job = opaque;
    char *message = job->n_made < MAX_MADE ? strdup(f->message) : NULL;

    if (message)
        job->made[job->n_made++] = (struct made){ f->problem, f->offset, message };
    else
        job->n_more++;
    return 0;
}

static int on_step(void *opaque, const struct qcbm_plan_step *step)
{
    return plan_collect(&((struct job *)opaque)->plan, step);
}

static void clear(struct job *job)
{
    for (size_t i = 0; i < job->n; i++) {
        free(job->changes[i].field);
        free(job->changes[i].what);
    }
    for (size_t i = 0; i < job->n_made; i++)
        free(job->made[i].message);
    free(job->changes);
    plan_clear(&job->plan);
}

/* ---- text ---- */

static void print_bytes(const uint8_t *bytes, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++)
        printf("%s%02x", i ? " " : "", bytes[i]);
}

static void print_change(const struct change *c)
{
    print_escaped(stdout, c->field, strlen(c->field));
    printf(": 0x%" PRIx64 " -> 0x%" PRIx64 "\n    %s, %s at 0x%" PRIx64 ": ", c->c.old_value, c->c.new_value, c->what,
           count_text(c->c.length, "byte").text, c->c.offset);
    print_bytes(c->old_bytes, c->c.length);
    printf(" -> ");
    print_bytes(c->new_bytes, c->c.length);
    putchar('\n');
}

static void print_text(const struct job *job)
{
    const struct qcbm_edit_fields_result *r = &job->result;
    bool dry = job->args->common.dry_run;

    for (size_t i = 0; i < job->n; i++)
        print_change(&job->changes[i]);
    plan_print_steps(&job->plan, stdout);
    if (r->sectors == 0)
        printf("nothing to change: all fields have these values\n");
    else
        printf("%s: %s in %s, %s%s\n", dry ? "to be changed" : "changed", count_text(r->bytes_written, "byte").text,
               count_text(r->writes, "write").text, count_text(r->flushes, "flush").text,
               r->opens_after ? "" : "; the image does not open");
}

/* What a check finds behind the change alone. Where it is refused for that the error names the worst. */
static void tell_made(const struct job *job)
{
    for (size_t i = 0; i < job->n_made; i++)
        cmd_warning("made by this: [%s] %s", job->made[i].problem->code, job->made[i].message);
    if (job->n_more)
        cmd_warning("and %" PRIu64 " more of such", job->n_more);
}

/* ---- JSON ---- */

static void write_change(struct json_writer *w, const struct change *c)
{
    json_begin_object(w, NULL);
    json_bytes(w, "field", c->field, strlen(c->field));
    json_string(w, "what", c->what);
    json_u64(w, "offset", c->c.offset);
    json_u64(w, "length", c->c.length);
    json_u64(w, "old-value", c->c.old_value);
    json_u64(w, "new-value", c->c.new_value);
    json_hex(w, "old-bytes", c->old_bytes, c->c.length);
    json_hex(w, "new-bytes", c->new_bytes, c->c.length);
    json_end_object(w);
}

static void write_made(struct json_writer *w, const struct job *job)
{
    json_begin_array(w, "made");
    for (size_t i = 0; i < job->n_made; i++) {
        json_begin_object(w, NULL);
        json_string(w, "code", job->made[i].problem->code);
        if (job->made[i].offset != QCBM_NO_OFFSET)
            json_u64(w, "offset", job->made[i].offset);
        json_string(w, "message", job->made[i].message);
        json_end_object(w);
    }
    json_end_array(w);
    if (job->n_more)
        json_u64(w, "made-left-out", job->n_more);
}

static void print_json(const struct job *job)
{
    const struct qcbm_edit_fields_result *r = &job->result;
    struct json_writer w = JSON_WRITER_INIT(stdout);

    json_begin_object(&w, NULL);
    json_string(&w, "image", job->args->common.path);
    json_bool(&w, "dry-run", job->args->common.dry_run);
    json_begin_array(&w, "edits");
    for (size_t i = 0; i < job->n; i++)
        write_change(&w, &job->changes[i]);
    json_end_array(&w);
    json_bool(&w, "opens-before", r->opens_before);
    json_bool(&w, "opens-after", r->opens_after);
    json_bool(&w, "worse", r->worse);
    write_made(&w, job);
    json_u64(&w, "sectors", r->sectors);
    json_u64(&w, "bytes-written", r->bytes_written);
    json_u64(&w, "writes", r->writes);
    json_u64(&w, "flushes", r->flushes);
    if (job->args->common.dry_run)
        plan_write_steps(&job->plan, &w);
    json_end_object(&w);
    json_finish(&w);
}

/* ---- the work ---- */

static struct qcbm_edit_fields_options options_of(struct job *job, const struct qcbm_progress *progress)
{
    const struct common_args *common = &job->args->common;
    struct qcbm_edit_fields_options o = QCBM_EDIT_FIELDS_OPTIONS_INIT;

    o.flags = (common->dry_run ? QCBM_EDIT_FIELDS_DRY_RUN : 0) | (common->force ? QCBM_EDIT_FIELDS_FORCE : 0);
    o.undo = common->undo;
    o.field = on_field;
    o.made = on_made;
    o.step = common->dry_run ? on_step : NULL;
    o.opaque = job;
    o.progress = progress;
    return o;
}

static int edit(struct job *job, size_t n)
{
    const struct common_args *common = &job->args->common;
    struct progress shown = { .wanted = common->progress && !common->quiet };
    const struct qcbm_progress progress = progress_of(&shown);
    struct qcbm_edit_fields_options o = options_of(job, &progress);
    struct qcbm_error err;
    int ret;

    job->changes = calloc(n, sizeof job->changes[0]);
    if (!job->changes)
        return cmd_error("no memory");
    cmd_name_image(common->path);
    ret = qcbm_edit_fields(common->path, common_writing(common), (const char *const *)job->args->edits, n, &o,
                           &job->result, sizeof job->result, &err);
    progress_end(&shown, ret == 0);
    if (ret < 0)
        return cmd_lib_error(&err, "Could not edit '%s'", common->path);
    tell_made(job);
    if (job->result.writes && !common->dry_run)
        cmd_note_done("the image has been changed all the same");
    if (common->output == OUTPUT_JSON)
        print_json(job);
    else if (!common->quiet)
        print_text(job);
    return EXIT_DONE;
}

static int run_edit(const struct cmd *cmd, int argc, char **argv)
{
    struct edit_args args = { 0 };
    size_t n = 0;
    int code = opt_parse(cmd, argc, argv, &args);

    if (code != OPT_GO_ON)
        return code;
    while (args.edits[n])
        n++;
    if (!common_take_name(&args.common))
        return EXIT_FAILED;
    if (!args.common.dry_run && !cmd_may_write(args.common.path))
        return cmd_error("Could not open '%s': Block node is read-only", args.common.path);
    if (args.common.dry_run)
        common_shut_in(&args.common, false, NULL);
    struct job *job = calloc(1, sizeof *job);
    if (!job)
        return cmd_error("no memory");
    job->args = &args;
    code = edit(job, n);
    clear(job);
    free(job);
    return code;
}

const struct cmd cmd_edit = {
    "edit",    NULL,     "Set single fields of an image by hand, by the names that dump has, all of them or none.",
    edit_opts, run_edit, NULL
};
