/* test_delta.c - a delta is written and read: forms, order of records, the digest, files that are whole or not there
 * SPDX-License-Identifier: MIT */
#include "delta/delta.h"

#include <fcntl.h>

#include "delta/content.h"
#include "temp_dir.h"

#define KIB(n) (UINT64_C(1024) * (n))
#define DISK KIB(1000) /* not a multiple of a cluster */

static const struct qcbmi_delta_record some[] = {
    { 0, KIB(64), QCBMI_DELTA_DATA },         { KIB(64), KIB(64), QCBMI_DELTA_ZERO },
    { KIB(192), KIB(192), QCBMI_DELTA_DATA }, { KIB(512), KIB(256), QCBMI_DELTA_ZERO },
    { KIB(960), KIB(40), QCBMI_DELTA_DATA }, /* cut short by the end of the disk */
};

static uint8_t byte_at(uint64_t offset)
{
    return (uint8_t)(offset * 7 + (offset >> 12) + 1);
}

static void fill(uint8_t *to, uint64_t offset, uint64_t len)
{
    for (uint64_t i = 0; i < len; i++)
        to[i] = byte_at(offset + i);
}

static struct qcbmi_delta_meta some_meta(void)
{
    struct qcbmi_delta_meta m = {
        .kind = QCBMI_IDENTITY_DELTA,
        .id = { 1, 2, 3 },
        .has_parent = true,
        .parent = { 4, 5, 6 },
        .created = 1700000000,
        .size_before = KIB(512),
        .size_after = DISK,
        .granularity = 65536,
        .n_probes = 2,
        .probes = { { KIB(128), KIB(64), { 9 } }, { KIB(384), 512, { 8 } } },
        .bitmap = "daily \"1\"",
        .note = "Größe",
    };

    return m;
}

static int give(struct qcbmi_delta_writer *w, const struct qcbmi_delta_record *r, struct qcbm_error *err)
{
    uint8_t *bytes;
    int ret = 0;

    if (r->type == QCBMI_DELTA_ZERO)
        return qcbmi_delta_zero(w, r->offset, r->length, err);
    for (uint64_t at = 0; ret == 0 && at < r->length; at += KIB(64)) { /* in pieces */
        uint64_t n = r->length - at < KIB(64) ? r->length - at : KIB(64);

        bytes = malloc(n);
        assert_non_null(bytes);
        fill(bytes, r->offset + at, n);
        ret = qcbmi_delta_data(w, r->offset + at, n, bytes, err);
        free(bytes);
    }
    return ret;
}

static int write_delta(const struct qcbmi_delta_wish *wish, const struct qcbmi_delta_record *records, size_t n,
                       struct qcbm_error *err)
{
    struct qcbmi_delta_meta meta = some_meta();
    struct qcbmi_delta_writer w;
    int ret = qcbmi_delta_writer_open(&w, wish, &meta, err);

    for (size_t i = 0; ret == 0 && i < n; i++)
        ret = qcbmi_delta_announce(&w, &records[i], err);
    if (ret == 0)
        ret = qcbmi_delta_begin(&w, err);
    for (size_t i = 0; ret == 0 && i < n; i++)
        ret = give(&w, &records[i], err);
    if (ret == 0)
        ret = qcbmi_delta_end(&w, err);
    qcbmi_delta_writer_close(&w);
    return ret;
}

static void assert_records(struct qcbmi_delta *d, const struct qcbmi_delta_record *records, size_t n)
{
    uint8_t covered[DISK / 512] = { 0 }, wanted[DISK / 512] = { 0 }, buf[4096], expected[4096];
    struct qcbmi_delta_record r;
    struct qcbm_error err;
    int ret;

    for (size_t i = 0; i < n; i++)
        memset(wanted + records[i].offset / 512, 1 + (int)records[i].type, records[i].length / 512);
    while ((ret = qcbmi_delta_next(d, &r, &err)) == 1) {
        memset(covered + r.offset / 512, 1 + (int)r.type, r.length / 512);
        for (uint64_t at = 0; r.type == QCBMI_DELTA_DATA && at < r.length; at += 4096) {
            uint64_t len = r.length - at < 4096 ? r.length - at : 4096;

            assert_int_equal(qcbmi_delta_read(d, r.offset + at, buf, len, &err), 0);
            fill(expected, r.offset + at, len);
            assert_memory_equal(buf, expected, len);
        }
    }
    assert_int_equal(ret, 0);
    assert_memory_equal(covered, wanted, sizeof(covered));
}

static void assert_meta(const struct qcbmi_delta *d)
{
    struct qcbmi_delta_meta m = some_meta();

    assert_true(d->has_meta);
    assert_memory_equal(d->meta.id, m.id, sizeof(m.id));
    assert_true(d->meta.has_parent);
    assert_memory_equal(d->meta.parent, m.parent, sizeof(m.parent));
    assert_int_equal(d->meta.created, m.created);
    assert_int_equal(d->meta.size_before, m.size_before);
    assert_int_equal(d->meta.size_after, m.size_after);
    assert_int_equal(d->meta.granularity, m.granularity);
    assert_int_equal(d->meta.n_probes, m.n_probes);
    assert_memory_equal(d->meta.probes, m.probes, sizeof(m.probes[0]) * 2);
    assert_string_equal(d->meta.bitmap, m.bitmap);
    assert_string_equal(d->meta.note, m.note);
}

static void round_trip(const char *form, enum qcbmi_delta_compression compression)
{
    struct temp_dir dir;
    struct qcbmi_delta_wish wish = { .form = qcbmi_delta_form_named(form), .compression = compression };
    uint8_t digest[QCBMI_DIGEST_BYTES];
    struct qcbmi_delta *d;
    struct qcbm_error err;

    temp_dir_make(&dir);
    wish.path = temp_path(&dir, "d");
    assert_int_equal(write_delta(&wish, some, ARRAY_LEN(some), &err), 0);
    assert_int_equal(qcbmi_delta_open(wish.path, &d, &err), 0);
    assert_string_equal(d->form->name, form);
    assert_meta(d);
    assert_records(d, some, ARRAY_LEN(some));
    assert_int_equal(qcbmi_delta_verify(d, digest, NULL, &err), 0);
    assert_true(d->meta.has_digest);
    assert_memory_equal(digest, d->meta.digest, sizeof(digest));
    assert_records(d, some, ARRAY_LEN(some)); /* it was rewound */
    qcbmi_delta_close(d);
    assert_failure(write_delta(&wish, some, 1, &err), &err, QCBM_E_EXISTS, QCBM_NO_OFFSET, "exists already");
    temp_dir_remove(&dir);
}

static void what_is_written_is_read(void **state)
{
    (void)state;
    round_trip("qcow2", QCBMI_DELTA_PLAIN);
    round_trip("qcow2", QCBMI_DELTA_ZLIB);
#ifdef QCBM_HAVE_ZSTD
    round_trip("qcow2", QCBMI_DELTA_ZSTD);
#endif
    round_trip("raw+map", QCBMI_DELTA_PLAIN);
}

/* As bytes; where the size before is known it says nothing. */
static void where_zeros_begin_comes_back(void **state)
{
    static uint8_t bytes[QCBMI_DELTA_META_MAX];
    struct qcbmi_delta_meta m = some_meta(), out = { 0 };

    (void)state;
    m.size_before = UINT64_MAX;
    m.has_zeros_from = true;
    for (m.zeros_from = 0; m.zeros_from <= DISK; m.zeros_from += DISK / 2) {
        qcbmi_delta_meta_store(bytes, &m);
        assert_int_equal(qcbmi_delta_meta_parse(bytes, qcbmi_delta_meta_len(&m), &out, NULL), 0);
        assert_true(out.has_zeros_from);
        assert_int_equal(out.zeros_from, m.zeros_from);
    }
    assert_int_equal(qcbmi_delta_meta_check(&m, NULL), QCBM_E_CORRUPT); /* behind the end of the disk */
    m.zeros_from = KIB(512);
    m.size_before = KIB(512);
    assert_int_equal(qcbmi_delta_meta_check(&m, NULL), QCBM_E_CORRUPT);
    m.size_before = UINT64_MAX;
    m.has_zeros_from = false;
    assert_int_equal(qcbmi_delta_meta_check(&m, NULL), QCBM_E_CORRUPT);
}

static void a_stream_ends_with_its_mark(void **state)
{
    struct qcbmi_delta_wish wish = { .form = qcbmi_delta_form_named("qcow2") };
    struct qcbmi_delta *d;
    struct temp_dir dir;
    struct qcbm_error err;
    struct stat st;

    (void)state;
    temp_dir_make(&dir);
    wish.fd = open(temp_path(&dir, "d"), O_CREAT | O_WRONLY, 0600);
    assert_int_equal(write_delta(&wish, some, ARRAY_LEN(some), &err), 0);
    assert_int_equal(fstat(wish.fd, &st), 0);
    close(wish.fd);
    assert_int_equal(qcbmi_delta_open(temp_path(&dir, "d"), &d, &err), 0);
    assert_meta(d);
    assert_int_equal(qcbmi_delta_verify(d, NULL, NULL, &err), 0);
    assert_records(d, some, ARRAY_LEN(some));
    qcbmi_delta_close(d);
    assert_int_equal(truncate(temp_path(&dir, "d"), st.st_size - 1), 0);
    assert_int_equal(qcbmi_delta_open(temp_path(&dir, "d"), &d, &err), QCBM_E_CORRUPT);
    temp_dir_remove(&dir);
}

static void no_pipe_takes_what_is_two_files_or_compressed(void **state)
{
    struct qcbmi_delta_wish raw = { .form = qcbmi_delta_form_named("raw+map"), .fd = 1 };
    struct qcbmi_delta_wish packed = { .form = qcbmi_delta_form_named("qcow2"),
                                       .fd = 1,
                                       .compression = QCBMI_DELTA_ZLIB };
    struct qcbm_error err;

    (void)state;
    assert_failure(write_delta(&raw, some, 1, &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET, "no pipe takes it");
    assert_failure(write_delta(&packed, some, 1, &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET, "compress the stream");
}

static void records_are_in_order_and_on_the_disk(void **state)
{
    static const struct qcbmi_delta_record back[] = { { KIB(64), KIB(64), 0 }, { 0, KIB(64), 0 } },
                                           over[] = { { 0, KIB(128), 0 }, { KIB(64), KIB(64), 0 } },
                                           past[] = { { KIB(960), KIB(64), 0 } }, part[] = { { 0, 512, 0 } };
    struct qcbmi_delta_wish wish = { .form = qcbmi_delta_form_named("qcow2") };
    struct temp_dir dir;
    struct qcbm_error err;

    (void)state;
    temp_dir_make(&dir);
    wish.path = temp_path(&dir, "d");
    assert_int_equal(write_delta(&wish, back, 2, &err), QCBM_E_ARG);
    assert_int_equal(write_delta(&wish, over, 2, &err), QCBM_E_ARG);
    assert_int_equal(write_delta(&wish, past, 1, &err), QCBM_E_ARG);
    assert_int_equal(write_delta(&wish, part, 1, &err), QCBM_E_ARG);
    assert_int_equal(access(wish.path, F_OK), -1);
    assert_int_equal(write_delta(&wish, some, ARRAY_LEN(some), &err), 0);
    temp_dir_remove(&dir);
}

/* ---- the digest ---- */

static void digest_of(const struct qcbmi_delta_record *r, size_t n, uint64_t piece, uint8_t out[QCBMI_DIGEST_BYTES])
{
    struct qcbmi_delta_content *c;
    uint8_t *bytes = malloc(DISK);
    struct qcbm_error err;

    assert_int_equal(qcbmi_content_begin(&c, &err), 0);
    for (size_t i = 0; i < n; i++) {
        uint64_t step = piece ? piece : r[i].length;

        for (uint64_t at = 0; at < r[i].length; at += step) {
            uint64_t len = r[i].length - at < step ? r[i].length - at : step;

            fill(bytes, r[i].offset + at, len);
            if (r[i].type == QCBMI_DELTA_DATA)
                qcbmi_content_data(c, r[i].offset + at, len, bytes);
            else
                qcbmi_content_zero(c, r[i].offset + at, len);
        }
    }
    qcbmi_content_end(c, out);
    qcbmi_content_free(c);
    free(bytes);
}

static void the_digest_is_the_same_however_records_are_cut(void **state)
{
    static const struct qcbmi_delta_record odd[] = {
        { 512, KIB(3), QCBMI_DELTA_DATA },
        { KIB(3) + 512, KIB(130), QCBMI_DELTA_ZERO },
        { KIB(133) + 512, KIB(1), QCBMI_DELTA_DATA },
        { KIB(300), KIB(400), QCBMI_DELTA_DATA },
        { KIB(700), 512, QCBMI_DELTA_ZERO },
    };
    static const uint64_t cuts[] = { 512, 1536, KIB(4), KIB(64), KIB(100), KIB(128) };
    uint8_t whole[QCBMI_DIGEST_BYTES], cut[QCBMI_DIGEST_BYTES], other[QCBMI_DIGEST_BYTES];

    (void)state;
    digest_of(odd, ARRAY_LEN(odd), 0, whole);
    for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
        digest_of(odd, ARRAY_LEN(odd), cuts[i], cut);
        assert_memory_equal(cut, whole, sizeof(cut));
    }
    digest_of(odd, ARRAY_LEN(odd) - 1, 0, other); /* zeros that are missing are not nothing */
    assert_memory_not_equal(other, whole, sizeof(other));
}

static void zeros_as_data_are_zeros(void **state)
{
    struct qcbmi_delta_content *a, *b;
    uint8_t x[QCBMI_DIGEST_BYTES], y[QCBMI_DIGEST_BYTES], *zeros = calloc(1, KIB(200));
    struct qcbm_error err;

    (void)state;
    assert_int_equal(qcbmi_content_begin(&a, &err), 0);
    assert_int_equal(qcbmi_content_begin(&b, &err), 0);
    qcbmi_content_zero(a, KIB(10), KIB(200));
    qcbmi_content_data(b, KIB(10), KIB(150), zeros);
    qcbmi_content_zero(b, KIB(160), KIB(50));
    qcbmi_content_end(a, x);
    qcbmi_content_end(b, y);
    assert_memory_equal(x, y, sizeof(x));
    qcbmi_content_free(a);
    qcbmi_content_free(b);
    free(zeros);
}

static void a_changed_byte_is_found(void **state)
{
    struct qcbmi_delta_wish wish = { .form = qcbmi_delta_form_named("raw+map") };
    struct qcbmi_delta *d;
    struct temp_dir dir;
    struct qcbm_error err;
    FILE *f;

    (void)state;
    temp_dir_make(&dir);
    wish.path = temp_path(&dir, "d");
    assert_int_equal(write_delta(&wish, some, ARRAY_LEN(some), &err), 0);
    f = fopen(wish.path, "r+b");
    fseek(f, (long)KIB(200), SEEK_SET);
    fputc(byte_at(KIB(200)) ^ 1, f);
    fclose(f);
    assert_int_equal(qcbmi_delta_open(wish.path, &d, &err), 0);
    assert_failure(qcbmi_delta_verify(d, NULL, NULL, &err), &err, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "it is damaged");
    qcbmi_delta_close(d);
    temp_dir_remove(&dir);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(where_zeros_begin_comes_back),
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(a_stream_ends_with_its_mark),
        cmocka_unit_test(no_pipe_takes_what_is_two_files_or_compressed),
        cmocka_unit_test(records_are_in_order_and_on_the_disk),
        cmocka_unit_test(the_digest_is_the_same_however_records_are_cut),
        cmocka_unit_test(zeros_as_data_are_zeros),
        cmocka_unit_test(a_changed_byte_is_found),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
