/* test_zero_map.c - where the guest reads zeros, through a chain of layers
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"
#include "temp_dir.h"

#include "image/zero_map.h"

/* One layer of 8 clusters of 4 KiB, a character each: n data, z zero, Z zero with a cluster kept, c compressed,
 * . unallocated, x damaged. Fewer characters make a shorter layer. */
static void write_layer(struct temp_dir *d, const char *name, const char *pattern, const char *backing)
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

/* The map in sectors of @step, as '0' and '-' per cluster. */
static void read_map(struct qcbm_image *top, char got[16])
{
    struct qcbmi_chain_options options = { 0 };
    struct qcbmi_chain chain = { 0 };
    struct qcbmi_zero_map z = { 0 };
    struct qcbm_error err = { 0 };
    uint64_t at = 0, size = top->g.size;

    memset(got, 0, 16);
    assert_ok(qcbmi_chain_open(top, &options, &chain, &err), &err);
    assert_ok(qcbmi_zero_map_init(&z, &chain, &err), &err);
    while (at < size) {
        uint64_t end;
        bool zero;

        assert_ok(qcbmi_zero_map_at(&z, at, size, &zero, &end, &err), &err);
        assert_true(end > at && end <= size);
        for (; at < end; at += 4096)
            got[at / 4096] = zero ? '0' : '-';
    }
    qcbmi_zero_map_free(&z);
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

static void subclusters_are_told_apart(void **state)
{
    struct build_options opt = { .size = KIB(32), .cluster_bits = 14, .extended_l2 = true };
    struct qcbmi_chain_options options = { 0 };
    struct qcbmi_chain chain = { 0 };
    struct qcbmi_zero_map z = { 0 };
    struct image_builder b;
    struct qcbm_image *img;
    uint64_t end;
    bool zero;

    (void)state;
    build_start(&b, &opt);
    build_map(&b, 0, build_data(&b, 0) | BUILD_COPIED, 0x2 | UINT64_C(0x4) << 32); /* read through, data, zero, ... */
    build_finish(&b);
    img = build_open(&b, 0);
    assert_int_equal(qcbmi_chain_open(img, &options, &chain, NULL), 0);
    assert_int_equal(qcbmi_zero_map_init(&z, &chain, NULL), 0);
    assert_int_equal(qcbmi_zero_map_at(&z, 0, KIB(32), &zero, &end, NULL), 0);
    assert_true(zero && end == 512);
    assert_int_equal(qcbmi_zero_map_at(&z, 700, KIB(32), &zero, &end, NULL), 0);
    assert_true(!zero && end == 1024);
    assert_int_equal(qcbmi_zero_map_at(&z, 1024, KIB(32), &zero, &end, NULL), 0);
    assert_true(zero && end == 1536);
    assert_int_equal(qcbmi_zero_map_at(&z, 1536, 2000, &zero, &end, NULL), 0);
    assert_true(zero && end == 2000); /* not past the limit */
    qcbmi_zero_map_free(&z);
    qcbmi_chain_close(&chain);
    qcbm_close(img);
    build_free(&b);
}

static void a_raw_layer_is_data_or_hole_and_zero_behind_its_end(void **state)
{
    struct build_options opt = { .size = KIB(8), .cluster_bits = 12, .backing = "raw", .backing_format = "raw" };
    struct temp_dir d;
    struct qcbm_error err = { 0 };
    struct image_builder b;
    struct qcbm_image *top;
    char got[16];
    FILE *f;

    (void)state;
    temp_dir_make(&d);
    f = fopen(temp_path(&d, "raw"), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite("data", 1, 4, f), 4);
    fclose(f);
    build_start(&b, &opt);
    build_finish(&b);
    build_write_file(&b, temp_path(&d, "top"));
    build_free(&b);
    assert_ok(qcbm_open(temp_path(&d, "top"), 0, &top, &err), &err);
    read_map(top, got); /* 512 bytes of data; the rest of the first cluster is zero: the last word counts */
    assert_int_equal(got[1], '0');
    qcbm_close(top);
    temp_dir_remove(&d);
}

static void a_damaged_l1_entry_is_an_error_not_zeros(void **state)
{
    struct build_options opt = { .size = KIB(64), .cluster_bits = 12 };
    struct qcbmi_chain_options options = { 0 };
    struct qcbmi_chain chain = { 0 };
    struct qcbmi_zero_map z = { 0 };
    struct qcbm_error err = { 0 };
    struct image_builder b;
    struct qcbm_image *img;
    uint64_t end;
    bool zero;

    (void)state;
    build_start(&b, &opt);
    build_finish(&b);
    be64_store(b.bytes + b.l1, 0x1200);
    img = build_open(&b, 0);
    assert_int_equal(qcbmi_chain_open(img, &options, &chain, NULL), 0);
    assert_int_equal(qcbmi_zero_map_init(&z, &chain, NULL), 0);
    assert_failure(qcbmi_zero_map_at(&z, 0, KIB(64), &zero, &end, &err), &err, QCBM_E_CORRUPT, b.l1,
                   "not cluster-aligned");
    qcbmi_zero_map_free(&z);
    qcbmi_chain_close(&chain);
    qcbm_close(img);
    build_free(&b);
}

static void free_takes_a_zeroed_struct(void **state)
{
    struct qcbmi_zero_map z = { 0 };

    (void)state;
    qcbmi_zero_map_free(&z);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_layer_that_says_something_counts),
        cmocka_unit_test(subclusters_are_told_apart),
        cmocka_unit_test(a_raw_layer_is_data_or_hole_and_zero_behind_its_end),
        cmocka_unit_test(a_damaged_l1_entry_is_an_error_not_zeros),
        cmocka_unit_test(free_takes_a_zeroed_struct),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
