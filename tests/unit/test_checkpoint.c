/* test_checkpoint.c - a checkpoint over several disks: on all of them or on none, and what refuses it
 * SPDX-License-Identifier: MIT */
#include "bitmap/bitmap_list.h"
#include "image_unit.h"

#define N 3u

/* Disks with another bitmap each: recording, disabled, none. */
struct machine {
    struct bench *b;
    struct qcbm_checkpoint_disk disks[N];
    char image[N][128], overlay[N][128], journal[128];
};

static void machine_make(struct machine *m, void **state)
{
    m->b = *state;
    temp_dir_make(&m->b->dir);
    for (unsigned i = 0; i < N; i++) {
        struct build_options o = { .size = MIB(8), .cluster_bits = 12 };

        snprintf(m->image[i], sizeof(m->image[i]), "%s/%u.qcow2", m->b->dir.path, i);
        snprintf(m->overlay[i], sizeof(m->overlay[i]), "%s/%u-new.qcow2", m->b->dir.path, i);
        m->disks[i] = (struct qcbm_checkpoint_disk){ (const char *[]){ "vda", "vdb", "vdc" }[i], m->image[i], NULL };
        build_start(&m->b->b, &o);
        build_data(&m->b->b, 4096 * i);
        if (i < 2)
            build_bitmap(&m->b->b, "old", 16, i ? 0 : Q2_BITMAP_AUTO, NULL, 0);
        build_finish(&m->b->b);
        build_write_file(&m->b->b, m->image[i]);
        build_free(&m->b->b);
        memset(&m->b->b, 0, sizeof(m->b->b));
    }
    snprintf(m->journal, sizeof(m->journal), "%s/C1.qcbm-checkpoint", m->b->dir.path);
}

static int create(struct machine *m, unsigned flags, struct qcbm_checkpoint_result *r, struct qcbm_error *err)
{
    struct qcbm_checkpoint_options o = QCBM_CHECKPOINT_OPTIONS_INIT;

    o.flags = flags;
    return qcbm_checkpoint_create("C1", m->disks, sizeof(m->disks[0]), N, &o, r, sizeof(*r), err);
}

static void with_overlays(struct machine *m)
{
    for (unsigned i = 0; i < N; i++)
        m->disks[i].overlay = m->overlay[i];
}

/* "C1+" records, "C1-" is disabled, "C1!" in use; names in the order of the directory. */
static void assert_bitmaps(const char *path, const char *want)
{
    char got[256] = "";
    struct qcbm_image *img;
    struct qcbm_error err = { 0 };

    assert_ok(qcbm_open(path, 0, &img, &err), &err);
    for (uint32_t i = 0; i < bitmap_count(img); i++) {
        struct qcbm_bitmap_info b;
        size_t n = strlen(got);

        qcbm_bitmap_get(img, i, &b, sizeof(b));
        snprintf(got + n, sizeof(got) - n, "%s%s%s", n ? " " : "", b.name, b.in_use ? "!" : b.enabled ? "+" : "-");
    }
    assert_string_equal(got, want);
    assert_findings(img, "");
    qcbm_close(img);
}

static unsigned count_files(const struct machine *m)
{
    DIR *dir = opendir(m->b->dir.path);
    unsigned n = 0;

    assert_non_null(dir);
    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        n += e->d_name[0] != '.';
    closedir(dir);
    return n;
}

static void assert_untouched_machine(struct machine *m, unsigned files)
{
    assert_bitmaps(m->image[0], "old+");
    assert_bitmaps(m->image[1], "old-");
    assert_bitmaps(m->image[2], "");
    assert_int_equal(count_files(m), files);
}

/* ---- made ---------------------------------------------------------------------------------------------- */

static void every_disk_has_it(void **state)
{
    struct machine m;
    struct qcbm_checkpoint_result r;
    struct qcbm_error err = { 0 };

    machine_make(&m, state);
    assert_ok(create(&m, 0, &r, &err), &err);
    assert_int_equal(r.disks, 3);
    assert_int_equal(r.created, 3);
    assert_bitmaps(m.image[0], "old+ C1+");
    assert_bitmaps(m.image[1], "old- C1+");
    assert_bitmaps(m.image[2], "C1+");
    assert_int_equal(count_files(&m), N); /* no journal, no link */
}

static void overlays_continue_what_records(void **state)
{
    struct machine m;
    struct qcbm_checkpoint_result r;
    struct qcbm_image *img;
    struct qcbm_image_info info;
    struct qcbm_error err = { 0 };

    machine_make(&m, state);
    with_overlays(&m);
    assert_ok(create(&m, 0, &r, &err), &err);
    assert_bitmaps(m.overlay[0], "old+ C1+");
    assert_bitmaps(m.overlay[1], "C1+");
    assert_bitmaps(m.overlay[2], "C1+");
    assert_untouched_machine(&m, 2 * N);
    assert_ok(qcbm_open(m.overlay[0], 0, &img, &err), &err);
    qcbm_image_get_info(img, &info, sizeof(info));
    assert_int_equal(info.virtual_size, MIB(8));
    assert_int_equal(info.cluster_size, 4096);
    assert_string_equal(info.backing_file, m.image[0]);
    assert_string_equal(info.backing_format, "qcow2");
    qcbm_close(img);
}

static void frozen_images_have_disabled_bitmaps(void **state)
{
    struct machine m;
    struct qcbm_checkpoint_result r;
    struct qcbm_error err = { 0 };

    machine_make(&m, state);
    m.disks[0].overlay = m.overlay[0];
    assert_ok(create(&m, QCBM_CHECKPOINT_FREEZE, &r, &err), &err);
    assert_bitmaps(m.image[0], "old-");
    assert_bitmaps(m.overlay[0], "old+ C1+");
    assert_bitmaps(m.image[1], "old- C1+"); /* without an overlay it is not frozen */
}

static void an_undo_file_for_each_image_that_changes(void **state)
{
    struct qcbm_checkpoint_options o = QCBM_CHECKPOINT_OPTIONS_INIT;
    struct machine m;
    struct qcbm_image *img;
    struct qcbm_error err = { 0 };

    machine_make(&m, state);
    o.undo_folder = m.b->dir.path;
    m.disks[1].overlay = m.overlay[1];
    assert_ok(qcbm_checkpoint_create("C1", m.disks, sizeof(m.disks[0]), N, &o, NULL, 0, &err), &err);
    assert_int_equal(count_files(&m), N + 1 + 2);
    assert_ok(qcbm_open(m.image[0], QCBM_OPEN_WRITE, &img, &err), &err);
    assert_ok(qcbm_undo(img, temp_path(&m.b->dir, "vda.undo"), NULL, NULL, 0, &err), &err);
    qcbm_close(img);
    assert_bitmaps(m.image[0], "old+");
    assert_bitmaps(m.image[2], "C1+");
}

static void what_is_there_may_count_as_done(void **state)
{
    struct machine m;
    struct qcbm_checkpoint_result r;
    struct qcbm_image *img;
    struct qcbm_edit *edit;
    struct qcbm_error err = { 0 };

    machine_make(&m, state);
    assert_ok(qcbm_open(m.image[1], QCBM_OPEN_WRITE, &img, &err), &err);
    assert_ok(qcbm_edit_begin(img, &edit, &err), &err);
    assert_ok(qcbm_edit_add(edit, "C1", 0, 0, &err), &err);
    assert_ok(qcbm_edit_commit(edit, NULL, 0, &err), &err);
    qcbm_edit_free(edit);
    qcbm_close(img);
    assert_failure(create(&m, 0, &r, &err), &err, QCBM_E_EXISTS, QCBM_NO_OFFSET, "vdb (");
    assert_bitmaps(m.image[0], "old+");
    assert_ok(create(&m, QCBM_CHECKPOINT_RESUME, &r, &err), &err);
    assert_int_equal(r.there, 1);
    assert_int_equal(r.created, 2);
    assert_bitmaps(m.image[0], "old+ C1+");
    assert_bitmaps(m.image[1], "old- C1+");
}

/* ---- refused ------------------------------------------------------------------------------------------- */

/* One that is dirty is that of an earlier point in time. */
static void one_with_bits_is_not_done(void **state)
{
    struct machine m;
    struct qcbm_checkpoint_result r;
    struct qcbm_image *img;
    struct qcbm_edit *edit;
    struct qcbm_error err = { 0 };

    machine_make(&m, state);
    assert_ok(qcbm_open(m.image[2], QCBM_OPEN_WRITE, &img, &err), &err);
    assert_ok(qcbm_edit_begin(img, &edit, &err), &err);
    assert_ok(qcbm_edit_add(edit, "C1", 0, 0, &err), &err);
    assert_ok(qcbm_edit_set_range(edit, "C1", 0, 1, &err), &err);
    assert_ok(qcbm_edit_commit(edit, NULL, 0, &err), &err);
    qcbm_edit_free(edit);
    qcbm_close(img);
    assert_failure(create(&m, QCBM_CHECKPOINT_RESUME, &r, &err), &err, QCBM_E_EXISTS, QCBM_NO_OFFSET,
                   "not an empty one");
    assert_bitmaps(m.image[0], "old+");
}

static void a_dry_run_changes_nothing(void **state)
{
    struct machine m;
    struct qcbm_checkpoint_result r;
    struct qcbm_error err = { 0 };

    machine_make(&m, state);
    with_overlays(&m);
    assert_ok(create(&m, QCBM_CHECKPOINT_DRY_RUN | QCBM_CHECKPOINT_FREEZE, &r, &err), &err);
    assert_int_equal(r.created, 3);
    assert_untouched_machine(&m, N);
}

static void one_refusal_is_that_of_all(void **state)
{
    struct machine m;
    struct qcbm_checkpoint_result r;
    struct qcbm_image *other;
    struct qcbm_error err = { 0 };

    machine_make(&m, state);
    assert_ok(qcbm_open(m.image[2], 0, &other, &err), &err); /* a reader, too */
    assert_failure(create(&m, 0, &r, &err), &err, QCBM_E_LOCKED, QCBM_NO_OFFSET, "vdc (");
    qcbm_close(other);
    assert_untouched_machine(&m, N);
    assert_failure(create(&m, QCBM_CHECKPOINT_FREEZE, &r, &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET, "overlay");
    m.disks[2].overlay = m.image[0]; /* another disk */
    assert_failure(create(&m, 0, &r, &err), &err, QCBM_E_EXISTS, QCBM_NO_OFFSET, "vdc (");
    m.disks[2].overlay = m.image[2]; /* itself, and the very same string */
    assert_failure(create(&m, 0, &r, &err), &err, QCBM_E_EXISTS, QCBM_NO_OFFSET, "vdc (");
    m.disks[1].overlay = m.disks[2].overlay = m.overlay[0];
    assert_failure(create(&m, 0, &r, &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET, "another disk has that overlay");
    m.disks[1].overlay = m.disks[2].overlay = NULL;
    build_start(&m.b->b, &(struct build_options){ .size = MIB(1) });
    build_finish(&m.b->b);
    build_write_file(&m.b->b, m.journal);
    assert_failure(create(&m, 0, &r, &err), &err, QCBM_E_EXISTS, QCBM_NO_OFFSET, "recover");
    assert_untouched_machine(&m, N + 1);
}

static void an_image_in_use_elsewhere_is_refused(void **state)
{
    struct machine m;
    struct qcbm_checkpoint_result r;
    struct qcbm_error err = { 0 };

    machine_make(&m, state);
    build_start(&m.b->b, &(struct build_options){ .size = MIB(8), .cluster_bits = 12 });
    build_bitmap(&m.b->b, "old", 16, Q2_BITMAP_AUTO | Q2_BITMAP_IN_USE, NULL, 0);
    build_finish(&m.b->b);
    build_write_file(&m.b->b, m.image[1]);
    assert_int_equal(create(&m, 0, &r, &err), QCBM_E_INUSE);
    assert_non_null(strstr(err.message, "another host"));
    assert_ok(create(&m, QCBM_CHECKPOINT_FORCE, &r, &err), &err);
}

static void a_journal_of_nobody_is_refused(void **state)
{
    struct machine m;
    struct qcbm_error err = { 0 };

    machine_make(&m, state);
    assert_failure(qcbm_checkpoint_recover(m.journal, NULL, NULL, 0, &err), &err, QCBM_E_NOTFOUND, QCBM_NO_OFFSET,
                   "C1");
    assert_failure(qcbm_checkpoint_recover(m.image[0], NULL, NULL, 0, &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET,
                   "no journal");
    assert_int_equal(chmod(m.image[0], 0666), 0);
    assert_failure(qcbm_checkpoint_recover(m.image[0], NULL, NULL, 0, &err), &err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                   "others may write");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(every_disk_has_it),
        image_test(overlays_continue_what_records),
        image_test(frozen_images_have_disabled_bitmaps),
        image_test(an_undo_file_for_each_image_that_changes),
        image_test(what_is_there_may_count_as_done),
        image_test(one_with_bits_is_not_done),
        image_test(a_dry_run_changes_nothing),
        image_test(one_refusal_is_that_of_all),
        image_test(an_image_in_use_elsewhere_is_refused),
        image_test(a_journal_of_nobody_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
