/* test_refcount_root.c - the refcount table of a file without a header: found for each size of clusters and each width
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "rescue/refcount_root.h"

static void find(const uint8_t *bytes, size_t len, unsigned cluster_bits, struct qcbmi_refcount_root *root, bool *found)
{
    struct qcbmi_holes holes;
    struct qcbmi_io io;
    struct qcbm_mem *mem;
    struct qcbm_error err = { 0 };

    assert_int_equal(qcbm_mem_new(bytes, len, &mem, NULL), 0);
    assert_int_equal(qcbmi_io_init(&io, qcbm_mem_ops(), mem, false, NULL), 0);
    qcbmi_holes_init(&holes, &io);
    assert_ok(qcbmi_find_refcount_root(&holes, cluster_bits, root, found, &err), &err);
    qcbmi_holes_free(&holes);
    qcbmi_io_close(&io);
}

static void each_size_and_width_is_told(void **state)
{
    (void)state;
    for (uint32_t cb = 9; cb <= 16; cb++)
        for (uint32_t order = 0; order <= 6; order++) {
            struct image_builder b = { 0 };
            struct qcbmi_refcount_root root;
            bool found;

            build_start(&b,
                        &(struct build_options){ .size = 8u << cb, .cluster_bits = cb, .refcount_bits = 1u << order });
            build_data(&b, 0);
            build_data(&b, 3u << cb);
            build_finish(&b);
            memset(b.bytes, 0, b.cluster_size);
            find(b.bytes, b.len, 0, &root, &found);
            assert_true(found);
            assert_int_equal(root.cluster_bits, cb);
            assert_int_equal(root.order, order);
            assert_int_equal(root.offset, b.reftable);
            build_free(&b);
        }
}

static void one_that_has_moved_is_found_by_a_pass(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct qcbmi_refcount_root root;
    uint64_t at;
    bool found;

    build_start(b, &(struct build_options){ .size = 65536 });
    build_data(b, 0);
    at = build_clusters(b, 1);
    build_finish(b);
    memcpy(b->bytes + at, b->bytes + b->reftable, 512);
    memset(b->bytes + b->reftable, 0, 512);
    memset(b->bytes, 0, 512);
    find(b->bytes, b->len, 0, &root, &found);
    assert_true(found);
    assert_int_equal(root.offset, at);
    find(b->bytes, b->len, 12, &root, &found);
    assert_false(found);
}

static void there_is_none_in_other_bytes(void **state)
{
    uint8_t bytes[65536];
    struct qcbmi_refcount_root root;
    uint64_t seed = 99;
    bool found;

    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)next_random(&seed);
    find(bytes, sizeof(bytes), 0, &root, &found);
    assert_false(found);
    find(bytes, 0, 0, &root, &found);
    assert_false(found);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_size_and_width_is_told),
        image_test(one_that_has_moved_is_found_by_a_pass),
        cmocka_unit_test(there_is_none_in_other_bytes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
