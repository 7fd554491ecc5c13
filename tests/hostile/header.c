/* header.c - one field of the header is wrong: the code, and the place of the field
 * SPDX-License-Identifier: MIT */
#include "hostile.h"

struct header_case {
    const char *name;
    struct poke poke;
    int code;
    uint64_t offset;
};

static void check(const struct build_options *opt, const struct header_case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct image_builder b;

        build_start(&b, opt);
        build_data(&b, 0);
        build_finish(&b);
        expect_open("as built", &b, 0, 0);
        poke(&b, 0, &cases[i].poke);
        expect_open(cases[i].name, &b, cases[i].code, cases[i].offset);
        build_free(&b);
    }
}

static void fields_of_both_versions(void **state)
{
    static const struct build_options v3 = { .size = 65536, .backing = "base" };
    static const struct build_options v2 = { .size = 65536, .backing = "base", .version = 2 };
    static const struct header_case cases[] = {
        { "magic", { 0, 4, 0x514649fa }, QCBM_E_NOT_QCOW2, 0 },
        { "version 0", { 4, 4, 0 }, QCBM_E_UNSUPPORTED, 4 },
        { "version 1", { 4, 4, 1 }, QCBM_E_UNSUPPORTED, 4 },
        { "version 4", { 4, 4, 4 }, QCBM_E_UNSUPPORTED, 4 },
        { "backing name past the first cluster", { 8, 8, 513 }, QCBM_E_CORRUPT, 8 },
        { "backing name at 2^64 - 1", { 8, 8, UINT64_MAX }, QCBM_E_CORRUPT, 8 },
        { "backing name that passes the cluster", { 16, 4, 500 }, QCBM_E_CORRUPT, 16 },
        { "backing name of 2^32 - 1 bytes", { 16, 4, UINT32_MAX }, QCBM_E_CORRUPT, 16 },
        { "cluster size 256", { 20, 4, 8 }, QCBM_E_CORRUPT, 20 },
        { "cluster size 1", { 20, 4, 0 }, QCBM_E_CORRUPT, 20 },
        { "cluster size 4 MiB", { 20, 4, 22 }, QCBM_E_LIMIT, 20 },
        { "cluster_bits beyond every shift", { 20, 4, UINT32_MAX }, QCBM_E_LIMIT, 20 },
        { "size for which the L1 table is too small", { 24, 8, 65537 }, QCBM_E_CORRUPT, 36 },
        { "size 2^63", { 24, 8, UINT64_C(1) << 63 }, QCBM_E_LIMIT, 24 },
        { "size 2^64 - 1", { 24, 8, UINT64_MAX }, QCBM_E_LIMIT, 24 },
        { "unknown encryption", { 32, 4, 3 }, QCBM_E_UNSUPPORTED, 32 },
        { "LUKS without its extension", { 32, 4, 2 }, QCBM_E_CORRUPT, 32 },
        { "no L1 table", { 36, 4, 0 }, QCBM_E_CORRUPT, 36 },
        { "L1 table too small by one", { 36, 4, 1 }, QCBM_E_CORRUPT, 36 },
        { "L1 table above 32 MiB", { 36, 4, 4194305 }, QCBM_E_LIMIT, 36 },
        { "L1 table of 2^32 - 1 entries", { 36, 4, UINT32_MAX }, QCBM_E_LIMIT, 36 },
        { "L1 table unaligned", { 40, 8, 0x601 }, QCBM_E_CORRUPT, 40 },
        { "L1 table that passes 2^63", { 40, 8, UINT64_C(0x7ffffffffffffe00) + 512 }, QCBM_E_CORRUPT, 40 },
        { "L1 table at 2^64 - 512", { 40, 8, UINT64_MAX - 511 }, QCBM_E_CORRUPT, 40 },
        { "refcount table unaligned", { 48, 8, 0x208 }, QCBM_E_CORRUPT, 48 },
        { "refcount table at 2^64 - 512", { 48, 8, UINT64_MAX - 511 }, QCBM_E_CORRUPT, 48 },
        { "refcount table above 8 MiB", { 56, 4, 16385 }, QCBM_E_LIMIT, 56 },
        { "65537 snapshots", { 60, 4, 65537 }, QCBM_E_LIMIT, 60 },
        { "snapshot table unaligned", { 64, 8, 1 }, QCBM_E_CORRUPT, 64 },
    };

    (void)state;
    check(&v3, cases, ARRAY_LEN(cases));
    check(&v2, cases, ARRAY_LEN(cases));
}

static void fields_of_version_3(void **state)
{
    static const struct build_options opt = { .size = 65536 };
    static const struct header_case cases[] = {
        { "unknown incompatible bit", { 72, 8, 1u << 5 }, QCBM_E_UNSUPPORTED, 72 },
        { "unknown incompatible bit 63", { 72, 8, UINT64_C(1) << 63 }, QCBM_E_UNSUPPORTED, 72 },
        { "compression bit without a type", { 72, 8, 8 }, QCBM_E_CORRUPT, 72 },
        { "compression type without the bit", { 104, 1, 1 }, QCBM_E_CORRUPT, 72 },
        { "unknown compression type", { 104, 1, 2 }, QCBM_E_UNSUPPORTED, 104 },
        { "subclusters of 16 bytes", { 72, 8, 16 }, QCBM_E_CORRUPT, 20 },
        { "raw data file without a data file", { 88, 8, 2 }, QCBM_E_CORRUPT, 88 },
        { "refcount_order 7", { 96, 4, 7 }, QCBM_E_CORRUPT, 96 },
        { "refcount_order 2^32 - 1", { 96, 4, UINT32_MAX }, QCBM_E_CORRUPT, 96 },
        { "header_length 0", { 100, 4, 0 }, QCBM_E_CORRUPT, 100 },
        { "header_length 103", { 100, 4, 103 }, QCBM_E_CORRUPT, 100 },
        { "header_length above the cluster", { 100, 4, 513 }, QCBM_E_CORRUPT, 100 },
        { "header_length 2^32 - 1", { 100, 4, UINT32_MAX }, QCBM_E_CORRUPT, 100 },
    };

    (void)state;
    check(&opt, cases, ARRAY_LEN(cases));
}

static void an_unknown_feature_is_called_by_the_images_name_for_it(void **state)
{
    struct build_options opt = { .size = 65536, .incompatible = 1u << 9 };
    uint8_t table[48] = { 0, 9, 'o', 'd', 'd', 0x1b };
    struct image_builder b;
    struct qcbm_image *img;
    struct qcbm_error err = { 0 };

    (void)state;
    build_start(&b, &opt);
    build_extension(&b, UINT32_C(0x6803f857), table, sizeof(table));
    build_finish(&b);
    expect("name", build_try_open(&b, 0, &img, &err), &err, QCBM_E_UNSUPPORTED, 72);
    assert_non_null(strstr(err.message, "odd\\x1b")); /* not as a terminal would take it */
    build_free(&b);
}

static void a_file_that_ends_in_the_header(void **state)
{
    static const struct {
        size_t len;
        int code;
    } cases[] = {
        { 0, QCBM_E_NOT_QCOW2 }, { 3, QCBM_E_NOT_QCOW2 }, { 4, QCBM_E_CORRUPT },   { 7, QCBM_E_CORRUPT },
        { 71, QCBM_E_CORRUPT },  { 103, QCBM_E_CORRUPT }, { 111, QCBM_E_CORRUPT }, { 112, 0 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct build_options opt = { .size = 65536 };
        struct image_builder b;

        build_start(&b, &opt);
        build_finish(&b);
        build_resize(&b, cases[i].len);
        expect_open("cut", &b, cases[i].code, cases[i].code == QCBM_E_CORRUPT ? cases[i].len : 0);
        build_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fields_of_both_versions),
        cmocka_unit_test(fields_of_version_3),
        cmocka_unit_test(an_unknown_feature_is_called_by_the_images_name_for_it),
        cmocka_unit_test(a_file_that_ends_in_the_header),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
