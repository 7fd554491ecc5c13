/* extension.c - one header extension is wrong
 * SPDX-License-Identifier: MIT */
#include "hostile.h"

#define BACKING_FORMAT UINT32_C(0xe2792aca)
#define BITMAPS UINT32_C(0x23852875)
#define CRYPTO UINT32_C(0x0537be77)
#define DATA_FILE UINT32_C(0x44415441)
#define TAG UINT32_C(0x71635447)
#define FOREIGN UINT32_C(0x12345678)

static const uint8_t zeros[64];

static void lengths_and_places(void **state)
{
    static const struct {
        const char *name;
        uint32_t type, len; /* of the extension at 112 */
        uint64_t stored_len;
        int code;
        uint64_t offset;
    } cases[] = {
        { "foreign, to the end of the cluster", FOREIGN, 8, 392, 0, 0 },
        { "foreign, one byte more", FOREIGN, 8, 393, QCBM_E_CORRUPT, 116 },
        { "foreign, 2^32 - 1", FOREIGN, 8, UINT32_MAX, QCBM_E_CORRUPT, 116 },
        { "foreign, 2^31", FOREIGN, 8, UINT32_C(1) << 31, QCBM_E_CORRUPT, 116 },
        { "bitmaps of 23 bytes", BITMAPS, 24, 23, 0, 0 },
        { "bitmaps of 25 bytes", BITMAPS, 24, 25, 0, 0 },
        { "bitmaps of 0 bytes", BITMAPS, 24, 0, 0, 0 }, /* damaged bitmaps, see bitmap_list.c */
        { "format of 15 bytes", BACKING_FORMAT, 16, 15, 0, 0 },
        { "format of 16 bytes", BACKING_FORMAT, 16, 16, QCBM_E_CORRUPT, 116 },
        { "LUKS header without LUKS", CRYPTO, 16, 16, QCBM_E_CORRUPT, 112 },
        { "name of a data file without one", DATA_FILE, 8, 8, 0, 0 },
        { "tag of 15 bytes", TAG, 16, 15, 0, 0 }, /* no tag, see below */
        { "tag of 2^32 - 1 bytes", TAG, 16, UINT32_MAX, QCBM_E_CORRUPT, 116 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct build_options opt = { .size = 65536 };
        struct image_builder b;

        build_start(&b, &opt);
        build_extension(&b, cases[i].type, zeros, cases[i].len);
        build_finish(&b);
        be32_store(b.bytes + 116, (uint32_t)cases[i].stored_len);
        expect_open(cases[i].name, &b, cases[i].code, cases[i].offset);
        build_free(&b);
    }
}

static void the_area_ends_at_the_backing_name(void **state)
{
    (void)state;
    for (uint64_t gap = 0; gap <= 8; gap++) {
        struct build_options opt = { .size = 65536, .backing = "b", .backing_at = 136 + gap, .no_end = true };
        struct image_builder b;

        build_start(&b, &opt);
        build_extension(&b, FOREIGN, zeros, 16); /* to 136 */
        build_finish(&b);
        expect_open("gap", &b, gap == 0 || gap == 8 ? 0 : QCBM_E_CORRUPT, 136);
        build_free(&b);
    }
}

/* As QEMU reads it: behind the end of the file are zeros. */
static void the_file_may_end_in_an_extension(void **state)
{
    (void)state;
    for (size_t len = 112; len < 112 + 32; len++) {
        struct build_options opt = { .size = 65536 };
        struct image_builder b;

        build_start(&b, &opt);
        build_extension(&b, FOREIGN, zeros, 16);
        build_finish(&b);
        build_resize(&b, len);
        expect_open("cut", &b, 0, 0);
        build_free(&b);
    }
}

/* @payload and its length, behind a header that says LUKS. */
static void luks_header(void **state)
{
    static const struct {
        const char *name;
        uint32_t len;
        uint64_t offset, length;
        int code;
        uint64_t at;
    } cases[] = {
        { "good", 16, 512, 592, 0, 0 },
        { "too short", 8, 512, 592, QCBM_E_CORRUPT, 116 },
        { "too long", 24, 512, 592, QCBM_E_CORRUPT, 116 },
        { "unaligned", 16, 513, 592, QCBM_E_CORRUPT, 120 },
        { "passes 2^63", 16, 512, UINT64_MAX, QCBM_E_CORRUPT, 128 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct build_options opt = { .size = 65536 };
        struct image_builder b;
        uint8_t data[24] = { 0 };

        be64_store(data, cases[i].offset);
        be64_store(data + 8, cases[i].length);
        build_start(&b, &opt);
        build_extension(&b, CRYPTO, data, cases[i].len);
        build_finish(&b);
        be32_store(b.bytes + 32, 2);
        expect_open(cases[i].name, &b, cases[i].code, cases[i].at);
        build_free(&b);
    }
}

/* Is the image called by it, or is it told that there is something wrong? */
static void tags(void **state)
{
    static const struct {
        const char *name;
        uint32_t len[2]; /* of the first and the second; 0: none */
        uint8_t first[2];
        bool tagged, told;
    } cases[] = {
        { "no tag", { 0, 0 }, { 0, 0 }, false, false },
        { "a tag", { 16, 0 }, { 1, 0 }, true, false },
        { "a byte short", { 15, 0 }, { 1, 0 }, false, true },
        { "a byte long", { 17, 0 }, { 1, 0 }, false, true },
        { "twice", { 16, 16 }, { 1, 1 }, true, false },
        { "two that differ", { 16, 16 }, { 1, 2 }, false, true },
        { "good and short", { 16, 8 }, { 1, 1 }, false, true },
        { "short and good", { 8, 16 }, { 1, 1 }, false, true },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct build_options opt = { .size = 65536 };
        struct image_builder b;
        struct qcbm_image_info info;
        struct qcbm_finding f;
        struct qcbm_image *img;

        build_start(&b, &opt);
        for (int k = 0; k < 2; k++) {
            uint8_t data[24] = { cases[i].first[k] };

            if (cases[i].len[k])
                build_extension(&b, TAG, data, cases[i].len[k]);
        }
        build_finish(&b);
        img = build_open(&b, 0);
        qcbm_image_get_info(img, &info, sizeof(info));
        if ((info.tag != NULL) != cases[i].tagged || (qcbm_finding_count(img) != 0) != cases[i].told)
            fail_msg("%s: tag %s, %u findings", cases[i].name, info.tag ? info.tag : "none", qcbm_finding_count(img));
        if (cases[i].tagged)
            assert_string_equal(info.tag, "01000000000000000000000000000000");
        if (cases[i].told) {
            assert_int_equal(qcbm_finding_get(img, 0, &f, sizeof(f)), 0);
            assert_string_equal(f.problem->code, "tag");
        }
        qcbm_close(img);
        build_free(&b);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lengths_and_places),
        cmocka_unit_test(the_area_ends_at_the_backing_name),
        cmocka_unit_test(the_file_may_end_in_an_extension),
        cmocka_unit_test(luks_header),
        cmocka_unit_test(tags),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
