/* test_vnb_form.c - a delta as a stream of virtnbdbackup: the bytes that are written, what is read of them, what is
 * refused
 * SPDX-License-Identifier: MIT */
#include "delta_unit.h"

#include "format/vnb_frame.h"

#define MiB (UINT64_C(1) << 20)

#define META                                                                                                           \
    "{\"virtualSize\": 12288, \"dataSize\": 6, \"checkpointName\": \"c1\", \"parentCheckpoint\": \"c0\", "             \
    "\"compressed\": false, \"streamVersion\": 2, \"incremental\": true}"
static const char stream[] = "meta 0000000000000000 0000000000000095\r\n" META "\r\n"
                             "data 0000000000001000 0000000000000004\r\ndata\r\n"
                             "zero 0000000000001004 0000000000000010\r\n"
                             "data 0000000000002000 0000000000000002\r\n\r\n\r\n"
                             "stop 0000000000000000 0000000000000000\r\n";

static const struct qcbmi_delta_record records[] = { { 4096, 4, QCBMI_DELTA_DATA },
                                                     { 4100, 16, QCBMI_DELTA_ZERO },
                                                     { 8192, 70000, QCBMI_DELTA_DATA },
                                                     { MiB, MiB, QCBMI_DELTA_ZERO } };

/* What comes behind the metadata, which must be there. */
static const uint8_t *behind_metadata(const uint8_t *bytes, size_t len)
{
    struct qcbmi_vnb_frame f;

    assert_true(len > QCBMI_VNB_HEAD);
    assert_int_equal(qcbmi_vnb_frame_parse(bytes, 0, &f, NULL), 0);
    assert_int_equal(f.kind, QCBMI_VNB_META);
    return bytes + QCBMI_VNB_HEAD + f.length + 2;
}

static void check_frames(const uint8_t *bytes, size_t len)
{
    static const char *const heads[] = { "data 0000000000001000 0000000000000004\r\n",
                                         "data 0000000000001004 0000000000000010\r\n",
                                         "data 0000000000002000 0000000000011170\r\n",
                                         "data 0000000000100000 0000000000100000\r\n" };
    const uint8_t *p = behind_metadata(bytes, len);
    uint8_t *data = malloc(2 * MiB);

    assert_non_null(data);
    assert_non_null(strstr((const char *)bytes, "\"dataSize\": 1118596,")); /* zeros count as data */
    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        assert_memory_equal(p, heads[i], QCBMI_VNB_HEAD);
        fill_pattern(data, records[i].offset, records[i].length);
        if (records[i].type == QCBMI_DELTA_ZERO)
            memset(data, 0, records[i].length);
        assert_memory_equal(p + QCBMI_VNB_HEAD, data, records[i].length);
        p += QCBMI_VNB_HEAD + records[i].length;
        assert_memory_equal(p, "\r\n", 2);
        p += 2;
    }
    assert_memory_equal(p, "stop 0000000000000000 0000000000000000\r\n", QCBMI_VNB_HEAD);
    assert_int_equal(p + QCBMI_VNB_HEAD - bytes, len);
    free(data);
}

static void zeros_are_written_as_data(void **state)
{
    struct qcbmi_delta_wish wish = { .form = &qcbmi_delta_vnb };
    struct qcbmi_delta_meta meta = some_meta(4 * MiB);
    struct qcbm_error err = { 0 };
    struct temp_dir dir;
    uint8_t *bytes;
    size_t len;
    int fd;

    (void)state;
    temp_dir_make(&dir);
    wish.path = temp_path(&dir, "delta");
    assert_int_equal(write_records(&wish, &meta, records, ARRAY_LEN(records), 999, &err), 0);
    bytes = slurp(wish.path, &len);
    check_frames(bytes, len);
    free(bytes);

    wish.path = NULL; /* the same in a row, without holes */
    fd = open(temp_path(&dir, "row"), O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    wish.fd = fd;
    assert_int_equal(write_records(&wish, &meta, records, ARRAY_LEN(records), 999, &err), 0);
    close(fd);
    bytes = slurp(temp_path(&dir, "row"), &len);
    check_frames(bytes, len);
    free(bytes);
    temp_dir_remove(&dir);
}

static void holes_are_read_as_zeros_and_the_rest_as_data(void **state)
{
    struct qcbmi_delta_wish wish = { .form = &qcbmi_delta_vnb };
    struct qcbmi_delta_meta meta = some_meta(4 * MiB);
    uint8_t *disk = malloc(4 * MiB), *expected = malloc(4 * MiB);
    struct qcbm_error err = { 0 };
    struct qcbmi_delta *d;
    struct temp_dir dir;

    (void)state;
    assert_true(disk && expected);
    temp_dir_make(&dir);
    wish.path = temp_path(&dir, "delta");
    assert_int_equal(write_records(&wish, &meta, records, ARRAY_LEN(records), 4096, &err), 0);
    assert_int_equal(qcbmi_delta_open(wish.path, &d, &err), 0);
    assert_int_equal(qcbmi_delta_verify(d, NULL, NULL, &err), 0);
    assert_int_equal(read_all(d, disk, &err), 0);
    memset(expected, 0xff, 4 * MiB);
    for (size_t i = 0; i < ARRAY_LEN(records); i++) {
        fill_pattern(expected + records[i].offset, records[i].offset, records[i].length);
        if (records[i].type == QCBMI_DELTA_ZERO)
            memset(expected + records[i].offset, 0, records[i].length);
    }
    assert_memory_equal(disk, expected, 4 * MiB);
    for (unsigned k = 0; k < 8; k++) { /* from wherever it is, back to the first */
        struct qcbmi_delta_record r;

        assert_int_equal(qcbmi_delta_rewind(d, &err), 0);
        for (unsigned i = 0; i < k; i++)
            qcbmi_delta_next(d, &r, &err);
        assert_int_equal(qcbmi_delta_rewind(d, &err), 0);
        assert_int_equal(read_all(d, disk, &err), 0);
        assert_memory_equal(disk, expected, 4 * MiB);
    }
    qcbmi_delta_close(d);
    temp_dir_remove(&dir);
    free(disk);
    free(expected);
}

static void file_names_of_virtnbdbackup_name_disk_and_checkpoint(void **state)
{
    static const struct {
        const char *file, *disk, *checkpoint;
    } cases[] = {
        { "vda.inc.virtnbdbackup.3.data", "vda", "virtnbdbackup.3" },
        { "sdb.diff.1732712345.data", "sdb", "1732712345" },
        { "vda.data", "vda", "abababababababababababababababab" },
        { "vda.inc.data", "vda", "abababababababababababababababab" },
        { "vda.inc..data", "vda", "abababababababababababababababab" },
        { ".data", "disk", "abababababababababababababababab" },
        { "night", "night", "abababababababababababababababab" },
    };
    struct temp_dir dir;

    (void)state;
    temp_dir_make(&dir);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct qcbmi_delta_wish wish = { .form = &qcbmi_delta_vnb, .path = temp_path(&dir, cases[i].file) };
        struct qcbmi_delta_meta meta = some_meta(4 * MiB);
        struct qcbm_error err = { 0 };
        char text[64];
        uint8_t *bytes;
        size_t len;

        strcpy(meta.bitmap, "virtnbdbackup.2");
        assert_int_equal(write_records(&wish, &meta, records, 1, 4096, &err), 0);
        bytes = slurp(wish.path, &len);
        bytes[len - 1] = '\0';
        snprintf(text, sizeof text, "\"diskName\": \"%s\",", cases[i].disk);
        assert_non_null(strstr((const char *)bytes, text));
        snprintf(text, sizeof text, "\"checkpointName\": \"%s\",", cases[i].checkpoint);
        assert_non_null(strstr((const char *)bytes, text));
        assert_non_null(strstr((const char *)bytes, "\"parentCheckpoint\": \"virtnbdbackup.2\","));
        free(bytes);
    }
    temp_dir_remove(&dir);
}

static void their_own_streams_are_read(void **state)
{
    struct qcbm_error err = { 0 };
    struct qcbmi_delta *d;
    uint8_t disk[12288];

    (void)state;
    assert_int_equal(sizeof META - 1, 0x95);
    assert_int_equal(open_bytes(stream, sizeof stream - 1, NULL, &d, &err), 0);
    assert_false(d->has_meta);
    assert_int_equal(d->meta.size_after, 12288);
    assert_string_equal(d->from, "c0");
    assert_string_equal(d->to, "c1");
    assert_int_equal(read_all(d, disk, &err), 0);
    assert_memory_equal(disk + 4095,
                        "\xff"
                        "data\0\0",
                        7);
    assert_memory_equal(disk + 4115, "\0\xff", 2);
    assert_memory_equal(disk + 8191, "\xff\r\n\xff", 4);
    qcbmi_delta_close(d);
}

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

static void a_stream_that_is_cut_short_or_too_long_is_refused(void **state)
{
    struct qcbm_error err = { 0 };

    (void)state;
    for (size_t len = QCBMI_VNB_HEAD; len < sizeof stream - 1; len++)
        assert_int_equal(read_through(stream, len, &err), QCBM_E_CORRUPT);
    assert_failure(read_through(stream, sizeof stream, &err), &err, QCBM_E_CORRUPT, sizeof stream - 1,
                   "1 bytes follow its stop frame");
}

/* Any one byte of heads, ends of lines and metadata that changes the meaning is found; of what is left alone nothing
 * is. */
static void lengths_that_do_not_meet_are_refused(void **state)
{
    static const struct {
        const char *find, *put, *says;
    } cases[] = {
        { "data 0000000000001000 0000000000000004", "data 0000000000001000 0000000000000003", "does not end where" },
        { "data 0000000000001000 0000000000000004", "data 0000000000001000 ffffffffffffffff", "the file ends" },
        { "data 0000000000001000 0000000000000004", "data 0000000000001000 0000000000001004", "the file ends" },
        { "\"dataSize\": 6", "\"dataSize\": 7", "data frames have 6 bytes" },
        { "\"virtualSize\": 12288", "\"virtualSize\": 00288", "number that is none" },
        { "\"virtualSize\": 12288", "\"virtualSize\": 8193 ", "passes the end of the disk, 8193" },
        { "stop 0000000000000000 0000000000000000", "stop 0000000000000000 0000000000000001", "stop frame with" },
        { "stop 0000000000000000 0000000000000000", "comp 0000000000000000 0000000000000001", "a comp frame" },
        { "meta 0000000000000000 0000000000000095", "meta 0000000000000001 0000000000000095", "no frame of metadata" },
        { "meta 0000000000000000 0000000000000095", "meta 0000000000000000 0000000000020000", "the file ends" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t *bytes = exact_copy(stream, sizeof stream - 1);
        struct qcbm_error err = { 0 };
        const char *at = strstr(stream, cases[i].find);

        assert_non_null(at);
        memcpy(bytes + (at - stream), cases[i].put, strlen(cases[i].put));
        assert_int_equal(read_through(bytes, sizeof stream - 1, &err), QCBM_E_CORRUPT);
        if (!strstr(err.message, cases[i].says))
            print_error("case %zu: %s\n", i, err.message);
        assert_non_null(strstr(err.message, cases[i].says));
        free(bytes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(zeros_are_written_as_data),
        cmocka_unit_test(holes_are_read_as_zeros_and_the_rest_as_data),
        cmocka_unit_test(file_names_of_virtnbdbackup_name_disk_and_checkpoint),
        cmocka_unit_test(their_own_streams_are_read),
        cmocka_unit_test(a_stream_that_is_cut_short_or_too_long_is_refused),
        cmocka_unit_test(lengths_that_do_not_meet_are_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
