/* cmd_bitmap_revive.c - qcbm bitmap --revive, --revive-all: bitmaps in use made ones that can be relied on
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include "cmd_bitmap.h"
#include "plan_out.h"
#include "progress.h"
#include "qemu_text.h"

struct revived {
    char *name, *why;
    struct qcbm_revived r;
};

struct revival {
    const struct bitmap_args *args;
    struct qcbm_image *img;
    struct revived *list;
    size_t n;
    struct plan plan;
};

static const char *const claims[] = {
    [QCBM_REVIVED_UNION] = "stored-and-allocated",
    [QCBM_REVIVED_ALL] = "all",
    [QCBM_REVIVED_TRUSTED] = "trusted",
    [QCBM_REVIVED_EXACT] = "exact",
};

static void free_one(struct revived *b)
{
    free(b->name);
    free(b->why);
}

static int keep(void *opaque, const struct qcbm_revived *r)
{
    struct revival *all = opaque;
    struct revived *list = realloc(all->list, (all->n + 1) * sizeof *list);

    if (!list)
        return 1;
    all->list = list;
    list[all->n] = (struct revived){ strdup(r->name), strdup(r->why), *r };
    all->n++;
    return !list[all->n - 1].name || !list[all->n - 1].why;
}

static void print_one(const struct revived *b)
{
    const struct qcbm_revived *r = &b->r;

    printf("revive: '");
    print_escaped(stdout, b->name, strlen(b->name));
    printf("' has %s dirty: ", size_text(r->dirty_bytes).text);
    if (r->claim == QCBM_REVIVED_UNION)
        printf("what was stored (%s), and all that the image has allocated (%s)", size_text(r->stored_bytes).text,
               size_text(r->allocated_bytes).text);
    else
        printf("%s", r->claim == QCBM_REVIVED_ALL     ? "all of the disk"
                     : r->claim == QCBM_REVIVED_EXACT ? "what differs from the manifest"
                                                      : "what was stored");
    printf("; %s\n", b->why);
    if (r->claim == QCBM_REVIVED_TRUSTED || r->claim == QCBM_REVIVED_EXACT)
        return;
    printf("  of that, at most %s did not change, and are copied for nothing",
           size_text(r->dirty_bytes - r->stored_bytes).text);
    if (r->claim == QCBM_REVIVED_UNION)
        printf("; %s are not allocated now, and dirty because they were when it was stored",
               size_text(r->dirty_bytes - r->allocated_bytes).text);
    printf("\n");
}

static void print_text(const struct revival *all)
{
    for (size_t i = 0; i < all->n; i++)
        print_one(&all->list[i]);
    if (all->n == 0)
        printf("no bitmap is in use\n");
    if (all->args->common.dry_run)
        plan_print(&all->plan, stdout);
}

/* How far from the truth it can be. */
static void write_bounds(struct json_writer *w, const struct qcbm_revived *r)
{
    json_u64(w, "stored-bytes", r->stored_bytes);
    if (r->claim != QCBM_REVIVED_TRUSTED)
        json_u64(w, "allocated-bytes", r->allocated_bytes);
    json_u64(w, "dirty-bytes", r->dirty_bytes);
    json_u64(w, "beyond-stored", r->dirty_bytes - r->stored_bytes);
    if (r->claim != QCBM_REVIVED_TRUSTED)
        json_u64(w, "beyond-allocated", r->dirty_bytes - r->allocated_bytes);
}

static void write_one(struct json_writer *w, const struct revived *b)
{
    const struct qcbm_revived *r = &b->r;

    json_begin_object(w, NULL);
    json_string(w, "bitmap", b->name);
    json_string(w, "claim", claims[r->claim]);
    json_string(w, "why", b->why);
    if (r->claim == QCBM_REVIVED_EXACT)
        json_u64(w, "dirty-bytes", r->dirty_bytes);
    else
        write_bounds(w, r);
    json_bool(w, "enabled", r->enabled);
    json_end_object(w);
}

static void print_json(const struct revival *all)
{
    struct json_writer w = JSON_WRITER_INIT(stdout);

    json_begin_object(&w, NULL);
    json_string(&w, "image", all->args->common.path);
    json_begin_array(&w, "revived");
    for (size_t i = 0; i < all->n; i++)
        write_one(&w, &all->list[i]);
    json_end_array(&w);
    json_bool(&w, "dry-run", all->args->common.dry_run);
    plan_write_json(&all->plan, all->args->common.dry_run, &w);
    json_end_object(&w);
    json_finish(&w);
}

static int revive(struct revival *all, struct qcbm_edit *edit, struct qcbm_error *err)
{
    const struct bitmap_args *args = all->args;
    struct progress progress = { .wanted = args->common.progress && !args->common.quiet };
    const struct qcbm_progress told = progress_of(&progress);
    int ret;

    if (!args->against)
        return qcbm_edit_revive(edit, args->name, args->trust ? QCBM_REVIVE_TRUST : 0, keep, all, err);
    ret = qcbm_edit_revive_against(edit, args->name, args->against, &told, keep, all, err);
    progress_end(&progress, ret == 0);
    return ret;
}

static int change(struct revival *all)
{
    struct qcbm_edit *edit = NULL;
    struct qcbm_error err;
    int ret = qcbm_edit_begin(all->img, &edit, &err);

    if (ret == 0)
        ret = revive(all, edit, &err);
    if (ret == 0)
        ret = plan_run(&all->plan, all->img, edit, &all->args->common, &err);
    qcbm_edit_free(edit);
    return ret < 0 ? cmd_lib_error(&err, "Could not change '%s'", all->args->common.path) : EXIT_DONE;
}

int bitmap_revive(const struct bitmap_args *args, const char *none)
{
    struct revival all = { .args = args };
    int code = EXIT_FAILED;

    (void)none;
    all.img = common_open(&args->common, common_writing(&args->common));
    if (all.img)
        code = change(&all);
    if (code == EXIT_DONE && args->common.output == OUTPUT_JSON)
        print_json(&all);
    else if (code == EXIT_DONE && !args->common.quiet)
        print_text(&all);
    plan_clear(&all.plan);
    for (size_t i = 0; i < all.n; i++)
        free_one(&all.list[i]);
    free(all.list);
    qcbm_close(all.img);
    return code;
}
