/* cmd_picture.c - qcbm picture: a disk, its bitmaps, or an image file, to be looked at
 * SPDX-License-Identifier: MIT
 *
 * Reading images is shut in; making a file could not be. So with -o they are two processes, as for bitmap --export. */
#include <errno.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>

#include "apart.h"
#include "common_args.h"
#include "disk_files.h"
#include "image_name.h"
#include "opt_parse.h"
#include "output.h"
#include "picture_guest.h"
#include "picture_host.h"
#include "picture_out.h"
#include "progress.h"
#include "qemu_text.h"

enum { TEXT_ROWS = 32, FILE_ROWS = 128, FILE_WIDTH = 128, MAX_WIDTH = 4096, MAX_CURVE = 256, LABEL_COLUMNS = 11 };

struct picture_args {
    struct common_args common;
    struct opt_actions bitmaps;
    const char *against, *layout, *theme, *out, *as;
    uint64_t width; /* UINT64_MAX: not given */
    bool chain, host;
};
COMMON_ARGS_FIRST(struct picture_args);

static const struct opt picture_opts[] = {
    OPT_COMMON_FILE,
    OPT_ROW(struct picture_args, "bitmap", 'b', OPT_ACTION, bitmaps, "NAME",
            "what is dirty in that bitmap; of two, how they differ; of up\nto six, how many have it"),
    OPT_ROW(struct picture_args, "chain", 0, OPT_FLAG, chain, NULL,
            "in which layer of the backing chain data lies; of a bitmap,\nwhat those of that name say in all layers"),
    OPT_ROW(struct picture_args, "against", 0, OPT_STRING, against, "OTHER",
            "how the disk, or its bitmap, differs from that of this\nimage; of the disk, by metadata alone"),
    OPT_ROW(struct picture_args, "host", 0, OPT_FLAG, host, NULL,
            "the image file in place of the disk: metadata, scattered\ndata, leaks"),
    OPT_ROW(struct picture_args, "layout", 0, OPT_STRING, layout, "rows|hilbert",
            "how cells lie (default: rows; in a file, hilbert)"),
    OPT_ROW(struct picture_args, "width", 0, OPT_SIZE, width, "N",
            "cells in a row (default: as the terminal allows, and 128\nin a file)"),
    OPT_ROW(struct picture_args, "theme", 0, OPT_STRING, theme, "light|dark",
            "colours (default: dark for a terminal, light for PNG; SVG\nhas both, and its viewer decides)"),
    OPT_ROW(struct picture_args, "out", 'o', OPT_STRING, out, "OUT", "write a file OUT.svg or OUT.png"),
    OPT_ROW(struct picture_args, "as", 0, OPT_STRING, as, "svg|png", "whatever OUT is called; it may be -"),
    OPT_COMMON_FORMAT_OR_RAW,
    COMMON_FLAG("force", 0, force, "OUT may exist, and is replaced"),
    OPT_COMMON_FORCE_SHARE,
    OPT_COMMON_QUIET,
    OPT_COMMON_PROGRESS,
    OPT_COMMON_OUTPUT,
    OPT_COMMON_THREADS,
    OPT_COMMON_BELOW,
    OPT_COMMON_NO_LOCK,
    OPT_COMMON_NO_SANDBOX,
    OPT_COMMON_IMAGE_OPTS,
    OPT_END,
};

struct job {
    const struct picture_args *args;
    const char *other_format;
    struct terminal terminal;
    enum picture_form form;   /* N_PICTURE_FORMS: no file */
    enum picture_theme theme; /* N_PICTURE_THEMES: as who looks at it likes */
    bool hilbert;
    uint32_t width, height; /* the height is that of rows, at most */
    struct output out;
    struct progress progress;
    struct qcbm_progress calls;
    struct picture picture;
};

/* ---- what it is of ---------------------------------------------------------------------------------------- */

/* Before anything is drawn: what is drawn is not to be lost for its picture. */
static int keep_disk(const struct job *job, const struct picture_disk *disk)
{
    return output_replaces(&job->out) ? disk_files_keep(job->out.name, disk->img, disk->chain) : EXIT_DONE;
}

static bool open_chain(struct cmd_disk *disk, struct picture_disk *out, const char *path)
{
    struct qcbm_error err;

    *out = (struct picture_disk){ disk->img, disk->raw };
    if (!disk->img || qcbm_chain_open(disk->img, &out->chain, &err) == 0)
        return true;
    cmd_lib_error(&err, "Could not open the backing chain of '%s'", path);
    return false;
}

static void close_disk(struct cmd_disk *disk, struct picture_disk *opened)
{
    if (disk->img)
        qcbm_chain_close(opened->chain);
    cmd_close_disk(disk);
}

static void print_quoted(FILE *out, const char *name)
{
    putc('\'', out);
    print_escaped(out, name, strlen(name));
    putc('\'', out);
}

/* Two lines for people. */
static bool word(struct job *job)
{
    const struct picture_args *a = job->args;
    char *scale = picture_scale_text(&job->picture);
    size_t len;
    FILE *out = open_memstream(&job->picture.title, &len);

    if (out) {
        print_escaped(out, a->common.path, strlen(a->common.path));
        fprintf(out, ": %s of %s", a->host ? "file" : "disk", size_text(job->picture.cells.size).text);
        for (size_t i = 0; i < a->bitmaps.count; i++) {
            fputs(i ? ", " : a->bitmaps.count > 1 ? ", bitmaps " : ", bitmap ", out);
            print_quoted(out, a->bitmaps.list[i].value);
        }
        if (a->bitmaps.count && a->chain)
            fputs(" of all layers", out);
        if (a->against) {
            fputs(" against ", out);
            print_quoted(out, a->against);
        }
    }
    if (!out || fclose(out) != 0 || !scale)
        return false;
    job->picture.note = scale;
    return true;
}

static bool begin_picture(struct job *job, struct picture_plan plan, uint64_t size)
{
    struct picture *p = &job->picture;

    p->plan = plan;
    if (!picture_cells_init(&p->cells, size, picture_layout_room(job->hilbert, job->width, job->height), plan.n))
        return false;
    p->layout = picture_layout_of(job->hilbert, job->width, p->cells.n);
    return word(job);
}

static int count_guest(struct job *job, struct picture_guest *g)
{
    const struct picture_args *a = job->args;
    const char *of = NULL;
    struct qcbm_error err;
    int ret;

    for (size_t i = 0; i < a->bitmaps.count; i++)
        g->bitmaps[g->n_bitmaps++] = a->bitmaps.list[i].value;
    g->depth = a->chain;
    g->extents_flags = a->common.force_share ? QCBM_EXTENTS_FORCE_SHARE : 0;
    g->progress = &job->calls;
    if (!begin_picture(job, picture_guest_plan(g), picture_guest_size(g)) || !picture_guest_layers(g, &job->picture))
        return cmd_error("out of memory");
    ret = picture_guest_count(g, &job->picture.cells, &of, &err);
    if (ret < 0 && of)
        return cmd_lib_error(&err, "Could not read bitmap '%s' of '%s'", of, a->common.path);
    return ret < 0 ? cmd_lib_error(&err, "Could not read file metadata of '%s'", a->common.path) : EXIT_DONE;
}

static int count_host(struct job *job, struct qcbm_image *img)
{
    const char *path = job->args->common.path;
    struct qcbm_error err;

    if (!img)
        return cmd_error("'%s' is a raw disk: --host is about qcow2 files", path);
    if (keep_disk(job, &(struct picture_disk){ .img = img }) != EXIT_DONE)
        return EXIT_FAILED;
    if (!begin_picture(job, picture_host_plan(), picture_host_size(img)))
        return cmd_error("out of memory");
    if (picture_host_count(img, &job->picture.cells, &job->calls, &err) < 0)
        return cmd_lib_error(&err, "Could not read file metadata of '%s'", path);
    return EXIT_DONE;
}

static bool has_bitmap(struct qcbm_image *img, const char *name)
{
    struct qcbm_bitmap_info bitmap;
    bool has = false;

    for (uint32_t i = 0; !has && qcbm_bitmap_get(img, i, &bitmap, sizeof bitmap) == 0; i++)
        has = strcmp(bitmap.name, name) == 0;
    return has;
}

/* A checkpoint goes on in a new overlay with an empty bitmap of its name: what is drawn is not all that changed
 * since. */
static void warn_of_bitmap_below(const struct picture_disk *disk, const char *path, const char *name)
{
    struct qcbm_chain_layer layer;

    for (uint32_t i = 1; i < qcbm_chain_count(disk->chain); i++) {
        if (qcbm_chain_get(disk->chain, i, &layer, sizeof layer, NULL) < 0 || !layer.image ||
            !has_bitmap(layer.image, name))
            continue;
        cmd_warning("'%s' below it has a bitmap '%s', too: what is drawn is that of '%s' alone", layer.filename, name,
                    path);
        cmd_hint("with --chain what both say is drawn");
        return;
    }
}

static void warn_of_bitmaps_below(const struct job *job, const struct picture_guest *g)
{
    const struct picture_args *a = job->args;

    for (size_t i = 0; i < a->bitmaps.count; i++)
        warn_of_bitmap_below(&g->disk, a->common.path, a->bitmaps.list[i].value);
    if (a->bitmaps.count && a->against)
        warn_of_bitmap_below(&g->other, a->against, a->bitmaps.list[0].value);
}

static int open_other(struct job *job, struct cmd_disk *disk, struct picture_guest *g)
{
    const struct picture_args *a = job->args;

    if (!a->against)
        return EXIT_DONE;
    if (!cmd_open_disk(a->against, job->other_format, common_reading(&a->common), disk))
        return EXIT_FAILED;
    if (a->bitmaps.count && !disk->img)
        return cmd_error("'%s' is a raw disk: it has no bitmaps", a->against);
    return open_chain(disk, &g->other, a->against) ? keep_disk(job, &g->other) : EXIT_FAILED;
}

static int count_disks(struct job *job, struct cmd_disk *disk)
{
    struct cmd_disk other = { NULL, NULL };
    struct picture_guest g = { .n_bitmaps = 0 };
    int code;

    if (job->args->bitmaps.count && !disk->img)
        return cmd_error("'%s' is a raw disk: it has no bitmaps", job->args->common.path);
    code = open_chain(disk, &g.disk, job->args->common.path) ? keep_disk(job, &g.disk) : EXIT_FAILED;
    if (code == EXIT_DONE)
        code = open_other(job, &other, &g);
    if (code == EXIT_DONE)
        code = count_guest(job, &g);
    progress_end(&job->progress, code == EXIT_DONE);
    if (code == EXIT_DONE && !job->args->chain)
        warn_of_bitmaps_below(job, &g);
    if (code == EXIT_DONE && disk->img)
        cmd_warn_of_lost_tables(disk->img, job->args->common.path);
    close_disk(&other, &g.other);
    if (disk->img)
        qcbm_chain_close(g.disk.chain);
    return code;
}

/* ---- in the sandbox --------------------------------------------------------------------------------------- */

static void print_json(struct job *job)
{
    struct json_writer w = JSON_WRITER_INIT(stdout);

    json_begin_object(&w, NULL);
    json_string(&w, "image", job->args->common.path);
    json_begin_array(&w, "bitmaps");
    for (size_t i = 0; i < job->args->bitmaps.count; i++)
        json_string(&w, NULL, job->args->bitmaps.list[i].value);
    json_end_array(&w);
    json_bool(&w, "chain", job->args->chain);
    if (job->args->against)
        json_string(&w, "against", job->args->against);
    if (job->out.file)
        json_string(&w, "file", job->out.name);
    picture_write_json(&job->picture, &w, job->form);
    json_end_object(&w);
    json_finish(&w);
}

static int write_file(struct job *job)
{
    FILE *out = job->out.file;
    int lost = 0;

    errno = 0;
    if (job->form == PICTURE_SVG)
        picture_write_svg(&job->picture, out, job->theme);
    else
        lost = picture_write_png(&job->picture, out, job->theme);
    if (lost == 0 && (fflush(out) != 0 || ferror(out)))
        lost = errno ? errno : EIO;
    return lost ? cmd_error("could not write '%s': %s", job->out.name, strerror(lost)) : EXIT_DONE;
}

static int give(struct job *job)
{
    int code = job->out.file ? write_file(job) : EXIT_DONE;

    if (code != EXIT_DONE)
        return code;
    if (job->args->common.output == OUTPUT_JSON)
        print_json(job);
    else if (!job->out.file)
        picture_print(&job->picture, stdout, &job->terminal, job->theme);
    return fflush(stdout) == 0 ? EXIT_DONE : cmd_error("could not write the output: %s", strerror(errno));
}

static int draw(void *arg)
{
    struct job *job = arg;
    const struct common_args *common = &job->args->common;
    struct cmd_disk disk;
    int code;

    common_shut_in(common, !job->args->host || output_replaces(&job->out), NULL);
    if (!common_open_disk(common, common_reading(common), &disk))
        return EXIT_FAILED;
    job->progress.wanted = common->progress;
    job->calls = progress_of(&job->progress);
    if (job->args->host) {
        code = count_host(job, disk.img);
        progress_end(&job->progress, code == EXIT_DONE);
    } else {
        code = count_disks(job, &disk);
    }
    cmd_close_disk(&disk);
    if (code == EXIT_DONE)
        code = give(job);
    if (code != EXIT_DONE && job->out.file)
        __fpurge(job->out.file); /* what is not out yet stays in */
    picture_free(&job->picture);
    return code;
}

/* ---- outside ---------------------------------------------------------------------------------------------- */

static int draw_file(struct job *job)
{
    const struct picture_args *a = job->args;
    bool to_std = strcmp(a->out, "-") == 0;
    int code = output_open(&job->out, a->out, a->common.force, false);

    if (code == EXIT_DONE)
        code = run_apart(draw, job);
    code = output_close(&job->out, code);
    if (code != EXIT_DONE || to_std || a->common.quiet || a->common.output == OUTPUT_JSON)
        return code;
    fputs("picture: ", stdout);
    print_quoted(stdout, a->out);
    putchar('\n');
    return code;
}

static enum picture_form form_of(const struct picture_args *a)
{
    const char *dot = a->out ? strrchr(a->out, '.') : NULL, *name = a->as ? a->as : dot ? dot + 1 : "";
    unsigned form = 0;

    while (form < N_PICTURE_FORMS && strcmp(name, picture_forms[form]) != 0)
        form++;
    return form;
}

static uint32_t power_of_two_to(uint32_t n)
{
    uint32_t power = 1;

    while (power <= n / 2)
        power *= 2;
    return power;
}

/* So many cells in a row as fit beside the offsets, and a power of two: rows begin at round numbers. */
static uint32_t default_width(const struct job *job)
{
    uint32_t columns = job->terminal.columns, room = columns > LABEL_COLUMNS ? columns - LABEL_COLUMNS : 1;

    return job->form != N_PICTURE_FORMS ? FILE_WIDTH : power_of_two_to(room < FILE_WIDTH * 2 ? room : FILE_WIDTH * 2);
}

static int take_layout(const struct cmd *cmd, struct job *job)
{
    const struct picture_args *a = job->args;
    const char *layout = a->layout ? a->layout : job->form == N_PICTURE_FORMS ? "rows" : "hilbert";
    uint64_t most = strcmp(layout, "hilbert") == 0 ? MAX_CURVE : MAX_WIDTH;

    job->hilbert = most == MAX_CURVE;
    if (!job->hilbert && strcmp(layout, "rows") != 0)
        return cmd_usage_error(cmd, "--layout takes rows or hilbert, not '%s'", layout);
    if (a->width == 0)
        return cmd_usage_error(cmd, "--width is at least 1");
    if (a->width != UINT64_MAX && a->width > most)
        return cmd_usage_error(cmd, "--width is at most %u in this layout", (unsigned)most);
    job->width = a->width != UINT64_MAX ? (uint32_t)a->width : default_width(job);
    job->height = job->form == N_PICTURE_FORMS ? TEXT_ROWS : FILE_ROWS;
    if (job->hilbert && a->width == UINT64_MAX && job->form == N_PICTURE_FORMS)
        job->width = TEXT_ROWS; /* a square that is as high as rows are */
    if (job->hilbert && power_of_two_to(job->width) != job->width)
        return cmd_usage_error(cmd, "--width is a power of two along Hilbert's curve");
    return EXIT_DONE;
}

static int take_theme(const struct cmd *cmd, struct job *job)
{
    const char *theme = job->args->theme;

    if (!theme)
        job->theme = job->form == PICTURE_SVG   ? N_PICTURE_THEMES
                     : job->form == PICTURE_PNG ? PICTURE_LIGHT
                                                : PICTURE_DARK;
    else if (strcmp(theme, "light") == 0 || strcmp(theme, "dark") == 0)
        job->theme = strcmp(theme, "dark") == 0 ? PICTURE_DARK : PICTURE_LIGHT;
    else
        return cmd_usage_error(cmd, "--theme takes light or dark, not '%s'", theme);
    return EXIT_DONE;
}

static int check_usage(const struct cmd *cmd, const struct picture_args *a)
{
    size_t most = a->against ? 1 : PICTURE_MAX_BITMAPS;

    if (a->host && (a->bitmaps.count || a->chain || a->against || a->common.below))
        return cmd_usage_error(cmd, "--host is about the file: without --bitmap, --chain, --against and --below");
    if (a->chain && a->against && !a->bitmaps.count)
        return cmd_usage_error(cmd,
                               "--chain is a picture of its own, or about bitmaps: with --against it takes --bitmap");
    if (a->bitmaps.count > most)
        return cmd_usage_error(cmd, a->against ? "with --against there is one bitmap, which both images have"
                                               : "there are at most six bitmaps");
    if (a->as && !a->out)
        return cmd_usage_error(cmd, "--as goes with -o");
    if (a->out && form_of(a) == N_PICTURE_FORMS)
        return cmd_usage_error(cmd, "OUT ends in .svg or .png, or --as says which of them it is");
    if (a->out && strcmp(a->out, "-") == 0 && a->common.output == OUTPUT_JSON)
        return cmd_usage_error(cmd, "--output=json cannot be combined with -o -: both print to stdout");
    return EXIT_DONE;
}

static int take_args(const struct cmd *cmd, struct picture_args *args, struct job *job)
{
    if (check_usage(cmd, args) != EXIT_DONE)
        return EXIT_FAILED;
    job->args = args;
    job->form = args->out ? form_of(args) : N_PICTURE_FORMS;
    job->terminal = terminal_look();
    if (take_layout(cmd, job) != EXIT_DONE || take_theme(cmd, job) != EXIT_DONE)
        return EXIT_FAILED;
    if (!common_take_name_or_uri(&args->common))
        return EXIT_FAILED;
    return !args->against || image_name_take(&args->against, &job->other_format, false) ? EXIT_DONE : EXIT_FAILED;
}

static int run_picture(const struct cmd *cmd, int argc, char **argv)
{
    struct picture_args args = { .width = UINT64_MAX };
    struct job job = { .args = &args };
    int code = opt_parse(cmd, argc, argv, &args);

    if (code != OPT_GO_ON)
        return code;
    code = take_args(cmd, &args, &job);
    if (code == EXIT_DONE)
        code = args.out ? draw_file(&job) : draw(&job);
    free(args.bitmaps.list);
    return code;
}

const struct cmd cmd_picture = {
    "picture",    NULL,        "Draw a disk, its bitmaps or its file: on a terminal, as SVG or PNG.",
    picture_opts, run_picture, NULL
};
