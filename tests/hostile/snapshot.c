/* snapshot.c - the table of internal snapshots is wrong
 * SPDX-License-Identifier: MIT */
#include "hostile.h"

/* Two snapshots: entries of 72 bytes. */
static void build(struct image_builder *b)
{
    struct build_options opt = { .size = KIB(64) };

    build_start(b, &opt);
    build_data(b, 0);
    build_snapshot(b, "1", "first");
    build_snapshot(b, "2", "other");
    build_finish(b);
}

/* @shown entries come before the bad one. */
static void expect_load(const char *name, const struct image_builder *b, int code, uint64_t offset, uint32_t shown)
{
    struct qcbm_error err = { 0 };
    struct qcbm_image *img = build_open(b, 0);
    uint32_t n = 77;

    expect(name, qcbm_snapshots_load(img, &n, &err), &err, code, offset);
    assert_int_equal(n, shown);
    qcbm_close(img);
}

static void entries(void **state)
{
    static const struct {
        const char *name;
        struct poke poke; /* in the second entry */
        int code;
        unsigned offset;
    } cases[] = {
        { "extra data of 1025 bytes", { 36, 4, 1025 }, QCBM_E_LIMIT, 36 },
        { "extra data of 2^32 - 1 bytes", { 36, 4, UINT32_MAX }, QCBM_E_LIMIT, 36 },
        { "extra data past the end", { 36, 4, 1024 }, QCBM_E_CORRUPT, 0 },
        { "id past the end", { 12, 2, 65535 }, QCBM_E_CORRUPT, 0 },
        { "name past the end", { 14, 2, 65535 }, QCBM_E_CORRUPT, 0 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct image_builder b;

        build(&b);
        expect_load("as built", &b, 0, 0, 2);
        poke(&b, b.snapshots[1].entry, &cases[i].poke);
        expect_load(cases[i].name, &b, cases[i].code, b.snapshots[1].entry + cases[i].offset, 1);
        expect_plan(cases[i].name, &b, cases[i].code, b.snapshots[1].entry + cases[i].offset);
        build_free(&b);
    }
}

static void the_table_past_the_end(void **state)
{
    struct image_builder b;

    (void)state;
    build(&b);
    be64_store(b.bytes + 64, FAR);
    expect_load("past the end", &b, QCBM_E_CORRUPT, 64, 0);
    expect_plan("past the end", &b, QCBM_E_CORRUPT, 64);
    build_free(&b);
}

static void more_entries_than_there_are(void **state)
{
    struct image_builder b;
    struct qcbm_error err = { 0 };
    struct qcbm_image *img;
    uint32_t n;

    (void)state;
    build(&b);
    be32_store(b.bytes + 60, 65536);
    img = build_open(&b, 0);
    assert_int_equal(qcbm_snapshots_load(img, &n, &err), QCBM_E_CORRUPT);
    assert_non_null(strstr(err.message, "all zeros")); /* what follows in the file */
    qcbm_close(img);
    build_free(&b);
}

/* What comes before the bad entry can be shown; whoever asks again, to write say, hears of it again. */
static void entries_before_the_bad_one(void **state)
{
    struct qcbm_snapshot_info s;
    struct image_builder b;
    struct qcbm_error err = { 0 };
    struct qcbm_image *img;
    uint32_t n = 0;

    (void)state;
    build(&b);
    be32_store(b.bytes + 60, 65536);
    img = build_open(&b, 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(qcbm_snapshots_load(img, &n, &err), QCBM_E_CORRUPT);
        assert_non_null(strstr(err.message, "all zeros"));
        assert_true(n >= 2 && n < 65536);
        err.code = 0;
    }
    qcbm_snapshot_get(img, 0, &s, sizeof(s));
    assert_string_equal(s.id, "1");
    assert_string_equal(s.name, "first");
    qcbm_close(img);
    build_free(&b);
}

/* A snapshot whose tables are damaged can be listed; nothing is written beside it. */
static void l1_tables(void **state)
{
    static const struct {
        const char *name;
        struct poke poke; /* in the first entry */
    } cases[] = {
        { "unaligned", { 0, 8, 0x201 } },
        { "L1 above 32 MiB", { 8, 4, 4194305 } },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct image_builder b;

        build(&b);
        poke(&b, b.snapshots[0].entry, &cases[i].poke);
        expect_load(cases[i].name, &b, 0, 0, 2);
        expect_plan(cases[i].name, &b, QCBM_E_UNSAFE, b.snapshots[0].entry);
        build_free(&b);
    }
}

static void entries_of_an_l1_table(void **state)
{
    static const uint64_t raws[] = { 1, UINT64_C(1) << 62, UINT64_MAX };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(raws); i++) {
        struct image_builder b;

        build(&b);
        be64_store(b.bytes + b.snapshots[1].l1 + 8, raws[i]);
        expect_plan("snapshot L1", &b, QCBM_E_UNSAFE, b.snapshots[1].l1 + 8);
        build_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries),
        cmocka_unit_test(the_table_past_the_end),
        cmocka_unit_test(more_entries_than_there_are),
        cmocka_unit_test(entries_before_the_bad_one),
        cmocka_unit_test(l1_tables),
        cmocka_unit_test(entries_of_an_l1_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
