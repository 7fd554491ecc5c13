/* cmd_bitmap_copy.c - qcbm bitmap --copy-to: a copy of a bitmap in another image; no guest data moves
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "cmd_bitmap.h"
#include "plan_out.h"
#include "qemu_text.h"

struct copy {
    const struct bitmap_args *args;
    const char *to, *as;       /* image and name of the copy */
    struct qcbm_image *source; /* NULL: within one image */
    struct qcbm_image *target;
    struct qcbm_edit *edit;
    struct qcbm_edit_bitmap_info figures;
    struct plan plan;
};

static int open_both(struct copy *c)
{
    if (!qcbm_same_file(c->args->common.path, c->to)) {
        c->source = common_open(&c->args->common, common_reading(&c->args->common));
        if (!c->source)
            return EXIT_FAILED;
    }
    c->target = common_with_threads(&c->args->common, cmd_open(c->to, NULL, common_writing(&c->args->common)));
    return c->target ? EXIT_DONE : EXIT_FAILED;
}

static int copy(struct copy *c)
{
    struct qcbm_error err;

    if (qcbm_edit_begin(c->target, &c->edit, &err) < 0)
        return cmd_lib_error(&err, "Could not change '%s'", c->to);
    if ((c->args->grown ? qcbm_edit_copy_grown : qcbm_edit_copy)(c->edit, c->as, c->source, c->args->name, &err) < 0 ||
        qcbm_edit_look(c->edit, c->as, &c->figures, sizeof c->figures, &err) < 0)
        return cmd_lib_error(&err, "Could not copy bitmap '%s' of '%s' to '%s'", c->args->name, c->args->common.path,
                             c->to);
    if (plan_run(&c->plan, c->target, c->edit, &c->args->common, &err) < 0)
        return cmd_lib_error(&err, "Could not change '%s'", c->to);
    return EXIT_DONE;
}

static void print_text(const struct copy *c)
{
    printf("copy-to: '");
    print_escaped(stdout, c->as, strlen(c->as));
    printf("' of '");
    print_escaped(stdout, c->to, strlen(c->to));
    printf("' has %s dirty, granularity %s\n", size_text(c->figures.dirty_bytes).text,
           size_text(c->figures.granularity).text);
    if (c->args->common.dry_run)
        plan_print(&c->plan, stdout);
}

static void print_json(const struct copy *c)
{
    struct json_writer w = JSON_WRITER_INIT(stdout);

    json_begin_object(&w, NULL);
    json_string(&w, "image", c->to);
    json_string(&w, "bitmap", c->as);
    json_string(&w, "source-image", c->args->common.path);
    json_string(&w, "source-bitmap", c->args->name);
    json_u64(&w, "granularity", c->figures.granularity);
    json_bool(&w, "enabled", c->figures.enabled);
    json_u64(&w, "dirty-bytes", c->figures.dirty_bytes);
    json_bool(&w, "dry-run", c->args->common.dry_run);
    plan_write_json(&c->plan, c->args->common.dry_run, &w);
    json_end_object(&w);
    json_finish(&w);
}

int bitmap_copy(const struct bitmap_args *args, const char *image)
{
    struct copy c = { .args = args, .to = image, .as = args->as ? args->as : args->name };
    int code = open_both(&c);

    if (code == EXIT_DONE)
        code = copy(&c);
    if (code == EXIT_DONE && args->common.output == OUTPUT_JSON)
        print_json(&c);
    else if (code == EXIT_DONE && !args->common.quiet)
        print_text(&c);
    plan_clear(&c.plan);
    qcbm_edit_free(c.edit);
    qcbm_close(c.target);
    qcbm_close(c.source);
    return code;
}
