/* cmd_info_out.c - what qcbm info shows of one image, as text and JSON
 * SPDX-License-Identifier: MIT
 *
 * The order of lines and members is that of qemu-img 7.2 and 10.0.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cmd_info.h"
#include "qemu_text.h"
#include "rows.h"
#include "snapshots_out.h"
#include "uri.h"

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

/* Of an apply that is not over; else qemu-img's words and no others. */
/* Beside what is behind a server nothing is looked for. */
static bool is_unfinished(const char *path)
{
    return !uri_is_server(path) && qcbm_apply_check_finished(path, NULL) == QCBM_E_UNSAFE;
}

static void print_unfinished(const char *path)
{
    if (is_unfinished(path))
        print_field("delta applied in part", "yes");
}

static void write_unfinished(const char *path, struct json_writer *w)
{
    if (is_unfinished(path))
        json_bool(w, "delta-applied-in-part", true);
}

void info_print(const struct info *info)
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
    print_unfinished(info->path);
    if (image->tag)
        print_field("tag", image->tag);
    if (info->has_usage) {
        printf("Usage:\n");
        rows_usage(&rows, info);
    }
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

void info_write(struct json_writer *w, const struct info *info)
{
    const struct qcbm_image_info *image = &info->image;

    json_begin_object(w, NULL);
    file_node_write(w, &info->file);
    if (image->backing_file && image->backing_format)
        json_string(w, "backing-filename-format", image->backing_format);
    if (info->snapshots)
        snapshots_write(info->img, info->snapshots, "snapshots", w);
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
    write_unfinished(info->path, w);
    if (image->tag)
        json_string(w, "tag", image->tag);
    write_usage(w, info);
    json_end_object(w);
}

void info_show_raw(const struct qcbm_chain_layer *layer, struct json_writer *w)
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
        print_unfinished(layer->filename);
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
    write_unfinished(layer->filename, w);
    json_end_object(w);
}
