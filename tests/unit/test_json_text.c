/* test_json_text.c - JSON in memory: what is taken, what is refused, and where
 * SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "unit.h"

#include "format/json_text.h"

/* Take one value, all of it, and nothing behind. In a block of exactly the length of @text. */
static int take_whole(const char *text, size_t len, struct qcbmi_json_value *v, struct qcbm_error *err)
{
    uint8_t *exact = exact_copy(text, len);
    struct qcbmi_json j = { (const char *)exact, len, 0, 100, "text", err };
    int ret = qcbmi_json_value(&j, v);

    if (ret == 0)
        ret = qcbmi_json_skip(&j, v);
    if (ret == 0)
        ret = qcbmi_json_end(&j);
    free(exact);
    v->text = NULL;
    return ret;
}

static void values_are_what_they_are(void **state)
{
    static const struct {
        const char *text;
        enum qcbmi_json_kind kind;
        uint64_t number;
    } cases[] = {
        { "null", QCBMI_JSON_NULL, 0 },
        { " true ", QCBMI_JSON_BOOL, 0 },
        { "false", QCBMI_JSON_BOOL, 0 },
        { "0", QCBMI_JSON_WHOLE, 0 },
        { "18446744073709551615", QCBMI_JSON_WHOLE, UINT64_MAX },
        { "18446744073709551616", QCBMI_JSON_NUMBER, 0 },
        { "99999999999999999999999", QCBMI_JSON_NUMBER, 0 },
        { "-1", QCBMI_JSON_NUMBER, 0 },
        { "1.5", QCBMI_JSON_NUMBER, 0 },
        { "1e3", QCBMI_JSON_NUMBER, 0 },
        { "1E-3", QCBMI_JSON_NUMBER, 0 },
        { "\"\"", QCBMI_JSON_STRING, 0 },
        { "[]", QCBMI_JSON_LIST, 0 },
        { "[1, [2, {\"a\": [3]}], \"x\"]", QCBMI_JSON_LIST, 0 },
        { "{}", QCBMI_JSON_OBJECT, 0 },
        { "\r\n{ \"a\" : { \"b\" : [] } , \"c\" : null }\t", QCBMI_JSON_OBJECT, 0 },
        { "[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]", QCBMI_JSON_LIST, 0 }, /* 16 */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct qcbm_error err = { 0 };
        struct qcbmi_json_value v;

        assert_int_equal(take_whole(cases[i].text, strlen(cases[i].text), &v, &err), 0);
        assert_int_equal(v.kind, cases[i].kind);
        if (v.kind == QCBMI_JSON_WHOLE)
            assert_int_equal(v.number, cases[i].number);
        if (v.kind == QCBMI_JSON_BOOL)
            assert_int_equal(v.truth, cases[i].text[1] == 't');
    }
}

static void what_is_no_json_is_refused_with_its_place(void **state)
{
    static const struct {
        const char *text;
        uint64_t where;
        const char *says;
    } cases[] = {
        { "", 0, "a value is expected" },
        { "nul", 3, "a value is expected" },
        { "tru", 3, "a value is expected" },
        { "x", 0, "a value is expected" },
        { "01", 2, "a number that is none" },
        { "-", 1, "a number that is none" },
        { "1.", 2, "a number that is none" },
        { "1e", 2, "a number that is none" },
        { "1 2", 2, "something follows" },
        { "\"", 1, "within a string" },
        { "\"a\nb\"", 2, "no text in UTF-8" },
        { "\"\\x\"", 1, "no text in UTF-8" },
        { "\"\\", 1, "escape that is none" },
        { "\"\\u12g4\"", 1, "escape that is none" },
        { "\"\\u123", 1, "escape that is none" },
        { "\"\\ud800\"", 1, "escape that is none" },
        { "\"\\udc00\"", 1, "escape that is none" },
        { "\"\\ud800\\u0041\"", 1, "escape that is none" },
        { "\"\xc3\"", 1, "no text in UTF-8" },
        { "\"\xc0\x80\"", 1, "no text in UTF-8" },
        { "\"\xed\xa0\x80\"", 1, "no text in UTF-8" },
        { "\"\xf4\x90\x80\x80\"", 1, "no text in UTF-8" },
        { "\"\xff\"", 1, "no text in UTF-8" },
        { "[1 2]", 3, "']' is missing" },
        { "[1,]", 3, "a value is expected" },
        { "[", 1, "a value is expected" },
        { "{\"a\" 1}", 5, "name of a member" },
        { "{1: 2}", 2, "name of a member" },
        { "{\"a\": 1,}", 8, "a value is expected" },
        { "{\"a\": 1 \"b\": 2}", 8, "'}' is missing" },
        { "[[[[[[[[[[[[[[[[[]]]]]]]]]]]]]]]]]", 17, "more than 16 values in each other" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct qcbm_error err = { 0 };
        struct qcbmi_json_value v;

        assert_failure(take_whole(cases[i].text, strlen(cases[i].text), &v, &err), &err, QCBM_E_CORRUPT,
                       100 + cases[i].where, cases[i].says);
        assert_non_null(strstr(err.message, "text: "));
    }
}

static void members_come_one_by_one(void **state)
{
    static const char text[] = "{\"name\": \"x\", \"skipped\": [1, {\"y\": 2}], \"size\": 4096}";
    struct qcbm_error err = { 0 };
    struct qcbmi_json j = { text, sizeof text - 1, 0, 0, "text", &err };
    struct qcbmi_json_value v, name;
    bool first = true;
    uint64_t size = 0;
    unsigned n = 0;

    (void)state;
    assert_int_equal(qcbmi_json_value(&j, &v), 0);
    assert_int_equal(v.kind, QCBMI_JSON_OBJECT);
    while (qcbmi_json_member(&j, &first, &name) == 1) {
        assert_int_equal(qcbmi_json_value(&j, &v), 0);
        if (qcbmi_json_is(&name, "size"))
            size = v.number;
        assert_false(qcbmi_json_is(&name, "siz"));
        assert_int_equal(qcbmi_json_skip(&j, &v), 0);
        n++;
    }
    assert_int_equal(qcbmi_json_end(&j), 0);
    assert_int_equal(n, 3);
    assert_int_equal(size, 4096);
}

static void strings_are_decoded_within_their_room(void **state)
{
    static const char text[] = "\"a\\n\\u00e9\\ud83d\\ude00\xc3\xa9\\\"\"",
                      utf8[] = "a\n\xc3\xa9\xf0\x9f\x98\x80\xc3\xa9\"";
    struct qcbm_error err = { 0 };
    struct qcbmi_json j = { text, sizeof text - 1, 0, 0, "text", &err };
    struct qcbmi_json_value v;
    char *to;

    (void)state;
    assert_int_equal(qcbmi_json_value(&j, &v), 0);
    for (size_t size = 0; size <= sizeof utf8; size++) {
        to = malloc(size ? size : 1);
        assert_non_null(to);
        assert_int_equal(qcbmi_json_string(&v, to, size), size == sizeof utf8);
        if (size == sizeof utf8)
            assert_string_equal(to, utf8);
        free(to);
    }
    j = (struct qcbmi_json){ "\"a\\u0000\"", 9, 0, 0, "text", &err };
    to = malloc(100);
    assert_non_null(to);
    assert_int_equal(qcbmi_json_value(&j, &v), 0);
    assert_false(qcbmi_json_string(&v, to, 100));
    free(to);
}

static void what_is_quoted_comes_back(void **state)
{
    static const struct {
        const char *text, *quoted;
    } cases[] = {
        { "", "\"\"" },
        { "plain", "\"plain\"" },
        { "a\"\\\n\x7f", "\"a\\\"\\\\\\u000a\\u007f\"" },
        { "\xc3\xa9\xf0\x9f\x98\x80", "\"\\u00e9\\ud83d\\ude00\"" },
        { "\xff\xc3", "\"\\ufffd\\ufffd\"" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        size_t len = strlen(cases[i].quoted);
        uint8_t *to = malloc(len);
        struct qcbm_error err = { 0 };
        struct qcbmi_json j = { (const char *)to, len, 0, 0, "text", &err };
        struct qcbmi_json_value v;
        char again[32];

        assert_non_null(to);
        assert_int_equal(qcbmi_json_quote((char *)to, len, cases[i].text), len);
        assert_memory_equal(to, cases[i].quoted, len);
        for (size_t room = 0; room < len; room++)
            assert_int_equal(qcbmi_json_quote((char *)to, room, cases[i].text), len);
        assert_int_equal(qcbmi_json_quote((char *)to, len, cases[i].text), len);
        assert_int_equal(qcbmi_json_value(&j, &v), 0);
        assert_true(qcbmi_json_string(&v, again, sizeof again));
        if (cases[i].text[0] != '\xff')
            assert_string_equal(again, cases[i].text);
        free(to);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_what_they_are),  cmocka_unit_test(what_is_no_json_is_refused_with_its_place),
        cmocka_unit_test(members_come_one_by_one),   cmocka_unit_test(strings_are_decoded_within_their_room),
        cmocka_unit_test(what_is_quoted_comes_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
