/* test_extents.c - the extents of a part of the disk, against those of all of it
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#define SIZE (MIB(8) + 1536) /* 16387 granules of 512 bytes: five clusters of bits, the last one short */

static void build(struct image_builder *b)
{
    struct build_options opt = { .size = SIZE };
    uint64_t entries[5] = { 0, 1, 0, 0, 0 };

    build_start(b, &opt);
    entries[2] = build_clusters(b, 1);
    for (unsigned i = 0; i < 512; i++)
        b->bytes[entries[2] + i] = (uint8_t)(i % 7 ? 0 : 0x5c);
    entries[4] = build_clusters(b, 1);
    b->bytes[entries[4]] = 0x04;
    build_bitmap(b, "b", 9, 2, entries, 5);
    build_finish(b);
}

/* Each sector of the disk: 0 clean, 1 dirty, 2 not told. */
struct picture {
    uint8_t state[SIZE / 512];
    uint64_t next; /* where the next extent must begin */
};

static int draw(void *opaque, const struct qcbm_extent *e)
{
    struct picture *p = opaque;

    assert_int_equal(e->offset, p->next);
    assert_true(e->length > 0);
    p->next = e->offset + e->length;
    for (uint64_t at = e->offset; at < p->next; at += 512 - at % 512)
        p->state[at / 512] = e->dirty;
    return 0;
}

static void check_part(struct qcbm_image *img, const struct picture *all, uint64_t offset, uint64_t length)
{
    struct qcbm_extents_options o = QCBM_EXTENTS_OPTIONS_INIT;
    uint64_t start = offset < SIZE ? offset : SIZE, end = length < SIZE - start ? start + length : SIZE;
    static struct picture part;
    struct qcbm_error err = { 0 };

    memset(&part.state, 2, sizeof(part.state));
    part.next = start;
    o.offset = offset;
    o.length = length;
    assert_ok(qcbm_bitmap_extents_of(img, "b", &o, draw, &part, &err), &err);
    assert_int_equal(part.next, end);
    for (uint64_t i = 0; i < SIZE / 512; i++)
        assert_int_equal(part.state[i], start < end && 512 * (i + 1) > start && 512 * i < end ? all->state[i] : 2);
}

static void a_part_is_what_the_whole_says_there(void **state)
{
    static const uint64_t places[] = { 0,      1,           511,          512,          700,    MIB(2) - 1,
                                       MIB(2), MIB(4) - 64, MIB(4) + 513, MIB(6) - 512, MIB(8), MIB(8) + 1024,
                                       SIZE,   GIB(1) };
    struct image_builder *b = bench_builder(state);
    static struct picture all;
    struct qcbm_image *img;
    struct qcbm_error err = { 0 };

    build(b);
    img = bench_image(state, 0);
    assert_ok(qcbm_bitmap_extents(img, "b", 0, draw, &all, &err), &err);
    assert_int_equal(all.next, SIZE);
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        static const uint64_t lengths[] = { 0, 1, 512, 5000, MIB(2), MIB(3), UINT64_MAX };

        for (size_t k = 0; k < ARRAY_LEN(lengths); k++)
            check_part(img, &all, places[i], lengths[k]);
    }
}

static void count_data(void *opaque, const struct qcbm_trace_event *e)
{
    *(unsigned *)opaque += e->kind == QCBM_TRACE_READ && strcmp(e->what, "bitmap data") == 0;
}

static void bits_outside_of_the_part_are_not_read(void **state)
{
    struct image_builder *b = bench_builder(state);
    static struct picture part;
    struct qcbm_extents_options o = QCBM_EXTENTS_OPTIONS_INIT;
    struct qcbm_image *img;
    struct qcbm_error err = { 0 };
    unsigned reads = 0;

    build(b);
    img = bench_image(state, 0);
    qcbm_set_trace(img, count_data, &reads);
    o.length = MIB(3); /* the first two clusters of bits: zeros and ones */
    part.next = 0;
    assert_ok(qcbm_bitmap_extents_of(img, "b", &o, draw, &part, &err), &err);
    assert_int_equal(reads, 0);
    o.offset = part.next = MIB(5);
    assert_ok(qcbm_bitmap_extents_of(img, "b", &o, draw, &part, &err), &err);
    assert_int_equal(reads, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(a_part_is_what_the_whole_says_there),
        image_test(bits_outside_of_the_part_are_not_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
