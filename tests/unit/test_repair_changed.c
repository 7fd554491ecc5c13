/* test_repair_changed.c - ranges that a repair changes are dirty in every bitmap that can be relied on
 * SPDX-License-Identifier: MIT */
#include "edit_unit.h"

#include "bitmap/bitmap_edit.h"
#include "repair/repair_changed.h"

static int count_row(void *opaque, const struct qcbm_repair_row *row)
{
    *(unsigned *)opaque += strcmp(row->code, "bitmaps-marked") == 0;
    return 0;
}

static uint64_t dirty_of(const struct qcbm_edit *edit, const char *name)
{
    struct qcbmi_dirtymap map = { 0 };
    uint64_t bytes;

    assert_int_equal(qcbmi_edit_copy_bits(edit, qcbmi_edit_list_find(&edit->list, name), &map, NULL), 0);
    bytes = qcbmi_dirtymap_dirty_bytes(&map);
    qcbmi_dirtymap_free(&map);
    return bytes;
}

/* "a" has 512 bytes dirty at 1536, "b" 4096 at 8192, "c" is in use. */
static void expect_marked(uint64_t start, uint64_t len, uint64_t a, uint64_t b, unsigned rows)
{
    struct qcbmi_repair r = { .o = QCBM_REPAIR_OPTIONS_INIT };
    struct image_builder built;
    struct qcbm_edit *edit;
    struct session s;
    unsigned told = 0;

    build_abc(&built);
    session_open(&s, &built);
    r.img = r.work = s.img;
    r.o.row = count_row;
    r.o.opaque = &told;
    edit = begin(&s);
    assert_int_equal(qcbmi_repair_note_changed(&r, start, len, NULL), 0);
    assert_int_equal(qcbmi_repair_mark_changed(&r, edit, NULL), 0);
    assert_int_equal(qcbmi_repair_mark_changed(&r, edit, NULL), 0); /* told once */
    assert_int_equal(qcbmi_repair_tell_all(&r, NULL), 0);
    assert_int_equal(dirty_of(edit, "a"), a);
    assert_int_equal(dirty_of(edit, "b"), b);
    assert_int_equal(dirty_of(edit, "c"), 0);
    assert_int_equal(told, rows);
    qcbm_edit_free(edit);
    qcbmi_dirtymap_free(&r.changed);
    session_close(&s);
    build_free(&built);
}

static void granules_of_the_range_are_dirty(void **state)
{
    (void)state;
    expect_marked(0, 512, 1024, 8192, 1);
    expect_marked(511, 2, 1536, 8192, 1);
    expect_marked(1536, 512, 512, 8192, 1);
    expect_marked(8192, 1, 1024, 4096, 1);
}

static void what_lies_behind_the_disk_is_left_out(void **state)
{
    (void)state;
    expect_marked(KIB(64), 512, 512, 4096, 0);
    expect_marked(KIB(63), UINT64_MAX - KIB(63), 512 + KIB(1), 8192, 1);
    expect_marked(0, 0, 512, 4096, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(granules_of_the_range_are_dirty),
        cmocka_unit_test(what_lies_behind_the_disk_is_left_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
