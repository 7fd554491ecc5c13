/* test_repair_marked.c - bits of ranges that are given up are stored before the range changes
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "base/bytes.h"

struct steps {
    uint32_t bits, table, entry; /* stages, counted from 1; 0: not there */
};

static int on_step(void *opaque, const struct qcbm_plan_step *step)
{
    struct steps *s = opaque;

    if (strcmp(step->what, "bitmap data") == 0 && !s->bits)
        s->bits = step->stage + 1;
    if (strcmp(step->what, "bitmap table entry") == 0)
        s->table = step->stage + 1;
    if (strcmp(step->what, "L2 table") == 0 && !s->entry)
        s->entry = step->stage + 1;
    return 0;
}

/* An entry of guest cluster 2 leads nowhere; the bitmap has bits of its own (@stored), or none at all. */
static struct steps give_up(bool stored)
{
    struct build_options opt = { .size = KIB(64) };
    struct qcbm_repair_options o = QCBM_REPAIR_OPTIONS_INIT;
    struct qcbm_repair_result r;
    struct qcbm_error err = { 0 };
    struct steps steps = { 0 };
    struct image_builder b;
    struct session s;
    uint64_t data = 0;

    build_start(&b, &opt);
    build_data(&b, 0);
    build_map(&b, 1024, BUILD_COPIED | MIB(1), 0);
    if (stored)
        data = build_clusters(&b, 1);
    if (stored)
        b.bytes[data] = 0x80;
    build_bitmap(&b, "a", 9, 2, &data, 1);
    build_finish(&b);
    session_open(&s, &b);
    o.flags = QCBM_REPAIR_FORCE;
    o.step = on_step;
    o.opaque = &steps;
    assert_ok(qcbm_repair(s.img, &o, &r, sizeof(r), &err), &err);
    session_close(&s);
    build_free(&b);
    return steps;
}

static void bits_in_place(void **state)
{
    struct steps s = give_up(true);

    (void)state;
    assert_true(s.bits && s.entry && s.bits < s.entry);
    assert_int_equal(s.table, 0);
}

static void bits_where_there_were_none(void **state)
{
    struct steps s = give_up(false);

    (void)state;
    assert_true(s.bits && s.table && s.entry);
    assert_true(s.bits < s.table && s.table < s.entry);
}

static int add_dirty(void *opaque, const struct qcbm_extent *e)
{
    *(uint64_t *)opaque += e->dirty ? e->length : 0;
    return 0;
}

/* Zeros in a table that something was written over are no less of it than the rest: they said something else before. */
static void all_of_an_overwritten_table(void **state)
{
    struct build_options opt = { .size = KIB(64) };
    struct qcbm_repair_options o = QCBM_REPAIR_OPTIONS_INIT;
    struct qcbm_repair_result r;
    struct qcbm_error err = { 0 };
    uint64_t at, dirty = 0;
    struct image_builder b;
    struct session s;

    (void)state;
    build_start(&b, &opt);
    build_data(&b, 0);
    build_data(&b, KIB(31)); /* whose entry is the one of zeros now */
    at = build_l2_entry(&b, 0);
    build_bitmap(&b, "a", 9, 2, NULL, 0);
    build_finish(&b);
    memset(b.bytes + at, 0xfa, 8 * 48);
    memset(b.bytes + at + 8 * 48, 0, 8 * 16);
    session_open(&s, &b);
    o.flags = QCBM_REPAIR_FORCE;
    assert_ok(qcbm_repair(s.img, &o, &r, sizeof(r), &err), &err);
    assert_ok(qcbm_bitmap_extents(s.img, "a", 0, add_dirty, &dirty, &err), &err);
    assert_int_equal(dirty, KIB(32));
    session_close(&s);
    build_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bits_in_place),
        cmocka_unit_test(bits_where_there_were_none),
        cmocka_unit_test(all_of_an_overwritten_table),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
