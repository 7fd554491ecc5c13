/* test_guest_map_random.c - random chains, each sector as an oracle has it
 * SPDX-License-Identifier: MIT */
#include "guest_map_unit.h"

/* ---- random chains beside an oracle ---- */

/* What a layer has in a sector, noted when its entry was written. */
struct cell {
    enum q2_kind kind;
    uint64_t host;
    bool doubtful;
};

struct model {
    struct image_builder b;
    struct qcbm_image *img;
    struct cell *cells; /* one for each sector */
    uint64_t sectors;
};

static uint64_t random_below(uint64_t *seed, uint64_t n)
{
    *seed = *seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (*seed >> 33) % n;
}

static void note(struct model *l, uint64_t guest, uint64_t len, struct cell cell)
{
    for (uint64_t at = guest; at < guest + len && at / 512 < l->sectors; at += 512) {
        l->cells[at / 512] = cell;
        if (cell.host != QCBM_NO_OFFSET && cell.kind != Q2_COMPRESSED)
            l->cells[at / 512].host += at - guest;
    }
}

/* A cluster with subclusters: @host is 0 or a cluster; bit i of @alloc and @zero is subcluster i. */
static void write_extended(struct model *l, uint64_t guest, uint64_t host, uint32_t alloc, uint32_t zero)
{
    uint64_t sub = l->b.cluster_size / 32;
    bool invalid = host ? alloc & zero : alloc;

    build_map(&l->b, guest, host, alloc | (uint64_t)zero << 32);
    for (unsigned i = 0; i < 32; i++) {
        bool a = alloc >> i & 1, z = zero >> i & 1;
        struct cell c = { z      ? host ? Q2_ZERO_ALLOC : Q2_ZERO_PLAIN
                          : a    ? Q2_NORMAL
                          : host ? Q2_UNALLOCATED_ALLOC
                                 : Q2_UNALLOCATED,
                          host ? host + i * sub : QCBM_NO_OFFSET, invalid };

        if (invalid)
            c = (struct cell){ Q2_INVALID, QCBM_NO_OFFSET, true };
        note(l, guest + i * sub, sub, c);
    }
}

static void write_cluster(struct model *l, uint64_t guest, uint64_t *seed)
{
    uint32_t cs = l->b.cluster_size, alloc = (uint32_t)random_below(seed, UINT32_MAX);
    uint64_t what = random_below(seed, 10), host;

    if (what == 0) { /* nothing */
        return;
    } else if (what == 1) {
        host = build_clusters(&l->b, 1) + random_below(seed, 512);
        build_map(&l->b, guest, BUILD_COMPRESSED | host, 0);
        note(l, guest, cs, (struct cell){ Q2_COMPRESSED, host, false });
    } else if (what == 2) { /* a reserved bit, which QEMU does not look at */
        build_map(&l->b, guest, 4, 0);
        note(l, guest, cs, (struct cell){ Q2_UNALLOCATED, QCBM_NO_OFFSET, true });
    } else if (what == 3 && random_below(seed, 4) == 0) {
        build_map(&l->b, guest, cs + 512, 0);
        note(l, guest, cs,
             (struct cell){ cs > 512 ? Q2_INVALID : Q2_NORMAL, cs > 512 ? QCBM_NO_OFFSET : 1024, cs > 512 });
        if (cs == 512)
            return;
    } else if (l->b.opt.extended_l2) {
        uint32_t zero = (uint32_t)random_below(seed, UINT32_MAX) & ~alloc;

        if (what < 5)
            write_extended(l, guest, 0, what == 4 && zero % 7 == 0, zero);
        else
            write_extended(l, guest, build_clusters(&l->b, 1), what == 5 ? UINT32_MAX : alloc, what == 5 ? 0 : zero);
    } else if (what < 5) {
        build_map(&l->b, guest, BUILD_ZERO, 0);
        note(l, guest, cs, (struct cell){ Q2_ZERO_PLAIN, QCBM_NO_OFFSET, false });
    } else {
        host = build_clusters(&l->b, 1);
        build_map(&l->b, guest, host | (what == 5 ? BUILD_ZERO : BUILD_COPIED), 0);
        note(l, guest, cs, (struct cell){ what == 5 ? Q2_ZERO_ALLOC : Q2_NORMAL, host, false });
    }
}

static void make_layer(struct model *l, uint64_t *seed)
{
    static const uint32_t bits[] = { 9, 12, 14, 14 };
    unsigned shape = (unsigned)random_below(seed, 4);
    struct build_options opt = { .cluster_bits = bits[shape], .extended_l2 = shape == 3 };

    opt.size = 512 * (1 + random_below(seed, 600)) + (random_below(seed, 4) == 0 ? random_below(seed, 512) : 0);
    l->sectors = opt.size / 512; /* QEMU rounds down */
    l->cells = calloc((size_t)l->sectors, sizeof(*l->cells));
    assert_non_null(l->cells);
    note(l, 0, 512 * l->sectors, (struct cell){ Q2_UNALLOCATED, QCBM_NO_OFFSET, false });
    build_start(&l->b, &opt);
    for (uint64_t at = 0; at < opt.size; at += (uint64_t)l->b.cluster_size * (1 + random_below(seed, 6)))
        for (uint64_t run = random_below(seed, 4); run-- > 0 && at < opt.size; at += l->b.cluster_size)
            write_cluster(l, at, seed);
    build_finish(&l->b);
    l->img = build_open(&l->b, 0);
}

/* The slow way: from the top down, sector by sector. */
static void expect_sector(const struct model *layers, size_t n, uint64_t sector, const struct qcbmi_guest_piece *p)
{
    bool doubtful = false;

    for (size_t i = 0;; i++) {
        const struct cell *c = &layers[i].cells[sector];
        bool through = c->kind == Q2_UNALLOCATED || c->kind == Q2_UNALLOCATED_ALLOC;
        uint64_t into = c->kind == Q2_COMPRESSED ? 0 : 512 * sector - p->start;

        doubtful = doubtful || c->doubtful;
        if (through && i + 1 < n && sector < layers[i + 1].sectors)
            continue;
        assert_int_equal(p->layer, i);
        assert_int_equal(p->kind, c->kind);
        assert_int_equal(p->doubtful, doubtful);
        if (c->host == QCBM_NO_OFFSET)
            assert_true(p->host == QCBM_NO_OFFSET);
        else
            assert_true(p->host + into == c->host);
        return;
    }
}

/* All at hand, from @at on; returns the end of the last. */
static uint64_t expect_pieces(const struct model *layers, size_t n_layers, struct qcbmi_guest_map *m, uint64_t at)
{
    const struct qcbmi_guest_piece *p;
    struct qcbm_error err = { 0 };
    size_t n;

    assert_ok(qcbmi_guest_map_pieces(m, at, &p, &n, &err), &err);
    assert_true(n > 0);
    for (; n > 0; p++, n--) {
        assert_true(p->start == at && p->end > at && p->end / 512 <= layers[0].sectors);
        for (; at < p->end; at += 512)
            expect_sector(layers, n_layers, at / 512, p);
    }
    return at;
}

static void random_chains_are_as_the_oracle_has_them(void **state)
{
    struct model layers[6];

    (void)state;
    for (uint64_t round = 0; round < 300; round++) {
        uint64_t seed = 4711 + round, entries = 0;
        size_t n = 1 + (size_t)random_below(&seed, 6);
        struct stack s = { 0 };
        struct qcbmi_guest_map m = { 0 };
        struct qcbm_error err = { 0 };

        memset(layers, 0, sizeof(layers));
        for (size_t i = 0; i < n; i++) {
            make_layer(&layers[i], &seed);
            stack_push(&s, layers[i].img);
        }
        assert_ok(qcbmi_guest_map_init(&m, &s.chain, QCBMI_GUEST_ALL, &err), &err);
        for (uint64_t at = 0; round % 2 && at / 512 < layers[0].sectors;)
            at = expect_pieces(layers, n, &m, at);
        for (uint64_t at = 0; round % 2 == 0 && at / 512 < layers[0].sectors;) {
            struct qcbmi_guest_piece p = piece_at(&m, at);

            assert_true(p.end / 512 <= layers[0].sectors);
            for (; at < p.end; at += 512)
                expect_sector(layers, n, at / 512, &p);
        }
        for (size_t i = 0; i < n; i++) { /* each was looked at once at most */
            assert_true(m.layers[i].entries <= div_up(layers[i].b.opt.size, layers[i].b.cluster_size));
            entries += m.layers[i].entries;
        }
        assert_true(round > 0 || entries > 0);
        for (unsigned k = 0; k < 100 && layers[0].sectors; k++) { /* and in any order */
            uint64_t sector = random_below(&seed, layers[0].sectors);
            struct qcbmi_guest_piece p = piece_at(&m, 512 * sector);

            expect_sector(layers, n, sector, &p);
            expect_sector(layers, n, div_up(p.end, 512) - 1, &p);
            if (k % 2)
                (void)expect_pieces(layers, n, &m, 512 * random_below(&seed, layers[0].sectors));
        }
        qcbmi_guest_map_free(&m);
        for (size_t i = 0; i < n; i++) {
            qcbm_close(layers[i].img);
            build_free(&layers[i].b);
            free(layers[i].cells);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_chains_are_as_the_oracle_has_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
