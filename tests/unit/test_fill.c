/* test_fill.c - what is given page by page is what the callbacks get, wherever a page begins, and costs the same there
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#define SIZE (MIB(4) + 1536)
#define BITMAP_CLUSTERS 3 /* of 512 bytes, for 8195 bits */
#define MANY 16384        /* more runs than the disk has sectors */

static uint64_t seed;

static uint64_t random_below(uint64_t n)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (seed >> 33) % n;
}

/* Runs of bits of random lengths, clusters of bits that are all zeros or ones; data, zeros and nothing on the disk. */
static void build_random(struct image_builder *b)
{
    struct build_options opt = { .size = SIZE };
    uint64_t entries[BITMAP_CLUSTERS];

    build_start(b, &opt);
    for (unsigned i = 0; i < BITMAP_CLUSTERS; i++) {
        uint64_t kind = random_below(4), bit = 0;

        entries[i] = kind < 2 ? kind : build_clusters(b, 1);
        for (bool on = false; kind >= 2 && bit < 4096; on = !on)
            for (uint64_t n = 1 + random_below(kind == 2 ? 3 : 700); n > 0 && bit < 4096; n--, bit++)
                b->bytes[entries[i] + bit / 8] |= (uint8_t)(on << bit % 8);
    }
    build_bitmap(b, "b", 9, 2, entries, BITMAP_CLUSTERS);
    for (uint64_t at = 0; at < SIZE; at += 512 * (1 + random_below(40))) {
        if (random_below(3))
            build_data(b, at);
        else
            build_map(b, at, BUILD_ZERO, 0);
    }
    build_finish(b);
}

/* ---- extents ---- */

struct extents {
    struct qcbm_extent list[MANY];
    size_t n;
};

static int collect_extent(void *opaque, const struct qcbm_extent *e)
{
    struct extents *all = opaque;

    assert_true(all->n < MANY);
    all->list[all->n++] = *e;
    return 0;
}

static void assert_same_extent(const struct qcbm_extent *a, const struct qcbm_extent *b)
{
    assert_int_equal(a->offset, b->offset);
    assert_int_equal(a->length, b->length);
    assert_int_equal(a->dirty, b->dirty);
    assert_int_equal(a->zero, b->zero);
}

/* From @from on, in pages of random sizes (of @n elements if that is not 0), against what the callback gets. */
static void check_extents(struct qcbm_image *img, struct qcbm_extents *x, unsigned flags, uint64_t from, size_t n)
{
    struct qcbm_extents_options o = QCBM_EXTENTS_OPTIONS_INIT;
    static struct extents all;
    struct qcbm_error err = { 0 };
    size_t seen = 0, got;

    o.flags = flags;
    o.offset = from;
    all.n = 0;
    assert_ok(qcbm_bitmap_extents_of(img, "b", &o, collect_extent, &all, &err), &err);
    do {
        size_t wanted = n ? n : 1 + (size_t)random_below(20);
        struct qcbm_extent *page = calloc(wanted, sizeof(*page)); /* alone, for the sanitizer */
        uint64_t next;

        assert_ok(qcbm_extents_fill(x, from, page, sizeof(*page), wanted, &got, &next, &err), &err);
        for (size_t i = 0; i < got; i++)
            assert_same_extent(&page[i], &all.list[seen++]);
        assert_int_equal(next, got ? page[got - 1].offset + page[got - 1].length : from);
        assert_true(got == wanted || seen == all.n);
        free(page);
        from = next;
    } while (got > 0);
    assert_int_equal(seen, all.n);
}

/* @look at random images, with the seed of each. */
static void look_at_images(uint64_t first, void (*look)(struct qcbm_image *img, uint64_t number))
{
    for (uint64_t number = first; number < 400; number += 7) {
        struct image_builder b;
        struct qcbm_image *img;

        seed = number;
        build_random(&b);
        img = build_open(&b, 0);
        look(img, number);
        qcbm_close(img);
        build_free(&b);
    }
}

static void look_at_extents(struct qcbm_image *img, uint64_t number)
{
    struct qcbm_extents_options o = QCBM_EXTENTS_OPTIONS_INIT;
    struct qcbm_error err = { 0 };
    struct qcbm_extents *x;

    o.flags = number % 2 ? QCBM_EXTENTS_ZERO : 0;
    assert_ok(qcbm_extents_open(img, "b", &o, &x, &err), &err);
    check_extents(img, x, o.flags, 0, 0);
    for (unsigned i = 0; i < 8; i++)
        check_extents(img, x, o.flags, random_below(SIZE), 0);
    check_extents(img, x, o.flags, SIZE - 1, 1);
    check_extents(img, x, o.flags, SIZE, 1);
    check_extents(img, x, o.flags, UINT64_MAX, 3);
    check_extents(img, x, o.flags, SIZE / 2, 1);
    qcbm_extents_close(x);
}

static void pages_of_extents_are_what_the_callback_gets(void **state)
{
    (void)state;
    look_at_images(1, look_at_extents);
}

/* ---- the map ---- */

struct entries {
    struct qcbm_map_entry list[MANY];
    size_t n;
};

static int collect_entry(void *opaque, const struct qcbm_map_entry *e)
{
    struct entries *all = opaque;

    assert_true(all->n < MANY);
    all->list[all->n++] = *e;
    return 0;
}

static void assert_same_entry(const struct qcbm_map_entry *a, const struct qcbm_map_entry *b)
{
    assert_int_equal(a->start, b->start);
    assert_int_equal(a->length, b->length);
    assert_int_equal(a->depth, b->depth);
    assert_true(a->present == b->present && a->zero == b->zero && a->data == b->data);
    assert_int_equal(a->offset, b->offset);
    assert_true((a->filename != NULL) == (b->filename != NULL));
}

static void check_map(struct qcbm_chain *chain, uint64_t from, size_t n)
{
    static struct entries all;
    struct qcbm_error err = { 0 };
    size_t seen = 0, got;

    all.n = 0;
    assert_ok(qcbm_chain_map(chain, from, UINT64_MAX, collect_entry, &all, &err), &err);
    do {
        size_t wanted = n ? n : 1 + (size_t)random_below(20);
        struct qcbm_map_entry *page = calloc(wanted, sizeof(*page));
        uint64_t next;

        assert_ok(qcbm_chain_map_fill(chain, from, page, sizeof(*page), wanted, &got, &next, &err), &err);
        for (size_t i = 0; i < got; i++)
            assert_same_entry(&page[i], &all.list[seen++]);
        assert_int_equal(next, got ? page[got - 1].start + page[got - 1].length : from);
        assert_true(got == wanted || seen == all.n);
        free(page);
        from = next;
    } while (got > 0);
    assert_int_equal(seen, all.n);
}

static void look_at_map(struct qcbm_image *img, uint64_t number)
{
    struct qcbm_error err = { 0 };
    struct qcbm_chain *chain;

    (void)number;
    assert_ok(qcbm_chain_open(img, &chain, &err), &err);
    check_map(chain, 0, 0);
    for (unsigned i = 0; i < 8; i++)
        check_map(chain, random_below(SIZE), 0);
    check_map(chain, SIZE - 1, 1);
    check_map(chain, UINT64_MAX, 1);
    check_map(chain, 0, 1);
    qcbm_chain_close(chain);
}

static void pages_of_the_map_are_what_the_callback_gets(void **state)
{
    (void)state;
    look_at_images(2, look_at_map);
}

/* What comes before an entry that cannot be read is a page, and the entry is the error of the next one. */
static void an_error_comes_with_the_page_that_it_begins(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(64), .version = 2 };
    struct qcbm_map_entry page[8];
    struct qcbm_error err = { 0 };
    struct qcbm_chain *chain;
    uint64_t next;
    size_t got;

    build_start(b, &opt);
    build_data(b, 0);
    build_map(b, KIB(4), BUILD_ZERO, 0); /* which version 2 does not know */
    build_finish(b);
    assert_ok(qcbm_chain_open(bench_image(state, 0), &chain, &err), &err);
    assert_ok(qcbm_chain_map_fill(chain, 0, page, sizeof(page[0]), 8, &got, &next, &err), &err);
    assert_int_equal(got, 2);
    assert_int_equal(next, KIB(4));
    assert_int_equal(qcbm_chain_map_fill(chain, next, page, sizeof(page[0]), 8, &got, &next, &err), QCBM_E_CORRUPT);
    assert_int_equal(got, 0);
    assert_int_equal(next, KIB(4));
    qcbm_chain_close(chain);
}

/* ---- cost ---- */

struct cost {
    uint64_t reads, bytes;
};

static void count_reads(void *opaque, const struct qcbm_trace_event *e)
{
    struct cost *c = opaque;

    c->reads += e->kind == QCBM_TRACE_READ;
    c->bytes += e->kind == QCBM_TRACE_READ ? e->length : 0;
}

/* 2 GiB of which only the last clusters have anything: 4 Mi bits in 1024 clusters, 65536 L1 entries. */
static void a_page_at_the_end_costs_no_walk(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = GIB(2) };
    static uint64_t entries[1024];
    struct qcbm_extent extents[2];
    struct qcbm_map_entry map[2];
    struct qcbm_extents *x;
    struct qcbm_chain *chain;
    struct qcbm_error err = { 0 };
    struct qcbm_image *img;
    struct cost cost = { 0 };
    uint64_t next;
    size_t got;

    build_start(b, &opt);
    for (unsigned i = 0; i < 1024; i++) {
        entries[i] = build_clusters(b, 1);
        memset(b->bytes + entries[i], 0x55, 512);
    }
    build_bitmap(b, "b", 9, 2, entries, 1024);
    build_data(b, 0);
    build_data(b, GIB(2) - 1024);
    build_finish(b);
    img = bench_image(state, 0);
    assert_ok(qcbm_extents_open(img, "b", NULL, &x, &err), &err);
    assert_ok(qcbm_chain_open(img, &chain, &err), &err);
    assert_ok(qcbm_chain_map_fill(chain, 0, map, sizeof(map[0]), 1, &got, &next, &err), &err);
    qcbm_set_trace(img, count_reads, &cost);
    assert_ok(qcbm_extents_fill(x, GIB(2) - 1024, extents, sizeof(extents[0]), 2, &got, &next, &err), &err);
    assert_int_equal(got, 2);
    assert_true(cost.reads > 0 && cost.reads <= 2); /* a piece of the table, a cluster of bits */
    cost = (struct cost){ 0 };
    assert_ok(qcbm_extents_fill(x, GIB(1), extents, sizeof(extents[0]), 2, &got, &next, &err), &err);
    assert_true(cost.bytes > 0 && cost.bytes <= 2048); /* nor is read what lies behind a page */
    cost = (struct cost){ 0 };
    assert_ok(qcbm_chain_map_fill(chain, GIB(2) - 1024, map, sizeof(map[0]), 2, &got, &next, &err), &err);
    assert_int_equal(got, 2);
    assert_true(cost.reads <= 2); /* of the L1 table, and of the L2 table */
    qcbm_set_trace(img, NULL, NULL);
    qcbm_chain_close(chain);
    qcbm_extents_close(x);
}

/* ---- arguments, findings, a commit in between ---- */

static void elements_have_the_size_of_the_caller(void **state)
{
    struct bench *t = *state;
    uint64_t page[4] = { 9, 9, 9, 9 }, next;
    struct qcbm_extents *x;
    struct qcbm_error err = { 0 };
    size_t got;

    seed = 5;
    build_random(&t->b);
    session_open(&t->s, &t->b);
    assert_ok(qcbm_extents_open(t->s.img, "b", NULL, &x, &err), &err);
    /* an older element, of an offset alone */
    assert_ok(qcbm_extents_fill(x, 512, (struct qcbm_extent *)(void *)page, 8, 3, &got, &next, &err), &err);
    assert_int_equal(page[0], 512);
    assert_true(page[1] > 512 && page[2] > page[1] && next > page[2]);
    assert_int_equal(page[3], 9);
    assert_ok(qcbm_extents_fill(x, 7, NULL, 8, 0, &got, &next, &err), &err);
    assert_int_equal(got, 0);
    assert_int_equal(next, 7);
    assert_int_equal(qcbm_extents_fill(x, 0, NULL, 0, 3, &got, &next, &err), QCBM_E_ARG);
    assert_ok(qcbm_synth(t->s.img, "new", NULL, NULL, &err), &err);
    assert_failure(qcbm_extents_fill(x, 0, (struct qcbm_extent *)(void *)page, 8, 1, &got, &next, &err), &err,
                   QCBM_E_ARG, QCBM_NO_OFFSET, "was changed");
    qcbm_extents_close(x);
    assert_int_equal(qcbm_extents_open(t->s.img, "none", NULL, &x, &err), QCBM_E_NOTFOUND);
    assert_null(x);
    qcbm_extents_close(NULL);
}

static void findings_are_paged_as_they_are_counted(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(64) };
    struct qcbm_finding page[2], one;
    struct qcbm_error err = { 0 };
    struct qcbm_image *img;
    uint64_t from = 0;
    size_t got;

    build_start(b, &opt);
    for (unsigned i = 0; i < 3; i++)
        build_bitmap(b, i == 0 ? "a" : i == 1 ? "b" : "c", 9, 3, NULL, 0); /* in use */
    build_finish(b);
    img = bench_image(state, 0);
    assert_int_equal(qcbm_finding_count(img), 3);
    do {
        uint64_t first = from;

        assert_ok(qcbm_findings_fill(img, from, page, sizeof(page[0]), 2, &got, &from, &err), &err);
        for (size_t i = 0; i < got; i++) {
            assert_int_equal(qcbm_finding_get(img, (uint32_t)(first + i), &one, sizeof(one)), 0);
            assert_memory_equal(&page[i], &one, sizeof(one));
        }
    } while (got > 0);
    assert_int_equal(from, 3);
    assert_int_equal(qcbm_findings_fill(img, 0, page, 0, 2, &got, &from, &err), QCBM_E_ARG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_of_extents_are_what_the_callback_gets),
        cmocka_unit_test(pages_of_the_map_are_what_the_callback_gets),
        image_test(an_error_comes_with_the_page_that_it_begins),
        image_test(a_page_at_the_end_costs_no_walk),
        image_test(elements_have_the_size_of_the_caller),
        image_test(findings_are_paged_as_they_are_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
