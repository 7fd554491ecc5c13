/* test_error.c - error objects, names of codes, the version
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include <errno.h>
#include <stdio.h>

#include "base/error.h"

static void fail_fills_every_field(void **state)
{
    struct qcbm_error err;

    (void)state;
    memset(&err, 0xaa, sizeof(err));
    assert_int_equal(qcbmi_fail(&err, QCBM_E_CORRUPT, 77, "L1 entry %d: %s", 5, "bad"), QCBM_E_CORRUPT);
    assert_int_equal(err.code, QCBM_E_CORRUPT);
    assert_int_equal(err.sys_errno, 0);
    assert_int_equal(err.offset, 77);
    assert_string_equal(err.message, "L1 entry 5: bad");
}

static void all_calls_do_without_an_object(void **state)
{
    (void)state;
    assert_int_equal(qcbmi_fail(NULL, QCBM_E_LIMIT, 0, "%s", "x"), QCBM_E_LIMIT);
    assert_int_equal(qcbmi_fail_errno(NULL, EIO, 0, "x"), QCBM_E_IO);
    assert_int_equal(qcbmi_fail_errno(NULL, ENOSPC, 0, "x"), QCBM_E_NOSPACE);
    assert_int_equal(qcbmi_fail_nomem(NULL), QCBM_E_NOMEM);
    assert_int_equal(qcbmi_prefix(NULL, QCBM_E_CHAIN, "x"), QCBM_E_CHAIN);
}

static void long_messages_are_cut(void **state)
{
    struct qcbm_error err;
    char text[2000];

    (void)state;
    memset(text, 'x', sizeof(text) - 1);
    text[sizeof(text) - 1] = '\0';
    qcbmi_fail(&err, QCBM_E_IO, 0, "%s", text);
    assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
    qcbmi_fail_errno(&err, EIO, 0, "%s", text);
    assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
    qcbmi_prefix(&err, 0, "%s", text);
    assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
    qcbmi_prefix(&err, 0, "front: ");
    assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
    assert_memory_equal(err.message, "front: xxx", 10);
}

static void the_message_may_be_an_argument_of_its_successor(void **state)
{
    struct qcbm_error err;

    (void)state;
    qcbmi_fail(&err, QCBM_E_IO, 0, "inner");
    qcbmi_fail(&err, QCBM_E_CHAIN, 0, "outer (%s)", err.message);
    assert_string_equal(err.message, "outer (inner)");
    qcbmi_prefix(&err, 0, "%s + ", err.message);
    assert_string_equal(err.message, "outer (inner) + outer (inner)");
}

static void errno_gives_code_number_and_text(void **state)
{
    struct qcbm_error err;
    char want[200];

    (void)state;
    assert_int_equal(qcbmi_fail_errno(&err, EACCES, 9, "open %d", 3), QCBM_E_IO);
    assert_int_equal(err.code, QCBM_E_IO);
    assert_int_equal(err.sys_errno, EACCES);
    assert_int_equal(err.offset, 9);
    (void)snprintf(want, sizeof(want), "open 3: %s", strerror(EACCES));
    assert_string_equal(err.message, want);
    assert_int_equal(qcbmi_fail_errno(&err, ENOSPC, 9, "write"), QCBM_E_NOSPACE);
    assert_int_equal(err.code, QCBM_E_NOSPACE);
    assert_int_equal(qcbmi_fail_errno(&err, EDQUOT, 9, "write"), QCBM_E_NOSPACE);
    assert_int_equal(err.sys_errno, EDQUOT);
}

static void nomem_has_no_place(void **state)
{
    struct qcbm_error err;

    (void)state;
    assert_int_equal(qcbmi_fail_nomem(&err), QCBM_E_NOMEM);
    assert_failure(err.code, &err, QCBM_E_NOMEM, QCBM_NO_OFFSET, "memory");
}

static void prefix_keeps_all_but_text_and_code(void **state)
{
    struct qcbm_error err;

    (void)state;
    qcbmi_fail_errno(&err, EIO, 512, "read");
    assert_int_equal(qcbmi_prefix(&err, QCBM_E_CHAIN, "loading bitmap '%s': ", "b0"), QCBM_E_CHAIN);
    assert_int_equal(err.code, QCBM_E_CHAIN);
    assert_int_equal(err.sys_errno, EIO);
    assert_int_equal(err.offset, 512);
    assert_memory_equal(err.message, "loading bitmap 'b0': read: ", 27);
}

static void printable_escapes_what_a_terminal_might_obey(void **state)
{
    static const uint8_t bytes[] = { 'a', ' ', '~', 0x00, '\n', 0x1b, 0x7f, 0x80, 0xff, '\\' };
    char to[64];

    (void)state;
    assert_string_equal(qcbmi_printable(to, sizeof(to), bytes, sizeof(bytes)), "a ~\\x00\\x0a\\x1b\\x7f\\x80\\xff\\");
    assert_ptr_equal(qcbmi_printable(to, sizeof(to), NULL, 0), to);
    assert_string_equal(to, "");
}

static void printable_keeps_plain_utf8(void **state)
{
    static const char *const kept[] = { "\xc3\xbc", "\xe2\x82\xac", "\xf0\x9f\x90\xa7", "a\xc2\xa0z" };
    static const char *const escaped[] = { "\xc2\x85",     "\xc0\xaf",         "\xed\xa0\x80",
                                           "\xe2\x80\xae", "\xf4\x90\x80\x80", "\xe2\x82",
                                           "\xe0\x9f\xbf", "\xe2\x81\xa6",     "\xf0\x8f\xbf\xbf" };
    char to[64];

    (void)state;
    for (size_t i = 0; i < sizeof(kept) / sizeof(kept[0]); i++)
        assert_string_equal(qcbmi_printable(to, sizeof(to), kept[i], strlen(kept[i])), kept[i]);
    for (size_t i = 0; i < sizeof(escaped) / sizeof(escaped[0]); i++) {
        qcbmi_printable(to, sizeof(to), escaped[i], strlen(escaped[i]));
        assert_int_equal(strlen(to), 4 * strlen(escaped[i]));
        assert_int_equal(to[0], '\\');
    }
}

static void printable_cuts_between_characters(void **state)
{
    (void)state;
    for (size_t size = 0; size <= 12; size++) {
        uint8_t *to = exact_copy("zzzzzzzzzzzz", size);
        const char *text = qcbmi_printable((char *)to, size, "ab\ncd", 5);

        if (size <= 3)
            assert_int_equal(strlen(text), size ? size - 1 : 0);
        else if (size < 7)
            assert_string_equal(text, "ab");
        else
            assert_memory_equal(text, "ab\\x0acd", strlen(text));
        free(to);
    }
}

static void every_code_has_its_name(void **state)
{
    (void)state;
    assert_string_equal(qcbm_code_name(QCBM_OK), "QCBM_OK");
    assert_string_equal(qcbm_code_name(QCBM_E_IO), "QCBM_E_IO");
    assert_string_equal(qcbm_code_name(QCBM_E_NOLOCKS), "QCBM_E_NOLOCKS");
    for (int code = QCBM_E_NOLOCKS; code < 0; code++) {
        assert_memory_equal(qcbm_code_name(code), "QCBM_E_", 7);
        assert_string_not_equal(qcbm_code_name(code), "QCBM_E_?");
        assert_string_not_equal(qcbm_code_name(code), qcbm_code_name(code + 1));
    }
    assert_string_equal(qcbm_code_name(1), "QCBM_E_?");
    assert_string_equal(qcbm_code_name(QCBM_E_NOLOCKS - 1), "QCBM_E_?");
}

static void version_is_that_of_the_header(void **state)
{
    char want[40];

    (void)state;
    (void)snprintf(want, sizeof(want), "%d.%d.%d", QCBM_VERSION_MAJOR, QCBM_VERSION_MINOR, QCBM_VERSION_PATCH);
    assert_string_equal(qcbm_version(), want);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(fail_fills_every_field),
        cmocka_unit_test(all_calls_do_without_an_object),
        cmocka_unit_test(long_messages_are_cut),
        cmocka_unit_test(the_message_may_be_an_argument_of_its_successor),
        cmocka_unit_test(errno_gives_code_number_and_text),
        cmocka_unit_test(nomem_has_no_place),
        cmocka_unit_test(prefix_keeps_all_but_text_and_code),
        cmocka_unit_test(printable_escapes_what_a_terminal_might_obey),
        cmocka_unit_test(printable_keeps_plain_utf8),
        cmocka_unit_test(printable_cuts_between_characters),
        cmocka_unit_test(every_code_has_its_name),
        cmocka_unit_test(version_is_that_of_the_header),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
