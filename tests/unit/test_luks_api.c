/* test_luks_api.c - the LUKS header of an open image, through its backend
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"
#include "luks_unit.h"

/* An image that says that its LUKS header lies at @at, or in clusters of its own if that is 0. Returns where. */
static uint64_t build_luks(struct image_builder *b, uint64_t at)
{
    struct build_options opt = { .size = KIB(64) };
    uint8_t ext[16] = { 0 }, *header = good_header();
    uint64_t place = at;

    build_start(b, &opt);
    if (!at) {
        place = build_clusters(b, 2);
        memcpy(b->bytes + place, header, LUKS_HEADER_BYTES);
    }
    put32(ext, (uint32_t)(place >> 32));
    put32(ext + 4, (uint32_t)place);
    put32(ext + 12, KIB(1));
    build_extension(b, Q2_EXT_CRYPTO, ext, sizeof(ext));
    build_finish(b);
    put32(b->bytes + 32, 2);
    free(header);
    return place;
}

static void the_header_is_read(void **state)
{
    struct qcbm_luks_info luks;
    struct qcbm_error err = { 0 };
    struct qcbm_image *img;

    build_luks(bench_builder(state), 0);
    img = bench_image(state, 0);
    assert_ok(qcbm_image_luks(img, &luks, sizeof(luks), &err), &err);
    assert_string_equal(luks.cipher, "aes-256");
    assert_true(luks.slots[1].active);
    memset(&luks, 0x5a, sizeof(luks));
    assert_ok(qcbm_image_luks(img, &luks, sizeof(luks.cipher), &err), &err); /* an older caller */
    assert_string_equal(luks.cipher, "aes-256");
    assert_int_equal(luks.mode[0], 0x5a);
}

static void a_bad_header_leaves_zeros(void **state)
{
    struct image_builder *b = bench_builder(state);
    uint64_t place = build_luks(b, 0);
    struct qcbm_luks_info luks;
    struct qcbm_error err = { 0 };

    b->bytes[place] = 'l';
    memset(&luks, 0x5a, sizeof(luks));
    assert_failure(qcbm_image_luks(bench_image(state, 0), &luks, sizeof(luks), &err), &err, QCBM_E_CORRUPT, place,
                   "magic");
    assert_int_equal(luks.cipher[0], 0);
    assert_int_equal(luks.slots[7].stripes, 0);
}

static void a_header_past_the_end_is_refused(void **state)
{
    struct qcbm_luks_info luks;
    struct qcbm_error err = { 0 };

    build_luks(bench_builder(state), MIB(1));
    assert_failure(qcbm_image_luks(bench_image(state, 0), &luks, sizeof(luks), &err), &err, QCBM_E_CORRUPT, MIB(1),
                   "cannot be read");
}

static void other_images_have_none(void **state)
{
    struct build_options opt = { .size = KIB(64) };
    struct image_builder *b = bench_builder(state);
    struct qcbm_luks_info luks;
    struct qcbm_error err = { 0 };

    build_start(b, &opt);
    build_finish(b);
    assert_failure(qcbm_image_luks(bench_image(state, 0), &luks, sizeof(luks), &err), &err, QCBM_E_UNSUPPORTED,
                   QCBM_NO_OFFSET, "not encrypted with LUKS");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(the_header_is_read),
        image_test(a_bad_header_leaves_zeros),
        image_test(a_header_past_the_end_is_refused),
        image_test(other_images_have_none),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
