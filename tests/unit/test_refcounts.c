/* test_refcounts.c - new refcount blocks and tables, at every width
 * SPDX-License-Identifier: MIT */
#include "clusters_unit.h"

/* What makes new blocks visible is one write inside one sector, of the table or of the header, in a stage of its own:
 * before it nothing in the header or the table changes, so that all counts are durable when the blocks are seen. */
static void check_stages(const struct job *j, const struct image_builder *b)
{
    const struct qcbmi_plan_stage *s = &j->plan.stages[PREPARE];
    uint64_t table_end = b->reftable + (uint64_t)b->cluster_size;

    for (size_t i = 0; i < s->n; i++) {
        assert_true(s->writes[i].off >= b->cluster_size);
        assert_true(s->writes[i].off >= table_end || s->writes[i].off + s->writes[i].len <= b->reftable);
    }
    s = &j->plan.stages[VISIBLE];
    assert_true(s->n <= 1);
    if (s->n)
        assert_int_equal(s->writes[0].off / 512, (s->writes[0].off + s->writes[0].len - 1) / 512);
}

/* ---- new blocks and tables ---- */

static void take_and_check(const struct image_builder *b, uint64_t n, bool in_one)
{
    struct job j;

    begin_ok(&j, b, n);
    if (in_one)
        take(&j, n);
    for (uint64_t i = 0; !in_one && i < n; i++)
        take(&j, 1);
    emit(&j);
    check_file(&j, b);
    check_stages(&j, b);
    end(&j);
}

/* From one cluster to so many that several blocks are new, over every boundary between. */
static void new_blocks_at_every_width(void **state)
{
    (void)state;
    for (unsigned order = 0; order <= 6; order++) {
        struct image_builder b;
        uint64_t per = 4096u >> order, used;

        build_width(&b, 9, order, order == 6 ? 20 : 5);
        used = b.len / 512;
        for (uint64_t n = 1; order >= 5 && n < 3 * per; n++)
            take_and_check(&b, n, n % 2);
        for (uint64_t n = per - used - 3; n < per - used + 4; n++)
            take_and_check(&b, n, true);
        for (uint64_t n = 2 * per - used - 4; n < 2 * per - used + 3; n++)
            take_and_check(&b, n, false);
        build_free(&b);
    }
}

/* 128 entries in a table of two sectors, for 128 clusters each: the blocks of both sides of 8 MiB cannot be shown by
 * one write within a sector, so the table is a new one. */
static void new_blocks_on_both_sides_of_a_sector_of_the_table(void **state)
{
    struct image_builder *b = bench_builder(state);

    build_width(b, 10, 6, 62 * 128 - 40);
    assert_true(b->len > 62 * 128 * KIB(1) && b->len < (62 * 128 + 40) * KIB(1)); /* in block 62 */
    take_and_check(b, 200, true);                                                 /* into block 63 */
    take_and_check(b, 250, true);                                                 /* and into 64 */
}

/* Where one write within a sector shows all of them, the table stays where it is. */
static void new_blocks_in_one_sector_need_no_new_table(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct job j;

    build_width(b, 10, 6, 5);
    begin_ok(&j, b, 300);
    take(&j, 300);
    emit(&j);
    check_file(&j, b);
    assert_int_equal(j.alloc.new_table.n, 0);
    assert_int_equal(j.plan.stages[VISIBLE].n, 1);
    assert_true(j.plan.stages[VISIBLE].writes[0].off >= b->reftable);
    end(&j);
}

/* A free cluster may have any bytes: of a block that comes to lie there all are written. */
static void a_new_block_in_a_used_place_is_written_as_a_whole(void **state)
{
    struct image_builder *b = bench_builder(state);
    uint64_t hole;
    struct job j;

    build_width(b, 10, 6, 128 - 5); /* 128 clusters per block */
    assert_int_equal(b->len, 127 * KIB(1));
    hole = 100 * KIB(1);
    build_set_refcount(b, hole, 0);
    memset(b->bytes + hole, 0xff, 1024);
    begin_ok(&j, b, 4);
    assert_int_equal(take(&j, 2), b->len); /* one of them behind the first block */
    emit(&j);
    check_file(&j, b);
    assert_int_equal(be64_load(j.file + b->reftable + 8), hole);
    for (uint64_t c = 129; c < 256; c++) /* those past the end of the file, too */
        assert_int_equal(refcount_after(&j, b, c), 0);
    end(&j);
}

/* One refcount in a block of eight sectors: the others are not written again. */
static void only_the_sector_that_changed_is_written(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct job j;

    build_width(b, 12, 4, 3);
    begin_ok(&j, b, 1);
    take(&j, 1);
    emit(&j);
    assert_int_equal(j.plan.stages[PREPARE].n, 1);
    assert_int_equal(j.plan.stages[PREPARE].writes[0].off, b->refblock);
    assert_int_equal(j.plan.stages[PREPARE].writes[0].len, 512);
    end(&j);
}

static void a_full_last_block_and_holes_elsewhere(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct job j;

    build_width(b, 9, 6, 128 - 6); /* 64 clusters per block; 127 in use, the third block is not there */
    assert_int_equal(b->len, 127 * 512);
    build_set_refcount(b, 100 * 512, 0);
    begin_ok(&j, b, 4);
    assert_int_equal(take(&j, 1), 100 * 512);
    assert_int_equal(take(&j, 1), 127 * 512);
    assert_int_equal(take(&j, 1), 128 * 512); /* needs a block, which goes behind */
    emit(&j);
    check_file(&j, b);
    check_stages(&j, b);
    assert_int_equal(j.plan.end, 130 * 512);
    end(&j);
}

/* 64 table entries at cluster size 512: clusters past 64 blocks need a longer table. */
static void a_new_table_at_every_width(void **state)
{
    (void)state;
    for (unsigned order = 0; order <= 6; order++) {
        struct image_builder b;
        uint64_t all = 64 * (4096u >> order), used;

        build_width(&b, 9, order, 3);
        used = b.len / 512;
        take_and_check(&b, all, true);
        for (uint64_t n = all - used - 70; order == 6 && n < all - used + 5; n++)
            take_and_check(&b, n, true);
        build_free(&b);
    }
}

static void the_table_is_switched_by_one_write_of_12_bytes(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct job j;
    unsigned switches = 0;

    build_width(b, 9, 6, 3);
    begin_ok(&j, b, 64 * 64);
    take(&j, 64 * 64);
    emit(&j);
    for (size_t i = 0; i < j.plan.stages[VISIBLE].n; i++) {
        const struct qcbmi_plan_write *w = &j.plan.stages[VISIBLE].writes[i];

        if (w->off >= b->cluster_size)
            continue;
        assert_int_equal(w->off, 48);
        assert_int_equal(w->len, 12);
        switches++;
    }
    assert_int_equal(switches, 1);
    for (size_t i = 0; i < j.plan.stages[PREPARE].n; i++)
        assert_true(j.plan.stages[PREPARE].writes[i].off >= b->cluster_size);
    /* the old table is given up with the rest */
    j.plan.current = RECLAIM;
    assert_int_equal(qcbmi_alloc_emit_released(&j.alloc, &j.plan, NULL), 0);
    carry_out(&j, b);
    assert_int_equal(refcount_after(&j, b, b->reftable / 512), 0);
    assert_int_equal(j.plan.clusters_freed, 1);
    end(&j);
}

static void large_clusters(void **state)
{
    static const uint32_t bits[] = { 10, 12, 16, 21 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bits); i++) {
        struct image_builder b;

        build_width(&b, bits[i], 4, 2);
        take_and_check(&b, 3, true);
        build_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_blocks_at_every_width),
        image_test(new_blocks_on_both_sides_of_a_sector_of_the_table),
        image_test(new_blocks_in_one_sector_need_no_new_table),
        image_test(a_new_block_in_a_used_place_is_written_as_a_whole),
        image_test(only_the_sector_that_changed_is_written),
        image_test(a_full_last_block_and_holes_elsewhere),
        cmocka_unit_test(a_new_table_at_every_width),
        image_test(the_table_is_switched_by_one_write_of_12_bytes),
        cmocka_unit_test(large_clusters),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
