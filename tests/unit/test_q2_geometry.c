/* test_q2_geometry.c - numbers derived from the header, over the grid of cluster sizes, widths and L2 kinds
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include "format/q2_geometry.h"

static void every_number_over_the_grid(void **state)
{
    (void)state;
    for (uint32_t cb = 9; cb <= 21; cb++)
        for (uint32_t order = 0; order <= 6; order++)
            for (unsigned ext = 0; ext <= (cb >= 14 ? 1 : 0); ext++) {
                struct q2_header h = { .version = 3, .cluster_bits = cb, .refcount_order = order };
                uint64_t cs = UINT64_C(1) << cb, entry = ext ? 16 : 8;
                struct q2_geometry g;

                h.incompatible = ext ? QCBM_INCOMPAT_EXTENDED_L2 : 0;
                h.size = 3 * cs * (cs / entry) + 700;
                memset(&g, 0xcd, sizeof(g));
                q2_geometry_derive(&h, &g);
                assert_int_equal(g.version, 3);
                assert_int_equal(g.cluster_bits, cb);
                assert_int_equal(g.cluster_size, cs);
                assert_int_equal(g.size, h.size);
                assert_int_equal(g.sector_size_down, h.size - 188);
                assert_int_equal(g.extended_l2, ext);
                assert_false(g.data_file);
                assert_false(g.raw_data_file);
                assert_int_equal(g.l2_entry_size, entry);
                assert_int_equal(g.l2_entries, cs / entry);
                assert_int_equal(g.subcluster_size, ext ? cs / 32 : cs);
                assert_int_equal(g.l2_span, cs * (cs / entry));
                assert_int_equal(g.l1_used, 4);
                assert_int_equal(g.refcount_order, order);
                assert_int_equal(g.refcount_bits, 1u << order);
                assert_int_equal(g.refblock_entries, cs * 8 >> order);
                assert_int_equal(g.compressed_offset_bits, 62 - (cb - 8));
            }
}

static void edges_of_the_virtual_size(void **state)
{
    static const struct {
        uint64_t size, down, l1;
    } cases[] = { { 0, 0, 0 },
                  { 1, 0, 1 },
                  { 511, 0, 1 },
                  { 512, 512, 1 },
                  { 1000000, 999936, 1 },
                  { UINT64_C(1) << 29, UINT64_C(1) << 29, 1 },
                  { (UINT64_C(1) << 29) + 1, UINT64_C(1) << 29, 2 },
                  { (UINT64_C(1) << 63) - 1, (UINT64_C(1) << 63) - 512, UINT64_C(1) << 34 } };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct q2_header h = { .version = 2, .cluster_bits = 16, .refcount_order = 4, .size = cases[i].size };
        struct q2_geometry g;

        q2_geometry_derive(&h, &g);
        assert_int_equal(g.sector_size_down, cases[i].down);
        assert_int_equal(g.l1_used, cases[i].l1);
    }
}

static void data_file_flags(void **state)
{
    struct q2_header h = { .version = 3, .cluster_bits = 16, .refcount_order = 4 };
    struct q2_geometry g;

    (void)state;
    h.incompatible = QCBM_INCOMPAT_DATA_FILE;
    q2_geometry_derive(&h, &g);
    assert_true(g.data_file && !g.raw_data_file);
    h.autoclear = QCBM_AUTOCLEAR_RAW_DATA_FILE;
    q2_geometry_derive(&h, &g);
    assert_true(g.data_file && g.raw_data_file);
    h.incompatible = 0;
    q2_geometry_derive(&h, &g);
    assert_true(!g.data_file && !g.raw_data_file);
}

static void default_granularity_is_the_cluster_size_within_4_and_64_kib(void **state)
{
    (void)state;
    for (uint32_t cb = 9; cb <= 21; cb++) {
        struct q2_header h = { .version = 3, .cluster_bits = cb, .refcount_order = 4 };
        struct q2_geometry g;

        q2_geometry_derive(&h, &g);
        assert_int_equal(q2_default_granularity(&g), cb < 12 ? 4096 : cb > 16 ? 65536 : 1u << cb);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_number_over_the_grid),
        cmocka_unit_test(edges_of_the_virtual_size),
        cmocka_unit_test(data_file_flags),
        cmocka_unit_test(default_granularity_is_the_cluster_size_within_4_and_64_kib),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
