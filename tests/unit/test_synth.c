/* test_synth.c - allocated clusters into a bitmap: options, other images, chains, damage
 * SPDX-License-Identifier: MIT */
#include "synth_image_unit.h"
#include "watch_unit.h"

#define AUTO 2u
#define IN_USE 1u

static void check_bitmap(struct session *s, uint32_t index, const char *name, uint64_t granularity, uint32_t flags)
{
    struct qcbm_bitmap_info i;

    qcbm_bitmap_get(s->img, index, &i, sizeof(i));
    assert_string_equal(i.name, name);
    assert_int_equal(i.granularity, granularity);
    assert_int_equal(i.flags, flags);
    assert_true(i.usable || (flags & IN_USE));
}

/* ---- the plain job ---- */

static void what_is_allocated_becomes_dirty(void **state)
{
    struct bench *t = *state;
    struct qcbm_error err = { 0 };
    struct qcbm_synth_summary sum;

    build_overlay(&t->b, KIB(64));
    build_data(&t->b, KIB(4));
    build_data(&t->b, KIB(40));
    build_map(&t->b, KIB(63), BUILD_ZERO, 0);
    build_finish(&t->b);
    session_open(&t->s, &t->b);
    assert_ok(synth(&t->s, "new", 512, 0, &sum, &err), &err);
    check_bitmap(&t->s, 0, "new", 512, AUTO);
    assert_dirty(t->s.img, "new", "4096-4608 40960-41472 64512-65024");
    assert_int_equal(sum.virtual_size, KIB(64));
    assert_int_equal(sum.granularity, 512);
    assert_int_equal(sum.granules, 128);
    assert_int_equal(sum.dirty_granules, 3);
    assert_int_equal(sum.dirty_bytes, 3 * 512);
    assert_int_equal(sum.damaged_entries, 0);
    assert_int_equal(sum.layers, 1);
    assert_int_equal(sum.notes, 0);
}

static void defaults_are_those_of_qemu(void **state)
{
    static const struct {
        uint32_t cluster_bits;
        uint64_t granularity;
    } cases[] = { { 9, 4096 }, { 12, 4096 }, { 13, 8192 }, { 16, 65536 }, { 21, 65536 } };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct build_options opt = { .size = KIB(256), .cluster_bits = cases[i].cluster_bits };
        struct image_builder b;
        struct session s;
        struct qcbm_error err = { 0 };

        build_start(&b, &opt);
        build_finish(&b);
        session_open(&s, &b);
        assert_ok(qcbm_synth(s.img, "n", NULL, NULL, &err), &err); /* no options, no result */
        check_bitmap(&s, 0, "n", cases[i].granularity, AUTO);
        session_close(&s);
        build_free(&b);
    }
}

static void the_end_of_the_disk_clips_the_last_cluster(void **state)
{
    struct bench *t = *state;
    struct build_options opt = { .size = KIB(64) + 512, .cluster_bits = 16, .backing = "base" };
    struct qcbm_error err = { 0 };
    struct qcbm_synth_summary sum;

    build_start(&t->b, &opt);
    build_data(&t->b, KIB(64));
    build_finish(&t->b);
    session_open(&t->s, &t->b);
    assert_ok(synth(&t->s, "n", 65536, 0, &sum, &err), &err);
    assert_int_equal(sum.granules, 2);
    assert_int_equal(sum.dirty_granules, 1);
    assert_int_equal(sum.dirty_bytes, 512);
    assert_dirty(t->s.img, "n", "65536-66048");
}

static void snapshots_say_nothing_about_the_active_state(void **state)
{
    struct bench *t = *state;
    struct build_options opt = { .size = KIB(64), .backing = "base" };
    struct qcbm_error err = { 0 };

    build_start(&t->b, &opt);
    build_data(&t->b, 0);
    build_snapshot(&t->b, "1", "s");
    build_map(&t->b, 0, 0, 0); /* in the active state it is not allocated any more */
    build_data(&t->b, KIB(1));
    t->b.refs[4 + 1] = 1; /* the data is the snapshot's alone */
    build_finish(&t->b);
    session_open(&t->s, &t->b);
    assert_ok(synth(&t->s, "n", 512, 0, NULL, &err), &err);
    assert_dirty(t->s.img, "n", "1024-1536");
}

static void an_image_without_backing_file_gets_a_note(void **state)
{
    struct bench *t = *state;
    struct build_options opt = { .size = KIB(64) };
    struct qcbm_error err = { 0 };
    struct qcbm_synth_result *r;
    struct qcbm_synth_layer l;

    build_start(&t->b, &opt);
    build_data(&t->b, KIB(2));
    build_finish(&t->b);
    session_open(&t->s, &t->b);
    assert_ok(qcbm_synth(t->s.img, "n", NULL, &r, &err), &err);
    assert_non_null(strstr(qcbm_synth_result_note(r, 0), "no backing file"));
    qcbm_synth_result_layer(r, 0, &l, sizeof(l));
    assert_string_equal(l.format, "qcow2");
    assert_int_equal(l.virtual_size, KIB(64));
    assert_int_equal(l.cluster_size, 512);
    assert_int_equal(l.allocated_bytes, 512);
    qcbm_synth_result_free(r);
}

/* ---- a name that exists ---- */

/* An overlay with bitmaps "a", "b" (at 16 KiB per bit, @flags, one granule dirty), "c", and data at guest 1024. */
static void build_three(struct image_builder *b, uint32_t flags)
{
    uint64_t data;

    build_overlay(b, KIB(64));
    build_data(b, 1024);
    build_bitmap(b, "a", 9, 0, NULL, 0);
    data = build_clusters(b, 1);
    b->bytes[data] = 0x04;
    build_bitmap(b, "b", 14, flags, &data, 1);
    build_bitmap(b, "c", 9, AUTO, NULL, 0);
    build_finish(b);
}

/* Which of the notes is this? -1: none. */
static int find_note(const struct qcbm_synth_result *r, const char *text)
{
    const char *note;

    for (uint32_t i = 0; (note = qcbm_synth_result_note(r, i)) != NULL; i++)
        if (strstr(note, text))
            return (int)i;
    return -1;
}

static void what_may_be_missing_or_has_changed_is_noted(void **state)
{
    static const struct {
        uint32_t stored;
        unsigned flags;
        const char *note, *other; /* is there; is not there */
    } cases[] = {
        { IN_USE | AUTO, QCBM_SYNTH_REPLACE, "'b' is marked in use", "was disabled" },
        { IN_USE | AUTO, QCBM_SYNTH_REPLACE, "when it was last saved is dirty, too", "was disabled" },
        { AUTO, QCBM_SYNTH_REPLACE | QCBM_SYNTH_FORCE_SHARE, "read while others may write", "marked in use" },
        { 0, QCBM_SYNTH_REPLACE, "was disabled, the new one records", "last saved" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct qcbm_synth_options o = QCBM_SYNTH_OPTIONS_INIT;
        struct qcbm_synth_result *r = NULL;
        struct qcbm_error err = { 0 };
        struct image_builder b;
        struct session s;
        struct qcbm_edit *edit;

        build_three(&b, cases[i].stored);
        session_open(&s, &b);
        assert_ok(qcbm_edit_begin(s.img, &edit, &err), &err);
        o.flags = cases[i].flags;
        assert_ok(qcbm_edit_synth(edit, s.img, "b", &o, &r, &err), &err);
        assert_true(find_note(r, cases[i].note) >= 0);
        assert_int_equal(find_note(r, cases[i].other), -1);
        qcbm_synth_result_free(r);
        qcbm_edit_free(edit);
        session_close(&s);
        build_free(&b);
    }
}

static void an_existing_name_is_refused(void **state)
{
    struct bench *t = *state;
    struct qcbm_error err = { 0 };

    build_three(&t->b, 0);
    session_open(&t->s, &t->b);
    assert_failure(synth(&t->s, "b", 0, 0, NULL, &err), &err, QCBM_E_EXISTS, QCBM_NO_OFFSET, "already exists: b");
    assert_untouched(&t->s, &t->b);
}

static void replace_swaps_it_in_its_place(void **state)
{
    static const uint32_t flags[] = { 0, AUTO, IN_USE, IN_USE | AUTO };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(flags); i++) {
        struct image_builder b;
        struct session s;
        struct qcbm_error err = { 0 };

        build_three(&b, flags[i]);
        session_open(&s, &b);
        assert_ok(synth(&s, "b", 512, QCBM_SYNTH_REPLACE, NULL, &err), &err);
        assert_int_equal(bitmap_count(s.img), 3);
        check_bitmap(&s, 0, "a", 512, 0);
        check_bitmap(&s, 1, "b", 512, AUTO);
        check_bitmap(&s, 2, "c", 512, AUTO);
        /* What it held before is gone, but for what was saved of one in use. */
        assert_dirty(s.img, "b", flags[i] & IN_USE ? "1024-1536 32768-49152" : "1024-1536");
        session_close(&s);
        build_free(&b);
    }
}

static void merge_adds_to_it_and_keeps_granularity_and_flags(void **state)
{
    static const uint32_t stored[] = { AUTO, 0 };
    static const unsigned flags[] = { QCBM_SYNTH_MERGE, QCBM_SYNTH_MERGE | QCBM_SYNTH_DISABLED };
    static const uint64_t grans[] = { 0, 16384 };

    (void)state;
    for (size_t i = 0; i < 4; i++) {
        struct image_builder b;
        struct session s;
        struct qcbm_error err = { 0 };
        struct qcbm_synth_summary sum;

        build_three(&b, stored[i % 2]);
        session_open(&s, &b);
        assert_ok(synth(&s, "b", grans[i / 2], flags[i % 2], &sum, &err), &err);
        check_bitmap(&s, 1, "b", 16384, stored[i % 2]);
        assert_dirty(s.img, "b", "0-16384 32768-49152");
        assert_int_equal(sum.granularity, 16384);
        assert_int_equal(sum.dirty_granules, 2);
        session_close(&s);
        build_free(&b);
    }
}

static void merge_of_a_name_that_does_not_exist_adds_it(void **state)
{
    struct bench *t = *state;
    struct qcbm_error err = { 0 };

    build_three(&t->b, 0);
    session_open(&t->s, &t->b);
    assert_ok(synth(&t->s, "d", 1024, QCBM_SYNTH_MERGE | QCBM_SYNTH_DISABLED, NULL, &err), &err);
    check_bitmap(&t->s, 3, "d", 1024, 0);
    assert_dirty(t->s.img, "d", "1024-2048");
}

static void merge_refuses_what_it_cannot_keep(void **state)
{
    static const struct {
        uint32_t stored;
        uint64_t granularity;
        unsigned flags;
        int code;
        const char *text;
    } cases[] = {
        { 0, 512, QCBM_SYNTH_MERGE, QCBM_E_ARG, "granularity" },
        { AUTO, 0, QCBM_SYNTH_MERGE | QCBM_SYNTH_DISABLED, QCBM_E_ARG, "keeps the state" },
        { IN_USE, 0, QCBM_SYNTH_MERGE, QCBM_E_INUSE, "is inconsistent" },
        { 0, 0, QCBM_SYNTH_MERGE | QCBM_SYNTH_REPLACE, QCBM_E_ARG, "exclude each other" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct image_builder b;
        struct session s;
        struct qcbm_error err = { 0 };
        int ret;

        build_three(&b, cases[i].stored);
        session_open(&s, &b);
        ret = synth(&s, "b", cases[i].granularity, cases[i].flags, NULL, &err);
        assert_failure(ret, &err, cases[i].code, QCBM_NO_OFFSET, cases[i].text);
        assert_untouched(&s, &b);
        session_close(&s);
        build_free(&b);
    }
}

static void granularities_outside_the_limits_are_refused(void **state)
{
    static const struct {
        uint64_t granularity;
        int code;
    } cases[] = {
        { 256, QCBM_E_ARG }, { 513, QCBM_E_ARG }, { GIB(4), QCBM_E_ARG }, { (GIB(8)) + 4096, QCBM_E_ARG },
        { 1, QCBM_E_ARG },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct image_builder b;
        struct session s;
        struct qcbm_error err = { 0 };

        build_overlay(&b, KIB(64));
        build_finish(&b);
        session_open(&s, &b);
        assert_failure(synth(&s, "n", cases[i].granularity, 0, NULL, &err), &err, cases[i].code, QCBM_NO_OFFSET,
                       "Granularity");
        assert_untouched(&s, &b);
        session_close(&s);
        build_free(&b);
    }
}

static void an_older_callers_options_are_read_as_far_as_they_go(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct qcbm_synth_options opt = QCBM_SYNTH_OPTIONS_INIT;
    struct session s;
    struct qcbm_error err = { 0 };
    void *short_copy;

    build_overlay(b, KIB(64));
    build_data(b, 1024);
    build_finish(b);
    opt.struct_size = offsetof(struct qcbm_synth_options, since); /* knows the granularity only */
    opt.granularity = 1024;
    short_copy = exact_copy(&opt, opt.struct_size);
    session_open(&s, b);
    assert_ok(qcbm_synth(s.img, "n", short_copy, NULL, &err), &err);
    check_bitmap(&s, 0, "n", 1024, AUTO);
    session_close(&s);
    free(short_copy);
}

/* ---- who may, and who wants to stop ---- */

static void images_that_must_not_be_written_are_refused(void **state)
{
    static const struct {
        struct build_options opt;
        int code;
        uint64_t offset;
    } cases[] = {
        { { .size = 65536, .version = 2 }, QCBM_E_UNSUPPORTED, 4 },
        { { .size = 65536, .incompatible = QCBM_INCOMPAT_DIRTY }, QCBM_E_UNSAFE, 72 },
        { { .size = 65536, .incompatible = QCBM_INCOMPAT_CORRUPT }, QCBM_E_UNSAFE, 72 },
        { { .size = 0 }, QCBM_E_LIMIT, 24 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct image_builder b;
        struct session s;
        struct qcbm_error err = { 0 };

        build_start(&b, &cases[i].opt);
        build_finish(&b);
        session_open(&s, &b);
        assert_failure(synth(&s, "n", 0, 0, NULL, &err), &err, cases[i].code, cases[i].offset, "");
        assert_untouched(&s, &b);
        session_close(&s);
        build_free(&b);
    }
}

static void a_reading_handle_can_plan_but_not_commit(void **state)
{
    struct bench *t = *state;
    struct qcbm_error err = { 0 };
    struct qcbm_plan_summary sum;
    struct qcbm_edit *edit;

    build_overlay(&t->b, KIB(64));
    build_data(&t->b, 0);
    build_finish(&t->b);
    session_on(&t->s, t->b.bytes, t->b.len, 0);
    assert_failure(synth(&t->s, "n", 0, 0, NULL, &err), &err, QCBM_E_READONLY, QCBM_NO_OFFSET, "for reading");
    assert_ok(qcbm_edit_begin(t->s.img, &edit, &err), &err);
    assert_ok(qcbm_edit_synth(edit, t->s.img, "n", NULL, NULL, &err), &err);
    assert_ok(qcbm_edit_plan(edit, &sum, sizeof(sum), NULL, NULL, &err), &err);
    assert_true(sum.writes > 0 && sum.clusters_allocated == 3);
    qcbm_edit_free(edit);
    assert_untouched(&t->s, &t->b);
}

static void progress_ends_at_the_total_and_may_stop_the_job(void **state)
{
    (void)state;
    for (uint64_t stop_at = 0; stop_at < 3; stop_at++) {
        struct watch w = { .stop_at = stop_at };
        const struct qcbm_progress progress = { watch, &w };
        struct qcbm_synth_options opt = QCBM_SYNTH_OPTIONS_INIT;
        struct image_builder b;
        struct session s;
        struct qcbm_error err = { 0 };

        build_overlay(&b, MIB(1));
        build_data(&b, 0);
        build_clusters(&b, 300); /* far apart: two reads */
        build_data(&b, KIB(512));
        build_finish(&b);
        session_open(&s, &b);
        opt.progress = &progress;
        if (stop_at == 0) {
            assert_ok(qcbm_synth(s.img, "n", &opt, NULL, &err), &err);
            assert_int_equal(w.last, w.total);
            assert_int_equal(w.total, 2 * 512);
        } else {
            assert_failure(qcbm_synth(s.img, "n", &opt, NULL, &err), &err, QCBM_E_ABORTED, QCBM_NO_OFFSET, "stopped");
            assert_int_equal(w.calls, stop_at);
            assert_untouched(&s, &b);
        }
        session_close(&s);
        build_free(&b);
    }
}

static void free_takes_null(void **state)
{
    (void)state;
    qcbm_synth_result_free(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(what_is_allocated_becomes_dirty),
        cmocka_unit_test(defaults_are_those_of_qemu),
        image_test(the_end_of_the_disk_clips_the_last_cluster),
        image_test(snapshots_say_nothing_about_the_active_state),
        image_test(an_image_without_backing_file_gets_a_note),
        image_test(an_existing_name_is_refused),
        cmocka_unit_test(replace_swaps_it_in_its_place),
        cmocka_unit_test(what_may_be_missing_or_has_changed_is_noted),
        cmocka_unit_test(merge_adds_to_it_and_keeps_granularity_and_flags),
        image_test(merge_of_a_name_that_does_not_exist_adds_it),
        cmocka_unit_test(merge_refuses_what_it_cannot_keep),
        cmocka_unit_test(granularities_outside_the_limits_are_refused),
        image_test(an_older_callers_options_are_read_as_far_as_they_go),
        cmocka_unit_test(images_that_must_not_be_written_are_refused),
        image_test(a_reading_handle_can_plan_but_not_commit),
        cmocka_unit_test(progress_ends_at_the_total_and_may_stop_the_job),
        cmocka_unit_test(free_takes_null),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
