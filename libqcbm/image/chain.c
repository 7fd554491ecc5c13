/* chain.c - the backing chain, for the commands that need it: local qcow2 and raw files only
 * SPDX-License-Identifier: MIT */
#include "image/chain.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"

static const char *printable(char text[256], const char *name)
{
    return qcbmi_printable(text, 256, name, strlen(name));
}

/* As QEMU sees it: a colon before the first slash makes a protocol. */
bool qcbmi_chain_has_protocol(const char *name)
{
    size_t n = strcspn(name, ":/");

    return name[n] == ':';
}

int qcbmi_chain_resolve(const char *image_path, const char *name, char **out, struct qcbm_error *err)
{
    const char *slash = image_path ? strrchr(image_path, '/') : NULL;
    size_t dir_len = slash ? (size_t)(slash - image_path) + 1 : 0;
    char text[256];

    *out = NULL;
    if (strncmp(name, "file:", 5) == 0) {
        name += 5; /* a protocol for QEMU: what follows is relative to the working directory, not to the image's */
        dir_len = 0;
    } else if (qcbmi_chain_has_protocol(name)) {
        return qcbmi_fail(err, QCBM_E_CHAIN, QCBM_NO_OFFSET,
                          "'%s' is not a plain file name: protocols and json: are not followed", printable(text, name));
    }
    if (name[0] == '/')
        dir_len = 0;
    *out = qcbmi_alloc_array(dir_len + strlen(name) + 1, 1, err);
    if (!*out)
        return QCBM_E_NOMEM;
    if (dir_len)
        memcpy(*out, image_path, dir_len);
    memcpy(*out + dir_len, name, strlen(name) + 1);
    return 0;
}

static void close_layer(struct qcbmi_layer *l)
{
    if (!l->borrowed)
        qcbmi_image_free(l->img);
    qcbmi_io_close(&l->raw);
    free(l->filename);
}

void qcbmi_chain_close(struct qcbmi_chain *chain)
{
    for (size_t i = 0; i < chain->n; i++)
        close_layer(&chain->layers[i]);
    free(chain->layers);
    memset(chain, 0, sizeof(*chain));
}

static bool same_file(struct qcbmi_file_id a, struct qcbmi_file_id b)
{
    return a.dev == b.dev && a.ino == b.ino;
}

/* Layers are locked as the top is, which also decides what happens where nothing can be locked. */
static int open_qcow2(struct qcbmi_layer *l, void *self, const struct qcbmi_chain_options *options, unsigned top_flags,
                      struct qcbm_error *err)
{
    unsigned flags = top_flags & (QCBM_OPEN_INFO | QCBM_OPEN_NO_LOCK);

    flags |= options->force_share ? QCBM_OPEN_FORCE_SHARE : 0;
    return qcbmi_image_open(qcbmi_file_ops(), self, l->filename, flags, &l->img, err);
}

static int open_raw(struct qcbmi_layer *l, void *self, const struct qcbmi_chain_options *options, unsigned top_flags,
                    struct qcbm_error *err)
{
    enum qcbm_lock_mode mode = options->force_share ? QCBM_LOCK_READ_SHARED : QCBM_LOCK_READ;
    struct qcbm_error local;
    int ret = qcbmi_io_init(&l->raw, qcbmi_file_ops(), self, false, err);

    if (ret < 0)
        return ret;
    if (top_flags & QCBM_OPEN_INFO)
        mode = options->force_share ? QCBM_LOCK_INFO_SHARED : QCBM_LOCK_INFO;
    ret = qcbmi_io_lock(&l->raw, mode, &local);
    if (ret == QCBM_E_NOLOCKS && (top_flags & QCBM_OPEN_NO_LOCK))
        return 0;
    if (ret < 0 && err)
        *err = local;
    return ret;
}

/* Open l->filename as @format says; without one, guessing would let a guest choose what its disk is taken for. */
static int open_layer(struct qcbmi_layer *l, const char *format, const struct qcbmi_chain_options *options,
                      unsigned top_flags, struct qcbm_error *err)
{
    bool qcow2 = format && strcmp(format, "qcow2") == 0;
    char text[256];
    void *self;
    int ret;

    if (!format)
        return qcbmi_fail(err, QCBM_E_CHAIN, QCBM_NO_OFFSET,
                          "the format of the backing file is not recorded and is not "
                          "guessed: set it with 'qemu-img rebase -u -b NAME -F FORMAT'");
    if (!qcow2 && strcmp(format, "raw") != 0)
        return qcbmi_fail(err, QCBM_E_CHAIN, QCBM_NO_OFFSET, "backing format '%s' is not supported (qcow2 and raw are)",
                          printable(text, format));
    ret = qcbmi_file_open(l->filename, false, &self, err);
    if (ret < 0)
        return ret;
    l->id = qcbmi_file_get_id(self);
    if (options->known && options->known->path && same_file(l->id, options->known->id) && qcow2) {
        qcbmi_file_ops()->close(self);
        l->img = options->known; /* its own locks would refuse us a second time */
        l->borrowed = true;
        return 0;
    }
    return qcow2 ? open_qcow2(l, self, options, top_flags, err) : open_raw(l, self, options, top_flags, err);
}

static int add_layer(struct qcbmi_chain *chain, const struct qcbmi_layer *l, struct qcbm_error *err)
{
    if (qcbmi_grow_array(&chain->layers, &chain->capacity, chain->n, sizeof(*l), err) < 0)
        return QCBM_E_NOMEM;
    chain->layers[chain->n++] = *l;
    return 0;
}

static int add_top(struct qcbm_image *top, struct qcbmi_chain *chain, struct qcbm_error *err)
{
    const char *path = top->path ? top->path : "";
    struct qcbmi_layer l = { .img = top, .id = top->id, .size = top->g.size, .borrowed = true };

    l.filename = qcbmi_memdup_nul(path, strlen(path), err);
    if (l.filename && add_layer(chain, &l, err) == 0)
        return 0;
    free(l.filename);
    return QCBM_E_NOMEM;
}

static int check_loop(const struct qcbmi_chain *chain, const struct qcbmi_layer *l, struct qcbm_error *err)
{
    char text[256];

    for (size_t i = 0; i < chain->n; i++)
        if (same_file(chain->layers[i].id, l->id))
            return qcbmi_fail(err, QCBM_E_CHAIN, QCBM_NO_OFFSET, "backing chain has a loop: '%s' appears twice",
                              printable(text, l->filename));
    if (chain->n >= QCBMI_CHAIN_MAX_DEPTH)
        return qcbmi_fail(err, QCBM_E_CHAIN, QCBM_NO_OFFSET, "backing chain is deeper than %u layers",
                          QCBMI_CHAIN_MAX_DEPTH);
    return 0;
}

/* The layer below @above, which has a backing file. */
static int next_layer(struct qcbm_image *above, struct qcbmi_chain *chain, const struct qcbmi_chain_options *options,
                      struct qcbm_error *err)
{
    struct qcbmi_layer l = { 0 };
    char text[256];
    int ret = qcbmi_chain_resolve(above->path, above->backing_file, &l.filename, err);

    /* The loop is looked for before the open: our own locks must not be in the way. */
    if (ret == 0)
        ret = qcbmi_file_path_id(l.filename, &l.id, err);
    if (ret == 0)
        ret = check_loop(chain, &l, err);
    if (ret == 0)
        ret = open_layer(&l, above->backing_format, options, chain->layers[0].img->open_flags, err);
    if (ret < 0 && ret != QCBM_E_NOMEM) {
        ret = qcbmi_prefix(err, ret == QCBM_E_LOCKED ? ret : QCBM_E_CHAIN,
                           "backing file '%s': ", printable(text, above->backing_file));
    }
    if (ret == 0) {
        l.size = l.img ? l.img->g.size : align_up(l.raw.size, Q2_SECTOR);
        ret = add_layer(chain, &l, err);
    }
    if (ret < 0)
        close_layer(&l);
    return ret;
}

int qcbmi_chain_open(struct qcbm_image *top, const struct qcbmi_chain_options *options, struct qcbmi_chain *chain,
                     struct qcbm_error *err)
{
    int ret = add_top(top, chain, err);

    while (ret == 0) {
        const struct qcbmi_layer *last = &chain->layers[chain->n - 1];

        if (!last->img || !last->img->backing_file)
            break;
        if (options->stop && same_file(last->id, *options->stop))
            break;
        if (options->max_layers && chain->n >= options->max_layers)
            break;
        ret = next_layer(last->img, chain, options, err);
    }
    return ret;
}
