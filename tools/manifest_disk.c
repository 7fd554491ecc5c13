/* manifest_disk.c - what the files of qcbm manifest share: words for digests, a disk and its chain
 * SPDX-License-Identifier: MIT
 */
#include <string.h>
#include <time.h>

#include "cmd_manifest.h"
#include "remote.h"
#include "rows.h"

static const char *const names[] = { [QCBM_DIGEST_XXH3] = "xxh3", [QCBM_DIGEST_SHA256] = "sha256" };

const char *manifest_digest_name(unsigned digest)
{
    return digest < sizeof names / sizeof names[0] ? names[digest] : NULL;
}

unsigned manifest_digest_of(const char *name)
{
    for (unsigned i = 1; i < sizeof names / sizeof names[0]; i++) {
        if (strcmp(name, names[i]) == 0)
            return i;
    }
    return 0;
}

void manifest_prepare(void)
{
    (void)qcbm_digest_load(QCBM_DIGEST_SHA256, NULL);
}

/* Behind a server is a guest's disk, which may begin as a guest likes, or an image file: the bytes do not tell. */
static bool check_server_disk(const struct manifest_args *args)
{
    const char *path = args->common.path, *format;
    struct qcbm_error err;

    if (args->common.format || !uri_is_server(path) || cmd_try_probe(path, &format, &err) < 0 ||
        strcmp(format, "raw") == 0)
        return true;
    cmd_error(
        "Could not open '%s': it begins as an image of format %s does: -f raw takes it for the disk of a guest, -f "
        "qcow2 for an image",
        path, format);
    return false;
}

bool manifest_open_disk(const struct manifest_args *args, struct manifest_disk *to)
{
    const char *path = args->common.path;
    struct qcbm_error err;

    *to = (struct manifest_disk){ .chain = NULL };
    if (args->verify)
        common_is_finished(&args->common, common_reading(&args->common)); /* a new one is refused by the library */
    if (!check_server_disk(args))
        return false;
    if (!cmd_open_disk(path, args->common.format, common_reading(&args->common), &to->disk))
        return false;
    common_with_threads(&args->common, to->disk.img);
    if (!common_set_below(to->disk.img)) {
        cmd_close_disk(&to->disk);
        return false;
    }
    if (to->disk.raw) {
        to->chain = to->disk.raw;
        return true;
    }
    if (qcbm_chain_open(to->disk.img, &to->chain, &err) == 0)
        return true;
    cmd_lib_error(&err, "Could not open the backing chain of '%s'", path);
    cmd_hint_at_sharing(&err, common_reading(&args->common));
    return false;
}

void manifest_close_disk(struct manifest_disk *disk)
{
    if (disk->chain != disk->disk.raw)
        qcbm_chain_close(disk->chain);
    cmd_close_disk(&disk->disk);
}

static void id_row(struct rows *rows, const uint8_t *id)
{
    static const uint8_t none[16];
    char text[37], *at = text;

    if (memcmp(id, none, sizeof none) == 0)
        return;
    for (unsigned i = 0; i < 16; i++)
        at += snprintf(at, 4, "%s%02x", i == 4 || i == 6 || i == 8 || i == 10 ? "-" : "", id[i]);
    rows_string(rows, "image-id", text);
}

/* Seconds for programs, "2025-11-27T23:50:00Z" for people. */
static void time_row(struct rows *rows, int64_t seconds)
{
    time_t t = (time_t)seconds;
    char text[64];
    struct tm tm;

    if (!rows->json && gmtime_r(&t, &tm) && strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &tm) > 0)
        rows_string(rows, "time", text);
    else
        rows_u64(rows, "time", (uint64_t)seconds);
}

void manifest_rows(struct rows *rows, const struct qcbm_manifest_info *info)
{
    rows_string(rows, "format", info->format);
    rows_size(rows, "virtual-size", info->size);
    rows_size(rows, "granularity", info->granularity);
    rows_string(rows, "digest", manifest_digest_name(info->digest));
    rows_u64(rows, "granules", info->granules);
    if (info->zero_granules == QCBM_UNKNOWN)
        rows_unknown(rows, "zero-granules");
    else
        rows_u64(rows, "zero-granules", info->zero_granules);
    rows_size(rows, "file-size", info->file_size);
    if (info->time)
        time_row(rows, info->time);
    id_row(rows, info->image_id);
    if (info->text && info->text[0])
        rows_string(rows, "text", info->text);
}
