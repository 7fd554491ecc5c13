/* test_extents_held.c - what layers hold is what synth finds in them, zeros included, whole and page by page
 * SPDX-License-Identifier: MIT */
#include "synth_unit.h"

#define MAX_SIZE MIB(1)
#define SECTORS (MAX_SIZE / 512)
#define LAYERS 4u
#define CHAINS 60u

static const char *const names[LAYERS] = { "base", "low", "mid", "top" };
static uint64_t seed;

static uint64_t random_below(uint64_t n)
{
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (seed >> 33) % n;
}

/* ---- chains: files in a folder ---- */

static void put_entry(struct image_builder *b, uint64_t guest)
{
    switch (random_below(3)) {
    case 0:
        build_data(b, guest);
        break;
    case 1:
        build_map(b, guest, BUILD_ZERO, 0);
        break;
    default:
        build_map(b, guest, BUILD_COPIED | build_clusters(b, 1), 0);
    }
}

/* A cluster of which some parts are data, some zeros, and some of neither. */
static void put_parts(struct image_builder *b, uint64_t guest)
{
    uint64_t alloc = random_below(UINT32_MAX), zero = random_below(UINT32_MAX) & ~alloc;

    build_map(b, guest, BUILD_COPIED | build_clusters(b, 1), alloc | zero << 32);
}

static void write_layer(const struct temp_dir *d, unsigned i)
{
    struct build_options opt = { .backing = i ? names[i - 1] : NULL, .backing_format = i ? "qcow2" : NULL };
    struct image_builder b;
    uint64_t cluster;

    opt.extended_l2 = random_below(2);
    opt.cluster_bits = opt.extended_l2 ? 14 : 9 + (uint32_t)random_below(8);
    opt.size = i == LAYERS - 1 || random_below(2) ? MAX_SIZE - 512 * random_below(9) : 512 * random_below(SECTORS);
    cluster = UINT64_C(1) << opt.cluster_bits;
    build_start(&b, &opt);
    for (uint64_t at = 0; at < opt.size; at += cluster * (1 + random_below(MAX_SIZE / cluster / 4 + 1)))
        for (uint64_t n = 1 + random_below(3); n > 0 && at < opt.size; n--, at += cluster) {
            if (opt.extended_l2)
                put_parts(&b, at);
            else
                put_entry(&b, at);
        }
    build_finish(&b);
    build_write_file(&b, temp_path(d, names[i]));
    build_free(&b);
}

/* ---- each sector of the disk: bit 0 dirty, bit 1 zero ---- */

struct picture {
    uint8_t state[SECTORS];
    uint64_t next;
};

static int draw(void *opaque, const struct qcbm_extent *e)
{
    struct picture *p = opaque;

    assert_int_equal(e->offset, p->next);
    assert_true(e->length > 0 && e->length <= MAX_SIZE - e->offset);
    p->next += e->length;
    for (uint64_t at = e->offset; at < p->next; at += 512)
        p->state[at / 512] = (uint8_t)(e->dirty + 2 * e->zero);
    return 0;
}

static void draw_pages(struct qcbm_image *img, const char *since, unsigned flags, uint64_t from, struct picture *p)
{
    struct qcbm_extents_options o = QCBM_EXTENTS_OPTIONS_INIT;
    struct qcbm_extent page[7];
    struct qcbm_extents *x;
    struct qcbm_error err = { 0 };
    size_t got;

    o.flags = flags;
    assert_ok(qcbm_extents_open_layers(img, since, &o, &x, &err), &err);
    p->next = from;
    do {
        uint64_t next;

        assert_ok(qcbm_extents_fill(x, p->next, page, sizeof(*page), 1 + random_below(7), &got, &next, &err), &err);
        for (size_t i = 0; i < got; i++) {
            assert_true(i == 0 || page[i].dirty != page[i - 1].dirty || page[i].zero != page[i - 1].zero);
            draw(p, &page[i]);
        }
        assert_int_equal(p->next, next);
    } while (got);
    qcbm_extents_close(x);
}

/* The bitmap that synth makes, with a bit for each sector. */
static void draw_synth(struct qcbm_image *img, const char *since, unsigned flags, struct picture *p)
{
    struct qcbm_synth_options opt = QCBM_SYNTH_OPTIONS_INIT;
    struct qcbm_error err = { 0 };

    opt.granularity = 512;
    opt.flags = QCBM_SYNTH_REPLACE;
    opt.since = since;
    assert_ok(qcbm_synth(img, "n", &opt, NULL, &err), &err);
    p->next = 0;
    assert_ok(qcbm_bitmap_extents(img, "n", flags, draw, p, &err), &err);
}

static void assert_same(struct qcbm_image *img, const char *since)
{
    static struct picture want, got;

    for (unsigned flags = 0; flags <= (since ? QCBM_EXTENTS_ZERO : 0); flags += QCBM_EXTENTS_ZERO) {
        uint64_t end, from;

        draw_synth(img, since, flags, &want);
        draw_pages(img, since, flags, 0, &got);
        assert_int_equal(got.next, want.next);
        assert_memory_equal(got.state, want.state, want.next / 512);
        end = want.next;
        from = 512 * random_below(end / 512);
        memset(got.state, 0xff, sizeof(got.state));
        draw_pages(img, since, flags, from, &got);
        assert_int_equal(got.next, end);
        assert_memory_equal(got.state + from / 512, want.state + from / 512, (end - from) / 512);
    }
}

static void layers_hold_what_synth_finds(void **state)
{
    (void)state;
    for (seed = 1; seed <= CHAINS; seed++) {
        uint64_t kept = seed;
        struct temp_dir d;
        struct qcbm_image *img;
        struct qcbm_error err = { 0 };

        temp_dir_make(&d);
        for (unsigned i = 0; i < LAYERS; i++)
            write_layer(&d, i);
        assert_ok(qcbm_open(temp_path(&d, names[LAYERS - 1]), QCBM_OPEN_WRITE, &img, &err), &err);
        assert_same(img, NULL);
        for (unsigned i = 0; i < LAYERS - 1; i++)
            assert_same(img, temp_path(&d, names[i]));
        qcbm_close(img);
        temp_dir_remove(&d);
        seed = kept;
    }
}

/* ---- one layer alone ---- */

static void check_alone(void **state, const char *backing, const char *want)
{
    struct build_options opt = { .size = KIB(4), .backing = backing, .backing_format = backing ? "raw" : NULL };
    struct image_builder *b = bench_builder(state);
    struct qcbm_extents_options o = QCBM_EXTENTS_OPTIONS_INIT;
    struct qcbm_error err = { 0 };
    struct qcbm_extent page[8];
    struct qcbm_extents *x;
    char text[256] = "";
    uint64_t next;
    size_t got;

    build_start(b, &opt);
    build_data(b, 512);
    build_map(b, 1024, BUILD_ZERO, 0);
    build_map(b, 2048, BUILD_ZERO | BUILD_COPIED | build_clusters(b, 1), 0);
    build_finish(b);
    o.flags = QCBM_EXTENTS_ZERO; /* the backing file is not there, and not asked for */
    assert_ok(qcbm_extents_open_layers(bench_image(state, 0), NULL, &o, &x, &err), &err);
    assert_ok(qcbm_extents_fill(x, 0, page, sizeof(*page), 8, &got, &next, &err), &err);
    for (size_t i = 0; i < got; i++)
        snprintf(text + strlen(text), sizeof(text) - strlen(text), "%d+%d:%d ", (int)page[i].offset,
                 (int)page[i].length, page[i].dirty + 2 * page[i].zero);
    assert_string_equal(text, want);
    qcbm_extents_close(x);
}

static void of_one_layer_zeros_are_what_it_says_itself(void **state)
{
    check_alone(state, "missing", "0+512:0 512+512:1 1024+512:3 1536+512:0 2048+512:3 2560+1536:0 ");
}

static void where_nothing_is_below_the_rest_is_zeros(void **state)
{
    check_alone(state, NULL, "0+512:2 512+512:1 1024+512:3 1536+512:2 2048+512:3 2560+1536:2 ");
}

/* ---- damage ---- */

static void a_damaged_entry_is_held_or_an_error(void **state)
{
    struct build_options opt = { .size = KIB(32), .cluster_bits = 12, .backing = "missing", .backing_format = "raw" };
    struct image_builder *b = bench_builder(state);
    struct qcbm_error err = { 0 };
    struct qcbm_extent page[8];
    struct qcbm_extents *x;
    uint64_t entry, next;
    size_t got;

    build_start(b, &opt);
    build_map(b, KIB(4), UINT64_C(1) << 57, 0);        /* a reserved bit alone */
    build_map(b, KIB(12), BUILD_COPIED | 0x300200, 0); /* not aligned */
    entry = build_l2_entry(b, KIB(12));
    build_finish(b);
    assert_ok(qcbm_extents_open_layers(bench_image(state, 0), NULL, NULL, &x, &err), &err);
    assert_ok(qcbm_extents_fill(x, 0, page, sizeof(*page), 8, &got, &next, &err), &err);
    assert_int_equal(got, 2);
    assert_true(!page[0].dirty && page[1].dirty && page[1].offset == KIB(4) && page[1].length == KIB(4));
    assert_failure(qcbm_extents_fill(x, next, page, sizeof(*page), 8, &got, &next, &err), &err, QCBM_E_CORRUPT, entry,
                   "L2 entry");
    qcbm_extents_close(x);
}

static void a_base_must_be_below(void **state)
{
    struct temp_dir d;
    struct qcbm_image *img;
    struct qcbm_extents *x;
    struct qcbm_error err = { 0 };

    (void)state;
    seed = 1;
    temp_dir_make(&d);
    for (unsigned i = 0; i < LAYERS; i++)
        write_layer(&d, i);
    assert_ok(qcbm_open(temp_path(&d, "mid"), 0, &img, &err), &err);
    assert_failure(qcbm_extents_open_layers(img, temp_path(&d, "mid"), NULL, &x, &err), &err, QCBM_E_ARG,
                   QCBM_NO_OFFSET, "the overlay itself");
    assert_failure(qcbm_extents_open_layers(img, temp_path(&d, "top"), NULL, &x, &err), &err, QCBM_E_CHAIN,
                   QCBM_NO_OFFSET, "not in the backing chain");
    assert_failure(qcbm_extents_open_layers(img, temp_path(&d, "none"), NULL, &x, &err), &err, QCBM_E_NOTFOUND,
                   QCBM_NO_OFFSET, "base");
    assert_null(x);
    qcbm_close(img);
    temp_dir_remove(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(layers_hold_what_synth_finds),
        image_test(of_one_layer_zeros_are_what_it_says_itself),
        image_test(where_nothing_is_below_the_rest_is_zeros),
        image_test(a_damaged_entry_is_held_or_an_error),
        cmocka_unit_test(a_base_must_be_below),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
