/* test_synth_damage.c - what allocation cannot tell: raw data files, damage, sizes that end within a granule
 * SPDX-License-Identifier: MIT */
#include "synth_image_unit.h"

/* ---- what allocation cannot tell ---- */

static void a_raw_data_file_is_refused_or_all_dirty(void **state)
{
    struct bench *t = *state;
    struct build_options opt = { .size = KIB(64), .data_file = "d", .raw_data_file = true };
    struct qcbm_error err = { 0 };

    build_start(&t->b, &opt);
    build_finish(&t->b);
    session_open(&t->s, &t->b);
    assert_failure(synth(&t->s, "n", 512, 0, NULL, &err), &err, QCBM_E_UNSUPPORTED, 88, "raw external data file");
    assert_untouched(&t->s, &t->b);
    assert_ok(synth(&t->s, "n", 512, QCBM_SYNTH_FORCE, NULL, &err), &err);
    assert_dirty(t->s.img, "n", "0-65536");
}

static void damage_is_refused_with_its_count(void **state)
{
    struct bench *t = *state;
    struct build_options opt = { .size = KIB(64), .backing = "base" };
    struct qcbm_error err = { 0 };

    build_start(&t->b, &opt);
    build_map(&t->b, KIB(2), 0x4, 0);               /* a reserved bit */
    build_map(&t->b, KIB(3), UINT64_C(1) << 40, 0); /* past the end */
    build_finish(&t->b);
    session_open(&t->s, &t->b);
    assert_int_equal(qcbm_synth(t->s.img, "n", NULL, NULL, NULL), QCBM_E_UNSAFE);
    assert_failure(qcbm_synth(t->s.img, "n", NULL, NULL, &err), &err, QCBM_E_UNSAFE, build_l2_entry(&t->b, KIB(2)),
                   "in 2 places");
    assert_untouched(&t->s, &t->b);
}

static void allowed_damage_is_counted_and_dirty(void **state)
{
    struct bench *t = *state;
    struct qcbm_edit *edit;
    struct qcbm_synth_options opt = QCBM_SYNTH_OPTIONS_INIT;
    struct qcbm_synth_result *r;
    struct qcbm_synth_summary sum;
    struct qcbm_error err = { 0 };

    build_overlay(&t->b, KIB(64));
    build_map(&t->b, KIB(2), 0x4, 0);               /* a reserved bit */
    build_map(&t->b, KIB(3), UINT64_C(1) << 40, 0); /* past the end */
    build_data(&t->b, KIB(8));
    build_finish(&t->b);
    session_open(&t->s, &t->b);
    opt.flags = QCBM_SYNTH_ALLOW_DAMAGE;
    opt.granularity = 512;
    assert_ok(qcbm_edit_begin(t->s.img, &edit, &err), &err);
    assert_ok(qcbm_edit_synth(edit, t->s.img, "n", &opt, &r, &err), &err);
    qcbm_synth_result_summary(r, &sum, sizeof(sum));
    assert_int_equal(sum.damaged_entries, 2);
    assert_int_equal(sum.dirty_bytes, 3 * 512);
    assert_non_null(strstr(qcbm_synth_result_note(r, 0), "2 damaged entries"));
    qcbm_synth_result_free(r);
    /* an image like that is not written to all the same */
    assert_failure(qcbm_edit_plan(edit, NULL, 0, NULL, NULL, &err), &err, QCBM_E_UNSAFE, build_l2_entry(&t->b, KIB(2)),
                   "L2 entry is damaged");
    qcbm_edit_free(edit);
    assert_untouched(&t->s, &t->b);
}

/* QEMU rounds the size down to 512: the last bytes of some odd sizes would have no bit. */
static void odd_sizes_are_written_only_where_every_byte_has_a_bit(void **state)
{
    static const struct {
        uint64_t size, granularity;
        const char *dirty; /* NULL = refused */
    } cases[] = {
        { KIB(64) + 100, 512, NULL },
        { KIB(64) + 100, 4096, NULL },
        { KIB(64) + 511, 65536, NULL },
        { KIB(64) + 512 + 100, 512, NULL },
        { KIB(64) + 512 + 100, 4096, "65536-66048" },
        { KIB(64) - 1, 65536, "0-65024" },
        { KIB(64) + 512, 512, "65536-66048" },
    };

    (void)state;
    for (size_t i = 0; i < 2 * ARRAY_LEN(cases); i++) {
        uint64_t size = cases[i / 2].size, gran = cases[i / 2].granularity;
        struct image_builder b;
        struct session s;
        struct qcbm_error err = { 0 };

        build_overlay(&b, size);
        if (i % 2)
            build_data(&b, (size - 1) / 512 * 512);
        build_finish(&b);
        session_open(&s, &b);
        if (cases[i / 2].dirty) {
            assert_ok(synth(&s, "n", gran, 0, NULL, &err), &err);
            assert_dirty(s.img, "n", i % 2 ? cases[i / 2].dirty : "");
        } else if (i % 2) {
            assert_failure(synth(&s, "n", gran, 0, NULL, &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET, "past the end");
            assert_untouched(&s, &b);
        } else {
            assert_failure(synth(&s, "n", gran, 0, NULL, &err), &err, QCBM_E_UNSUPPORTED, 24, "not a multiple of 512");
            assert_untouched(&s, &b);
        }
        session_close(&s);
        build_free(&b);
    }
}

/* The bitmap has no bit for the last bytes, and they are dirty. */
static void merging_into_a_bitmap_loses_no_dirty_byte_past_its_end(void **state)
{
    struct bench *t = *state;
    struct build_options opt = { .size = KIB(64) + 100, .backing = "base" };
    struct qcbm_synth_options synth = QCBM_SYNTH_OPTIONS_INIT;

    build_start(&t->b, &opt);
    build_data(&t->b, KIB(64)); /* the last 100 bytes */
    build_bitmap(&t->b, "n", 9, 2, NULL, 0);
    build_finish(&t->b);
    session_open(&t->s, &t->b);
    synth.flags = QCBM_SYNTH_MERGE;
    assert_true(qcbm_synth(t->s.img, "n", &synth, NULL, NULL) < 0);
    assert_untouched(&t->s, &t->b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(a_raw_data_file_is_refused_or_all_dirty),
        image_test(damage_is_refused_with_its_count),
        image_test(allowed_damage_is_counted_and_dirty),
        cmocka_unit_test(odd_sizes_are_written_only_where_every_byte_has_a_bit),
        image_test(merging_into_a_bitmap_loses_no_dirty_byte_past_its_end),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
