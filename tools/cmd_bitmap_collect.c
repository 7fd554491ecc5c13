/* cmd_bitmap_collect.c - qcbm bitmap --collect: the bitmaps of one name in all layers of a chain, put into one in the
 * top
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cmd_bitmap.h"
#include "plan_out.h"
#include "qemu_text.h"

struct layer {
    char *filename;
    struct qcbm_collected c;
};

struct collection {
    const struct bitmap_args *args;
    const char *name, *into;
    struct qcbm_image *img;
    struct layer *layers;
    size_t n, n_taken; /* those that have the bitmap come first */
    struct qcbm_edit_bitmap_info figures;
    struct plan plan;
};

static int keep(void *opaque, const struct qcbm_collected *layer)
{
    struct collection *all = opaque;
    struct layer *layers = realloc(all->layers, (all->n + 1) * sizeof *layers);

    if (!layers)
        return 1;
    all->layers = layers;
    layers[all->n] = (struct layer){ strdup(layer->filename), *layer };
    all->n_taken += layer->has;
    return !layers[all->n++].filename;
}

/* ---- what is told -------------------------------------------------------------------------------------- */

static void print_name(const char *name)
{
    putchar('\'');
    print_escaped(stdout, name, strlen(name));
    putchar('\'');
}

static void print_layer(const struct layer *l)
{
    printf("  ");
    print_escaped(stdout, l->filename, strlen(l->filename));
    printf(": %s dirty%s", size_text(l->c.dirty_bytes).text, l->c.enabled ? "" : ", disabled");
    if (l->c.tail_bytes > 0)
        printf("; %s behind its end are dirty, as nobody knows of them", size_text(l->c.tail_bytes).text);
    putchar('\n');
}

static void print_text(const struct collection *all)
{
    printf("collect: ");
    print_name(all->into);
    printf(" has %s dirty, granularity %s, from %zu of %zu layers\n", size_text(all->figures.dirty_bytes).text,
           size_text(all->figures.granularity).text, all->n_taken, all->n);
    for (size_t i = 0; i < all->n_taken; i++)
        print_layer(&all->layers[i]);
    if (all->n_taken < all->n) {
        printf("  ");
        print_name(all->name);
        printf(" begins there: the layers below have none\n");
    }
    if (all->args->common.dry_run)
        plan_print(&all->plan, stdout);
}

/* What the answer rests on, and nobody can see from here. */
static void warn(const struct collection *all)
{
    for (size_t i = 0; i < all->n_taken; i++) {
        if (!all->layers[i].c.enabled)
            cmd_warning(
                "'%s' of '%s' is disabled: what was written there since then is not in it, and libvirt does not "
                "accept it",
                all->name, all->layers[i].filename);
    }
}

static void write_layer(struct json_writer *w, const struct layer *l)
{
    json_begin_object(w, NULL);
    json_string(w, "filename", l->filename);
    json_u64(w, "virtual-size", l->c.virtual_size);
    json_bool(w, "has-bitmap", l->c.has);
    if (l->c.has) {
        json_bool(w, "enabled", l->c.enabled);
        json_u64(w, "granularity", l->c.granularity);
        json_u64(w, "dirty-bytes", l->c.dirty_bytes);
        json_u64(w, "tail-bytes", l->c.tail_bytes);
    }
    json_end_object(w);
}

static void print_json(const struct collection *all)
{
    struct json_writer w = JSON_WRITER_INIT(stdout);

    json_begin_object(&w, NULL);
    json_string(&w, "image", all->args->common.path);
    json_string(&w, "bitmap", all->into);
    json_string(&w, "source-bitmap", all->name);
    json_u64(&w, "granularity", all->figures.granularity);
    json_bool(&w, "enabled", all->figures.enabled);
    json_u64(&w, "dirty-bytes", all->figures.dirty_bytes);
    json_begin_array(&w, "layers");
    for (size_t i = 0; i < all->n; i++)
        write_layer(&w, &all->layers[i]);
    json_end_array(&w);
    json_bool(&w, "dry-run", all->args->common.dry_run);
    plan_write_json(&all->plan, all->args->common.dry_run, &w);
    json_end_object(&w);
    json_finish(&w);
}

/* ---- the work ------------------------------------------------------------------------------------------ */

static int fail(const struct collection *all, const struct qcbm_error *err)
{
    const char *path = all->args->common.path;
    int code = cmd_lib_error(err, "Could not collect bitmap '%s' in the layers of '%s'", all->name, path);

    if (err->code == QCBM_E_NOTFOUND && err->sys_errno == 0)
        cmd_hint("where a layer below has it, 'qcbm synth' makes it in this one, of all that the layer holds");
    return code;
}

static int change(struct collection *all, struct qcbm_edit **edit)
{
    const struct common_args *common = &all->args->common;
    struct qcbm_error err;

    if (qcbm_edit_begin(all->img, edit, &err) < 0)
        return cmd_lib_error(&err, "Could not change '%s'", common->path);
    if (qcbm_edit_collect(*edit, all->name, all->args->as, keep, all, &err) < 0 ||
        qcbm_edit_look(*edit, all->into, &all->figures, sizeof all->figures, &err) < 0)
        return fail(all, &err);
    if (plan_run(&all->plan, all->img, *edit, common, &err) < 0)
        return cmd_lib_error(&err, "Could not change '%s'", common->path);
    warn(all);
    return EXIT_DONE;
}

int bitmap_collect(const struct bitmap_args *args, const char *name)
{
    struct collection all = { .args = args, .name = name, .into = args->as ? args->as : name };
    struct qcbm_edit *edit = NULL;
    int code = EXIT_FAILED;

    all.img = common_open(&args->common, common_writing(&args->common));
    if (all.img)
        code = change(&all, &edit);
    if (code == EXIT_DONE && args->common.output == OUTPUT_JSON)
        print_json(&all);
    else if (code == EXIT_DONE && !args->common.quiet)
        print_text(&all);
    plan_clear(&all.plan);
    for (size_t i = 0; i < all.n; i++)
        free(all.layers[i].filename);
    free(all.layers);
    qcbm_edit_free(edit);
    qcbm_close(all.img);
    return code;
}
