/* test_owners.c - who uses which cluster: each kind of double ownership is named, and stops writing
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "write/owners.h"

struct scan {
    struct qcbm_image *img;
    struct qcbmi_owners o;
};

static int scan(struct scan *s, const struct image_builder *b, struct qcbm_error *err)
{
    int ret;

    memset(s, 0, sizeof(*s));
    s->img = build_open(b, 0);
    ret = qcbmi_owners_scan_metadata(s->img->image, &s->o, err);
    return ret < 0 ? ret : qcbmi_owners_scan_data(&s->o, NULL, err);
}

static void end(struct scan *s)
{
    qcbmi_owners_free(&s->o);
    qcbm_close(s->img);
}

/* 64 KiB, two L2 tables, two data clusters, a snapshot of one of them. */
static void build_all(struct image_builder *b)
{
    struct build_options opt = { .size = KIB(64) };

    build_start(b, &opt);
    build_data(b, 0);
    build_snapshot(b, "1", "s");
    build_data(b, 512);
    build_data(b, KIB(32));
    build_finish(b);
}

static void each_cluster_has_its_owner(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct qcbm_error err = { 0 };
    struct scan s;
    uint64_t data, l2, leaked;

    build_all(b);
    l2 = build_l2_entry(b, 0) / 512;
    data = (be64_load(b->bytes + l2 * 512) & 0xfffffe00) / 512;
    leaked = b->len / 512;
    build_resize(b, b->len + 512);
    assert_ok(scan(&s, b, &err), &err);
    assert_true(qcbmi_bitset_get(&s.o.meta, 0));
    assert_true(qcbmi_bitset_get(&s.o.meta, b->reftable / 512));
    assert_true(qcbmi_bitset_get(&s.o.meta, b->refblock / 512));
    assert_true(qcbmi_bitset_get(&s.o.meta, b->l1 / 512));
    assert_true(qcbmi_bitset_get(&s.o.meta, b->snapshots[0].l1 / 512));
    assert_true(qcbmi_bitset_get(&s.o.meta, b->snapshot_table / 512));
    assert_int_equal(qcbmi_bitset_count(&s.o.meta), 6);
    assert_int_equal(qcbmi_bitset_count(&s.o.l2), 3); /* one is the snapshot's alone */
    assert_true(qcbmi_bitset_get(&s.o.l2, l2));
    assert_int_equal(qcbmi_bitset_count(&s.o.data), 3);
    assert_true(qcbmi_bitset_get(&s.o.data, data));
    assert_false(qcbmi_bitset_get(&s.o.meta, leaked) || qcbmi_bitset_get(&s.o.l2, leaked) ||
                 qcbmi_bitset_get(&s.o.data, leaked));
    end(&s);
}

static void two_states_may_share_tables_and_data(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(64) };
    struct qcbm_error err = { 0 };
    struct scan s;
    uint64_t host;

    build_start(b, &opt);
    host = build_data(b, 0);
    build_snapshot(b, "1", "s");
    build_snapshot(b, "2", "t");
    build_map(b, 1024, host, 0); /* one cluster for two guest clusters */
    build_finish(b);
    assert_ok(scan(&s, b, &err), &err);
    assert_int_equal(qcbmi_bitset_count(&s.o.data), 1);
    end(&s);
}

static void data_of_a_data_file_is_not_in_this_file(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(64), .data_file = "d" };
    struct qcbm_error err = { 0 };
    struct scan s;

    build_start(b, &opt);
    build_map(b, 512, 512 | BUILD_COPIED, 0); /* the number of a cluster that is metadata here */
    build_finish(b);
    assert_ok(scan(&s, b, &err), &err);
    assert_int_equal(qcbmi_bitset_count(&s.o.data), 0);
    end(&s);
}

static void compressed_data_owns_every_cluster_it_touches(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(64) };
    struct qcbm_error err = { 0 };
    struct scan s;
    uint64_t host;

    build_start(b, &opt);
    build_l2_entry(b, 0);
    host = build_clusters(b, 3);
    build_map(b, 0, BUILD_COMPRESSED | UINT64_C(1) << 61 | (host + 100), 0); /* one more sector */
    build_map(b, 512, BUILD_COMPRESSED | (host + 1024), 0);
    build_finish(b);
    assert_ok(scan(&s, b, &err), &err);
    assert_int_equal(qcbmi_bitset_count_range(&s.o.data, host / 512, host / 512 + 3), 3);
    end(&s);
}

/* ---- two owners ---- */

enum field { /* what is made to point to a cluster that has an owner */
             F_L1,
             F_REFTABLE,
             F_REFBLOCK,
             F_SNAPSHOT_TABLE,
             F_SNAPSHOT_L1,
             F_L2,
             F_SNAPSHOT_L2
};

enum cluster { C_HEADER, C_REFTABLE, C_REFBLOCK, C_L1, C_L2, C_SNAPSHOT_L1 };

static uint64_t cluster_of(const struct image_builder *b, enum cluster c)
{
    switch (c) {
    case C_HEADER:
        return 0;
    case C_REFTABLE:
        return b->reftable;
    case C_REFBLOCK:
        return b->refblock;
    case C_L1:
        return b->l1;
    case C_L2:
        return be64_load(b->bytes + b->l1 + 8) & 0xfffffe00;
    default:
        return b->snapshots[0].l1;
    }
}

static void point(struct image_builder *b, enum field f, uint64_t to)
{
    switch (f) {
    case F_L1:
        be64_store(b->bytes + 40, to);
        break;
    case F_REFTABLE:
        be64_store(b->bytes + 48, to);
        break;
    case F_REFBLOCK:
        be64_store(b->bytes + b->reftable + 8, to);
        break;
    case F_SNAPSHOT_TABLE:
        be64_store(b->bytes + 64, to);
        break;
    case F_SNAPSHOT_L1:
        be64_store(b->bytes + b->snapshot_table, to);
        break;
    case F_L2:
        be64_store(b->bytes + b->l1, to | BUILD_COPIED);
        break;
    case F_SNAPSHOT_L2:
        be64_store(b->bytes + b->snapshots[0].l1 + 8, to);
        break;
    }
}

static void each_kind_of_double_ownership_is_named(void **state)
{
    static const struct {
        enum field f;
        enum cluster c;
        const char *what, *other;
    } cases[] = {
        { F_L1, C_REFTABLE, "refcount table", "other metadata" },
        { F_L1, C_REFBLOCK, "refcount block", "other metadata" },
        { F_REFTABLE, C_L1, "refcount table", "other metadata" },
        { F_REFBLOCK, C_REFTABLE, "refcount block 1", "other metadata" },
        { F_REFBLOCK, C_REFBLOCK, "refcount block 1", "other metadata" },
        { F_REFBLOCK, C_L1, "refcount block 1", "other metadata" },
        { F_SNAPSHOT_L1, C_L1, "L1 table of snapshot 0", "other metadata" },
        { F_SNAPSHOT_L1, C_HEADER, "L1 table of snapshot 0", "other metadata" },
        { F_L2, C_REFTABLE, "L2 table", "other metadata" },
        { F_L2, C_L1, "L2 table", "other metadata" },
        { F_L2, C_SNAPSHOT_L1, "L2 table", "other metadata" },
        { F_L2, C_L2, "L2 table", "another entry of the same L1" },
        { F_SNAPSHOT_L2, C_REFBLOCK, "L2 table", "other metadata" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct image_builder b;
        struct qcbm_error err = { 0 };
        struct scan s;
        uint64_t at;

        build_all(&b);
        at = cluster_of(&b, cases[i].c);
        point(&b, cases[i].f, at);
        assert_failure(scan(&s, &b, &err), &err, QCBM_E_UNSAFE, at, cases[i].what);
        assert_non_null(strstr(err.message, cases[i].other));
        end(&s);
        build_free(&b);
    }
}

static void guest_data_on_metadata_is_named_by_its_entry(void **state)
{
    static const enum cluster clusters[] = { C_REFTABLE, C_REFBLOCK, C_L1, C_L2, C_SNAPSHOT_L1 };

    (void)state;
    for (size_t i = 0; i < 2 * ARRAY_LEN(clusters); i++) {
        struct image_builder b;
        struct qcbm_error err = { 0 };
        struct scan s;
        uint64_t at;

        build_all(&b);
        at = build_l2_entry(&b, KIB(64) - 512); /* the last entry of its table */
        be64_store(b.bytes + at, cluster_of(&b, clusters[i / 2]) | (i % 2 ? BUILD_COMPRESSED : BUILD_COPIED));
        assert_failure(scan(&s, &b, &err), &err, QCBM_E_UNSAFE, at, "is also metadata");
        end(&s);
        build_free(&b);
    }
}

/* Neighbours in the file that are none in the table. */
static void guest_data_on_metadata_is_named_by_its_own_entry(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct qcbm_error err = { 0 };
    struct scan s;
    uint64_t first, second;

    build_all(b);
    second = build_l2_entry(b, KIB(48));
    build_resize(b, b->len + 1024);
    first = b->len - 1024;
    be64_store(b->bytes + build_l2_entry(b, KIB(40)), first | BUILD_COPIED);
    be64_store(b->bytes + second, (first + 512) | BUILD_COPIED);
    be64_store(b->bytes + b->snapshot_table, first + 512); /* the L1 table of the snapshot, all zeros */
    assert_failure(scan(&s, b, &err), &err, QCBM_E_UNSAFE, second, "is also metadata");
    end(&s);
}

static void further_metadata_meets_what_is_there(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct qcbm_error err = { 0 };
    struct scan s;
    uint64_t l2;

    build_all(b);
    l2 = cluster_of(b, C_L2);
    assert_ok(scan(&s, b, &err), &err);
    assert_failure(qcbmi_owners_add(&s.o, b->l1 + 8, 8, "table of bitmap", 3, &err), &err, QCBM_E_UNSAFE, b->l1,
                   "is used as table of bitmap 3 and as other metadata");
    assert_failure(qcbmi_owners_add(&s.o, l2 + 511, 1, "data of bitmap", 3, &err), &err, QCBM_E_UNSAFE, l2,
                   "is used as data of bitmap 3 and as an L2 table");
    assert_int_equal(qcbmi_owners_add(&s.o, b->l1, 0, "nothing", 0, &err), 0);
    end(&s);
}

/* ---- damage that is met on the way ---- */

static void damaged_entries_are_named_where_they_stand(void **state)
{
    static const struct {
        bool l1;
        uint64_t raw;
        const char *text;
    } cases[] = {
        { true, 0x201 | BUILD_COPIED, "active L1 table entry 1" },
        { true, UINT64_C(1) << 62, "active L1 table entry 1" },
        { false, 2, "L2 entry is damaged" },
        { false, BUILD_COMPRESSED | BUILD_COPIED | 512, "L2 entry is damaged" },
        { false, UINT64_C(1) << 40, "passes the end of the file" },
        { false, BUILD_COMPRESSED | UINT64_C(1) << 40, "passes the end of the file" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct image_builder b;
        struct qcbm_error err = { 0 };
        struct scan s;
        uint64_t at;

        build_all(&b);
        at = cases[i].l1 ? b.l1 + 8 : build_l2_entry(&b, KIB(40));
        be64_store(b.bytes + at, cases[i].raw);
        assert_failure(scan(&s, &b, &err), &err, QCBM_E_UNSAFE, at, cases[i].text);
        end(&s);
        build_free(&b);
    }
}

static void tables_that_the_file_cuts_stop_writing(void **state)
{
    (void)state;
    for (int i = 0; i < 4; i++) {
        struct image_builder b;
        struct qcbm_error err = { 0 };
        struct scan s;

        build_all(&b);
        if (i == 0)
            be64_store(b.bytes + 48, b.len);
        else if (i == 1)
            be64_store(b.bytes + b.l1, b.len | BUILD_COPIED);
        else if (i == 2)
            be64_store(b.bytes + b.snapshot_table, b.len);
        else
            be64_store(b.bytes + 40, b.len);
        assert_int_equal(scan(&s, &b, &err), QCBM_E_UNSAFE);
        assert_non_null(strstr(err.message, "pass the end of the file"));
        end(&s);
        build_free(&b);
    }
}

static void free_takes_a_zeroed_struct(void **state)
{
    struct qcbmi_owners o = { 0 };

    (void)state;
    qcbmi_owners_free(&o);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(each_cluster_has_its_owner),
        image_test(two_states_may_share_tables_and_data),
        image_test(data_of_a_data_file_is_not_in_this_file),
        image_test(compressed_data_owns_every_cluster_it_touches),
        cmocka_unit_test(each_kind_of_double_ownership_is_named),
        cmocka_unit_test(guest_data_on_metadata_is_named_by_its_entry),
        image_test(guest_data_on_metadata_is_named_by_its_own_entry),
        image_test(further_metadata_meets_what_is_there),
        cmocka_unit_test(damaged_entries_are_named_where_they_stand),
        cmocka_unit_test(tables_that_the_file_cuts_stop_writing),
        cmocka_unit_test(free_takes_a_zeroed_struct),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
