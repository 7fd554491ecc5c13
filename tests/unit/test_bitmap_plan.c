/* test_bitmap_plan.c - what an edit writes, and what it need not write
 * SPDX-License-Identifier: MIT */
#include "edit_unit.h"

/* ---- what is written ---- */

static void a_change_of_flags_writes_4_bytes_with_one_flush(void **state)
{
    struct bench *t = bench_open(state, build_abc);
    struct qcbm_edit *edit = begin(&t->s);
    struct qcbm_error err = { 0 };
    const uint8_t *now;
    size_t len;

    assert_ok(qcbm_edit_enable(edit, "b", &err), &err);
    commit(edit);
    assert_int_equal(t->s.rec->n, 2);
    assert_int_equal(t->s.rec->events[0].kind, RECORD_WRITE);
    assert_int_equal(t->s.rec->events[0].off, t->b.bitmaps[1].entry + 12);
    assert_int_equal(t->s.rec->events[0].len, 4);
    assert_int_equal(t->s.rec->events[1].kind, RECORD_FLUSH);
    now = session_bytes(&t->s, &len);
    be32_store(t->b.bytes + t->b.bitmaps[1].entry + 12, AUTO);
    assert_int_equal(len, t->b.len);
    assert_memory_equal(now, t->b.bytes, len);
    assert_stored(&t->s, "a2 b2 c3");
}

/* A write of flags may be short and still cross a sector: torn, it would leave one of two bitmaps enabled. */
static void flags_in_one_sector_are_one_write_and_in_two_a_new_directory(void **state)
{
    static const unsigned pairs[][2] = { { 0, 5 }, { 0, 6 }, { 5, 6 } };
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(64), .cluster_bits = 12 };
    struct session s;
    struct qcbm_error err = { 0 };
    struct qcbm_edit *edit;
    char name[64];

    build_start(b, &opt);
    for (int i = 0; i < 8; i++) { /* 88 bytes each: 0 to 5 have their flags in the first sector */
        snprintf(name, sizeof(name), "bitmap-with-a-name-of-sixty-bytes-to-fill-the-directory-000%d", i);
        build_bitmap(b, name, 12, 0, NULL, 0);
    }
    build_finish(b);
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        session_open(&s, b);
        edit = begin(&s);
        assert_ok(qcbm_edit_enable(edit, b->bitmaps[pairs[i][0]].name, &err), &err);
        assert_ok(qcbm_edit_enable(edit, b->bitmaps[pairs[i][1]].name, &err), &err);
        commit(edit);
        assert_int_equal(session_count(&s, RECORD_FLUSH) == 1, i == 0);
        assert_int_equal(session_count(&s, RECORD_WRITE) == 1, i == 0);
        for (uint32_t k = 0; k < 8; k++) {
            struct qcbm_bitmap_info m;

            qcbm_bitmap_get(s.img, k, &m, sizeof(m));
            assert_string_equal(m.name, b->bitmaps[k].name);
            assert_int_equal(m.enabled, k == pairs[i][0] || k == pairs[i][1]);
        }
        session_close(&s);
    }
}

static void changes_that_cancel_out_write_nothing(void **state)
{
    struct bench *t = bench_open(state, build_abc);
    struct qcbm_edit *edit = begin(&t->s);
    struct qcbm_error err = { 0 };

    assert_ok(qcbm_edit_enable(edit, "a", &err), &err);
    assert_ok(qcbm_edit_enable(edit, "b", &err), &err);
    assert_ok(qcbm_edit_disable(edit, "b", &err), &err);
    assert_ok(qcbm_edit_add(edit, "n", 0, 0, &err), &err);
    assert_ok(qcbm_edit_remove(edit, "n", &err), &err);
    commit(edit);
    assert_untouched(&t->s, &t->b);
}

static void unknown_autoclear_bits_go_before_the_flags(void **state)
{
    struct bench *t = *state;
    struct build_options opt = { .size = KIB(64), .autoclear = UINT64_C(1) << 40 };
    struct qcbm_error err = { 0 };
    struct qcbm_edit *edit;

    build_start(&t->b, &opt);
    build_bitmap(&t->b, "a", 9, 0, NULL, 0);
    build_finish(&t->b);
    session_open(&t->s, &t->b);
    edit = begin(&t->s);
    assert_ok(qcbm_edit_enable(edit, "a", &err), &err);
    commit(edit);
    assert_int_equal(t->s.rec->n, 4); /* write, flush, write, flush */
    assert_int_equal(t->s.rec->events[0].off, 88);
    assert_int_equal(be64_load(t->s.rec->events[0].bytes), 1);
    assert_int_equal(t->s.rec->events[1].kind, RECORD_FLUSH);
    assert_int_equal(t->s.rec->events[2].off, t->b.bitmaps[0].entry + 12);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(a_change_of_flags_writes_4_bytes_with_one_flush),
        image_test(flags_in_one_sector_are_one_write_and_in_two_a_new_directory),
        image_test(changes_that_cancel_out_write_nothing),
        image_test(unknown_autoclear_bits_go_before_the_flags),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
