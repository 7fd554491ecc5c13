/* test_q2_l1l2.c - every row of the tables of L1, L2, subcluster and compressed entries
 * SPDX-License-Identifier: MIT */
#include "geometry_unit.h"
#include "unit.h"

#include "format/q2_l1l2.h"

#define COPIED Q2_ENTRY_COPIED
#define COMPRESSED Q2_L2_COMPRESSED
#define OFF UINT64_C(0x50000) /* a cluster of 64 KiB */

static void l1_entry_rows(void **state)
{
    static const struct {
        uint64_t raw, offset;
        bool copied, reserved, unaligned;
    } rows[] = {
        { 0, 0, false, false, false },
        { OFF, OFF, false, false, false },
        { OFF | COPIED, OFF, true, false, false },
        { COPIED, 0, true, false, false },
        { UINT64_C(0x00ffffffffff0000), UINT64_C(0x00ffffffffff0000), false, false, false },
        { UINT64_C(0x00fffffffffffe00), UINT64_C(0x00fffffffffffe00), false, false, true },
        { OFF | 0x200, OFF | 0x200, false, false, true },
        { OFF | 0x8000, OFF | 0x8000, false, false, true },
        { OFF | 1, OFF, false, true, false },
        { OFF | 0x100, OFF, false, true, false },
        { OFF | UINT64_C(1) << 56, OFF, false, true, false },
        { OFF | UINT64_C(1) << 62, OFF, false, true, false },
        { UINT64_MAX, UINT64_C(0x00fffffffffffe00), true, true, true },
    };
    struct q2_geometry g = geometry(16, 0);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct q2_l1_entry e;

        memset(&e, 0xcd, sizeof(e));
        q2_l1_entry_parse(rows[i].raw, &g, &e);
        assert_int_equal(e.l2_offset, rows[i].offset);
        assert_int_equal(e.copied, rows[i].copied);
        assert_int_equal(e.reserved, rows[i].reserved);
        assert_int_equal(e.unaligned, rows[i].unaligned);
        assert_int_equal(q2_l1_defect_text(&e) != NULL, e.reserved || e.unaligned);
    }
}

struct l2_row {
    unsigned image;
    uint64_t raw, sub, guest;
    enum q2_kind kind;
    uint64_t host_offset, host_len;
    unsigned defects;
};

static void check_rows(const struct l2_row *rows, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct q2_geometry g = geometry(16, rows[i].image);
        struct q2_l2_entry e;

        memset(&e, 0xcd, sizeof(e));
        q2_l2_entry_parse(rows[i].raw, rows[i].sub, rows[i].guest, &g, &e);
        if (e.kind != rows[i].kind || e.defects != rows[i].defects)
            print_error("row %zu: kind %d, defects %#x\n", i, (int)e.kind, e.defects);
        assert_int_equal(e.kind, rows[i].kind);
        assert_int_equal(e.defects, rows[i].defects);
        assert_int_equal(e.host_offset, rows[i].host_offset);
        assert_int_equal(e.host_len, rows[i].host_len);
        assert_int_equal(e.copied, rows[i].raw >> 63);
        assert_int_equal(e.sub_alloc, rows[i].image & EXT ? rows[i].sub & UINT32_MAX : 0);
        assert_int_equal(e.sub_zero, rows[i].image & EXT ? rows[i].sub >> 32 : 0);
    }
}

static void standard_entry_rows(void **state)
{
    static const struct l2_row rows[] = {
        /* table of 4.2 */
        { 0, COMPRESSED | OFF, 0, 0, Q2_COMPRESSED, OFF, 512, 0 },
        { 0, OFF | 1, 0, 0, Q2_ZERO_ALLOC, OFF, 65536, 0 },
        { 0, OFF | 1 | COPIED, 0, 0, Q2_ZERO_ALLOC, OFF, 65536, 0 },
        { 0, 1, 0, 0, Q2_ZERO_PLAIN, 0, 0, 0 },
        { 0, 0, 0, 0, Q2_UNALLOCATED, 0, 0, 0 },
        { 0, COPIED, 0, 0, Q2_UNALLOCATED, 0, 0, 0 },
        { 0, OFF, 0, 0, Q2_NORMAL, OFF, 65536, 0 },
        { 0, OFF | COPIED, 0, 0x70000, Q2_NORMAL, OFF, 65536, 0 },
        { 0, UINT64_C(0x00ffffffffff0000), 0, 0, Q2_NORMAL, UINT64_C(0x00ffffffffff0000), 65536, 0 },
        /* bit 62 decides before anything else */
        { 0, COMPRESSED | 1, 0, 0, Q2_COMPRESSED, 1, 511, 0 },
        { 0, COMPRESSED | COPIED | OFF, 0, 0, Q2_COMPRESSED, OFF, 512, Q2_DEFECT_COPIED },
        /* defects */
        { 0, OFF | 2, 0, 0, Q2_NORMAL, OFF, 65536, Q2_DEFECT_RESERVED },
        { 0, OFF | 0x100, 0, 0, Q2_NORMAL, OFF, 65536, Q2_DEFECT_RESERVED },
        { 0, OFF | UINT64_C(1) << 56, 0, 0, Q2_NORMAL, OFF, 65536, Q2_DEFECT_RESERVED },
        { 0, OFF | UINT64_C(1) << 61, 0, 0, Q2_NORMAL, OFF, 65536, Q2_DEFECT_RESERVED },
        { 0, 2, 0, 0, Q2_UNALLOCATED, 0, 0, Q2_DEFECT_RESERVED },
        { 0, 3, 0, 0, Q2_ZERO_PLAIN, 0, 0, Q2_DEFECT_RESERVED },
        { 0, OFF | 0x200, 0, 0, Q2_NORMAL, OFF | 0x200, 65536, Q2_DEFECT_UNALIGNED },
        { 0, 0x8000 | 1, 0, 0, Q2_ZERO_ALLOC, 0x8000, 65536, Q2_DEFECT_UNALIGNED },
        /* version 2 has no zero flag */
        { V2, OFF | 1, 0, 0, Q2_ZERO_ALLOC, OFF, 65536, Q2_DEFECT_V2_ZERO },
        { V2, 1, 0, 0, Q2_ZERO_PLAIN, 0, 0, Q2_DEFECT_V2_ZERO },
        { V2, OFF | COPIED, 0, 0, Q2_NORMAL, OFF, 65536, 0 },
        { V2, COMPRESSED | OFF | 1, 0, 0, Q2_COMPRESSED, OFF | 1, 511, 0 },
        /* a sub word means nothing here */
        { 0, OFF, UINT64_MAX, 0, Q2_NORMAL, OFF, 65536, 0 },
    };

    (void)state;
    check_rows(rows, ARRAY_LEN(rows));
}

static void data_file_rows(void **state)
{
    static const struct l2_row rows[] = {
        { DATA_FILE, COPIED, 0, 0, Q2_NORMAL, 0, 65536, 0 },
        { DATA_FILE, 0, 0, 0, Q2_UNALLOCATED, 0, 0, 0 },
        { DATA_FILE, COPIED, 0, 0x10000, Q2_NORMAL, 0, 65536, Q2_DEFECT_DATA_OFFSET },
        { DATA_FILE, COPIED | OFF, 0, OFF, Q2_NORMAL, OFF, 65536, 0 },
        { DATA_FILE, OFF, 0, OFF, Q2_NORMAL, OFF, 65536, 0 },
        { DATA_FILE, COPIED | OFF, 0, OFF + 0x10000, Q2_NORMAL, OFF, 65536, Q2_DEFECT_DATA_OFFSET },
        { DATA_FILE, COPIED | OFF | 1, 0, OFF, Q2_ZERO_ALLOC, OFF, 65536, 0 },
        { DATA_FILE, COPIED | OFF | 1, 0, 0, Q2_ZERO_ALLOC, OFF, 65536, Q2_DEFECT_DATA_OFFSET },
        { DATA_FILE, COPIED | 1, 0, 0, Q2_ZERO_PLAIN, 0, 0, 0 },
        { DATA_FILE, COMPRESSED | OFF, 0, OFF, Q2_COMPRESSED, OFF, 512, Q2_DEFECT_DATA_OFFSET },
        { DATA_FILE | EXT, COPIED, 1, 0, Q2_NORMAL, 0, 65536, 0 },
        { DATA_FILE | EXT, COPIED, 1, 0x10000, Q2_NORMAL, 0, 65536, Q2_DEFECT_DATA_OFFSET },
        { DATA_FILE | EXT, 0, 1, 0, Q2_UNALLOCATED, 0, 0, Q2_DEFECT_SUBCLUSTER },
    };

    (void)state;
    check_rows(rows, ARRAY_LEN(rows));
}

static void extended_entry_rows(void **state)
{
    static const struct l2_row rows[] = {
        { EXT, OFF, 0, 0, Q2_NORMAL, OFF, 65536, 0 },
        { EXT, OFF | COPIED, UINT64_C(0xfffffffe00000001), 0, Q2_NORMAL, OFF, 65536, 0 },
        { EXT, OFF, UINT64_C(0x0000000100000001), 0, Q2_NORMAL, OFF, 65536, Q2_DEFECT_SUBCLUSTER },
        { EXT, 0, 0, 0, Q2_UNALLOCATED, 0, 0, 0 },
        { EXT, 0, UINT64_C(0xffffffff00000000), 0, Q2_UNALLOCATED, 0, 0, 0 },
        { EXT, 0, 0x80000000, 0, Q2_UNALLOCATED, 0, 0, Q2_DEFECT_SUBCLUSTER },
        { EXT, COPIED, 1, 0, Q2_UNALLOCATED, 0, 0, Q2_DEFECT_SUBCLUSTER },
        { EXT, COMPRESSED | OFF, 0, 0, Q2_COMPRESSED, OFF, 512, 0 },
        { EXT, COMPRESSED | OFF, 1, 0, Q2_COMPRESSED, OFF, 512, Q2_DEFECT_SUBCLUSTER },
        { EXT, COMPRESSED | OFF, UINT64_C(1) << 63, 0, Q2_COMPRESSED, OFF, 512, Q2_DEFECT_SUBCLUSTER },
        /* bit 0 has no meaning: neither zero nor reserved */
        { EXT, OFF | 1, 1, 0, Q2_NORMAL, OFF, 65536, 0 },
        { EXT, 1, 0, 0, Q2_UNALLOCATED, 0, 0, 0 },
        { EXT, OFF | 4, 1, 0, Q2_NORMAL, OFF, 65536, Q2_DEFECT_RESERVED },
        { EXT, OFF | 0x400, 1, 0, Q2_NORMAL, OFF | 0x400, 65536, Q2_DEFECT_UNALIGNED },
    };

    (void)state;
    check_rows(rows, ARRAY_LEN(rows));
}

static enum q2_kind sub_kind(uint64_t raw, uint64_t sub, unsigned image, unsigned i, uint32_t *mask)
{
    struct q2_geometry g = geometry(16, image);
    struct q2_l2_entry e;

    q2_l2_entry_parse(raw, sub, OFF, &g, &e);
    *mask = q2_l2_entry_allocated_mask(&e, &g);
    return q2_subcluster_kind(&e, &g, i);
}

static void subcluster_rows(void **state)
{
    static const struct {
        uint64_t raw;
        bool alloc, zero;
        enum q2_kind kind;
    } rows[] = {
        /* table of 4.3 */
        { OFF, false, true, Q2_ZERO_ALLOC },
        { OFF, true, false, Q2_NORMAL },
        { OFF, false, false, Q2_UNALLOCATED_ALLOC },
        { OFF, true, true, Q2_INVALID },
        { 0, false, true, Q2_ZERO_PLAIN },
        { 0, false, false, Q2_UNALLOCATED },
        { 0, true, false, Q2_INVALID },
        { 0, true, true, Q2_INVALID },
        { COMPRESSED | OFF, false, false, Q2_COMPRESSED },
        { COMPRESSED | OFF, true, false, Q2_COMPRESSED },
    };

    (void)state;
    for (unsigned i = 0; i < 32; i++)
        for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
            uint64_t sub = (uint64_t)rows[r].alloc << i | (uint64_t)rows[r].zero << (32 + i);
            enum q2_kind k = rows[r].kind;
            uint32_t mask, want = q2_kind_is_allocated(k) ? 1u << i : 0;

            if (k == Q2_INVALID || k == Q2_COMPRESSED)
                want = UINT32_MAX;
            assert_int_equal(sub_kind(rows[r].raw, sub, EXT, i, &mask), k);
            assert_int_equal(mask, want);
            /* the other subclusters: their own bits, unless the whole cluster is bad or compressed */
            if (k != Q2_INVALID && k != Q2_COMPRESSED)
                k = rows[r].raw ? Q2_UNALLOCATED_ALLOC : Q2_UNALLOCATED;
            assert_int_equal(sub_kind(rows[r].raw, sub, EXT, (i + 1) % 32, &mask), k);
        }
}

static void subclusters_of_a_data_file(void **state)
{
    uint32_t mask;

    (void)state;
    assert_int_equal(sub_kind(COPIED, 2, EXT | DATA_FILE, 1, &mask), Q2_NORMAL);
    assert_int_equal(mask, 2);
    assert_int_equal(sub_kind(COPIED, 2, EXT | DATA_FILE, 0, &mask), Q2_UNALLOCATED_ALLOC);
    assert_int_equal(sub_kind(COPIED, UINT64_C(1) << 32, EXT | DATA_FILE, 0, &mask), Q2_ZERO_ALLOC);
    assert_int_equal(mask, 1);
}

static void without_subclusters_the_cluster_is_all_or_nothing(void **state)
{
    static const struct {
        uint64_t raw;
        enum q2_kind kind;
        uint32_t mask;
    } rows[] = {
        { 0, Q2_UNALLOCATED, 0 },
        { OFF, Q2_NORMAL, UINT32_MAX },
        { 1, Q2_ZERO_PLAIN, UINT32_MAX },
        { OFF | 1, Q2_ZERO_ALLOC, UINT32_MAX },
        { COMPRESSED | OFF, Q2_COMPRESSED, UINT32_MAX },
    };

    (void)state;
    for (size_t r = 0; r < ARRAY_LEN(rows); r++)
        for (unsigned i = 0; i < 32; i++) {
            uint32_t mask;

            assert_int_equal(sub_kind(rows[r].raw, 0, 0, i, &mask), rows[r].kind);
            assert_int_equal(mask, rows[r].mask);
        }
}

static void allocated_kinds(void **state)
{
    (void)state;
    assert_false(q2_kind_is_allocated(Q2_UNALLOCATED));
    assert_false(q2_kind_is_allocated(Q2_UNALLOCATED_ALLOC));
    assert_true(q2_kind_is_allocated(Q2_NORMAL));
    assert_true(q2_kind_is_allocated(Q2_ZERO_PLAIN));
    assert_true(q2_kind_is_allocated(Q2_ZERO_ALLOC));
    assert_true(q2_kind_is_allocated(Q2_COMPRESSED));
    assert_true(q2_kind_is_allocated(Q2_INVALID));
}

static void compressed_descriptor_of_each_cluster_size(void **state)
{
    static const struct {
        uint32_t cluster_bits, x;
    } rows[] = { { 9, 61 }, { 12, 58 }, { 16, 54 }, { 21, 49 } };

    (void)state;
    for (size_t r = 0; r < ARRAY_LEN(rows); r++) {
        struct q2_geometry g = geometry(rows[r].cluster_bits, 0);
        uint64_t cs = UINT64_C(1) << rows[r].cluster_bits, x = rows[r].x;
        uint64_t max_sectors = 2 * cs / 512 - 1;
        struct q2_l2_entry e;

        assert_int_equal(g.compressed_offset_bits, x);
        /* unaligned offset, two sectors */
        q2_l2_entry_parse(COMPRESSED | UINT64_C(1) << x | 0x12345, 0, 0, &g, &e);
        assert_int_equal(e.kind, Q2_COMPRESSED);
        assert_int_equal(e.host_offset, 0x12345);
        assert_int_equal(e.host_len, 1024 - (0x12345 & 511));
        assert_int_equal(e.defects, 0);
        /* the largest count describes two clusters */
        q2_l2_entry_parse(COMPRESSED | max_sectors << x | 0x400, 0, 0, &g, &e);
        assert_int_equal(e.host_offset, 0x400);
        assert_int_equal(e.host_len, 2 * cs);
        assert_int_equal(max_sectors << x | COMPRESSED, COMPRESSED | (COMPRESSED - (UINT64_C(1) << x)));
        /* the last byte of a sector */
        q2_l2_entry_parse(COMPRESSED | 0x3ff, 0, 0, &g, &e);
        assert_int_equal(e.host_offset, 0x3ff);
        assert_int_equal(e.host_len, 1);
    }
}

static void compressed_offset_above_2_56_is_a_defect(void **state)
{
    struct q2_geometry g = geometry(9, 0);
    struct q2_l2_entry e;

    (void)state;
    q2_l2_entry_parse(COMPRESSED | ((UINT64_C(1) << 56) - 1), 0, 0, &g, &e);
    assert_int_equal(e.defects, 0);
    assert_int_equal(e.host_offset, (UINT64_C(1) << 56) - 1);
    for (unsigned bit = 56; bit < 61; bit++) {
        q2_l2_entry_parse(COMPRESSED | UINT64_C(1) << bit | 0x200, 0, 0, &g, &e);
        assert_int_equal(e.defects, Q2_DEFECT_RESERVED);
        assert_int_equal(e.host_offset, UINT64_C(1) << bit | 0x200);
    }
    /* with larger clusters the same bits belong to the count of sectors */
    g = geometry(16, 0);
    q2_l2_entry_parse(COMPRESSED | UINT64_C(1) << 56, 0, 0, &g, &e);
    assert_int_equal(e.defects, 0);
    assert_int_equal(e.host_offset, 0);
    assert_int_equal(e.host_len, 5 * 512);
}

/* Whatever 128 bits say: no host bytes beyond two clusters, offsets below 2^62, and the mask agrees with the kinds. */
static void random_entries_keep_the_promises(void **state)
{
    uint64_t seed = 4711;

    (void)state;
    for (int n = 0; n < 200000; n++) {
        uint64_t raw = next_random(&seed), sub = next_random(&seed) & next_random(&seed) & next_random(&seed);
        uint32_t cb = 14 + (uint32_t)(next_random(&seed) % 8);
        struct q2_geometry g = geometry(cb, (unsigned)(next_random(&seed) >> 8) % 8);
        struct q2_l2_entry e;
        uint32_t mask;

        q2_l2_entry_parse(raw, sub, next_random(&seed) << cb, &g, &e);
        assert_true(e.host_len <= 2 * (uint64_t)g.cluster_size);
        assert_true(e.host_offset < UINT64_C(1) << 62);
        assert_int_equal(e.host_len != 0, e.kind == Q2_NORMAL || e.kind == Q2_ZERO_ALLOC || e.kind == Q2_COMPRESSED);
        mask = q2_l2_entry_allocated_mask(&e, &g);
        for (unsigned i = 0; i < 32; i++)
            assert_int_equal(mask >> i & 1, q2_kind_is_allocated(q2_subcluster_kind(&e, &g, i)));
    }
}

static void each_defect_has_its_words(void **state)
{
    (void)state;
    assert_null(q2_l2_defect_text(0));
    for (unsigned a = 1; a <= Q2_DEFECT_DATA_OFFSET; a <<= 1) {
        assert_non_null(q2_l2_defect_text(a));
        for (unsigned b = 1; b < a; b <<= 1) {
            const char *both = q2_l2_defect_text(a | b);

            assert_string_not_equal(q2_l2_defect_text(a), q2_l2_defect_text(b));
            assert_true(both == q2_l2_defect_text(a) || both == q2_l2_defect_text(b));
        }
    }
    assert_string_equal(q2_l2_defect_text(Q2_DEFECT_V2_ZERO), "zero flag in a version 2 image");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(l1_entry_rows),
        cmocka_unit_test(standard_entry_rows),
        cmocka_unit_test(data_file_rows),
        cmocka_unit_test(extended_entry_rows),
        cmocka_unit_test(subcluster_rows),
        cmocka_unit_test(subclusters_of_a_data_file),
        cmocka_unit_test(without_subclusters_the_cluster_is_all_or_nothing),
        cmocka_unit_test(allocated_kinds),
        cmocka_unit_test(compressed_descriptor_of_each_cluster_size),
        cmocka_unit_test(compressed_offset_above_2_56_is_a_defect),
        cmocka_unit_test(random_entries_keep_the_promises),
        cmocka_unit_test(each_defect_has_its_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
