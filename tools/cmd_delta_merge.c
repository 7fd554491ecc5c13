/* cmd_delta_merge.c - qcbm delta --merge: deltas that follow one another made one
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "delta_args.h"
#include "every_args.h"
#include "progress.h"
#include "qemu_text.h"
#include "rows.h"

static void tell_size(struct rows *rows, const char *key, uint64_t size)
{
    if (size == QCBM_UNKNOWN)
        rows_unknown(rows, key);
    else
        rows_u64(rows, key, size);
}

static void print_json(const char *out, const struct qcbm_delta_merge_result *r)
{
    struct json_writer w = JSON_WRITER_INIT(stdout);
    struct rows rows = ROWS_JSON(&w);

    rows_begin(&rows, NULL);
    rows_string(&rows, "delta", out);
    rows_bool(&rows, "dry-run", false);
    rows_string(&rows, "form", r->form);
    rows_string(&rows, "id", r->id);
    if (r->parent_id[0])
        rows_string(&rows, "parent-id", r->parent_id);
    else
        rows_unknown(&rows, "parent-id");
    tell_size(&rows, "size-before", r->size_before);
    tell_size(&rows, "size-after", r->size_after);
    rows_u64(&rows, "records-in", r->records_in);
    rows_u64(&rows, "bytes-in", r->bytes_in);
    rows_u64(&rows, "data-bytes", r->data_bytes);
    rows_u64(&rows, "zero-bytes", r->zero_bytes);
    rows_u64(&rows, "probes", r->probes);
    rows_string(&rows, "digest", r->digest);
    rows_end(&rows);
    json_finish(&w);
}

static void print_text(size_t n, const struct qcbm_delta_merge_result *r)
{
    printf("%s of %s made one", count_text(n, "delta").text, size_text(r->bytes_in).text);
    printf(": %s of data, %s of zeros\n", size_text(r->data_bytes).text, size_text(r->zero_bytes).text);
    printf("id: %s\nparent id: %s\n", r->id, r->parent_id[0] ? r->parent_id : "not known");
}

/* As many files as there are deltas will be open, and for the form raw+map twice as many; the usual limit is 1024. */
static void allow_open_files(size_t n)
{
    rlim_t wanted = 2 * (rlim_t)n + 64;
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < wanted) {
        limit.rlim_cur = wanted < limit.rlim_max ? wanted : limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

/* @names are the deltas, the oldest first, and the new one. */
static int merge(const struct delta_args *args, size_t n, struct qcbm_delta_merge_result *result)
{
    struct qcbm_delta_merge_options o = QCBM_DELTA_MERGE_OPTIONS_INIT;
    struct progress progress = { .wanted = args->common.progress && !args->common.quiet };
    const struct qcbm_progress told = progress_of(&progress);
    const char *out = args->names[n];
    struct qcbm_error err;
    int ret;

    o.flags = args->force_parent ? QCBM_DELTA_MERGE_FORCE_PARENT : 0;
    o.note = args->note;
    o.progress = &told;
    ret = qcbm_delta_merge((const char *const *)args->names, n, strcmp(out, "-") == 0 ? NULL : out, STDOUT_FILENO, &o,
                           result, sizeof *result, &err);
    progress_end(&progress, ret == 0);
    if (ret == 0)
        return EXIT_DONE;
    cmd_lib_error(&err, "Could not merge deltas into '%s'", out);
    if (ret == QCBM_E_CHAIN)
        cmd_hint("'qcbm delta --info D' tells which state a delta begins at, and which it leads to");
    return EXIT_FAILED;
}

static int check_usage(const struct cmd *cmd, const struct delta_args *args)
{
    if (delta_count_names(args) < 2)
        return cmd_usage_error(cmd, "--merge expects the deltas, the oldest first, and a new file");
    if (args->bitmap || args->since || args->since_snapshot || args->snapshot || args->layer || args->chain ||
        args->refine || args->refine_against || args->id || args->parent_id || args->granularity)
        return cmd_usage_error(cmd, "--merge takes deltas as they are: no option that says what counts, and no id");
    if (args->form || args->compression || args->cluster_size)
        return cmd_usage_error(cmd, "--merge keeps the form of its deltas: no -O, -c or --cluster-size");
    if (args->common.dry_run)
        return cmd_usage_error(cmd, "--merge has no --dry-run");
    return EXIT_DONE;
}

int delta_merge(const struct cmd *cmd, struct delta_args *args)
{
    struct qcbm_delta_merge_result result;
    size_t n = delta_count_names(args) - 1;
    bool to_pipe;

    if (check_usage(cmd, args) != EXIT_DONE)
        return EXIT_FAILED;
    for (size_t i = 0; i < n; i++)
        if (strcmp(args->names[i], "-") == 0)
            return cmd_error(DELTA_NO_PIPE);
    to_pipe = strcmp(args->names[n], "-") == 0;
    if (to_pipe && every_refuses_stdout())
        return EXIT_FAILED;
    if (to_pipe && isatty(STDOUT_FILENO))
        return cmd_error("a delta does not go to a terminal");
    allow_open_files(n);
    if (to_pipe)
        common_shut_in(&args->common, true, NULL);
    if (merge(args, n, &result) != EXIT_DONE)
        return EXIT_FAILED;
    if (to_pipe)
        return EXIT_DONE;
    cmd_note_done("the merged delta has been written all the same");
    if (args->common.output == OUTPUT_JSON)
        print_json(args->names[n], &result);
    else if (!args->common.quiet)
        print_text(n, &result);
    return EXIT_DONE;
}
