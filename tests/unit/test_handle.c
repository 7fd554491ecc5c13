/* test_handle.c - handles of callers: one of their own for each layer of a chain, with the bitmaps of that layer
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

static void write_layer(const struct temp_dir *d, const char *name, const char *backing, const char *bitmap)
{
    struct build_options opt = { .size = KIB(64), .backing = backing, .backing_format = backing ? "qcow2" : NULL };
    struct image_builder b;

    build_start(&b, &opt);
    build_bitmap(&b, bitmap, 16, 0, NULL, 0);
    build_finish(&b);
    build_write_file(&b, temp_path(d, name));
    build_free(&b);
}

static void expect_bitmap(struct qcbm_chain *chain, uint32_t index, const char *name, struct qcbm_image **out)
{
    struct qcbm_chain_layer layer;
    struct qcbm_bitmap_info bitmap;
    struct qcbm_error err = { 0 };

    assert_ok(qcbm_chain_get(chain, index, &layer, sizeof(layer), &err), &err);
    assert_non_null(layer.image);
    assert_int_equal(bitmap_count(layer.image), 1);
    qcbm_bitmap_get(layer.image, 0, &bitmap, sizeof(bitmap));
    assert_string_equal(bitmap.name, name);
    *out = layer.image;
}

static void each_layer_of_a_chain_shows_its_own_bitmaps(void **state)
{
    const struct temp_dir *d = bench_dir(state);
    struct qcbm_image *top, *seen;
    struct qcbm_chain *chain;
    struct qcbm_error err = { 0 };

    write_layer(d, "base", NULL, "of base");
    write_layer(d, "mid", "base", "of mid");
    write_layer(d, "top", "mid", "of top");
    assert_ok(qcbm_open(temp_path(d, "top"), 0, &top, &err), &err);
    assert_ok(qcbm_chain_open(top, &chain, &err), &err);
    expect_bitmap(chain, 2, "of base", &seen);
    expect_bitmap(chain, 0, "of top", &seen);
    assert_ptr_equal(seen, top);
    expect_bitmap(chain, 1, "of mid", &seen);
    assert_ptr_not_equal(seen, top);
    expect_bitmap(chain, 1, "of mid", &seen); /* again */
    qcbm_chain_close(chain);
    assert_int_equal(bitmap_count(top), 1); /* the chain takes nothing away from it */
    qcbm_close(top);
}

static void clear_leaves_the_image(void **state)
{
    const struct temp_dir *d = bench_dir(state);
    struct qcbm_image *img, handle = { 0 };
    struct qcbm_error err = { 0 };

    qcbmi_handle_clear(&handle);
    write_layer(d, "one", NULL, "b0");
    assert_ok(qcbm_open(temp_path(d, "one"), 0, &img, &err), &err);
    handle.image = img->image;
    qcbmi_handle_clear(&handle);
    assert_ptr_equal(handle.image, img->image);
    assert_int_equal(bitmap_count(img), 1);
    qcbm_close(img);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(each_layer_of_a_chain_shows_its_own_bitmaps),
        image_test(clear_leaves_the_image),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
