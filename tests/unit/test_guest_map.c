/* test_guest_map.c - what is at a guest offset: layers, kinds and places, beside a slow oracle; and what it costs
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "base/checked.h"
#include "image/guest_map.h"

/* One layer of 8 clusters of 4 KiB, a character each: n data, z zero, Z zero with a cluster kept, c compressed,
 * . unallocated, x damaged. Fewer characters make a shorter layer. */
static void write_layer(const struct temp_dir *d, const char *name, const char *pattern, const char *backing)
{
    struct build_options opt = { .size = strlen(pattern) * 4096, .cluster_bits = 12, .backing = backing };
    struct image_builder b;

    opt.backing_format = backing ? "qcow2" : NULL;
    build_start(&b, &opt);
    for (uint64_t i = 0; pattern[i]; i++) {
        if (pattern[i] == 'n')
            build_data(&b, 4096 * i);
        else if (pattern[i] == 'Z')
            build_map(&b, 4096 * i, build_data(&b, 4096 * i) | BUILD_COPIED | BUILD_ZERO, 0);
        else if (pattern[i] == 'c')
            build_map(&b, 4096 * i, BUILD_COMPRESSED | build_clusters(&b, 1), 0);
        else if (pattern[i] != '.')
            build_map(&b, 4096 * i, pattern[i] == 'z' ? 1 : 2, 0);
    }
    build_finish(&b);
    build_write_file(&b, temp_path(d, name));
    build_free(&b);
}

/* The map as '0' (zeros, beyond doubt) and '-' per cluster. */
static void read_map(struct qcbm_image *top, char got[16])
{
    struct qcbmi_chain_options options = { 0 };
    struct qcbmi_chain chain = { 0 };
    struct qcbmi_guest_map m = { 0 };
    struct qcbm_error err = { 0 };
    struct qcbmi_guest_piece p = { 0 };

    memset(got, 0, 16);
    assert_ok(qcbmi_chain_open(top->image, &options, &chain, &err), &err);
    assert_ok(qcbmi_guest_map_init(&m, &chain, QCBMI_GUEST_ALL, &err), &err);
    for (uint64_t at = 0; at < top->image->g.size;) {
        assert_ok(qcbmi_guest_map_at(&m, at, &p, &err), &err);
        assert_true(p.start == at && p.end > at && p.end <= top->image->g.size);
        for (; at < p.end; at += 4096)
            got[at / 4096] = qcbmi_guest_piece_is_zero(&p) ? '0' : '-';
    }
    qcbmi_guest_map_free(&m);
    qcbmi_chain_close(&chain);
}

static void the_first_layer_that_says_something_counts(void **state)
{
    static const struct {
        const char *top, *mid, *base, *want;
    } cases[] = {
        { "nzZc.x..", NULL, NULL, "-00-0-00" },
        { "........", "........", "nnnnnnnn", "--------" },
        { "z.z.z.z.", "........", "nnnnnnnn", "0-0-0-0-" },
        { "........", "z..nZ..c", "nnnnnnnn", "0---0---" },
        { "n..z....", ".z......", "..nn.z..", "-0-00000" },
        /* a short layer hides all below it */
        { "........", "....", "nnnnnnnn", "----0000" },
        { "........", "........", "nnn", "---00000" },
        { "......n.", "zz", "nnnnnnnn", "000000-0" },
        { "....", "........", "nnnnnnnn", "----" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct temp_dir d;
        struct qcbm_error err = { 0 };
        struct qcbm_image *top;
        char got[16];

        temp_dir_make(&d);
        if (cases[i].base)
            write_layer(&d, "base", cases[i].base, NULL);
        if (cases[i].mid)
            write_layer(&d, "mid", cases[i].mid, "base");
        write_layer(&d, "top", cases[i].top, cases[i].mid ? "mid" : NULL);
        assert_ok(qcbm_open(temp_path(&d, "top"), 0, &top, &err), &err);
        read_map(top, got);
        assert_string_equal(got, cases[i].want);
        qcbm_close(top);
        temp_dir_remove(&d);
    }
}

/* ---- one image in memory ------------------------------------------------------------------------------ */

/* A file that counts what is asked of it. Behind its bytes it goes on as a hole. */
struct counted {
    const uint8_t *bytes;
    uint64_t len, size;
    unsigned reads, extents;
    uint64_t bytes_read;
    uint64_t extent_step; /* data and holes of this length take turns, whatever the bytes are; 0 = they do not */
};

static int counted_read(void *self, uint64_t off, void *buf, size_t len, struct qcbm_error *err)
{
    struct counted *c = self;
    size_t there = off < c->len ? (size_t)u64_min(len, c->len - off) : 0;

    (void)err;
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

/* A chain of images that are open, without files. */
#define MAX_LAYERS 200u
struct stack {
    struct qcbm_image *handles[MAX_LAYERS];
    struct qcbmi_layer layers[MAX_LAYERS];
    struct qcbmi_chain chain;
};

static void stack_push(struct stack *s, struct qcbm_image *img)
{
    static char name[] = "layer";

    s->handles[s->chain.n] = img;
    s->layers[s->chain.n++] =
        (struct qcbmi_layer){ .filename = name, .img = img->image, .size = img->image->g.size, .borrowed = true };
    s->chain.layers = s->layers;
}

static void stack_close(struct stack *s)
{
    for (size_t i = 0; i < s->chain.n; i++)
        qcbm_close(s->handles[i]);
}

static struct qcbmi_guest_piece piece_at(struct qcbmi_guest_map *m, uint64_t guest)
{
    struct qcbmi_guest_piece p = { 0 };
    struct qcbm_error err = { 0 };

    assert_ok(qcbmi_guest_map_at(m, guest, &p, &err), &err);
    assert_true(p.start == guest && p.end > guest);
    return p;
}

static void subclusters_are_told_apart(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(32), .cluster_bits = 14, .extended_l2 = true };
    struct stack s = { 0 };
    struct qcbmi_guest_map m = { 0 };
    struct qcbmi_guest_piece p;
    uint64_t host;

    build_start(b, &opt);
    host = build_data(b, 0);
    build_map(b, 0, host | BUILD_COPIED, 0x2 | UINT64_C(0x4) << 32); /* read through, data, zero, ... */
    build_finish(b);
    stack_push(&s, build_open(b, 0));
    assert_int_equal(qcbmi_guest_map_init(&m, &s.chain, 0, NULL), 0);
    p = piece_at(&m, 0);
    assert_true(p.kind == Q2_UNALLOCATED_ALLOC && p.end == 512 && p.host == host);
    p = piece_at(&m, 700);
    assert_true(p.kind == Q2_NORMAL && p.end == 1024 && p.host == host + 700);
    p = piece_at(&m, 1024);
    assert_true(p.kind == Q2_ZERO_ALLOC && p.end == 1536);
    p = piece_at(&m, 1536);
    assert_true(p.kind == Q2_UNALLOCATED_ALLOC && p.end == KIB(16) && p.host == host + 1536);
    p = piece_at(&m, KIB(16));
    assert_true(p.kind == Q2_UNALLOCATED && p.end == KIB(32) && p.host == QCBM_NO_OFFSET);
    qcbmi_guest_map_free(&m);
    stack_close(&s);
}

static void compressed_clusters_come_one_by_one_with_their_bytes(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(16), .cluster_bits = 12 };
    struct stack s = { 0 };
    struct qcbmi_guest_map m = { 0 };
    struct qcbmi_guest_piece p;
    uint64_t host;

    build_start(b, &opt);
    host = build_clusters(b, 1);
    for (uint64_t i = 0; i < 3; i++) /* 2 sectors each, from the middle of a sector on */
        build_map(b, 4096 * i, BUILD_COMPRESSED | UINT64_C(1) << (62 - 4) | (host + 1024 * i + 100), 0);
    build_finish(b);
    stack_push(&s, build_open(b, 0));
    assert_int_equal(qcbmi_guest_map_init(&m, &s.chain, 0, NULL), 0);
    for (uint64_t i = 0; i < 3; i++) {
        p = piece_at(&m, 4096 * i + (i == 1 ? 512 : 0));
        assert_true(p.kind == Q2_COMPRESSED && p.end == 4096 * (i + 1));
        assert_true(p.host == host + 1024 * i + 100 && p.host_len == 1024 - 100); /* wherever in it one asks */
    }
    qcbmi_guest_map_free(&m);
    stack_close(&s);
}

static void a_raw_layer_is_data_or_hole_and_zero_behind_its_end(void **state)
{
    struct build_options opt = { .size = KIB(8), .cluster_bits = 12, .backing = "raw", .backing_format = "raw" };
    const struct temp_dir *d = bench_dir(state);
    struct qcbm_error err = { 0 };
    struct image_builder b;
    struct qcbm_image *top;
    char got[16];
    FILE *f;

    f = fopen(temp_path(d, "raw"), "wb");
    assert_non_null(f);
    assert_int_equal(fwrite("data", 1, 4, f), 4);
    fclose(f);
    build_start(&b, &opt);
    build_finish(&b);
    build_write_file(&b, temp_path(d, "top"));
    build_free(&b);
    assert_ok(qcbm_open(temp_path(d, "top"), 0, &top, &err), &err);
    read_map(top, got); /* 512 bytes of data; the rest of the first cluster is zero: the last word counts */
    assert_int_equal(got[1], '0');
    qcbm_close(top);
}

static void what_cannot_be_read_is_an_error_only_where_it_is_seen(void **state)
{
    struct build_options opt = { .size = KIB(64), .cluster_bits = 12 };
    struct stack s = { 0 };
    struct qcbmi_guest_map m = { 0 };
    struct qcbm_error err = { 0 };
    struct qcbmi_guest_piece p;
    struct image_builder top, low;

    (void)state;
    build_start(&top, &opt);
    build_map(&top, KIB(4), 1, 0); /* hides the bad entry */
    build_finish(&top);
    build_start(&low, &opt);
    build_map(&low, KIB(4), low.cluster_size + 512, 0);
    build_map(&low, KIB(8), low.cluster_size + 512, 0);
    build_finish(&low);
    stack_push(&s, build_open(&top, 0));
    stack_push(&s, build_open(&low, 0));
    assert_ok(qcbmi_guest_map_init(&m, &s.chain, QCBMI_GUEST_ALL, &err), &err);
    p = piece_at(&m, 0);
    assert_true(p.kind == Q2_UNALLOCATED && p.layer == 1 && p.end == KIB(4));
    p = piece_at(&m, KIB(4));
    assert_true(p.kind == Q2_ZERO_PLAIN && p.layer == 0 && p.end == KIB(8));
    p = piece_at(&m, KIB(8));
    assert_true(p.kind == Q2_INVALID && p.layer == 1 && p.end == KIB(12) && !qcbmi_guest_piece_is_zero(&p));
    assert_failure(
        qcbmi_guest_map_fail(&m, &p, &err), &err, QCBM_E_CORRUPT, build_l2_entry(&low, KIB(8)),
        "layer 'layer': L2 entry of guest 0x2000 (host offset 0x1200): the host offset is not cluster-aligned");
    p = piece_at(&m, KIB(12));
    assert_true(p.kind == Q2_UNALLOCATED && p.end == KIB(64));
    qcbmi_guest_map_free(&m);
    stack_close(&s);
    build_free(&top);
    build_free(&low);
}

static void a_damaged_l1_entry_is_an_error_not_zeros(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(64), .cluster_bits = 12 };
    struct stack s = { 0 };
    struct qcbmi_guest_map m = { 0 };
    struct qcbm_error err = { 0 };
    struct qcbmi_guest_piece p;

    build_start(b, &opt);
    build_finish(b);
    be64_store(b->bytes + b->l1, 0x1200);
    stack_push(&s, build_open(b, 0));
    assert_ok(qcbmi_guest_map_init(&m, &s.chain, 0, &err), &err);
    assert_failure(qcbmi_guest_map_at(&m, 0, &p, &err), &err, QCBM_E_CORRUPT, b->l1, "not cluster-aligned");
    assert_failure(qcbmi_guest_map_at(&m, 512, &p, &err), &err, QCBM_E_CORRUPT, b->l1, "not cluster-aligned");
    qcbmi_guest_map_free(&m);
    stack_close(&s);
}

static void a_table_past_the_end_is_counted_once(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(96), .cluster_bits = 9 }; /* 32 KiB under each table */
    struct stack s = { 0 };
    struct qcbmi_guest_map m = { 0 };
    struct qcbm_error err = { 0 };
    struct qcbmi_guest_piece p;

    build_start(b, &opt);
    build_data(b, 0);
    build_finish(b);
    be64_store(b->bytes + b->l1 + 8, MIB(1));
    be64_store(b->bytes + b->l1 + 16, MIB(2));
    stack_push(&s, build_open(b, 0));
    assert_int_equal(qcbmi_guest_map_init(&m, &s.chain, QCBMI_GUEST_ALL, NULL), 0);
    assert_int_equal(piece_at(&m, 0).kind, Q2_NORMAL);
    for (uint64_t at = KIB(32); at < KIB(96); at += 512)
        assert_int_equal(piece_at(&m, at).kind, Q2_UNALLOCATED);
    assert_true(m.layers[0].lost_tables == 2 && m.layers[0].first_lost == 1);
    qcbmi_guest_map_free(&m);
    assert_int_equal(qcbmi_guest_map_init(&m, &s.chain, QCBMI_GUEST_STRICT, NULL), 0);
    assert_failure(qcbmi_guest_map_at(&m, KIB(40), &p, &err), &err, QCBM_E_CORRUPT, b->l1 + 8,
                   "L1 entry 1: L2 table at 0x100000 lies past the end of the file");
    assert_int_equal(piece_at(&m, 0).kind, Q2_NORMAL); /* the rest can be read */
    assert_failure(qcbmi_guest_map_at(&m, KIB(64), &p, &err), &err, QCBM_E_CORRUPT, b->l1 + 16, "L1 entry 2");
    qcbmi_guest_map_free(&m);
    stack_close(&s);
}

static void an_l1_table_past_the_end_is_no_empty_disk_where_it_matters(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = KIB(96), .cluster_bits = 9 };
    struct stack s = { 0 };
    struct qcbmi_guest_map m = { 0 };
    struct qcbm_error err = { 0 };

    build_start(b, &opt);
    build_finish(b);
    build_resize(b, b->l1 + 16); /* of 24 bytes */
    stack_push(&s, build_open(b, 0));
    assert_failure(qcbmi_guest_map_init(&m, &s.chain, QCBMI_GUEST_STRICT, &err), &err, QCBM_E_CORRUPT, 40,
                   "active L1 table: 1 entries lie past the end of the file at 0x610");
    qcbmi_guest_map_free(&m);
    assert_int_equal(qcbmi_guest_map_init(&m, &s.chain, QCBMI_GUEST_ALL, NULL), 0);
    assert_int_equal(piece_at(&m, 0).kind, Q2_UNALLOCATED); /* to QEMU */
    qcbmi_guest_map_free(&m);
    stack_close(&s);
}

static void free_takes_a_zeroed_struct(void **state)
{
    struct qcbmi_guest_map m = { 0 };

    (void)state;
    qcbmi_guest_map_free(&m);
}

/* ---- random chains beside an oracle -------------------------------------------------------------------- */

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
        for (uint64_t at = 0; at / 512 < layers[0].sectors;) {
            struct qcbmi_guest_piece p = piece_at(&m, at);

            assert_true(p.end / 512 <= layers[0].sectors);
            for (; at < p.end; at += 512)
                expect_sector(layers, n, at / 512, &p);
        }
        for (size_t i = 0; i < n; i++) { /* each was parsed once at most */
            assert_true(m.layers[i].entries <= div_up(layers[i].b.opt.size, layers[i].b.cluster_size));
            entries += m.layers[i].entries;
        }
        assert_true(round > 0 || entries > 0);
        for (unsigned k = 0; k < 100 && layers[0].sectors; k++) { /* and in any order */
            uint64_t sector = random_below(&seed, layers[0].sectors);
            struct qcbmi_guest_piece p = piece_at(&m, 512 * sector);

            expect_sector(layers, n, sector, &p);
            expect_sector(layers, n, div_up(p.end, 512) - 1, &p);
        }
        qcbmi_guest_map_free(&m);
        for (size_t i = 0; i < n; i++) {
            qcbm_close(layers[i].img);
            build_free(&layers[i].b);
            free(layers[i].cells);
        }
    }
}

/* ---- what it costs ------------------------------------------------------------------------------------- */

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
    assert_int_equal(cost.entries, n);
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
    assert_int_equal(cost.entries, 1); /* by which it was found */
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
    assert_true(c.extents <= b->len / 1024 + 2); /* in file order, each once */
    qcbmi_guest_map_free(&m);
    stack_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_layer_that_says_something_counts),
        image_test(subclusters_are_told_apart),
        image_test(compressed_clusters_come_one_by_one_with_their_bytes),
        image_test(a_raw_layer_is_data_or_hole_and_zero_behind_its_end),
        cmocka_unit_test(what_cannot_be_read_is_an_error_only_where_it_is_seen),
        image_test(a_damaged_l1_entry_is_an_error_not_zeros),
        image_test(a_table_past_the_end_is_counted_once),
        image_test(an_l1_table_past_the_end_is_no_empty_disk_where_it_matters),
        cmocka_unit_test(free_takes_a_zeroed_struct),
        cmocka_unit_test(random_chains_are_as_the_oracle_has_them),
        cmocka_unit_test(a_run_of_an_upper_layer_is_read_once),
        cmocka_unit_test(deep_chains_cost_what_is_in_them),
        image_test(tables_in_holes_are_not_read),
        image_test(a_huge_empty_disk_costs_nothing),
        image_test(a_run_that_is_cut_by_holes_is_read_once),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
