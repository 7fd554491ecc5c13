/* test_bitmap_transfer.c - export and import: exact bytes, and what a file may not bring about
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "base/digest.h"
#include "format/bitmap_file.h"

#define AUTO 2u

struct file {
    uint8_t bytes[8192];
    size_t len, at;
    size_t piece;    /* bytes that one read gives at most; 0 = all */
    size_t fails_at; /* the read that begins here fails; 0 = none */
};

static int put(void *opaque, const void *bytes, size_t len)
{
    struct file *f = opaque;

    assert_true(len <= sizeof(f->bytes) - f->len);
    memcpy(f->bytes + f->len, bytes, len);
    f->len += len;
    return 0;
}

static int64_t get(void *opaque, void *to, size_t len)
{
    struct file *f = opaque;
    size_t n = f->len - f->at < len ? f->len - f->at : len;

    if (f->fails_at && f->at >= f->fails_at)
        return -1;
    if (f->piece && n > f->piece)
        n = f->piece;
    memcpy(to, f->bytes + f->at, n);
    f->at += n;
    return (int64_t)n;
}

/* 100 KiB + 512: 201 granules of 512 bytes; "b" has bits 0, 3 and 200 set, and a bit behind the end. */
static void build(struct image_builder *b, const struct build_options *more)
{
    struct build_options opt = more ? *more : (struct build_options){ 0 };
    uint64_t data;

    opt.size = opt.size ? opt.size : KIB(100) + 512;
    build_start(b, &opt);
    data = build_clusters(b, 1);
    b->bytes[data] = 0x09;
    b->bytes[data + 25] = 0x03;
    build_bitmap(b, "b", 9, AUTO, &data, 1);
    build_finish(b);
}

static void export_b(const struct image_builder *b, enum qcbm_transfer_format format, struct file *f)
{
    struct qcbm_error err = { 0 };
    struct qcbm_image *img = build_open(b, 0);

    memset(f, 0, sizeof(*f));
    assert_ok(qcbm_bitmap_export(img, "b", format, put, f, &err), &err);
    qcbm_close(img);
}

static int try_import(const struct image_builder *b, struct file *f, const struct qcbm_import_options *opt,
                      struct qcbm_import_result *out, struct qcbm_error *err)
{
    struct session s;
    struct qcbm_edit *edit;
    int ret;

    session_open(&s, b);
    assert_ok(qcbm_edit_begin(s.img, &edit, err), err);
    f->at = 0;
    ret = qcbm_edit_import(edit, "new", opt, get, f, out, sizeof(*out), err);
    if (ret == 0) {
        struct qcbm_error e = { 0 };

        assert_ok(qcbm_edit_commit(edit, NULL, 0, &e), &e);
        assert_dirty(s.img, "new", "0-512 1536-2048 102400-102912");
        assert_int_equal(bitmap_count(s.img), 2);
    } else { /* the edit is as before */
        struct qcbm_plan_summary sum;
        struct qcbm_error e = { 0 };

        assert_ok(qcbm_edit_plan(edit, &sum, sizeof(sum), NULL, NULL, &e), &e);
        assert_int_equal(sum.writes, 0);
    }
    qcbm_edit_free(edit);
    session_close(&s);
    return ret;
}

static void fix_digest(struct file *f)
{
    qcbmi_digest(f->bytes, f->len - 16, f->bytes + f->len - 16);
}

static void the_file_is_as_documented(void **state)
{
    static const uint8_t head[] = { 0x89, 'Q', 'C', 'B', 'M',  'A', 'P', '\n', 0, 0, 0, 1, 0, 0, 0, 72, 0, 0,
                                    0,    0,   0,   1,   0x92, 0,   0,   0,    0, 3, 0, 0, 0, 9, 0, 0,  0, 1 };
    struct image_builder *b = bench_builder(state);
    uint8_t bytes[8 + 65536] = { [5] = 1, [6] = 0x92 }, digest[16];
    struct file f;

    build(b, NULL);
    export_b(b, QCBM_TRANSFER_QCBM, &f);
    assert_int_equal(f.len, 72 + 16 + 26 + 16 + 16);
    assert_memory_equal(f.bytes, head, sizeof(head));
    qcbmi_digest(bytes, sizeof(bytes), digest); /* the fingerprint: size and 64 KiB of zeros */
    assert_memory_equal(f.bytes + 48, digest, 16);
    assert_memory_equal(f.bytes + 64, "b\0\0\0\0\0\0", 8);
    assert_memory_equal(f.bytes + 72, "\0\0\0\3\0\0\0\0\0\0\0\0\0\0\0\xc9\x09", 17); /* 201 bits */
    assert_int_equal(f.bytes[88 + 25], 1);                                           /* not the bit behind the end */
    assert_true(qcbmi_digest_is(f.bytes, f.len - 16, f.bytes + f.len - 16));
    export_b(b, QCBM_TRANSFER_RAW, &f);
    assert_int_equal(f.len, 26);
    assert_int_equal(f.bytes[0], 9);
    assert_int_equal(f.bytes[25], 1);
    export_b(b, QCBM_TRANSFER_RAW_MSB, &f);
    assert_int_equal(f.len, 26);
    assert_int_equal(f.bytes[0], 0x90);
    assert_int_equal(f.bytes[25], 0x80);
}

static void runs_are_joined(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .size = 4 * 4096 * 512 + 512 };
    uint64_t entries[5] = { 0, 1, 1, 0, 0 };
    struct file f = { .len = 0 };
    struct qcbm_image *img;
    struct qcbm_error err = { 0 };

    build_start(b, &opt);
    build_bitmap(b, "b", 9, 0, entries, 5);
    build_finish(b);
    img = bench_image(state, 0);
    assert_ok(qcbm_bitmap_export(img, "b", QCBM_TRANSFER_QCBM, put, &f, &err), &err);
    assert_int_equal(f.len, 72 + 4 * 16 + 16);
    assert_memory_equal(f.bytes + 72, "\0\0\0\1\0\0\0\0\0\0\0\0\0\0\x10\0", 16);
    assert_memory_equal(f.bytes + 88, "\0\0\0\2\0\0\0\0\0\0\0\0\0\0\x20\0", 16);
    assert_memory_equal(f.bytes + 104, "\0\0\0\1\0\0\0\0\0\0\0\0\0\0\x10\1", 16);
}

static const enum qcbm_transfer_format formats[] = { QCBM_TRANSFER_QCBM, QCBM_TRANSFER_RAW, QCBM_TRANSFER_RAW_MSB };

static void all_formats_come_back_in_pieces_of_any_length(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct qcbm_import_options opt = QCBM_IMPORT_OPTIONS_INIT;
    struct qcbm_import_result result;
    struct qcbm_error err = { 0 };
    struct file f;

    build(b, NULL);
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        bool raw = formats[i] != QCBM_TRANSFER_QCBM;

        export_b(b, formats[i], &f);
        opt.format = formats[i];
        opt.granularity = raw ? 512 : 0;
        for (f.piece = 0; f.piece < 40; f.piece += 3) {
            assert_ok(try_import(b, &f, &opt, &result, &err), &err);
            assert_string_equal(result.name, raw ? "" : "b");
            assert_int_equal(result.fingerprint, raw ? QCBM_FINGERPRINT_UNKNOWN : QCBM_FINGERPRINT_EQUAL);
        }
    }
}

static void a_file_that_was_cut_or_goes_on_is_refused(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct qcbm_import_options opt = QCBM_IMPORT_OPTIONS_INIT;
    struct qcbm_import_result result;
    struct qcbm_error err = { 0 };
    struct file f;
    size_t whole;

    build(b, NULL);
    for (size_t i = 0; i < sizeof(formats) / sizeof(formats[0]); i++) {
        bool raw = formats[i] != QCBM_TRANSFER_QCBM;

        opt.format = formats[i];
        opt.granularity = raw ? 512 : 0;
        export_b(b, opt.format, &f);
        whole = f.len;
        for (f.len = 0; f.len < whole; f.len++)
            assert_failure(try_import(b, &f, &opt, &result, &err), &err, QCBM_E_CORRUPT, f.len, "ends within");
        f.len = whole + 1;
        assert_failure(try_import(b, &f, &opt, &result, &err), &err, QCBM_E_CORRUPT, whole, "goes on");
    }
}

static void any_byte_that_changed_is_noticed(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct qcbm_import_result result;
    struct qcbm_error err = { 0 };
    struct file f;

    build(b, NULL);
    export_b(b, QCBM_TRANSFER_QCBM, &f);
    for (size_t i = 0; i < f.len; i++)
        for (unsigned bit = 0; bit < 8; bit++) {
            f.bytes[i] ^= (uint8_t)(1u << bit);
            assert_true(try_import(b, &f, NULL, &result, &err) < 0);
            f.bytes[i] ^= (uint8_t)(1u << bit);
        }
    assert_ok(try_import(b, &f, NULL, &result, &err), &err);
}

/* As above, but whoever changed it made the digest fit: anything but a crash, and never more than the file says. */
static void a_forged_file_is_parsed_safely(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct qcbm_import_options opt = QCBM_IMPORT_OPTIONS_INIT;
    unsigned taken = 0, tried = 0;
    struct file f;

    opt.flags = QCBM_IMPORT_FORCE;
    build(b, NULL);
    export_b(b, QCBM_TRANSFER_QCBM, &f);
    for (size_t i = 0; i + 16 < f.len; i++)
        for (unsigned value = 0; value < 256; value += 5) {
            uint8_t was = f.bytes[i];
            struct qcbm_error err = { 0 };
            struct qcbm_image *img = build_open(b, 0);
            struct qcbm_edit *edit;
            int ret;

            f.bytes[i] = (uint8_t)value;
            fix_digest(&f);
            f.at = 0;
            assert_ok(qcbm_edit_begin(img, &edit, &err), &err);
            ret = qcbm_edit_import(edit, "new", &opt, get, &f, NULL, 0, &err);
            assert_true(ret <= 0 && (ret == 0 || err.message[0]));
            taken += ret == 0;
            tried++;
            qcbm_edit_free(edit);
            qcbm_close(img);
            f.bytes[i] = was;
        }
    assert_true(taken > 50 && taken < tried / 2); /* names, bits, fingerprint; not lengths and kinds */
}

static void set_bits_behind_the_end_are_refused(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct qcbm_import_options opt = QCBM_IMPORT_OPTIONS_INIT;
    struct qcbm_import_result result;
    struct qcbm_error err = { 0 };
    struct file f;

    build(b, NULL);
    export_b(b, QCBM_TRANSFER_QCBM, &f);
    f.bytes[88 + 25] = 3;
    fix_digest(&f);
    assert_failure(try_import(b, &f, NULL, &result, &err), &err, QCBM_E_CORRUPT, 88 + 25, "behind the end");
    export_b(b, QCBM_TRANSFER_RAW, &f);
    f.bytes[25] = 0x81;
    opt.format = QCBM_TRANSFER_RAW;
    opt.granularity = 512;
    assert_failure(try_import(b, &f, &opt, &result, &err), &err, QCBM_E_CORRUPT, 25, "behind the end");
}

static void size_granularity_and_name_are_checked(void **state)
{
    struct build_options larger = { .size = KIB(101) };
    struct qcbm_import_options opt = QCBM_IMPORT_OPTIONS_INIT;
    struct qcbm_import_result result;
    struct qcbm_error err = { 0 };
    struct image_builder b, other;
    struct file f;

    (void)state;
    build(&b, NULL);
    build(&other, &larger);
    export_b(&b, QCBM_TRANSFER_QCBM, &f);
    opt.flags = QCBM_IMPORT_FORCE; /* does not help */
    assert_failure(try_import(&other, &f, &opt, &result, &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET,
                   "a disk of 102912 bytes, this one has 103424");
    opt.granularity = 1024;
    assert_failure(try_import(&b, &f, &opt, &result, &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET, "granularity of 512");
    opt.format = QCBM_TRANSFER_RAW;
    opt.granularity = 0;
    assert_failure(try_import(&b, &f, &opt, &result, &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET, "must be given");
    opt.granularity = 1000;
    assert_failure(try_import(&b, &f, &opt, &result, &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET, "power of 2");
    build_free(&b);
    build_free(&other);
}

static void a_failed_read_is_not_the_end(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct qcbm_import_result result;
    struct qcbm_error err = { 0 };
    struct file f;

    build(b, NULL);
    export_b(b, QCBM_TRANSFER_QCBM, &f);
    for (f.fails_at = 1; f.fails_at <= f.len; f.fails_at += 7)
        assert_failure(try_import(b, &f, NULL, &result, &err), &err, QCBM_E_ABORTED, QCBM_NO_OFFSET, "stopped");
}

/* ---- the fingerprint ---- */

/* An image whose first cluster is as the test wants it. */
static void build_head(struct image_builder *b, const char *kind)
{
    struct build_options opt = { .size = KIB(100) + 512 };
    uint64_t data;

    if (strcmp(kind, "backed") == 0)
        opt.backing = "nowhere";
    build_start(b, &opt);
    if (strcmp(kind, "elsewhere") == 0) { /* the content of "data" at another place */
        build_clusters(b, 3);
        build_data(b, 512);
    }
    if (strcmp(kind, "data") == 0 || strcmp(kind, "elsewhere") == 0) {
        data = build_data(b, 1024);
        b->bytes[data] = 7;
    }
    if (strcmp(kind, "zero") == 0)
        build_map(b, 1024, BUILD_ZERO, 0);
    if (strcmp(kind, "compressed") == 0)
        build_map(b, 1024, BUILD_COMPRESSED | build_clusters(b, 1), 0);
    data = build_clusters(b, 1);
    b->bytes[data] = 0x09;
    b->bytes[data + 25] = 0x01;
    build_bitmap(b, "b", 9, AUTO, &data, 1);
    build_finish(b);
}

static void the_fingerprint_is_of_content_and_unknown_where_that_is_not_at_hand(void **state)
{
    static const struct {
        const char *from, *to;
        enum qcbm_fingerprint want;
    } cases[] = {
        { "data", "elsewhere", QCBM_FINGERPRINT_EQUAL },    { "elsewhere", "data", QCBM_FINGERPRINT_EQUAL },
        { "empty", "zero", QCBM_FINGERPRINT_EQUAL },        { "empty", "data", QCBM_FINGERPRINT_DIFFERENT },
        { "data", "empty", QCBM_FINGERPRINT_DIFFERENT },    { "data", "backed", QCBM_FINGERPRINT_UNKNOWN },
        { "backed", "data", QCBM_FINGERPRINT_UNKNOWN },     { "compressed", "data", QCBM_FINGERPRINT_UNKNOWN },
        { "data", "compressed", QCBM_FINGERPRINT_UNKNOWN },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct qcbm_import_options opt = QCBM_IMPORT_OPTIONS_INIT;
        struct qcbm_import_result result;
        struct qcbm_error err = { 0 };
        struct image_builder from, to;
        struct file f;

        build_head(&from, cases[i].from);
        build_head(&to, cases[i].to);
        export_b(&from, QCBM_TRANSFER_QCBM, &f);
        if (cases[i].want == QCBM_FINGERPRINT_DIFFERENT)
            assert_failure(try_import(&to, &f, &opt, &result, &err), &err, QCBM_E_UNSAFE, QCBM_NO_OFFSET, "begin");
        opt.flags = cases[i].want == QCBM_FINGERPRINT_DIFFERENT ? QCBM_IMPORT_FORCE : 0;
        assert_ok(try_import(&to, &f, &opt, &result, &err), &err);
        assert_int_equal(result.fingerprint, cases[i].want);
        build_free(&from);
        build_free(&to);
    }
}

static int refuse(void *opaque, const void *bytes, size_t len)
{
    size_t *left = opaque;

    (void)bytes;
    if (len > *left)
        return 1;
    *left -= len;
    return 0;
}

static void an_export_that_is_stopped_says_so(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct qcbm_image *img;
    struct qcbm_error err = { 0 };

    build(b, NULL);
    img = bench_image(state, 0);
    for (size_t room = 0; room < 146; room += 9) {
        size_t left = room;

        assert_failure(qcbm_bitmap_export(img, "b", QCBM_TRANSFER_QCBM, refuse, &left, &err), &err, QCBM_E_ABORTED,
                       QCBM_NO_OFFSET, "stopped");
    }
    assert_failure(qcbm_bitmap_export(img, "x", QCBM_TRANSFER_RAW, put, NULL, &err), &err, QCBM_E_NOTFOUND,
                   QCBM_NO_OFFSET, "not found");
}

static void a_head_that_cannot_be_read_leaves_no_error(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct build_options opt = { .cluster_bits = 12 };
    struct qcbm_error err = { 0 };
    struct qcbm_image *img;
    struct file f = { 0 };

    build(b, &opt);
    be64_store(b->bytes + b->l1, 0x200); /* the L2 table is not cluster-aligned */
    img = bench_image(state, 0);
    assert_int_equal(qcbm_bitmap_export(img, "b", QCBM_TRANSFER_QCBM, put, &f, &err), 0);
    assert_int_equal(err.code, 0);
    assert_string_equal(err.message, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(the_file_is_as_documented),
        image_test(runs_are_joined),
        image_test(all_formats_come_back_in_pieces_of_any_length),
        image_test(a_file_that_was_cut_or_goes_on_is_refused),
        image_test(any_byte_that_changed_is_noticed),
        image_test(a_forged_file_is_parsed_safely),
        image_test(set_bits_behind_the_end_are_refused),
        cmocka_unit_test(size_granularity_and_name_are_checked),
        image_test(a_failed_read_is_not_the_end),
        cmocka_unit_test(the_fingerprint_is_of_content_and_unknown_where_that_is_not_at_hand),
        image_test(an_export_that_is_stopped_says_so),
        image_test(a_head_that_cannot_be_read_leaves_no_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
