/* test_rbd_form.c - a delta as an rbd diff: the bytes that are written, what is read of them, what is refused
 * SPDX-License-Identifier: MIT */
#include "delta_unit.h"

#define MiB (UINT64_C(1) << 20)

/* 12 KiB: 4 bytes of data, 16 of zeros, 2 of data; written from Ceph's page, not by the code. */
static const char stream[] = "rbd diff v1\n"
                             "f\x20\0\0\0cdcdcdcdcdcdcdcdcdcdcdcdcdcdcdcd"
                             "t\x20\0\0\0abababababababababababababababab"
                             "s\0\x30\0\0\0\0\0\0"
                             "w\0\x10\0\0\0\0\0\0\4\0\0\0\0\0\0\0\x51\x52\x53\x54"
                             "z\x04\x10\0\0\0\0\0\0\x10\0\0\0\0\0\0\0"
                             "w\x14\x10\0\0\0\0\0\0\2\0\0\0\0\0\0\0\x65\x66"
                             "e";
static const struct qcbmi_delta_record records[] = { { 4096, 4, QCBMI_DELTA_DATA },
                                                     { 4100, 16, QCBMI_DELTA_ZERO },
                                                     { 4116, 2, QCBMI_DELTA_DATA } };

static void it_is_written_as_ceph_documents_it(void **state)
{
    struct qcbmi_delta_wish wish = { .form = &qcbmi_delta_rbd };
    struct qcbmi_delta_meta meta = some_meta(12288);
    struct qcbm_error err = { 0 };
    struct temp_dir dir;

    (void)state;
    temp_dir_make(&dir);
    for (uint64_t piece = 1; piece < 20; piece += 3) { /* however it is given */
        char name[8] = { 'd', (char)('a' + piece), 0 };
        const char *path = temp_path(&dir, name);
        uint8_t *bytes;
        size_t len;

        wish.path = path;
        assert_int_equal(write_records(&wish, &meta, records, ARRAY_LEN(records), piece, &err), 0);
        bytes = slurp(path, &len);
        assert_int_equal(len, sizeof stream - 1);
        assert_memory_equal(bytes, stream, len);
        free(bytes);
    }
    temp_dir_remove(&dir);
}

static void names_and_data_can_be_told(void **state)
{
    const struct qcbmi_delta_record large = { 3 * MiB, 9 * MiB, QCBMI_DELTA_DATA };
    struct qcbmi_delta_wish wish = { .form = &qcbmi_delta_rbd, .from = "mon", .to = "tuesday" };
    struct qcbmi_delta_meta meta = some_meta(16 * MiB);
    struct qcbm_error err = { 0 };
    struct qcbmi_delta *d;
    struct qcbmi_delta_record r;
    struct temp_dir dir;
    uint64_t at = 3 * MiB;

    (void)state;
    temp_dir_make(&dir);
    wish.path = temp_path(&dir, "delta");
    assert_int_equal(write_records(&wish, &meta, &large, 1, MiB, &err), 0);
    assert_int_equal(qcbmi_delta_open(wish.path, &d, &err), 0);
    assert_string_equal(d->from, "mon");
    assert_string_equal(d->to, "tuesday");
    assert_true(d->has_meta && d->meta.has_digest);
    assert_memory_equal(d->meta.id, meta.id, sizeof meta.id);
    while (qcbmi_delta_next(d, &r, &err) == 1) { /* no record in two of Ceph's objects */
        assert_int_equal(r.offset, at);
        assert_int_equal(r.offset / (4 * MiB), (r.offset + r.length - 1) / (4 * MiB));
        at += r.length;
    }
    assert_int_equal(at, 12 * MiB);
    assert_int_equal(qcbmi_delta_verify(d, NULL, NULL, &err), 0);
    qcbmi_delta_close(d);
    temp_dir_remove(&dir);
}

static void names_that_are_ids_make_up_for_the_sidecar(void **state)
{
    uint8_t disk[12288], expected[12288];
    struct qcbm_error err = { 0 };
    struct qcbmi_delta *d;

    (void)state;
    assert_int_equal(open_bytes(stream, sizeof stream - 1, NULL, &d, &err), 0);
    assert_true(d->has_meta && d->meta.has_parent && !d->meta.has_digest);
    assert_int_equal(d->meta.id[0], 0xab);
    assert_int_equal(d->meta.parent[15], 0xcd);
    assert_int_equal(d->meta.size_after, 12288);
    assert_int_equal(d->meta.size_before, UINT64_MAX);
    memset(expected, 0xff, sizeof expected);
    fill_pattern(expected + 4096, 4096, 22);
    memset(expected + 4100, 0, 16);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(read_all(d, disk, &err), 0);
        assert_memory_equal(disk, expected, sizeof disk);
        assert_int_equal(qcbmi_delta_rewind(d, &err), 0);
    }
    qcbmi_delta_close(d);
    assert_int_equal(open_bytes("rbd diff v1\nt\3\0\0\0mons\0\2\0\0\0\0\0\0e", 30, NULL, &d, &err), 0);
    assert_false(d->has_meta);
    assert_string_equal(d->to, "mon");
    assert_null(d->from);
    qcbmi_delta_close(d);
}

/* Snapshots of others may be called by UUIDs, as some platforms call theirs: such a stream is not qcbm's. */
static void a_uuid_is_a_name_and_no_id(void **state)
{
    static const char *const names[] = { "\x24\0\0\0"
                                         "01234567-89ab-cdef-0123-456789abcdef",
                                         "\x20\0\0\0"
                                         "0123456789ABCDEF0123456789ABCDEF" };

    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        size_t len = 4 + (i ? 32 : 36), at = 12;
        struct qcbm_error err = { 0 };
        struct qcbmi_delta *d;
        char bytes[80] = "rbd diff v1\n";

        bytes[at] = 't';
        memcpy(bytes + at + 1, names[i], len);
        at += 1 + len;
        memcpy(bytes + at, "s\0\x30\0\0\0\0\0\0e", 10);
        assert_int_equal(open_bytes(bytes, at + 10, NULL, &d, &err), 0);
        assert_false(d->has_meta);
        qcbmi_delta_close(d);
    }
}

/* As a merge makes it of streams of others, whose snapshots may be called as they like. */
static void a_sidecar_without_a_parent_has_nothing_against_the_name_of_one(void **state)
{
    struct qcbmi_delta_wish wish = { .form = &qcbmi_delta_rbd, .from = "0123456789abcdef0123456789abcdef", .to = "x" };
    struct qcbmi_delta_meta meta = some_meta(12288);
    struct qcbm_error err = { 0 };
    struct qcbmi_delta *d;
    struct temp_dir dir;

    (void)state;
    temp_dir_make(&dir);
    wish.path = temp_path(&dir, "delta");
    meta.has_parent = false;
    memset(meta.parent, 0, sizeof meta.parent);
    assert_int_equal(write_records(&wish, &meta, records, ARRAY_LEN(records), 4, &err), 0);
    assert_int_equal(qcbmi_delta_open(wish.path, &d, &err), 0);
    assert_false(d->meta.has_parent);
    qcbmi_delta_close(d);
    wish.path = temp_path(&dir, "other");
    wish.to = "0123456789abcdef0123456789abcdef"; /* but not against another id */
    assert_int_equal(write_records(&wish, &meta, records, ARRAY_LEN(records), 4, &err), 0);
    assert_failure(qcbmi_delta_open(wish.path, &d, &err), &err, QCBM_E_CORRUPT, QCBM_NO_OFFSET,
                   "belongs to another delta");
    temp_dir_remove(&dir);
}

/* Opened and read through. */
static int read_through(const void *bytes, size_t len, struct qcbm_error *err)
{
    uint8_t disk[12288];
    struct qcbmi_delta *d;
    int ret = open_bytes(bytes, len, NULL, &d, err);

    if (ret == 0)
        ret = read_all(d, disk, err);
    qcbmi_delta_close(d);
    return ret;
}

static void a_stream_that_is_cut_short_anywhere_is_refused(void **state)
{
    (void)state;
    for (size_t len = 12; len < sizeof stream - 1; len++) {
        struct qcbm_error err = { 0 };

        assert_int_equal(read_through(stream, len, &err), QCBM_E_CORRUPT);
    }
}

/* By whoever only asks for records, too. */
static void data_that_is_not_there_is_found_without_reading_it(void **state)
{
    static const char cut[] = "rbd diff v1\n"
                              "s\0\x30\0\0\0\0\0\0"
                              "w\0\0\0\0\0\0\0\0\4\0\0\0\0\0\0\0abc";
    struct qcbm_error err = { 0 };
    struct qcbmi_delta_record r;
    struct qcbmi_delta *d;

    (void)state;
    assert_failure(open_bytes(cut, sizeof cut - 1, NULL, &d, &err), &err, QCBM_E_CORRUPT, 21,
                   "4 bytes, but the file ends 3");
    assert_int_equal(open_bytes(stream, sizeof stream - 4, NULL, &d, &err), 0);
    assert_int_equal(qcbmi_delta_next(d, &r, &err), 1);
    assert_int_equal(qcbmi_delta_next(d, &r, &err), 1);
    assert_int_equal(qcbmi_delta_next(d, &r, &err), QCBM_E_CORRUPT);
    qcbmi_delta_close(d);
}

static void what_follows_the_end_is_refused(void **state)
{
    struct qcbm_error err = { 0 };

    (void)state;
    assert_int_equal(read_through(stream, sizeof stream - 1, &err), 0);
    assert_failure(read_through(stream, sizeof stream, &err), &err, QCBM_E_CORRUPT, sizeof stream - 1,
                   "1 bytes follow its end mark");
}

static void a_name_has_no_nul(void **state)
{
    struct qcbm_error err = { 0 };

    (void)state;
    assert_failure(read_through("rbd diff v1\nt\3\0\0\0m\0ns\0\2\0\0\0\0\0\0e", 30, &err), &err, QCBM_E_CORRUPT, 17,
                   "a NUL in the name");
}

static void version_2_is_read(void **state)
{
    static const char v2[] = "rbd diff v2\n"
                             "t\7\0\0\0\0\0\0\0\3\0\0\0new"
                             "p\1\0\0\0\0\0\0\0\1"
                             "s\x8\0\0\0\0\0\0\0\0\x30\0\0\0\0\0\0"
                             "w\x14\0\0\0\0\0\0\0\0\x10\0\0\0\0\0\0\4\0\0\0\0\0\0\0data"
                             "?\3\0\0\0\0\0\0\0abc"
                             "z\x10\0\0\0\0\0\0\0\0\x20\0\0\0\0\0\0\1\0\0\0\0\0\0\0"
                             "e";
    struct qcbm_error err = { 0 };
    struct qcbmi_delta *d;
    uint8_t disk[12288];

    (void)state;
    assert_int_equal(open_bytes(v2, sizeof v2 - 1, NULL, &d, &err), 0);
    assert_int_equal(read_all(d, disk, &err), 0);
    assert_memory_equal(disk + 4095,
                        "\xff"
                        "data\xff",
                        6);
    assert_memory_equal(disk + 8191, "\xff\0\xff", 3);
    qcbmi_delta_close(d);
    for (size_t len = 12; len < sizeof v2 - 1; len++)
        assert_int_equal(read_through(v2, len, &err), QCBM_E_CORRUPT);
}

static void it_goes_through_a_pipe(void **state)
{
    struct qcbmi_delta_wish wish = { .form = &qcbmi_delta_rbd };
    struct qcbmi_delta_meta meta = some_meta(12288);
    uint8_t bytes[sizeof stream];
    struct qcbm_error err = { 0 };
    int fds[2];

    (void)state;
    assert_int_equal(pipe(fds), 0);
    wish.fd = fds[1];
    assert_int_equal(write_records(&wish, &meta, records, ARRAY_LEN(records), 7, &err), 0);
    close(fds[1]);
    assert_int_equal(read(fds[0], bytes, sizeof bytes), sizeof stream - 1);
    assert_memory_equal(bytes, stream, sizeof stream - 1);
    close(fds[0]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_is_written_as_ceph_documents_it),
        cmocka_unit_test(names_and_data_can_be_told),
        cmocka_unit_test(names_that_are_ids_make_up_for_the_sidecar),
        cmocka_unit_test(a_uuid_is_a_name_and_no_id),
        cmocka_unit_test(a_sidecar_without_a_parent_has_nothing_against_the_name_of_one),
        cmocka_unit_test(a_stream_that_is_cut_short_anywhere_is_refused),
        cmocka_unit_test(data_that_is_not_there_is_found_without_reading_it),
        cmocka_unit_test(what_follows_the_end_is_refused),
        cmocka_unit_test(a_name_has_no_nul),
        cmocka_unit_test(version_2_is_read),
        cmocka_unit_test(it_goes_through_a_pipe),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
