/* test_repair.c - repairs of bitmaps: what is provable stays, what is not is dirty, a dry run writes nothing
 * SPDX-License-Identifier: MIT */
#include "edit_unit.h"

#include "base/bytes.h"

struct told {
    unsigned n;
    char codes[256], done[512]; /* of all rows, of the last one */
};

static int on_row(void *opaque, const struct qcbm_repair_row *row)
{
    struct told *t = opaque;
    size_t n = strlen(t->codes);

    t->n++;
    snprintf(t->done, sizeof(t->done), "%s", row->done);
    snprintf(t->codes + n, sizeof(t->codes) - n, "%s%s", n ? " " : "", row->code);
    return 0;
}

static struct qcbm_repair_result repair(struct session *s, enum qcbm_repair_level level, unsigned flags,
                                        const char *codes)
{
    struct qcbm_repair_options o = QCBM_REPAIR_OPTIONS_INIT;
    struct qcbm_error err = { 0 };
    struct qcbm_repair_result r;
    struct told told = { 0 };

    o.level = level;
    o.flags = flags;
    o.row = on_row;
    o.opaque = &told;
    assert_ok(qcbm_repair(s->img, &o, &r, sizeof(r), &err), &err);
    assert_string_equal(told.codes, codes);
    assert_int_equal(told.n, r.rows);
    return r;
}

static int add_dirty(void *opaque, const struct qcbm_extent *e)
{
    *(uint64_t *)opaque += e->dirty ? e->length : 0;
    return 0;
}

static uint64_t dirty_bytes(struct session *s, const char *name)
{
    struct qcbm_error err = { 0 };
    uint64_t sum = 0;

    assert_ok(qcbm_bitmap_extents(s->img, name, 0, add_dirty, &sum, &err), &err);
    return sum;
}

static void flags_that_qemu_refuses_cost_no_bit(void **state)
{
    struct image_builder b;
    struct session s;

    (void)state;
    build_abc(&b);
    be32_store(b.bytes + b.bitmaps[0].entry + 12, AUTO | 16);
    session_on(&s, b.bytes, b.len, QCBM_OPEN_WRITE);
    assert_true(repair(&s, QCBM_REPAIR_BITMAPS, QCBM_REPAIR_DRY_RUN, "bitmap-rescued bitmap-revived").writes > 0);
    assert_memory_equal(session_bytes(&s, &b.len), b.bytes, b.len);
    (void)repair(&s, QCBM_REPAIR_BITMAPS, 0, "bitmap-rescued bitmap-revived");
    assert_stored(&s, "a2 b0 c2");
    assert_int_equal(dirty_bytes(&s, "a"), 512);
    assert_int_equal(dirty_bytes(&s, "b"), 4096);
    assert_int_equal(repair(&s, QCBM_REPAIR_BITMAPS, 0, "").writes, 0);
    session_close(&s);
    build_free(&b);
}

static void a_bad_table_entry_is_dirty(void **state)
{
    struct image_builder b;
    struct session s;

    (void)state;
    build_abc(&b);
    be64_store(b.bytes + b.bitmaps[1].table, 0x1001);
    session_on(&s, b.bytes, b.len, QCBM_OPEN_WRITE);
    (void)repair(&s, QCBM_REPAIR_BITMAPS, 0, "bitmap-superset bitmap-revived");
    assert_int_equal(dirty_bytes(&s, "a"), 512);
    assert_int_equal(dirty_bytes(&s, "b"), KIB(64));
    session_close(&s);
    build_free(&b);
}

static void a_bitmap_in_use_has_what_is_allocated(void **state)
{
    struct image_builder b;
    struct session s;

    (void)state;
    build_abc(&b);
    session_on(&s, b.bytes, b.len, QCBM_OPEN_WRITE);
    (void)repair(&s, QCBM_REPAIR_ALL, 0, "bitmap-revived");
    assert_int_equal(dirty_bytes(&s, "c"), 512); /* one cluster of data, at 0 */
    session_close(&s);
    build_free(&b);
}

static void what_has_no_name_is_gone_and_told(void **state)
{
    struct image_builder b;
    struct session s;

    (void)state;
    build_abc(&b);
    memset(b.bytes + b.directory, 0, 512);
    session_on(&s, b.bytes, b.len, QCBM_OPEN_WRITE);
    (void)repair(&s, QCBM_REPAIR_BITMAPS, 0, "bitmap-directory");
    assert_int_equal(bitmap_count(s.img), 0);
    session_close(&s);
    build_free(&b);
}

/* Its size reaches behind all offsets of files: nothing may be counted, or asked for, up to there. */
static void a_directory_of_an_impossible_size_ends(void **state)
{
    static const uint8_t magic[] = { 0x23, 0x85, 0x28, 0x75 };
    struct image_builder b;
    struct session s;
    uint8_t *extension;

    (void)state;
    build_abc(&b);
    extension = memmem(b.bytes, 512, magic, sizeof(magic));
    assert_non_null(extension);
    be32_store(extension + 16, UINT32_MAX); /* the upper half of the size */
    session_on(&s, b.bytes, b.len, QCBM_OPEN_WRITE);
    (void)repair(&s, QCBM_REPAIR_BITMAPS, 0, "bitmap-directory bitmap-revived");
    assert_stored(&s, "a2 b0 c2");
    session_close(&s);
    build_free(&b);
}

/* Then the size is wrong: cut to it, nothing would be left of the bits. */
static void bitmaps_of_a_disk_of_size_0_are_left(void **state)
{
    struct qcbm_repair_options o = QCBM_REPAIR_OPTIONS_INIT;
    struct qcbm_error err = { 0 };
    struct qcbm_repair_result r;
    struct image_builder b;
    struct session s;

    (void)state;
    build_abc(&b);
    be64_store(b.bytes + 24, 0);
    session_on(&s, b.bytes, b.len, QCBM_OPEN_WRITE);
    o.level = QCBM_REPAIR_BITMAPS;
    assert_int_equal(qcbm_repair(s.img, &o, &r, sizeof(r), &err), QCBM_E_UNSAFE);
    assert_memory_equal(session_bytes(&s, &b.len), b.bytes, b.len);
    session_close(&s);
    build_free(&b);
}

/* Force frees no leaks beside clusters that count as free: nobody is told that it would. */
static void leaks_that_force_does_not_free_name_another_way(void **state)
{
    struct qcbm_repair_options o = QCBM_REPAIR_OPTIONS_INIT;
    struct qcbm_error err = { 0 };
    struct qcbm_repair_result r;
    struct told told = { 0 };
    struct build_options opt = { .size = KIB(64) };
    struct image_builder b;
    struct session s;

    (void)state;
    build_start(&b, &opt);
    uint64_t data = build_data(&b, 0);
    build_clusters(&b, 1);
    build_finish(&b);
    build_set_refcount(&b, data, 0);
    session_on(&s, b.bytes, b.len, QCBM_OPEN_WRITE);
    o.level = QCBM_REPAIR_LEAKS;
    o.flags = QCBM_REPAIR_FORCE;
    o.row = on_row;
    o.opaque = &told;
    assert_ok(qcbm_repair(s.img, &o, &r, sizeof(r), &err), &err);
    assert_string_equal(told.codes, "leaks-kept");
    assert_null(strstr(told.done, "--force"));
    assert_non_null(strstr(told.done, "-r all"));
    assert_int_equal(r.writes, 0);
    session_close(&s);
    build_free(&b);
}

struct heard {
    unsigned n; /* wrong COPIED flags */
};

static int on_finding(void *opaque, const struct qcbm_check_finding *f)
{
    ((struct heard *)opaque)->n += f->problem->id == QCBM_PROBLEM_COPIED_L2;
    return 0;
}

/* Repaired are the flags that are told as repaired, left those that are told as left. */
static void expect_copied(struct image_builder *b, unsigned repaired, unsigned left)
{
    struct qcbm_repair_options o = QCBM_REPAIR_OPTIONS_INIT;
    struct qcbm_error err = { 0 };
    struct qcbm_repair_result r;
    struct heard first = { 0 }, heard = { 0 };
    struct session s;

    session_on(&s, b->bytes, b->len, QCBM_OPEN_WRITE);
    o.flags = QCBM_REPAIR_DRY_RUN;
    o.finding = on_finding;
    o.opaque = &first;
    assert_ok(qcbm_repair(s.img, &o, &r, sizeof(r), &err), &err);
    assert_int_equal(first.n, repaired);
    assert_true(r.writes > 0 || repaired == 0);
    o.finding = NULL;
    o.left = on_finding;
    o.opaque = &heard;
    assert_ok(qcbm_repair(s.img, &o, &r, sizeof(r), &err), &err);
    assert_int_equal(heard.n, left);
    session_close(&s);
}

/* A table with an entry that leads nowhere stays as it is, with all its flags. */
static void flags_that_stay_are_told_as_left(void **state)
{
    struct build_options opt = { .size = KIB(64) };
    struct image_builder b;
    uint64_t at, other;

    (void)state;
    build_start(&b, &opt);
    build_data(&b, 0);
    build_data(&b, 512);
    build_data(&b, KIB(32));
    at = build_l2_entry(&b, 0);
    other = build_l2_entry(&b, KIB(32));
    build_finish(&b);
    be64_store(b.bytes + at, be64_load(b.bytes + at) ^ BUILD_COPIED);
    expect_copied(&b, 1, 0);
    be64_store(b.bytes + at + 8, KIB(1024));
    expect_copied(&b, 0, 1);
    be64_store(b.bytes + other, be64_load(b.bytes + other) ^ BUILD_COPIED);
    expect_copied(&b, 0, 1); /* one of two: a row tells of it */
    build_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flags_that_qemu_refuses_cost_no_bit),
        cmocka_unit_test(a_bad_table_entry_is_dirty),
        cmocka_unit_test(a_bitmap_in_use_has_what_is_allocated),
        cmocka_unit_test(what_has_no_name_is_gone_and_told),
        cmocka_unit_test(a_directory_of_an_impossible_size_ends),
        cmocka_unit_test(bitmaps_of_a_disk_of_size_0_are_left),
        cmocka_unit_test(leaks_that_force_does_not_free_name_another_way),
        cmocka_unit_test(flags_that_stay_are_told_as_left),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
