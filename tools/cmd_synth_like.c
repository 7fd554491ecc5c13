/* cmd_synth_like.c - qcbm synth --like: what libvirt would have put into an overlay when it was made
 * SPDX-License-Identifier: MIT
 *
 * Changes since a checkpoint are what the bitmaps of its name say in all layers from the top down. So each bitmap of
 * BASE that records needs one of its name and granularity in the overlay; those that are frozen or inconsistent are not
 * continued, by libvirt's rule. Bits are everything allocated above BASE, so that the bitmap of the top alone, which is
 * what qemu-nbd serves, lacks nothing either when BASE lies deeper than the next layer.
 */
#include <stdlib.h>
#include <string.h>

#include "cmd_synth_like.h"
#include "qemu_text.h"

/* Memory for bits, and what a bitmap takes however few they are. With the rest it stays below 256 MiB. */
enum { MAX_BYTES = 192 << 20, EACH_BYTES = 5 << 10 };

void synth_like_free(struct synth_like *like)
{
    if (!like)
        return;
    for (size_t i = 0; i < like->n; i++)
        free(like->items[i].name);
    for (uint32_t i = 0; i < like->n_layers; i++)
        free(like->layers[i].filename);
    free(like->items);
    free(like->layers);
    free(like);
}

/* ---- what there is -------------------------------------------------------------------------------------- */

/* Bitmaps of one image, to be found by name. The library's list of a layer does not outlive the next look at the
 * chain. */
struct names {
    struct synth_item *items;
    size_t n;
};

static int by_name(const void *a, const void *b)
{
    return strcmp(((const struct synth_item *)a)->name, ((const struct synth_item *)b)->name);
}

static void names_free(struct names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->items[i].name);
    free(names->items);
}

/* Why a bitmap records nothing more, or NULL if it does. */
static const char *fault_of(const struct qcbm_image_info *image, const struct qcbm_bitmap_info *b)
{
    return image->bitmaps_stale             ? "is stale: it was written to by a program that does not know bitmaps"
           : b->in_use                      ? "is inconsistent"
           : !b->usable                     ? "is damaged"
           : strlen(b->name) != b->name_len ? "has a name with a NUL"
           : !b->enabled                    ? "is disabled"
                                            : NULL;
}

static int names_load(struct qcbm_image *img, struct names *names)
{
    struct qcbm_image_info image;

    qcbm_image_get_info(img, &image, sizeof image);
    names->items = calloc((size_t)image.bitmap_count + 1, sizeof *names->items);
    if (!names->items)
        return cmd_error("no memory");
    for (uint32_t i = 0; i < image.bitmap_count; i++) {
        struct qcbm_bitmap_info b;

        qcbm_bitmap_get(img, i, &b, sizeof b);
        names->items[i] = (struct synth_item){ .name = strdup(b.name), .granularity = b.granularity };
        names->items[i].why = fault_of(&image, &b);
        names->n++;
        if (!names->items[i].name)
            return cmd_error("no memory");
    }
    return EXIT_DONE;
}

static const struct synth_item *names_find(const struct names *names, const char *name)
{
    const struct synth_item key = { .name = (char *)(uintptr_t)name };

    return names->n ? bsearch(&key, names->items, names->n, sizeof key, by_name) : NULL;
}

/* What is to become of each bitmap of BASE, beside those that the overlay has. */
static void choose(const struct synth_job *job, struct synth_like *like, const struct names *own)
{
    for (size_t i = 0; i < like->n; i++) {
        struct synth_item *item = &like->items[i];
        const struct synth_item *there = names_find(own, item->name);

        item->outcome = item->why ? SKIPPED : !there ? MADE : job->args->replace ? REPLACED : KEPT;
        if (item->outcome == KEPT) {
            item->why = there->why ? there->why : "is there already";
            item->hint = there->why != NULL;
        }
    }
}

static int count_lacking(struct synth_like *like, const struct qcbm_chain_layer *layer)
{
    struct lack *lack = &like->layers[like->n_layers];
    struct names names = { NULL, 0 };
    int code = layer->image ? names_load(layer->image, &names) : EXIT_DONE;

    lack->filename = strdup(layer->filename);
    if (!lack->filename)
        code = cmd_error("no memory");
    like->n_layers++;
    if (code == EXIT_DONE && names.n > 0)
        qsort(names.items, names.n, sizeof *names.items, by_name);
    for (size_t i = 0; code == EXIT_DONE && i < like->n; i++) {
        const struct synth_item *there = names_find(&names, like->items[i].name);

        lack->lacks += like->items[i].outcome != SKIPPED && (!there || there->why);
    }
    names_free(&names);
    return code;
}

/* Which layer is BASE? 0: none of those below the overlay. */
static uint32_t find_base(struct qcbm_chain *chain, const char *base, struct qcbm_chain_layer *layer,
                          struct qcbm_error *err)
{
    for (uint32_t i = 1; i < qcbm_chain_count(chain); i++) {
        if (qcbm_chain_get(chain, i, layer, sizeof *layer, err) < 0)
            return 0;
        if (qcbm_same_file(layer->filename, base))
            return i;
    }
    return 0;
}

static int take_base(struct synth_job *job, struct synth_like *like, const struct qcbm_chain_layer *layer)
{
    struct names base = { NULL, 0 }, own = { NULL, 0 };
    struct qcbm_image_info overlay;
    int code = names_load(layer->image, &base);

    like->items = base.items;
    like->n = base.n;
    if (code == EXIT_DONE)
        code = names_load(job->overlay, &own);
    if (code == EXIT_DONE) {
        if (own.n > 0)
            qsort(own.items, own.n, sizeof *own.items, by_name);
        qcbm_image_get_info(job->overlay, &overlay, sizeof overlay);
        like->other_size = overlay.virtual_size != layer->virtual_size;
        choose(job, like, &own);
    }
    names_free(&own);
    return code;
}

static int look_at_chain(struct synth_job *job, struct synth_like *like, struct qcbm_chain *chain)
{
    struct qcbm_error err = { .code = 0 };
    struct qcbm_chain_layer layer;
    uint32_t depth = find_base(chain, job->args->like, &layer, &err);
    int code;

    if (err.code)
        return cmd_lib_error(&err, "Could not read the backing chain of '%s'", job->args->common.path);
    if (depth == 0)
        return cmd_error("'%s' is not in the backing chain of '%s'", job->args->like, job->args->common.path);
    if (!layer.image)
        return cmd_error("'%s' is a raw file: it has no bitmaps", job->args->like);
    code = take_base(job, like, &layer);
    like->layers = calloc(depth, sizeof *like->layers);
    if (!like->layers)
        return cmd_error("no memory");
    for (uint32_t i = 1; code == EXIT_DONE && i < depth; i++) {
        if (qcbm_chain_get(chain, i, &layer, sizeof layer, &err) < 0)
            return cmd_lib_error(&err, "Could not read the backing chain of '%s'", job->args->common.path);
        code = count_lacking(like, &layer);
    }
    return code;
}

static int look(struct synth_job *job, struct synth_like *like)
{
    struct qcbm_chain *chain;
    struct qcbm_error err;
    int code;

    if (qcbm_same_file(job->args->common.path, job->args->like))
        return cmd_error("'%s' is the overlay itself", job->args->like);
    if (qcbm_chain_open(job->overlay, &chain, &err) < 0)
        return cmd_lib_error(&err, "Could not open the backing chain of '%s'", job->args->common.path);
    code = look_at_chain(job, like, chain);
    qcbm_chain_close(chain);
    return code;
}

/* ---- the work ------------------------------------------------------------------------------------------ */

/* One scan for each granularity; the bitmaps after the first of it are copies. @first: by the exponent. */
static int make_item(struct synth_job *job, struct synth_item *item, struct synth_item *first[64])
{
    struct synth_item **model = &first[__builtin_ctzll(item->granularity)];
    struct qcbm_synth_result *result = NULL;
    struct qcbm_error err;
    int code;

    if (*model) {
        item->figures = (*model)->figures;
        if ((item->outcome == REPLACED && qcbm_edit_remove(job->edit, item->name, &err) < 0) ||
            qcbm_edit_copy(job->edit, item->name, NULL, (*model)->name, &err) < 0)
            return cmd_lib_error(&err, "Could not synthesise bitmap '%s' from '%s'", item->name,
                                 job->args->common.path);
        return EXIT_DONE;
    }
    code = synth_stage(job, item->name, item->granularity, &result, &item->figures);
    *model = item;
    if (job->result) {
        qcbm_synth_result_free(result);
    } else if (code == EXIT_DONE) {
        job->result = result;
        job->summary = item->figures;
    }
    return code;
}

static int make_all(struct synth_job *job, struct synth_like *like)
{
    struct synth_item *first[64] = { NULL };
    uint64_t bytes = 0;
    int code = EXIT_DONE;

    for (size_t i = 0; code == EXIT_DONE && i < like->n; i++) {
        struct synth_item *item = &like->items[i];

        if (item->outcome != MADE && item->outcome != REPLACED)
            continue;
        code = make_item(job, item, first);
        bytes += item->figures.granules / 8 + EACH_BYTES;
        if (code == EXIT_DONE && i > 0 && bytes > MAX_BYTES)
            code = cmd_error("the bitmaps of '%s' take more than %s of memory: make them one by one, with "
                             "'qcbm synth --since BASE OVERLAY NAME'",
                             job->args->like, size_text(MAX_BYTES).text);
    }
    return code;
}

int synth_like_run(struct synth_job *job, struct synth_like **out)
{
    struct synth_like *like = *out = calloc(1, sizeof *like);
    struct qcbm_error err;
    int code = like ? look(job, like) : cmd_error("no memory");

    if (code != EXIT_DONE)
        return code;
    job->since = job->args->like;
    job->enabled = true;
    if (qcbm_edit_begin(job->overlay, &job->edit, &err) < 0)
        return cmd_lib_error(&err, "Could not change '%s'", job->target_path);
    code = make_all(job, like);
    return code == EXIT_DONE ? synth_carry_out(job) : code;
}
