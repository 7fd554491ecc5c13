/* test_q2_bitmap_dir.c - bitmap directory entries, sizes of bitmaps, bitmap table entries
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include "format/q2_bitmap_dir.h"
#include "format/q2_limits.h"

#define AT UINT64_C(0x50020) /* where the entry is said to lie */
#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)
#define TIB(n) ((uint64_t)(n) << 40)

static struct q2_geometry geometry(uint32_t cluster_bits, uint64_t size)
{
    struct q2_header h = { .version = 3, .cluster_bits = cluster_bits, .refcount_order = 4, .size = size };
    struct q2_geometry g;

    q2_geometry_derive(&h, &g);
    return g;
}

/* An entry named @name with @extra_len bytes 0xe0; returns its length with padding (bytes 0). */
static size_t make_entry(uint8_t *to, uint32_t extra_len, const char *name)
{
    size_t name_len = strlen(name), len = (24 + extra_len + name_len + 7) & ~(size_t)7;

    memset(to, 0, len);
    be64_store(to, 0x40000);
    be32_store(to + 8, 4);
    be32_store(to + 12, 2);
    to[16] = 1;
    to[17] = 16;
    be16_store(to + 18, (uint16_t)name_len);
    be32_store(to + 20, extra_len);
    memset(to + 24, 0xe0, extra_len);
    memcpy(to + 24 + extra_len, name, name_len);
    return len;
}

static int parse(const uint8_t *bytes, size_t len, struct q2_bitmap_dirent *d, size_t *used, struct qcbm_error *err)
{
    struct q2_cursor c;
    int ret;

    q2_cursor_init(&c, bytes, len);
    ret = q2_bitmap_dirent_parse(&c, AT, d, err);
    if (used)
        *used = (size_t)(c.at - bytes);
    return ret;
}

static void entry_gives_every_field(void **state)
{
    uint8_t buf[100];
    size_t len = make_entry(buf, 3, "bitmap0"), used;
    uint8_t *p = exact_copy(buf, len);
    struct q2_bitmap_dirent d;

    (void)state;
    assert_int_equal(len, 40);
    assert_int_equal(parse(p, len, &d, &used, NULL), 0);
    assert_int_equal(used, 40);
    assert_int_equal(d.table_offset, 0x40000);
    assert_int_equal(d.table_entries, 4);
    assert_int_equal(d.flags, Q2_BITMAP_AUTO);
    assert_int_equal(d.type, Q2_BITMAP_TYPE_DIRTY);
    assert_int_equal(d.granularity_bits, 16);
    assert_int_equal(d.extra_len, 3);
    assert_ptr_equal(d.extra, p + 24);
    assert_int_equal(d.name_len, 7);
    assert_ptr_equal(d.name, p + 27);
    free(p);
}

static void an_entry_needs_all_its_bytes_and_its_padding(void **state)
{
    (void)state;
    for (size_t n = 0; n < 9; n++) {
        uint8_t buf[100];
        size_t len = make_entry(buf, (uint32_t)n, "abc");

        for (size_t have = 0; have <= len; have++) {
            uint8_t *p = exact_copy(buf, have);
            struct qcbm_error err = { 0 };
            struct q2_bitmap_dirent d, before;
            int ret;

            memset(&d, 0xcd, sizeof(d));
            before = d;
            ret = parse(p, have, &d, NULL, &err);
            if (have == len) {
                assert_int_equal(ret, 0);
            } else {
                assert_failure(ret, &err, QCBM_E_CORRUPT, AT, "Broken bitmap directory");
                assert_memory_equal(&d, &before, sizeof(d));
            }
            free(p);
        }
    }
}

static void huge_lengths_do_not_wrap(void **state)
{
    static const uint32_t lengths[] = { 0x7fffffff, 0x80000000, 0xffffffe8, 0xfffffff8, 0xffffffff };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
        uint8_t buf[100];
        size_t len = make_entry(buf, 0, "abc");
        uint8_t *p = exact_copy(buf, len);
        struct qcbm_error err = { 0 };
        struct q2_bitmap_dirent d;

        be32_store(p + 20, lengths[i]);
        assert_failure(parse(p, len, &d, NULL, &err), &err, QCBM_E_CORRUPT, AT, "Broken bitmap directory");
        be16_store(p + 18, 0xffff);
        assert_failure(parse(p, len, &d, NULL, &err), &err, QCBM_E_CORRUPT, AT, "Broken bitmap directory");
        free(p);
    }
}

static void a_directory_is_read_entry_by_entry(void **state)
{
    static const char *const names[] = { "a", "bb", "12345678", "" };
    uint8_t dir[400];
    size_t len = 0;
    struct q2_cursor c;
    uint8_t *p;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        len += make_entry(dir + len, i == 2 ? 5 : 0, names[i]);
    p = exact_copy(dir, len);
    q2_cursor_init(&c, p, len);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct q2_bitmap_dirent d;

        assert_int_equal(q2_bitmap_dirent_parse(&c, 0, &d, NULL), 0);
        assert_int_equal(d.name_len, strlen(names[i]));
        assert_memory_equal(d.name, names[i], d.name_len);
    }
    assert_int_equal(q2_cursor_left(&c), 0);
    assert_false(c.overrun);
    free(p);
}

static void length_counts_the_padding(void **state)
{
    (void)state;
    assert_int_equal(q2_bitmap_dirent_len(0, 0), 24);
    assert_int_equal(q2_bitmap_dirent_len(0, 1), 32);
    assert_int_equal(q2_bitmap_dirent_len(0, 8), 32);
    assert_int_equal(q2_bitmap_dirent_len(0, 9), 40);
    assert_int_equal(q2_bitmap_dirent_len(0, 1023), 1048);
    assert_int_equal(q2_bitmap_dirent_len(5, 3), 32);
    assert_int_equal(q2_bitmap_dirent_len(0xffffffff, 0xffff), UINT64_C(0x100010018));
}

static void store_of_parse_is_the_bytes(void **state)
{
    uint64_t seed = 5;

    (void)state;
    for (int n = 0; n < 500; n++) {
        uint8_t buf[300];
        char name[65] = "";
        struct q2_bitmap_dirent d, again;
        uint8_t *p, *out;
        size_t len;

        memset(name, 'n', (size_t)(next_random(&seed) % 65));
        len = make_entry(buf, (uint32_t)(next_random(&seed) % 65), name);
        for (size_t i = 0; i < 18; i++)
            buf[i] = (uint8_t)next_random(&seed);
        p = exact_copy(buf, len);
        assert_int_equal(parse(p, len, &d, NULL, NULL), 0);
        assert_int_equal(q2_bitmap_dirent_len(d.extra_len, d.name_len), len);
        out = exact_copy(buf, len);
        memset(out, 0xa5, len);
        q2_bitmap_dirent_store(out, &d);
        assert_memory_equal(out, buf, len);
        assert_int_equal(parse(out, len, &again, NULL, NULL), 0);
        assert_int_equal(again.table_offset, d.table_offset);
        assert_int_equal(again.flags, d.flags);
        free(p);
        free(out);
    }
}

static const struct q2_bitmap_dirent good = { .table_offset = 0x40000,
                                              .table_entries = 4,
                                              .flags = Q2_BITMAP_AUTO,
                                              .type = 1,
                                              .granularity_bits = 16,
                                              .name_len = 2,
                                              .name = (const uint8_t *)"b0" };

static void check_is(const struct q2_bitmap_dirent *d, uint64_t size, uint64_t at, const char *text)
{
    struct q2_geometry g = geometry(16, size);
    struct qcbm_error err = { 0 };
    int ret = q2_bitmap_dirent_check(d, AT, &g, &err);

    if (!text) {
        if (ret != 0)
            fail_msg("%s", err.message);
        return;
    }
    assert_failure(ret, &err, QCBM_E_CORRUPT, AT + at, text);
}

static void a_good_entry_passes(void **state)
{
    struct q2_bitmap_dirent d = good;

    (void)state;
    check_is(&d, GIB(100), 0, NULL);
    d.flags = 0;
    check_is(&d, GIB(100), 0, NULL);
    d.flags = Q2_BITMAP_IN_USE | Q2_BITMAP_AUTO;
    check_is(&d, GIB(100), 0, NULL);
    check_is(&d, 0, 0, NULL);
}

static void table_offset_rules(void **state)
{
    static const uint64_t bad[] = { 0, 1, 0x40200, 0x48000, UINT64_MAX, UINT64_MAX - 0xffff, UINT64_C(1) << 63 };
    struct q2_bitmap_dirent d = good;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        d.table_offset = bad[i];
        check_is(&d, GIB(100), 0, "Bitmap 'b0' doesn't satisfy the constraints: table ");
    }
    d.table_offset = (UINT64_C(1) << 63) - 0x10000;
    check_is(&d, GIB(100), 0, NULL);
    d.flags = Q2_BITMAP_IN_USE;
    d.table_entries = 8191;
    check_is(&d, GIB(100), 0, NULL);
    d.table_entries = 8192; /* ends at 2^63 */
    check_is(&d, GIB(100), 0, "passes 2^63 - 1");
}

static void table_size_rules(void **state)
{
    static const uint32_t bad[] = { 0, 8193, 0x8000000, 0x8000001, 0xffffffff };
    struct q2_bitmap_dirent d = good;

    (void)state;
    for (int in_use = 0; in_use < 2; in_use++) {
        d.flags = in_use ? Q2_BITMAP_IN_USE : 0;
        for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
            d.table_entries = bad[i];
            check_is(&d, GIB(100), 8, "allowed: 1 to 8192");
        }
    }
    /* exact, unless in use */
    d.flags = 0;
    for (uint32_t n = 1; n < 10; n++) {
        d.table_entries = n;
        check_is(&d, GIB(100), 8, n == 4 ? NULL : "needs 4");
    }
    d.flags = Q2_BITMAP_IN_USE;
    for (uint32_t n = 1; n < 10; n++) {
        d.table_entries = n;
        check_is(&d, GIB(100), 8, NULL);
    }
    d.table_entries = 8192;
    check_is(&d, GIB(100), 8, NULL);
}

static void the_size_counts_rounded_down_to_512(void **state)
{
    struct q2_bitmap_dirent d = good;

    (void)state;
    check_is(&d, GIB(128) + 511, 0, NULL);
    check_is(&d, GIB(128) + 512, 8, "needs 5");
    d.table_entries = 5;
    check_is(&d, GIB(128) + 512, 0, NULL);
}

static void flag_rules(void **state)
{
    struct q2_bitmap_dirent d = good;

    (void)state;
    for (unsigned bit = 2; bit < 32; bit++) {
        d.flags = 1u << bit;
        check_is(&d, GIB(100), 12, "flags");
        d.flags |= Q2_BITMAP_IN_USE;
        check_is(&d, GIB(100), 12, "flags");
    }
}

static void type_rules(void **state)
{
    struct q2_bitmap_dirent d = good;

    (void)state;
    for (unsigned type = 0; type < 256; type++) {
        d.type = (uint8_t)type;
        check_is(&d, GIB(100), 16, type == 1 ? NULL : "must be 1");
    }
}

static void granularity_rules(void **state)
{
    struct q2_bitmap_dirent d = good;

    (void)state;
    d.flags = Q2_BITMAP_IN_USE;
    for (unsigned bits = 0; bits < 256; bits++) {
        d.granularity_bits = (uint8_t)bits;
        check_is(&d, GIB(100), 17, bits >= 9 && bits <= 31 ? NULL : "allowed: 2^9 to 2^31");
    }
    /* in range, but 512 MiB of bits would not be enough */
    d.flags = 0;
    d.granularity_bits = 9;
    d.table_entries = 8192;
    check_is(&d, TIB(2), 0, NULL);
    check_is(&d, TIB(2) + 512, 17, "too fine");
}

static void name_rules(void **state)
{
    uint8_t *name = malloc(65535);
    struct q2_bitmap_dirent d = good;

    (void)state;
    assert_non_null(name);
    memset(name, 'x', 65535);
    d.name = name;
    d.name_len = 0;
    check_is(&d, GIB(100), 18, "allowed: 1 to 1023");
    d.name_len = 1;
    check_is(&d, GIB(100), 0, NULL);
    d.name_len = 1023;
    check_is(&d, GIB(100), 0, NULL);
    d.name_len = 1024;
    check_is(&d, GIB(100), 18, "allowed: 1 to 1023");
    d.name_len = 65535;
    check_is(&d, GIB(100), 18, "allowed: 1 to 1023");
    d.name_len = 5;
    name[5] = 0; /* behind the name */
    check_is(&d, GIB(100), 0, NULL);
    for (uint16_t at = 0; at < 5; at++) {
        memset(name, 'x', 5);
        name[at] = 0;
        check_is(&d, GIB(100), 24u + at, "is NUL");
    }
    free(name);
}

static void extra_data_is_refused(void **state)
{
    struct q2_bitmap_dirent d = good;

    (void)state;
    d.extra = (const uint8_t *)"e";
    d.extra_len = 1;
    check_is(&d, GIB(100), 20, "Bitmap 'b0': extra data is not supported (1 bytes)");
}

static void names_in_messages_are_escaped(void **state)
{
    struct q2_bitmap_dirent d = good;

    (void)state;
    d.name = (const uint8_t *)"\x1b\n";
    d.type = 2;
    check_is(&d, GIB(100), 16, "Bitmap '\\x1b\\x0a' doesn't");
}

static void size_table_of_the_format_notes(void **state)
{
    static const struct {
        uint64_t size;
        unsigned gran;
        uint32_t cluster;
        uint64_t bits, bytes, entries;
    } rows[] = {
        { MIB(1), 16, 65536, 16, 2, 1 },
        { GIB(10) + 512, 16, 65536, 163841, 20481, 1 },
        { GIB(100), 16, 65536, 1638400, 204800, 4 },
        { TIB(2), 16, 65536, 33554432, MIB(4), 64 },
        { TIB(2), 9, 65536, UINT64_C(1) << 32, MIB(512), 8192 },
        { MIB(1), 12, 512, 256, 32, 1 },
        { MIB(3), 9, 512, 6144, 768, 2 },
        { 0, 16, 65536, 0, 0, 0 },
        { 512, 9, 512, 1, 1, 1 },
        { 512, 31, 512, 1, 1, 1 },
        { 512 * 8, 9, 512, 8, 1, 1 },
        { 512 * 9, 9, 512, 9, 2, 1 },
        { (UINT64_C(1) << 63) - 512, 31, 2097152, UINT64_C(1) << 32, MIB(512), 256 },
        { UINT64_MAX, 63, 512, 2, 1, 1 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct q2_bitmap_size s;

        assert_int_equal(q2_bitmap_size(rows[i].size, rows[i].gran, rows[i].cluster, &s, NULL), 0);
        assert_int_equal(s.bits, rows[i].bits);
        assert_int_equal(s.bytes, rows[i].bytes);
        assert_int_equal(s.entries, rows[i].entries);
    }
}

static void too_many_bits_are_refused_in_the_words_of_qemu(void **state)
{
    static const struct {
        uint64_t size;
        unsigned gran;
    } rows[] = { { TIB(2) + 512, 9 }, { TIB(16) + 512, 12 }, { UINT64_MAX, 9 }, { UINT64_MAX, 0 }, { UINT64_MAX, 31 } };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        struct qcbm_error err = { 0 };
        struct q2_bitmap_size s;

        assert_failure(q2_bitmap_size(rows[i].size, rows[i].gran, 65536, &s, &err), &err, QCBM_E_LIMIT, QCBM_NO_OFFSET,
                       "Too much space will be occupied by the bitmap. Use larger granularity");
    }
    for (unsigned gran = 64; gran < 300; gran += 32) {
        struct qcbm_error err = { 0 };
        struct q2_bitmap_size s;

        assert_failure(q2_bitmap_size(512, gran, 65536, &s, &err), &err, QCBM_E_LIMIT, QCBM_NO_OFFSET, "granularity");
    }
}

static void table_entry_rows(void **state)
{
    static const struct {
        uint64_t raw;
        enum q2_bitmap_entry_kind kind;
    } rows[] = {
        { 0, Q2_BME_ZEROS },
        { 1, Q2_BME_ONES },
        { 0x10000, Q2_BME_DATA },
        { UINT64_C(0x00ffffffffff0000), Q2_BME_DATA },
        { 0x10001, Q2_BME_BAD },
        { 0x10200, Q2_BME_BAD },
        { 0x200, Q2_BME_BAD },
        { 2, Q2_BME_BAD },
        { 3, Q2_BME_BAD },
        { 0x10002, Q2_BME_BAD },
        { 0x10100, Q2_BME_BAD },
        { UINT64_C(1) << 56, Q2_BME_BAD },
        { UINT64_C(1) << 63 | 0x10000, Q2_BME_BAD },
        { UINT64_C(1) << 63 | 1, Q2_BME_BAD },
        { UINT64_MAX, Q2_BME_BAD },
    };
    uint64_t offset;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        offset = 99;
        assert_int_equal(q2_bitmap_table_entry(rows[i].raw, 65536, &offset), rows[i].kind);
        assert_int_equal(offset, rows[i].kind == Q2_BME_DATA ? rows[i].raw : 0);
    }
    for (unsigned bit = 0; bit < 64; bit++) {
        uint64_t raw = UINT64_C(1) << bit;
        enum q2_bitmap_entry_kind want = bit == 0 ? Q2_BME_ONES : bit < 9 || bit > 55 ? Q2_BME_BAD : Q2_BME_DATA;

        assert_int_equal(q2_bitmap_table_entry(raw, 512, &offset), want);
        assert_int_equal(want == Q2_BME_BAD, (raw & Q2_BITMAP_TABLE_RESERVED) != 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entry_gives_every_field),
        cmocka_unit_test(an_entry_needs_all_its_bytes_and_its_padding),
        cmocka_unit_test(huge_lengths_do_not_wrap),
        cmocka_unit_test(a_directory_is_read_entry_by_entry),
        cmocka_unit_test(length_counts_the_padding),
        cmocka_unit_test(store_of_parse_is_the_bytes),
        cmocka_unit_test(a_good_entry_passes),
        cmocka_unit_test(table_offset_rules),
        cmocka_unit_test(table_size_rules),
        cmocka_unit_test(the_size_counts_rounded_down_to_512),
        cmocka_unit_test(flag_rules),
        cmocka_unit_test(type_rules),
        cmocka_unit_test(granularity_rules),
        cmocka_unit_test(name_rules),
        cmocka_unit_test(extra_data_is_refused),
        cmocka_unit_test(names_in_messages_are_escaped),
        cmocka_unit_test(size_table_of_the_format_notes),
        cmocka_unit_test(too_many_bits_are_refused_in_the_words_of_qemu),
        cmocka_unit_test(table_entry_rows),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
