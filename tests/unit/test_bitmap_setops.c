/* test_bitmap_setops.c - bits from bits: rounding at every edge, refusals; random ones are in tests/property
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#define IN_USE 1u
#define AUTO 2u

/* "f": 512 per bit, [512, 3584) dirty; "g": 1024 per bit, [0, 4096) dirty; "u" in use; 5 KiB, or @size. */
static void build(struct image_builder *b, uint64_t size)
{
    struct build_options opt = { .size = size ? size : KIB(5) };
    uint64_t data;

    build_start(b, &opt);
    data = build_clusters(b, 1);
    b->bytes[data] = 0x7e;
    build_bitmap(b, "f", 9, AUTO, &data, 1);
    data = build_clusters(b, 1);
    b->bytes[data] = 0x0f;
    build_bitmap(b, "g", 10, 0, &data, 1);
    build_bitmap(b, "u", 9, IN_USE | AUTO, NULL, 0);
    build_finish(b);
}

struct test {
    struct image_builder b;
    struct session s;
    struct qcbm_edit *edit;
    struct qcbm_error err;
};

static void start(struct test *t, uint64_t size)
{
    memset(t, 0, sizeof(*t));
    build(&t->b, size);
    session_open(&t->s, &t->b);
    assert_ok(qcbm_edit_begin(t->s.img, &t->edit, &t->err), &t->err);
}

static void commit(struct test *t)
{
    assert_ok(qcbm_edit_commit(t->edit, NULL, 0, &t->err), &t->err);
    qcbm_edit_free(t->edit);
    assert_ok(qcbm_edit_begin(t->s.img, &t->edit, &t->err), &t->err);
}

static void end(struct test *t)
{
    qcbm_edit_free(t->edit);
    session_close(&t->s);
    build_free(&t->b);
}

static void subtracting_keeps_granules_that_are_covered_in_part(void **state)
{
    struct test t;

    (void)state;
    start(&t, 0);
    assert_ok(qcbm_edit_subtract(t.edit, "g", NULL, "f", &t.err), &t.err);
    commit(&t);
    assert_dirty(t.s.img, "g", "0-1024 3072-4096");
    end(&t);
    start(&t, 0);
    assert_ok(qcbm_edit_subtract(t.edit, "f", NULL, "g", &t.err), &t.err);
    assert_ok(qcbm_edit_subtract(t.edit, "g", NULL, "g", &t.err), &t.err);
    commit(&t);
    assert_dirty(t.s.img, "f", "");
    assert_dirty(t.s.img, "g", "");
    end(&t);
}

static void intersecting_keeps_granules_that_are_touched(void **state)
{
    struct test t;

    (void)state;
    start(&t, 0);
    assert_ok(qcbm_edit_set_range(t.edit, "g", 0, 5120, &t.err), &t.err);
    assert_ok(qcbm_edit_intersect(t.edit, "g", NULL, "f", &t.err), &t.err);
    assert_ok(qcbm_edit_intersect(t.edit, "f", NULL, "f", &t.err), &t.err);
    commit(&t);
    assert_dirty(t.s.img, "g", "0-4096");
    assert_dirty(t.s.img, "f", "512-3584");
    end(&t);
}

static void ranges_round_outward_to_set_and_inward_to_clear(void **state)
{
    struct test t;

    (void)state;
    start(&t, 0);
    assert_ok(qcbm_edit_clear(t.edit, "g", &t.err), &t.err);
    assert_ok(qcbm_edit_set_range(t.edit, "g", 1023, 2, &t.err), &t.err);
    assert_ok(qcbm_edit_set_range(t.edit, "g", 5119, 1, &t.err), &t.err);
    assert_ok(qcbm_edit_set_range(t.edit, "g", 3000, 0, &t.err), &t.err);
    commit(&t);
    assert_dirty(t.s.img, "g", "0-2048 4096-5120");
    assert_ok(qcbm_edit_unset_range(t.edit, "g", 1, 2047, &t.err), &t.err);
    assert_ok(qcbm_edit_unset_range(t.edit, "g", 4096, 1023, &t.err), &t.err);
    commit(&t);
    assert_dirty(t.s.img, "g", "0-1024 4096-5120");
    assert_ok(qcbm_edit_unset_range(t.edit, "g", 0, 5120, &t.err), &t.err);
    commit(&t);
    assert_dirty(t.s.img, "g", "");
    end(&t);
}

/* QEMU rounds the size down; the last granule, which reaches further, stands for the bytes that are cut off. */
static void bytes_of_a_partial_sector_belong_to_the_last_granule(void **state)
{
    struct test t;

    (void)state;
    start(&t, 4096 + 512 + 100); /* granules of 1024: the last has 612 bytes, of which QEMU knows 512 */
    assert_ok(qcbm_edit_clear(t.edit, "g", &t.err), &t.err);
    assert_ok(qcbm_edit_set_range(t.edit, "g", 4096 + 512 + 99, 1, &t.err), &t.err);
    assert_ok(qcbm_edit_unset_range(t.edit, "g", 4096, 512 + 99, &t.err), &t.err);
    commit(&t);
    assert_dirty(t.s.img, "g", "4096-4608");
    assert_ok(qcbm_edit_unset_range(t.edit, "g", 4096, 512 + 100, &t.err), &t.err);
    commit(&t);
    assert_dirty(t.s.img, "g", "");
    assert_failure(qcbm_edit_set_range(t.edit, "g", 4096, 613, &t.err), &t.err, QCBM_E_ARG, QCBM_NO_OFFSET, "passes");
    assert_failure(qcbm_edit_regranularise(t.edit, "g", 512, &t.err), &t.err, QCBM_E_UNSUPPORTED, 24, "no bit");
    end(&t);
}

static void other_images_must_have_the_same_size_to_the_byte(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct qcbm_image *img;
    struct test t;

    build(b, 4096 + 512 + 100);
    img = bench_image(state, 0);
    start(&t, 4096 + 512);
    assert_ok(qcbm_edit_merge(t.edit, "g", img, "f", &t.err), &t.err); /* as QEMU, which rounds */
    assert_failure(qcbm_edit_subtract(t.edit, "g", img, "f", &t.err), &t.err, QCBM_E_ARG, QCBM_NO_OFFSET,
                   "(4608, source 4708)");
    assert_failure(qcbm_edit_intersect(t.edit, "g", img, "f", &t.err), &t.err, QCBM_E_ARG, QCBM_NO_OFFSET, "4708");
    assert_failure(qcbm_edit_copy(t.edit, "new", img, "f", &t.err), &t.err, QCBM_E_ARG, QCBM_NO_OFFSET, "4708");
    end(&t);
}

static void what_was_read_with_force_share_is_not_written(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct qcbm_image *img;
    struct test t;

    build(b, 0);
    img = bench_image(state, QCBM_OPEN_FORCE_SHARE);
    start(&t, 0);
    assert_ok(qcbm_edit_copy(t.edit, "new", img, "f", &t.err), &t.err);
    assert_ok(qcbm_edit_plan(t.edit, NULL, 0, NULL, NULL, &t.err), &t.err);
    assert_failure(qcbm_edit_commit(t.edit, NULL, 0, &t.err), &t.err, QCBM_E_UNSAFE, QCBM_NO_OFFSET, "force-share");
    assert_untouched(&t.s, &t.b);
    end(&t);
}

static void bitmaps_in_use_are_refused_on_either_side(void **state)
{
    static const char text[] = "is inconsistent and cannot be used";
    struct test t;

    (void)state;
    start(&t, 0);
#define REFUSED(call) assert_failure(call, &t.err, QCBM_E_INUSE, QCBM_NO_OFFSET, text)
    REFUSED(qcbm_edit_subtract(t.edit, "u", NULL, "f", &t.err));
    REFUSED(qcbm_edit_subtract(t.edit, "f", NULL, "u", &t.err));
    REFUSED(qcbm_edit_subtract(t.edit, "u", NULL, "u", &t.err));
    REFUSED(qcbm_edit_intersect(t.edit, "u", NULL, "u", &t.err));
    REFUSED(qcbm_edit_intersect(t.edit, "f", NULL, "u", &t.err));
    REFUSED(qcbm_edit_copy(t.edit, "new", NULL, "u", &t.err));
    REFUSED(qcbm_edit_rename(t.edit, "u", "new", &t.err));
    REFUSED(qcbm_edit_rotate(t.edit, "u", "new", &t.err));
    REFUSED(qcbm_edit_regranularise(t.edit, "u", 4096, &t.err));
    REFUSED(qcbm_edit_set_range(t.edit, "u", 0, 512, &t.err));
    REFUSED(qcbm_edit_unset_range(t.edit, "u", 0, 512, &t.err));
#undef REFUSED
    end(&t);
}

static void names_keep_their_rules(void **state)
{
    char longest[1025];
    struct test t;

    (void)state;
    memset(longest, 'n', sizeof(longest));
    longest[1024] = '\0';
    start(&t, 0);
    assert_failure(qcbm_edit_rename(t.edit, "f", "g", &t.err), &t.err, QCBM_E_EXISTS, QCBM_NO_OFFSET, "exists: g");
    assert_failure(qcbm_edit_rename(t.edit, "f", "f", &t.err), &t.err, QCBM_E_EXISTS, QCBM_NO_OFFSET, "exists: f");
    assert_failure(qcbm_edit_rename(t.edit, "f", "", &t.err), &t.err, QCBM_E_ARG, QCBM_NO_OFFSET, "empty");
    assert_failure(qcbm_edit_rename(t.edit, "f", longest, &t.err), &t.err, QCBM_E_LIMIT, QCBM_NO_OFFSET, "1023");
    assert_failure(qcbm_edit_rotate(t.edit, "f", longest, &t.err), &t.err, QCBM_E_LIMIT, QCBM_NO_OFFSET, "1023");
    assert_failure(qcbm_edit_rotate(t.edit, "f", "u", &t.err), &t.err, QCBM_E_EXISTS, QCBM_NO_OFFSET, "exists: u");
    assert_failure(qcbm_edit_rotate(t.edit, "g", "new", &t.err), &t.err, QCBM_E_ARG, QCBM_NO_OFFSET, "is disabled");
    longest[1023] = '\0';
    assert_ok(qcbm_edit_rename(t.edit, "f", longest, &t.err), &t.err);
    assert_ok(qcbm_edit_rename(t.edit, "g", "f", &t.err), &t.err); /* the name is free again */
    commit(&t);
    assert_dirty(t.s.img, longest, "512-3584");
    assert_dirty(t.s.img, "f", "0-4096");
    end(&t);
}

/* A new name needs a new directory, and nothing else. */
static void renaming_moves_no_bits(void **state)
{
    struct qcbm_bitmap_info before, after;
    struct test t;

    (void)state;
    start(&t, 0);
    qcbm_bitmap_get(t.s.img, 1, &before, sizeof(before));
    assert_ok(qcbm_edit_rename(t.edit, "g", "a longer name", &t.err), &t.err);
    assert_ok(qcbm_edit_enable(t.edit, "a longer name", &t.err), &t.err);
    commit(&t);
    qcbm_bitmap_get(t.s.img, 1, &after, sizeof(after));
    assert_string_equal(after.name, "a longer name");
    assert_int_equal(after.table_offset, before.table_offset);
    assert_true(after.enabled);
    /* of the same length: the directory is not just the old one with other flags */
    assert_ok(qcbm_edit_rename(t.edit, "f", "h", &t.err), &t.err);
    commit(&t);
    assert_dirty(t.s.img, "h", "512-3584");
    end(&t);
}

static void a_look_tells_what_the_edit_has(void **state)
{
    struct qcbm_edit_bitmap_info i;
    struct test t;

    (void)state;
    start(&t, 4096 + 512);
    assert_ok(qcbm_edit_look(t.edit, "g", &i, sizeof(i), &t.err), &t.err); /* as stored */
    assert_int_equal(i.granularity, 1024);
    assert_int_equal(i.granules, 5);
    assert_int_equal(i.dirty_granules, 4);
    assert_int_equal(i.dirty_bytes, 4096);
    assert_false(i.enabled);
    assert_ok(qcbm_edit_set_range(t.edit, "g", 4096, 1, &t.err), &t.err);
    assert_ok(qcbm_edit_enable(t.edit, "g", &t.err), &t.err);
    assert_ok(qcbm_edit_look(t.edit, "g", &i, sizeof(i), &t.err), &t.err);
    assert_int_equal(i.dirty_granules, 5);
    assert_int_equal(i.dirty_bytes, 4096 + 512);
    assert_true(i.enabled);
    assert_failure(qcbm_edit_look(t.edit, "x", &i, sizeof(i), &t.err), &t.err, QCBM_E_NOTFOUND, QCBM_NO_OFFSET, "x");
    end(&t);
}

static int count_layers(void *opaque, const struct qcbm_collected *layer)
{
    unsigned *n = opaque;

    assert_true(layer->has);
    assert_int_equal(layer->dirty_bytes, 3072);
    ++*n;
    return 0;
}

static int stop(void *opaque, const struct qcbm_collected *layer)
{
    (void)opaque;
    (void)layer;
    return 1;
}

/* Chains of files are in tests/interop/bitmap_chain.py. */
static void collecting_from_one_layer_is_a_copy(void **state)
{
    struct qcbm_edit_bitmap_info i;
    unsigned n = 0;
    struct test t;

    (void)state;
    start(&t, 0);
    assert_ok(qcbm_edit_collect(t.edit, "f", "new", count_layers, &n, &t.err), &t.err);
    assert_int_equal(n, 1);
    assert_ok(qcbm_edit_look(t.edit, "new", &i, sizeof(i), &t.err), &t.err);
    assert_int_equal(i.dirty_bytes, 3072);
    assert_int_equal(i.granularity, 512);
    assert_true(i.enabled);
    assert_ok(qcbm_edit_collect(t.edit, "f", NULL, NULL, NULL, &t.err), &t.err);
    assert_failure(qcbm_edit_collect(t.edit, "f", "new", NULL, NULL, &t.err), &t.err, QCBM_E_EXISTS, QCBM_NO_OFFSET,
                   "already exists");
    assert_failure(qcbm_edit_collect(t.edit, "u", NULL, NULL, NULL, &t.err), &t.err, QCBM_E_INUSE, QCBM_NO_OFFSET,
                   "--revive");
    assert_failure(qcbm_edit_collect(t.edit, "x", NULL, NULL, NULL, &t.err), &t.err, QCBM_E_NOTFOUND, QCBM_NO_OFFSET,
                   "x");
    assert_failure(qcbm_edit_collect(t.edit, "f", "other", stop, NULL, &t.err), &t.err, QCBM_E_ABORTED, QCBM_NO_OFFSET,
                   "");
    assert_failure(qcbm_edit_look(t.edit, "other", &i, sizeof(i), &t.err), &t.err, QCBM_E_NOTFOUND, QCBM_NO_OFFSET,
                   "other");
    end(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(subtracting_keeps_granules_that_are_covered_in_part),
        cmocka_unit_test(intersecting_keeps_granules_that_are_touched),
        cmocka_unit_test(ranges_round_outward_to_set_and_inward_to_clear),
        cmocka_unit_test(bytes_of_a_partial_sector_belong_to_the_last_granule),
        image_test(other_images_must_have_the_same_size_to_the_byte),
        image_test(what_was_read_with_force_share_is_not_written),
        cmocka_unit_test(bitmaps_in_use_are_refused_on_either_side),
        cmocka_unit_test(names_keep_their_rules),
        cmocka_unit_test(renaming_moves_no_bits),
        cmocka_unit_test(a_look_tells_what_the_edit_has),
        cmocka_unit_test(collecting_from_one_layer_is_a_copy),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
