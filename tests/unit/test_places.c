/* test_places.c - errors and findings point at the bad bytes, and name them as the image does
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "write/owners.h"

/* struct qcbm_error: offset is where the bad bytes lie; the entry, not the last one of its table. */
static void guest_data_on_metadata_is_named_by_its_own_entry(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(64) };
    struct qcbmi_owners o = { 0 };
    struct qcbm_error err = { 0 };
    struct qcbm_image *img;
    uint64_t at;

    build_start(b, &opt);
    at = build_l2_entry(b, KIB(2)); /* unallocated entries behind it */
    be64_store(b->bytes + at, b->l1 | BUILD_COPIED);
    build_finish(b);
    img = bench_image(state, 0);
    assert_int_equal(qcbmi_owners_scan_metadata(img->image, &o, NULL), 0);
    assert_failure(qcbmi_owners_scan_data(&o, NULL, &err), &err, QCBM_E_UNSAFE, at, "is also metadata");
    qcbmi_owners_free(&o);
}

/* The bytes that are wrong are those of the pointer; what it points to is not in the file at all. */
static void a_table_past_the_end_is_named_by_what_points_to_it(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct build_options opt = { .size = KIB(64) };
        struct image_builder b;
        struct qcbmi_owners o = { 0 };
        struct qcbm_error err = { 0 };
        struct qcbm_image *img;
        uint64_t at;

        build_start(&b, &opt);
        build_snapshot(&b, "1", "s");
        build_finish(&b);
        at = i == 0 ? 40 : i == 1 ? 48 : i == 2 ? b.l1 + 8 : b.snapshots[0].entry;
        be64_store(b.bytes + at, b.len + 512);
        img = build_open(&b, 0);
        assert_failure(qcbmi_owners_scan_metadata(img->image, &o, &err), &err, QCBM_E_UNSAFE, at,
                       "pass the end of the file");
        qcbmi_owners_free(&o);
        qcbm_close(img);
        build_free(&b);
    }
}

static void the_l2_table_of_a_message_is_numbered_as_in_the_l1_table(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(192) }; /* 6 L1 entries */
    struct qcbmi_owners o = { 0 };
    struct qcbm_error err = { 0 };
    struct qcbm_image *img;

    build_start(b, &opt);
    be64_store(b->bytes + b->l1 + 8 * 5, b->reftable | BUILD_COPIED);
    build_finish(b);
    img = bench_image(state, 0);
    assert_failure(qcbmi_owners_scan_metadata(img->image, &o, &err), &err, QCBM_E_UNSAFE, b->reftable, "L1 entry 5");
    qcbmi_owners_free(&o);
}

/* Counting twice finds the same thing, not two things. */
static void counting_a_bitmap_twice_finds_nothing_new(void **state)
{
    static const uint64_t far = UINT64_C(1) << 40;
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(64) };
    struct qcbm_bitmap_usage usage;
    struct qcbm_image *img;

    build_start(b, &opt);
    build_bitmap(b, "a", 9, 0, &far, 1);
    build_finish(b);
    img = bench_image(state, 0);
    assert_int_equal(qcbm_bitmap_usage(img, 0, &usage, sizeof(usage), NULL, NULL), 0);
    assert_int_equal(qcbm_bitmap_usage(img, 0, &usage, sizeof(usage), NULL, NULL), 0);
    assert_int_equal(qcbm_finding_count(img), 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(guest_data_on_metadata_is_named_by_its_own_entry),
        cmocka_unit_test(a_table_past_the_end_is_named_by_what_points_to_it),
        image_test(the_l2_table_of_a_message_is_numbered_as_in_the_l1_table),
        image_test(counting_a_bitmap_twice_finds_nothing_new),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
