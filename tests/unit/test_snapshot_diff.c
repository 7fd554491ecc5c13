/* test_snapshot_diff.c - where two states differ: every pair of entries, tables that are shared, sizes, damage, and
 * reads
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "base/bytes.h"
#include "image/snapshot_view.h"
#include "ops/snapshot_diff.h"

#define COPIED BUILD_COPIED
#define ZERO BUILD_ZERO
#define PACKED BUILD_COMPRESSED
#define SUB_ZERO(i) (UINT64_C(1) << (32 + (i)))
#define SUB_ALLOC(i) (UINT64_C(1) << (i))

/* ---- the memory backend, with a note of what is read ---- */

static unsigned read_of[4096]; /* bytes of each cluster of 512 bytes */

static int noting_read(void *self, uint64_t off, void *buf, size_t len, struct qcbm_error *err)
{
    for (uint64_t at = off; at < off + len; at++)
        if (at / 512 < ARRAY_LEN(read_of))
            read_of[at / 512]++;
    return qcbm_mem_ops()->read_at(self, off, buf, len, err);
}

static struct qcbm_image *open_noting(const struct image_builder *b)
{
    static struct qcbm_io_ops ops;
    struct qcbm_image *img;
    struct qcbm_mem *mem;

    ops = *qcbm_mem_ops();
    ops.read_at = noting_read;
    assert_int_equal(qcbm_mem_new(b->bytes, b->len, &mem, NULL), 0);
    assert_int_equal(qcbm_open_io(&ops, mem, 0, &img, NULL), 0);
    return img;
}

/* ---- two states compared ---- */

struct compared {
    struct qcbm_image *img;
    struct qcbmi_snapshot_view from, to;
    struct qcbmi_dirtymap map;
    struct qcbmi_snapshot_diff d;
};

/* Snapshot @from and @to, which NULL makes the active state, in sectors of a disk of @size. */
static int try_compare(struct compared *c, const struct image_builder *b, const char *from, const char *to,
                       uint64_t size, struct qcbm_error *err)
{
    uint32_t i = 0;

    memset(c, 0, sizeof(*c));
    c->img = open_noting(b);
    assert_ok(qcbmi_snapshot_find(c->img->image, from, &i, err), err);
    assert_ok(qcbmi_snapshot_view_init(&c->from, c->img->image, i, err), err);
    if (to) {
        assert_ok(qcbmi_snapshot_find(c->img->image, to, &i, err), err);
        assert_ok(qcbmi_snapshot_view_init(&c->to, c->img->image, i, err), err);
    }
    assert_int_equal(qcbmi_dirtymap_init(&c->map, size, 9, NULL), 0);
    c->d = (struct qcbmi_snapshot_diff){
        .from = &c->from.img, .to = to ? &c->to.img : c->img->image, .to_is_active = !to, .map = &c->map
    };
    memset(read_of, 0, sizeof(read_of));
    return qcbmi_snapshot_diff_mark(&c->d, err);
}

static void compare(struct compared *c, const struct image_builder *b, const char *from, const char *to)
{
    struct qcbm_error err = { 0 };

    assert_ok(try_compare(c, b, from, to, b->opt.size, &err), &err);
}

static void end(struct compared *c)
{
    qcbmi_dirtymap_free(&c->map);
    qcbmi_snapshot_view_free(&c->from);
    qcbmi_snapshot_view_free(&c->to);
    qcbm_close(c->img);
}

static void assert_differs(const struct compared *c, const char *want)
{
    uint64_t start, stop = 0;
    char got[512] = "";

    while (qcbmi_dirtymap_next(&c->map, stop, &start, &stop)) {
        size_t n = strlen(got);

        snprintf(got + n, sizeof(got) - n, "%s%llu-%llu", n ? " " : "", (unsigned long long)start,
                 (unsigned long long)stop);
    }
    assert_string_equal(got, want);
}

/* ---- one entry in each state ---- */

enum image_kind { V3, V2, EXTENDED };
static const struct build_options kinds[] = {
    [V3] = { .size = KIB(512), .cluster_bits = 12 },
    [V2] = { .size = KIB(512), .cluster_bits = 12, .version = 2 },
    [EXTENDED] = { .size = KIB(512), .cluster_bits = 14, .extended_l2 = true },
};

enum host { NO, A, B }; /* which cluster is added to the entry */

struct entry {
    uint64_t raw, word;
    enum host host;
};

struct row {
    const char *name;
    enum image_kind kind;
    struct entry from, to;
    const char *want;
    unsigned damage;
};

#define WHOLE "16384-20480"
#define WHOLE_EXT "16384-32768"

static const struct row rows[] = {
    { "nothing", V3, { 0 }, { 0 }, "", 0 },
    { "written", V3, { 0 }, { COPIED, 0, A }, WHOLE, 0 },
    { "gone", V3, { 0, 0, A }, { 0 }, WHOLE, 0 },
    { "shared", V3, { 0, 0, A }, { 0, 0, A }, "", 0 },
    { "shared, may be written in place", V3, { 0, 0, A }, { COPIED, 0, A }, WHOLE, 1 },
    { "the snapshot's flag is of no account", V3, { COPIED, 0, A }, { 0, 0, A }, "", 0 },
    { "rewritten", V3, { 0, 0, A }, { COPIED, 0, B }, WHOLE, 0 },
    { "zeroed", V3, { 0, 0, A }, { ZERO, 0, NO }, WHOLE, 0 },
    { "zeroed, cluster kept", V3, { 0, 0, A }, { ZERO, 0, A }, WHOLE, 0 },
    { "zeroed, kept and its own", V3, { 0, 0, A }, { COPIED | ZERO, 0, A }, WHOLE, 1 },
    { "zeros in both", V3, { ZERO, 0, NO }, { ZERO, 0, NO }, "", 0 },
    { "zeros in both, a cluster in one", V3, { ZERO, 0, NO }, { COPIED | ZERO, 0, B }, "", 0 },
    { "zeros in both, another cluster", V3, { ZERO, 0, A }, { COPIED | ZERO, 0, B }, "", 0 },
    { "zeros and nothing", V3, { ZERO, 0, NO }, { 0 }, WHOLE, 0 },
    { "COPIED alone is nothing", V3, { 0 }, { COPIED, 0, NO }, "", 0 },
    { "compressed, shared", V3, { PACKED, 0, A }, { PACKED, 0, A }, "", 0 },
    { "compressed, another", V3, { PACKED, 0, A }, { PACKED, 0, B }, WHOLE, 0 },
    { "compressed and not", V3, { PACKED, 0, A }, { COPIED, 0, B }, WHOLE, 0 },
    { "compressed, of another length", V3, { PACKED, 0, A }, { PACKED | UINT64_C(1) << 58, 0, A }, WHOLE, 0 },
    { "reserved bit in both", V3, { 4, 0, A }, { 4, 0, A }, WHOLE, 1 },
    { "reserved bit", V3, { 0, 0, A }, { 4, 0, A }, WHOLE, 1 },
    { "reserved bit in the snapshot", V3, { 4, 0, A }, { COPIED, 0, B }, WHOLE, 1 },
    { "unaligned in both", V3, { 512, 0, A }, { 512, 0, A }, WHOLE, 1 },
    { "past the end", V3, { 0, 0, A }, { COPIED | UINT64_C(1) << 40, 0, NO }, WHOLE, 1 },
    { "version 2, shared", V2, { 0, 0, A }, { 0, 0, A }, "", 0 },
    { "version 2, zero flag", V2, { 0, 0, A }, { ZERO, 0, A }, WHOLE, 1 },
    /* subclusters of 512 bytes of guest cluster 1 */
    { "extended, shared", EXTENDED, { 0, SUB_ALLOC(0), A }, { 0, SUB_ALLOC(0), A }, "", 0 },
    { "extended, zeroed in part",
      EXTENDED,
      { 0, SUB_ALLOC(0) | SUB_ALLOC(2), A },
      { 0, SUB_ALLOC(0) | SUB_ZERO(2), A },
      "17408-17920",
      0 },
    { "extended, zeroed in part, in place",
      EXTENDED,
      { 0, SUB_ALLOC(0) | SUB_ALLOC(2), A },
      { COPIED, SUB_ALLOC(0) | SUB_ZERO(2), A },
      WHOLE_EXT,
      1 },
    { "extended, rewritten", EXTENDED, { 0, SUB_ALLOC(0), A }, { COPIED, SUB_ALLOC(0), B }, "16384-16896", 0 },
    { "extended, alike but for bit 0, which means nothing",
      EXTENDED,
      { 0, SUB_ALLOC(1), A },
      { 1, SUB_ALLOC(1), A },
      "",
      0 },
    { "extended, prepared", EXTENDED, { 0 }, { COPIED, 0, A }, "", 0 },
    { "extended, zeros in another cluster", EXTENDED, { 0, SUB_ZERO(31), NO }, { COPIED, SUB_ZERO(31), B }, "", 0 },
    { "extended, zeros and nothing", EXTENDED, { 0, SUB_ZERO(31), NO }, { COPIED, 0, B }, "32256-32768", 0 },
    { "extended, compressed", EXTENDED, { 0, SUB_ALLOC(1), A }, { PACKED, 0, B }, WHOLE_EXT, 0 },
    { "extended, impossible",
      EXTENDED,
      { 0, SUB_ALLOC(1), A },
      { COPIED, SUB_ALLOC(1) | SUB_ZERO(1), B },
      WHOLE_EXT,
      1 },
};

static uint64_t raw_of(const struct entry *e, const uint64_t hosts[3])
{
    return e->raw + hosts[e->host];
}

static void check_row(const struct row *r)
{
    uint64_t hosts[3] = { 0 };
    struct image_builder b;
    struct compared c;

    build_start(&b, &kinds[r->kind]);
    build_data(&b, 0); /* what is not looked at otherwise: a neighbour that both have */
    hosts[A] = build_clusters(&b, 2);
    hosts[B] = build_clusters(&b, 2);
    build_map(&b, KIB(16), raw_of(&r->from, hosts), r->from.word);
    build_snapshot(&b, "1", "s");
    build_map(&b, KIB(16), raw_of(&r->to, hosts), r->to.word);
    b.refs[hosts[A] / b.cluster_size] = 2; /* the builder does not count compressed clusters */
    build_finish(&b);
    compare(&c, &b, "s", NULL);
    assert_differs(&c, r->want);
    assert_int_equal(c.d.damage.count, r->damage);
    end(&c);
    build_free(&b);
}

static void every_pair_of_entries(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        print_message("  %s\n", rows[i].name);
        check_row(&rows[i]);
    }
}

/* ---- tables ---- */

/* 8 tables of 32 KiB each; the active state has others for the third and the fifth, the first snapshot none for the
 * last. */
static void build_tables(struct image_builder *b)
{
    struct build_options opt = { .size = KIB(256) };

    build_start(b, &opt);
    for (uint64_t i = 0; i < 7; i++)
        build_data(b, KIB(32) * i);
    build_snapshot(b, "1", "s");
    build_data(b, KIB(64) + 512);
    build_data(b, KIB(128));
    build_data(b, KIB(224));
}

/* By the comparison itself. Who makes a bitmap of it reads all tables to look for lost ones: test_synth_since.c. */
static void tables_that_both_have_are_not_read(void **state)
{
    struct image_builder *b = bench_builder(state);
    uint64_t l1[2], bytes = 0, tables = 0;
    struct compared c;

    build_tables(b);
    build_finish(b);
    compare(&c, b, "s", NULL);
    assert_differs(&c, "66048-66560 131072-131584 229376-229888");
    assert_int_equal(c.d.damage.count, 0);
    assert_int_equal(c.d.tables_read, 5);
    l1[0] = b->l1;
    l1[1] = b->snapshots[0].l1;
    for (uint64_t i = 0; i < 8; i++) {
        uint64_t to = be64_load(b->bytes + l1[0] + 8 * i) & ~COPIED,
                 from = be64_load(b->bytes + l1[1] + 8 * i) & ~COPIED;

        assert_int_equal(read_of[to / 512], to == from ? 0 : 512);
        assert_true(from == 0 || read_of[from / 512] == (to == from ? 0 : 512));
        tables += to == from ? 0 : from ? 2 : 1;
    }
    assert_int_equal(tables, 5);
    for (uint64_t i = 0; i < ARRAY_LEN(read_of); i++)
        bytes += i * 512 == b->reftable || i * 512 == b->refblock ? 0 : read_of[i];
    /* the view has read its L1 before: that of the active state, and the tables that differ */
    assert_int_equal(bytes, 8 * 8 + 5 * 512);
    assert_int_equal(read_of[b->refblock / 512], 512); /* once, whatever is shared */
    end(&c);
}

static void a_table_that_only_one_state_has_is_compared_with_nothing(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct compared c;

    build_tables(b);
    be64_store(b->bytes + b->l1, 0); /* dropped: all that was in it differs */
    build_finish(b);
    compare(&c, b, "s", NULL);
    assert_differs(&c, "0-512 66048-66560 131072-131584 229376-229888");
    end(&c);
}

static void damaged_tables_differ_as_a_whole(void **state)
{
    static const struct {
        const char *name;
        unsigned index;   /* in the active L1 */
        uint64_t raw;     /* 0: that of the next entry */
        uint64_t or_bits; /* of what is there */
        const char *want;
        unsigned damage;
    } cases[] = {
        { "reserved bit", 0, 0, 1, "0-32768 ", 1 },
        { "in place", 0, 0, COPIED, "0-32768 ", 1 },
        { "past the end", 0, UINT64_C(1) << 40, 0, "0-32768 ", 1 },
        { "at the end", 0, 0, 256, "0-32768 ", 1 }, /* not aligned: bits 0 to 8 are reserved */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct image_builder b;
        struct compared c;
        uint64_t at, raw;
        char want[256];

        print_message("  %s\n", cases[i].name);
        build_tables(&b);
        at = b.l1 + 8 * cases[i].index;
        raw = cases[i].raw ? cases[i].raw : be64_load(b.bytes + at) | cases[i].or_bits;
        be64_store(b.bytes + at, raw);
        build_finish(&b);
        compare(&c, &b, "s", NULL);
        snprintf(want, sizeof(want), "%s66048-66560 131072-131584 229376-229888", cases[i].want);
        assert_differs(&c, want);
        assert_int_equal(c.d.damage.count, cases[i].damage);
        assert_int_equal(c.d.damage.first.offset, at);
        end(&c);
        build_free(&b);
    }
}

static void a_table_that_stands_twice_differs_both_times(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct compared c;

    build_tables(b);
    be64_store(b->bytes + b->l1, be64_load(b->bytes + b->l1 + 8));
    build_finish(b);
    compare(&c, b, "s", NULL);
    assert_differs(&c, "0-65536 66048-66560 131072-131584 229376-229888");
    assert_int_equal(c.d.damage.count, 2);
    end(&c);
}

static void one_l1_table_for_two_states_makes_all_doubtful(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct compared c;

    build_tables(b);
    build_finish(b);
    be64_store(b->bytes + b->snapshots[0].entry, b->l1);
    compare(&c, b, "s", NULL);
    assert_differs(&c, "0-262144");
    assert_true(c.d.damage.count > 0);
    end(&c);
}

/* ---- refcounts ---- */

static void shared_clusters_with_a_refcount_below_two_make_all_doubtful(void **state)
{
    (void)state;
    for (unsigned data = 0; data < 2; data++)
        for (unsigned count = 0; count < 3; count++) {
            struct image_builder b;
            struct compared c;
            uint64_t shared;

            build_tables(&b);
            build_finish(&b);
            shared = be64_load(b.bytes + b.l1 + (data ? 16 : 0)) & ~COPIED; /* a table, or */
            if (data)
                shared = be64_load(b.bytes + shared) & ~COPIED; /* what one that differs has in common */
            build_set_refcount(&b, shared, count);
            compare(&c, &b, "s", NULL);
            assert_differs(&c, count < 2 ? "0-262144" : "66048-66560 131072-131584 229376-229888");
            assert_int_equal(c.d.damage.count, count < 2);
            if (count < 2)
                assert_int_equal(c.d.damage.first.offset, shared);
            end(&c);
            build_free(&b);
        }
}

static void where_refcounts_do_not_hold_it_is_refused(void **state)
{
    static const uint64_t bits[] = { QCBM_INCOMPAT_DIRTY, QCBM_INCOMPAT_CORRUPT };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bits); i++) {
        struct build_options opt = { .size = KIB(64), .incompatible = bits[i] };
        struct qcbm_error err = { 0 };
        struct image_builder b;
        struct compared c;

        build_start(&b, &opt);
        build_snapshot(&b, "1", "s");
        build_finish(&b);
        assert_failure(try_compare(&c, &b, "s", NULL, KIB(64), &err), &err, QCBM_E_UNSAFE, 72, "marked");
        end(&c);
        build_free(&b);
    }
}

/* ---- sizes, and two snapshots ---- */

static void what_one_state_alone_has_differs(void **state)
{
    static const struct {
        uint64_t then, now; /* KiB */
        const char *want;
    } cases[] = {
        { 256, 256, "66048-66560 131072-131584 229376-229888" },
        { 128, 256, "66048-66560 131072-262144" },
        { 256, 128, "66048-66560 131072-262144" },
        { 0, 256, "0-262144" },
        { 65, 256, "66048-262144" },
        { 64, 256, "65536-262144" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct qcbm_error err = { 0 };
        struct image_builder b;
        struct compared c;

        build_tables(&b);
        build_finish(&b);
        be64_store(b.bytes + b.snapshots[0].entry + 48, KIB(cases[i].then));
        be64_store(b.bytes + 24, KIB(cases[i].now));
        assert_ok(try_compare(&c, &b, "s", NULL, KIB(256), &err), &err);
        assert_differs(&c, cases[i].want);
        end(&c);
        build_free(&b);
    }
}

/* An L1 table that is shorter than the disk has no tables there. */
static void missing_l1_entries_are_none(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct compared c;

    build_tables(b);
    build_finish(b);
    be32_store(b->bytes + b->snapshots[0].entry + 8, 2);
    compare(&c, b, "s", NULL);
    assert_differs(&c, "65536-66560 98304-98816 131072-131584 163840-164352 196608-197120 229376-229888");
    end(&c);
}

static void between_snapshots_the_active_state_is_of_no_account(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct compared c;

    build_tables(b);
    build_snapshot(b, "2", "t");
    build_data(b, KIB(96));
    build_finish(b);
    be64_store(b->bytes + b->l1, 1); /* damaged, and not looked at */
    compare(&c, b, "s", "t");
    assert_differs(&c, "66048-66560 131072-131584 229376-229888");
    assert_int_equal(c.d.damage.count, 0);
    end(&c);
    compare(&c, b, "t", "s");
    assert_differs(&c, "66048-66560 131072-131584 229376-229888");
    end(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_of_entries),
        image_test(tables_that_both_have_are_not_read),
        image_test(a_table_that_only_one_state_has_is_compared_with_nothing),
        cmocka_unit_test(damaged_tables_differ_as_a_whole),
        image_test(a_table_that_stands_twice_differs_both_times),
        image_test(one_l1_table_for_two_states_makes_all_doubtful),
        cmocka_unit_test(shared_clusters_with_a_refcount_below_two_make_all_doubtful),
        cmocka_unit_test(where_refcounts_do_not_hold_it_is_refused),
        cmocka_unit_test(what_one_state_alone_has_differs),
        image_test(missing_l1_entries_are_none),
        image_test(between_snapshots_the_active_state_is_of_no_account),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
