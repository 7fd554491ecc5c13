/* cmd_bitmap_prune_chain.c - qcbm bitmap --prune: of one image, or with --chain of all layers of a chain
 * SPDX-License-Identifier: MIT
 *
 * Which are the last ones is decided once for the chain, by all names that there are in it. All layers are locked
 * before the first is written, and the top is the first: should the work end early, a bitmap is missing above and there
 * below, which everybody refuses. The other way round it would look whole and lack what the layers below recorded.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd_bitmap_prune.h"
#include "qemu_text.h"

struct layer {
    char *path, *undo;
    struct common_args common; /* of the command, with these two */
    struct prune prune;
};

struct chain_prune {
    const struct bitmap_args *args;
    struct prune all; /* the names of all layers; it has no image */
    struct layer *layers;
    size_t n;
};

/* ---- what there is ------------------------------------------------------------------------------------- */

static int add_layer(struct chain_prune *c, const struct qcbm_chain_layer *from, uint32_t depth)
{
    const char *undo = c->args->common.undo;
    struct layer *l = &c->layers[c->n];

    if (!from->image)
        return EXIT_DONE; /* a raw file has no bitmaps */
    l->path = strdup(from->filename);
    if (!l->path || (undo && asprintf(&l->undo, depth ? "%s.%u" : "%s", undo, depth) < 0))
        return cmd_error("no memory");
    l->common = c->args->common;
    l->common.path = l->path;
    l->common.undo = l->undo;
    l->prune = (struct prune){ .common = &l->common, .pattern = c->all.pattern };
    c->n++;
    return prune_find(&c->all, from->image);
}

static int look_at_layers(struct chain_prune *c, struct qcbm_chain *chain)
{
    uint32_t count = qcbm_chain_count(chain);
    int code = EXIT_DONE;

    c->layers = calloc((size_t)count + 1, sizeof *c->layers);
    if (!c->layers)
        return cmd_error("no memory");
    for (uint32_t i = 0; code == EXIT_DONE && i < count; i++) {
        struct qcbm_chain_layer layer;
        struct qcbm_error err;

        if (qcbm_chain_get(chain, i, &layer, sizeof layer, &err) < 0)
            return cmd_lib_error(&err, "Could not read layer %u of '%s'", i, c->args->common.path);
        code = add_layer(c, &layer, i);
    }
    return code;
}

static int look(struct chain_prune *c)
{
    const struct common_args *common = &c->args->common;
    struct qcbm_image *top = common_open(common, common_reading(common));
    struct qcbm_chain *chain = NULL;
    struct qcbm_error err;
    int code;

    if (!top)
        return EXIT_FAILED;
    code = qcbm_chain_open(top, &chain, &err) < 0
               ? cmd_lib_error(&err, "Could not open the backing chain of '%s'", common->path)
               : look_at_layers(c, chain);
    qcbm_chain_close(chain);
    qcbm_close(top);
    return code;
}

/* A name is one, however many layers have it, and can be used if it can be in all of them. */
static void unite(struct prune *all)
{
    size_t n = 0;

    for (size_t i = 0; i < all->n; i++) {
        if (n && strcmp(all->matches[n - 1].name, all->matches[i].name) == 0) {
            all->matches[n - 1].usable &= all->matches[i].usable;
            free(all->matches[i].name);
        } else {
            all->matches[n++] = all->matches[i];
        }
    }
    all->n = n;
}

/* ---- the work ------------------------------------------------------------------------------------------ */

static int open_layer(struct chain_prune *c, struct layer *l)
{
    int code;

    if (l->undo && !l->common.dry_run && access(l->undo, F_OK) == 0)
        return cmd_error("'%s' exists: an undo file is not overwritten", l->undo);
    l->prune.img = common_with_threads(&l->common, cmd_open(l->path, NULL, common_writing(&l->common)));
    if (!l->prune.img)
        return EXIT_FAILED;
    code = prune_find(&l->prune, l->prune.img);
    for (size_t i = 0; code == EXIT_DONE && i < l->prune.n; i++) {
        const struct match *m = prune_named(&c->all, l->prune.matches[i].name);

        l->prune.matches[i].goes = m && m->goes;
    }
    return code;
}

static int remove_all(struct chain_prune *c)
{
    int code = EXIT_DONE;

    for (size_t i = 0; code == EXIT_DONE && i < c->n; i++)
        code = open_layer(c, &c->layers[i]);
    for (size_t i = 0; code == EXIT_DONE && i < c->n; i++) {
        if (prune_any(&c->layers[i].prune))
            code = prune_remove(&c->layers[i].prune);
        if (code != EXIT_DONE && i > 0 && !c->args->common.dry_run)
            cmd_hint("the layers above '%s' are done", c->layers[i].path);
    }
    return code;
}

static void print_text(const struct chain_prune *c)
{
    for (size_t i = 0; i < c->n; i++) {
        if (!prune_any(&c->layers[i].prune))
            continue;
        print_escaped(stdout, c->layers[i].path, strlen(c->layers[i].path));
        printf(":\n");
        prune_print(&c->layers[i].prune);
    }
}

static void print_json(const struct chain_prune *c)
{
    struct json_writer w = JSON_WRITER_INIT(stdout);

    json_begin_array(&w, NULL);
    for (size_t i = 0; i < c->n; i++)
        prune_write_json(&c->layers[i].prune, &w);
    json_end_array(&w);
    json_finish(&w);
}

static int prune_chain(const struct bitmap_args *args, const char *pattern)
{
    struct chain_prune c = { .args = args, .all = { .common = &args->common, .pattern = pattern, .keep = args->keep } };
    int code = look(&c);

    if (code == EXIT_DONE) {
        unite(&c.all);
        prune_choose(&c.all);
        code = remove_all(&c);
    }
    if (code == EXIT_DONE && args->common.output == OUTPUT_JSON)
        print_json(&c);
    else if (code == EXIT_DONE && !args->common.quiet)
        print_text(&c);
    for (size_t i = 0; i < c.n; i++) {
        prune_clear(&c.layers[i].prune);
        free(c.layers[i].path);
        free(c.layers[i].undo);
    }
    free(c.layers);
    prune_clear(&c.all);
    return code;
}

static int prune_image(const struct bitmap_args *args, const char *pattern)
{
    struct prune p = { .common = &args->common, .pattern = pattern, .keep = args->keep };
    struct json_writer w = JSON_WRITER_INIT(stdout);
    int code = EXIT_FAILED;

    p.img = common_open(&args->common, common_writing(&args->common));
    if (p.img)
        code = prune_find(&p, p.img);
    prune_choose(&p);
    if (code == EXIT_DONE)
        code = prune_remove(&p);
    if (code == EXIT_DONE && args->common.output == OUTPUT_JSON) {
        prune_write_json(&p, &w);
        json_finish(&w);
    } else if (code == EXIT_DONE && !args->common.quiet) {
        prune_print(&p);
    }
    prune_clear(&p);
    return code;
}

int bitmap_prune(const struct bitmap_args *args, const char *pattern)
{
    return (args->chain ? prune_chain : prune_image)(args, pattern);
}
