/* cmd_delta_make.c - qcbm delta IMAGE OUT: a delta is made
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "delta_args.h"
#include "every_args.h"
#include "image_name.h"
#include "progress.h"
#include "qemu_text.h"
#include "rows.h"

struct delta_job {
    const struct delta_args *args;
    const char *out; /* NULL: standard output */
    char **notes;
    size_t n_notes;
};

/* ---- what it tells ---- */

static int keep_note(void *opaque, const char *note)
{
    struct delta_job *job = opaque;
    char **more = realloc(job->notes, (job->n_notes + 1) * sizeof(*more));

    if (!more)
        return 1;
    job->notes = more;
    job->notes[job->n_notes] = strdup(note);
    return job->notes[job->n_notes] ? (job->n_notes++, 0) : 1;
}

static void free_notes(struct delta_job *job)
{
    for (size_t i = 0; i < job->n_notes; i++)
        free(job->notes[i]);
    free(job->notes);
}

static void put_perhaps(struct json_writer *w, const char *key, uint64_t value)
{
    if (value == QCBM_UNKNOWN)
        json_null(w, key);
    else
        json_u64(w, key, value);
}

static void print_json(const struct delta_job *job, const struct qcbm_delta_result *r)
{
    struct json_writer w = JSON_WRITER_INIT(stdout);

    json_begin_object(&w, NULL);
    json_string(&w, "image", job->args->common.path);
    json_string(&w, "delta", job->out ? job->out : "-");
    json_string(&w, "form", job->args->form ? job->args->form : "qcow2");
    json_bool(&w, "dry-run", job->args->common.dry_run);
    json_string(&w, "id", r->id);
    if (*r->parent_id)
        json_string(&w, "parent-id", r->parent_id);
    else
        json_null(&w, "parent-id");
    put_perhaps(&w, "size-before", r->size_before);
    json_u64(&w, "size-after", r->size_after);
    json_u64(&w, "granularity", r->granularity);
    if (r->cluster_size)
        json_u64(&w, "cluster-size", r->cluster_size);
    json_u64(&w, "dirty-bytes", r->dirty_bytes);
    json_u64(&w, "data-bytes", r->data_bytes);
    json_u64(&w, "zero-bytes", r->zero_bytes);
    json_u64(&w, "refined-bytes", r->refined_bytes);
    json_u64(&w, "unreadable-bytes", r->unreadable_bytes);
    if (!job->args->common.dry_run) {
        json_u64(&w, "file-size", r->file_size);
        json_u64(&w, "probes", r->probes);
        json_string(&w, "digest", r->digest);
    }
    json_begin_array(&w, "notes");
    for (size_t i = 0; i < job->n_notes; i++)
        json_string(&w, NULL, job->notes[i]);
    json_end_array(&w);
    json_end_object(&w);
    json_finish(&w);
}

static void print_text(const struct delta_job *job, const struct qcbm_delta_result *r)
{
    bool dry = job->args->common.dry_run;

    print_escaped(stdout, job->out ? job->out : "-", strlen(job->out ? job->out : "-"));
    printf(": %s%s of data, %s of zeros", dry ? "would have " : "", size_text(r->data_bytes).text,
           size_text(r->zero_bytes).text);
    if (!dry)
        printf(", in a file of %s", size_text(r->file_size).text);
    if (r->refined_bytes)
        printf("; left out: %s that read as before", size_text(r->refined_bytes).text);
    printf("\n");
    if (!dry)
        printf("id: %s\n", r->id);
    if (*r->parent_id)
        printf("parent id: %s\n", r->parent_id);
    for (size_t i = 0; i < job->n_notes; i++) {
        printf("note: ");
        print_escaped(stdout, job->notes[i], strlen(job->notes[i]));
        printf("\n");
    }
}

/* ---- the job ---- */

static int compression_of(const char *word)
{
    if (!word)
        return QCBM_DELTA_PLAIN;
    return strcmp(word, "zlib") == 0 ? QCBM_DELTA_ZLIB : strcmp(word, "zstd") == 0 ? QCBM_DELTA_ZSTD : -1;
}

static int refine_of(const struct delta_args *args)
{
    if (!args->refine)
        return args->refine_against ? QCBM_REFINE_CONTENT : QCBM_REFINE_NONE;
    if (strcmp(args->refine, "zero") == 0)
        return QCBM_REFINE_ZERO;
    return args->refine[0] == '\0' || strcmp(args->refine, "content") == 0 ? QCBM_REFINE_CONTENT : -1;
}

static struct qcbm_delta_options options_of(struct delta_job *job)
{
    const struct delta_args *args = job->args;
    struct qcbm_delta_options o = QCBM_DELTA_OPTIONS_INIT;

    o.flags = (args->layer ? QCBM_DELTA_LAYER : 0) | (args->chain ? QCBM_DELTA_CHAIN : 0) |
              (args->common.force_share ? QCBM_DELTA_FORCE_SHARE : 0) | (args->common.force ? QCBM_DELTA_FORCE : 0) |
              (args->common.dry_run ? QCBM_DELTA_DRY_RUN : 0);
    o.bitmap = args->bitmap;
    o.since = args->since;
    o.since_snapshot = args->since_snapshot;
    o.snapshot = args->snapshot;
    o.granularity = args->granularity;
    o.refine = (unsigned)refine_of(args);
    o.refine_against = args->refine_against;
    o.refine_format = args->refine_format;
    o.form = args->form;
    o.compression = (unsigned)compression_of(args->compression);
    o.cluster_size = (uint32_t)args->cluster_size;
    o.id = args->id;
    o.parent_id = args->parent_id;
    o.note = args->note;
    o.note_fn = keep_note;
    o.opaque = job;
    return o;
}

static int check_usage(const struct cmd *cmd, const struct delta_args *args)
{
    int ways = (args->bitmap != NULL) + (args->since != NULL) + (args->since_snapshot != NULL) + args->layer;

    if (delta_count_names(args) != 2)
        return cmd_usage_error(cmd, "Expecting an image, and a new file for its delta");
    if (ways > 1)
        return cmd_usage_error(cmd, "Only one of --bitmap, --since, --since-snapshot and --layer");
    if (ways == 0)
        return cmd_usage_error(cmd, "Expecting one of --bitmap, --since, --since-snapshot and --layer");
    if (args->chain && !args->bitmap)
        return cmd_usage_error(cmd, "--chain goes with --bitmap");
    if (args->snapshot && !args->since_snapshot)
        return cmd_usage_error(cmd, "--snapshot goes with --since-snapshot");
    if (refine_of(args) < 0)
        return cmd_usage_error(cmd, "--refine takes zero or content");
    if (compression_of(args->compression) < 0)
        return cmd_usage_error(cmd, "-c takes zlib or zstd");
    if (args->bitmap && args->granularity)
        return cmd_usage_error(cmd, "--bitmap cannot be combined with -g: a bitmap has its granularity");
    if (args->cluster_size > UINT32_MAX)
        return cmd_error("a cluster of a delta has 4 KiB to 2 MiB");
    return EXIT_DONE;
}

/* A snapshot has no file name. */
static bool take_names(struct delta_args *args)
{
    args->common.path = args->names[0];
    if (args->refine_against && strncmp(args->refine_against, "snapshot:", 9) != 0 &&
        !image_name_take(&args->refine_against, &args->refine_format, false))
        return false;
    return common_take_name_or_uri(&args->common) && image_name_take_or_uri(&args->since, NULL, false);
}

/* Has a layer of the disk a delta in part? That force does not help. */
static bool is_half(struct qcbm_image *img)
{
    struct qcbm_chain_layer layer;
    struct qcbm_chain *chain;
    bool half = false;

    if (qcbm_chain_open(img, &chain, NULL) < 0)
        return false;
    for (uint32_t i = 0; i < qcbm_chain_count(chain); i++)
        half |= qcbm_chain_get(chain, i, &layer, sizeof layer, NULL) == 0 &&
                qcbm_apply_check_finished(layer.filename, NULL) < 0;
    qcbm_chain_close(chain);
    return half;
}

/* It is for a disk whose data lies elsewhere, for tables that are lost, and for an index of another disk. */
static bool helps_force(const struct qcbm_error *err, const struct delta_args *args, struct qcbm_image *img)
{
    struct qcbm_image_info info;

    if (args->common.force)
        return false;
    if (err->code == QCBM_E_UNSUPPORTED)
        return !args->bitmap && qcbm_image_get_info(img, &info, sizeof info) == 0 && info.full_data_file;
    return err->code == QCBM_E_UNSAFE && (!args->bitmap || args->refine_against) && !is_half(img);
}

static void hint_at_way(const struct qcbm_error *err, const struct delta_args *args, struct qcbm_image *img)
{
    if (err->code == QCBM_E_ARG && args->refine && !args->refine_against && (args->bitmap || args->since_snapshot))
        cmd_hint("--refine-against=snapshot:S, or =IMAGE, names it");
    else if (helps_force(err, args, img))
        cmd_hint("qcbm-synth(1) says what --force is about");
    else if (err->code == QCBM_E_INUSE)
        cmd_hint("'qcbm bitmap --revive' makes one of it that can be relied on");
}

static int make(struct delta_job *job, struct qcbm_image *img)
{
    struct progress progress = { .wanted = job->args->common.progress && !job->args->common.quiet };
    const struct qcbm_progress told = progress_of(&progress);
    struct qcbm_delta_options options = options_of(job);
    bool dry = job->args->common.dry_run;
    struct qcbm_delta_result result;
    struct qcbm_error err;
    int ret;

    options.progress = &told;
    ret = qcbm_delta(img, job->out, STDOUT_FILENO, &options, &result, sizeof result, &err);
    progress_end(&progress, ret == 0);
    if (ret < 0) {
        cmd_lib_error(&err, "Could not make a delta of '%s'", job->args->common.path);
        hint_at_way(&err, job->args, img);
        return EXIT_FAILED;
    }
    if (job->out && !dry)
        cmd_note_done("the delta has been written all the same");
    if (!job->out && !dry) { /* standard output has the delta */
        for (size_t i = 0; i < job->n_notes && !job->args->common.quiet; i++)
            cmd_warning("%s", job->notes[i]);
    } else if (job->args->common.output == OUTPUT_JSON) {
        print_json(job, &result);
    } else if (!job->args->common.quiet) {
        print_text(job, &result);
    }
    return EXIT_DONE;
}

int delta_make(const struct cmd *cmd, struct delta_args *args)
{
    struct delta_job job = { .args = args };
    struct qcbm_image *img;
    int code;

    if (check_usage(cmd, args) != EXIT_DONE || !take_names(args))
        return EXIT_FAILED;
    job.out = strcmp(args->names[1], "-") == 0 ? NULL : args->names[1];
    if (!job.out && !args->common.dry_run && every_refuses_stdout())
        return EXIT_FAILED;
    if (!job.out && !args->common.dry_run && isatty(STDOUT_FILENO))
        return cmd_error("a delta does not go to a terminal");
    if (!job.out || args->common.dry_run)
        common_shut_in(&args->common, true, NULL);
    /* not common_open(), which warns where the library refuses */
    img = common_with_threads(&args->common,
                              cmd_open(args->common.path, args->common.format, common_reading(&args->common)));
    code = img && common_set_below(img) ? make(&job, img) : EXIT_FAILED;
    free_notes(&job);
    qcbm_close(img);
    return code;
}
