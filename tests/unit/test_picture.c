/* test_picture.c - cells of a picture: bytes beside a loop over bytes, places, blocks, the nearest of 256 colours
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include <limits.h>

#include "picture.h"
#include "picture_font.h"
#include "terminal.h"

static uint64_t draw(uint64_t *seed, uint64_t below)
{
    *seed = *seed * UINT64_C(6364136223846793005) + 1442695040888963407;
    return (*seed >> 33) % below;
}

/* Each unit of 128 bytes gets a kind, then all come in as runs. */
static void sums_are_those_of_a_loop(void **state)
{
    uint64_t seed = 7;

    (void)state;
    for (unsigned round = 0; round < 200; round++) {
        uint64_t size = 128 * (1 + draw(&seed, 4000)), units = size / 128, start = 0;
        uint32_t max = 1 + (uint32_t)draw(&seed, 70);
        struct picture_cells c;
        uint64_t *expected;

        assert_true(picture_cells_init(&c, size, max, 3));
        assert_true(c.n <= max);
        assert_true(c.cell == PICTURE_MIN_CELL || (size + c.cell / 2 - 1) / (c.cell / 2) > max);
        assert_true((c.n - 1) * c.cell < size && c.n * c.cell >= size);
        expected = calloc((size_t)c.n * 3, sizeof(expected[0]));
        while (start < units) {
            uint64_t length = 1 + draw(&seed, units - start);
            unsigned kind = (unsigned)draw(&seed, 3);

            /* the last one is told to be longer than the disk */
            picture_cells_add(&c, kind, start * 128, length * 128 + (start + length == units ? 9999 : 0));
            for (uint64_t unit = start; unit < start + length; unit++)
                expected[unit * 128 / c.cell * 3 + kind] += 128;
            start += length;
        }
        assert_memory_equal(c.bytes, expected, (size_t)c.n * 3 * sizeof(expected[0]));
        assert_int_equal(c.totals[0] + c.totals[1] + c.totals[2], size);
        picture_cells_add(&c, 0, size, 5);
        picture_cells_add(&c, 0, UINT64_MAX, UINT64_MAX);
        assert_int_equal(c.totals[0] + c.totals[1] + c.totals[2], size);
        free(expected);
        picture_cells_free(&c);
    }
}

static void the_largest_disk_has_cells(void **state)
{
    struct picture_cells c;

    (void)state;
    for (uint32_t max = 1; max <= PICTURE_MAX_CELLS; max *= 4) {
        assert_true(picture_cells_init(&c, INT64_MAX, max, 2));
        picture_cells_add(&c, 1, 1, UINT64_MAX);
        assert_int_equal(c.totals[1], INT64_MAX - 1);
        assert_int_equal(c.n, max);
        picture_cells_free(&c);
    }
}

/* Each place once; what follows is a neighbour; and aligned squares hold aligned ranges. */
static void the_curve_passes_every_place_once(void **state)
{
    (void)state;
    for (uint32_t side = 1; side <= 64; side *= 2) {
        struct picture_layout l = picture_layout_of(true, side, side * side);
        bool *seen = calloc((size_t)side * side, sizeof(seen[0]));
        struct picture_place before = { 0, 0 };

        for (uint32_t i = 0; i < side * side; i++) {
            struct picture_place p = picture_place_of(&l, i);
            uint32_t dx = p.x > before.x ? p.x - before.x : before.x - p.x;
            uint32_t dy = p.y > before.y ? p.y - before.y : before.y - p.y;

            assert_true(p.x < side && p.y < side && !seen[p.y * side + p.x]);
            assert_int_equal(dx + dy, i ? 1 : 0);
            seen[p.y * side + p.x] = true;
            before = p;
        }
        free(seen);
    }
}

static const struct picture_kind kinds[] = { { "a", "a", 'A', { 0x000000, 0xFFFFFF } },
                                             { "b", "b", 'B', { 0xE9E9E9, 0x2B2B2B } } };

static void shades_begin_at_quarters(void **state)
{
    static const struct {
        uint64_t bytes;
        unsigned kind, level;
    } rows[] = { { 0, 1, 2 }, { 1, 0, 0 }, { 255, 0, 0 }, { 256, 0, 1 }, { 767, 0, 1 }, { 768, 0, 2 }, { 1024, 0, 2 } };

    (void)state;
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        struct picture p = { .plan = { kinds, 2 } };
        struct picture_look look;

        assert_true(picture_cells_init(&p.cells, 1024, 1, 2));
        picture_cells_add(&p.cells, 0, 0, rows[i].bytes);
        picture_cells_add(&p.cells, 1, rows[i].bytes, 1024 - rows[i].bytes);
        look = picture_look_of(&p, 0);
        assert_int_equal(look.kind, rows[i].kind);
        assert_int_equal(look.level, rows[i].level);
        picture_free(&p);
    }
}

/* Blocks cover each cell once, at its place, and all of one are alike. */
static void blocks_cover_every_cell_once(void **state)
{
    uint64_t seed = 3;

    (void)state;
    for (unsigned round = 0; round < 60; round++) {
        bool curve = round % 2;
        uint32_t width = curve ? 16 : 1 + (uint32_t)draw(&seed, 20);
        struct picture p = { .plan = { kinds, 2 } };
        uint64_t size = 512 * (1 + draw(&seed, width * 16)) - 256 * draw(&seed, 2);
        unsigned *seen;

        assert_true(picture_cells_init(&p.cells, size, PICTURE_MAX_CELLS, 2));
        p.layout = picture_layout_of(curve, width, p.cells.n);
        for (uint64_t at = 0; at < size; at += 512)
            picture_cells_add(&p.cells, draw(&seed, 40) == 0 || at > size / 2, at, 512);
        seen = calloc((size_t)width * p.layout.height, sizeof(seen[0]));
        for (uint32_t i = 0; i < p.cells.n;) {
            struct picture_block b = picture_block_at(&p, i);

            assert_int_equal(b.first, i);
            assert_int_equal(b.n, b.width * b.height);
            for (uint32_t k = 0; k < b.n; k++) {
                struct picture_place at = picture_place_of(&p.layout, i + k);

                assert_true(at.x >= b.at.x && at.x < b.at.x + b.width && at.y >= b.at.y && at.y < b.at.y + b.height);
                assert_int_equal(seen[at.y * width + at.x]++, 0);
                assert_memory_equal(picture_cell_bytes(&p.cells, i), picture_cell_bytes(&p.cells, i + k), 16);
                assert_int_equal(picture_cell_length(&p.cells, i), picture_cell_length(&p.cells, i + k));
            }
            i += b.n;
        }
        free(seen);
        picture_free(&p);
    }
}

/* A file of a picture is as small as its blocks are few. */
static void what_is_alike_all_over_is_one_block(void **state)
{
    (void)state;
    for (uint32_t side = 1; side <= 16; side *= 2) {
        struct picture p = { .plan = { kinds, 2 } };
        uint64_t size = (uint64_t)512 * side * side;

        assert_true(picture_cells_init(&p.cells, size, PICTURE_MAX_CELLS, 2));
        picture_cells_add(&p.cells, 0, 0, size);
        p.layout = picture_layout_of(true, side, p.cells.n);
        assert_int_equal(picture_block_at(&p, 0).n, side * side);
        p.layout = picture_layout_of(false, side, p.cells.n);
        assert_int_equal(picture_block_at(&p, 0).n, side); /* a row */
        picture_free(&p);
    }
}

static uint32_t rgb_of(unsigned number)
{
    static const unsigned steps[6] = { 0, 95, 135, 175, 215, 255 };

    if (number >= 232)
        return (8 + 10 * (number - 232)) * 0x010101;
    number -= 16;
    return steps[number / 36] << 16 | steps[number / 6 % 6] << 8 | steps[number % 6];
}

static unsigned apart(uint32_t a, uint32_t b)
{
    unsigned sum = 0;

    for (unsigned shift = 0; shift < 24; shift += 8) {
        int d = (int)(a >> shift & 0xFF) - (int)(b >> shift & 0xFF);

        sum += (unsigned)(d * d);
    }
    return sum;
}

static void the_nearest_colour_is_that_of_a_loop(void **state)
{
    uint64_t seed = 11;

    (void)state;
    for (unsigned round = 0; round < 5000; round++) {
        uint32_t colour = (uint32_t)draw(&seed, 1u << 24);
        unsigned best = 16;

        for (unsigned i = 17; i < 256; i++)
            if (apart(colour, rgb_of(i)) < apart(colour, rgb_of(best)))
                best = i;
        assert_int_equal(apart(colour, rgb_of(terminal_nearest_256(colour))), apart(colour, rgb_of(best)));
    }
}

/* Names in a legend may have any bytes. */
static void what_the_font_lacks_is_a_question_mark(void **state)
{
    const uint8_t *mark = picture_font_glyph('?');

    (void)state;
    for (int c = CHAR_MIN; c <= CHAR_MAX; c++)
        if (c < ' ' || c > '~')
            assert_ptr_equal(picture_font_glyph((char)c), mark);
        else
            assert_int_equal((picture_font_glyph((char)c) - picture_font_glyph(' ')) / FONT_HEIGHT, c - ' ');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sums_are_those_of_a_loop),
        cmocka_unit_test(the_largest_disk_has_cells),
        cmocka_unit_test(the_curve_passes_every_place_once),
        cmocka_unit_test(shades_begin_at_quarters),
        cmocka_unit_test(blocks_cover_every_cell_once),
        cmocka_unit_test(what_is_alike_all_over_is_one_block),
        cmocka_unit_test(the_nearest_colour_is_that_of_a_loop),
        cmocka_unit_test(what_the_font_lacks_is_a_question_mark),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
