/* test_rescue_proof.c - what looks like proof and is none: references too many, refcounts that are wrong, a header that
 * is lost
 * SPDX-License-Identifier: MIT */
#include "rescue_unit.h"

#define DISK KIB(32) /* one L2 table */

/* Two clusters that a snapshot shares, and an L2 table that is lost. */
static void build_shared(struct image_builder *b, uint32_t version)
{
    uint64_t at;

    build_start(b, &(struct build_options){ .size = DISK, .version = version });
    build_filled(b, 0, 0x77);
    build_filled(b, 512, 0x78);
    build_snapshot(b, "1", "s");
    build_filled(b, 1024, 0x79); /* the active state gets a table of its own */
    at = build_l2_entry(b, 0);
    build_finish(b);
    memset(b->bytes + at, 0, 512);
}

static void assert_nothing_proven(const struct image_builder *b, const char *begin)
{
    struct rescued r;

    rescue_bytes(&r, b->bytes, b->len, 0);
    assert_ok(r.ret, &r.err);
    assert_int_equal(strncmp(r.ranges, begin, strlen(begin)), 0);
    assert_int_equal(r.result.proven, 0);
    free_rescued(&r);
}

/* In version 3 the lost entry may have said "zeros" beside the cluster. In version 2 it may be a leak all the same. */
static void a_reference_more_is_no_proof(void **state)
{
    struct image_builder *b = bench_builder(state);

    build_shared(b, 2);
    assert_nothing_proven(b, "0-1024 80 snapshot; ");
    build_free(b);
    build_shared(b, 3);
    assert_nothing_proven(b, "0-1024 80 snapshot; ");
}

/* As a cut in the deletion of a snapshot leaves them: the table of snapshots is written, no refcount lowered yet. */
static void leaks_are_no_proof(void **state)
{
    struct image_builder *b = bench_builder(state);
    uint64_t first, second, table;

    build_start(b, &(struct build_options){ .size = DISK });
    first = build_filled(b, 0, 0x77);
    second = build_filled(b, 512, 0x78);
    table = build_l2_entry(b, 0) & ~UINT64_C(511);
    build_snapshot(b, "1", "s");
    build_filled(b, 1024, 0x79);
    build_finish(b);
    build_set_refcount(b, first, 3);
    build_set_refcount(b, second, 3);
    build_set_refcount(b, table, 2);
    memset(b->bytes + b->l1, 0, 512);
    assert_nothing_proven(b, "");
}

static void overwritten_refcounts_are_no_proof(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct rescued r;

    build_shared(b, 3);
    memset(b->bytes + b->refblock, 0x17, 512);
    rescue_bytes(&r, b->bytes, b->len, 0);
    assert_ok(r.ret, &r.err);
    assert_false(r.result.refcounts);
    assert_string_equal(r.ranges, "0-32768 0 table-lost");
    free_rescued(&r);
}

/* Where one is too low, that of a cluster that is missing may be, too. */
static void low_refcounts_prove_no_emptiness(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct rescued r;
    uint64_t at;

    build_start(b, &(struct build_options){ .size = 2 * DISK });
    at = build_filled(b, 0, 0x77);
    build_finish(b);
    build_set_refcount(b, at, 0);
    assert_rescue(&r, b, "0-512 50 refcount-0; 512-65536 80 no-refcounts");
    free_rescued(&r);
}

/* What was overwritten may have been the place of its name. */
static void a_damaged_header_without_backing_file_proves_no_zeros(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct rescued r;

    build_start(b, &(struct build_options){ .size = DISK });
    build_filled(b, 0, 0x11);
    build_finish(b);
    memset(b->bytes, 0, 20);
    assert_rescue(&r, b, "0-512 100 tables; 512-32768 0 backing-lost");
    assert_true(r.result.backing_unknown);
    free_rescued(&r);
}

static void a_damaged_header_keeps_the_name_that_it_has(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct rescued r;

    build_start(b, &(struct build_options){ .size = DISK, .backing = "base.raw", .backing_format = "raw" });
    build_filled(b, 0, 0x11);
    build_finish(b);
    memset(b->bytes, 0, 4);
    assert_rescue(&r, b, "0-32768 100 tables");
    assert_false(r.result.backing_unknown);
    free_rescued(&r);
}

/* A table that was overwritten, and of which nothing is found, is lost, and none that was put together. */
static void a_table_without_entries_is_lost(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct rescued r;
    uint64_t at;

    build_start(b, &(struct build_options){ .size = DISK });
    build_filled(b, 0, 0x11);
    build_filled(b, 512, 0x12);
    at = build_l2_entry(b, 0);
    build_finish(b);
    memset(b->bytes + at, 0, 512);
    rescue_bytes(&r, b->bytes, b->len, 0);
    assert_ok(r.ret, &r.err);
    assert_int_equal(r.result.tables_lost, 1);
    assert_int_equal(r.result.tables_rebuilt, 0);
    assert_int_equal(r.result.clusters_left, 2);
    free_rescued(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(a_reference_more_is_no_proof),
        image_test(leaks_are_no_proof),
        image_test(overwritten_refcounts_are_no_proof),
        image_test(low_refcounts_prove_no_emptiness),
        image_test(a_damaged_header_without_backing_file_proves_no_zeros),
        image_test(a_damaged_header_keeps_the_name_that_it_has),
        image_test(a_table_without_entries_is_lost),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
