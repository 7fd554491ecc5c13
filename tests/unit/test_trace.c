/* test_trace.c - what a trace tells of an image and its chain, and that nothing is told without one
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

struct told {
    char text[4096]; /* a line for each event: kind, what; of reads only those of L2 tables and bitmap data */
    unsigned opens, reads, flushes;
    uint64_t written, announced;
};

static void add(struct told *t, const char *kind, const char *what)
{
    size_t n = strlen(t->text);

    snprintf(t->text + n, sizeof(t->text) - n, "%s:%s\n", kind, what);
}

static void see(void *opaque, const struct qcbm_trace_event *e)
{
    static const char *const kinds[] = { "open", "read", "stage", "write", "flush", "resize" };
    struct told *t = opaque;

    assert_int_equal(e->result, 0);
    assert_non_null(e->file);
    t->opens += e->kind == QCBM_TRACE_OPEN;
    t->reads += e->kind == QCBM_TRACE_READ;
    t->flushes += e->kind == QCBM_TRACE_FLUSH;
    if (e->kind == QCBM_TRACE_STAGE)
        t->announced += e->length;
    if (e->kind == QCBM_TRACE_WRITE)
        t->written += e->length;
    if (e->kind != QCBM_TRACE_READ)
        add(t, kinds[e->kind], e->kind == QCBM_TRACE_OPEN ? strrchr(e->file, '/') + 1 : e->what);
}

static void write_image(const struct temp_dir *d, const char *name, const char *backing)
{
    struct build_options opt = { .size = KIB(64), .backing = backing, .backing_format = backing ? "qcow2" : NULL };
    struct image_builder b;

    build_start(&b, &opt);
    build_data(&b, KIB(4));
    build_bitmap(&b, "b", 9, 2, NULL, 0);
    build_finish(&b);
    build_write_file(&b, temp_path(d, name));
    build_free(&b);
}

static void a_commit_is_told_stage_by_stage(void **state)
{
    struct told t = { .text = "" };
    struct qcbm_error err = { 0 };
    struct qcbm_plan_summary sum;
    struct qcbm_image *img;
    struct qcbm_edit *edit;
    const struct temp_dir *d = bench_dir(state);

    write_image(d, "top", NULL);
    assert_ok(qcbm_open(temp_path(d, "top"), QCBM_OPEN_WRITE, &img, &err), &err);
    qcbm_set_trace(img, see, &t);
    assert_ok(qcbm_edit_begin(img, &edit, &err), &err);
    assert_ok(qcbm_edit_disable(edit, "b", &err), &err);
    assert_ok(qcbm_edit_commit(edit, &sum, sizeof(sum), &err), &err);
    qcbm_edit_free(edit);
    assert_string_equal(t.text, "open:top\nstage:switch\nwrite:bitmap directory: flags\nflush:\n");
    assert_true(t.reads > 0);
    assert_int_equal(t.written, sum.bytes_written);
    assert_int_equal(t.announced, sum.bytes_written);
    assert_int_equal(t.flushes, sum.flushes);
    qcbm_set_trace(img, NULL, NULL); /* and from now on nothing */
    t.text[0] = '\0';
    assert_dirty(img, "b", "");
    assert_string_equal(t.text, "");
    qcbm_close(img);
}

static void layers_and_undo_files_are_told_when_they_are_opened(void **state)
{
    struct told t = { .text = "" };
    struct extent_text text = { "" };
    struct qcbm_error err = { 0 };
    struct qcbm_image *img;
    struct qcbm_edit *edit;
    const struct temp_dir *d = bench_dir(state);
    const char *saved;

    write_image(d, "base", NULL);
    write_image(d, "top", "base");
    assert_ok(qcbm_open(temp_path(d, "top"), QCBM_OPEN_WRITE, &img, &err), &err);
    qcbm_set_trace(img, see, &t);
    assert_ok(qcbm_bitmap_extents(img, "b", QCBM_EXTENTS_ZERO, add_extent_text, &text, &err), &err);
    assert_string_equal(t.text, "open:top\nopen:base\n");
    assert_ok(qcbm_edit_begin(img, &edit, &err), &err);
    assert_ok(qcbm_edit_remove(edit, "b", &err), &err);
    assert_ok(qcbm_edit_set_undo(edit, temp_path(d, "undo"), &err), &err);
    assert_ok(qcbm_edit_commit(edit, NULL, 0, &err), &err);
    qcbm_edit_free(edit);
    assert_int_equal(t.opens, 3);
    assert_non_null(strstr(t.text, "open:undo\n"));
    saved = strstr(t.text, "flush:\nwrite:undo file\nflush:\n"); /* the undo file, before the image is touched */
    assert_non_null(saved);
    assert_true(saved < strstr(t.text, "stage:"));
    qcbm_close(img);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(a_commit_is_told_stage_by_stage),
        image_test(layers_and_undo_files_are_told_when_they_are_opened),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
