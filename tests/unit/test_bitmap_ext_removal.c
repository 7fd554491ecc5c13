/* test_bitmap_ext_removal.c - the bitmaps extension taken out, in every state on the way
 * SPDX-License-Identifier: MIT */
#include "bitmap_ext_unit.h"

/* ---- removal ---- */

static void check_remove(const struct layout *l, unsigned want_paddings)
{
    struct image_builder b;
    struct qcbmi_plan plan;
    struct qcbm_image *img;
    struct q2_header h;
    struct shown after;

    build(&b, l);
    img = build_open(&b, QCBM_OPEN_WRITE);
    start_plan(&plan, img);
    assert_int_equal(qcbmi_ext_plan_remove(img, &plan, NULL), l->code);
    if (l->code == 0) {
        run_plan(&plan, b.bytes, b.cluster_size, 1u << VIEW_OLD | 1u << VIEW_STALE | 1u << VIEW_NONE, VIEW_NONE);
        show(b.bytes, b.cluster_size, &after, &h);
        assert_int_equal(after.n_bitmap_exts, 0);
        assert_int_equal(after.n_paddings, want_paddings);
        assert_int_equal(stages_with_writes(&plan), l->n_stages);
        q2_extensions_free(&after.exts);
    }
    qcbmi_plan_free(&plan);
    qcbm_close(img);
    build_free(&b);
}

static void removal_never_leaves_the_bit_alone(void **state)
{
    static const struct {
        struct layout l;
        unsigned paddings;
    } cases[] = {
        { { .opt = { .size = 65536 }, .bitmap = true, .n_stages = 1 }, 0 },
        { { .opt = { .size = 65536, .backing = "base" }, .bitmap = true, .n_stages = 1 }, 0 },
        /* the header of the extension ends with the first sector */
        { { .opt = { .size = 65536, .cluster_bits = 12 }, .front = 385, .bitmap = true, .n_stages = 1 }, 0 },
        /* it stands in the second one: the bit first */
        { { .opt = { .size = 65536, .cluster_bits = 12 }, .front = 401, .bitmap = true, .n_stages = 2 }, 0 },
        /* others behind it stay where they are */
        { { .opt = { .size = 65536 }, .bitmap = true, .behind = 20, .n_stages = 1 }, 1 },
        { { .opt = { .size = 65536, .cluster_bits = 12 }, .front = 401, .bitmap = true, .behind = 20, .n_stages = 2 },
          1 },
        { { .opt = { .size = 65536, .autoclear = 1u << 9 }, .bitmap = true, .n_stages = 1 }, 0 },
        { { .opt = { .size = 65536 }, .twice = true, .bitmap = true, .n_stages = 2 }, 1 },
        { { .opt = { .size = 65536, .cluster_bits = 12, .backing = "base", .no_end = true },
            .bitmap = true,
            .n_stages = 1 },
          0 },
        { { .opt = { .size = 65536, .header_length = 108 }, .bitmap = true, .code = QCBM_E_UNSUPPORTED }, 0 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check_remove(&cases[i].l, cases[i].paddings);
}

static void unknown_autoclear_bits_go_and_known_ones_stay(void **state)
{
    static const struct {
        uint64_t stored, want;
    } cases[] = {
        { UINT64_C(1) << 63 | 1u << 2, 0 },
        { UINT64_C(0xfffffffffffffffc), 0 },
    };

    (void)state;
    for (unsigned i = 0; i < 2 * ARRAY_LEN(cases); i++) {
        struct layout l = { .opt = { .size = 65536, .autoclear = cases[i / 2].stored }, .bitmap = i % 2 };
        struct image_builder b;
        struct qcbmi_plan plan;
        struct qcbm_image *img;

        build(&b, &l);
        img = build_open(&b, QCBM_OPEN_WRITE);
        start_plan(&plan, img);
        assert_int_equal(qcbmi_ext_plan_clear_unknown(img->image, &plan, NULL), 0);
        assert_int_equal(plan.stages[0].n, 1);
        assert_int_equal(plan.stages[0].writes[0].off, 88);
        assert_int_equal(plan.stages[0].writes[0].len, 8);
        assert_int_equal(be64_load(plan.stages[0].writes[0].source.bytes), cases[i / 2].want | (i % 2));
        qcbmi_plan_free(&plan);
        qcbm_close(img);
        build_free(&b);
    }
}

static void without_unknown_bits_nothing_is_written(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct layout l = { .opt = { .size = 65536, .data_file = "d", .raw_data_file = true }, .bitmap = true };
    struct qcbmi_plan plan;
    struct qcbm_image *img;

    build(b, &l);
    img = bench_image(state, QCBM_OPEN_WRITE);
    start_plan(&plan, img);
    assert_int_equal(qcbmi_ext_plan_clear_unknown(img->image, &plan, NULL), 0);
    assert_int_equal(plan.stages[0].n, 0);
    qcbmi_plan_free(&plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(removal_never_leaves_the_bit_alone),
        cmocka_unit_test(unknown_autoclear_bits_go_and_known_ones_stay),
        image_test(without_unknown_bits_nothing_is_written),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
