/* test_guest_map.c - what is at a guest offset: layers, kinds and places, beside a slow oracle; and what it costs
 * SPDX-License-Identifier: MIT */
#include "guest_map_unit.h"

#include "image/snapshot_view.h"
#include "image/snapshots.h"

/* One layer of 8 clusters of 4 KiB, a character each: n data, z zero, Z zero with a cluster kept, c compressed,
 * . unallocated, x damaged. Fewer characters make a shorter layer. */
static void write_layer(const struct temp_dir *d, const char *name, const char *pattern, const char *backing)
{
    struct build_options opt = { .size = strlen(pattern) * 4096, .cluster_bits = 12, .backing = backing };
    struct image_builder b;

    opt.backing_format = backing ? "qcow2" : NULL;
    build_start(&b, &opt);
    for (uint64_t i = 0; pattern[i]; i++) {
        if (pattern[i] == 'n')
            build_data(&b, 4096 * i);
        else if (pattern[i] == 'Z')
            build_map(&b, 4096 * i, build_data(&b, 4096 * i) | BUILD_COPIED | BUILD_ZERO, 0);
        else if (pattern[i] == 'c')
            build_map(&b, 4096 * i, BUILD_COMPRESSED | build_clusters(&b, 1), 0);
        else if (pattern[i] != '.')
            build_map(&b, 4096 * i, pattern[i] == 'z' ? 1 : 2, 0);
    }
    build_finish(&b);
    build_write_file(&b, temp_path(d, name));
    build_free(&b);
}

/* The map as '0' (zeros, beyond doubt) and '-' per cluster. */
static void read_map(struct qcbm_image *top, char got[16])
{
    struct qcbmi_chain_options options = { 0 };
    struct qcbmi_chain chain = { 0 };
    struct qcbmi_guest_map m = { 0 };
    struct qcbm_error err = { 0 };
    struct qcbmi_guest_piece p = { 0 };

    memset(got, 0, 16);
    assert_ok(qcbmi_chain_open(top->image, &options, &chain, &err), &err);
    assert_ok(qcbmi_guest_map_init(&m, &chain, QCBMI_GUEST_ALL, &err), &err);
    for (uint64_t at = 0; at < top->image->g.size;) {
        assert_ok(qcbmi_guest_map_at(&m, at, &p, &err), &err);
        assert_true(p.start == at && p.end > at && p.end <= top->image->g.size);
        for (; at < p.end; at += 4096)
            got[at / 4096] = qcbmi_guest_piece_is_zero(&p) ? '0' : '-';
    }
    qcbmi_guest_map_free(&m);
    qcbmi_chain_close(&chain);
}

static void the_first_layer_that_says_something_counts(void **state)
{
    static const struct {
        const char *top, *mid, *base, *want;
    } cases[] = {
        { "nzZc.x..", NULL, NULL, "-00-0-00" },
        { "........", "........", "nnnnnnnn", "--------" },
        { "z.z.z.z.", "........", "nnnnnnnn", "0-0-0-0-" },
        { "........", "z..nZ..c", "nnnnnnnn", "0---0---" },
        { "n..z....", ".z......", "..nn.z..", "-0-00000" },
        /* a short layer hides all below it */
        { "........", "....", "nnnnnnnn", "----0000" },
        { "........", "........", "nnn", "---00000" },
        { "......n.", "zz", "nnnnnnnn", "000000-0" },
        { "....", "........", "nnnnnnnn", "----" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct temp_dir d;
        struct qcbm_error err = { 0 };
        struct qcbm_image *top;
        char got[16];

        temp_dir_make(&d);
        if (cases[i].base)
            write_layer(&d, "base", cases[i].base, NULL);
        if (cases[i].mid)
            write_layer(&d, "mid", cases[i].mid, "base");
        write_layer(&d, "top", cases[i].top, cases[i].mid ? "mid" : NULL);
        assert_ok(qcbm_open(temp_path(&d, "top"), 0, &top, &err), &err);
        read_map(top, got);
        assert_string_equal(got, cases[i].want);
        qcbm_close(top);
        temp_dir_remove(&d);
    }
}

/* ---- one image in memory ---- */

static void subclusters_are_told_apart(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(32), .cluster_bits = 14, .extended_l2 = true };
    struct stack s = { 0 };
    struct qcbmi_guest_map m = { 0 };
    struct qcbmi_guest_piece p;
    uint64_t host;

    build_start(b, &opt);
    host = build_data(b, 0);
    build_map(b, 0, host | BUILD_COPIED, 0x2 | UINT64_C(0x4) << 32); /* read through, data, zero, ... */
    build_finish(b);
    stack_push(&s, build_open(b, 0));
    assert_int_equal(qcbmi_guest_map_init(&m, &s.chain, 0, NULL), 0);
    p = piece_at(&m, 0);
    assert_true(p.kind == Q2_UNALLOCATED_ALLOC && p.end == 512 && p.host == host);
    p = piece_at(&m, 700);
    assert_true(p.kind == Q2_NORMAL && p.end == 1024 && p.host == host + 700);
    p = piece_at(&m, 1024);
    assert_true(p.kind == Q2_ZERO_ALLOC && p.end == 1536);
    p = piece_at(&m, 1536);
    assert_true(p.kind == Q2_UNALLOCATED_ALLOC && p.end == KIB(16) && p.host == host + 1536);
    p = piece_at(&m, KIB(16));
    assert_true(p.kind == Q2_UNALLOCATED && p.end == KIB(32) && p.host == QCBM_NO_OFFSET);
    qcbmi_guest_map_free(&m);
    stack_close(&s);
}

static void compressed_clusters_come_one_by_one_with_their_bytes(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(16), .cluster_bits = 12 };
    struct stack s = { 0 };
    struct qcbmi_guest_map m = { 0 };
    struct qcbmi_guest_piece p;
    uint64_t host;

    build_start(b, &opt);
    host = build_clusters(b, 1);
    for (uint64_t i = 0; i < 3; i++) /* 2 sectors each, from the middle of a sector on */
        build_map(b, 4096 * i, BUILD_COMPRESSED | UINT64_C(1) << (62 - 4) | (host + 1024 * i + 100), 0);
    build_finish(b);
    stack_push(&s, build_open(b, 0));
    assert_int_equal(qcbmi_guest_map_init(&m, &s.chain, 0, NULL), 0);
    for (uint64_t i = 0; i < 3; i++) {
        p = piece_at(&m, 4096 * i + (i == 1 ? 512 : 0));
        assert_true(p.kind == Q2_COMPRESSED && p.end == 4096 * (i + 1));
        assert_true(p.host == host + 1024 * i + 100 && p.host_len == 1024 - 100); /* wherever in it one asks */
    }
    qcbmi_guest_map_free(&m);
    stack_close(&s);
}

static void a_raw_layer_is_data_or_hole_and_zero_behind_its_end(void **state)
{
    struct build_options opt = { .size = KIB(8), .cluster_bits = 12, .backing = "raw", .backing_format = "raw" };
    const struct temp_dir *d = bench_dir(state);
    struct qcbm_error err = { 0 };
    struct image_builder b;
    struct qcbm_image *top;
    char got[16];
    FILE *f;

    f = fopen(temp_path(d, "raw"), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite("data", 1, 4, f), 4);
    fclose(f);
    build_start(&b, &opt);
    build_finish(&b);
    build_write_file(&b, temp_path(d, "top"));
    build_free(&b);
    assert_ok(qcbm_open(temp_path(d, "top"), 0, &top, &err), &err);
    read_map(top, got); /* 512 bytes of data; the rest of the first cluster is zero: the last word counts */
    assert_int_equal(got[1], '0');
    qcbm_close(top);
}

static void what_cannot_be_read_is_an_error_only_where_it_is_seen(void **state)
{
    struct build_options opt = { .size = KIB(64), .cluster_bits = 12 };
    struct stack s = { 0 };
    struct qcbmi_guest_map m = { 0 };
    struct qcbm_error err = { 0 };
    struct qcbmi_guest_piece p;
    struct image_builder top, low;

    (void)state;
    build_start(&top, &opt);
    build_map(&top, KIB(4), 1, 0); /* hides the bad entry */
    build_finish(&top);
    build_start(&low, &opt);
    build_map(&low, KIB(4), low.cluster_size + 512, 0);
    build_map(&low, KIB(8), low.cluster_size + 512, 0);
    build_finish(&low);
    stack_push(&s, build_open(&top, 0));
    stack_push(&s, build_open(&low, 0));
    assert_ok(qcbmi_guest_map_init(&m, &s.chain, QCBMI_GUEST_ALL, &err), &err);
    p = piece_at(&m, 0);
    assert_true(p.kind == Q2_UNALLOCATED && p.layer == 1 && p.end == KIB(4));
    p = piece_at(&m, KIB(4));
    assert_true(p.kind == Q2_ZERO_PLAIN && p.layer == 0 && p.end == KIB(8));
    p = piece_at(&m, KIB(8));
    assert_true(p.kind == Q2_INVALID && p.layer == 1 && p.end == KIB(12) && !qcbmi_guest_piece_is_zero(&p));
    assert_failure(
        qcbmi_guest_map_fail(&m, &p, &err), &err, QCBM_E_CORRUPT, build_l2_entry(&low, KIB(8)),
        "layer 'layer': L2 entry of guest 0x2000 (host offset 0x1200): the host offset is not cluster-aligned");
    p = piece_at(&m, KIB(12));
    assert_true(p.kind == Q2_UNALLOCATED && p.end == KIB(64));
    qcbmi_guest_map_free(&m);
    stack_close(&s);
    build_free(&top);
    build_free(&low);
}

static void a_damaged_l1_entry_is_an_error_not_zeros(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(64), .cluster_bits = 12 };
    struct stack s = { 0 };
    struct qcbmi_guest_map m = { 0 };
    struct qcbm_error err = { 0 };
    struct qcbmi_guest_piece p;

    build_start(b, &opt);
    build_finish(b);
    be64_store(b->bytes + b->l1, 0x1200);
    stack_push(&s, build_open(b, 0));
    assert_ok(qcbmi_guest_map_init(&m, &s.chain, 0, &err), &err);
    assert_failure(qcbmi_guest_map_at(&m, 0, &p, &err), &err, QCBM_E_CORRUPT, b->l1, "not cluster-aligned");
    assert_failure(qcbmi_guest_map_at(&m, 512, &p, &err), &err, QCBM_E_CORRUPT, b->l1, "not cluster-aligned");
    qcbmi_guest_map_free(&m);
    stack_close(&s);
}

static void a_table_past_the_end_is_counted_once(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(96), .cluster_bits = 9 }; /* 32 KiB under each table */
    struct stack s = { 0 };
    struct qcbmi_guest_map m = { 0 };
    struct qcbm_error err = { 0 };
    struct qcbmi_guest_piece p;

    build_start(b, &opt);
    build_data(b, 0);
    build_finish(b);
    be64_store(b->bytes + b->l1 + 8, MIB(1));
    be64_store(b->bytes + b->l1 + 16, MIB(2));
    stack_push(&s, build_open(b, 0));
    assert_int_equal(qcbmi_guest_map_init(&m, &s.chain, QCBMI_GUEST_ALL, NULL), 0);
    assert_int_equal(piece_at(&m, 0).kind, Q2_NORMAL);
    for (uint64_t at = KIB(32); at < KIB(96); at += 512)
        assert_int_equal(piece_at(&m, at).kind, Q2_UNALLOCATED);
    assert_true(m.layers[0].lost_tables == 2 && m.layers[0].first_lost == 1);
    qcbmi_guest_map_free(&m);
    assert_int_equal(qcbmi_guest_map_init(&m, &s.chain, QCBMI_GUEST_STRICT, NULL), 0);
    assert_failure(qcbmi_guest_map_at(&m, KIB(40), &p, &err), &err, QCBM_E_CORRUPT, b->l1 + 8,
                   "L1 entry 1: L2 table at 0x100000 lies past the end of the file");
    assert_int_equal(piece_at(&m, 0).kind, Q2_NORMAL); /* the rest can be read */
    assert_failure(qcbmi_guest_map_at(&m, KIB(64), &p, &err), &err, QCBM_E_CORRUPT, b->l1 + 16, "L1 entry 2");
    qcbmi_guest_map_free(&m);
    stack_close(&s);
}

static void an_l1_table_past_the_end_is_no_empty_disk_where_it_matters(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(96), .cluster_bits = 9 };
    struct stack s = { 0 };
    struct qcbmi_guest_map m = { 0 };
    struct qcbm_error err = { 0 };

    build_start(b, &opt);
    build_finish(b);
    build_resize(b, b->l1 + 16); /* of 24 bytes */
    stack_push(&s, build_open(b, 0));
    assert_failure(qcbmi_guest_map_init(&m, &s.chain, QCBMI_GUEST_STRICT, &err), &err, QCBM_E_CORRUPT, 40,
                   "active L1 table: 1 entries lie past the end of the file at 0x610");
    qcbmi_guest_map_free(&m);
    assert_int_equal(qcbmi_guest_map_init(&m, &s.chain, QCBMI_GUEST_ALL, NULL), 0);
    assert_int_equal(piece_at(&m, 0).kind, Q2_UNALLOCATED); /* to QEMU */
    qcbmi_guest_map_free(&m);
    stack_close(&s);
}

/* A snapshot without its disk's size has that of the image, which may have grown since: its L1 table is too short then,
 * and its last L2 table maps no more than others do. */
static void a_short_l1_table_maps_nothing_behind_it(void **state)
{
    const struct qcbmi_chain_options options = { .max_layers = 1 };
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(96), .cluster_bits = 9 };
    struct qcbmi_snapshot_view view = { 0 };
    struct qcbmi_guest_map m = { 0 };
    struct qcbmi_chain chain;
    struct qcbm_image *img;

    build_start(b, &opt);
    build_data(b, 0);
    build_data(b, KIB(32) - 512);
    build_data(b, KIB(64));
    build_snapshot(b, "1", "s");
    build_finish(b);
    be32_store(b->bytes + b->snapshots[0].entry + 8, 1);
    img = build_open(b, 0);
    assert_int_equal(qcbmi_snapshots_load(img->image, NULL), 0);
    assert_int_equal(qcbmi_snapshot_view_init(&view, img->image, 0, NULL), 0);
    assert_int_equal(qcbmi_chain_open(&view.img, &options, &chain, NULL), 0);
    assert_int_equal(qcbmi_guest_map_init(&m, &chain, QCBMI_GUEST_ALL, NULL), 0);
    assert_int_equal(piece_at(&m, 0).kind, Q2_NORMAL);
    assert_int_equal(piece_at(&m, KIB(32) - 512).kind, Q2_NORMAL);
    assert_int_equal(piece_at(&m, KIB(32) - 512).end, KIB(32));
    assert_int_equal(piece_at(&m, KIB(32)).kind, Q2_UNALLOCATED);
    assert_int_equal(piece_at(&m, KIB(32)).end, KIB(96));
    qcbmi_guest_map_free(&m);
    qcbmi_chain_close(&chain);
    qcbmi_snapshot_view_free(&view);
    qcbm_close(img);
}

static void free_takes_a_zeroed_struct(void **state)
{
    struct qcbmi_guest_map m = { 0 };

    (void)state;
    qcbmi_guest_map_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_layer_that_says_something_counts),
        image_test(subclusters_are_told_apart),
        image_test(compressed_clusters_come_one_by_one_with_their_bytes),
        image_test(a_raw_layer_is_data_or_hole_and_zero_behind_its_end),
        cmocka_unit_test(what_cannot_be_read_is_an_error_only_where_it_is_seen),
        image_test(a_damaged_l1_entry_is_an_error_not_zeros),
        image_test(a_table_past_the_end_is_counted_once),
        image_test(an_l1_table_past_the_end_is_no_empty_disk_where_it_matters),
        image_test(a_short_l1_table_maps_nothing_behind_it),
        cmocka_unit_test(free_takes_a_zeroed_struct),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
