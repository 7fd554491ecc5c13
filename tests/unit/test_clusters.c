/* test_clusters.c - free clusters, refcounts of all widths, new refcount blocks and tables
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "write/clusters.h"

#define PREPARE 0u
#define VISIBLE 1u
#define RECLAIM 2u

struct job {
    struct qcbm_image *img;
    struct qcbmi_owners owners;
    struct qcbmi_alloc alloc;
    struct qcbmi_plan plan;
    uint8_t *file; /* with the plan carried out */
    uint64_t file_len;
};

static int begin(struct job *j, const struct image_builder *b, uint64_t want, struct qcbm_error *err)
{
    memset(j, 0, sizeof(*j));
    j->img = build_open(b, QCBM_OPEN_WRITE);
    assert_ok(qcbmi_owners_scan_metadata(j->img->image, &j->owners, err), err);
    assert_ok(qcbmi_owners_scan_data(&j->owners, err), err);
    assert_ok(qcbmi_plan_header_init(&j->plan, j->img->image->cluster0, j->img->image->g.cluster_size, err), err);
    for (int i = 0; i < 3; i++)
        assert_ok(qcbmi_plan_stage(&j->plan, "", false, err), err);
    return qcbmi_alloc_begin(&j->alloc, &j->owners, want, err);
}

static void begin_ok(struct job *j, const struct image_builder *b, uint64_t want)
{
    struct qcbm_error err = { 0 };

    assert_ok(begin(j, b, want, &err), &err);
}

static uint64_t take(struct job *j, uint64_t n)
{
    struct qcbm_error err = { 0 };
    uint64_t off;

    assert_ok(qcbmi_alloc_take(&j->alloc, n, &off, &err), &err);
    return off;
}

static void emit(struct job *j)
{
    struct qcbm_error err = { 0 };

    assert_ok(qcbmi_alloc_emit(&j->alloc, &j->plan, PREPARE, VISIBLE, &err), &err);
}

static void carry_out(struct job *j, const struct image_builder *b)
{
    j->file_len = j->plan.end > b->len ? j->plan.end : b->len;
    free(j->file);
    j->file = calloc(1, (size_t)j->file_len);
    assert_non_null(j->file);
    memcpy(j->file, b->bytes, b->len);
    for (size_t i = 0; i < j->plan.n; i++)
        for (size_t k = 0; k < j->plan.stages[i].n; k++) {
            const struct qcbmi_plan_write *w = &j->plan.stages[i].writes[k];

            assert_true(w->off + w->len <= j->file_len);
            memcpy(j->file + w->off, w->source.bytes, (size_t)w->len);
        }
}

static void end(struct job *j)
{
    free(j->file);
    qcbmi_plan_free(&j->plan);
    qcbmi_alloc_free(&j->alloc);
    qcbmi_owners_free(&j->owners);
    qcbm_close(j->img);
}

/* Refcount of cluster @c in the file after the plan, by the letter of the specification. */
static uint64_t refcount_after(const struct job *j, const struct image_builder *b, uint64_t c)
{
    uint64_t per = (uint64_t)b->cluster_size * 8 / b->opt.refcount_bits, block, value = 0;
    uint32_t bits = b->opt.refcount_bits;
    uint64_t table = be64_load(j->file + 48), n = be32_load(j->file + 56) * (uint64_t)b->cluster_size / 8;

    block = c / per < n ? be64_load(j->file + table + 8 * (c / per)) : 0;
    if (!block)
        return 0;
    if (bits < 8)
        return j->file[block + c % per * bits / 8] >> (c % per * bits % 8) & ((1u << bits) - 1);
    for (uint32_t k = 0; k < bits / 8; k++)
        value = value << 8 | j->file[block + c % per * (bits / 8) + k];
    return value;
}

/* After emit: what was taken was free, and has refcount 1 now; all others are as before; tables are sound. */
static void check_file(struct job *j, const struct image_builder *b)
{
    uint64_t cs = b->cluster_size, n = (j->plan.end > b->len ? j->plan.end : b->len) / cs, taken = 0;
    uint8_t *want = calloc(1, (size_t)n);

    assert_non_null(want);
    carry_out(j, b);
    for (uint64_t c = 0; c < b->len / cs; c++)
        want[c] = (uint8_t)build_get_refcount(b, c * cs);
    for (size_t i = 0; i < j->alloc.n_taken; i++)
        for (uint64_t c = j->alloc.taken[i].first; c < j->alloc.taken[i].first + j->alloc.taken[i].n; c++, taken++) {
            assert_true(c < n);
            assert_int_equal(want[c], 0);
            want[c] = 1;
        }
    for (uint64_t c = 0; c < n; c++)
        if (refcount_after(j, b, c) != want[c])
            fail_msg("cluster %llu of %llu: refcount %llu, wanted %u", (unsigned long long)c, (unsigned long long)n,
                     (unsigned long long)refcount_after(j, b, c), want[c]);
    assert_int_equal(j->plan.clusters_allocated, taken);
    free(want);
}

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

/* ---- new blocks and tables ---- */

static void build_width(struct image_builder *b, uint32_t cluster_bits, unsigned order, uint64_t n_used)
{
    struct build_options opt = { .size = 65536, .cluster_bits = cluster_bits, .refcount_bits = 1u << order };

    build_start(b, &opt);
    build_clusters(b, n_used);
    build_finish(b);
}

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

/* 128 entries in a table of two sectors, for 128 clusters each: the blocks of both sides of 8 MiB cannot be shown by one
 * write within a sector, so the table is a new one. */
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
        cmocka_unit_test(new_blocks_at_every_width),
        image_test(new_blocks_on_both_sides_of_a_sector_of_the_table),
        image_test(new_blocks_in_one_sector_need_no_new_table),
        image_test(a_new_block_in_a_used_place_is_written_as_a_whole),
        image_test(only_the_sector_that_changed_is_written),
        image_test(a_full_last_block_and_holes_elsewhere),
        cmocka_unit_test(a_new_table_at_every_width),
        image_test(the_table_is_switched_by_one_write_of_12_bytes),
        cmocka_unit_test(large_clusters),
        cmocka_unit_test(released_clusters_lose_one_reference_each),
        image_test(release_leaves_alone_what_has_no_block),
        cmocka_unit_test(bad_refcount_table_entries_block_writing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
