/* test_dump.c - structures as they lie in the file: each item's place and value, also of images that nothing else opens
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "fixture.h"

/* "name@offset=value" of each item; "!" behind one that breaks a rule. */
struct items {
    char text[2048];
    unsigned n, stop_after;
};

static int add_item(void *opaque, const struct qcbm_dump_item *item)
{
    struct items *t = opaque;
    size_t n = strlen(t->text), size = sizeof(t->text);

    snprintf(t->text + n, size - n, "%s%s@%#llx=", n ? " " : "", item->name, (unsigned long long)item->offset);
    n = strlen(t->text);
    if (item->bytes)
        snprintf(t->text + n, size - n, "%.*s", (int)item->n_bytes, (const char *)item->bytes);
    else
        snprintf(t->text + n, size - n, "%#llx", (unsigned long long)item->value);
    n = strlen(t->text);
    snprintf(t->text + n, size - n, "%s", item->problem ? "!" : "");
    return ++t->n == t->stop_after;
}

static struct qcbm_dump *open_dump(const uint8_t *bytes, size_t len)
{
    struct qcbm_error err = { 0 };
    struct qcbm_dump *dump;
    struct qcbm_mem *mem;

    assert_ok(qcbm_mem_new(bytes, len, &mem, &err), &err);
    assert_ok(qcbm_dump_open_io(qcbm_mem_ops(), mem, 0, &dump, &err), &err);
    return dump;
}

static struct qcbm_dump *dump_fixture(const char *name)
{
    size_t len;
    uint8_t *bytes = fixture_load(name, &len);
    struct qcbm_dump *dump = open_dump(bytes, len);

    free(bytes);
    return dump;
}

/* All of one part. */
static void show(struct qcbm_dump *dump, enum qcbm_dump_kind part, struct items *got)
{
    struct qcbm_error err = { 0 };

    *got = (struct items){ .n = 0 };
    assert_ok(qcbm_dump_part(dump, part, 0, UINT64_MAX, add_item, got, NULL, &err), &err);
}

static void show_fixture(const char *name, enum qcbm_dump_kind part, struct items *got)
{
    struct qcbm_dump *dump = dump_fixture(name);

    show(dump, part, got);
    qcbm_dump_close(dump);
}

/* The places are those of the bytes that QEMU wrote. */
static void tables_are_shown_entry_by_entry(void **state)
{
    static const struct {
        const char *name;
        enum qcbm_dump_kind part;
        uint64_t first, last;
        const char *items;
    } cases[] = {
        { "tiny-plain", QCBM_DUMP_L1, 0, UINT64_MAX,
          "l1-entry@0x600=0x8000000000000800 l1-entry@0x608=0x8000000000001200" },
        { "tiny-plain", QCBM_DUMP_L1, 0x8000, UINT64_MAX, "l1-entry@0x608=0x8000000000001200" },
        { "tiny-plain", QCBM_DUMP_L2, 0x2800, 0x2bff,
          "l2-entry@0x8a0=0x8000000000001c00 l2-entry@0x8a8=0x8000000000001e00" },
        { "tiny-plain", QCBM_DUMP_SNAPSHOTS, 0, UINT64_MAX, "" },
        { "tiny-plain", QCBM_DUMP_REFCOUNTS, 0, UINT64_MAX,
          "refcount-table-entry@0x200=0x400 refcounts@0x400=0x1 refcounts@0x41c=0x1 refcounts@0x424=0x1" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct qcbm_dump *dump = dump_fixture(cases[i].name);
        struct items got = { .n = 0 };
        struct qcbm_error err = { 0 };

        assert_ok(qcbm_dump_part(dump, cases[i].part, cases[i].first, cases[i].last, add_item, &got, NULL, &err), &err);
        assert_string_equal(got.text, cases[i].items);
        qcbm_dump_close(dump);
    }
}

static void the_header_begins_with_the_magic_and_ends_with_its_length(void **state)
{
    struct items got;

    (void)state;
    show_fixture("tiny-plain", QCBM_DUMP_HEADER, &got);
    assert_int_equal(got.n, 19);
    assert_ptr_equal(strstr(got.text, "magic@0=0x514649fb version@0x4=0x3 backing_file_offset@0x8="), got.text);
    assert_non_null(strstr(got.text, "size@0x18=0x10000 "));
    assert_non_null(strstr(got.text, "autoclear_features@0x58=0x1 "));
    assert_non_null(strstr(got.text, "header_length@0x64=0x70 "));
}

static void bitmaps_are_shown_with_their_names(void **state)
{
    struct items got;

    (void)state;
    show_fixture("tiny-plain", QCBM_DUMP_BITMAPS, &got);
    assert_non_null(strstr(got.text, "bitmap_directory_offset@0x88=0x2800 "));
    assert_non_null(strstr(got.text, "name@0x2818=b0 "));
    assert_non_null(strstr(got.text, "name@0x2838=b1"));
}

static void what_breaks_a_rule_is_shown_and_marked(void **state)
{
    struct items got;
    struct qcbm_dump *dump;
    size_t len;
    uint8_t *bytes = fixture_load("tiny-plain", &len);

    (void)state;
    be64_store(bytes + 0x608, 0x8000000000001201);
    dump = open_dump(bytes, len);
    show(dump, QCBM_DUMP_L1, &got);
    assert_string_equal(got.text, "l1-entry@0x600=0x8000000000000800 l1-entry@0x608=0x8000000000001201!");
    qcbm_dump_close(dump);
    free(bytes);
}

/* No other call opens it; of its tables nothing can be said. */
static void without_a_cluster_size_there_is_the_header_alone(void **state)
{
    struct qcbm_error err = { 0 };
    struct items got = { .n = 0 };
    struct qcbm_dump *dump;
    size_t len;
    uint8_t *bytes = fixture_load("tiny-plain", &len);

    (void)state;
    be32_store(bytes + 20, 63);
    dump = open_dump(bytes, len);
    show(dump, QCBM_DUMP_HEADER, &got);
    assert_non_null(strstr(got.text, "cluster_bits@0x14=0x3f!"));
    for (int part = QCBM_DUMP_L1; part <= QCBM_DUMP_REFCOUNTS; part++)
        assert_int_equal(qcbm_dump_part(dump, (enum qcbm_dump_kind)part, 0, UINT64_MAX, add_item, &got, NULL, &err),
                         QCBM_E_CORRUPT);
    qcbm_dump_close(dump);
    free(bytes);
}

static void an_empty_file_is_a_header_of_zeros(void **state)
{
    struct qcbm_dump *dump = open_dump((const uint8_t *)"", 0);
    struct qcbm_error err = { 0 };
    struct items got = { .n = 0 };

    (void)state;
    assert_ok(qcbm_dump_part(dump, QCBM_DUMP_HEADER, 0, UINT64_MAX, add_item, &got, NULL, &err), &err);
    assert_non_null(strstr(got.text, "magic@0=0!"));
    qcbm_dump_close(dump);
}

static void a_caller_that_has_enough_gets_no_more(void **state)
{
    struct qcbm_dump *dump = dump_fixture("tiny-plain");
    struct items got = { .stop_after = 3 };
    struct qcbm_error err = { 0 };

    (void)state;
    assert_int_equal(qcbm_dump_part(dump, QCBM_DUMP_HEADER, 0, UINT64_MAX, add_item, &got, NULL, &err), QCBM_E_ABORTED);
    assert_int_equal(got.n, 3);
    qcbm_dump_close(dump);
}

static void close_takes_null(void **state)
{
    (void)state;
    qcbm_dump_close(NULL);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(tables_are_shown_entry_by_entry),
        cmocka_unit_test(the_header_begins_with_the_magic_and_ends_with_its_length),
        cmocka_unit_test(bitmaps_are_shown_with_their_names),
        cmocka_unit_test(what_breaks_a_rule_is_shown_and_marked),
        cmocka_unit_test(without_a_cluster_size_there_is_the_header_alone),
        cmocka_unit_test(an_empty_file_is_a_header_of_zeros),
        cmocka_unit_test(a_caller_that_has_enough_gets_no_more),
        cmocka_unit_test(close_takes_null),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
