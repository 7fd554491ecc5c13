/* cmd_attach_verify.c - qcbm attach --verify: does a metadata image show the raw disk as it is?
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cmd_attach.h"
#include "progress.h"
#include "qemu_text.h"

/* The answer comes when all of it is known. */
struct job {
    const struct attach_args *args;
    FILE *out;
    struct json_writer w;
};

static int on_finding(void *opaque, const struct qcbm_attach_finding *f)
{
    struct job *job = opaque;

    if (job->args->common.output == OUTPUT_JSON) {
        json_begin_object(&job->w, NULL);
        json_string(&job->w, "code", f->code);
        json_string(&job->w, "severity", f->fault ? "fault" : "warning");
        if (f->offset != QCBM_NO_OFFSET) {
            json_u64(&job->w, "offset", f->offset);
            json_u64(&job->w, "length", f->length);
        }
        json_bytes(&job->w, "message", f->message, strlen(f->message));
        json_string(&job->w, "cure", f->cure);
        json_end_object(&job->w);
        return ferror(job->out);
    }
    if (job->args->common.quiet)
        return 0;
    fprintf(job->out, "%s [%s] ", f->fault ? "FAULT" : "Warning", f->code);
    if (f->offset != QCBM_NO_OFFSET)
        fprintf(job->out, "offset 0x%" PRIx64 ", length 0x%" PRIx64 ": ", f->offset, f->length);
    print_escaped(job->out, f->message, strlen(f->message));
    fprintf(job->out, "\n    cure: %s\n", f->cure);
    return ferror(job->out);
}

static void end_json(struct job *job, uint64_t size, const struct qcbm_attach_verify_result *r)
{
    struct json_writer *w = &job->w;

    json_end_array(w);
    json_u64(w, "faults", r->faults);
    json_u64(w, "warnings", r->warnings);
    json_u64(w, "left-out", r->left_out);
    json_u64(w, "virtual-size", size);
    if (r->data_size == QCBM_UNKNOWN)
        json_null(w, "data-size");
    else
        json_u64(w, "data-size", r->data_size);
    json_u64(w, "zero-bytes", r->zero_bytes);
    json_u64(w, "zero-over-data-bytes", r->zero_over_data);
    json_end_object(w);
    json_finish(w);
}

static void end_text(const struct job *job, const struct qcbm_attach_verify_result *r)
{
    if (job->args->common.quiet)
        return;
    if (r->left_out)
        fprintf(job->out, "%s not listed\n", count_text(r->left_out, "more fault").text);
    if (r->faults)
        fprintf(job->out, "%s: the image does not show the raw disk as it is\n", count_text(r->faults, "fault").text);
    else
        fprintf(job->out, "the image shows the raw disk as it is; %s of it read as zeros by their entries\n",
                size_text(r->zero_bytes).text);
}

static int verify(struct job *job, struct qcbm_image *img, struct qcbm_attach_verify_result *r)
{
    const struct common_args *common = &job->args->common;
    struct qcbm_attach_verify_options options = QCBM_ATTACH_VERIFY_OPTIONS_INIT;
    struct progress shown = { .wanted = common->progress && !common->quiet };
    const struct qcbm_progress progress = progress_of(&shown);
    struct qcbm_error err;
    int ret;

    options.data = job->args->data;
    options.finding = on_finding;
    options.opaque = job;
    options.progress = &progress;
    ret = qcbm_attach_verify(img, &options, r, sizeof *r, &err);
    progress_end(&shown, ret == 0);
    if (ret == 0)
        return EXIT_DONE;
    cmd_lib_error(&err, "Could not verify '%s'", common->path);
    cmd_hint_at_sharing(&err, common_reading(common));
    return EXIT_FAILED;
}

static void begin_json(struct job *job)
{
    struct json_writer *w = &job->w;

    *w = (struct json_writer)JSON_WRITER_INIT(job->out);
    json_begin_object(w, NULL);
    json_string(w, "image", job->args->common.path);
    if (job->args->data)
        json_string(w, "data", job->args->data);
    json_begin_array(w, "findings");
}

static int verify_image(struct job *job, struct qcbm_image *img)
{
    bool json = job->args->common.output == OUTPUT_JSON;
    struct qcbm_attach_verify_result r;
    struct qcbm_image_info info;
    int code;

    if (json)
        begin_json(job);
    code = verify(job, img, &r);
    qcbm_image_get_info(img, &info, sizeof info);
    if (code != EXIT_DONE)
        return code;
    if (json)
        end_json(job, info.virtual_size, &r);
    else
        end_text(job, &r);
    return r.faults ? EXIT_NOT_GOOD : EXIT_DONE;
}

int attach_verify(const struct attach_args *args)
{
    struct job job = { .args = args };
    struct qcbm_image *img;
    char *text = NULL;
    size_t len;
    int code = EXIT_FAILED;

    common_shut_in(&args->common, !args->data, args->data);
    img = common_open(&args->common, common_reading(&args->common));
    if (!img)
        return EXIT_FAILED;
    job.out = open_memstream(&text, &len);
    if (!job.out) {
        qcbm_close(img);
        return cmd_error("no memory");
    }
    code = verify_image(&job, img);
    qcbm_close(img);
    if (fclose(job.out) != 0)
        code = cmd_error("no memory");
    if (code != EXIT_FAILED)
        fwrite(text, 1, len, stdout);
    free(text);
    return code;
}
