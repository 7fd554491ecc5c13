/* test_bitmap_judge.c - what the bits of a bitmap are worth: sound, exact, a superset, or nothing
 * SPDX-License-Identifier: MIT */
#include "edit_unit.h"

#include "base/bytes.h"
#include "bitmap/bitmap_judge.h"

/* Bitmap @i of @b as it is; @shared: offset of a cluster that had two owners, or 0. */
static void assert_judged(const char *what, const struct image_builder *b, uint32_t i, uint64_t shared,
                          enum qcbmi_judgement want, uint64_t assumed)
{
    struct qcbmi_judge j = { 0 };
    struct qcbmi_judged got;
    struct qcbmi_bitset were = { 0 };
    struct qcbm_error err = { 0 };
    struct session s;

    session_open(&s, b);
    if (shared) {
        assert_int_equal(qcbmi_bitset_init(&were, b->len / 512, NULL), 0);
        assert_int_equal(qcbmi_bitset_set(&were, shared / 512, shared / 512 + 1, NULL), 0);
    }
    assert_ok(qcbmi_judge_begin(&j, s.img->image, s.img->bitmaps, s.img->image, shared ? &were : NULL, &err), &err);
    assert_ok(qcbmi_judge_bitmap(&j, i, &got, &err), &err);
    if (got.is != want || got.assumed != assumed || !!got.why != (want != QCBMI_JUDGED_SOUND))
        fail_msg("%s: judged %d, %llu bytes assumed, why: %s", what, (int)got.is, (unsigned long long)got.assumed,
                 got.why ? got.why : "-");
    qcbmi_dirtymap_free(&got.map);
    qcbmi_judge_free(&j);
    qcbmi_bitset_free(&were);
    session_close(&s);
}

static uint64_t data_of(const struct image_builder *b, uint32_t i)
{
    return be64_load(b->bytes + b->bitmaps[i].table);
}

static void what_is_provable_is_kept(void **state)
{
    struct image_builder b;
    uint64_t data;

    (void)state;
    build_abc(&b);
    data = data_of(&b, 0);
    for (uint32_t i = 0; i < 3; i++)
        assert_judged("sound", &b, i, 0, QCBMI_JUDGED_SOUND, 0);
    build_set_refcount(&b, data, 0);
    assert_judged("counts as free", &b, 0, 0, QCBMI_JUDGED_EXACT, 0);
    memset(b.bytes + data, 0, 512);
    assert_judged("counts as free, and emptied", &b, 0, 0, QCBMI_JUDGED_SUPERSET, KIB(64));
    assert_judged("the next one", &b, 1, 0, QCBMI_JUDGED_SOUND, 0);
    build_free(&b);
}

static void what_leads_nowhere_is_dirty(void **state)
{
    struct image_builder b;

    (void)state;
    build_abc(&b);
    be64_store(b.bytes + b.bitmaps[0].table, 0x1001);
    be64_store(b.bytes + b.bitmaps[1].table, MIB(1));
    assert_judged("an entry of nonsense", &b, 0, 0, QCBMI_JUDGED_SUPERSET, KIB(64));
    assert_judged("behind the end", &b, 1, 0, QCBMI_JUDGED_SUPERSET, KIB(64));
    be64_store(b.bytes + b.bitmaps[1].entry, MIB(1));
    assert_judged("table behind the end", &b, 1, 0, QCBMI_JUDGED_NOTHING, KIB(64));
    build_free(&b);
}

static void what_is_or_was_anothers_is_dirty(void **state)
{
    struct image_builder b;

    (void)state;
    build_abc(&b);
    assert_judged("its data had two owners", &b, 0, data_of(&b, 0), QCBMI_JUDGED_SUPERSET, KIB(64));
    assert_judged("that of the next one", &b, 0, data_of(&b, 1), QCBMI_JUDGED_SOUND, 0);
    assert_judged("its table had two owners", &b, 0, b.bitmaps[0].table, QCBMI_JUDGED_NOTHING, KIB(64));
    be64_store(b.bytes + b.bitmaps[0].table, be64_load(b.bytes + build_l2_entry(&b, 0)) & ~BUILD_COPIED);
    assert_judged("data of the guest", &b, 0, 0, QCBMI_JUDGED_SUPERSET, KIB(64));
    be64_store(b.bytes + b.bitmaps[0].table, data_of(&b, 1));
    assert_judged("data of another bitmap", &b, 0, 0, QCBMI_JUDGED_SUPERSET, KIB(64));
    assert_judged("and of that one", &b, 1, 0, QCBMI_JUDGED_SUPERSET, KIB(64));
    build_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_provable_is_kept),
        cmocka_unit_test(what_leads_nowhere_is_dirty),
        cmocka_unit_test(what_is_or_was_anothers_is_dirty),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
