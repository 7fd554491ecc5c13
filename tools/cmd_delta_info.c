/* cmd_delta_info.c - qcbm delta --info: what a delta is
 * SPDX-License-Identifier: MIT
 */
#include <string.h>
#include <time.h>

#include "delta_args.h"
#include "progress.h"
#include "rows.h"

/* "2025-11-27T23:50:00Z", and the seconds for programs. */
static void put_time(struct rows *r, int64_t created)
{
    time_t t = (time_t)created;
    char text[64] = "";
    struct tm tm;

    if (created == 0 || !gmtime_r(&t, &tm) || strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
        return;
    rows_string(r, "created", text);
}

static void put_text(struct rows *r, const char *key, const char *text)
{
    if (*text)
        rows_string(r, key, text);
}

static void put(struct rows *r, const char *path, bool verify, const struct qcbm_delta_info *i)
{
    rows_string(r, "delta", path);
    rows_string(r, "form", i->form);
    put_text(r, "id", i->id);
    if (*i->parent_id)
        rows_string(r, "parent-id", i->parent_id);
    else if (r->json)
        rows_unknown(r, "parent-id");
    else
        rows_string(r, "parent-id", "not known");
    put_time(r, i->created);
    put_text(r, "bitmap", i->bitmap);
    put_text(r, "note", i->note);
    rows_size(r, "size-before", i->size_before);
    rows_size(r, "size-after", i->size_after);
    if (i->granularity)
        rows_size(r, "granularity", i->granularity);
    rows_u64(r, "records", i->records);
    rows_size(r, "data-bytes", i->data_bytes);
    rows_size(r, "zero-bytes", i->zero_bytes);
    rows_u64(r, "probes", i->probes);
    put_text(r, "digest", i->digest);
    if (verify)
        rows_bool(r, "verified", i->verified);
    else if (r->json)
        rows_unknown(r, "verified");
    else
        rows_string(r, "verified", "not asked for (--verify reads the data)");
}

static void print(const struct delta_args *args, const struct qcbm_delta_info *info)
{
    struct json_writer w = JSON_WRITER_INIT(stdout);
    struct rows json = ROWS_JSON(&w), text = ROWS_TEXT(stdout, 0);

    if (args->common.output != OUTPUT_JSON) {
        put(&text, args->common.path, args->verify, info);
        return;
    }
    json_begin_object(&w, NULL);
    put(&json, args->common.path, args->verify, info);
    json_end_object(&w);
    json_finish(&w);
}

int delta_info(const struct cmd *cmd, struct delta_args *args)
{
    struct progress progress = { .wanted = args->common.progress && !args->common.quiet };
    const struct qcbm_progress told = progress_of(&progress);
    struct qcbm_delta_info info;
    struct qcbm_error err;
    int ret;

    if (delta_count_names(args) != 1)
        return cmd_usage_error(cmd, "--info takes one delta");
    if (strcmp(args->names[0], "-") == 0)
        return cmd_error(DELTA_NO_PIPE);
    args->common.path = args->names[0];
    if (!common_take_name(&args->common))
        return EXIT_FAILED;
    common_shut_in(&args->common, true, NULL); /* there may be files beside it */
    ret = qcbm_delta_get_info(args->common.path, args->verify ? QCBM_DELTA_VERIFY : 0, &told, &info, sizeof info, &err);
    progress_end(&progress, ret == 0);
    if (ret < 0)
        return cmd_lib_error(&err, "'%s' is not a delta that can be read", args->common.path);
    if (!args->common.quiet)
        print(args, &info);
    if (args->verify && !info.verified)
        return cmd_error("'%s' has no digest: whether it is damaged cannot be told", args->common.path);
    return EXIT_DONE;
}
