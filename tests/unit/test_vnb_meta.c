/* test_vnb_meta.c - the metadata of virtnbdbackup's stream: read, refused, written
 * SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "unit.h"

#include "format/vnb_meta.h"

/* As release 1.9.15 writes it. */
static const char theirs[] = "{\n"
                             "    \"virtualSize\": 67108864,\n"
                             "    \"dataSize\": 131072,\n"
                             "    \"date\": \"2026-11-20T20:31:02.517310\",\n"
                             "    \"diskName\": \"vda\",\n"
                             "    \"diskFormat\": \"qcow2\",\n"
                             "    \"checkpointName\": \"virtnbdbackup.1\",\n"
                             "    \"compressed\": false,\n"
                             "    \"compressionMethod\": \"lz4\",\n"
                             "    \"parentCheckpoint\": \"virtnbdbackup.0\",\n"
                             "    \"incremental\": true,\n"
                             "    \"streamVersion\": 2\n"
                             "}";

static int parse(const char *text, size_t len, struct qcbmi_vnb_meta *m, struct qcbm_error *err)
{
    uint8_t *exact = exact_copy(text, len);
    int ret = qcbmi_vnb_meta_parse((const char *)exact, len, 40, m, err);

    free(exact);
    return ret;
}

static void theirs_is_read(void **state)
{
    struct qcbm_error err = { 0 };
    struct qcbmi_vnb_meta m;

    (void)state;
    assert_int_equal(parse(theirs, sizeof theirs - 1, &m, &err), 0);
    assert_int_equal(m.virtual_size, 67108864);
    assert_int_equal(m.data_size, 131072);
    assert_true(m.incremental);
    assert_string_equal(m.disk, "vda");
    assert_string_equal(m.checkpoint, "virtnbdbackup.1");
    assert_string_equal(m.parent, "virtnbdbackup.0");
    assert_false(m.has_id);
    assert_false(m.has_parent_id);
}

static void ours_is_theirs_with_ids(void **state)
{
    static const struct qcbmi_vnb_meta m = {
        67108864, 131072, 1795206662, true, "vda", "virtnbdbackup.1", "virtnbdbackup.0", true, true, { 0xab }, { 0xcd }
    };
    struct qcbm_error err = { 0 };
    struct qcbmi_vnb_meta again;
    char *text = qcbmi_vnb_meta_text(&m, &err), expected[1024];
    const char *fraction = strstr(theirs, ".517310");

    (void)state;
    assert_non_null(text);
    snprintf(expected, sizeof expected,
             "%.*s%.*s,\n    \"qcbmId\": \"ab000000000000000000000000000000\",\n"
             "    \"qcbmParentId\": \"cd000000000000000000000000000000\"\n}",
             (int)(fraction - theirs), theirs, (int)(strlen(fraction) - 7 - 2), fraction + 7);
    assert_string_equal(text, expected);
    assert_int_equal(parse(text, strlen(text), &again, &err), 0);
    assert_true(again.has_id && again.has_parent_id);
    assert_memory_equal(again.id, m.id, sizeof m.id);
    assert_memory_equal(again.parent_id, m.parent_id, sizeof m.parent_id);
    free(text);
}

static void names_of_any_bytes_are_written_as_text(void **state)
{
    struct qcbmi_vnb_meta m = { 512, 0, 0, false, "", "", "", false, false, { 0 }, { 0 } }, again;
    struct qcbm_error err = { 0 };
    char *text;

    (void)state;
    memset(m.disk, 1, sizeof m.disk - 1);
    memset(m.checkpoint, '"', sizeof m.checkpoint - 1);
    strcpy(m.parent, "a\xc3\xa9\n");
    text = qcbmi_vnb_meta_text(&m, &err);
    assert_non_null(text);
    assert_int_equal(parse(text, strlen(text), &again, &err), 0);
    assert_string_equal(again.disk, m.disk);
    assert_string_equal(again.checkpoint, m.checkpoint);
    assert_string_equal(again.parent, m.parent);
    assert_false(again.incremental);
    free(text);
}

/* In place of the member of that name: the text, at the end. */
static void every_rule_is_kept(void **state)
{
    static const struct {
        const char *text;
        int code;
        const char *says;
    } cases[] = {
        { "{}", QCBM_E_CORRUPT, "virtualSize or dataSize is missing" },
        { "{\"virtualSize\": 1}", QCBM_E_CORRUPT, "virtualSize or dataSize is missing" },
        { "{\"dataSize\": 1}", QCBM_E_CORRUPT, "virtualSize or dataSize is missing" },
        { "[]", QCBM_E_CORRUPT, "an object is expected" },
        { "{\"virtualSize\": \"1\"}", QCBM_E_CORRUPT, "a size that is no number" },
        { "{\"virtualSize\": 9223372036854775808}", QCBM_E_CORRUPT, "a size that is no number" },
        { "{\"dataSize\": -1}", QCBM_E_CORRUPT, "a size that is no number" },
        { "{\"diskName\": 1}", QCBM_E_CORRUPT, "a name that is no text" },
        { "{\"diskName\": \"a\\u0000\"}", QCBM_E_CORRUPT, "a name that is no text" },
        { "{\"incremental\": 1}", QCBM_E_CORRUPT, "neither true nor false" },
        { "{\"compressed\": 2}", QCBM_E_UNSUPPORTED, "compressed" },
        { "{\"compressed\": true}", QCBM_E_UNSUPPORTED, "compressed" },
        { "{\"streamVersion\": 3}", QCBM_E_UNSUPPORTED, "known are 1 and 2" },
        { "{\"streamVersion\": null}", QCBM_E_UNSUPPORTED, "version" },
        { "{\"qcbmId\": \"ab\"}", QCBM_E_CORRUPT, "32 hex digits" },
        { "{\"qcbmParentId\": 1}", QCBM_E_CORRUPT, "32 hex digits" },
        { "{\"virtualSize\": 1, \"dataSize\": 1} x", QCBM_E_CORRUPT, "something follows" },
        { "{\"virtualSize\": 1, \"dataSize\": 1", QCBM_E_CORRUPT, "missing" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct qcbm_error err = { 0 };
        struct qcbmi_vnb_meta m;

        assert_int_equal(parse(cases[i].text, strlen(cases[i].text), &m, &err), cases[i].code);
        assert_non_null(strstr(err.message, cases[i].says));
        assert_in_range(err.offset, 40, 40 + strlen(cases[i].text));
    }
}

static void what_is_not_known_is_passed_over(void **state)
{
    static const char text[] =
        "{\"new\": {\"a\": [1, 2]}, \"parentCheckpoint\": null, \"virtualSize\": 1, \"dataSize\": 2}";
    struct qcbm_error err = { 0 };
    struct qcbmi_vnb_meta m;

    (void)state;
    assert_int_equal(parse(text, sizeof text - 1, &m, &err), 0);
    assert_int_equal(m.virtual_size, 1);
    assert_int_equal(m.data_size, 2);
    assert_string_equal(m.parent, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(theirs_is_read),
        cmocka_unit_test(ours_is_theirs_with_ids),
        cmocka_unit_test(names_of_any_bytes_are_written_as_text),
        cmocka_unit_test(every_rule_is_kept),
        cmocka_unit_test(what_is_not_known_is_passed_over),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
