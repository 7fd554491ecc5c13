/* attach_verify.c - does a metadata image show the raw data as it is? Features, name and length; the entries are
 * elsewhere
 * SPDX-License-Identifier: MIT
 *
 * None of what is found here keeps QEMU from opening such an image, nor does its check say a word of it; but of
 * features that do not go together. */
#include "rawdisk/attach_verify.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/checked.h"
#include "base/sized.h"
#include "bitmap/handle.h"
#include "io/open.h"
#include "rawdisk/raw_scan.h"

#define CURE_ATTACH "make a new image with 'qcbm attach --data', and copy the bitmaps with 'qcbm bitmap --copy-to'"
#define CURE_NAME                                                                                                      \
    "'qemu-img amend -o data_file=NAME' stores another name; it opens the image, for which it has to be told the "     \
    "right one: --image-opts driver=qcow2,file.filename=IMAGE,data-file.filename=NAME"

struct look {
    struct qcbmi_image *img;
    const struct qcbm_attach_verify_options *o;
    struct qcbm_attach_verify_result r;
    struct qcbmi_io data;
};

static int tell(struct look *l, bool fault, const char *code, const char *cure, struct qcbm_error *err, const char *fmt,
                ...) __attribute__((format(printf, 6, 7)));
static int tell(struct look *l, bool fault, const char *code, const char *cure, struct qcbm_error *err, const char *fmt,
                ...)
{
    char message[768];
    const struct qcbm_attach_finding f = { code, fault, QCBM_NO_OFFSET, 0, message, cure };
    va_list args;

    va_start(args, fmt);
    vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    l->r.faults += fault;
    l->r.warnings += !fault;
    return l->o->finding && l->o->finding(l->o->opaque, &f) ? qcbmi_fail_stopped(err) : 0;
}

/* ---- features ---- */

static int look_at_features(struct look *l, struct qcbm_error *err)
{
    const struct qcbmi_image *img = l->img;
    int ret = 0;

    if (!img->g.raw_data_file)
        ret =
            tell(l, true, "raw-bit-missing", CURE_ATTACH, err,
                 "the image does not say that its data file is raw: QEMU may leave holes in it and map what it likes");
    if (ret == 0 && img->backing_file)
        ret = tell(l, true, "backing-file", CURE_ATTACH, err,
                   "the image has a backing file, which does not go with raw data");
    if (ret == 0 && img->h.n_snapshots)
        ret = tell(l, true, "snapshots", CURE_ATTACH, err,
                   "the image has internal snapshots, which do not go with raw data");
    if (ret == 0 && img->h.crypt_method)
        ret =
            tell(l, true, "encrypted", CURE_ATTACH, err, "the image is encrypted, so its data is not that of the disk");
    return ret;
}

/* ---- name ---- */

static int tell_unreachable(struct look *l, const struct qcbm_error *why, struct qcbm_error *err)
{
    const char *name = l->o->data ? l->o->data : l->img->data_file;
    char text[256];

    return tell(l, true, "name-unreachable", CURE_NAME, err, "the data '%s' cannot be opened, and is not compared: %s",
                qcbmi_printable(text, sizeof(text), name, strlen(name)), why->message);
}

/* With the data open: does the stored name lead to it? */
static int look_at_stored(struct look *l, struct qcbm_error *err)
{
    const char *name = l->img->data_file;
    struct qcbmi_file_id id;
    char text[256];

    qcbmi_printable(text, sizeof(text), name, strlen(name));
    if (l->o->data && l->data.id.known &&
        !(qcbmi_identify(l->img->full_data_file, &id, NULL) == 0 && qcbmi_same_file(&id, &l->data.id)))
        return tell(l, true, "name-elsewhere", CURE_NAME, err, "the stored name '%s' does not lead to the data", text);
    if (name[0] == '/')
        return 0;
    return tell(
        l, false, "name-relative", CURE_NAME, err,
        "the stored name '%s' is relative: it starts in the working directory of whoever opens the image, not in "
        "its folder, and libvirt starts QEMU in /",
        text);
}

static int look_at_name(struct look *l, struct qcbm_error *err)
{
    const char *name = l->img->data_file;
    struct qcbm_error why = { 0 };
    int ret = qcbmi_raw_open(&l->data, l->img, l->o->data, &why), told = 0;

    if (!name || !*name)
        told = tell(l, true, "name-missing", CURE_NAME, err,
                    "the image does not name its data: whoever opens it must say where that is");
    if (told < 0)
        return told;
    if (ret == QCBM_E_NOMEM || ret == QCBM_E_LOCKED || ret == QCBM_E_NOLOCKS) {
        if (err)
            *err = why;
        return qcbmi_prefix(err, ret, "the data: ");
    }
    if (ret < 0 && (l->o->data || (name && *name)))
        return tell_unreachable(l, &why, err);
    return name && *name ? look_at_stored(l, err) : 0;
}

/* ---- length ---- */

/* The guest will see what lies behind the old end, which need not be zeros, and a resize leaves it clean in all
 * bitmaps. */
static int tell_longer(struct look *l, uint64_t size, struct qcbm_error *err)
{
    uint64_t now = align_down(l->data.size, Q2_SECTOR);
    char cure[320];

    snprintf(cure, sizeof(cure),
             "'qemu-img resize IMAGE %" PRIu64 "' gives the disk the size of the data; then "
             "'qcbm bitmap --set %" PRIu64 ":%" PRIu64
             " IMAGE NAME' for each bitmap, before the next backup: what lies "
             "there is not zeros on most storages, and the resize leaves it clean",
             now, size, now - size);
    return tell(l, true, "data-longer", cure, err,
                "the data has %" PRIu64 " bytes and the disk %" PRIu64 ": the guest does not see the rest",
                l->data.size, size);
}

/* QEMU itself makes the data end with a whole cluster. */
static int look_at_length(struct look *l, struct qcbm_error *err)
{
    const struct q2_geometry *g = &l->img->g;

    l->r.data_size = l->data.ops ? l->data.size : QCBM_UNKNOWN;
    if (!l->data.ops)
        return 0;
    if (l->data.size < g->size)
        return tell(l, true, "data-shorter",
                    "'truncate -s SIZE' gives the data the size of the disk, with the zeros that the guest reads now",
                    err,
                    "the data has %" PRIu64 " bytes and the disk %" PRIu64 ": the guest reads zeros behind its end",
                    l->data.size, g->size);
    if (l->data.size > g->size && l->data.size - g->size >= g->cluster_size)
        return tell_longer(l, g->size, err);
    return 0;
}

/* ---- all of it ---- */

static int verify(struct look *l, struct qcbm_error *err)
{
    int ret;

    l->r.data_size = QCBM_UNKNOWN;
    if (!l->img->g.data_file)
        return tell(l, true, "no-data-file", CURE_ATTACH, err,
                    "the image has no external data file: its data lies in itself");
    ret = look_at_features(l, err);
    if (ret == 0)
        ret = look_at_name(l, err);
    if (ret == 0)
        ret = look_at_length(l, err);
    return ret < 0 ? ret : qcbmi_attach_verify_entries(l->img, &l->data, l->o, &l->r, err);
}

int qcbm_attach_verify(struct qcbm_image *img, const struct qcbm_attach_verify_options *options,
                       struct qcbm_attach_verify_result *out, size_t size, struct qcbm_error *err)
{
    struct qcbm_attach_verify_options o = QCBM_ATTACH_VERIFY_OPTIONS_INIT;
    struct look l = { .img = img->image, .o = &o };
    int ret = out ? qcbmi_check_size(size, err) : 0;

    if (ret == 0)
        ret = qcbmi_take_options(&o, sizeof(o), options, err);
    if (ret == 0)
        ret = qcbmi_image_check_sound(img->image, err);
    if (ret == 0)
        ret = verify(&l, err);
    qcbmi_io_close(&l.data);
    if (ret == 0 && out)
        qcbmi_give(out, size, &l.r, sizeof(l.r));
    return ret;
}
