/* common_args.c - options and arguments that several commands have: their rows, and what they mean
 * SPDX-License-Identifier: MIT
 */
#include "common_args.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "image_name.h"
#include "remote.h"
#include "uri.h"

bool common_take_name(struct common_args *common)
{
    return image_name_take(&common->path, &common->format, common->image_opts);
}

/* ---- the layers of --below --- */

static struct qcbm_below *layers; /* until the program ends */
static size_t n_layers;

static bool take_below(const struct opt_word *words)
{
    size_t n = 0;

    for (const struct opt_word *w = words; w; w = w->next)
        n++;
    layers = calloc(n + 1, sizeof *layers);
    if (!layers) {
        cmd_error("no memory");
        return false;
    }
    for (; words; words = words->next) {
        layers[n_layers].name = words->value;
        if (!image_name_take_or_uri(&layers[n_layers++].name, NULL, false))
            return false;
    }
    return true;
}

static void connect_below(void)
{
    for (size_t i = 0; i < n_layers; i++) {
        if (uri_is_server(layers[i].name))
            (void)remote_connect(layers[i].name, NULL, NULL); /* told when they are needed */
    }
}

static bool other_file(const char *recorded, const char *named)
{
    struct stat a, b;

    return recorded && stat(recorded, &a) == 0 && stat(named, &b) == 0 &&
           (a.st_dev != b.st_dev || a.st_ino != b.st_ino);
}

/* The next layer as an image, of which nothing but its header is asked. No other file is opened than those that were
 * named, and a disk is not taken for an image, whatever its guest has written to it. */
static struct qcbm_image *open_layer(const struct qcbm_image_info *above, size_t layer)
{
    const char *name = layers[layer].name;
    struct qcbm_image *img = NULL;
    struct qcbm_error err;

    if (layer + 1 == n_layers || uri_is_server(name) || !above->backing_format ||
        strcmp(above->backing_format, "qcow2") != 0)
        return NULL;
    return qcbm_open(name, QCBM_OPEN_INFO | QCBM_OPEN_NO_LOCK | QCBM_OPEN_FORCE_SHARE, &img, &err) == 0 ? img : NULL;
}

/* A layer that is left out by mistake is not noticed otherwise: its data would be missed. What does not open now is
 * told by who needs it. */
static void warn_of_other_files(struct qcbm_image *img)
{
    struct qcbm_image *above = img;

    for (size_t i = 0; above && i < n_layers; i++) {
        struct qcbm_image_info info;
        struct qcbm_image *next;

        qcbm_image_get_info(above, &info, sizeof info);
        if (other_file(info.full_backing, layers[i].name))
            cmd_warning("'%s' is taken for what lies below %s%s%s, as --below says; the image itself names '%s', which "
                        "is here, and another file",
                        layers[i].name, i ? "'" : "", i ? layers[i - 1].name : "the image", i ? "'" : "",
                        info.full_backing);
        next = open_layer(&info, i);
        if (above != img)
            qcbm_close(above);
        above = next;
    }
    if (above != img)
        qcbm_close(above);
}

bool common_set_below(struct qcbm_image *img)
{
    struct qcbm_error err;

    for (size_t i = 0; i < n_layers; i++) {
        const char *name = layers[i].name;

        if (!uri_is_server(name))
            continue;
        if (remote_connect(name, NULL, &err) < 0) {
            cmd_lib_error(&err, "Could not open '%s'", name);
            return false;
        }
        remote_warn_of_locks(name);
        layers[i].ops = remote_ops();
        layers[i].self = remote_self(name);
    }
    if (n_layers == 0)
        return true;
    if (img && qcbm_set_below(img, layers, sizeof *layers, n_layers, &err) == 0) {
        warn_of_other_files(img);
        return true;
    }
    if (img)
        cmd_lib_error(&err, "Could not name the layers below");
    else
        cmd_error("--below: a raw disk has no layers below it");
    return false;
}

bool common_take_name_or_uri(struct common_args *common)
{
    return take_below(common->below) && image_name_take_or_uri(&common->path, &common->format, common->image_opts);
}

unsigned common_reading(const struct common_args *common)
{
    return (common->no_lock ? QCBM_OPEN_NO_LOCK : 0) | (common->force_share ? QCBM_OPEN_FORCE_SHARE : 0);
}

unsigned common_writing(const struct common_args *common)
{
    return common->dry_run ? common_reading(common) : (common->no_lock ? QCBM_OPEN_NO_LOCK : 0) | QCBM_OPEN_WRITE;
}

struct qcbm_image *common_with_threads(const struct common_args *common, struct qcbm_image *img)
{
    if (img) /* so many that the library takes fewer */
        qcbm_set_threads(img, common->threads < INT_MAX ? (unsigned)common->threads : INT_MAX);
    return img;
}

bool common_is_finished(const struct common_args *common, unsigned flags)
{
    struct qcbm_error err;

    if (uri_is_server(common->path) || (flags & QCBM_OPEN_WRITE) ||
        qcbm_apply_check_finished(common->path, &err) != QCBM_E_UNSAFE)
        return true;
    if (common->dry_run)
        cmd_lib_error(&err, "Could not open '%s'", common->path);
    else
        cmd_warning("%s: %s", common->path, err.message);
    return !common->dry_run;
}

struct qcbm_image *common_open(const struct common_args *common, unsigned flags)
{
    struct qcbm_image *img = NULL;

    if (common_is_finished(common, flags))
        img = common_with_threads(common, cmd_open(common->path, common->format, flags));
    if (!img || common_set_below(img))
        return img;
    qcbm_close(img);
    return NULL;
}

bool common_open_disk(const struct common_args *common, unsigned flags, struct cmd_disk *out)
{
    bool ok = common_is_finished(common, flags) && cmd_open_disk(common->path, common->format, flags, out);

    if (!ok)
        return false;
    common_with_threads(common, out->img);
    if (common_set_below(out->img))
        return true;
    cmd_close_disk(out);
    return false;
}

void common_shut_in(const struct common_args *common, bool chain, const char *other)
{
    connect_below();
    cmd_shut_in(common->no_sandbox, chain, common->path, other);
}
