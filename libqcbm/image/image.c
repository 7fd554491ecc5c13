/* image.c - open an image: lock, header, extensions, feature gate
 * SPDX-License-Identifier: MIT */
#include "image/image.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "format/delta_meta.h"
#include "image/snapshots.h"
#include "io/journal_link.h"
#include "io/open.h"
#include "io/unfinished.h"

#define SPARSE_PIECE (UINT64_C(16) << 10) /* a page that is touched costs more than a call that reads four */

/* Behind what @text has, with a comma between names; a text that is too long is cut. */
__attribute__((format(printf, 2, 3))) static void append(char text[256], const char *fmt, ...)
{
    size_t used = strlen(text);
    va_list args;

    va_start(args, fmt);
    vsnprintf(text + used, 256 - used, fmt, args);
    va_end(args);
}

/* Incompatible bits that are not ours to know: named by the image's table in its order, up to an entry without a name,
 * the rest by its mask. QEMU's wording. */
static int check_incompatible(const struct qcbmi_image *img, struct qcbm_error *err)
{
    uint64_t unknown = img->h.incompatible & ~Q2_INCOMPAT_KNOWN;
    char text[256] = "", name[200];
    struct q2_feature f;

    if (!unknown)
        return 0;
    for (uint32_t i = 0; q2_feature_get(&img->exts, i, &f) && *f.name; i++) {
        if (f.kind != 0 || f.bit > 63 || !(unknown >> f.bit & 1))
            continue;
        unknown &= ~(UINT64_C(1) << f.bit);
        append(text, "%s%s", *text ? ", " : "", qcbmi_printable(name, sizeof(name), f.name, strlen(f.name)));
    }
    if (unknown)
        append(text, "%sUnknown incompatible feature: %" PRIx64, *text ? ", " : "", unknown);
    return qcbmi_fail(err, QCBM_E_UNSUPPORTED, Q2_OFF_INCOMPATIBLE, "Unsupported qcow2 feature(s): %s", text);
}

static int dup_extension(const struct qcbmi_image *img, uint32_t type, char **out, struct qcbm_error *err)
{
    const struct q2_extension *ext = q2_extension_find(&img->exts, type);

    *out = NULL;
    if (!ext)
        return 0;
    *out = qcbmi_memdup_nul(ext->data, ext->len, err);
    return *out ? 0 : QCBM_E_NOMEM;
}

/* For QEMU a name that is empty up to its first NUL is no name. */
static void drop_empty(char **name)
{
    if (!*name || **name)
        return;
    free(*name);
    *name = NULL;
}

/* Where QEMU looks for the files that the image names. A name for the data file is literal, and QEMU opens it as it is:
 * a relative one starts in the working directory. */
static int load_full_names(struct qcbmi_image *img, struct qcbm_error *err)
{
    const char *data_file = img->data_file ? img->data_file : img->g.data_file ? "" : NULL;

    if (img->backing_file)
        img->full_backing = qcbmi_name_full(img->path, img->backing_file, err);
    if (data_file)
        img->full_data_file = qcbmi_memdup_nul(data_file, strlen(data_file), err);
    return (img->backing_file && !img->full_backing) || (data_file && !img->full_data_file) ? QCBM_E_NOMEM : 0;
}

static int load_names(struct qcbmi_image *img, struct qcbm_error *err)
{
    int ret = dup_extension(img, Q2_EXT_BACKING_FORMAT, &img->backing_format, err);

    if (ret == 0)
        ret = dup_extension(img, Q2_EXT_DATA_FILE, &img->data_file, err);
    if (ret == 0 && img->h.backing_offset && img->h.backing_size) {
        img->backing_file = qcbmi_memdup_nul(img->cluster0 + img->h.backing_offset, img->h.backing_size, err);
        ret = img->backing_file ? 0 : QCBM_E_NOMEM;
    }
    drop_empty(&img->backing_format);
    drop_empty(&img->backing_file);
    return ret < 0 ? ret : load_full_names(img, err);
}

static void forget_header(struct qcbmi_image *img)
{
    char **const names[] = { &img->backing_file, &img->backing_format, &img->data_file, &img->full_backing,
                             &img->full_data_file };

    free(img->cluster0);
    img->cluster0 = NULL;
    q2_extensions_free(&img->exts);
    memset(&img->exts, 0, sizeof(img->exts));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        free(*names[i]);
        *names[i] = NULL;
    }
}

/* Zeros are not copied: memory from calloc that nobody has touched costs nothing, and a chain has up to 200 first
 * clusters of up to 2 MiB, of which a few hundred bytes are in use. */
static int read_sparsely(struct qcbmi_io *io, uint8_t *to, uint64_t len, struct qcbm_error *err)
{
    uint8_t *piece = qcbmi_alloc_array(SPARSE_PIECE, 1, err);
    int ret = piece ? 0 : QCBM_E_NOMEM;

    for (uint64_t at = 0; ret == 0 && at < len; at += SPARSE_PIECE) {
        uint64_t n = u64_min(SPARSE_PIECE, len - at);

        ret = qcbmi_io_read(io, at, piece, n, "first cluster", err);
        if (ret == 0 && !bytes_are_zero(piece, n))
            memcpy(to + at, piece, (size_t)n);
    }
    free(piece);
    return ret;
}

/* The file may end inside cluster 0 (nothing else would be in it); what is missing reads as zeros. */
static int read_cluster0(struct qcbmi_image *img, struct qcbm_error *err)
{
    uint8_t head[Q2_HEADER_BYTES];
    uint64_t head_len = u64_min(img->io.size, sizeof(head));
    int ret = qcbmi_io_read(&img->io, 0, head, head_len, "header", err);

    if (ret == 0)
        ret = q2_header_parse(head, (size_t)head_len, &img->h, err);
    if (ret < 0)
        return ret;
    q2_geometry_derive(&img->h, &img->g);
    img->cluster0 = qcbmi_alloc_array(img->g.cluster_size, 1, err);
    if (!img->cluster0)
        return QCBM_E_NOMEM;
    return read_sparsely(&img->io, img->cluster0, u64_min(img->io.size, img->g.cluster_size), err);
}

int qcbmi_image_reload_header(struct qcbmi_image *img, struct qcbm_error *err)
{
    uint8_t tag[Q2_TAG_LEN];
    int ret;

    forget_header(img);
    img->tag[0] = '\0';
    ret = read_cluster0(img, err);
    if (ret == 0)
        ret = q2_extensions_parse(img->cluster0, img->g.cluster_size, &img->h, &img->exts, err);
    if (ret == 0 && q2_tag_get(&img->exts, tag) == Q2_TAG_KNOWN)
        qcbmi_identity_text(tag, img->tag);
    if (ret == 0)
        ret = check_incompatible(img, err);
    if (ret == 0)
        ret = load_names(img, err);
    return ret;
}

static int load_loosely(struct qcbmi_image *img, struct qcbm_error *err)
{
    uint8_t head[Q2_HEADER_BYTES] = { 0 };
    int ret = qcbmi_io_read(&img->io, 0, head, u64_min(img->io.size, sizeof(head)), "header", err);

    q2_header_load(head, sizeof(head), &img->h);
    (void)q2_geometry_guess(&img->h, &img->g);
    img->cluster0 = qcbmi_alloc_array(img->g.cluster_size, 1, err);
    if (!img->cluster0)
        return QCBM_E_NOMEM;
    return ret < 0 ? ret : read_sparsely(&img->io, img->cluster0, u64_min(img->io.size, img->g.cluster_size), err);
}

static int open_by(struct qcbmi_io *io, const char *path, unsigned flags,
                   int (*load)(struct qcbmi_image *img, struct qcbm_error *err), struct qcbmi_image **out,
                   struct qcbm_error *err)
{
    struct qcbmi_image *img;
    int ret = 0;

    *out = NULL;
    img = qcbmi_alloc_array(1, sizeof(*img), err);
    if (!img) {
        qcbmi_io_close(io);
        return QCBM_E_NOMEM;
    }
    img->open_flags = flags;
    img->io = *io;
    *io = (struct qcbmi_io){ 0 };
    if (path) {
        img->path = qcbmi_memdup_nul(path, strlen(path), err);
        ret = img->path ? 0 : QCBM_E_NOMEM;
    }
    /* Never act on bytes that were read before the lock. Who has a journal open made its link while it had the lock. */
    if (ret == 0 && !(flags & QCBMI_OPEN_LOOKS))
        ret = qcbmi_lock(&img->io, flags, err);
    if (ret == 0 && path && (flags & QCBM_OPEN_WRITE) && !(flags & QCBMI_OPEN_RECOVERS))
        ret = qcbmi_journal_link_check(path, err);
    if (ret == 0 && path && (flags & QCBM_OPEN_WRITE) && !(flags & QCBMI_OPEN_APPLIES))
        ret = qcbmi_unfinished_refuse(path, err);
    if (ret == 0)
        ret = qcbmi_io_refresh_size(&img->io, err);
    if (ret == 0)
        ret = load(img, err);
    if (ret < 0)
        goto fail;
    *out = img;
    return 0;
fail:
    qcbmi_image_free(img);
    return ret;
}

int qcbmi_image_open(struct qcbmi_io *io, const char *path, unsigned flags, struct qcbmi_image **out,
                     struct qcbm_error *err)
{
    return open_by(io, path, flags, qcbmi_image_reload_header, out, err);
}

int qcbmi_image_open_loosely(struct qcbmi_io *io, const char *path, unsigned flags, struct qcbmi_image **out,
                             struct qcbm_error *err)
{
    return open_by(io, path, flags, load_loosely, out, err);
}

void qcbmi_below_free(struct qcbmi_below *below, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(below[i].name);
    free(below);
}

static void free_past(struct qcbmi_below_past *past)
{
    while (past) {
        struct qcbmi_below_past *before = past->before;

        qcbmi_below_free(past->below, past->n);
        free(past);
        past = before;
    }
}

void qcbmi_image_free(struct qcbmi_image *img)
{
    if (!img)
        return;
    forget_header(img);
    qcbmi_snapshots_forget(img);
    free(img->l1);
    free(img->path);
    free(img->name);
    qcbmi_below_free(img->below, img->n_below);
    free_past(img->below_past);
    qcbmi_io_close(&img->io);
    free(img);
}

int qcbmi_image_check_sound(const struct qcbmi_image *img, struct qcbm_error *err)
{
    if (!img->failed)
        return 0;
    return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET, "a commit failed: close the image and look before you go on");
}

int qcbmi_image_check_writable(const struct qcbmi_image *img, struct qcbm_error *err)
{
    if (img->g.version < 3)
        return qcbmi_fail(err, QCBM_E_UNSUPPORTED, Q2_OFF_VERSION,
                          "Cannot store dirty bitmaps in qcow2 v2 files: run 'qemu-img amend -o compat=1.1' first");
    if (img->h.incompatible & QCBM_INCOMPAT_CORRUPT)
        return qcbmi_fail(err, QCBM_E_UNSAFE, Q2_OFF_INCOMPATIBLE,
                          "the image is marked corrupt (incompatible feature bit 1)");
    if (img->h.incompatible & QCBM_INCOMPAT_DIRTY)
        return qcbmi_fail(err, QCBM_E_UNSAFE, Q2_OFF_INCOMPATIBLE,
                          "the image is marked dirty (incompatible feature bit 0), its refcounts cannot be trusted");
    return 0;
}

/* Can a shell take it as the name of a file, as it is? */
static bool is_plain_word(const char *name)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789%+,-./=@_";

    return *name && *name != '-' && name[strspn(name, plain)] == '\0';
}

int qcbmi_image_refuse(const struct qcbmi_image *img, int ret, struct qcbm_error *err)
{
    const char *path = img->path && strlen(img->path) < 200 && is_plain_word(img->path) ? img->path : "FILE";
    char message[sizeof(err->message)], cure[256];

    if (!err || (ret != QCBM_E_UNSAFE && ret != QCBM_E_CORRUPT))
        return ret;
    memcpy(message, err->message, sizeof(message));
    snprintf(cure, sizeof(cure), "; 'qcbm check --explain %s' tells what to do", path);
    snprintf(err->message, sizeof(err->message), "%.*s%s", (int)(sizeof(message) - 1 - strlen(cure)), message, cure);
    return ret;
}

uint64_t qcbmi_image_end(const struct qcbmi_image *img)
{
    return align_up(img->io.size, img->g.cluster_size);
}
