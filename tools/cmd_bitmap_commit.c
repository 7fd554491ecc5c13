/* cmd_bitmap_commit.c - qcbm bitmap --commit-into: the bitmaps' half of a commit; the data is qemu-img's
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "cmd_bitmap.h"
#include "plan_out.h"
#include "qemu_text.h"

struct committed {
    char *name, *where;
    struct qcbm_committed_bitmap b;
    struct qcbm_edit_bitmap_info figures; /* of one that is not left out */
};

struct commit {
    const struct bitmap_args *args;
    const char *base;
    struct qcbm_image *top, *img; /* img: of the base */
    struct qcbm_edit *edit;
    struct committed *list;
    size_t n, room;
    struct plan plan;
};

static const char *const outcomes[] = {
    [QCBM_BITMAP_MERGED] = "merged",
    [QCBM_BITMAP_CREATED] = "created",
    [QCBM_BITMAP_LEFT_OUT] = "left-out",
};

static int keep(void *opaque, const struct qcbm_committed_bitmap *b)
{
    struct commit *c = opaque;
    struct committed *one;

    if (c->n == c->room) {
        size_t room = 2 * c->room + 8;
        struct committed *list = realloc(c->list, room * sizeof *list);

        if (!list)
            return 1;
        c->list = list;
        c->room = room;
    }
    one = &c->list[c->n++];
    *one = (struct committed){ .name = strdup(b->name), .where = b->where ? strdup(b->where) : NULL, .b = *b };
    return !one->name || (b->where && !one->where);
}

/* ---- what is told -------------------------------------------------------------------------------------- */

static void print_name(const char *name)
{
    putchar('\'');
    print_escaped(stdout, name, strlen(name));
    putchar('\'');
}

static void print_one(const struct committed *one)
{
    printf("commit-into: ");
    print_name(one->name);
    if (one->b.outcome == QCBM_BITMAP_LEFT_OUT) {
        printf(" is left out: %s (", one->b.why);
        print_escaped(stdout, one->where, strlen(one->where));
        printf(")\n");
        return;
    }
    printf(" has %s dirty, granularity %s, %s from %" PRIu32 " layer%s\n", size_text(one->figures.dirty_bytes).text,
           size_text(one->figures.granularity).text, outcomes[one->b.outcome], one->b.layers,
           one->b.layers == 1 ? "" : "s");
}

static void print_text(const struct commit *c)
{
    for (size_t i = 0; i < c->n; i++)
        print_one(&c->list[i]);
    if (c->n == 0)
        printf("no layer has a bitmap\n");
    if (c->args->common.dry_run)
        plan_print(&c->plan, stdout);
}

/* A bitmap that stays in the base and does not know what the commit brings there is an increment that lacks it. */
static void warn(const struct commit *c)
{
    for (size_t i = 0; i < c->n; i++) {
        if (c->list[i].b.outcome == QCBM_BITMAP_LEFT_OUT && c->list[i].b.in_base)
            cmd_warning(
                "'%s' of '%s' does not say what the layers above it changed: unless it records while the data is "
                "committed, remove it",
                c->list[i].name, c->base);
    }
}

static void write_one(struct json_writer *w, const struct committed *one)
{
    json_begin_object(w, NULL);
    json_string(w, "bitmap", one->name);
    json_string(w, "outcome", outcomes[one->b.outcome]);
    json_bool(w, "in-base", one->b.in_base);
    if (one->b.outcome == QCBM_BITMAP_LEFT_OUT) {
        json_string(w, "reason", one->b.why);
        json_string(w, "where", one->where);
    } else {
        json_u64(w, "layers", one->b.layers);
        json_u64(w, "granularity", one->figures.granularity);
        json_u64(w, "dirty-bytes", one->figures.dirty_bytes);
    }
    json_end_object(w);
}

static void print_json(const struct commit *c)
{
    struct json_writer w = JSON_WRITER_INIT(stdout);

    json_begin_object(&w, NULL);
    json_string(&w, "image", c->base);
    json_string(&w, "top", c->args->common.path);
    json_begin_array(&w, "bitmaps");
    for (size_t i = 0; i < c->n; i++)
        write_one(&w, &c->list[i]);
    json_end_array(&w);
    json_bool(&w, "dry-run", c->args->common.dry_run);
    plan_write_json(&c->plan, c->args->common.dry_run, &w);
    json_end_object(&w);
    json_finish(&w);
}

/* ---- the work ------------------------------------------------------------------------------------------ */

static bool open_both(struct commit *c)
{
    const struct common_args *common = &c->args->common;

    if (qcbm_same_file(common->path, c->base)) {
        cmd_error("'%s' cannot be committed into itself", common->path);
        return false;
    }
    c->top = common_open(common, common_reading(common));
    if (c->top)
        c->img = common_with_threads(common, cmd_open(c->base, NULL, common_writing(common)));
    return c->img != NULL;
}

static int look(struct commit *c, struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < c->n; i++) {
        struct committed *one = &c->list[i];

        if (one->b.outcome != QCBM_BITMAP_LEFT_OUT)
            ret = qcbm_edit_look(c->edit, one->name, &one->figures, sizeof one->figures, err);
    }
    return ret;
}

static int change(struct commit *c)
{
    const struct common_args *common = &c->args->common;
    struct qcbm_error err;

    if (qcbm_edit_begin(c->img, &c->edit, &err) < 0)
        return cmd_lib_error(&err, "Could not change '%s'", c->base);
    if (qcbm_edit_commit_bitmaps(c->edit, c->top, keep, c, &err) < 0 || look(c, &err) < 0)
        return cmd_lib_error(&err, "Could not commit the bitmaps of '%s' into '%s'", common->path, c->base);
    if (plan_run(&c->plan, c->img, c->edit, common, &err) < 0)
        return cmd_lib_error(&err, "Could not change '%s'", c->base);
    warn(c);
    return EXIT_DONE;
}

int bitmap_commit(const struct bitmap_args *args, const char *base)
{
    struct commit c = { .args = args, .base = base };
    int code = open_both(&c) ? change(&c) : EXIT_FAILED;

    if (code == EXIT_DONE && args->common.output == OUTPUT_JSON)
        print_json(&c);
    else if (code == EXIT_DONE && !args->common.quiet)
        print_text(&c);
    plan_clear(&c.plan);
    for (size_t i = 0; i < c.n; i++) {
        free(c.list[i].name);
        free(c.list[i].where);
    }
    free(c.list);
    qcbm_edit_free(c.edit);
    qcbm_close(c.img);
    qcbm_close(c.top);
    return code;
}
