/* cmd_bitmap_transfer.c - qcbm bitmap --export and --import: a bitmap in a file of its own
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd_bitmap.h"
#include "extents_out.h"
#include "extents_read.h"
#include "qemu_text.h"

static bool is_std(const char *file)
{
    return strcmp(file, "-") == 0;
}

static bool is_format(const struct bitmap_args *args, const char *format)
{
    return strcmp(args->file_format ? args->file_format : "qcbm", format) == 0;
}

/* ---- export -------------------------------------------------------------------------------------------- */

struct out {
    FILE *file; /* NULL in a dry run */
    uint64_t bytes;
    struct progress progress;
    uint64_t expected; /* bytes, about */
    int lost;          /* errno of a failed write */
    bool ours;         /* a file that we have made */
    bool to_std;       /* to stdout */
    char *target,
        *temporary; /* of a file of ours; temporary: what it is called until it is complete, if it replaces one */
};

static int write_out(void *opaque, const void *bytes, size_t len)
{
    struct out *out = opaque;

    out->bytes += len;
    progress_show(&out->progress, out->bytes < out->expected ? out->bytes : out->expected, out->expected);
    if (!out->file || fwrite(bytes, 1, len, out->file) == len)
        return 0;
    out->lost = errno ? errno : EIO;
    return 1;
}

/* A new file, or one beside the file that it will replace: until all of the new one is durable the old one is there. */
static int create_out(const char *name, const struct stat *old, struct out *out)
{
    char *target = old ? realpath(name, NULL) : strdup(name); /* what a link leads to, not the link */
    size_t len = target ? strlen(target) : 0;
    int fd = -1;

    out->temporary = old && target ? malloc(len + sizeof ".XXXXXX") : NULL;
    if (out->temporary) {
        memcpy(out->temporary, target, len);
        memcpy(out->temporary + len, ".XXXXXX", sizeof ".XXXXXX");
        fd = mkostemp(out->temporary, O_CLOEXEC);
        if (fd >= 0)
            (void)!fchmod(fd, old->st_mode & 0777); /* else it is for its owner alone */
    } else if (target && !old) {
        fd = open(name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
    }
    out->target = target;
    return fd;
}

static bool is_named(const char *path, const char *named, const char *name)
{
    bool file = named && strncmp(named, "file:", 5) == 0; /* then relative to the working directory */
    char *full = !named ? NULL : file ? strdup(named + 5) : cmd_full_name(path, named);
    bool same = full && cmd_same_file(full, name);

    free(full);
    return same;
}

static bool is_qcow2(const char *name)
{
    FILE *f = fopen(name, "rb");
    char magic[4] = "";
    bool is = f && fread(magic, 1, sizeof magic, f) == sizeof magic && memcmp(magic, "QFI\xfb", sizeof magic) == 0;

    if (f)
        fclose(f);
    return is;
}

/* Somebody's disk, which --force does not mean. */
static const char *disk(struct qcbm_image *img, const char *path, const char *name)
{
    struct qcbm_image_info info;

    qcbm_image_get_info(img, &info, sizeof info);
    return cmd_same_file(name, path)                 ? "the image itself"
           : is_named(path, info.data_file, name)    ? "the image's data file"
           : is_named(path, info.backing_file, name) ? "the image's backing file"
           : is_qcow2(name)                          ? "a qcow2 image"
                                                     : NULL;
}

/* A regular file is replaced only with --force, and never if it is a disk. */
static int open_out(const struct bitmap_args *args, struct qcbm_image *img, const char *path, struct out *out)
{
    const char *name = args->export_to;
    struct stat st;
    bool there = stat(name, &st) == 0, regular = there && S_ISREG(st.st_mode);
    const char *what;
    int fd;

    out->to_std = is_std(name);
    if (out->to_std) {
        out->file = args->dry_run ? NULL : stdout;
        return EXIT_DONE;
    }
    what = regular || (there && S_ISBLK(st.st_mode)) ? disk(img, path, name) : NULL;
    if (what)
        return cmd_error("'%s' is %s: it is not replaced", name, what);
    if (regular && !args->force)
        return cmd_error("'%s' is there already; --force replaces it", name);
    if (args->dry_run)
        return EXIT_DONE;
    fd = there && !regular ? open(name, O_WRONLY | O_CLOEXEC) : create_out(name, there ? &st : NULL, out);
    out->file = fd < 0 ? NULL : fdopen(fd, "wb");
    out->ours = fd >= 0 && (regular || !there);
    if (out->file)
        return EXIT_DONE;
    cmd_error("Could not open '%s': %s", name, strerror(errno));
    if (fd >= 0)
        close(fd);
    return EXIT_FAILED;
}

/* The entry of a file in its folder. EINVAL: nothing to be synced on this file system. */
static int sync_folder(const char *file)
{
    char *copy = strdup(file);
    int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    int error = fd < 0 || (fsync(fd) != 0 && errno != EINVAL) ? errno : 0;

    if (fd >= 0)
        close(fd);
    free(copy);
    return error;
}

/* All of it durable, or nothing that could be taken for it. */
static int close_out(const char *name, struct out *out, int code)
{
    int error = 0;

    if (out->file && code == EXIT_DONE && fflush(out->file) != 0)
        error = errno;
    if (out->ours && code == EXIT_DONE && !error && fsync(fileno(out->file)) != 0)
        error = errno;
    if (out->file && !out->to_std && fclose(out->file) != 0 && !error)
        error = errno;
    if (out->temporary && code == EXIT_DONE && !error && rename(out->temporary, out->target) != 0)
        error = errno;
    if (code == EXIT_DONE && !error && out->ours)
        error = sync_folder(out->target);
    if (code == EXIT_DONE && error)
        code = cmd_error("could not write '%s': %s", name, strerror(error));
    if (code != EXIT_DONE && out->ours)
        unlink(out->temporary ? out->temporary : name);
    free(out->temporary);
    free(out->target);
    return code;
}

static int write_extents(const struct bitmap_args *args, struct qcbm_image *img, const char *name, struct out *out,
                         struct qcbm_error *err)
{
    unsigned flags = args->force_share ? QCBM_EXTENTS_FORCE_SHARE : 0;
    struct extents_out to = { .json = true, .flags = flags, .progress = out->progress };
    int ret;

    to.out = out->file ? out->file : fopen("/dev/null", "w");
    if (!to.out)
        return bitmap_fail(err, QCBM_E_IO, "could not open '/dev/null': %s", strerror(errno));
    ret = extents_print(&to, img, name, err);
    out->lost = to.lost;
    if (!out->file)
        fclose(to.out);
    return ret;
}

/* The bits of bitmap @name, in bytes. */
static uint64_t bits_size(struct qcbm_image *img, const char *name)
{
    struct qcbm_image_info info;
    struct qcbm_bitmap_info b;

    qcbm_image_get_info(img, &info, sizeof info);
    for (uint32_t i = 0; i < info.bitmap_count; i++) {
        qcbm_bitmap_get(img, i, &b, sizeof b);
        if (strcmp(b.name, name) == 0 && b.granularity)
            return info.virtual_size / b.granularity / 8 + 1;
    }
    return 1;
}

static int export_to(const struct bitmap_args *args, struct qcbm_image *img, const char *path, const char *name,
                     struct out *out)
{
    struct qcbm_error err;
    int ret;

    out->progress.wanted = args->progress && !args->quiet;
    out->expected = bits_size(img, name);
    if (is_format(args, "json"))
        ret = write_extents(args, img, name, out, &err);
    else
        ret = qcbm_bitmap_export(img, name, is_format(args, "raw") ? QCBM_TRANSFER_RAW : QCBM_TRANSFER_QCBM, write_out,
                                 out, &err);
    progress_end(&out->progress, ret == 0);
    if (ret == 0)
        return EXIT_DONE;
    if (out->lost)
        return cmd_error("could not write '%s': %s", args->export_to, strerror(out->lost));
    return cmd_lib_error(&err, "Could not export bitmap '%s' of '%s'", name, path);
}

static void tell_export(const struct bitmap_args *args, const char *path, const char *name)
{
    struct json_writer w = JSON_WRITER_INIT(stdout);

    if (args->output == OUTPUT_HUMAN) {
        printf("export: '");
        print_escaped(stdout, name, strlen(name));
        printf("' to '");
        print_escaped(stdout, args->export_to, strlen(args->export_to));
        printf("'\n");
        return;
    }
    json_begin_object(&w, NULL);
    json_string(&w, "image", path);
    json_string(&w, "bitmap", name);
    json_string(&w, "file", args->export_to);
    json_string(&w, "format", args->file_format ? args->file_format : "qcbm");
    json_bool(&w, "dry-run", args->dry_run);
    json_end_object(&w);
    json_finish(&w);
}

int bitmap_export(const struct bitmap_args *args, const char *path, const char *name)
{
    struct out out = { 0 };
    struct qcbm_image *img;
    int code;

    if (is_std(args->export_to) && args->output == OUTPUT_JSON)
        return cmd_error("--output=json cannot be combined with --export -: both print to stdout");
    img = cmd_open(path, args->format, bitmap_reading(args));
    if (!img)
        return EXIT_FAILED;
    code = open_out(args, img, path, &out);
    if (code == EXIT_DONE)
        code = export_to(args, img, path, name, &out);
    qcbm_close(img); /* before the reader of a pipe sees its end, and opens the image perhaps */
    code = close_out(args->export_to, &out, code);
    if (code == EXIT_DONE && !out.to_std && !args->quiet)
        tell_export(args, path, name);
    return code;
}

/* ---- import -------------------------------------------------------------------------------------------- */

static int64_t read_in(void *opaque, void *buf, size_t len)
{
    FILE *in = opaque;
    size_t got = fread(buf, 1, len, in);

    return got == 0 && ferror(in) ? -1 : (int64_t)got;
}

static int set_extent(void *opaque, const struct qcbm_extent *extent, struct qcbm_error *err)
{
    struct bitmap_job *job = opaque;

    if (!extent->dirty)
        return 0;
    return qcbm_edit_set_range(job->edit, job->name, extent->offset, extent->length, err);
}

static int import_extents(struct bitmap_job *job, FILE *in, struct qcbm_error *err)
{
    struct qcbm_image_info info;
    int ret = qcbm_edit_add(job->edit, job->name, job->args->granularity, 0, err);

    if (ret < 0) {
        err->offset = QCBM_NO_OFFSET; /* one in the image, and not in what is read */
        return ret;
    }
    qcbm_image_get_info(job->img, &info, sizeof info);
    return extents_read(in, info.virtual_size / 512 * 512, set_extent, job, err);
}

static int import_own(struct bitmap_job *job, FILE *in, struct bitmap_result *result, struct qcbm_error *err)
{
    struct qcbm_import_options opt = QCBM_IMPORT_OPTIONS_INIT;
    struct qcbm_import_result imported = { .fingerprint = QCBM_FINGERPRINT_UNKNOWN };
    int ret;

    opt.format = is_format(job->args, "raw") ? QCBM_TRANSFER_RAW : QCBM_TRANSFER_QCBM;
    opt.granularity = job->args->granularity;
    opt.flags = job->args->force ? QCBM_IMPORT_FORCE : 0;
    ret = qcbm_edit_import(job->edit, job->name, &opt, read_in, in, &imported, sizeof imported, err);
    if (ret == QCBM_E_ABORTED)
        return bitmap_fail(err, QCBM_E_IO, "could not read the bitmap: %s", strerror(errno));
    result->has_fingerprint = ret == 0 && opt.format == QCBM_TRANSFER_QCBM;
    result->fingerprint = imported.fingerprint;
    return ret;
}

int bitmap_import(struct bitmap_job *job, const struct opt_action *action, struct bitmap_result *result,
                  struct qcbm_error *err)
{
    FILE *in = job->inputs[action - job->args->actions.list].file;
    int ret = is_format(job->args, "json") ? import_extents(job, in, err) : import_own(job, in, result, err);

    if (ret < 0 && err->offset != QCBM_NO_OFFSET) { /* in the file that was read, not in the image */
        char text[sizeof err->message];

        memcpy(text, err->message, sizeof text);
        return bitmap_fail(err, ret, "%.400s (at byte %" PRIu64 " of '%.80s')", text, err->offset, action->value);
    }
    return ret;
}
