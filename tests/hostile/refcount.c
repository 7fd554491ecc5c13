/* refcount.c - refcount table, blocks and counts are wrong: reading goes on, writing is refused
 * SPDX-License-Identifier: MIT */
#include "hostile.h"

static void build(struct image_builder *b)
{
    struct build_options opt = { .size = KIB(64) };

    build_start(b, &opt);
    build_data(b, 0);
    build_finish(b);
}

static void table_entries(void **state)
{
    static const struct {
        const char *name;
        uint64_t raw;
    } cases[] = {
        { "reserved bit", 0x200 | 1 }, { "reserved bit alone", 0x100 }, { "past the end", FAR },
        { "all ones", UINT64_MAX },    { "2^63", UINT64_C(1) << 63 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct image_builder b;

        build(&b);
        be64_store(b.bytes + b.reftable + 8 * 63, cases[i].raw); /* the last one */
        expect_plan(cases[i].name, &b, QCBM_E_UNSAFE, b.reftable + 8 * 63);
        build_free(&b);
    }
}

static void an_unaligned_block(void **state)
{
    struct build_options opt = { .size = KIB(64), .cluster_bits = 12 };
    struct image_builder b;

    (void)state;
    build_start(&b, &opt);
    build_finish(&b);
    be64_store(b.bytes + b.reftable + 8, b.len + 512);
    expect_plan("unaligned", &b, QCBM_E_UNSAFE, b.reftable + 8);
    build_free(&b);
}

static void no_table(void **state)
{
    struct image_builder b;

    (void)state;
    build(&b);
    be32_store(b.bytes + 56, 0);
    expect_plan("no clusters", &b, QCBM_E_UNSAFE, 56);
    build_free(&b);
}

static void blocks_that_something_else_uses(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct image_builder b;
        uint64_t to;

        build(&b);
        to = i == 0 ? b.reftable : i == 1 ? b.refblock : i == 2 ? b.l1 : build_l2_entry(&b, 0);
        be64_store(b.bytes + b.reftable + 8, to);
        expect_plan("two owners", &b, QCBM_E_UNSAFE, to);
        build_free(&b);
    }
}

/* QEMU would hand such a cluster out again. */
static void counts_of_0_for_what_is_used(void **state)
{
    (void)state;
    for (uint64_t c = 0; c < 6; c++) {
        struct image_builder b;

        build(&b);
        assert_int_equal(b.len, 6 * 512); /* header, table, block, L1, L2, data */
        build_set_refcount(&b, c * 512, 0);
        expect_plan("refcount 0", &b, QCBM_E_UNSAFE, c * 512);
        build_free(&b);
    }
}

static void counts_that_are_too_high_are_only_leaks(void **state)
{
    struct image_builder b;

    (void)state;
    build(&b);
    for (uint64_t c = 0; c < 200; c++)
        build_set_refcount(&b, c * 512, 65535);
    expect_plan("leaks", &b, 0, 0);
    build_free(&b);
}

static void marked_images(void **state)
{
    (void)state;
    for (uint64_t bit = 1; bit <= 2; bit++) {
        struct image_builder b;

        build(&b);
        be64_store(b.bytes + 72, bit);
        expect_open("dirty or corrupt", &b, 0, 0);
        expect_plan("dirty or corrupt", &b, QCBM_E_UNSAFE, 72);
        build_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(table_entries),
        cmocka_unit_test(an_unaligned_block),
        cmocka_unit_test(no_table),
        cmocka_unit_test(blocks_that_something_else_uses),
        cmocka_unit_test(counts_of_0_for_what_is_used),
        cmocka_unit_test(counts_that_are_too_high_are_only_leaks),
        cmocka_unit_test(marked_images),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
