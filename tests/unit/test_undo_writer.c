/* test_undo_writer.c - who wrote to an image since a change: by the time that the file system has, and without one
 * SPDX-License-Identifier: MIT */
#include "undo_unit.h"

#include <fcntl.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "write/undo_seal.h"

struct ground {
    struct temp_dir dir;
    char image[128], undo[128];
    struct image_builder b;
};

/* Let @path be written @seconds after @other. */
static void set_written(const char *path, const char *other, time_t seconds)
{
    struct timespec times[2] = { { 0, UTIME_OMIT }, { 0, 0 } };
    struct stat st;

    assert_int_equal(stat(other, &st), 0);
    times[1].tv_sec = st.st_mtim.tv_sec + seconds;
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void touch(const struct ground *g, time_t seconds)
{
    set_written(g->image, g->undo, seconds);
}

static int setup(void **state)
{
    struct ground *g = calloc(1, sizeof(*g));
    struct qcbm_error err = { 0 };
    struct session s = { 0 };

    assert_non_null(g);
    temp_dir_make(&g->dir);
    snprintf(g->image, sizeof(g->image), "%s", temp_path(&g->dir, "image"));
    snprintf(g->undo, sizeof(g->undo), "%s", temp_path(&g->dir, "undo"));
    build_ab(&g->b);
    write_file(g->image, g->b.bytes, g->b.len);
    assert_ok(qcbm_open(g->image, QCBM_OPEN_WRITE, &s.img, &err), &err);
    assert_ok(change_with_undo(&s, change_disable, g->undo, &err), &err);
    qcbm_close(s.img);
    *state = g;
    return 0;
}

static int teardown(void **state)
{
    struct ground *g = *state;

    temp_dir_remove(&g->dir);
    build_free(&g->b);
    free(g);
    return 0;
}

/* What qcbm_undo() returns, and whom it saw. */
static int undo(const struct ground *g, bool force, bool dry_run, enum qcbm_undo_writer *writer)
{
    struct qcbm_undo_options o = QCBM_UNDO_OPTIONS_INIT;
    struct qcbm_undo_result r = { 0 };
    struct qcbm_error err = { 0 };
    struct qcbm_image *img;
    int ret;

    o.force = force;
    o.dry_run = dry_run;
    assert_ok(qcbm_open(g->image, dry_run ? 0 : QCBM_OPEN_WRITE, &img, &err), &err);
    ret = qcbm_undo(img, g->undo, &o, &r, sizeof(r), &err);
    assert_true(ret == 0 || strstr(err.message, "has changed since"));
    qcbm_close(img);
    *writer = r.writer;
    return ret;
}

static void assert_undone(const struct ground *g)
{
    size_t len;
    uint8_t *bytes = read_file(g->image, &len);

    assert_int_equal(len, g->b.len);
    assert_memory_equal(bytes, g->b.bytes, len);
    free(bytes);
}

/* The undo file as the first release made it: no seal, no times, an end mark at the next multiple of 32. */
static void make_version_1(const struct ground *g)
{
    struct qcbmi_undo_header h;
    struct qcbmi_undo_record r;
    size_t len, at = QCBMI_UNDO_HEADER_BYTES;
    uint8_t *bytes = read_file(g->undo, &len);
    struct timespec times[2] = { { 0, UTIME_OMIT }, { 0, 0 } };
    struct stat st;

    assert_int_equal(stat(g->undo, &st), 0);
    times[1] = st.st_mtim;
    assert_int_equal(qcbmi_undo_header_parse(bytes, &h, NULL), 0);
    for (uint64_t i = 0; i < h.n_records; i++) {
        assert_int_equal(qcbmi_undo_record_parse(bytes + at, i, at, &h, &r, NULL), 0);
        at += (size_t)qcbmi_undo_record_bytes(&r);
    }
    h.version = 1;
    memset(bytes + at, 0, QCBMI_UNDO_END_BYTES);
    at = (size_t)align_up(at, 32);
    h.file_len = at + QCBMI_UNDO_END_BYTES;
    qcbmi_undo_header_store(bytes, &h);
    qcbmi_undo_end_store(bytes + at, bytes);
    write_file(g->undo, bytes, (size_t)h.file_len);
    assert_int_equal(utimensat(AT_FDCWD, g->undo, times, 0), 0);
    free(bytes);
}

/* As a change that was killed behind its last write leaves it. */
static void take_off_the_seal(const struct ground *g)
{
    size_t len;
    uint8_t *bytes = read_file(g->undo, &len);

    memset(bytes + len - QCBMI_UNDO_SEAL_BYTES, 0, QCBMI_UNDO_SEAL_BYTES);
    write_file(g->undo, bytes, len);
    free(bytes);
}

/* ---- tests ---- */

static void nobody_wrote(void **state)
{
    struct ground *g = *state;
    struct stat before, after;
    enum qcbm_undo_writer w;

    assert_int_equal(stat(g->image, &before), 0);
    assert_int_equal(undo(g, false, true, &w), 0);
    assert_int_equal(w, QCBM_UNDO_WRITER_NONE);
    assert_int_equal(undo(g, false, false, &w), 0);
    assert_int_equal(w, QCBM_UNDO_WRITER_NONE);
    assert_undone(g);
    assert_int_equal(stat(g->image, &after), 0);
    assert_true(after.st_mtim.tv_sec <= before.st_mtim.tv_sec); /* that of the image before the change */
}

static void any_other_time_is_a_writer(void **state)
{
    static const time_t times[] = { -100000, -1, 1, 30, 100000 };
    struct ground *g = *state;
    enum qcbm_undo_writer w;

    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        touch(g, times[i]);
        assert_int_equal(undo(g, false, false, &w), QCBM_E_UNSAFE);
        assert_int_equal(undo(g, false, true, &w), QCBM_E_UNSAFE);
        assert_int_equal(undo(g, true, true, &w), 0);
        assert_int_equal(w, QCBM_UNDO_WRITER_SEEN);
    }
    assert_int_equal(undo(g, true, false, &w), 0);
    assert_undone(g);
}

static void of_a_change_without_seal_writes_soon_after_are_its_own(void **state)
{
    struct ground *g = *state;
    enum qcbm_undo_writer w;

    take_off_the_seal(g);
    touch(g, 61);
    assert_int_equal(undo(g, false, false, &w), QCBM_E_UNSAFE);
    touch(g, -61);
    assert_int_equal(undo(g, false, false, &w), QCBM_E_UNSAFE);
    touch(g, 60);
    assert_int_equal(undo(g, false, false, &w), 0);
    assert_int_equal(w, QCBM_UNDO_WRITER_UNKNOWN);
    assert_undone(g);
}

static void old_undo_files_work(void **state)
{
    struct ground *g = *state;
    enum qcbm_undo_writer w;

    make_version_1(g);
    touch(g, 61);
    assert_int_equal(undo(g, false, false, &w), QCBM_E_UNSAFE);
    touch(g, 2);
    assert_int_equal(undo(g, false, true, &w), 0);
    assert_int_equal(w, QCBM_UNDO_WRITER_UNKNOWN);
    assert_int_equal(undo(g, false, false, &w), 0);
    assert_undone(g);
    assert_int_equal(undo(g, false, false, &w), 0); /* nothing to undo */
    assert_int_equal(w, QCBM_UNDO_WRITER_NONE);
}

/* As an undo that is killed behind its first write leaves the two: it has said that it began. */
static void begin_an_undo(const struct ground *g)
{
    struct qcbmi_undo_file file = { 0 };
    struct qcbm_error err = { 0 };
    struct session s = { 0 };

    assert_ok(qcbm_open(g->image, QCBM_OPEN_WRITE, &s.img, &err), &err);
    assert_ok(qcbmi_undo_file_open(&file, g->undo, &err), &err);
    qcbmi_undo_begin(&file, g->undo, s.img->image);
    qcbmi_undo_file_close(&file);
    qcbm_close(s.img);
}

/* Its times are those of a writer. */
static void an_undo_that_was_cut_is_repeated(void **state)
{
    static const time_t others[] = { -100000, -3600, 61, 100000 };
    struct ground *g = *state;
    enum qcbm_undo_writer w;

    begin_an_undo(g);
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        touch(g, others[i]);
        assert_int_equal(undo(g, false, false, &w), QCBM_E_UNSAFE);
    }
    touch(g, 1);
    assert_int_equal(undo(g, false, true, &w), 0);
    set_written(g->undo, g->undo, 1000); /* cut once more much later, before it had written to the image */
    assert_int_equal(undo(g, false, false, &w), 0);
    assert_int_equal(w, QCBM_UNDO_WRITER_UNKNOWN);
    assert_undone(g);
}

static void keep_times(const char *path, struct timespec times[2])
{
    struct stat st;

    assert_int_equal(stat(path, &st), 0);
    times[0] = st.st_atim;
    times[1] = st.st_mtim;
}

/* cp -p */
static void copy_image(const struct ground *g, const char *to)
{
    struct timespec times[2];
    size_t len;
    uint8_t *bytes = read_file(g->image, &len);

    keep_times(g->image, times);
    write_file(to, bytes, len);
    assert_int_equal(utimensat(AT_FDCWD, to, times, 0), 0);
    free(bytes);
}

/* The time of the change is known in the seal (or, for one that was cut short, in the file) as long as there is the
 * file. */
static void an_undo_of_a_copy_says_nothing_of_the_image(void **state)
{
    static const time_t written[] = { -3600, -1, 0, 1, 30 };

    for (int cut = 0; cut <= 1; cut++) {
        struct ground *g = *state, copy = *g;
        enum qcbm_undo_writer w;

        snprintf(copy.image, sizeof(copy.image), "%s", temp_path(&g->dir, cut ? "copy of cut" : "copy"));
        copy_image(g, copy.image);
        if (cut)
            begin_an_undo(&copy);
        else
            assert_int_equal(undo(&copy, false, false, &w), 0);
        for (size_t i = 0; i < ARRAY_LEN(written); i++) {
            touch(g, written[i]);
            assert_int_equal(undo(g, false, false, &w), QCBM_E_UNSAFE);
        }
    }
}

/* The same change made once more, and then a guest ran: the bytes are those of the first one. */
static void an_undo_that_is_complete_leaves_the_undo_file_as_it_was(void **state)
{
    for (int cut = 0; cut <= 1; cut++) {
        struct ground *g = *state;
        struct timespec before[2], after[2];
        enum qcbm_undo_writer w;
        size_t len, image_len;
        uint8_t *changed = read_file(g->image, &image_len), *file, *file_after;

        if (cut)
            take_off_the_seal(g);
        keep_times(g->undo, before);
        file = read_file(g->undo, &len);
        assert_int_equal(undo(g, false, false, &w), 0);
        file_after = read_file(g->undo, &len);
        keep_times(g->undo, after);
        assert_memory_equal(file, file_after, len);
        assert_true(!cut || memcmp(&before[1], &after[1], sizeof(before[1])) == 0);
        free(file);
        free(file_after);
        write_file(g->image, changed, image_len);
        free(changed);
    }
}

static void an_undo_file_that_cannot_be_written_is_used(void **state)
{
    struct ground *g = *state;
    enum qcbm_undo_writer w;
    size_t len;
    uint8_t *before = read_file(g->undo, &len), *after;

    assert_int_equal(chmod(g->undo, 0400), 0); /* root writes all the same */
    assert_int_equal(undo(g, false, false, &w), 0);
    assert_undone(g);
    after = read_file(g->undo, &len);
    assert_memory_equal(before, after, len - QCBMI_UNDO_SEAL_BYTES);
    free(before);
    free(after);
}

#define ON_GROUND(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_GROUND(nobody_wrote),
        ON_GROUND(any_other_time_is_a_writer),
        ON_GROUND(of_a_change_without_seal_writes_soon_after_are_its_own),
        ON_GROUND(old_undo_files_work),
        ON_GROUND(an_undo_that_was_cut_is_repeated),
        ON_GROUND(an_undo_of_a_copy_says_nothing_of_the_image),
        ON_GROUND(an_undo_that_is_complete_leaves_the_undo_file_as_it_was),
        ON_GROUND(an_undo_file_that_cannot_be_written_is_used),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
