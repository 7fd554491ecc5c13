/* cmd_manifest_verify.c - qcbm manifest --verify, --info: a disk compared with a manifest; what a manifest says of
 * itself
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>

#include "cmd_manifest.h"
#include "progress.h"
#include "qemu_text.h"
#include "rows.h"

struct verify {
    const struct manifest_args *args;
    struct qcbm_manifest *manifest;
    struct manifest_disk disk;
    struct json_writer json;
    bool begun; /* a line of text is out */
};

/* ---- ranges, as they are found ------------------------------------------------------------------------- */

static int print_range(void *opaque, const struct qcbm_manifest_range *r)
{
    struct verify *v = opaque;

    if (v->args->common.output == OUTPUT_HUMAN) {
        if (v->args->common.quiet)
            return 0;
        if (!v->begun)
            printf("%-16s%-16s%s\n", "Offset", "Length", "What");
        v->begun = true;
        printf("0x%-14" PRIx64 "0x%-14" PRIx64 "%s\n", r->offset, r->length,
               r->unreadable ? "cannot be read" : "differs");
        return ferror(stdout);
    }
    json_begin_object(&v->json, NULL);
    json_u64(&v->json, "offset", r->offset);
    json_u64(&v->json, "length", r->length);
    json_bool(&v->json, "unreadable", r->unreadable);
    json_end_object(&v->json);
    return ferror(stdout);
}

/* The JSON is whole also where the comparison was not: then it says so. */
static void write_end(struct verify *v, const struct qcbm_manifest_info *info, const struct qcbm_manifest_result *r)
{
    json_end_array(&v->json);
    json_bool(&v->json, "complete", r != NULL);
    if (r) {
        json_bool(&v->json, "equal", r->equal);
        json_u64(&v->json, "different-bytes", r->different_bytes);
        json_u64(&v->json, "unreadable-bytes", r->unreadable_bytes);
        json_u64(&v->json, "virtual-size", r->disk_size);
        json_u64(&v->json, "manifest-size", info->size);
        json_u64(&v->json, "granularity", info->granularity);
        json_string(&v->json, "digest", manifest_digest_name(info->digest));
    }
    json_end_object(&v->json);
    json_finish(&v->json);
}

static void print_end(const struct verify *v, const struct qcbm_manifest_info *info,
                      const struct qcbm_manifest_result *r)
{
    if (v->args->common.quiet)
        return;
    if (r->equal) {
        printf("verify: equal: all %s are what the manifest has\n", size_text(r->disk_size).text);
        return;
    }
    printf("verify: not equal: %s in granules of %s", size_text(r->different_bytes).text,
           size_text(info->granularity).text);
    if (r->unreadable_bytes)
        printf(", of which %s cannot be read", size_text(r->unreadable_bytes).text);
    if (r->disk_size != info->size)
        printf("; the disk has %" PRIu64 " bytes, that of the manifest %" PRIu64, r->disk_size, info->size);
    putchar('\n');
}

/* ---- the comparison ------------------------------------------------------------------------------------ */

static int compare(struct verify *v)
{
    struct qcbm_manifest_options options = QCBM_MANIFEST_OPTIONS_INIT;
    struct progress progress = { .wanted = v->args->common.progress && !v->args->common.quiet };
    const struct qcbm_progress told = progress_of(&progress);
    bool json = v->args->common.output == OUTPUT_JSON;
    struct qcbm_manifest_result result;
    struct qcbm_manifest_info info;
    struct qcbm_error err;
    int ret;

    qcbm_manifest_get_info(v->manifest, &info, sizeof info);
    options.threads = (unsigned)(v->args->common.threads < 64 ? v->args->common.threads : 64);
    options.progress = &told;
    if (json) {
        json_begin_object(&v->json, NULL);
        json_string(&v->json, "image", v->args->common.path);
        json_string(&v->json, "manifest", v->args->verify);
        json_begin_array(&v->json, "ranges");
    }
    ret = qcbm_manifest_verify(v->manifest, v->disk.chain, &options, print_range, v, &result, sizeof result, &err);
    progress_end(&progress, ret == 0);
    if (json)
        write_end(v, &info, ret == 0 ? &result : NULL);
    if (ret < 0)
        return cmd_lib_error(&err, "Could not compare '%s' with '%s'", v->args->common.path, v->args->verify);
    if (!json)
        print_end(v, &info, &result);
    return result.equal ? EXIT_DONE : EXIT_DIFFERENT;
}

static struct qcbm_manifest *open_manifest(const char *path)
{
    struct qcbm_manifest *manifest = NULL;
    struct qcbm_error err;

    if (qcbm_manifest_open(path, &manifest, &err) < 0)
        cmd_lib_error(&err, "Could not open '%s'", path);
    return manifest;
}

int manifest_verify(const struct manifest_args *args)
{
    struct verify v = { .args = args, .json = JSON_WRITER_INIT(stdout) };
    int code = EXIT_FAILED;

    manifest_prepare();
    common_shut_in(&args->common, true, NULL);
    v.manifest = open_manifest(args->verify);
    if (v.manifest && manifest_open_disk(args, &v.disk))
        code = compare(&v);
    manifest_close_disk(&v.disk);
    qcbm_manifest_close(v.manifest);
    return code;
}

/* ---- info ---------------------------------------------------------------------------------------------- */

int manifest_info(const struct manifest_args *args)
{
    struct json_writer w = JSON_WRITER_INIT(stdout);
    bool json = args->common.output == OUTPUT_JSON;
    struct rows as_text = ROWS_TEXT(stdout, 0), as_json = ROWS_JSON(&w), *rows = json ? &as_json : &as_text;
    struct qcbm_manifest *manifest;
    struct qcbm_manifest_info info;

    manifest_prepare();
    cmd_shut_in(args->common.no_sandbox, false, args->info, NULL);
    manifest = open_manifest(args->info);
    if (!manifest)
        return EXIT_FAILED;
    qcbm_manifest_get_info(manifest, &info, sizeof info);
    if (json)
        json_begin_object(&w, NULL);
    rows_string(rows, "filename", args->info);
    manifest_rows(rows, &info);
    if (json) {
        json_end_object(&w);
        json_finish(&w);
    }
    qcbm_manifest_close(manifest);
    return EXIT_DONE;
}
