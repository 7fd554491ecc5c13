/* test_guest_map_cost.c - how often and how much of the file the guest map reads
 * SPDX-License-Identifier: MIT */
#include <time.h>

#include "guest_map_unit.h"

/* ---- one image in memory ---- */

/* A file that counts what is asked of it. Behind its bytes it goes on as a hole. */
struct counted {
    const uint8_t *bytes;
    uint64_t len, size;
    unsigned reads, extents;
    uint64_t bytes_read;
    bool slow;          /* reads wait for a disk */
    uint64_t asked[64]; /* what was asked for ahead */
    unsigned n_asked;
    uint64_t extent_step; /* data and holes of this length take turns, whatever the bytes are; 0 = they do not */
};

static int counted_read(void *self, uint64_t off, void *buf, size_t len, struct qcbm_error *err)
{
    const struct timespec a_while = { 0, 300000 };
    struct counted *c = self;
    size_t there = off < c->len ? (size_t)u64_min(len, c->len - off) : 0;

    (void)err;
    if (c->slow)
        nanosleep(&a_while, NULL);
    assert_true(range_fits(off, len, c->size));
    if (there)
        memcpy(buf, c->bytes + off, there);
    memset((uint8_t *)buf + there, 0, len - there);
    c->reads++;
    c->bytes_read += len;
    return 0;
}

static int counted_size(void *self, uint64_t *len_bytes, struct qcbm_error *err)
{
    (void)err;
    *len_bytes = ((struct counted *)self)->size;
    return 0;
}

static int counted_extent(void *self, uint64_t off, bool *is_data, uint64_t *end, struct qcbm_error *err)
{
    struct counted *c = self;

    (void)err;
    c->extents++;
    if (c->extent_step) {
        *is_data = off / c->extent_step % 2 == 0;
        *end = align_down(off, c->extent_step) + c->extent_step;
        return 0;
    }
    *is_data = off < c->len;
    *end = *is_data ? c->len : c->size;
    return 0;
}

static void counted_will_read(void *self, uint64_t off, uint64_t len)
{
    struct counted *c = self;

    assert_true(len == 4096 && c->n_asked < ARRAY_LEN(c->asked));
    c->asked[c->n_asked++] = off;
}

static void counted_close(void *self)
{
    (void)self;
}

static const struct qcbm_io_ops counted_ops = {
    .struct_size = sizeof(counted_ops),
    .read_at = counted_read,
    .size = counted_size,
    .extent = counted_extent,
    .close = counted_close,
    .will_read = counted_will_read,
};

static struct qcbm_image *open_counted(struct counted *c, const struct image_builder *b, uint64_t size)
{
    struct qcbm_error err = { 0 };
    struct qcbm_image *img = NULL;

    *c = (struct counted){ .bytes = b->bytes, .len = b->len, .size = u64_max(size, b->len) };
    assert_ok(qcbm_open_io(&counted_ops, c, 0, &img, &err), &err);
    c->reads = c->extents = 0;
    c->bytes_read = 0;
    return img;
}

/* ---- what it costs ---- */

struct walk_cost {
    uint64_t pieces, entries;
};

static struct walk_cost walk_all(struct stack *s, unsigned flags)
{
    struct qcbmi_guest_map m = { 0 };
    struct qcbm_error err = { 0 };
    struct walk_cost cost = { 0 };

    assert_ok(qcbmi_guest_map_init(&m, &s->chain, flags, &err), &err);
    for (uint64_t at = 0; at < s->layers[0].size; cost.pieces++)
        at = piece_at(&m, at).end;
    for (size_t i = 0; i < s->chain.n; i++)
        cost.entries += m.layers[i].entries;
    qcbmi_guest_map_free(&m);
    return cost;
}

/* The upper layer says nothing in one long run, which each piece of the lower one once made it read again. */
static void a_run_of_an_upper_layer_is_read_once(void **state)
{
    struct build_options opt = { .size = MIB(64), .cluster_bits = 16, .extended_l2 = true };
    struct image_builder top, low;
    struct counted ctop, clow;
    struct walk_cost cost;
    struct stack s = { 0 };
    uint64_t n = opt.size >> opt.cluster_bits;

    (void)state;
    build_start(&top, &opt);
    for (uint64_t i = 0; i < n; i++)
        build_map(&top, i << 16, 4, 0); /* nothing, by entries that have to be parsed */
    build_finish(&top);
    build_start(&low, &opt);
    for (uint64_t i = 0; i < n; i++)
        build_map(&low, i << 16, 0, UINT64_C(0x55555555) << 32);
    build_finish(&low);
    stack_push(&s, open_counted(&ctop, &top, 0));
    stack_push(&s, open_counted(&clow, &low, 0));
    cost = walk_all(&s, QCBMI_GUEST_ALL);
    assert_int_equal(cost.pieces, 32 * n);
    assert_int_equal(cost.entries, 2 * n);
    assert_true(ctop.bytes_read <= 2 * 65536 && clow.bytes_read <= 2 * 65536); /* an L1, an L2 */
    stack_close(&s);
    build_free(&top);
    build_free(&low);
}

/* Each step asks the two layers that have something to say, not the 198 between them. */
static void deep_chains_cost_what_is_in_them(void **state)
{
    struct build_options opt = { .size = MIB(32), .cluster_bits = 9 };
    struct image_builder top, empty;
    struct counted ctop, cempty[MAX_LAYERS];
    struct walk_cost cost;
    struct stack s = { 0 };
    uint64_t n = opt.size >> 9;

    (void)state;
    build_start(&top, &opt);
    for (uint64_t i = 0; i < n; i += 2)
        build_map(&top, i << 9, BUILD_ZERO, 0);
    build_finish(&top);
    build_start(&empty, &opt);
    build_finish(&empty);
    stack_push(&s, open_counted(&ctop, &top, 0));
    for (size_t i = 1; i < MAX_LAYERS; i++)
        stack_push(&s, open_counted(&cempty[i], &empty, 0));
    cost = walk_all(&s, QCBMI_GUEST_ALL);
    assert_int_equal(cost.pieces, n);
    assert_int_equal(cost.entries, n / 2); /* those of zeros are not parsed */
    assert_true(ctop.reads <= top.len / 65536 + 4);
    for (size_t i = 1; i < MAX_LAYERS; i++)
        assert_true(cempty[i].reads <= 2 && cempty[i].extents <= 4);
    stack_close(&s);
    build_free(&top);
    build_free(&empty);
}

/* Tables all over a huge hole, in an order that is none: the hole is asked for once, and nothing of it is read. */
static void tables_in_holes_are_not_read(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = GIB(64), .cluster_bits = 16 }; /* 512 MiB under each table */
    uint64_t n = opt.size >> 29, size = UINT64_C(1) << 45;
    struct counted c;
    struct walk_cost cost;
    struct stack s = { 0 };

    build_start(b, &opt);
    build_finish(b);
    for (uint64_t i = 0; i < n; i++)
        be64_store(b->bytes + b->l1 + 8 * i, BUILD_COPIED | (size / 2 - (i * 37 % n + 1) * GIB(1)));
    stack_push(&s, open_counted(&c, b, size));
    cost = walk_all(&s, QCBMI_GUEST_ALL);
    assert_int_equal(cost.entries, 0);
    assert_true(c.reads <= 4 && c.bytes_read <= 4 * 65536 && c.extents <= 4);
    stack_close(&s);
}

/* 2 EiB, the largest disk that an L1 table can describe; the table is a hole, too. */
static void a_huge_empty_disk_costs_nothing(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = UINT64_C(1) << 60, .cluster_bits = 21, .l1_entries = 1 };
    struct counted c;
    struct stack s = { 0 };
    struct walk_cost cost;

    build_start(b, &opt);
    build_finish(b);
    be32_store(b->bytes + 36, (uint32_t)(opt.size >> 39));
    be64_store(b->bytes + 40, align_up(b->len, b->cluster_size)); /* behind all that is there */
    stack_push(&s, open_counted(&c, b, b->len + MIB(64)));
    cost = walk_all(&s, QCBMI_GUEST_ALL | QCBMI_GUEST_HOLES);
    assert_int_equal(cost.pieces, 1);
    assert_true(c.reads <= 4 && c.extents <= 4);
    stack_close(&s);
}

/* Each table once, in the order of the guest, but for three that showed that there is a disk and the one behind. */
static void where_reads_wait_the_next_tables_are_asked_for(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = MIB(80), .cluster_bits = 12 }; /* 2 MiB under each table */
    struct counted c;
    struct stack s = { 0 };

    build_start(b, &opt);
    for (uint64_t i = 0; i < 40; i++) {
        if (i != 30)
            build_data(b, MIB(2) * i);
        build_clusters(b, 20); /* no read takes in two tables */
    }
    build_finish(b);
    stack_push(&s, open_counted(&c, b, 0));
    c.slow = true;
    walk_all(&s, QCBMI_GUEST_ALL);
    assert_int_equal(c.n_asked, 39 - 4);
    for (uint64_t i = 40, k = c.n_asked; k-- > 0;) {
        i -= i == 31 ? 2 : 1;
        assert_int_equal(c.asked[k], build_l2_entry(b, MIB(2) * i));
    }
    stack_close(&s);
}

/* By pieces at hand; returns their number. Each KiB is data or a hole, by turns. */
static uint64_t count_pieces_of_1k(struct qcbmi_guest_map *m, uint64_t size)
{
    uint64_t pieces = 0;

    for (uint64_t at = 0; at < size;) {
        const struct qcbmi_guest_piece *p;
        struct qcbm_error err = { 0 };
        size_t n;

        assert_ok(qcbmi_guest_map_pieces(m, at, &p, &n, &err), &err);
        for (; n > 0; p++, n--, pieces++) {
            assert_true(p->start == at && p->end == at + 1024 && p->hole == (p->host / 1024 % 2 != 0));
            at = p->end;
        }
    }
    return pieces;
}

/* Clusters in file order or not: what is known of a hole is not believed of the next one. */
static void pieces_at_hand_end_with_what_is_known_of_holes(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = MIB(4), .cluster_bits = 12 };
    struct counted c;
    struct stack s = { 0 };
    struct qcbmi_guest_map m = { 0 };
    uint64_t n = opt.size >> 12, first;

    build_start(b, &opt);
    first = build_clusters(b, (uint32_t)n);
    for (uint64_t i = 0; i < n; i++)
        build_map(b, i << 12, BUILD_COPIED | (first + (((i * 7 + i / 64) % n) << 12)), 0);
    build_finish(b);
    stack_push(&s, open_counted(&c, b, 0));
    c.extent_step = 1024;
    assert_int_equal(qcbmi_guest_map_init(&m, &s.chain, QCBMI_GUEST_ALL, NULL), 0);
    m.layers[0].ask_holes = true;
    assert_int_equal(count_pieces_of_1k(&m, opt.size), 4 * n);
    qcbmi_guest_map_free(&m);
    stack_close(&s);
}

/* Holes between the clusters of a preallocated image cut a run, and do not make it be read again. */
static void a_run_that_is_cut_by_holes_is_read_once(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = MIB(4), .cluster_bits = 12 };
    uint64_t n = opt.size >> 12;
    struct counted c;
    struct stack s = { 0 };
    struct qcbmi_guest_map m = { 0 };
    uint64_t pieces = 0;

    build_start(b, &opt);
    for (uint64_t i = 0; i < n; i++)
        build_data(b, i << 12);
    build_finish(b);
    stack_push(&s, open_counted(&c, b, 0));
    c.extent_step = 1024;
    assert_int_equal(qcbmi_guest_map_init(&m, &s.chain, QCBMI_GUEST_ALL, NULL), 0);
    m.layers[0].ask_holes = true;
    for (uint64_t at = 0; at < opt.size; pieces++)
        at = piece_at(&m, at).end;
    assert_true(pieces == opt.size / 1024 && m.layers[0].entries == n);
    assert_int_equal(count_pieces_of_1k(&m, opt.size), opt.size / 1024);
    assert_true(c.extents <= b->len / 1024 + 2); /* in file order, each once */
    qcbmi_guest_map_free(&m);
    stack_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_of_an_upper_layer_is_read_once),
        cmocka_unit_test(deep_chains_cost_what_is_in_them),
        image_test(tables_in_holes_are_not_read),
        image_test(a_huge_empty_disk_costs_nothing),
        image_test(a_run_that_is_cut_by_holes_is_read_once),
        image_test(where_reads_wait_the_next_tables_are_asked_for),
        image_test(pieces_at_hand_end_with_what_is_known_of_holes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
