/* chain.c - the backing chain, for the commands that need it: local qcow2 and raw files only
 * SPDX-License-Identifier: MIT */
#include "image/chain.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "io/open.h"
#include "io/unfinished.h"

static const char *printable(char text[256], const char *name)
{
    return qcbmi_printable(text, 256, name, strlen(name));
}

/* The path that @name, found in the image at @image_path, stands for. */
static int resolve(const char *image_path, const char *name, char **out, struct qcbm_error *err)
{
    const char *local;
    char *full = qcbmi_name_full(image_path, name, err);

    *out = NULL;
    if (!full)
        return QCBM_E_NOMEM;
    local = qcbmi_name_local(full);
    if (!local) {
        free(full);
        return qcbmi_fail(err, QCBM_E_CHAIN, QCBM_NO_OFFSET,
                          "not a plain file name: protocols and json: are not followed");
    }
    memmove(full, local, strlen(local) + 1);
    *out = full;
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

/* Layers are locked as the top is, which also decides what happens where nothing can be locked. */
static unsigned layer_flags(const struct qcbmi_chain *chain, const struct qcbmi_chain_options *options)
{
    unsigned top = chain->layers[0].img->open_flags;

    return (top & (QCBM_OPEN_INFO | QCBM_OPEN_NO_LOCK | QCBMI_OPEN_LOOKS)) |
           (options->force_share ? QCBM_OPEN_FORCE_SHARE : 0);
}

/* The size may have changed before the lock was there. */
static int lock_raw(struct qcbmi_layer *l, unsigned flags, struct qcbm_error *err)
{
    int ret = flags & QCBMI_OPEN_LOOKS ? 0 : qcbmi_lock(&l->raw, flags, err);

    return ret < 0 ? ret : qcbmi_io_refresh_size(&l->raw, err);
}

static bool is_backend(const struct qcbmi_below *named)
{
    return named && named->ops.struct_size;
}

/* Open l->filename as @format says; without one, guessing would let a guest choose what its disk is taken for. */
static int open_layer(struct qcbmi_layer *l, const struct qcbmi_below *named, const char *format,
                      const struct qcbmi_chain_options *options, unsigned flags, const struct qcbmi_trace *trace,
                      struct qcbm_error *err)
{
    bool qcow2 = format && strcmp(format, "qcow2") == 0;
    struct qcbmi_image *known = options->known;
    char text[256];
    int ret;

    if (!format)
        return qcbmi_fail(err, QCBM_E_CHAIN, QCBM_NO_OFFSET,
                          "the format of the backing file is not recorded and is not "
                          "guessed: set it with 'qemu-img rebase -u -b NAME -F FORMAT'");
    if (!qcow2 && strcmp(format, "raw") != 0)
        return qcbmi_fail(err, QCBM_E_CHAIN, QCBM_NO_OFFSET, "backing format '%s' is not supported (qcow2 and raw are)",
                          printable(text, format));
    ret = is_backend(named) ? qcbmi_io_init(&l->raw, &named->ops, named->self, false, err)
                            : qcbmi_open(&l->raw, l->filename, false, err);
    if (ret < 0)
        return ret;
    l->id = l->raw.id;
    qcbmi_io_trace_as(&l->raw, trace, l->filename);
    if (known && qcow2 && qcbmi_same_file(&l->id, &known->io.id)) {
        qcbmi_io_close(&l->raw);
        l->img = known; /* its own locks would refuse us a second time */
        l->borrowed = true;
        return 0;
    }
    return qcow2 ? qcbmi_image_open(&l->raw, is_backend(named) ? NULL : l->filename, flags, &l->img, err)
                 : lock_raw(l, flags, err);
}

static int add_layer(struct qcbmi_chain *chain, const struct qcbmi_layer *l, struct qcbm_error *err)
{
    if (qcbmi_grow_array(&chain->layers, &chain->capacity, chain->n, sizeof(*l), err) < 0)
        return QCBM_E_NOMEM;
    chain->layers[chain->n++] = *l;
    return 0;
}

static int add_top(struct qcbmi_image *top, struct qcbmi_chain *chain, struct qcbm_error *err)
{
    const char *path = top->path ? top->path : top->name ? top->name : "";
    struct qcbmi_layer l = { .img = top, .id = top->io.id, .size = top->g.size, .borrowed = true };

    l.filename = qcbmi_memdup_nul(path, strlen(path), err);
    if (l.filename && add_layer(chain, &l, err) == 0)
        return 0;
    free(l.filename);
    return QCBM_E_NOMEM;
}

static int drop_layer(struct qcbmi_layer *l, int ret)
{
    close_layer(l);
    return ret;
}

/* @l is open. */
static int take_layer(struct qcbmi_chain *chain, struct qcbmi_layer *l, struct qcbm_error *err)
{
    l->size = l->img ? l->img->g.size : align_up(l->raw.size, Q2_SECTOR);
    return add_layer(chain, l, err) < 0 ? drop_layer(l, QCBM_E_NOMEM) : 0;
}

/* What is no file is told apart by its name. */
static bool is_same(const struct qcbmi_layer *a, const struct qcbmi_layer *b)
{
    return qcbmi_same_file(&a->id, &b->id) || (!a->id.known && !b->id.known && strcmp(a->filename, b->filename) == 0);
}

static int check_loop(const struct qcbmi_chain *chain, const struct qcbmi_layer *l, struct qcbm_error *err)
{
    char text[256];

    for (size_t i = 0; i < chain->n; i++)
        if (is_same(&chain->layers[i], l))
            return qcbmi_fail(err, QCBM_E_CHAIN, QCBM_NO_OFFSET, "backing chain has a loop: '%s' appears twice",
                              printable(text, l->filename));
    if (chain->n >= QCBMI_CHAIN_MAX_DEPTH)
        return qcbmi_fail(err, QCBM_E_CHAIN, QCBM_NO_OFFSET, "backing chain is deeper than %u layers",
                          QCBMI_CHAIN_MAX_DEPTH);
    return 0;
}

/* What the caller has said of the next layer; NULL: nothing, so the name in the image above counts. */
static const struct qcbmi_below *named_layer(const struct qcbmi_chain *chain)
{
    const struct qcbmi_image *top = chain->layers[0].img;

    return chain->n - 1 < top->n_below ? &top->below[chain->n - 1] : NULL;
}

static int name_layer(const struct qcbmi_image *above, const struct qcbmi_below *named, char **out,
                      struct qcbm_error *err)
{
    if (named) {
        *out = qcbmi_memdup_nul(named->name, strlen(named->name), err);
        return *out ? 0 : QCBM_E_NOMEM;
    }
    if (qcbmi_io_is_remote(&above->io))
        return qcbmi_fail(err, QCBM_E_CHAIN, QCBM_NO_OFFSET,
                          "the image comes from a server, so this is a name of another machine: no file is opened here "
                          "for it");
    return resolve(above->path, above->backing_file, out, err);
}

static int blame_layer(const struct qcbmi_image *above, const struct qcbmi_below *named, int ret,
                       struct qcbm_error *err)
{
    char text[256], name[256];

    if (ret == 0 || ret == QCBM_E_NOMEM)
        return ret;
    if (named)
        ret = qcbmi_prefix(err, ret, "named to be '%s': ", printable(name, named->name));
    return qcbmi_prefix(err, ret == QCBM_E_LOCKED ? ret : QCBM_E_CHAIN,
                        "backing file '%s': ", printable(text, above->backing_file));
}

/* The layer below @above, which has a backing file. */
static int next_layer(struct qcbmi_image *above, struct qcbmi_chain *chain, const struct qcbmi_chain_options *options,
                      struct qcbm_error *err)
{
    const struct qcbmi_below *named = named_layer(chain);
    struct qcbmi_layer l = { 0 };
    int ret = name_layer(above, named, &l.filename, err);

    /* The loop is looked for before the open: our own locks must not be in the way. */
    if (ret == 0 && !is_backend(named))
        ret = qcbmi_identify(l.filename, &l.id, err);
    if (ret == 0)
        ret = check_loop(chain, &l, err);
    if (ret == 0)
        ret = open_layer(&l, named, above->backing_format, options, layer_flags(chain, options),
                         chain->layers[0].img->io.trace, err);
    ret = blame_layer(above, named, ret, err);
    if (ret == 0 && l.img && !l.borrowed)
        l.img->threads = chain->layers[0].img->threads;
    return ret == 0 ? take_layer(chain, &l, err) : drop_layer(&l, ret);
}

/* More layers were named than there are: then one of them is not what it was taken for. */
static int check_all_named(const struct qcbmi_chain *chain, struct qcbm_error *err)
{
    const struct qcbmi_below *named = named_layer(chain);
    char text[256];

    return named ? qcbmi_fail(err, QCBM_E_CHAIN, QCBM_NO_OFFSET,
                              "'%s' is named as a layer, and the one above it has no backing file",
                              printable(text, named->name))
                 : 0;
}

bool qcbmi_chain_can_be_found(const struct qcbmi_image *top)
{
    return top->path || top->n_below || qcbmi_io_is_remote(&top->io);
}

int qcbmi_chain_open(struct qcbmi_image *top, const struct qcbmi_chain_options *options, struct qcbmi_chain *chain,
                     struct qcbm_error *err)
{
    int ret = add_top(top, chain, err);

    while (ret == 0) {
        const struct qcbmi_layer *last = &chain->layers[chain->n - 1];

        if (options->stop && qcbmi_same_file(&last->id, options->stop))
            break;
        if (options->max_layers && chain->n >= options->max_layers)
            break;
        if (!last->img || !last->img->backing_file)
            return check_all_named(chain, err);
        ret = next_layer(last->img, chain, options, err);
    }
    return ret;
}

int qcbmi_chain_take_raw(struct qcbmi_io *io, const char *name, unsigned flags, struct qcbmi_chain *chain,
                         struct qcbm_error *err)
{
    struct qcbmi_layer l = { .raw = *io, .id = io->id, .filename = qcbmi_memdup_nul(name, strlen(name), err) };
    int ret = l.filename ? lock_raw(&l, flags, err) : QCBM_E_NOMEM;

    return ret == 0 ? take_layer(chain, &l, err) : drop_layer(&l, ret);
}

int qcbmi_chain_open_raw(const char *path, unsigned flags, struct qcbmi_chain *chain, struct qcbm_error *err)
{
    struct qcbmi_io io;
    int ret = qcbmi_open(&io, path, false, err);

    return ret < 0 ? ret : qcbmi_chain_take_raw(&io, path, flags, chain, err);
}

/* Ciphertext depends on where it lies. */
int qcbmi_chain_check_finished(const struct qcbmi_chain *chain, struct qcbm_error *err)
{
    return qcbmi_chain_check_finished_below(chain, 0, err);
}

int qcbmi_chain_check_finished_below(const struct qcbmi_chain *chain, size_t first, struct qcbm_error *err)
{
    for (size_t i = first; i < chain->n; i++) {
        const struct qcbmi_layer *l = &chain->layers[i];
        const char *name = l->filename;
        char text[256];
        int ret = *name && l->id.known ? qcbmi_unfinished_refuse(name, err) : 0; /* else it is no name of a file */

        if (ret < 0)
            return qcbmi_prefix(err, ret, "'%s': ", printable(text, name));
    }
    return 0;
}

int qcbmi_chain_check_plain(const struct qcbmi_chain *chain, struct qcbm_error *err)
{
    char text[256];

    for (size_t i = 0; i < chain->n; i++) {
        const struct qcbmi_layer *l = &chain->layers[i];

        if (l->img && l->img->h.crypt_method)
            return qcbmi_fail(err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET,
                              "'%s' is encrypted (%s): its content cannot be compared without the key",
                              qcbmi_printable(text, sizeof(text), l->filename, strlen(l->filename)),
                              l->img->h.crypt_method == 1 ? "AES" : "LUKS");
    }
    return 0;
}
