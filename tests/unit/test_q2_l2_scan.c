/* test_q2_l2_scan.c - the masks of every twin, against the parser of single entries
 * SPDX-License-Identifier: MIT */
#include "geometry_unit.h"
#include "unit.h"

#include "base/bytes.h"
#include "base/checked.h"
#include "format/q2_l2_scan.h"

#define FILE_END (UINT64_C(40) << 20)

/* What an entry is, told by the parser and by nothing of the scan. */
static void expect(const struct q2_geometry *g, uint64_t raw, uint64_t word, struct q2_l2_masks *out, unsigned i)
{
    bool sound, plain, mixed;
    struct q2_l2_entry e;

    q2_l2_entry_parse(raw, word, 0, g, &e);
    sound = e.kind == Q2_NORMAL && e.defects == 0 && !g->data_file && (raw & 1) == 0 &&
            range_fits(e.host_offset, e.host_len, FILE_END);
    plain = sound && q2_l2_entry_allocated_mask(&e, g) == UINT32_MAX && e.sub_zero == 0;
    mixed = sound && !plain;
    out->plain |= (uint64_t)plain << i;
    out->odd |= (uint64_t)(!plain && (raw | word) != 0) << i;
    out->mixed |= (uint64_t)mixed << i;
    out->some |= (uint64_t)(mixed && q2_l2_entry_allocated_mask(&e, g) != 0) << i;
    out->parts += mixed ? (uint32_t)__builtin_popcount(q2_l2_entry_allocated_mask(&e, g)) : 0;
}

/* Entries of all sorts: zero, plain, near the end of the file, each single bit, noise. */
static uint64_t some_entry(const struct q2_geometry *g, uint64_t *seed)
{
    uint64_t r = next_random(seed), cs = g->cluster_size, plain = r % (FILE_END / cs) * cs;

    switch (next_random(seed) % 8) {
    case 0:
        return 0;
    case 1:
    case 2:
        return plain | (r & Q2_ENTRY_COPIED);
    case 3:
        return FILE_END + cs * (r % 3) - cs;
    case 4:
        return plain | UINT64_C(1) << (r >> 32) % 64;
    case 5:
        return UINT64_C(1) << r % 64;
    case 6:
        return plain | Q2_L2_ZERO;
    default:
        return r;
    }
}

static uint64_t some_word(uint64_t *seed)
{
    if (next_random(seed) % 3 == 0) { /* data here, zeros there */
        uint64_t data = (uint32_t)next_random(seed), zeros = (uint32_t)next_random(seed) & ~data;

        return zeros << 32 | data;
    }
    static const uint64_t words[] = { UINT32_MAX, 0, UINT64_C(0xffffffff00000000), UINT64_MAX, 1, UINT64_C(1) << 63 };
    uint64_t r = next_random(seed);

    return r % 8 < ARRAY_LEN(words) ? words[r % 8] : r;
}

static void same_masks(const struct q2_l2_masks *a, const struct q2_l2_masks *b)
{
    assert_int_equal(a->plain, b->plain);
    assert_int_equal(a->odd, b->odd);
    assert_int_equal(a->mixed, b->mixed);
    assert_int_equal(a->some, b->some);
    assert_int_equal(a->parts, b->parts);
}

/* A cluster in the file, as all but one of an image that was written wholly. */
static uint64_t plain_entry(const struct q2_geometry *g, uint64_t *seed)
{
    return (1 + next_random(seed) % (FILE_END / g->cluster_size - 1)) * g->cluster_size | Q2_ENTRY_COPIED;
}

/* Entries of all sorts, or with @one but one of them plain. */
static void compare_round(const struct q2_l2_scan *s, const struct q2_geometry *g, uint32_t n, bool one, uint64_t *seed)
{
    uint32_t other = (uint32_t)(next_random(seed) % n);
    struct q2_l2_masks expected = { 0 }, m = { UINT64_C(0x5555), UINT64_C(0xaaaa), 3, 1, 9 };
    uint8_t raw[16 * Q2_L2_SCAN_MAX + 1], *exact;

    for (uint32_t i = 0; i < n; i++) {
        uint64_t entry = one && i != other ? plain_entry(g, seed) : some_entry(g, seed);
        uint64_t word = g->extended_l2 ? some_word(seed) : 0;

        be64_store(raw + i * g->l2_entry_size, entry);
        if (g->extended_l2)
            be64_store(raw + i * g->l2_entry_size + 8, word);
        expect(g, entry, word, &expected, i);
    }
    exact = exact_copy(raw, n * g->l2_entry_size);
    q2_l2_scan(s, exact, n, &m);
    free(exact);
    same_masks(&m, &expected);
    memmove(raw + 1, raw, sizeof(raw) - 1); /* at an odd address */
    q2_l2_scan(s, raw + 1, n, &m);
    same_masks(&m, &expected);
}

static void every_twin_gives_the_masks_of_the_parser(void **state)
{
    static const unsigned kinds[] = { 0, V2, EXT, DATA_FILE, EXT | DATA_FILE };
    uint64_t seed = 0x5ca1ab1e;
    unsigned run = 0;

    (void)state;
    for (unsigned t = 0; t < q2_l2_scan_n_twins; t++) {
        const struct q2_l2_scan_twin *twin = &q2_l2_scan_twins[t];

        if (!twin->usable())
            continue;
        run++;
        for (uint32_t bits = 9; bits <= 21; bits += 4) {
            for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
                struct q2_geometry g = geometry(kinds[k] & EXT && bits < 14 ? 14 : bits, kinds[k]);
                struct q2_l2_scan s;

                q2_l2_scan_init(&s, &g, FILE_END);
                s.fn = g.extended_l2 ? twin->extended : twin->standard;
                for (uint32_t n = 1; n <= Q2_L2_SCAN_MAX; n++)
                    for (unsigned round = 0; round < 20; round++)
                        compare_round(&s, &g, n, round % 2, &seed);
            }
        }
    }
    assert_true(run >= 1);
#if defined(__x86_64__) || defined(__aarch64__)
    assert_true(run >= 2);
#endif
    assert_true(q2_l2_scan_twins[q2_l2_scan_n_twins - 1].usable());
}

static void the_twin_that_a_test_takes_is_taken(void **state)
{
    struct q2_geometry g = geometry(16, 0), ext = geometry(16, EXT);
    struct q2_l2_scan s;

    (void)state;
    for (unsigned t = 0; t < q2_l2_scan_n_twins; t++) {
        if (!q2_l2_scan_twins[t].usable())
            continue;
        q2_l2_scan_take(&q2_l2_scan_twins[t]);
        q2_l2_scan_init(&s, &g, FILE_END);
        assert_true(s.fn == q2_l2_scan_twins[t].standard);
        q2_l2_scan_init(&s, &ext, FILE_END);
        assert_true(s.fn == q2_l2_scan_twins[t].extended);
    }
    q2_l2_scan_take(NULL);
    q2_l2_scan_init(&s, &g, UINT64_MAX - 511); /* a file as long as can be */
    assert_int_equal(s.offset_end, Q2_L2_SCAN_END);
}

static void nothing_is_plain_in_an_empty_file(void **state)
{
    struct q2_geometry g = geometry(16, 0);
    struct q2_l2_masks m;
    struct q2_l2_scan s;
    uint8_t entry[8];

    (void)state;
    q2_l2_scan_init(&s, &g, 0);
    be64_store(entry, 0x10000);
    q2_l2_scan(&s, entry, 1, &m);
    assert_int_equal(m.plain, 0);
    assert_int_equal(m.odd, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_twin_gives_the_masks_of_the_parser),
        cmocka_unit_test(the_twin_that_a_test_takes_is_taken),
        cmocka_unit_test(nothing_is_plain_in_an_empty_file),
    };

    return cmocka_run_group_tests_name("q2_l2_scan", tests, NULL, NULL);
}
