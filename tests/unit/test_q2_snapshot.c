/* test_q2_snapshot.c - entries of the internal snapshot table
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include "format/q2_limits.h"
#include "format/q2_snapshot.h"

/* One entry with an id of "1", a name, @extra_len bytes of extra data 0x11, 0x12 ...; returns its length unpadded. */
static size_t make_entry(uint8_t *to, uint32_t extra_len, const char *name)
{
    size_t name_len = strlen(name), at = 40;

    be64_store(to, 0x60000);
    be32_store(to + 8, 7);
    be16_store(to + 12, 1);
    be16_store(to + 14, (uint16_t)name_len);
    be32_store(to + 16, 1700000000);
    be32_store(to + 20, 123456789);
    be64_store(to + 24, UINT64_C(0x1122334455667788));
    be32_store(to + 32, 4096);
    be32_store(to + 36, extra_len);
    for (uint32_t i = 0; i < extra_len; i++)
        to[at++] = (uint8_t)(0x11 + i);
    to[at++] = '1';
    memcpy(to + at, name, name_len);
    return at + name_len;
}

static int parse(const uint8_t *bytes, size_t len, struct q2_snapshot *s, size_t *used, struct qcbm_error *err)
{
    struct q2_cursor c;
    int ret;

    q2_cursor_init(&c, bytes, len);
    ret = q2_snapshot_parse(&c, bytes, 0x50000, 3, s, err);
    if (used)
        *used = (size_t)(c.at - bytes);
    return ret;
}

static void entry_gives_every_field(void **state)
{
    uint8_t buf[200];
    size_t len = make_entry(buf, 24, "snap1"), used;
    uint8_t *p = exact_copy(buf, len);
    struct q2_snapshot s;

    (void)state;
    assert_int_equal(len, 70); /* [V] 1 + 5 characters give 70 bytes, the next entry is at 72 */
    assert_int_equal(parse(p, len, &s, &used, NULL), 0);
    assert_int_equal(used, 70);
    assert_int_equal(s.l1_offset, 0x60000);
    assert_int_equal(s.l1_entries, 7);
    assert_int_equal(s.date_sec, 1700000000);
    assert_int_equal(s.date_nsec, 123456789);
    assert_int_equal(s.vm_clock_nsec, UINT64_C(0x1122334455667788));
    assert_int_equal(s.vm_state_size32, 4096);
    assert_int_equal(s.vm_state_size, UINT64_C(0x1112131415161718));
    assert_int_equal(s.disk_size, UINT64_C(0x191a1b1c1d1e1f20));
    assert_int_equal(s.icount, UINT64_C(0x2122232425262728));
    assert_int_equal(s.extra_len, 24);
    assert_ptr_equal(s.extra, p + 40);
    assert_int_equal(s.id_len, 1);
    assert_ptr_equal(s.id, p + 64);
    assert_int_equal(s.name_len, 5);
    assert_memory_equal(s.name, "snap1", 5);
    assert_int_equal(q2_snapshot_len(&s), 72);
    free(p);
}

static void extra_data_is_there_from_the_front(void **state)
{
    (void)state;
    for (uint32_t extra = 0; extra <= 40; extra++) {
        uint8_t buf[200];
        size_t len = make_entry(buf, extra, "x");
        uint8_t *p = exact_copy(buf, len);
        struct q2_snapshot s;

        assert_int_equal(parse(p, len, &s, NULL, NULL), 0);
        assert_int_equal(s.vm_state_size, extra >= 8 ? UINT64_C(0x1112131415161718) : 4096);
        assert_int_equal(s.disk_size, extra >= 16 ? UINT64_C(0x191a1b1c1d1e1f20) : UINT64_MAX);
        assert_int_equal(s.icount, extra >= 24 ? UINT64_C(0x2122232425262728) : UINT64_MAX);
        free(p);
    }
}

static void entries_start_at_multiples_of_8(void **state)
{
    static const char *const names[] = { "", "a", "ab", "abcdefg", "abcdefgh", "0123456789abcdef" };
    uint8_t table[600];
    size_t at = 0, starts[ARRAY_LEN(names)], last = 0;
    struct q2_cursor c;
    uint8_t *p;

    (void)state;
    memset(table, 0xee, sizeof(table)); /* padding is not looked at */
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        starts[i] = at;
        last = at + make_entry(table + at, (uint32_t)i * 8, names[i]);
        at = (last + 7) & ~(size_t)7;
    }
    p = exact_copy(table, last);
    q2_cursor_init(&c, p, last);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct q2_snapshot s;

        assert_int_equal(c.at - p, starts[i]);
        assert_int_equal(q2_snapshot_parse(&c, p, 0, (uint32_t)i, &s, NULL), 0);
        assert_int_equal(s.name_len, strlen(names[i]));
        assert_memory_equal(s.name, names[i], s.name_len);
    }
    assert_int_equal(q2_cursor_left(&c), 0);
    assert_false(c.overrun);
    free(p);
}

/* As much of the padding as there is, is taken; none of it is asked for. */
static void padding_of_the_last_entry_may_be_missing(void **state)
{
    uint8_t buf[200] = { 0 };
    size_t len = make_entry(buf, 16, "ab"); /* 59: five bytes of padding */

    (void)state;
    assert_int_equal(len, 59);
    for (size_t have = len; have < len + 8; have++) {
        uint8_t *p = exact_copy(buf, have);
        struct q2_snapshot s;
        size_t used;

        assert_int_equal(parse(p, have, &s, &used, NULL), 0);
        assert_int_equal(used, have < 64 ? have : 64);
        free(p);
    }
}

static void an_incomplete_entry_is_corrupt(void **state)
{
    uint8_t buf[200];
    size_t len = make_entry(buf, 24, "snap1");

    (void)state;
    for (size_t have = 0; have < len; have++) {
        uint8_t *p = exact_copy(buf, have);
        struct qcbm_error err = { 0 };
        struct q2_snapshot s, before;

        memset(&s, 0xcd, sizeof(s));
        before = s;
        assert_failure(parse(p, have, &s, NULL, &err), &err, QCBM_E_CORRUPT, 0x50000, "entry 3");
        assert_memory_equal(&s, &before, sizeof(s));
        free(p);
    }
}

static void the_place_told_is_that_of_the_entry(void **state)
{
    uint8_t table[200] = { 0 };
    struct qcbm_error err = { 0 };
    struct q2_snapshot s;
    struct q2_cursor c;

    (void)state;
    make_entry(table, 16, "abc");
    q2_cursor_init(&c, table, 64 + 39);
    assert_int_equal(q2_snapshot_parse(&c, table, 0x50000, 0, &s, &err), 0);
    assert_failure(q2_snapshot_parse(&c, table, 0x50000, 1, &s, &err), &err, QCBM_E_CORRUPT, 0x50040, "entry 1");
}

static void extra_data_is_limited(void **state)
{
    static const uint32_t bad[] = { 1025, 65536, 0x7fffffff, 0xffffffff };
    uint8_t *p = calloc(1, 3000);
    struct qcbm_error err = { 0 };
    struct q2_snapshot s;

    (void)state;
    assert_non_null(p);
    make_entry(p, 1024, "x");
    assert_int_equal(parse(p, 3000, &s, NULL, NULL), 0);
    assert_int_equal(s.extra_len, 1024);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        be32_store(p + 36, bad[i]);
        assert_failure(parse(p, 3000, &s, NULL, &err), &err, QCBM_E_LIMIT, 0x50024,
                       "Too much extra metadata in snapshot table entry 3");
    }
    free(p);
}

static void store_of_parse_is_the_bytes(void **state)
{
    uint64_t seed = 99;

    (void)state;
    for (int n = 0; n < 500; n++) {
        uint8_t buf[300] = { 0 };
        char name[65] = "";
        uint32_t extra = (uint32_t)(next_random(&seed) % 65);
        struct q2_snapshot s, again;
        uint8_t *p, *out;
        size_t len;

        memset(name, 'n', (size_t)(next_random(&seed) % 65));
        len = (make_entry(buf, extra, name) + 7) & ~(size_t)7;
        for (size_t i = 0; i < 36; i++)
            if (i < 12 || i > 15) /* not the lengths */
                buf[i] = (uint8_t)next_random(&seed);
        p = exact_copy(buf, len);
        assert_int_equal(parse(p, len, &s, NULL, NULL), 0);
        assert_int_equal(q2_snapshot_len(&s), len);
        out = exact_copy(buf, len);
        memset(out, 0xa5, len);
        q2_snapshot_store(out, &s);
        assert_memory_equal(out, buf, len);
        assert_int_equal(parse(out, len, &again, NULL, NULL), 0);
        assert_int_equal(again.vm_state_size, s.vm_state_size);
        assert_int_equal(again.disk_size, s.disk_size);
        assert_memory_equal(again.name, s.name, s.name_len);
        free(p);
        free(out);
    }
}

static void store_takes_null_for_nothing(void **state)
{
    struct q2_snapshot s = { .l1_offset = 1 };
    uint8_t buf[40];
    uint8_t *out;

    (void)state;
    memset(buf, 0xa5, sizeof(buf));
    out = exact_copy(buf, sizeof(buf));
    assert_int_equal(q2_snapshot_len(&s), 40);
    q2_snapshot_store(out, &s);
    memset(buf, 0, sizeof(buf));
    buf[7] = 1;
    assert_memory_equal(out, buf, sizeof(buf));
    free(out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entry_gives_every_field),         cmocka_unit_test(extra_data_is_there_from_the_front),
        cmocka_unit_test(entries_start_at_multiples_of_8), cmocka_unit_test(padding_of_the_last_entry_may_be_missing),
        cmocka_unit_test(an_incomplete_entry_is_corrupt),  cmocka_unit_test(the_place_told_is_that_of_the_entry),
        cmocka_unit_test(extra_data_is_limited),           cmocka_unit_test(store_of_parse_is_the_bytes),
        cmocka_unit_test(store_takes_null_for_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
