/* test_manifest.c - manifests of whole disks: made, brought up to date, read, compared; what is damaged is refused
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "base/checked.h"
#include "base/digest.h"
#include "manifest/manifest_out.h"
#include "manifest/manifest_read.h"

#define SIZE (KIB(200) + 512)
#define SEED UINT64_C(0x5eed)

struct file {
    uint8_t *bytes;
    size_t len, stop_at; /* the write that passes it ends the call; 0: none does */
};

static int put(void *opaque, const void *bytes, size_t len)
{
    struct file *f = opaque;

    if (f->stop_at && f->len + len > f->stop_at)
        return 1;
    f->bytes = realloc(f->bytes, f->len + len);
    assert_non_null(f->bytes);
    memcpy(f->bytes + f->len, bytes, len);
    f->len += len;
    return 0;
}

static void file_free(struct file *f)
{
    free(f->bytes);
    *f = (struct file){ 0 };
}

static struct qcbm_manifest_options options_of(unsigned digest)
{
    struct qcbm_manifest_options o = QCBM_MANIFEST_OPTIONS_INIT;

    o.granularity = 4096;
    o.digest = digest;
    o.has_seed = digest != QCBM_DIGEST_SHA256;
    o.seed = o.has_seed ? SEED : 0;
    o.text = "t";
    return o;
}

static int try_make(struct qcbm_image *img, const struct qcbm_manifest_options *o, struct file *f,
                    struct qcbm_error *err)
{
    struct qcbm_manifest_info info;
    struct qcbm_chain *chain = NULL;
    int ret = qcbm_chain_open(img, &chain, err);

    if (ret == 0)
        ret = qcbm_manifest_write(chain, o, put, f, &info, sizeof(info), err);
    if (ret == 0)
        assert_int_equal(info.file_size, f->len);
    qcbm_chain_close(chain);
    return ret;
}

static void make(struct qcbm_image *img, const struct qcbm_manifest_options *o, struct file *f)
{
    struct qcbm_error err = { 0 };

    file_free(f);
    assert_ok(try_make(img, o, f, &err), &err);
}

static int try_open(const struct file *f, size_t len, struct qcbm_manifest **out, struct qcbm_error *err)
{
    struct qcbm_mem *mem;

    assert_ok(qcbm_mem_new(f->bytes, len, &mem, err), err);
    return qcbm_manifest_open_io(qcbm_mem_ops(), mem, out, err);
}

static struct qcbm_manifest *open_file(const struct file *f)
{
    struct qcbm_manifest *m;
    struct qcbm_error err = { 0 };

    assert_ok(try_open(f, f->len, &m, &err), &err);
    return m;
}

static int add_range(void *opaque, const struct qcbm_manifest_range *r)
{
    char *text = ((struct extent_text *)opaque)->text;
    size_t n = strlen(text), size = sizeof(struct extent_text);

    snprintf(text + n, size - n, "%s%llu-%llu%s", n ? " " : "", (unsigned long long)r->offset,
             (unsigned long long)(r->offset + r->length), r->unreadable ? "?" : "");
    return 0;
}

static void assert_differs(struct qcbm_image *img, const struct file *f, const char *want)
{
    struct extent_text got = { "" };
    struct qcbm_manifest *m = open_file(f);
    struct qcbm_manifest_result result;
    struct qcbm_chain *chain;
    struct qcbm_error err = { 0 };

    assert_ok(qcbm_chain_open(img, &chain, &err), &err);
    assert_ok(qcbm_manifest_verify(m, chain, NULL, add_range, &got, &result, sizeof(result), &err), &err);
    assert_string_equal(got.text, want);
    assert_int_equal(result.equal, !want[0]);
    qcbm_chain_close(chain);
    qcbm_manifest_close(m);
}

/* ---- images ---- */

static void start(struct image_builder *b, uint64_t size)
{
    const struct build_options opt = { .size = size, .cluster_bits = 12 };

    build_start(b, &opt);
}

static void fill(struct image_builder *b, uint64_t guest, uint8_t value)
{
    uint64_t at = build_data(b, guest);

    memset(b->bytes + at, value, 4096);
}

/* Granules 0, 1, 5 have data, 7 a cluster of zeros, 50 is the last, of 512 bytes. */
static void build(struct image_builder *b)
{
    start(b, SIZE);
    fill(b, 0, 1);
    fill(b, 4096, 2);
    fill(b, 5 * 4096, 1);
    fill(b, 7 * 4096, 0);
    fill(b, 50 * 4096, 9);
    build_finish(b);
}

/* ---- made ---- */

static void the_file_is_as_documented(void **state)
{
    const struct qcbm_manifest_options o = options_of(0);
    static const uint8_t records[][16] = {
        { 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2 }, { 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 3 },
        { 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 }, { 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 44 },
        { 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1 }, { 0 },
    };
    static const uint8_t values[] = { 1, 2, 1, 9 };
    uint8_t bytes[4096], digests[4][16];
    struct file f = { 0 };

    build(bench_builder(state));
    make(bench_image(state, 0), &o, &f);
    for (unsigned i = 0; i < 4; i++) {
        memset(bytes, values[i], sizeof(bytes));
        qcbmi_digest_seeded(bytes, i == 3 ? 512 : 4096, SEED, digests[i]);
    }
    assert_int_equal(f.len, 88 + 6 * 16 + 4 * 16 + 16);
    assert_memory_equal(f.bytes + 80, "t\0\0\0\0\0\0\0", 8);
    assert_memory_equal(f.bytes + 88, records[0], 16);
    assert_memory_equal(f.bytes + 104, digests[0], 32);
    assert_memory_equal(f.bytes + 136, records[1], 16);
    assert_memory_equal(f.bytes + 152, records[2], 16);
    assert_memory_equal(f.bytes + 168, digests[2], 16);
    assert_memory_equal(digests[2], digests[0], 16);
    assert_memory_equal(f.bytes + 184, records[3], 16);
    assert_memory_equal(f.bytes + 200, records[4], 16);
    assert_memory_equal(f.bytes + 216, digests[3], 16);
    assert_memory_equal(f.bytes + 232, records[5], 16);
    assert_true(qcbmi_digest_is(f.bytes, f.len - 16, f.bytes + f.len - 16));
    file_free(&f);
}

static void seeds_are_random_unless_they_are_given(void **state)
{
    struct qcbm_manifest_options o = options_of(0);
    struct file a = { 0 }, b = { 0 };

    build(bench_builder(state));
    bench_image(state, 0);
    o.has_seed = false;
    make(((struct bench *)*state)->s.img, &o, &a);
    make(((struct bench *)*state)->s.img, &o, &b);
    assert_int_equal(a.len, b.len);
    assert_memory_not_equal(a.bytes + 32, b.bytes + 32, 8);
    assert_memory_not_equal(a.bytes + 104, b.bytes + 104, 16);
    file_free(&a);
    file_free(&b);
}

static void options_are_checked(void **state)
{
    struct qcbm_image *img;
    struct qcbm_manifest_options o;
    struct qcbm_error err = { 0 };
    struct file f = { 0 };
    char text[1025];

    build(bench_builder(state));
    img = bench_image(state, 0);
    memset(text, 'x', sizeof(text));
    text[1024] = '\0';
    o = options_of(0);
    o.granularity = 256;
    assert_failure(try_make(img, &o, &f, &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET, "granularity 256");
    o.granularity = UINT64_C(8) << 20;
    assert_failure(try_make(img, &o, &f, &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET, "granularity 8388608");
    o.granularity = 12288;
    assert_failure(try_make(img, &o, &f, &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET, "granularity 12288");
    o = options_of(0);
    o.digest = 3;
    o.has_seed = false;
    assert_failure(try_make(img, &o, &f, &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET, "no such kind");
    o = options_of(0);
    o.text = text;
    assert_failure(try_make(img, &o, &f, &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET, "text of 1024 bytes");
    o = options_of(QCBM_DIGEST_SHA256);
    o.has_seed = true;
    assert_failure(try_make(img, &o, &f, &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET, "seed");
    assert_int_equal(f.len, 0);
    file_free(&f);
}

static void who_writes_may_stop_it(void **state)
{
    const struct qcbm_manifest_options o = options_of(0);
    struct qcbm_error err = { 0 };
    struct file f = { .stop_at = 120 };

    build(bench_builder(state));
    assert_int_equal(try_make(bench_image(state, 0), &o, &f, &err), QCBM_E_ABORTED);
    file_free(&f);
}

/* Half a disk has no manifest. */
static void what_cannot_be_read_fails(void **state)
{
    const struct qcbm_manifest_options o = options_of(0);
    struct image_builder *b = bench_builder(state);
    struct qcbm_error err = { 0 };
    struct file f = { 0 };

    start(b, SIZE);
    fill(b, 0, 1);
    build_map(b, 3 * 4096, BUILD_COPIED | MIB(64), 0); /* past the end of the file */
    build_finish(b);
    assert_int_equal(try_make(bench_image(state, 0), &o, &f, &err), QCBM_E_CORRUPT);
    assert_non_null(strstr(err.message, "guest 0x3000 + 4096"));
    file_free(&f);
}

/* ---- compared ---- */

static void what_differs_is_told(void **state)
{
    const struct qcbm_manifest_options o = options_of(0);
    struct image_builder *b = bench_builder(state), other;
    struct file f = { 0 };
    struct qcbm_image *img;

    build(b);
    make(bench_image(state, 0), &o, &f);
    assert_differs(((struct bench *)*state)->s.img, &f, "");
    start(&other, SIZE);
    fill(&other, 0, 1);         /* stays */
    fill(&other, 4096, 3);      /* other bytes */
    fill(&other, 5 * 4096, 0);  /* zeros in place of data */
    fill(&other, 6 * 4096, 4);  /* data in place of zeros */
    fill(&other, 50 * 4096, 9); /* stays: what lies behind the end of the disk does not count */
    memset(other.bytes + other.len - 3584, 7, 3584);
    build_map(&other, 10 * 4096, BUILD_COPIED | MIB(64), 0);
    build_map(&other, 11 * 4096, BUILD_COPIED | MIB(65), 0);
    build_finish(&other);
    img = build_open(&other, 0);
    assert_differs(img, &f, "4096-8192 20480-28672 40960-49152?");
    qcbm_close(img);
    build_free(&other);
    file_free(&f);
}

static void disks_of_other_sizes_differ_in_what_one_lacks(void **state)
{
    static const struct {
        uint64_t size;
        const char *want;
    } cases[] = {
        { SIZE + 512, "205312-205824" },  { SIZE + 65536, "205312-270848" },
        { SIZE - 512, "204800-205312" },  /* whole granules up to there */
        { SIZE - 1024, "200704-205312" }, /* a granule that was whole is not any more */
        { 4096, "4096-205312" },          { 2048, "0-205312" },
    };
    const struct qcbm_manifest_options o = options_of(0);
    struct file f = { 0 };

    build(bench_builder(state));
    make(bench_image(state, 0), &o, &f);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct image_builder other;
        struct qcbm_image *img;

        start(&other, cases[i].size);
        for (unsigned g = 0; g < 51; g++)
            if ((g < 2 || g == 5 || g == 50) && g * UINT64_C(4096) < cases[i].size)
                fill(&other, g * UINT64_C(4096), g == 50 ? 9 : g == 1 ? 2 : 1);
        build_finish(&other);
        img = build_open(&other, 0);
        assert_differs(img, &f, cases[i].want);
        qcbm_close(img);
        build_free(&other);
    }
    file_free(&f);
}

/* ---- damaged ---- */

static void a_file_that_was_cut_or_damaged_is_refused(void **state)
{
    const struct qcbm_manifest_options o = options_of(0);
    struct qcbm_manifest *m;
    struct file f = { 0 };

    build(bench_builder(state));
    make(bench_image(state, 0), &o, &f);
    for (size_t len = 0; len < f.len; len++)
        assert_int_equal(try_open(&f, len, &m, &(struct qcbm_error){ 0 }), QCBM_E_CORRUPT);
    for (size_t i = 0; i < f.len; i++) {
        int ret;

        f.bytes[i] ^= 1;
        ret = try_open(&f, f.len, &m, &(struct qcbm_error){ 0 });
        f.bytes[i] ^= 1;
        if (ret != QCBM_E_CORRUPT)
            assert_int_equal(ret, QCBM_E_UNSUPPORTED);
        assert_true(ret == QCBM_E_CORRUPT || i / 4 == 2 || i / 4 == 7); /* version, kind */
        assert_null(m);
    }
    put(&f, "", 1);
    assert_int_equal(try_open(&f, f.len, &m, &(struct qcbm_error){ 0 }), QCBM_E_CORRUPT);
    file_free(&f);
}

/* Whoever makes a digest fit does not get more taken for it. */
static void a_digest_that_fits_does_not_help(void **state)
{
    const struct qcbm_manifest_options o = options_of(0);
    struct qcbm_manifest *m;
    struct file f = { 0 };
    uint8_t bytes[512];

    build(bench_builder(state));
    make(bench_image(state, 0), &o, &f);
    assert_true(f.len + 64 < sizeof(bytes));
    for (size_t len = 96; len < f.len + 64; len++) {
        const struct file now = { .bytes = bytes };
        struct qcbm_error err = { 0 };

        memset(bytes, 0, sizeof(bytes));
        memcpy(bytes, f.bytes, (len < f.len ? len : f.len) - 16);
        qcbmi_digest(bytes, len - 16, bytes + len - 16);
        if (len == f.len)
            continue;
        assert_int_equal(try_open(&now, len, &m, &err), QCBM_E_CORRUPT);
        assert_null(strstr(err.message, "digest does not fit"));
    }
    file_free(&f);
}

/* 65536 of them fit into one record. */
static void many_digests_take_several_records(void **state)
{
    enum { GRANULES = 2 * 65536 + 1 };
    const struct mnf_header h = { .size = GRANULES * UINT64_C(512), .gran_bits = 9, .kind = QCBM_DIGEST_XXH3 };
    struct qcbmi_manifest_place p = { 0 };
    struct file f = { 0 };
    struct qcbmi_manifest_out out = { .fn = put, .opaque = &f };
    struct qcbm_error err = { 0 };
    uint8_t digest[16] = { 0 };

    (void)state;
    assert_ok(qcbmi_manifest_out_begin(&out, &h, NULL, &err), &err);
    for (uint32_t i = 0; i < GRANULES; i++) {
        memcpy(digest, &i, sizeof(i));
        assert_ok(qcbmi_manifest_out_digest(&out, digest, &err), &err);
    }
    assert_ok(qcbmi_manifest_out_end(&out, &err), &err);
    qcbmi_manifest_out_free(&out);
    assert_int_equal(f.len, 80 + 4 * 16 + GRANULES * 16 + 16);
    p.m = open_file(&f);
    for (uint32_t i = 0; i < GRANULES; i++) {
        const uint8_t *found = NULL;
        uint64_t n;

        assert_ok(qcbmi_manifest_at(&p, i, &found, &n, &err), &err);
        assert_int_equal(n, i < 65536 ? 65536 - i : i < 131072 ? 131072 - i : 1);
        assert_memory_equal(found, &i, sizeof(i));
    }
    qcbmi_manifest_place_free(&p);
    qcbm_manifest_close(p.m);
    file_free(&f);
}

/* ---- brought up to date ---- */

/* Random disks, of which the second has changed where its bitmap says, and perhaps in size; the bitmap has more. */
static uint64_t random_image(struct image_builder *b, uint64_t seed, uint64_t size, uint64_t change)
{
    struct build_options opt = { .size = size, .cluster_bits = 12 };
    uint64_t data, bits;

    build_start(b, &opt);
    data = build_clusters(b, 1);
    for (uint64_t g = 0; g < div_up(size, 4096); g++) {
        uint64_t now = next_random(&seed);
        bool changes = change && next_random(&change) % 5 == 0;

        if (changes) {
            b->bytes[data + g / 8] |= (uint8_t)(1u << g % 8);
            now = next_random(&change);
        }
        if (change && next_random(&change) % 7 == 0) /* needless */
            b->bytes[data + g / 8] |= (uint8_t)(1u << g % 8);
        if (now % 3 == 0)
            fill(b, g * 4096, (uint8_t)(now >> 32));
    }
    bits = data;
    build_bitmap(b, "c", 12, 2, &bits, 1);
    build_finish(b);
    return data;
}

/* Of a finished image. */
static void set_entry(struct image_builder *b, uint64_t guest, uint64_t value)
{
    uint64_t at = build_l2_entry(b, guest);

    for (unsigned i = 0; i < 8; i++)
        b->bytes[at + i] = (uint8_t)(value >> (56 - 8 * i));
}

/* Granules in which two disks differ, or the second cannot be read, as text. */
static void model(struct qcbm_image *was, struct qcbm_image *is, uint64_t gran, struct extent_text *out)
{
    struct qcbm_manifest_range range = { 0 };
    static uint8_t a[65536], b[65536];

    for (uint64_t at = 0; at < SIZE; at += gran) {
        uint64_t n = gran < SIZE - at ? gran : SIZE - at;
        bool lost = qcbm_read(is, at, b, n, 0, NULL) < 0, differs = true;

        if (!lost) {
            assert_int_equal(qcbm_read(was, at, a, n, 0, NULL), 0);
            differs = memcmp(a, b, n) != 0;
        }
        if (range.length && (!differs || lost != range.unreadable)) {
            add_range(out, &range);
            range.length = 0;
        }
        if (differs)
            range = (struct qcbm_manifest_range){ range.length ? range.offset : at, range.length + n, lost };
    }
    if (range.length)
        add_range(out, &range);
}

static void what_is_told_is_what_reading_tells(void **state)
{
    (void)state;
    for (uint64_t i = 1; i <= 60; i++) {
        static const uint64_t granularities[] = { 512, 2048, 4096, 16384, 65536 };
        struct qcbm_manifest_options o = options_of(0);
        struct image_builder before, after;
        struct qcbm_image *was, *is;
        struct extent_text want = { "" };
        struct file f = { 0 };

        o.granularity = granularities[i % ARRAY_LEN(granularities)];
        random_image(&before, i * 977, SIZE, 0);
        random_image(&after, i * 977, SIZE, i % 3 ? 0 : i);
        for (uint64_t k = 0; k < i % 4; k++) /* a few that are lost, or have become zeros */
            set_entry(&after, (i * 7 + k * 5) % 51 * 4096, k % 2 ? BUILD_ZERO : BUILD_COPIED | MIB(64));
        was = build_open(&before, 0);
        is = build_open(&after, 0);
        make(was, &o, &f);
        model(was, is, o.granularity, &want);
        assert_differs(is, &f, want.text);
        qcbm_close(was);
        qcbm_close(is);
        build_free(&before);
        build_free(&after);
        file_free(&f);
    }
}

static void update_gives_what_a_new_one_is(void **state)
{
    static const uint64_t sizes[] = { SIZE, SIZE - 512, SIZE + KIB(64), SIZE + 512, KIB(100), KIB(200) };

    (void)state;
    for (uint64_t i = 1; i <= 120; i++) {
        static const uint64_t granularities[] = { 4096, 512, 16384, 65536 };
        struct qcbm_manifest_options o = options_of(i % 4 ? 0 : QCBM_DIGEST_SHA256);
        struct image_builder before, after;
        struct qcbm_image *img, *changed;
        struct file old = { 0 }, fresh = { 0 }, updated = { 0 };
        struct qcbm_manifest *m;
        struct qcbm_manifest_info info;
        struct qcbm_chain *chain;
        struct qcbm_error err = { 0 };

        o.granularity = granularities[i / 3 % ARRAY_LEN(granularities)];
        if (o.digest == QCBM_DIGEST_SHA256 && qcbm_digest_load(o.digest, NULL) < 0)
            continue;
        random_image(&before, i * 977, i % 2 ? SIZE : sizes[i / 2 % ARRAY_LEN(sizes)], 0);
        random_image(&after, i * 977, SIZE, i);
        img = build_open(&before, 0);
        changed = build_open(&after, 0);
        make(img, &o, &old);
        make(changed, &o, &fresh);
        m = open_file(&old);
        assert_ok(qcbm_chain_open(changed, &chain, &err), &err);
        assert_ok(qcbm_manifest_update(m, chain, changed, "c", &o, put, &updated, &info, sizeof(info), &err), &err);
        assert_int_equal(updated.len, fresh.len);
        assert_memory_equal(updated.bytes, fresh.bytes, fresh.len);
        assert_differs(changed, &updated, "");
        qcbm_chain_close(chain);
        qcbm_manifest_close(m);
        qcbm_close(img);
        qcbm_close(changed);
        build_free(&before);
        build_free(&after);
        file_free(&old);
        file_free(&fresh);
        file_free(&updated);
    }
}

static void an_update_of_another_kind_is_refused(void **state)
{
    struct qcbm_manifest_options o = options_of(0);
    struct image_builder *b = bench_builder(state);
    struct qcbm_image *img;
    struct qcbm_manifest *m;
    struct qcbm_chain *chain;
    struct qcbm_error err = { 0 };
    struct file f = { 0 }, to = { 0 };

    random_image(b, 5, SIZE, 1);
    img = bench_image(state, 0);
    make(img, &o, &f);
    m = open_file(&f);
    assert_ok(qcbm_chain_open(img, &chain, &err), &err);
    o.digest = QCBM_DIGEST_SHA256;
    o.has_seed = false;
    assert_failure(qcbm_manifest_update(m, chain, img, "c", &o, put, &to, NULL, 0, &err), &err, QCBM_E_ARG,
                   QCBM_NO_OFFSET, "digests of another kind");
    o = options_of(0);
    o.granularity = 8192;
    assert_failure(qcbm_manifest_update(m, chain, img, "c", &o, put, &to, NULL, 0, &err), &err, QCBM_E_ARG,
                   QCBM_NO_OFFSET, "granules of 4096");
    o = options_of(0);
    o.seed++;
    assert_failure(qcbm_manifest_update(m, chain, img, "c", &o, put, &to, NULL, 0, &err), &err, QCBM_E_ARG,
                   QCBM_NO_OFFSET, "another seed");
    assert_int_equal(qcbm_manifest_update(m, chain, img, "x", NULL, put, &to, NULL, 0, &err), QCBM_E_NOTFOUND);
    assert_int_equal(to.len, 0);
    qcbm_chain_close(chain);
    qcbm_manifest_close(m);
    file_free(&f);
    file_free(&to);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(the_file_is_as_documented),
        image_test(seeds_are_random_unless_they_are_given),
        image_test(options_are_checked),
        image_test(who_writes_may_stop_it),
        image_test(what_cannot_be_read_fails),
        image_test(what_differs_is_told),
        image_test(disks_of_other_sizes_differ_in_what_one_lacks),
        image_test(a_file_that_was_cut_or_damaged_is_refused),
        image_test(a_digest_that_fits_does_not_help),
        image_test(many_digests_take_several_records),
        image_test(what_is_told_is_what_reading_tells),
        image_test(update_gives_what_a_new_one_is),
        image_test(an_update_of_another_kind_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
