/* test_refine.c - granules that hold what a reference holds: kinds of both sides, ends, batches, threads, what cannot
 * be read
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "base/checked.h"
#include "ops/refine.h"
#include "watch_unit.h"

/* One layer of clusters of 4 KiB, a character each: a digit is data of that byte, z zero, Z zero with a cluster kept, .
 * none, x damaged, ! an entry that QEMU reads though it breaks a rule. */
static void build_layer(struct image_builder *b, const char *pattern, const char *backing)
{
    struct build_options opt = { .size = strlen(pattern) * 4096, .cluster_bits = 12, .backing = backing };

    opt.backing_format = backing ? "qcow2" : NULL;
    build_start(b, &opt);
    for (uint64_t i = 0; pattern[i]; i++) {
        if (pattern[i] >= '0' && pattern[i] <= '9') {
            uint64_t at = build_data(b, 4096 * i);

            memset(b->bytes + at, pattern[i] - '0', 4096);
        } else if (pattern[i] == 'Z') {
            build_map(b, 4096 * i, build_data(b, 4096 * i) | BUILD_COPIED | BUILD_ZERO, 0);
        } else if (pattern[i] != '.') {
            build_map(b, 4096 * i, pattern[i] == 'z' ? 1 : pattern[i] == 'x' ? 512 : 1 | 4, 0);
        }
    }
    build_finish(b);
}

static void write_layer(const struct temp_dir *d, const char *name, const char *pattern, const char *backing)
{
    struct image_builder b;

    build_layer(&b, pattern, backing);
    build_write_file(&b, temp_path(d, name));
    build_free(&b);
}

/* What is dirty as text, a character for each granule. */
static void to_text(const struct qcbmi_dirtymap *map, char *text)
{
    for (uint64_t i = 0; i < map->bits.n_bits; i++)
        text[i] = qcbmi_bitset_get(&map->bits, i) ? 'D' : '-';
    text[map->bits.n_bits] = '\0';
}

struct chain_case {
    const char *top, *base; /* base NULL: an empty disk */
    unsigned gran_bits;
    bool metadata_alone;
    const char *want;                 /* all granules begin as dirty */
    uint64_t zero, equal, unreadable; /* KiB */
};

static void refine_chain(struct qcbm_image *top, const struct chain_case *c, unsigned threads)
{
    struct qcbmi_chain_options options = { 0 };
    struct qcbmi_refine r = { .shared = 1, .metadata_alone = c->metadata_alone, .threads = threads };
    struct qcbmi_chain chain = { 0 };
    struct qcbmi_dirtymap map;
    struct qcbm_error err = { 0 };
    char got[64];

    assert_ok(qcbmi_chain_open(top->image, &options, &chain, &err), &err);
    assert_ok(qcbmi_data_of_chain(&chain, 0, 0, &r.disk, &err), &err);
    r.size = chain.layers[0].size;
    if (chain.n > 1) {
        assert_ok(qcbmi_data_of_chain(&chain, 1, 0, &r.reference, &err), &err);
        r.reference_size = chain.layers[1].size;
    }
    assert_int_equal(qcbmi_dirtymap_init(&map, r.size, c->gran_bits, NULL), 0);
    assert_int_equal(qcbmi_dirtymap_set(&map, 0, r.size, NULL), 0);
    assert_ok(qcbmi_refine(&r, &map, &err), &err);
    to_text(&map, got);
    assert_string_equal(got, c->want);
    assert_int_equal(r.out.zero_bytes, KIB(c->zero));
    assert_int_equal(r.out.equal_bytes, KIB(c->equal));
    assert_int_equal(r.out.unreadable_bytes, KIB(c->unreadable));
    assert_int_equal(r.out.why.message[0] != '\0', c->unreadable != 0);
    qcbmi_dirtymap_free(&map);
    qcbmi_data_close(r.disk);
    qcbmi_data_close(r.reference);
    qcbmi_chain_close(&chain);
}

static const struct chain_case chain_cases[] = {
    /* what the top has not is what the base has, and need not be read */
    { "........", "1z2..Z3x", 12, false, "-------D", 28, 0, 4 },
    { "11110000", "12z.12z.", 12, false, "-DDDDD--", 0, 12, 0 },
    { "zzzzZZZZ", "12z.12z.", 12, false, "DD--DD--", 16, 0, 0 },
    { "zzzzZZZZ", "00z.00z.", 12, false, "--------", 16, 16, 0 },
    { "00zz11..", NULL, 12, false, "----DD--", 16, 8, 0 },
    /* by metadata alone */
    { "zzzzZZZZ", "00z.12z.", 12, true, "DD--DD--", 16, 0, 0 },
    { "0011zz..", NULL, 12, true, "DDDD----", 16, 0, 0 },
    /* granules of several clusters, and several of a cluster */
    { "11z11z.1", "11z11112", 13, false, "--DD", 0, 16, 0 },
    { "1.......", "1.......", 14, false, "--", 16, 16, 0 },
    { "12", "11", 11, false, "--DD", 0, 4, 0 },
    /* the base is shorter: zeros behind its end */
    { "1.10z0z1", "1.1", 12, false, "-------D", 12, 16, 0 },
    { "111", "11111111", 12, false, "---", 0, 12, 0 },
    /* what cannot be read, or whose reading is in doubt, stays */
    { "x1!1z...", "1x1!x...", 12, false, "DDDDD---", 12, 0, 20 },
    { "x1z11111", "1111111x", 15, false, "D", 0, 0, 4 },
};

static void kinds_of_both_sides(void **state)
{
    const struct temp_dir *d = bench_dir(state);

    for (size_t i = 0; i < ARRAY_LEN(chain_cases); i++)
        for (unsigned threads = 0; threads < 3; threads++) {
            const struct chain_case *c = &chain_cases[i];
            struct qcbm_image *top;
            struct qcbm_error err = { 0 };

            print_message("  %s over %s\n", c->top, c->base ? c->base : "nothing");
            if (c->base)
                write_layer(d, "base", c->base, NULL);
            write_layer(d, "top", c->top, c->base ? "base" : NULL);
            assert_ok(qcbm_open(temp_path(d, "top"), 0, &top, &err), &err);
            refine_chain(top, c, threads);
            qcbm_close(top);
        }
}

/* ---- an image alone, beside an empty disk ---- */

static int refine_alone(struct qcbm_image *img, struct qcbmi_refine *r, struct qcbmi_dirtymap *map,
                        struct qcbm_error *err)
{
    struct qcbmi_chain_options options = { 0 };
    struct qcbmi_chain chain = { 0 };
    int ret;

    assert_ok(qcbmi_chain_open(img->image, &options, &chain, err), err);
    assert_ok(qcbmi_data_of_chain(&chain, 0, 0, &r->disk, err), err);
    r->size = align_down(chain.layers[0].size, 512);
    ret = qcbmi_refine(r, map, err);
    qcbmi_data_close(r->disk);
    qcbmi_chain_close(&chain);
    return ret;
}

/* More pieces than a batch has, all in one granule, or in a few: clusters of 512 bytes that lie in the wrong order. */
static void a_granule_may_be_larger_than_a_batch(void **state)
{
    struct build_options opt = { .size = MIB(9), .refcount_bits = 1 };
    struct image_builder *b = bench_builder(state);
    const uint64_t n = MIB(9) / 512, places[] = { UINT64_MAX, 0, n / 2, n - 1 };
    uint64_t host;

    build_start(b, &opt);
    host = build_clusters(b, n);
    for (uint64_t i = 0; i < n; i++)
        build_map(b, 512 * i, (host + 512 * (n - 1 - i)) | BUILD_COPIED, 0);
    build_finish(b);
    for (unsigned gran_bits = 22; gran_bits <= 24; gran_bits++)
        for (unsigned k = 0; k < 4; k++) { /* a byte that differs: nowhere, at the start, in the middle, at the end */
            struct qcbmi_refine r = { .threads = 2 };
            struct qcbmi_dirtymap map;
            struct qcbm_error err = { 0 };
            struct qcbm_image *img;

            if (k)
                b->bytes[host + 512 * (n - 1 - places[k]) + 511] = 1;
            img = build_open(b, 0);
            if (k)
                b->bytes[host + 512 * (n - 1 - places[k]) + 511] = 0;
            assert_int_equal(qcbmi_dirtymap_init(&map, opt.size, gran_bits, NULL), 0);
            assert_int_equal(qcbmi_dirtymap_set(&map, 0, opt.size, NULL), 0);
            assert_ok(refine_alone(img, &r, &map, &err), &err);
            assert_int_equal(qcbmi_bitset_count(&map.bits), k != 0);
            assert_int_equal(k == 0 || qcbmi_bitset_get(&map.bits, 512 * places[k] >> gran_bits), 1);
            assert_int_equal(r.out.equal_bytes + qcbmi_dirtymap_dirty_bytes(&map), opt.size);
            qcbmi_dirtymap_free(&map);
            qcbm_close(img);
        }
}

static void clean_granules_are_not_looked_at(void **state)
{
    struct qcbmi_refine r = { 0 };
    struct qcbmi_dirtymap map;
    struct qcbm_error err = { 0 };
    char got[64];

    build_layer(bench_builder(state), "x0x0x1x0", NULL);
    assert_int_equal(qcbmi_dirtymap_init(&map, KIB(32), 12, NULL), 0);
    for (uint64_t i = 1; i < 8; i += 2)
        assert_int_equal(qcbmi_dirtymap_set(&map, KIB(4 * i), KIB(4 * i + 4), NULL), 0);
    assert_ok(refine_alone(bench_image(state, 0), &r, &map, &err), &err);
    to_text(&map, got);
    assert_string_equal(got, "-----D--");
    assert_int_equal(r.out.equal_bytes, KIB(12));
    assert_int_equal(r.out.unreadable_bytes, 0);
    qcbmi_dirtymap_free(&map);
}

/* Of a disk of 10000 bytes QEMU shows 9728; of one that was cut, bytes behind its end are gone, and that is a
 * change. */
static void the_end_of_the_disk(void **state)
{
    static const struct {
        uint64_t size, map_size;
        const char *want;
    } cases[] = {
        { 10000, 10000, "---" },
        { 8192, 8192, "--" },
        { 9216, 16384, "--DD" }, /* the granule of the end, and the one behind it */
        { 8192, 16384, "--DD" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct build_options opt = { .size = cases[i].size, .cluster_bits = 12 };
        struct qcbmi_refine r = { 0 };
        struct qcbmi_dirtymap map;
        struct qcbm_error err = { 0 };
        struct image_builder b;
        struct qcbm_image *img;
        char got[64];

        build_start(&b, &opt);
        for (uint64_t at = 0; at < opt.size; at += 4096) {
            uint64_t host = build_data(&b, at);

            if (at + 4096 > opt.size) /* what lies behind the end is of no account */
                memset(b.bytes + host + opt.size / 512 * 512 - at, 9, at + 4096 - opt.size / 512 * 512);
        }
        build_finish(&b);
        img = build_open(&b, 0);
        assert_int_equal(qcbmi_dirtymap_init(&map, cases[i].map_size, 12, NULL), 0);
        assert_int_equal(qcbmi_dirtymap_set(&map, 0, cases[i].map_size, NULL), 0);
        assert_ok(refine_alone(img, &r, &map, &err), &err);
        to_text(&map, got);
        assert_string_equal(got, cases[i].want);
        qcbmi_dirtymap_free(&map);
        qcbm_close(img);
        build_free(&b);
    }
}

/* ---- a backend that fails ---- */

static uint64_t fails_at; /* reads of this byte */

static int failing_read(void *self, uint64_t off, void *buf, size_t len, struct qcbm_error *err)
{
    if (fails_at >= off && fails_at < off + len) {
        err->code = QCBM_E_IO;
        err->sys_errno = 5;
        err->offset = off;
        snprintf(err->message, sizeof(err->message), "no");
        return QCBM_E_IO;
    }
    return qcbm_mem_ops()->read_at(self, off, buf, len, err);
}

static void data_that_cannot_be_read_stays_dirty(void **state)
{
    static struct qcbm_io_ops ops;
    struct image_builder *b = bench_builder(state);
    struct qcbm_error err = { 0 };
    struct qcbmi_refine r = { 0 };
    struct qcbmi_dirtymap map;
    struct qcbm_image *img;
    struct qcbm_mem *mem;
    char got[64];

    build_layer(b, "0000", NULL);
    ops = *qcbm_mem_ops();
    ops.read_at = failing_read;
    fails_at = UINT64_MAX;
    assert_int_equal(qcbm_mem_new(b->bytes, b->len, &mem, NULL), 0);
    assert_int_equal(qcbm_open_io(&ops, mem, 0, &img, NULL), 0);
    fails_at = b->len - 5000; /* in the third cluster */
    assert_int_equal(qcbmi_dirtymap_init(&map, KIB(16), 12, NULL), 0);
    assert_int_equal(qcbmi_dirtymap_set(&map, 0, KIB(16), NULL), 0);
    assert_ok(refine_alone(img, &r, &map, &err), &err);
    to_text(&map, got);
    assert_string_equal(got, "DDDD"); /* one read for all of them */
    assert_int_equal(r.out.unreadable_bytes, KIB(16));
    assert_int_equal(r.out.why.code, QCBM_E_IO);
    qcbmi_dirtymap_free(&map);
    qcbm_close(img);
}

static void progress_goes_to_the_end_and_can_stop_it(void **state)
{
    build_layer(bench_builder(state), "0011zz..", NULL);
    for (uint64_t stop_at = 0; stop_at < 2; stop_at++) {
        struct watch w = { .stop_at = stop_at };
        const struct qcbm_progress to = { watch, &w };
        struct qcbmi_progress progress = { .to = &to, .total = KIB(32) };
        struct qcbmi_refine r = { .progress = &progress };
        struct qcbmi_dirtymap map;
        struct qcbm_error err = { 0 };
        struct qcbm_image *img = build_open(bench_builder(state), 0);

        assert_int_equal(qcbmi_dirtymap_init(&map, KIB(32), 12, NULL), 0);
        assert_int_equal(qcbmi_dirtymap_set(&map, 0, KIB(32), NULL), 0);
        if (stop_at == 0) {
            assert_ok(refine_alone(img, &r, &map, &err), &err);
            assert_int_equal(w.last, KIB(32));
        } else {
            assert_failure(refine_alone(img, &r, &map, &err), &err, QCBM_E_ABORTED, QCBM_NO_OFFSET, "stopped");
        }
        qcbmi_dirtymap_free(&map);
        qcbm_close(img);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(kinds_of_both_sides),
        image_test(a_granule_may_be_larger_than_a_batch),
        image_test(clean_granules_are_not_looked_at),
        cmocka_unit_test(the_end_of_the_disk),
        image_test(data_that_cannot_be_read_stays_dirty),
        image_test(progress_goes_to_the_end_and_can_stop_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
