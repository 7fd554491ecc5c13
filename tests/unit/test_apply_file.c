/* test_apply_file.c - the files that an apply keeps beside an image: round trips, and every rule
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include "base/bytes.h"
#include "format/apply_file.h"

static const struct qcbmi_apply_file sound = { .id = { 1, 2 },
                                               .digest = { 3, 4 },
                                               .had_no_leaks = true,
                                               .has_parent = true,
                                               .parent = { 5 },
                                               .size_before = 1 << 20,
                                               .size_after = 1 << 21,
                                               .image = 77,
                                               .name = "monday.delta" };
static const struct qcbmi_apply_step step = { QCBMI_APPLY_DATA, 65536 };

static uint8_t *stored(const struct qcbmi_apply_file *f, uint64_t *len)
{
    uint8_t *bytes;

    *len = qcbmi_apply_file_bytes(f);
    bytes = malloc((size_t)*len);
    assert_non_null(bytes);
    memset(bytes, 0xaa, (size_t)*len);
    qcbmi_apply_file_store(bytes, f, &step);
    return bytes;
}

static void expect(const uint8_t *bytes, uint64_t len, int code, const char *text)
{
    static struct qcbmi_apply_file f;
    struct qcbmi_apply_step s;
    struct qcbm_error err = { 0 };
    uint8_t *copy = exact_copy(bytes, (size_t)len);

    if (code == 0)
        assert_int_equal(qcbmi_apply_file_parse(copy, len, &f, &s, &err), 0);
    else
        assert_failure(qcbmi_apply_file_parse(copy, len, &f, &s, &err), &err, code, QCBM_NO_OFFSET, text);
    free(copy);
}

static void a_file_comes_back(void **state)
{
    static struct qcbmi_apply_file f;
    struct qcbmi_apply_step s;
    uint64_t len;
    uint8_t *bytes = stored(&sound, &len);

    (void)state;
    assert_int_equal(len % 512, 0);
    assert_true(len <= QCBMI_APPLY_FILE_MAX);
    assert_int_equal(qcbmi_apply_step_offset(&sound) % 512, 0);
    assert_memory_equal(bytes, "QCBMAPLY\0\0\0\1\0\0\0\3", 16);
    assert_memory_equal(bytes + qcbmi_apply_end_offset(&sound), "QCBMDONE", 8);
    assert_int_equal(qcbmi_apply_file_parse(bytes, len, &f, &s, NULL), 0);
    assert_memory_equal(&f, &sound, sizeof(f));
    assert_true(s.phase == QCBMI_APPLY_DATA && s.offset == 65536);
    free(bytes);
}

static void the_longest_name_fits(void **state)
{
    static struct qcbmi_apply_file f, back;
    struct qcbmi_apply_step s;
    uint8_t *bytes;
    uint64_t len;

    (void)state;
    f = sound;
    memset(f.name, 'x', QCBMI_APPLY_MAX_NAME);
    bytes = stored(&f, &len);
    assert_true(len <= QCBMI_APPLY_FILE_MAX);
    assert_int_equal(qcbmi_apply_file_parse(bytes, len, &back, &s, NULL), 0);
    assert_string_equal(back.name, f.name);
    free(bytes);
}

/* Cut short anywhere, or without its end mark: nothing has been written to the image. */
static void what_is_not_complete_is_told(void **state)
{
    uint64_t len, end = qcbmi_apply_end_offset(&sound);
    uint8_t *bytes = stored(&sound, &len);

    (void)state;
    for (uint64_t n = 0; n < len; n += 31)
        expect(bytes, n, QCBM_E_NOTFOUND, "incomplete");
    memset(bytes + end, 0, 32);
    expect(bytes, len, QCBM_E_NOTFOUND, "incomplete");
    memset(bytes, 0, (size_t)len);
    expect(bytes, len, QCBM_E_NOTFOUND, "incomplete");
    free(bytes);
}

static void damage_is_found(void **state)
{
    uint64_t len, end = qcbmi_apply_end_offset(&sound);
    uint8_t *bytes = stored(&sound, &len);

    (void)state;
    for (uint64_t i = 12; i < end + 32; i++) {
        bytes[i] ^= 4;
        expect(bytes, len, QCBM_E_CORRUPT, "damaged");
        bytes[i] ^= 4;
    }
    bytes[0] = 'X';
    expect(bytes, len, QCBM_E_ARG, "no state file");
    bytes[0] = 'Q';
    bytes[11] = 2;
    expect(bytes, len, QCBM_E_UNSUPPORTED, "version 2");
    free(bytes);
}

static void reseal(uint8_t *bytes)
{
    qcbmi_digest(bytes, QCBMI_APPLY_HEADER_BYTES - QCBMI_DIGEST_BYTES,
                 bytes + QCBMI_APPLY_HEADER_BYTES - QCBMI_DIGEST_BYTES);
}

static void numbers_have_bounds(void **state)
{
    static const struct {
        size_t at;
        uint64_t value;
    } cases[] = {
        { 64, UINT64_C(1) << 63 },         /* no size of a disk */
        { 72, UINT64_C(1) << 63 },         /* nor this */
        { 8, UINT64_C(0x100000007) },      /* a flag that is not known */
        { 8, UINT64_C(0x100000002) },      /* no parent, and its id */
        { 80, UINT64_C(77) << 32 | 4097 }, /* too long a name */
        { 88, 1 },                         /* reserved */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t len;
        uint8_t *bytes = stored(&sound, &len);

        be64_store(bytes + cases[i].at, cases[i].value);
        reseal(bytes);
        expect(bytes, len, QCBM_E_CORRUPT, "damaged");
        free(bytes);
    }
}

/* Of a step that is torn, or of another file, nothing is believed: all of it is done again. */
static void a_bad_step_is_the_first(void **state)
{
    static struct qcbmi_apply_file f;
    uint64_t len, at = qcbmi_apply_step_offset(&sound);
    uint8_t *bytes = stored(&sound, &len);
    struct qcbmi_apply_step s;

    (void)state;
    for (uint64_t i = 0; i < 64; i++) {
        bytes[at + i] ^= 1;
        assert_int_equal(qcbmi_apply_file_parse(bytes, len, &f, &s, NULL), 0);
        assert_true(s.phase == QCBMI_APPLY_GROW && s.offset == 0);
        bytes[at + i] ^= 1;
    }
    f = sound;
    f.id[0] ^= 1; /* the step of another apply */
    {
        uint8_t *other = stored(&f, &len);

        memcpy(bytes + at, other + at, 512);
        free(other);
    }
    assert_int_equal(qcbmi_apply_file_parse(bytes, len, &f, &s, NULL), 0);
    assert_int_equal(s.phase, QCBMI_APPLY_GROW);
    free(bytes);
}

static void the_id_of_a_state_comes_back(void **state)
{
    const struct qcbmi_state_file in = { .id = { 9 },
                                         .size = 4096,
                                         .disk_size = 3584,
                                         .image = 3,
                                         .time_known = true,
                                         .seconds = -5,
                                         .nanoseconds = 999999999 };
    struct qcbmi_state_file out, longer = in;
    uint8_t bytes[QCBMI_STATE_BYTES];

    (void)state;
    qcbmi_state_file_store(bytes, &in);
    assert_int_equal(qcbmi_state_file_parse(bytes, sizeof(bytes), &out, NULL), 0);
    assert_memory_equal(out.id, in.id, sizeof(in.id));
    assert_true(out.size == 4096 && out.disk_size == 3584 && out.image == 3 && out.time_known && out.seconds == -5 &&
                out.nanoseconds == 999999999);
    for (size_t i = 0; i < sizeof(bytes); i++) {
        bytes[i] ^= 8;
        assert_true(qcbmi_state_file_parse(bytes, sizeof(bytes), &out, NULL) < 0);
        bytes[i] ^= 8;
    }
    for (size_t n = 0; n < sizeof(bytes); n++)
        assert_true(qcbmi_state_file_parse(bytes, n, &out, NULL) < 0);
    longer.disk_size = 4608; /* than the device */
    qcbmi_state_file_store(bytes, &longer);
    assert_int_equal(qcbmi_state_file_parse(bytes, sizeof(bytes), &out, NULL), QCBM_E_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_comes_back),
        cmocka_unit_test(the_longest_name_fits),
        cmocka_unit_test(what_is_not_complete_is_told),
        cmocka_unit_test(damage_is_found),
        cmocka_unit_test(numbers_have_bounds),
        cmocka_unit_test(a_bad_step_is_the_first),
        cmocka_unit_test(the_id_of_a_state_comes_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
