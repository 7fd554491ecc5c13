/* cmd_apply.c - qcbm apply: deltas applied to a disk, in place or into a new file
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "delta_args.h"
#include "json_write.h"
#include "opt_parse.h"
#include "progress.h"
#include "qemu_text.h"
#include "run_note.h"

struct apply_args {
    struct common_args common;
    const char *new_path, *new_format, *state, *base_id;
    char **deltas;
    bool in_place, force_parent;
};
COMMON_ARGS_FIRST(struct apply_args);

static const struct opt apply_opts[] = {
    OPT_ROW(struct apply_args, NULL, 0, OPT_ARG, common.path, "BASE", "a disk"),
    OPT_ROW(struct apply_args, NULL, 0, OPT_ARGS, deltas, "DELTA", "at least one delta"),
    OPT_ROW(struct apply_args, "new", 'o', OPT_STRING, new_path, "NEW",
            "write the whole disk to this new file, and only read BASE"),
    OPT_ROW(struct apply_args, "in-place", 0, OPT_FLAG, in_place, NULL,
            "write to BASE; run again, it goes on where it was"),
    OPT_ROW(struct apply_args, NULL, 'O', OPT_STRING, new_format, "FMT",
            "format of NEW: qcow2 or raw (default: that of BASE)"),
    OPT_ROW(struct apply_args, "force-parent", 0, OPT_FLAG, force_parent, NULL,
            "apply it though ids do not fit, or are missing; digests, sizes\nand probes still must"),
    OPT_ROW(struct apply_args, "base-id", 0, OPT_STRING, base_id, "ID",
            "the state that BASE has, where none is recorded with it"),
    OPT_ROW(struct apply_args, "state", 0, OPT_STRING, state, "PREFIX",
            "keep PREFIX.qcbm-apply and PREFIX.qcbm-id, and not files\nbeside BASE, which is a block device: that "
            "needs it"),
    OPT_ROW(struct apply_args, "dry-run", 0, OPT_FLAG, common.dry_run, NULL,
            "check deltas and BASE, tell what would be applied, and\nwrite nothing"),
    OPT_COMMON_FORMAT_OR_RAW,
    OPT_COMMON_FORCE_SHARE,
    OPT_COMMON_QUIET,
    OPT_COMMON_PROGRESS,
    OPT_COMMON_OUTPUT,
    OPT_COMMON_NO_LOCK,
    OPT_COMMON_NO_SANDBOX,
    OPT_COMMON_IMAGE_OPTS,
    OPT_END,
};

/* What was told of each delta, kept until it is known how all of it ends: stdout is empty on failure. */
struct told {
    struct qcbm_apply_delta d;
    char *path;
};
struct job {
    const struct apply_args *args;
    struct told *told;
    size_t n, already;
};

/* A dry run has the disk that the first delta meets, and none that one behind it would. */
static bool is_compared(const struct job *job, const struct told *t)
{
    return !job->args->common.dry_run || t - job->told <= (ptrdiff_t)job->already;
}

static const char *const what_names[] = {
    [QCBM_APPLY_APPLIED] = "applied", [QCBM_APPLY_RESUMED] = "resumed", [QCBM_APPLY_ALREADY] = "already"
};

static int note(void *opaque, const struct qcbm_apply_delta *d)
{
    struct job *job = opaque;
    struct told *grown = realloc(job->told, (job->n + 1) * sizeof *grown);

    if (!grown)
        return 1;
    job->told = grown;
    grown[job->n] = (struct told){ *d, strdup(d->path) };
    if (!grown[job->n].path)
        return 1;
    job->n++;
    job->already += d->what == QCBM_APPLY_ALREADY;
    if (d->what != QCBM_APPLY_ALREADY && !job->args->common.dry_run && !job->args->new_path)
        cmd_note_done("the delta has been applied all the same");
    return 0;
}

/* That a disk passes of whose data a share differs, in percent. */
static double passes(double differs, uint32_t probes)
{
    double p = 100;

    for (uint32_t i = 0; i < probes; i++)
        p *= 1 - differs;
    return p;
}

static void print_probes(const struct qcbm_apply_delta *d)
{
    if (d->probes == 0)
        return;
    printf("  %s of what it leaves alone agree%s", count_text(d->probes, "probe").text, d->probes == 1 ? "s" : "");
    if (!d->state_was_known)
        printf(
            "; a wrong disk of which 10 %% of the ranges differ would pass with %.3g %%, one of which 1 %% differ with "
            "%.3g %%",
            passes(0.1, d->probes), passes(0.01, d->probes));
    printf("\n");
}

/* The first of a row names no parent; nor does one that was made without a word on it. */
static void print_no_parent(const struct qcbm_apply_delta *d)
{
    if (d->parent[0] == 0 && !d->state_was_known)
        printf(
            "  it names no parent: if another delta belongs before it, that is not noticed (qcbm delta --parent-id)\n");
}

static void print_delta(const struct job *job, const struct told *t)
{
    static const char *const words[] = { [QCBM_APPLY_APPLIED] = "applied",
                                         [QCBM_APPLY_RESUMED] = "gone on with, and applied",
                                         [QCBM_APPLY_ALREADY] = "has been applied already, nothing to do" };

    print_escaped(stdout, t->path, strlen(t->path));
    if (t->d.what == QCBM_APPLY_ALREADY) {
        printf(": %s (state %s)\n", words[t->d.what], t->d.id);
        return;
    }
    printf(": %s: %s of data, ", job->args->common.dry_run ? "would be applied" : words[t->d.what],
           size_text(t->d.data_bytes).text);
    printf("%s of zeros; state %s\n", size_text(t->d.zero_bytes).text, t->d.id);
    if (is_compared(job, t)) {
        print_no_parent(&t->d);
        print_probes(&t->d);
    } else {
        printf("  read and whole; it is compared with the disk when the delta before it is there\n");
    }
}

static void print_text(const struct job *job)
{
    for (size_t i = 0; i < job->n; i++)
        print_delta(job, &job->told[i]);
}

static void write_perhaps(struct json_writer *w, const char *key, const char *text)
{
    if (*text)
        json_string(w, key, text);
    else
        json_null(w, key);
}

static void write_delta(struct json_writer *w, const struct job *job, const struct told *t)
{
    const struct qcbm_apply_delta *d = &t->d;
    bool would = job->args->common.dry_run && d->what != QCBM_APPLY_ALREADY;

    json_begin_object(w, NULL);
    json_bytes(w, "delta", t->path, strlen(t->path));
    json_string(w, "form", d->form);
    json_string(w, "what", would ? "would-be-applied" : what_names[d->what]);
    json_string(w, "id", d->id);
    write_perhaps(w, "parent-id", d->parent);
    write_perhaps(w, "parent", d->parent);
    if (d->size_before == QCBM_UNKNOWN)
        json_null(w, "size-before");
    else
        json_u64(w, "size-before", d->size_before);
    json_u64(w, "size-after", d->size_after);
    json_u64(w, "data-bytes", d->data_bytes);
    json_u64(w, "zero-bytes", d->zero_bytes);
    json_bool(w, "compared", d->what != QCBM_APPLY_ALREADY && is_compared(job, t));
    json_u64(w, "probes", d->probes);
    json_bool(w, "state-was-known", d->state_was_known);
    if (d->probes) {
        json_fixed(w, "passes-with-1-percent-other", passes(0.01, d->probes), 4);
        json_fixed(w, "passes-with-10-percent-other", passes(0.1, d->probes), 4);
    }
    json_end_object(w);
}

static void print_json(const struct job *job, const struct qcbm_apply_result *r)
{
    struct json_writer w = JSON_WRITER_INIT(stdout);

    json_begin_object(&w, NULL);
    json_string(&w, "base", job->args->common.path);
    if (job->args->new_path)
        json_string(&w, "new", job->args->new_path);
    else
        json_null(&w, "new");
    json_bool(&w, "dry-run", job->args->common.dry_run);
    json_begin_array(&w, "deltas");
    for (size_t i = 0; i < job->n; i++)
        write_delta(&w, job, &job->told[i]);
    json_end_array(&w);
    json_u64(&w, "applied", r->applied);
    json_u64(&w, "already", r->already);
    json_bool(&w, "resumed", r->resumed);
    json_u64(&w, "virtual-size", r->size);
    if (*r->id)
        json_string(&w, "state", r->id);
    else
        json_null(&w, "state");
    json_string(&w, "recorded", !r->id_recorded ? "no" : r->id_in_header ? "header" : "file");
    json_end_object(&w);
    json_finish(&w);
}

static struct qcbm_apply_options options_of(const struct apply_args *args)
{
    struct qcbm_apply_options o = QCBM_APPLY_OPTIONS_INIT;

    o.new_path = args->new_path;
    o.new_format = args->new_format;
    o.base_format = args->common.format;
    o.state_prefix = args->state;
    o.base_id = args->base_id;
    o.flags = (args->common.dry_run ? QCBM_APPLY_DRY_RUN : 0) | (args->force_parent ? QCBM_APPLY_FORCE_PARENT : 0);
    o.open_flags = common_reading(&args->common);
    o.delta = note;
    return o;
}

static void warn(const struct job *job, const struct qcbm_apply_result *r)
{
    const struct apply_args *args = job->args;

    for (size_t i = 0; i < job->n; i++)
        if (!job->told[i].d.has_digest && job->told[i].d.what != QCBM_APPLY_ALREADY)
            cmd_warning(
                "'%s' has no digest, so damage of it is not seen: is the file .json gone that was made beside it?",
                job->told[i].path);
    if (r->state_was_stale)
        cmd_warning("the disk was written to since its state was recorded: it counts as not known");
    if (!args->common.dry_run && r->applied && !r->id_recorded)
        cmd_warning(
            "there is no place for the id of the disk's state: the next delta that names it as its parent takes "
            "--force-parent");
}

static int apply(struct job *job)
{
    const struct apply_args *args = job->args;
    struct qcbm_apply_options options = options_of(args);
    struct progress progress = { .wanted = args->common.progress && !args->common.quiet };
    const struct qcbm_progress told = progress_of(&progress);
    struct qcbm_apply_result result;
    struct qcbm_error err;
    size_t n = 0;
    int ret;

    while (args->deltas[n])
        n++;
    options.opaque = job;
    options.progress = &told;
    ret = qcbm_apply(args->common.path, (const char *const *)args->deltas, n, &options, &result, sizeof result, &err);
    progress_end(&progress, ret == 0);
    if (ret < 0) {
        cmd_lib_error(&err, "Could not apply to '%s'", args->common.path);
        cmd_hint_at_sharing(&err, options.open_flags | (args->in_place ? QCBM_OPEN_WRITE : 0));
        return EXIT_FAILED;
    }
    warn(job, &result);
    if (args->common.output == OUTPUT_JSON)
        print_json(job, &result);
    else if (!args->common.quiet)
        print_text(job);
    if (args->new_path && !args->common.dry_run)
        cmd_note_done("the new file has been written all the same");
    return EXIT_DONE;
}

/* What a dry run only reads, and the command behind it writes. */
static bool may_write(const struct apply_args *args)
{
    const char *slash = args->new_path ? strrchr(args->new_path, '/') : NULL;
    char *folder = args->new_path ? strdup(slash ? args->new_path : ".") : NULL;
    const char *name = args->in_place ? args->common.path : folder;
    bool may;

    if (folder && slash)
        folder[slash == args->new_path ? 1 : slash - args->new_path] = '\0';
    may = !name || access(name, W_OK) == 0;
    if (!may)
        cmd_error("Could not write to '%s': %s", name, strerror(errno));
    free(folder);
    return may;
}

static int run_apply(const struct cmd *cmd, int argc, char **argv)
{
    struct apply_args args = { 0 };
    struct job job = { .args = &args };
    int code = opt_parse(cmd, argc, argv, &args);

    if (code != OPT_GO_ON)
        return code;
    if (!common_take_name(&args.common))
        return EXIT_FAILED;
    for (size_t i = 0; args.deltas[i]; i++)
        if (strcmp(args.deltas[i], "-") == 0)
            return cmd_error(DELTA_NO_PIPE);
    if (args.in_place && args.new_path)
        return cmd_usage_error(cmd, "--in-place and -o do not go together");
    if (!args.in_place && !args.new_path && !args.common.dry_run)
        return cmd_usage_error(cmd, "Expecting -o NEW, --in-place, or --dry-run");
    if (args.common.force_share && args.in_place && !args.common.dry_run)
        return cmd_usage_error(cmd, "-U is for reading: it goes with -o or --dry-run");
    if (args.new_path && strcmp(args.new_path, "-") == 0)
        return cmd_error(
            "a disk that is put together is written to a file, not to a pipe ('./-' is a file of that name)");
    if (args.common.dry_run && !may_write(&args))
        return EXIT_FAILED;
    if (args.common.dry_run)
        common_shut_in(&args.common, true, NULL);
    run_note_image(args.common.path);
    if (args.common.format && strcmp(args.common.format, "raw") == 0)
        run_note_raw(args.common.path);
    code = apply(&job);
    for (size_t i = 0; i < job.n; i++)
        free(job.told[i].path);
    free(job.told);
    return code;
}

const struct cmd cmd_apply = { "apply",    NULL,      "Apply deltas to a disk: in place, or into a new file.",
                               apply_opts, run_apply, NULL };
