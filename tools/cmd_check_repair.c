/* cmd_check_repair.c - qcbm check -r: repairs carried out, each told in a line, and kept for JSON
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd_check.h"
#include "mend.h"
#include "progress.h"

enum qcbm_repair_level check_repair_level(const char *name)
{
    static const struct {
        const char *name;
        enum qcbm_repair_level level;
    } levels[] = { { "leaks", QCBM_REPAIR_LEAKS }, { "all", QCBM_REPAIR_ALL }, { "bitmaps", QCBM_REPAIR_BITMAPS } };

    for (size_t i = 0; i < sizeof levels / sizeof levels[0]; i++)
        if (strcmp(name, levels[i].name) == 0)
            return levels[i].level;
    return QCBM_REPAIR_NONE;
}

/* All that the callbacks of one repair work on. */
struct repairing {
    struct check_report *first, *left;
    struct check_repairs *repairs;
};

static int on_finding(void *opaque, const struct qcbm_check_finding *f)
{
    return check_report_finding(((struct repairing *)opaque)->first, f);
}

static int on_kind(void *opaque, const struct qcbm_check_kind *kind)
{
    return check_report_kind(((struct repairing *)opaque)->first, kind);
}

static int on_summary(void *opaque, const struct qcbm_check_summary *s)
{
    return check_report_summary(((struct repairing *)opaque)->first, s);
}

static int on_left_summary(void *opaque, const struct qcbm_check_summary *s)
{
    return check_report_summary(((struct repairing *)opaque)->left, s);
}

static int on_left(void *opaque, const struct qcbm_check_finding *f)
{
    return check_report_finding(((struct repairing *)opaque)->left, f);
}

static int on_left_kind(void *opaque, const struct qcbm_check_kind *kind)
{
    return check_report_kind(((struct repairing *)opaque)->left, kind);
}

static int on_step(void *opaque, const struct qcbm_plan_step *step)
{
    return plan_collect(&((struct repairing *)opaque)->repairs->plan, step);
}

static char *copy(const char *text)
{
    return text && *text ? strdup(text) : NULL;
}

/* What is told because nothing can be done about it. */
static bool is_left(const struct qcbm_repair_row *row)
{
    return strcmp(row->code, "guest-range-left") == 0 || strcmp(row->code, "bitmap-left") == 0 ||
           strcmp(row->code, "bitmaps-left") == 0;
}

static int on_row(void *opaque, const struct qcbm_repair_row *row)
{
    struct check_repairs *r = ((struct repairing *)opaque)->repairs;
    struct check_report *first = ((struct repairing *)opaque)->first;
    size_t capacity = r->capacity ? 2 * r->capacity : 16;

    if (r->n_rows == r->capacity) {
        struct check_repair *grown = realloc(r->rows, capacity * sizeof grown[0]);

        if (!grown)
            return 1;
        r->rows = grown;
        r->capacity = capacity;
    }
    r->rows[r->n_rows++] =
        (struct check_repair){ *row,           copy(row->code), copy(row->bitmap), copy(row->done), copy(row->kept),
                               copy(row->lost) };
    first->others |= strcmp(row->code, "leaks-kept") == 0;
    if (strcmp(row->code, "leaks-freed") == 0)
        check_report_again(first, "Leaked");
    if (strcmp(row->code, "refcounts-raised") == 0)
        check_report_again(first, "ERROR");
    mend_print_row(row, is_left(row) ? "left:" : r->dry_run ? "would repair:" : "repair:");
    return 0;
}

void check_repairs_clear(struct check_repairs *repairs)
{
    for (size_t i = 0; i < repairs->n_rows; i++) {
        struct check_repair *r = &repairs->rows[i];

        free(r->code);
        free(r->bitmap);
        free(r->done);
        free(r->kept);
        free(r->lost);
    }
    free(repairs->rows);
    plan_clear(&repairs->plan);
}

/* Nothing was repaired: what the first pass found is what is left, and what was told as that. */
static void keep_first(struct check_report *first, struct check_report *left)
{
    struct check_report told = *left;

    *left = *first;
    left->json = told.json;
    left->later = false;
    left->repairs = told.repairs;
    left->repaired = told.repaired;
    left->result = told.result;
    memset(first, 0, sizeof *first);
    for (size_t i = 0; i < told.n_listed; i++) {
        struct qcbm_check_finding f = told.listed[i].f;

        f.message = told.listed[i].message;
        check_report_finding(left, &f);
    }
    check_report_clear(&told);
}

static struct qcbm_repair_options options_of(const struct check_args *args)
{
    struct qcbm_repair_options o = QCBM_REPAIR_OPTIONS_INIT;

    o.level = check_repair_level(args->repair);
    o.flags = (args->common.dry_run ? QCBM_REPAIR_DRY_RUN : 0) | (args->common.force ? QCBM_REPAIR_FORCE : 0);
    if (args->lost && strcmp(args->lost, "backing") == 0)
        o.flags |= QCBM_REPAIR_TO_BACKING;
    o.undo = args->common.undo;
    if (args->memory)
        o.memory = args->memory;
    o.finding = on_finding;
    o.kind = on_kind;
    o.left = on_left;
    o.left_kind = on_left_kind;
    o.summary = on_summary;
    o.left_summary = on_left_summary;
    o.row = on_row;
    o.step = args->common.dry_run ? on_step : NULL;
    return o;
}

bool check_repair(struct qcbm_image *img, const struct check_args *args, struct check_report *first,
                  struct check_report *r, struct check_repairs *repairs)
{
    struct repairing all = { first, r, repairs };
    struct qcbm_repair_options o = options_of(args);
    struct progress shown = { .wanted = args->common.progress && !args->common.quiet };
    const struct qcbm_progress progress = progress_of(&shown);
    struct qcbm_error err;
    int ret;

    first->json = r->json; /* if nothing is repaired its findings are those that are left */
    o.progress = &progress;
    o.after = &r->result;
    o.check_result_size = sizeof r->result;
    o.opaque = &all;
    ret = qcbm_repair(img, &o, &repairs->result, sizeof repairs->result, &err);
    progress_end(&shown, ret == 0);
    if (ret < 0) {
        cmd_lib_error(&err, "Could not repair '%s'", args->common.path);
        if (ret == QCBM_E_UNSAFE && o.level != QCBM_REPAIR_ALL)
            cmd_hint("-r all repairs the rest of the image, too; see 'qcbm check --explain'");
        return false;
    }
    if (repairs->result.writes && !args->common.dry_run)
        cmd_note_done("the image has been repaired all the same");
    if (repairs->result.writes && !r->json)
        check_report_tell_sums(first);
    if (repairs->result.writes == 0)
        keep_first(first, r);
    return true;
}
