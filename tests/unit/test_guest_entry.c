/* test_guest_entry.c - what a write of guest bytes makes of one L2 entry: kinds of entries by kinds of writes
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include "write/guest_entry.h"

#define HOST UINT64_C(0x50000)
#define COPIED Q2_ENTRY_COPIED
#define ALL UINT32_MAX

static struct q2_geometry geometry(bool extended, bool data_file)
{
    const struct q2_header h = { .version = 3,
                                 .cluster_bits = 16,
                                 .size = 1 << 20,
                                 .refcount_order = 4,
                                 .incompatible = (extended ? 16 : 0) | (data_file ? 4 : 0) };
    struct q2_geometry g;

    q2_geometry_derive(&h, &g);
    return g;
}

struct row {
    uint64_t raw, word;
    struct qcbmi_guest_touch touch;
    bool backing;
    struct qcbmi_guest_entry want;
};

static void expect(const struct q2_geometry *g, const struct row *r, uint64_t guest)
{
    struct qcbmi_guest_entry got;
    struct q2_l2_entry old;

    q2_l2_entry_parse(r->raw, r->word, guest, g, &old);
    assert_int_equal(old.defects, 0);
    qcbmi_guest_entry_write(&old, r->raw, r->word, guest, r->touch, r->backing, g, &got);
    assert_int_equal(got.raw, r->want.raw);
    assert_int_equal(got.word, r->want.word);
    assert_int_equal(got.changes, r->want.changes);
    assert_int_equal(got.needs_cluster, r->want.needs_cluster);
    assert_int_equal(got.gives_up, r->want.gives_up);
}

static const uint64_t packed = Q2_L2_COMPRESSED | HOST;

static void plain_entries(void **state)
{
    static const struct row rows[] = {
        /* bytes go to a new cluster, whatever was there */
        { 0, 0, { 1, 0 }, false, { COPIED, 0, true, true, false } },
        { COPIED | HOST, 0, { 1, 0 }, true, { COPIED, 0, true, true, true } },
        { HOST, 0, { 1, 0 }, true, { COPIED, 0, true, true, true } }, /* a snapshot has it, too */
        { packed, 0, { 1, 0 }, true, { COPIED, 0, true, true, true } },
        { Q2_L2_ZERO, 0, { 1, 0 }, true, { COPIED, 0, true, true, false } },
        { COPIED | HOST | Q2_L2_ZERO, 0, { 1, 0 }, true, { COPIED, 0, true, true, true } },
        /* zeros take none, and nothing if there are zeros already */
        { 0, 0, { 0, 1 }, true, { Q2_L2_ZERO, 0, true, false, false } },
        { 0, 0, { 0, 1 }, false, { 0, 0, false, false, false } },
        { COPIED | HOST, 0, { 0, 1 }, false, { Q2_L2_ZERO, 0, true, false, true } },
        { packed, 0, { 0, 1 }, true, { Q2_L2_ZERO, 0, true, false, true } },
        { Q2_L2_ZERO, 0, { 0, 1 }, true, { Q2_L2_ZERO, 0, false, false, false } },
        { COPIED | HOST | Q2_L2_ZERO, 0, { 0, 1 }, true, { COPIED | HOST | Q2_L2_ZERO, 0, false, false, false } },
    };
    const struct q2_geometry g = geometry(false, false);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        expect(&g, &rows[i], 0);
}

#define WORD(alloc, zero) ((uint64_t)(zero) << 32 | (alloc))

static void entries_with_subclusters(void **state)
{
    static const struct row rows[] = {
        { 0, 0, { 6, 0 }, true, { COPIED, WORD(6, 0), true, true, false } },
        { COPIED | HOST, WORD(1, 8), { 6, 0 }, true, { COPIED, WORD(7, 8), true, true, true } },
        { COPIED | HOST, WORD(1, 6), { 2, 0 }, true, { COPIED, WORD(3, 4), true, true, true } },
        /* zeros in words alone: the cluster stays as long as a subcluster is there */
        { COPIED | HOST, WORD(3, 0), { 0, 1 }, true, { COPIED | HOST, WORD(2, 1), true, false, false } },
        { COPIED | HOST, WORD(1, 0), { 0, 3 }, true, { 0, WORD(0, 3), true, false, true } },
        { COPIED | HOST, WORD(1, 0), { 0, 3 }, false, { 0, WORD(0, 1), true, false, true } },
        { 0, 0, { 0, ALL }, false, { 0, 0, false, false, false } },
        { 0, 0, { 0, ALL }, true, { 0, WORD(0, ALL), true, false, false } },
        { 0, WORD(0, 5), { 0, 5 }, true, { 0, WORD(0, 5), false, false, false } },
        /* what is packed is whole, and unpacked where a part of it stays */
        { packed, 0, { 1, 0 }, true, { COPIED, WORD(ALL, 0), true, true, true } },
        { packed, 0, { 0, 1 }, true, { COPIED, WORD(ALL & ~1u, 1), true, true, true } },
        { packed, 0, { 0, ALL }, true, { 0, WORD(0, ALL), true, false, true } },
    };
    const struct q2_geometry g = geometry(true, false);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        expect(&g, &rows[i], 0);
}

/* Each cluster has its place in a data file, where zeros are bytes; nothing of this file is given up. */
static void entries_of_a_data_file(void **state)
{
    static const struct row rows[] = {
        { 0, 0, { 1, 0 }, false, { COPIED | HOST, 0, true, false, false } },
        { 0, 0, { 0, 1 }, false, { COPIED | HOST, 0, true, false, false } },
        { COPIED | HOST, 0, { 1, 0 }, false, { COPIED | HOST, 0, false, false, false } },
        { Q2_L2_ZERO, 0, { 1, 0 }, false, { COPIED | HOST, 0, true, false, false } },
    };
    static const struct row extended = {
        0, WORD(0, 9), { 1, 2 }, false, { COPIED | HOST, WORD(3, 8), true, false, false }
    };
    const struct q2_geometry g = geometry(false, true), e = geometry(true, true);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        expect(&g, &rows[i], HOST);
    expect(&e, &extended, HOST);
}

static void what_is_dropped_is_given_up(void **state)
{
    const struct q2_geometry g = geometry(false, false);
    static const uint64_t raws[] = { 0, COPIED | HOST, Q2_L2_COMPRESSED | HOST, Q2_L2_ZERO };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(raws); i++) {
        struct qcbmi_guest_entry got;
        struct q2_l2_entry old;

        q2_l2_entry_parse(raws[i], 0, 0, &g, &old);
        qcbmi_guest_entry_drop(&old, raws[i], 0, &g, &got);
        assert_true(got.raw == 0 && got.word == 0 && !got.needs_cluster);
        assert_int_equal(got.changes, raws[i] != 0);
        assert_int_equal(got.gives_up, i == 1 || i == 2);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(plain_entries),
        cmocka_unit_test(entries_with_subclusters),
        cmocka_unit_test(entries_of_a_data_file),
        cmocka_unit_test(what_is_dropped_is_given_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
