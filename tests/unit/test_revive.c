/* test_revive.c - bitmaps in use made ones that can be relied on: the claim, and what speaks against it
 * SPDX-License-Identifier: MIT */
#include "edit_unit.h"

#include "base/bytes.h"

#define PAST_THE_END (BUILD_COPIED | UINT64_C(1) << 40)

struct told {
    unsigned n;
    struct qcbm_revived r;
    char why[1400];
};

static int on_revived(void *opaque, const struct qcbm_revived *r)
{
    struct told *t = opaque;

    t->n++;
    t->r = *r;
    snprintf(t->why, sizeof(t->why), "%s", r->why);
    return 0;
}

/* "u" is in use, 512 per bit, with the bit of the last 512 bytes; data at 0. @leaked clusters belong to nobody. */
static void build_in_use(struct image_builder *b, uint64_t leaked)
{
    struct build_options opt = { .size = KIB(64) };
    uint64_t bits;

    build_start(b, &opt);
    build_data(b, 0);
    bits = build_clusters(b, 1);
    b->bytes[bits + 15] = 0x80;
    build_bitmap(b, "u", 9, IN_USE, &bits, 1);
    if (leaked)
        build_clusters(b, leaked);
    build_finish(b);
}

static struct told revive(const struct image_builder *b, unsigned flags)
{
    struct told told = { 0 };
    struct qcbm_error err = { 0 };
    struct qcbm_edit *edit;
    struct session s;

    session_open(&s, b);
    edit = begin(&s);
    assert_ok(qcbm_edit_revive(edit, "u", flags, on_revived, &told, &err), &err);
    assert_int_equal(told.n, 1);
    qcbm_edit_free(edit);
    session_close(&s);
    return told;
}

static void assert_all(const struct image_builder *b, const char *why)
{
    struct told told = revive(b, 0);

    assert_int_equal(told.r.claim, QCBM_REVIVED_ALL);
    assert_int_equal(told.r.dirty_bytes, KIB(64));
    if (!strstr(told.why, why))
        fail_msg("\"%s\" is not in: %s", why, told.why);
}

static void what_was_stored_and_what_is_allocated(void **state)
{
    struct image_builder b;
    struct told told;

    (void)state;
    build_in_use(&b, 15); /* as many as an ordinary crash leaves */
    told = revive(&b, 0);
    assert_int_equal(told.r.claim, QCBM_REVIVED_UNION);
    assert_int_equal(told.r.stored_bytes, 512);
    assert_int_equal(told.r.allocated_bytes, 512);
    assert_int_equal(told.r.dirty_bytes, 1024);
    assert_true(told.r.enabled);
    told = revive(&b, QCBM_REVIVE_TRUST);
    assert_int_equal(told.r.claim, QCBM_REVIVED_TRUSTED);
    assert_int_equal(told.r.dirty_bytes, 512);
    assert_false(told.r.enabled);
    build_free(&b);
}

static void a_trusted_one_is_consistent_for_what_follows(void **state)
{
    struct qcbm_error err = { 0 };
    struct image_builder b;
    struct told told = { 0 };
    struct qcbm_edit *edit;
    struct session s;

    (void)state;
    build_in_use(&b, 0);
    session_open(&s, &b);
    edit = begin(&s);
    assert_ok(qcbm_edit_add(edit, "v", 512, 0, &err), &err);
    assert_int_equal(qcbm_edit_merge(edit, "v", NULL, "u", &err), QCBM_E_INUSE);
    assert_ok(qcbm_edit_revive(edit, "u", QCBM_REVIVE_TRUST, on_revived, &told, &err), &err);
    assert_ok(qcbm_edit_merge(edit, "v", NULL, "u", &err), &err);
    qcbm_edit_free(edit);
    session_close(&s);
    build_free(&b);
}

static void many_leaks_may_be_a_lost_table(void **state)
{
    struct image_builder b;

    (void)state;
    build_in_use(&b, 16);
    assert_all(&b, "a mapping table may be lost, and guest data with it: 16 leaked clusters");
    build_free(&b);
}

static void a_table_among_the_leaks_is_lost(void **state)
{
    struct image_builder b;
    uint64_t leaked;

    (void)state;
    build_in_use(&b, 3);
    leaked = b.directory - 3 * b.cluster_size;
    be64_store(b.bytes + leaked, BUILD_COPIED | (leaked + b.cluster_size));
    assert_all(&b, "a mapping table is lost");
    build_free(&b);
}

static void an_entry_that_leads_nowhere(void **state)
{
    struct image_builder b;

    (void)state;
    build_in_use(&b, 0);
    be64_store(b.bytes + (be64_load(b.bytes + b.l1) & ~BUILD_COPIED) + 8, PAST_THE_END);
    assert_all(&b, "1 entries of mapping tables are damaged");
    build_free(&b);
    build_in_use(&b, 0);
    be64_store(b.bytes + b.l1 + 8, PAST_THE_END);
    assert_all(&b, "1 entries of mapping tables are damaged");
    build_free(&b);
}

static void refcounts_that_are_too_low_are_no_reason(void **state)
{
    struct image_builder b;

    (void)state;
    build_in_use(&b, 0);
    memset(b.bytes + b.refblock + 6, 0, 4); /* the L1 table and the L2 table */
    assert_int_equal(revive(&b, 0).r.claim, QCBM_REVIVED_UNION);
    build_free(&b);
}

static void stored_bits_that_cannot_be_read(void **state)
{
    struct image_builder b;

    (void)state;
    build_in_use(&b, 0);
    be64_store(b.bytes + b.bitmaps[0].table, 0x1001);
    assert_all(&b, "what was stored of it cannot be read");
    build_free(&b);
}

static int add_dirty(void *opaque, const struct qcbm_extent *e)
{
    *(uint64_t *)opaque += e->dirty ? e->length : 0;
    return 0;
}

/* A repair has given the entry up by then: what counts is the image before it. */
static void a_repair_looks_at_the_image_as_it_was(void **state)
{
    struct qcbm_repair_options o = QCBM_REPAIR_OPTIONS_INIT;
    struct qcbm_repair_result r;
    struct qcbm_error err = { 0 };
    struct image_builder b;
    struct session s;
    uint64_t size = 0;

    (void)state;
    build_in_use(&b, 0);
    be64_store(b.bytes + (be64_load(b.bytes + b.l1) & ~BUILD_COPIED) + 8, PAST_THE_END);
    session_open(&s, &b);
    o.flags = QCBM_REPAIR_FORCE;
    assert_ok(qcbm_repair(s.img, &o, &r, sizeof(r), &err), &err);
    assert_stored(&s, "u2");
    assert_ok(qcbm_bitmap_extents(s.img, "u", 0, add_dirty, &size, &err), &err);
    assert_int_equal(size, KIB(64));
    session_close(&s);
    build_free(&b);
}

static void who_is_refused(void **state)
{
    struct qcbm_edit *edit;
    struct image_builder b;
    struct session s;

    (void)state;
    build_abc(&b);
    session_open(&s, &b);
    edit = begin(&s);
    assert_int_equal(qcbm_edit_revive(edit, "a", 0, NULL, NULL, NULL), QCBM_E_ARG);
    assert_int_equal(qcbm_edit_revive(edit, "x", 0, NULL, NULL, NULL), QCBM_E_NOTFOUND);
    qcbm_edit_free(edit);
    session_close(&s);
    build_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_stored_and_what_is_allocated),
        cmocka_unit_test(a_trusted_one_is_consistent_for_what_follows),
        cmocka_unit_test(many_leaks_may_be_a_lost_table),
        cmocka_unit_test(a_table_among_the_leaks_is_lost),
        cmocka_unit_test(an_entry_that_leads_nowhere),
        cmocka_unit_test(refcounts_that_are_too_low_are_no_reason),
        cmocka_unit_test(stored_bits_that_cannot_be_read),
        cmocka_unit_test(a_repair_looks_at_the_image_as_it_was),
        cmocka_unit_test(who_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
