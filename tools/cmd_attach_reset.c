/* cmd_attach_reset.c - qcbm attach --reset: a metadata image shows the raw disk as it is again
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <string.h>

#include "cmd_attach.h"
#include "qemu_text.h"

struct job {
    const struct attach_args *args;
    struct qcbm_image *img;
    struct qcbm_edit *edit;
    struct qcbm_attach_reset r;
    struct plan plan;
};

static int reset(struct job *job)
{
    const struct common_args *common = &job->args->common;
    struct qcbm_error err;
    int ret = qcbm_edit_begin(job->img, &job->edit, &err);

    if (ret == 0)
        ret = qcbm_edit_attach_reset(job->edit, job->args->data, &job->r, sizeof job->r, &err);
    if (ret == 0)
        ret = plan_run(&job->plan, job->img, job->edit, common, &err);
    if (ret < 0)
        return cmd_lib_error(&err, "Could not reset '%s'", common->path);
    if (job->r.bitmaps_left && job->r.changed_bytes)
        cmd_warning("%s in use or damaged, and did not get the bits of what changes: 'qcbm bitmap --list' shows them",
                    job->r.bitmaps_left == 1 ? "1 bitmap is" : "several bitmaps are");
    return EXIT_DONE;
}

static void print_json(const struct job *job)
{
    const struct qcbm_attach_reset *r = &job->r;
    struct json_writer w = JSON_WRITER_INIT(stdout);

    json_begin_object(&w, NULL);
    json_string(&w, "image", job->args->common.path);
    json_bool(&w, "dry-run", job->args->common.dry_run);
    json_u64(&w, "entries", r->entries);
    json_u64(&w, "reset-bytes", r->reset_bytes);
    json_u64(&w, "changed-bytes", r->changed_bytes);
    json_u64(&w, "bitmaps-marked", r->bitmaps_marked);
    json_u64(&w, "bitmaps-left", r->bitmaps_left);
    plan_write_json(&job->plan, job->args->common.dry_run, &w);
    json_end_object(&w);
    json_finish(&w);
}

static void print_text(const struct job *job)
{
    const struct qcbm_attach_reset *r = &job->r;
    bool dry = job->args->common.dry_run;

    if (r->entries == 0) {
        printf("nothing to reset: all entries are plain\n");
        return;
    }
    printf("%s %" PRIu64 " %s, %s of the disk; the guest %s other bytes in %s of it",
           dry ? "to be reset:" : "reset:", r->entries, r->entries == 1 ? "entry" : "entries",
           size_text(r->reset_bytes).text, dry ? "would see" : "sees", size_text(r->changed_bytes).text);
    if (r->bitmaps_marked)
        printf(", dirty now in %s", count_text(r->bitmaps_marked, "bitmap").text);
    putchar('\n');
    if (dry)
        plan_print(&job->plan, stdout);
}

int attach_reset(const struct attach_args *args)
{
    struct job job = { .args = args };
    int code;

    if (args->common.dry_run)
        common_shut_in(&args->common, !args->data, args->data);
    job.img = common_open(&args->common, common_writing(&args->common));
    if (!job.img)
        return EXIT_FAILED;
    code = reset(&job);
    if (code == EXIT_DONE && args->common.output == OUTPUT_JSON)
        print_json(&job);
    else if (code == EXIT_DONE && !args->common.quiet)
        print_text(&job);
    plan_clear(&job.plan);
    qcbm_edit_free(job.edit);
    qcbm_close(job.img);
    return code;
}
