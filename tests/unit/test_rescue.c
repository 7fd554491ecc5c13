/* test_rescue.c - what becomes of images that lost tables: each kind of evidence, and what is no evidence
 * SPDX-License-Identifier: MIT */
#include "rescue_unit.h"

#include <sys/stat.h>

#define SPAN KIB(32) /* below an L2 table of 512 bytes */

static void start(struct image_builder *b, uint64_t size)
{
    build_start(b, &(struct build_options){ .size = size });
}

static void a_sound_image_is_proven_and_the_same(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct qcbm_image *img;
    struct rescued r;

    start(b, 3 * SPAN);
    build_filled(b, 0, 0x11);
    build_filled(b, SPAN + 512, 0x22);
    build_map(b, 1024, BUILD_ZERO, 0);
    build_bitmap(b, "b", 9, 2, NULL, 0);
    build_finish(b);
    assert_rescue(&r, b, "0-98304 100 tables");
    assert_int_equal(r.result.bitmaps_kept, 1);
    img = open_rescued(&r);
    assert_guest_byte(img, 0, 0x11);
    assert_guest_byte(img, SPAN + 512, 0x22);
    assert_dirty(img, "b", "");
    qcbm_close(img);
    free_rescued(&r);
}

static void one_table_goes_to_the_only_place(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct qcbm_image *img;
    struct rescued r;

    start(b, SPAN);
    build_filled(b, 1024, 0x33);
    build_finish(b);
    memset(b->bytes + b->l1, 0, 512);
    assert_rescue(&r, b, "0-1024 95 only-place; 1024-1536 95 only-place; 1536-32768 95 only-place");
    assert_int_equal(r.result.tables_placed, 1);
    img = open_rescued(&r);
    assert_guest_byte(img, 1024, 0x33);
    qcbm_close(img);
    free_rescued(&r);
}

/* Likely, and no more: see test_rescue_proof.c. */
static void a_snapshot_tells_the_place(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct rescued r;

    start(b, 3 * SPAN);
    build_filled(b, SPAN, 0x44);
    build_snapshot(b, "1", "s");
    build_finish(b);
    memset(b->bytes + b->l1, 0, 512);
    assert_rescue(&r, b,
                  "0-32768 80 if-right; 32768-33280 80 snapshot; 33280-65536 80 snapshot; 65536-98304 80 if-right");
    assert_int_equal(r.result.snapshots, 1);
    free_rescued(&r);
}

/* The reference that is left over may be that of the snapshot whose table is zeros. */
static void a_snapshot_that_lost_its_table_proves_nothing(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_snapshot *lost;
    struct rescued r;

    start(b, 3 * SPAN);
    build_filled(b, SPAN, 0x44);
    build_snapshot(b, "1", "s");
    lost = build_snapshot(b, "2", "t");
    build_finish(b);
    memset(b->bytes + b->l1, 0, 512);
    memset(b->bytes + lost->l1, 0, 512);
    rescue_bytes(&r, b->bytes, b->len, 0);
    assert_ok(r.ret, &r.err);
    assert_int_equal(r.result.proven, 0);
    free_rescued(&r);
}

/* Two tables and three places. */
static void without_evidence_nothing_is_guessed(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct qcbm_image *img;
    struct rescued r;

    start(b, 3 * SPAN);
    build_filled(b, 0, 0x55);
    build_filled(b, SPAN + 1024, 0x66);
    build_finish(b);
    memset(b->bytes + b->l1, 0, 512);
    assert_rescue(&r, b, "0-98304 0 zeroed");
    assert_int_equal(r.result.tables_unplaced, 2);
    img = open_rescued(&r);
    assert_guest_byte(img, 0, 0);
    qcbm_close(img);
    free_rescued(&r);
}

/* The bitmap has the pattern of each once. */
static void a_bitmap_tells_places_apart(void **state)
{
    const uint64_t guests[] = { 0, 2048, SPAN + 1024, SPAN + 4096, SPAN + 8192 };
    struct image_builder *b = bench_builder(state);
    struct rescued r;
    uint64_t bits;

    start(b, 4 * SPAN);
    for (size_t i = 0; i < ARRAY_LEN(guests); i++)
        build_filled(b, guests[i], (uint8_t)(i + 1));
    bits = build_clusters(b, 1);
    for (size_t i = 0; i < ARRAY_LEN(guests); i++)
        b->bytes[bits + guests[i] / 4096] |= (uint8_t)(1u << guests[i] / 512 % 8);
    build_bitmap(b, "b", 9, 2, &bits, 1);
    build_finish(b);
    memset(b->bytes + b->l1, 0, 512);
    rescue_bytes(&r, b->bytes, b->len, 0);
    assert_ok(r.ret, &r.err);
    assert_non_null(strstr(r.ranges, "41472-65536 88 bitmap; 65536-131072 88 if-right"));
    assert_int_equal(r.result.tables_placed, 2);
    free_rescued(&r);
}

/* What was written since is gone, and told. */
static void a_zeroed_table_is_put_together_from_a_snapshot(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct qcbm_image *img;
    struct rescued r;
    uint64_t at;

    start(b, SPAN);
    build_filled(b, 0, 0x77);
    build_filled(b, 512, 0x78);
    build_snapshot(b, "1", "s");
    build_filled(b, 1024, 0x79);
    at = build_l2_entry(b, 0);
    build_finish(b);
    memset(b->bytes + at, 0, 512);
    rescue_bytes(&r, b->bytes, b->len, 0);
    assert_ok(r.ret, &r.err);
    assert_int_equal(strncmp(r.ranges, "0-1024 80 snapshot; ", 20), 0);
    assert_int_equal(r.result.proven, 0);
    img = open_rescued(&r);
    assert_guest_byte(img, 0, 0x77);
    assert_guest_byte(img, 512, 0x78);
    qcbm_close(img);
    free_rescued(&r);
}

static void damaged_entries_are_unknown_and_those_beside_them_likely(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct rescued r;

    start(b, 2048);
    for (unsigned i = 0; i < 4; i++)
        build_filled(b, 512 * i, (uint8_t)i);
    build_map(b, 1024, 3, 0);
    build_finish(b);
    assert_rescue(&r, b, "0-1024 70 salvaged; 1024-1536 0 bad-entry; 1536-2048 70 salvaged");
    free_rescued(&r);
}

static void a_cluster_that_two_entries_name_is_in_doubt(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct rescued r;
    uint64_t at;

    start(b, 2048);
    at = build_filled(b, 0, 1);
    build_filled(b, 512, 2);
    build_map(b, 1024, at | BUILD_COPIED, 0);
    build_finish(b);
    build_set_refcount(b, at, 1);
    assert_rescue(&r, b,
                  "0-512 50 named-twice; 512-1024 100 tables; 1024-1536 50 named-twice; 1536-2048 80 no-refcounts");
    free_rescued(&r);
}

static void a_lost_header_is_found_again(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct qcbm_image *img;
    struct rescued r;

    start(b, 3 * SPAN);
    build_filled(b, 0, 0x11);
    build_filled(b, 2 * SPAN + 512, 0x22);
    build_finish(b);
    memset(b->bytes, 0xff, 512);
    rescue_bytes(&r, b->bytes, b->len, 3 * SPAN);
    assert_ok(r.ret, &r.err);
    assert_true(r.result.header_lost && r.result.size_proven && r.result.backing_unknown);
    assert_string_equal(r.ranges, "0-512 100 tables; 512-66048 0 backing-lost; 66048-66560 100 tables; "
                                  "66560-98304 0 backing-lost");
    img = open_rescued(&r);
    assert_guest_byte(img, 2 * SPAN + 512, 0x22);
    qcbm_close(img);
    free_rescued(&r);
    rescue_bytes(&r, b->bytes, b->len, 0);
    assert_ok(r.ret, &r.err);
    assert_false(r.result.size_proven);
    free_rescued(&r);
}

static void what_is_no_image_is_refused(void **state)
{
    uint8_t bytes[8192] = { 1, 2, 3 };
    struct rescued r;

    (void)state;
    rescue_bytes(&r, bytes, sizeof(bytes), 0);
    assert_failure(r.ret, &r.err, QCBM_E_NOT_QCOW2, QCBM_NO_OFFSET, "no refcount table");
    free_rescued(&r);
}

static void a_data_file_is_refused_with_the_way_out(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct rescued r;

    build_start(b, &(struct build_options){ .size = SPAN, .data_file = "d" });
    build_finish(b);
    rescue_bytes(&r, b->bytes, b->len, 0);
    assert_failure(r.ret, &r.err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET, "as a raw image");
    free_rescued(&r);
}

/* ---- files ---- */

static bool is_there(const char *path)
{
    struct stat st;

    return lstat(path, &st) == 0;
}

static void the_new_file_is_whole_or_not_there(void **state)
{
    struct image_builder *b = bench_builder(state);
    const struct temp_dir *dir = bench_dir(state);
    struct qcbm_rescue_options o = QCBM_RESCUE_OPTIONS_INIT;
    struct qcbm_error err = { 0 };
    char old[512], new[512], temporary[512];

    snprintf(old, sizeof(old), "%s/old", dir->path);
    snprintf(new, sizeof(new), "%s/new", dir->path);
    snprintf(temporary, sizeof(temporary), "%s/new.qcbm-new", dir->path);
    start(b, SPAN);
    build_filled(b, 0, 1);
    build_finish(b);
    build_write_file(b, old);
    assert_ok(qcbm_rescue(old, NULL, NULL, NULL, 0, &err), &err);
    assert_false(is_there(new));
    o.cluster_size = 1000;
    assert_int_equal(qcbm_rescue(old, new, &o, NULL, 0, &err), QCBM_E_ARG);
    assert_false(is_there(new) || is_there(temporary));
    assert_ok(qcbm_rescue(old, new, NULL, NULL, 0, &err), &err);
    assert_true(is_there(new) && !is_there(temporary));
    assert_failure(qcbm_rescue(old, new, NULL, NULL, 0, &err), &err, QCBM_E_EXISTS, QCBM_NO_OFFSET,
                   "is not overwritten");
    assert_false(is_there(temporary));
}

static int stop(void *opaque, const struct qcbm_rescue_range *range)
{
    (void)range;
    return opaque != NULL;
}

static void a_caller_can_stop_it_and_nothing_is_left(void **state)
{
    struct image_builder *b = bench_builder(state);
    const struct temp_dir *dir = bench_dir(state);
    struct qcbm_rescue_options o = QCBM_RESCUE_OPTIONS_INIT;
    struct qcbm_error err = { 0 };
    char old[512], new[512], temporary[512];

    snprintf(old, sizeof(old), "%s/old", dir->path);
    snprintf(new, sizeof(new), "%s/new", dir->path);
    snprintf(temporary, sizeof(temporary), "%s/new.qcbm-new", dir->path);
    start(b, SPAN);
    build_finish(b);
    build_write_file(b, old);
    o.range = stop;
    o.opaque = &o;
    assert_int_equal(qcbm_rescue(old, new, &o, NULL, 0, &err), QCBM_E_ABORTED);
    assert_false(is_there(new) || is_there(temporary));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(a_sound_image_is_proven_and_the_same),
        image_test(one_table_goes_to_the_only_place),
        image_test(a_snapshot_tells_the_place),
        image_test(a_snapshot_that_lost_its_table_proves_nothing),
        image_test(without_evidence_nothing_is_guessed),
        image_test(a_bitmap_tells_places_apart),
        image_test(a_zeroed_table_is_put_together_from_a_snapshot),
        image_test(damaged_entries_are_unknown_and_those_beside_them_likely),
        image_test(a_cluster_that_two_entries_name_is_in_doubt),
        image_test(a_lost_header_is_found_again),
        cmocka_unit_test(what_is_no_image_is_refused),
        image_test(a_data_file_is_refused_with_the_way_out),
        image_test(the_new_file_is_whole_or_not_there),
        image_test(a_caller_can_stop_it_and_nothing_is_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
