/* cmd_info.c - qcbm info: what qemu-img info prints for one qcow2 image
 * SPDX-License-Identifier: MIT
 *
 * Opens nothing that the image names, unless --backing-chain asks for it. The order of lines and members is that of
 * qemu-img 7.2 and 10.0.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "file_node.h"
#include "image_name.h"
#include "opt_parse.h"
#include "progress.h"
#include "qemu_text.h"
#include "rows.h"
#include "snapshots_out.h"

struct info_args {
    const char *path, *format;
    enum opt_output output;
    const char *object; /* without effect */
    bool image_opts, force_share, no_lock, no_sandbox, backing_chain, usage, progress;
};

static const struct opt info_opts[] = {
    OPT_COMMON_FILE(info_args),
    OPT_COMMON_FORMAT_OR_RAW(info_args),
    { "force-share", 'U', OPT_FLAG, offsetof(struct info_args, force_share), NULL, "read while a writer is active" },
    OPT_COMMON_OUTPUT(info_args),
    OPT_COMMON_NO_LOCK(info_args),
    OPT_COMMON_NO_SANDBOX(info_args),
    { "backing-chain", 0, OPT_FLAG, offsetof(struct info_args, backing_chain), NULL,
      "also show the images below it; opens them" },
    { "usage", 0, OPT_FLAG, offsetof(struct info_args, usage), NULL,
      "also show how much of the file is in use; reads all tables" },
    { "progress", 'p', OPT_FLAG, offsetof(struct info_args, progress), NULL, "with --usage: show progress on stderr" },
    OPT_COMMON_IMAGE_OPTS(info_args),
    OPT_END,
};

struct info {
    const char *path;
    struct qcbm_image *img;
    struct qcbm_image_info image;
    struct file_node file;
    uint32_t snapshots;
    struct qcbm_luks_info luks;
    bool has_luks;
    struct qcbm_image_usage usage;
    bool has_usage;
};

static const char *encryption_name(uint32_t method)
{
    return method == 1 ? "aes" : "luks";
}

static void rows_luks_slots(struct rows *r, const struct qcbm_luks_slot *slots)
{
    rows_list_begin(r, "slots");
    for (size_t i = 0; i < QCBM_LUKS_SLOTS; i++) {
        rows_begin(r, NULL);
        rows_bool(r, "active", slots[i].active);
        if (slots[i].active)
            rows_u64(r, "iters", slots[i].iterations);
        rows_u64(r, "key-offset", slots[i].key_offset);
        if (slots[i].active)
            rows_u64(r, "stripes", slots[i].stripes);
        rows_end(r);
    }
    rows_list_end(r);
}

static void rows_encrypt(struct rows *r, const struct info *info)
{
    const struct qcbm_luks_info *luks = info->has_luks ? &info->luks : NULL;

    rows_begin(r, "encrypt");
    if (luks) {
        rows_string(r, "ivgen-alg", luks->ivgen);
        rows_bool(r, "detached-header", false); /* within qcow2 it never is */
        rows_string(r, "hash-alg", luks->hash);
        rows_string(r, "cipher-alg", luks->cipher);
        rows_string(r, "uuid", luks->uuid);
        if (luks->ivgen_hash[0])
            rows_string(r, "ivgen-hash-alg", luks->ivgen_hash);
    }
    rows_string(r, "format", encryption_name(info->image.crypt_method));
    if (luks) {
        rows_string(r, "cipher-mode", luks->mode);
        rows_luks_slots(r, luks->slots);
        rows_u64(r, "payload-offset", luks->payload_offset);
        rows_u64(r, "master-key-iters", luks->iterations);
    }
    rows_end(r);
}

static void rows_bitmap(struct rows *r, const struct qcbm_bitmap_info *bitmap)
{
    rows_begin(r, NULL);
    rows_list_begin(r, "flags");
    if (bitmap->in_use)
        rows_string(r, NULL, "in-use");
    if (bitmap->enabled)
        rows_string(r, NULL, "auto");
    rows_list_end(r);
    rows_string(r, "name", bitmap->name);
    rows_u64(r, "granularity", bitmap->granularity);
    rows_end(r);
}

static void rows_bitmaps(struct rows *r, const struct info *info)
{
    struct qcbm_bitmap_info bitmap;

    if (info->image.bitmaps_stale || info->image.bitmap_count == 0)
        return; /* qemu drops stale ones when it opens the image */
    rows_list_begin(r, "bitmaps");
    for (uint32_t i = 0; i < info->image.bitmap_count; i++) {
        qcbm_bitmap_get(info->img, i, &bitmap, sizeof bitmap);
        rows_bitmap(r, &bitmap);
    }
    rows_list_end(r);
}

static void rows_format_specific(struct rows *r, const struct info *info)
{
    const struct qcbm_image_info *image = &info->image;
    bool v3 = image->version >= 3;
    bool has_data_file = image->incompatible_features & QCBM_INCOMPAT_DATA_FILE;

    rows_string(r, "compat", v3 ? "1.1" : "0.10");
    rows_string(r, "compression-type", image->compression_type == 1 ? "zstd" : "zlib");
    if (v3) {
        rows_bool(r, "lazy-refcounts", image->compatible_features & QCBM_COMPAT_LAZY_REFCOUNTS);
        rows_bitmaps(r, info);
    }
    rows_u64(r, "refcount-bits", image->refcount_bits);
    if (v3 && image->data_file)
        rows_string(r, "data-file", image->data_file);
    if (image->crypt_method != 0)
        rows_encrypt(r, info);
    if (!v3)
        return;
    if (has_data_file)
        rows_bool(r, "data-file-raw", image->autoclear_features & QCBM_AUTOCLEAR_RAW_DATA_FILE);
    rows_bool(r, "corrupt", image->incompatible_features & QCBM_INCOMPAT_CORRUPT);
    rows_bool(r, "extended-l2", image->incompatible_features & QCBM_INCOMPAT_EXTENDED_L2);
}

static void print_field(const char *key, const char *value)
{
    printf("%s: ", key);
    print_escaped(stdout, value, strlen(value));
    putchar('\n');
}

static void print_backing(const struct info *info)
{
    const char *name = info->image.backing_file;

    if (!name)
        return;
    printf("backing file: ");
    print_escaped(stdout, name, strlen(name));
    if (strcmp(name, info->image.full_backing) != 0) {
        printf(" (actual path: ");
        print_escaped(stdout, info->image.full_backing, strlen(info->image.full_backing));
        putchar(')');
    }
    putchar('\n');
    if (info->image.backing_format)
        print_field("backing file format", info->image.backing_format);
}

static void rows_figure(struct rows *r, const char *key, uint64_t value)
{
    if (value == QCBM_UNKNOWN)
        rows_unknown(r, key);
    else
        rows_u64(r, key, value);
}

static void rows_usage(struct rows *r, const struct info *info)
{
    rows_figure(r, "allocated-bytes", info->usage.allocated_bytes);
    rows_figure(r, "end-offset", info->usage.end_offset);
    rows_u64(r, "file-size", info->image.file_size);
    if (info->usage.why_unknown[0])
        rows_string(r, "why-unknown", info->usage.why_unknown);
}

static void print_text(const struct info *info)
{
    const struct qcbm_image_info *image = &info->image;
    uint64_t size = image->virtual_size & ~UINT64_C(511); /* qemu counts whole sectors */
    struct rows rows = ROWS_TEXT(stdout, 1);

    print_field("image", info->path);
    print_field("file format", "qcow2");
    printf("virtual size: %s (%" PRIu64 " bytes)\n", size_text(size).text, size);
    print_field("disk size", image->disk_size == QCBM_NO_OFFSET ? "unavailable" : size_text(image->disk_size).text);
    if (image->crypt_method != 0)
        print_field("encrypted", "yes");
    printf("cluster_size: %" PRIu32 "\n", image->cluster_size);
    if (image->incompatible_features & QCBM_INCOMPAT_DIRTY)
        print_field("cleanly shut down", "no");
    print_backing(info);
    snapshots_print(info->img, info->snapshots);
    printf("Format specific information:\n");
    rows_format_specific(&rows, info);
    file_node_print(&info->file);
    if (info->has_usage) {
        printf("Usage:\n");
        rows_usage(&rows, info);
    }
}

static void write_snapshot(struct json_writer *w, const struct qcbm_snapshot_info *s)
{
    json_begin_object(w, NULL);
    if (s->icount != UINT64_MAX)
        json_u64(w, "icount", s->icount);
    json_u64(w, "vm-clock-nsec", s->vm_clock_nsec % 1000000000);
    json_string(w, "name", s->name);
    json_u64(w, "date-sec", s->date_sec);
    json_u64(w, "date-nsec", s->date_nsec);
    json_u64(w, "vm-clock-sec", s->vm_clock_nsec / 1000000000);
    json_string(w, "id", s->id);
    json_u64(w, "vm-state-size", s->vm_state_size);
    json_end_object(w);
}

static void write_snapshots(struct json_writer *w, const struct info *info)
{
    struct qcbm_snapshot_info snapshot;

    if (info->snapshots == 0)
        return;
    json_begin_array(w, "snapshots");
    for (uint32_t i = 0; i < info->snapshots; i++) {
        qcbm_snapshot_get(info->img, i, &snapshot, sizeof snapshot);
        write_snapshot(w, &snapshot);
    }
    json_end_array(w);
}

static void write_format_specific(struct json_writer *w, const struct info *info)
{
    struct rows rows = ROWS_JSON(w);

    json_begin_object(w, "format-specific");
    json_string(w, "type", "qcow2");
    json_begin_object(w, "data");
    rows_format_specific(&rows, info);
    json_end_object(w);
    json_end_object(w);
}

static void write_usage(struct json_writer *w, const struct info *info)
{
    struct rows rows = ROWS_JSON(w);

    if (!info->has_usage)
        return;
    json_begin_object(w, "usage");
    rows_usage(&rows, info);
    json_end_object(w);
}

static void write_json(struct json_writer *w, const struct info *info)
{
    const struct qcbm_image_info *image = &info->image;

    json_begin_object(w, NULL);
    file_node_write(w, &info->file);
    if (image->backing_file && image->backing_format)
        json_string(w, "backing-filename-format", image->backing_format);
    write_snapshots(w, info);
    json_u64(w, "virtual-size", image->virtual_size & ~UINT64_C(511));
    json_string(w, "filename", info->path);
    json_u64(w, "cluster-size", image->cluster_size);
    json_string(w, "format", "qcow2");
    if (image->disk_size != QCBM_NO_OFFSET)
        json_u64(w, "actual-size", image->disk_size);
    write_format_specific(w, info);
    if (image->backing_file) {
        json_string(w, "full-backing-filename", info->image.full_backing);
        json_string(w, "backing-filename", image->backing_file);
    }
    if (image->crypt_method != 0)
        json_bool(w, "encrypted", true);
    json_bool(w, "dirty-flag", image->incompatible_features & QCBM_INCOMPAT_DIRTY);
    write_usage(w, info);
    json_end_object(w);
}

/* A bad entry, with which qemu-img does not open the image, does not keep the rest from being shown. */
static void collect_snapshots(struct info *info)
{
    struct qcbm_error err;

    if (qcbm_snapshots_load(info->img, &info->snapshots, &err) == 0)
        return;
    cmd_warning("%s: %s (at offset 0x%" PRIx64 "); %" PRIu32 " of %" PRIu32 " snapshots are shown", info->path,
                err.message, err.offset, info->snapshots, info->image.snapshot_count);
}

enum { MAX_TOLD = 20 };

/* One line on stderr for what is wrong; false when there have been enough. */
static bool warn_of(const struct info *info, uint32_t *told, const char *what, const char *message, uint64_t offset)
{
    if (*told == MAX_TOLD)
        return false;
    if (offset == QCBM_NO_OFFSET)
        cmd_warning("%s: %s%s", info->path, what, message);
    else
        cmd_warning("%s: %s%s (at offset 0x%" PRIx64 ")", info->path, what, message, offset);
    if (++*told == MAX_TOLD)
        cmd_warning("%s: qcbm bitmap --list shows what else is wrong", info->path);
    return true;
}

/* Tables that QEMU reads when it opens the image, and refuses it for. */
static void warn_of_tables(const struct info *info, uint32_t *told)
{
    for (uint32_t i = 0; i < info->image.bitmap_count; i++) {
        struct qcbm_bitmap_info bitmap;
        struct qcbm_error err;
        char *what = NULL;
        bool more = true;

        qcbm_bitmap_get(info->img, i, &bitmap, sizeof bitmap);
        if (!bitmap.usable || qcbm_bitmap_check_table(info->img, i, &err) == 0)
            continue;
        if (asprintf(&what, "bitmap '%s': ", bitmap.name) >= 0)
            more = warn_of(info, told, what, err.message, err.offset);
        free(what);
        if (!more)
            return;
    }
}

/* Bad bitmaps, with which qemu-img does not open the image, are told on stderr. That a bitmap is in use is among the
 * flags already. */
static void warn_of_findings(const struct info *info)
{
    uint32_t count = qcbm_finding_count(info->img), told = 0;
    struct qcbm_finding f;

    for (uint32_t i = 0; i < count; i++) {
        qcbm_finding_get(info->img, i, &f, sizeof f);
        if (f.problem->id != QCBM_PROBLEM_BITMAP_IN_USE && !warn_of(info, &told, "", f.message, f.offset))
            return;
    }
    warn_of_tables(info, &told);
}

static int collect_usage(struct info *info, struct progress *progress)
{
    const struct qcbm_progress told = progress_of(progress);
    struct qcbm_error err;
    int ret = qcbm_image_usage(info->img, &info->usage, sizeof info->usage, &told, &err);

    progress_end(progress, ret == 0);
    if (ret < 0)
        return cmd_lib_error(&err, "Could not read the refcounts of '%s'", info->path);
    info->has_usage = true;
    return EXIT_DONE;
}

static void collect_luks(struct info *info)
{
    struct qcbm_error err;

    if (info->image.crypt_method != 2)
        return;
    info->has_luks = qcbm_image_luks(info->img, &info->luks, sizeof info->luks, &err) == 0;
    if (!info->has_luks)
        cmd_warning("%s: %s", info->path, err.message);
}

static int collect(struct info *info, const struct info_args *args)
{
    const struct qcbm_image_info *image = &info->image;

    qcbm_image_get_info(info->img, &info->image, sizeof info->image);
    info->file =
        (struct file_node){ info->path, image->file_size, image->disk_size, image->extent_size_hint, image->is_device };
    collect_snapshots(info);
    collect_luks(info);
    warn_of_findings(info);
    return args->usage ? collect_usage(info, &(struct progress){ .wanted = args->progress }) : EXIT_DONE;
}

/* One image: @w is NULL for text. */
static int show_image(struct qcbm_image *img, const char *path, const struct info_args *args, struct json_writer *w)
{
    struct info info = { .path = path, .img = img };
    int code = collect(&info, args);

    if (code == EXIT_DONE && w)
        write_json(w, &info);
    else if (code == EXIT_DONE)
        print_text(&info);
    return code;
}

static void show_raw(const struct qcbm_chain_layer *layer, struct json_writer *w)
{
    struct file_node file = { layer->filename, layer->file_size, layer->disk_size, layer->extent_size_hint,
                              layer->is_device };
    bool known = layer->disk_size != QCBM_NO_OFFSET;

    if (!w) {
        print_field("image", layer->filename);
        print_field("file format", layer->format);
        printf("virtual size: %s (%" PRIu64 " bytes)\n", size_text(layer->virtual_size).text, layer->virtual_size);
        print_field("disk size", known ? size_text(layer->disk_size).text : "unavailable");
        file_node_print(&file);
        return;
    }
    json_begin_object(w, NULL);
    file_node_write(w, &file);
    json_u64(w, "virtual-size", layer->virtual_size);
    json_string(w, "filename", layer->filename);
    json_string(w, "format", layer->format);
    if (known)
        json_u64(w, "actual-size", layer->disk_size);
    json_bool(w, "dirty-flag", false);
    json_end_object(w);
}

static int show_layers(struct qcbm_chain *chain, const char *path, const struct info_args *args, struct json_writer *w)
{
    int code = EXIT_DONE;

    for (uint32_t i = 0; code == EXIT_DONE && i < qcbm_chain_count(chain); i++) {
        struct qcbm_chain_layer layer;
        struct qcbm_error err;

        if (qcbm_chain_get(chain, i, &layer, sizeof layer, &err) < 0)
            return cmd_lib_error(&err, "Could not read '%s'", path);
        if (i > 0 && !w)
            putchar('\n');
        if (layer.image)
            code = show_image(layer.image, layer.filename, args, w);
        else
            show_raw(&layer, w);
    }
    return code;
}

static int show_chain(struct qcbm_image *img, const char *path, const struct info_args *args, struct json_writer *w)
{
    struct qcbm_chain *chain;
    struct qcbm_error err;

    if (qcbm_chain_open(img, &chain, &err) < 0)
        return cmd_lib_error(&err, "Could not open the backing chain of '%s'", path);
    if (w)
        json_begin_array(w, NULL);
    int code = show_layers(chain, path, args, w);
    if (w)
        json_end_array(w);
    qcbm_chain_close(chain);
    return code;
}

/* A raw image has nothing below it. */
static int show_raw_image(struct qcbm_chain *raw, const struct info_args *args, struct json_writer *w)
{
    bool array = w && args->backing_chain;
    int code;

    if (args->usage)
        return cmd_error("--usage is for qcow2 images: '%s' is raw", args->path);
    if (array)
        json_begin_array(w, NULL);
    code = show_layers(raw, args->path, false, w);
    if (array)
        json_end_array(w);
    return code;
}

static int show(const struct cmd_disk *disk, const struct info_args *args, struct json_writer *w)
{
    if (disk->raw)
        return show_raw_image(disk->raw, args, w);
    return (args->backing_chain ? show_chain : show_image)(disk->img, args->path, args, w);
}

static int run_info(const struct cmd *cmd, int argc, char **argv)
{
    struct json_writer json = JSON_WRITER_INIT(stdout);
    struct info_args args = { 0 };
    enum opt_result parsed = opt_parse(cmd, argc, argv, &args);
    struct json_writer *w = args.output == OUTPUT_JSON ? &json : NULL;
    struct cmd_disk disk;

    if (parsed != OPT_GO_ON)
        return parsed == OPT_HELP_SHOWN ? EXIT_DONE : EXIT_FAILED;
    if (!image_name_take(&args.path, &args.format, args.image_opts))
        return EXIT_FAILED;
    unsigned flags =
        QCBM_OPEN_INFO | (args.force_share ? QCBM_OPEN_FORCE_SHARE : 0) | (args.no_lock ? QCBM_OPEN_NO_LOCK : 0);
    cmd_shut_in(args.no_sandbox, args.backing_chain, args.path, NULL);
    if (!cmd_open_disk(args.path, args.format, flags, &disk))
        return EXIT_FAILED;
    int code = show(&disk, &args, w);
    if (code == EXIT_DONE && w)
        json_finish(w);
    cmd_close_disk(&disk);
    return code;
}

const struct cmd cmd_info = { "info", NULL, "Show what qemu-img info shows for an image.", info_opts, run_info, NULL };
