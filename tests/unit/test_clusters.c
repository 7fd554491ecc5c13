/* test_clusters.c - free clusters, refcounts of all widths, new refcount blocks and tables
 * SPDX-License-Identifier: MIT */
#include "clusters_unit.h"

/* ---- free clusters ---- */

static void the_lowest_free_clusters_are_taken(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = 65536 };
    uint64_t off[4], got, hole1, hole2;
    struct job j;

    build_start(b, &opt);
    hole1 = build_clusters(b, 1);
    build_data(b, 0);
    hole2 = build_clusters(b, 3);
    build_data(b, 512);
    build_finish(b);
    build_set_refcount(b, hole1, 0);
    for (uint64_t i = 0; i < 3; i++)
        build_set_refcount(b, hole2 + i * 512, 0);
    begin_ok(&j, b, 8);
    off[0] = take(&j, 2);
    off[1] = take(&j, 2);
    off[2] = take(&j, 1);
    assert_int_equal(qcbmi_alloc_take_some(&j.alloc, 5, &off[3], &got, NULL), 0);
    assert_int_equal(off[0], hole2);  /* two in a row: the first hole is too small */
    assert_int_equal(off[1], b->len); /* two in a row again */
    assert_int_equal(off[2], hole1);
    assert_int_equal(off[3], hole2 + 1024);
    assert_int_equal(got, 1);
    assert_int_equal(qcbmi_alloc_take_some(&j.alloc, 2, &off[3], &got, NULL), 0);
    assert_int_equal(off[3], b->len + 1024);
    assert_int_equal(got, 2);
    emit(&j);
    check_file(&j, b);
    assert_int_equal(j.plan.end, b->len + 4 * 512);
    end(&j);
}

static void a_used_cluster_with_refcount_0_blocks_writing(void **state)
{
    enum { HEADER, TABLE, BLOCK, L1, L2, DATA, SNAPSHOT_L1, N };

    (void)state;
    for (int i = 0; i < N; i++) {
        struct build_options opt = { .size = 65536 };
        struct image_builder b;
        struct qcbm_error err = { 0 };
        struct job j;
        uint64_t at[N] = { 0 };

        build_start(&b, &opt);
        at[DATA] = build_data(&b, 0);
        at[L2] = build_l2_entry(&b, 0);
        at[SNAPSHOT_L1] = build_snapshot(&b, "1", "s")->l1;
        at[TABLE] = b.reftable;
        at[BLOCK] = b.refblock;
        at[L1] = b.l1;
        build_finish(&b);
        build_set_refcount(&b, at[i], 0);
        assert_failure(begin(&j, &b, 1, &err), &err, QCBM_E_UNSAFE, at[i], "has refcount 0");
        end(&j);
        build_free(&b);
    }
}

static void a_used_cluster_without_a_refcount_block_blocks_writing(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = 65536, .refcount_bits = 64 }; /* 64 clusters per block */
    struct qcbm_error err = { 0 };
    uint64_t data;
    struct job j;

    build_start(b, &opt);
    build_clusters(b, 64);
    data = build_data(b, 0);
    build_finish(b);
    build_set_refcount(b, be64_load(b->bytes + b->reftable + 8),
                       0); /* else the block itself is the first to be found */
    be64_store(b->bytes + b->reftable + 8, 0);
    assert_failure(begin(&j, b, 1, &err), &err, QCBM_E_UNSAFE, data - 512, "used as an L2 table but has refcount 0");
    end(&j);
}

/* 64 table entries for 64 clusters each: what lies at 2 MiB has no refcount, and could have none. */
static void a_used_cluster_behind_the_refcount_table_blocks_writing(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = 65536, .refcount_bits = 64 };
    struct qcbm_error err = { 0 };
    struct job j;

    build_start(b, &opt);
    build_map(b, 0, MIB(2) | BUILD_COPIED, 0);
    build_finish(b);
    build_resize(b, MIB(2) + 512);
    assert_failure(begin(&j, b, 1, &err), &err, QCBM_E_UNSAFE, MIB(2), "used as guest data but has refcount 0");
    end(&j);
}

/* Each byte of a refcount counts: 256 is not 0, for a cluster in use and for a leaked one. */
static void any_bit_of_a_refcount_makes_a_cluster_used(void **state)
{
    (void)state;
    for (unsigned order = 3; order <= 6; order++)
        for (unsigned bit = 0; bit < 1u << order; bit++) {
            struct build_options opt = { .size = 65536, .refcount_bits = 1u << order };
            struct image_builder b;
            uint64_t leaked;
            struct job j;

            build_start(&b, &opt);
            leaked = build_clusters(&b, 2) + 512;
            build_data(&b, 0);
            build_finish(&b);
            build_set_refcount(&b, leaked - 512, 0); /* free: the others stand behind it, as in a run of zeros */
            build_set_refcount(&b, leaked, UINT64_C(1) << bit);
            build_set_refcount(&b, leaked + 512, UINT64_C(1) << bit); /* the L2 table */
            begin_ok(&j, &b, 2);
            assert_int_equal(take(&j, 1), leaked - 512);
            assert_int_equal(take(&j, 1), b.len);
            end(&j);
            build_free(&b);
        }
}

static void stray_refcounts_past_the_end_are_skipped(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = 65536 };
    uint64_t end_off;
    struct job j;

    build_start(b, &opt);
    build_finish(b);
    end_off = b->len;
    build_set_refcount(b, end_off, 1);
    build_set_refcount(b, end_off + 2 * 512, 3);
    begin_ok(&j, b, 8);
    assert_int_equal(take(&j, 1), end_off + 512);
    assert_int_equal(take(&j, 2), end_off + 3 * 512);
    emit(&j);
    carry_out(&j, b);
    assert_int_equal(refcount_after(&j, b, end_off / 512), 1);
    assert_int_equal(refcount_after(&j, b, end_off / 512 + 1), 1);
    assert_int_equal(refcount_after(&j, b, end_off / 512 + 2), 3);
    assert_int_equal(refcount_after(&j, b, end_off / 512 + 3), 1);
    end(&j);
}

static void a_leaked_cluster_is_not_taken(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = 65536 };
    struct job j;

    build_start(b, &opt);
    build_clusters(b, 1);
    build_finish(b);
    begin_ok(&j, b, 1);
    assert_int_equal(take(&j, 1), b->len);
    end(&j);
}

static void a_file_that_ends_inside_its_last_cluster_keeps_it(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = 65536 };
    struct job j;

    build_start(b, &opt);
    build_data(b, 0);
    build_finish(b);
    build_resize(b, b->len - 500);
    begin_ok(&j, b, 1);
    assert_int_equal(take(&j, 1), b->len + 500);
    emit(&j);
    assert_int_equal(j.plan.end, b->len + 500 + 512);
    end(&j);
}

static void more_than_there_can_be_is_refused(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = 65536 };
    struct qcbm_error err = { 0 };
    uint64_t off;
    struct job j;

    build_start(b, &opt);
    build_finish(b);
    begin_ok(&j, b, 1);
    assert_failure(qcbmi_alloc_take(&j.alloc, UINT64_MAX, &off, &err), &err, QCBM_E_LIMIT, QCBM_NO_OFFSET,
                   "no free clusters");
    end(&j);
}

/* ---- release ---- */

static void released_clusters_lose_one_reference_each(void **state)
{
    (void)state;
    for (unsigned order = 0; order <= 6; order++) {
        struct build_options opt = { .size = 65536, .refcount_bits = 1u << order };
        struct image_builder b;
        uint64_t at, shared = order ? 3 : 1;
        struct job j;

        build_start(&b, &opt);
        at = build_clusters(&b, 4);
        build_finish(&b);
        build_set_refcount(&b, at + 512, shared);
        build_set_refcount(&b, at + 1024, 0);
        begin_ok(&j, &b, 0);
        emit(&j);
        j.plan.current = RECLAIM;
        assert_int_equal(qcbmi_alloc_release(&j.alloc, &j.plan, at, 2 * 512 + 1, NULL), 0); /* three clusters */
        assert_int_equal(qcbmi_alloc_emit_released(&j.alloc, &j.plan, NULL), 0);
        carry_out(&j, &b);
        assert_int_equal(refcount_after(&j, &b, at / 512), 0);
        assert_int_equal(refcount_after(&j, &b, at / 512 + 1), shared - 1);
        assert_int_equal(refcount_after(&j, &b, at / 512 + 2), 0);
        assert_int_equal(refcount_after(&j, &b, at / 512 + 3), 1);
        assert_int_equal(j.plan.clusters_freed, order ? 1 : 2);
        for (size_t i = 0; i < j.plan.stages[RECLAIM].n; i++)
            assert_int_equal(j.plan.stages[RECLAIM].writes[i].len, 512);
        end(&j);
        build_free(&b);
    }
}

static void release_leaves_alone_what_has_no_block(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct job j;

    build_width(b, 9, 6, 3);
    begin_ok(&j, b, 0);
    emit(&j);
    j.plan.current = RECLAIM;
    assert_int_equal(qcbmi_alloc_release(&j.alloc, &j.plan, 64 * 512, 5 * 512, NULL), 0);
    assert_int_equal(qcbmi_alloc_emit_released(&j.alloc, &j.plan, NULL), 0);
    assert_int_equal(j.plan.stages[RECLAIM].n, 0);
    assert_int_equal(j.plan.clusters_freed, 0);
    end(&j);
}

/* ---- tables that cannot be trusted ---- */

static void bad_refcount_table_entries_block_writing(void **state)
{
    /* reserved bits, in the middle of a cluster, behind the end, all of it */
    static const uint64_t bad[] = { 0x400 | 1, 0x600, UINT64_C(1) << 40, UINT64_MAX };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct image_builder b;
        struct qcbm_error err = { 0 };
        struct qcbmi_owners owners = { 0 };
        struct qcbm_image *img;

        build_width(&b, 10, 4, 2);
        be64_store(b.bytes + b.reftable + 8 * 5, bad[i]);
        img = build_open(&b, 0);
        assert_failure(qcbmi_owners_scan_metadata(img->image, &owners, &err), &err, QCBM_E_UNSAFE, b.reftable + 8 * 5,
                       "refcount table entry 5");
        qcbmi_owners_free(&owners);
        qcbm_close(img);
        build_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(the_lowest_free_clusters_are_taken),
        cmocka_unit_test(a_used_cluster_with_refcount_0_blocks_writing),
        image_test(a_used_cluster_without_a_refcount_block_blocks_writing),
        image_test(a_used_cluster_behind_the_refcount_table_blocks_writing),
        cmocka_unit_test(any_bit_of_a_refcount_makes_a_cluster_used),
        image_test(stray_refcounts_past_the_end_are_skipped),
        image_test(a_leaked_cluster_is_not_taken),
        image_test(a_file_that_ends_inside_its_last_cluster_keeps_it),
        image_test(more_than_there_can_be_is_refused),
        cmocka_unit_test(released_clusters_lose_one_reference_each),
        image_test(release_leaves_alone_what_has_no_block),
        cmocka_unit_test(bad_refcount_table_entries_block_writing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
