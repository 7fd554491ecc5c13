/* test_bitmap_ext.c - the bitmaps extension put into every layout of the first cluster, switched, taken out
 * SPDX-License-Identifier: MIT
 *
 * Each plan is carried out sector by sector: within a stage in every order that a disk may choose, torn writes
 * included. In every state the header must parse, name the same backing file and foreign extensions, and show the
 * bitmaps of before or after, or none where there were none. */
#include "bitmap_ext_unit.h"

/* ---- every state on the way ---- */

static unsigned allowed_on_set(const struct layout *l)
{
    if (l->bitmap && !l->opt.stale_bitmaps)
        return 1u << VIEW_OLD | 1u << VIEW_NEW;
    return 1u << VIEW_STALE | 1u << VIEW_NEW | (l->bitmap ? 0 : 1u << VIEW_NONE);
}

static void check_set(const struct layout *l, struct shown *after)
{
    struct image_builder b;
    struct qcbmi_plan plan;
    struct qcbm_error err = { 0 };
    struct qcbm_image *img;
    struct q2_header h;
    int ret;

    build(&b, l);
    img = build_open(&b, QCBM_OPEN_WRITE);
    start_plan(&plan, img);
    ret = qcbmi_ext_plan_set(img, &plan, 0, &new_ext, &err);
    if (ret != l->code)
        fail_msg("END at %llu: got %d: %s", (unsigned long long)b.end_ext, ret, err.message);
    if (ret == 0) {
        run_plan(&plan, b.bytes, b.cluster_size, allowed_on_set(l), VIEW_NEW);
        show(b.bytes, b.cluster_size, after, &h);
        assert_int_equal(after->at, l->at);
        assert_int_equal(after->n_bitmap_exts, 1);
        assert_true(l->straddles || (after->at % SECTOR <= SECTOR - 8 && (after->at + 8) % SECTOR <= SECTOR - 24));
        assert_int_equal(stages_with_writes(&plan), l->n_stages);
        q2_extensions_free(&after->exts);
    } else {
        assert_int_equal(err.code, l->code);
        assert_true(err.message[0] != '\0');
    }
    qcbmi_plan_free(&plan);
    qcbm_close(img);
    build_free(&b);
}

static void check_all(const struct layout *layouts, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct shown after;

        check_set(&layouts[i], &after);
    }
}

#define LONG_NAME_16 "0123456789abcdef"
#define LONG_NAME_64 LONG_NAME_16 LONG_NAME_16 LONG_NAME_16 LONG_NAME_16
#define LONG_NAME_368 LONG_NAME_256 LONG_NAME_64 LONG_NAME_16 LONG_NAME_16 LONG_NAME_16
#define LONG_NAME_256 LONG_NAME_64 LONG_NAME_64 LONG_NAME_64 LONG_NAME_64

/* The extension goes where END stands: at 112 + 8 + the data of the foreign extension in front. */
static void room_behind_the_last_extension(void **state)
{
    static const struct layout layouts[] = {
        { .opt = { .size = 65536 }, .at = 112, .n_stages = 2 },
        { .opt = { .size = 65536, .header_length = 104 }, .at = 104, .n_stages = 2 },
        { .opt = { .size = 65536, .cluster_bits = 12 }, .at = 112, .n_stages = 2 },
        /* as QEMU makes it: END at 504, the payload in the second sector */
        { .opt = { .size = 65536, .cluster_bits = 16 }, .front = 385, .at = 504, .n_stages = 2 },
        /* END in the second sector: the extension first, then the bit */
        { .opt = { .size = 65536, .cluster_bits = 16 }, .front = 401, .at = 520, .n_stages = 3 },
        { .opt = { .size = 65536, .cluster_bits = 16, .backing = "b", .backing_at = 4096 }, .at = 112, .n_stages = 2 },
        { .opt = { .size = 65536, .cluster_bits = 12, .data_file = "d", .raw_data_file = true },
          .at = 128,
          .n_stages = 2 },
        { .opt = { .size = 65536, .autoclear = 1u << 5 }, .at = 112, .n_stages = 2 },
    };

    (void)state;
    check_all(layouts, ARRAY_LEN(layouts));
}

/* A payload at 496 or 504 of a sector would straddle: a padding extension of 8 or 16 bytes stands in front. */
static void the_payload_never_straddles_a_sector(void **state)
{
    static const struct layout layouts[] = {
        { .opt = { .size = 65536, .cluster_bits = 12 }, .front = 361, .at = 480, .n_stages = 2 },
        { .opt = { .size = 65536, .cluster_bits = 12 }, .front = 369, .at = 504, .n_stages = 2 },
        { .opt = { .size = 65536, .cluster_bits = 12 }, .front = 377, .at = 504, .n_stages = 2 },
        { .opt = { .size = 65536, .cluster_bits = 12 }, .front = 385, .at = 504, .n_stages = 2 },
        { .opt = { .size = 65536, .cluster_bits = 12 }, .front = 393, .at = 512, .n_stages = 3 },
    };
    static const unsigned paddings[] = { 0, 1, 1, 0, 0 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(layouts); i++) {
        struct shown after;

        check_set(&layouts[i], &after);
        assert_int_equal(after.n_paddings, paddings[i]);
    }
}

static void a_name_in_the_way_moves_first(void **state)
{
    static const struct layout layouts[] = {
        /* all in the first sector: one write does everything */
        { .opt = { .size = 65536, .backing = "base" }, .at = 112, .n_stages = 1 },
        { .opt = { .size = 65536, .cluster_bits = 16, .backing = "base", .backing_format = "raw" },
          .at = 128,
          .n_stages = 1 },
        /* the new place of the name would end past the sector */
        { .opt = { .size = 65536, .cluster_bits = 12, .backing = LONG_NAME_368 }, .at = 112, .n_stages = 3 },
        /* no room from the next sector on, but right behind the name, which does not end at a multiple of 8 */
        { .opt = { .size = 65536, .cluster_bits = 10, .backing = LONG_NAME_368 LONG_NAME_64 "abc" },
          .at = 112,
          .n_stages = 3 },
        /* as QEMU makes an overlay: END at 520, name at 528 */
        { .opt = { .size = 65536, .cluster_bits = 16, .backing = "base.qcow2", .backing_format = "qcow2" },
          .front = 385,
          .at = 520,
          .n_stages = 4 },
        /* END and the payload in two sectors */
        { .opt = { .size = 65536, .cluster_bits = 16, .backing = "base.qcow2" },
          .front = 385,
          .at = 504,
          .n_stages = 4 },
        /* the name stands close behind, not at END */
        { .opt = { .size = 65536, .cluster_bits = 12, .backing = LONG_NAME_368, .backing_at = 144 },
          .at = 112,
          .n_stages = 3 },
        /* a name of no bytes */
        { .opt = { .size = 65536, .cluster_bits = 12, .backing = "" }, .at = 112, .n_stages = 1 },
    };

    (void)state;
    check_all(layouts, ARRAY_LEN(layouts));
}

static void without_room_nothing_is_planned(void **state)
{
    static const struct layout layouts[] = {
        /* the cluster is full */
        { .opt = { .size = 65536 }, .front = 361, .code = QCBM_E_NOSPACE },
        { .opt = { .size = 65536 }, .front = 385, .code = QCBM_E_NOSPACE },
        /* the name cannot be copied: it fills what is left */
        { .opt = { .size = 65536, .backing = LONG_NAME_368 }, .code = QCBM_E_NOSPACE },
        { .opt = { .size = 65536, .backing = LONG_NAME_368, .backing_at = 144 }, .code = QCBM_E_NOSPACE },
        /* there is room for a copy, but over the name itself */
        { .opt = { .size = 65536, .cluster_bits = 10, .backing = LONG_NAME_368 LONG_NAME_256, .backing_at = 144 },
          .code = QCBM_E_NOSPACE },
        /* a header of 104 bytes leaves room, the one of 112 that QEMU writes does not */
        { .opt = { .size = 65536, .header_length = 104 }, .front = 361, .code = QCBM_E_NOSPACE },
        /* no END: the extensions fill their area */
        { .opt = { .size = 65536, .cluster_bits = 12, .backing = "base", .no_end = true },
          .front = 9,
          .code = QCBM_E_NOSPACE },
        /* a name inside the header: no area at all */
        { .opt = { .size = 65536, .cluster_bits = 12, .backing = "b", .backing_at = 106 }, .code = QCBM_E_NOSPACE },
        /* a payload that straddles, and nowhere to go */
        { .opt = { .size = 65536, .cluster_bits = 12, .backing = "base", .no_end = true },
          .front = 369,
          .bitmap = true,
          .code = QCBM_E_NOSPACE },
        /* nothing behind such a header would be aligned */
        { .opt = { .size = 65536, .header_length = 108 }, .code = QCBM_E_UNSUPPORTED },
    };

    (void)state;
    check_all(layouts, ARRAY_LEN(layouts));
}

static void an_extension_that_is_there_is_switched_by_one_write(void **state)
{
    static const struct layout layouts[] = {
        { .opt = { .size = 65536 }, .bitmap = true, .at = 112, .n_stages = 1 },
        { .opt = { .size = 65536, .backing = "base" }, .bitmap = true, .at = 112, .n_stages = 1 },
        { .opt = { .size = 65536, .cluster_bits = 12 }, .front = 385, .bitmap = true, .at = 504, .n_stages = 1 },
        { .opt = { .size = 65536, .cluster_bits = 12 }, .bitmap = true, .behind = 33, .at = 112, .n_stages = 1 },
        /* no END, no room, and none is needed */
        { .opt = { .size = 65536, .cluster_bits = 12, .backing = "base", .no_end = true },
          .bitmap = true,
          .at = 112,
          .n_stages = 1 },
    };

    (void)state;
    check_all(layouts, ARRAY_LEN(layouts));
}

static void of_two_instances_the_unused_one_becomes_padding(void **state)
{
    static const struct layout layouts[] = {
        { .opt = { .size = 65536 }, .twice = true, .bitmap = true, .at = 144, .n_stages = 2 },
        { .opt = { .size = 65536, .cluster_bits = 12 },
          .front = 1,
          .twice = true,
          .bitmap = true,
          .behind = 1,
          .at = 152,
          .n_stages = 2 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(layouts); i++) {
        struct shown after;

        check_set(&layouts[i], &after);
        assert_int_equal(after.n_paddings, 1);
    }
}

static void a_live_payload_that_straddles_gets_a_second_place(void **state)
{
    static const struct layout layouts[] = {
        { .opt = { .size = 65536, .cluster_bits = 12 }, .front = 369, .bitmap = true, .at = 520, .n_stages = 4 },
        { .opt = { .size = 65536, .cluster_bits = 12 }, .front = 377, .bitmap = true, .at = 528, .n_stages = 4 },
        { .opt = { .size = 65536, .cluster_bits = 12 },
          .front = 377,
          .bitmap = true,
          .behind = 17,
          .at = 552,
          .n_stages = 4 },
        /* with the name in the way of the second place */
        { .opt = { .size = 65536, .cluster_bits = 12, .backing = "base" },
          .front = 369,
          .bitmap = true,
          .at = 520,
          .n_stages = 5 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(layouts); i++) {
        struct shown after;

        check_set(&layouts[i], &after);
        assert_int_equal(after.n_paddings, 1);
    }
}

static void a_stale_extension_is_written_then_believed(void **state)
{
    static const struct layout layouts[] = {
        { .opt = { .size = 65536, .stale_bitmaps = true }, .bitmap = true, .at = 112, .n_stages = 1 },
        { .opt = { .size = 65536, .stale_bitmaps = true, .cluster_bits = 12 },
          .front = 385,
          .bitmap = true,
          .at = 504,
          .n_stages = 2 },
        { .opt = { .size = 65536, .stale_bitmaps = true, .cluster_bits = 12 },
          .front = 369,
          .bitmap = true,
          .straddles = true,
          .at = 488,
          .n_stages = 2 },
        { .opt = { .size = 65536, .stale_bitmaps = true, .backing = "base" },
          .bitmap = true,
          .behind = 9,
          .at = 112,
          .n_stages = 1 },
    };

    (void)state;
    check_all(layouts, ARRAY_LEN(layouts));
}

static void padding_of_the_right_size_is_used_again(void **state)
{
    static const struct layout layouts[] = {
        { .opt = { .size = 65536 }, .padding = true, .at = 112, .n_stages = 2 },
        { .opt = { .size = 65536, .cluster_bits = 12, .backing = "base" },
          .padding = true,
          .behind = 100,
          .at = 112,
          .n_stages = 2 },
        { .opt = { .size = 65536, .cluster_bits = 12 }, .front = 393, .padding = true, .at = 512, .n_stages = 3 },
        /* its payload would straddle: a new place behind it */
        { .opt = { .size = 65536, .cluster_bits = 12 }, .front = 369, .padding = true, .at = 520, .n_stages = 3 },
    };

    (void)state;
    check_all(layouts, ARRAY_LEN(layouts));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(room_behind_the_last_extension),
        cmocka_unit_test(the_payload_never_straddles_a_sector),
        cmocka_unit_test(a_name_in_the_way_moves_first),
        cmocka_unit_test(without_room_nothing_is_planned),
        cmocka_unit_test(an_extension_that_is_there_is_switched_by_one_write),
        cmocka_unit_test(of_two_instances_the_unused_one_becomes_padding),
        cmocka_unit_test(a_live_payload_that_straddles_gets_a_second_place),
        cmocka_unit_test(a_stale_extension_is_written_then_believed),
        cmocka_unit_test(padding_of_the_right_size_is_used_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
