/* cmd_measure.c - qcbm measure: how large a copy of an image would be, as qemu-img measure prints it
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common_args.h"
#include "json_write.h"
#include "measure_bitmap.h"
#include "opt_parse.h"
#include "progress.h"
#include "qemu_text.h"

struct measure_args {
    struct common_args common;
    const char *surplus, *target;
    struct opt_actions options; /* each -o: qemu-img takes them together */
    uint64_t size;
    bool bitmap;
};
COMMON_ARGS_FIRST(struct measure_args);

static const struct opt measure_opts[] = {
    OPT_ROW(struct measure_args, NULL, 0, OPT_ARG_PERHAPS, common.path, "FILE", "one image file name"),
    OPT_ROW(struct measure_args, NULL, 0, OPT_ARG_SURPLUS, surplus, NULL, NULL),
    OPT_COMMON_FORMAT_OR_RAW,
    OPT_ROW(struct measure_args, NULL, 'O', OPT_STRING, target, "FMT", "format of the copy: raw (default) or qcow2"),
    OPT_ROW(struct measure_args, NULL, 'o', OPT_ACTION, options, "OPTIONS",
            "of a qcow2 copy, separated by commas: cluster_size=, refcount_bits=,\n"
            "compat=, extended_l2=, lazy_refcounts=, preallocation=, compression_type="),
    OPT_ROW(struct measure_args, "size", 0, OPT_SIZE, size, "N", "measure a new, empty image of this size"),
    OPT_ROW(
        struct measure_args, "bitmap", 0, OPT_FLAG, bitmap, NULL,
        "what metadata images of such a raw disk take (qcbm attach),\nand bitmaps in an image with -o cluster_size="),
    OPT_COMMON_FORCE_SHARE,
    OPT_COMMON_PROGRESS,
    OPT_COMMON_OUTPUT,
    OPT_COMMON_BELOW,
    OPT_COMMON_NO_LOCK,
    OPT_COMMON_NO_SANDBOX,
    OPT_NOT_HERE('l', "SNAPSHOT", "qcbm measures the active state only"),
    OPT_COMMON_IMAGE_OPTS,
    OPT_END,
};

/* ---- -o ---- */

static bool take_size(const char *value, uint32_t *out)
{
    uint64_t size;

    if (size_parse(value, &size) != SIZE_OK || size == 0 || size > UINT32_MAX)
        return false;
    *out = (uint32_t)size;
    return true;
}

static bool is_one_of(const char *value, const char *a, const char *b)
{
    return strcmp(value, a) == 0 || strcmp(value, b) == 0;
}

/* One KEY=VALUE; false if qcbm does not know it. */
static bool take_option(const char *key, const char *value, struct qcbm_measure_options *to)
{
    if (strcmp(key, "cluster_size") == 0)
        return take_size(value, &to->cluster_size);
    if (strcmp(key, "refcount_bits") == 0)
        return take_size(value, &to->refcount_bits);
    if (strcmp(key, "compat") == 0) {
        to->version = strcmp(value, "0.10") == 0 ? 2 : 3;
        return is_one_of(value, "0.10", "1.1");
    }
    if (strcmp(key, "extended_l2") == 0) {
        to->extended_l2 = strcmp(value, "on") == 0;
        return is_one_of(value, "on", "off");
    }
    if (strcmp(key, "lazy_refcounts") == 0)
        return is_one_of(value, "on", "off");
    if (strcmp(key, "compression_type") == 0)
        return is_one_of(value, "zlib", "zstd");
    if (strcmp(key, "preallocation") == 0) {
        to->flags = is_one_of(value, "falloc", "full") ? QCBM_MEASURE_PREALLOCATED : 0;
        return is_one_of(value, "off", "metadata") || is_one_of(value, "falloc", "full");
    }
    return false;
}

static bool parse_options(const char *text, struct qcbm_measure_options *to)
{
    char *copy = strdup(text), *rest = copy;
    bool good = copy != NULL;

    for (char *key; good && (key = strsep(&rest, ",")) != NULL;) {
        char *value = strchr(key, '=');

        if (value)
            *value++ = '\0';
        good = value && take_option(key, value, to);
        if (!good)
            cmd_error("Invalid option '%s%s%s' of -o", key, value ? "=" : "", value ? value : "");
    }
    free(copy);
    return good;
}

/* ---- output ---- */

static void print_measure(const struct qcbm_measure *m, enum opt_output output)
{
    struct json_writer w = JSON_WRITER_INIT(stdout);

    if (output == OUTPUT_HUMAN) {
        printf("required size: %" PRIu64 "\nfully allocated size: %" PRIu64 "\n", m->required, m->fully_allocated);
        if (m->has_bitmaps)
            printf("bitmaps size: %" PRIu64 "\n", m->bitmaps);
        return;
    }
    json_begin_object(&w, NULL);
    if (m->has_bitmaps)
        json_u64(&w, "bitmaps", m->bitmaps);
    json_u64(&w, "required", m->required);
    json_u64(&w, "fully-allocated", m->fully_allocated);
    json_end_object(&w);
    json_finish(&w);
}

/* A raw file is as long as the disk, in whole sectors. */
static int measure_raw(const struct cmd_disk *disk, const struct measure_args *args)
{
    struct qcbm_measure m = { 0 };
    uint64_t size = disk->img || disk->raw ? cmd_disk_size(disk) : args->size;

    m.required = m.fully_allocated = (size + 511) & ~UINT64_C(511);
    print_measure(&m, args->common.output);
    return EXIT_DONE;
}

static int measure_bitmaps(const struct cmd_disk *disk, const struct measure_args *args)
{
    struct qcbm_measure_options options = QCBM_MEASURE_OPTIONS_INIT;
    uint64_t size = disk->img || disk->raw ? cmd_disk_size(disk) : args->size;

    for (size_t i = 0; i < args->options.count; i++) {
        if (!parse_options(args->options.list[i].value, &options))
            return EXIT_FAILED;
    }
    return measure_bitmap_out(size, options.cluster_size ? options.cluster_size : 65536, args->common.output);
}

static int measure_qcow2(const struct cmd_disk *disk, const struct measure_args *args, const char *path)
{
    struct qcbm_measure_options options = QCBM_MEASURE_OPTIONS_INIT;
    struct progress progress = { .wanted = args->common.progress };
    const struct qcbm_progress told = progress_of(&progress);
    struct qcbm_measure m;
    struct qcbm_error err;
    int ret;

    for (size_t i = 0; i < args->options.count; i++) {
        if (!parse_options(args->options.list[i].value, &options))
            return EXIT_FAILED;
    }
    options.flags |= args->common.force_share ? QCBM_MEASURE_FORCE_SHARE : 0;
    options.progress = &told;
    ret = disk->raw ? qcbm_chain_measure(disk->raw, &options, &m, sizeof m, &err)
                    : qcbm_measure(disk->img, args->size, &options, &m, sizeof m, &err);
    progress_end(&progress, ret == 0);
    if (ret < 0)
        return path ? cmd_lib_error(&err, "Could not measure '%s'", path) : cmd_error("%s", err.message);
    print_measure(&m, args->common.output);
    cmd_warn_of_lost_tables(disk->img, path);
    return EXIT_DONE;
}

/* What cannot go together, in qemu-img's words. */
static int check_args(const struct measure_args *args)
{
    if (args->surplus)
        return cmd_error("At most one filename argument is allowed.");
    if (!args->common.path && (args->common.format || args->common.image_opts))
        return cmd_error("--image-opts, -f, and -l require a filename argument.");
    if (!args->common.path && args->size == UINT64_MAX)
        return cmd_error("Either --size N or one filename must be specified.");
    if (args->common.path && args->size != UINT64_MAX)
        return cmd_error("--size N cannot be used together with a filename.");
    if (!args->common.path && args->common.below)
        return cmd_error("--below goes with a filename: a new image has no layers below it");
    if (strcmp(args->target, "raw") != 0 && strcmp(args->target, "qcow2") != 0)
        return cmd_error("Unknown file format '%s'", args->target);
    if (args->options.count > 0 && strcmp(args->target, "raw") == 0 && !args->bitmap)
        return cmd_error("-o is for -O qcow2 only");
    return EXIT_DONE;
}

static int measure(const struct measure_args *args)
{
    const char *path = args->common.path;
    struct cmd_disk disk = { NULL, NULL };

    common_shut_in(&args->common, true, NULL);
    if (path && !common_open_disk(&args->common, common_reading(&args->common), &disk))
        return EXIT_FAILED;
    int code = args->bitmap                       ? measure_bitmaps(&disk, args)
               : strcmp(args->target, "raw") == 0 ? measure_raw(&disk, args)
                                                  : measure_qcow2(&disk, args, path);
    cmd_close_disk(&disk);
    return code;
}

static int run_measure(const struct cmd *cmd, int argc, char **argv)
{
    struct measure_args args = { .target = "raw", .size = UINT64_MAX };
    int code = opt_parse(cmd, argc, argv, &args);

    if (code == OPT_GO_ON) {
        code = check_args(&args);
        if (code == EXIT_DONE)
            code = common_take_name_or_uri(&args.common) ? measure(&args) : EXIT_FAILED;
    }
    free(args.options.list);
    return code;
}

const struct cmd cmd_measure = { "measure",    "(FILE | --size=N)", "Tell how large a copy of an image would be.",
                                 measure_opts, run_measure,         NULL };
