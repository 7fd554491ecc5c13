/* test_bitmap_salvage.c - what a damaged directory still says, and how many bitmaps are gone
 * SPDX-License-Identifier: MIT */
#include "edit_unit.h"

#include "base/bytes.h"
#include "bitmap/bitmap_salvage.h"

/* @names are found in the directory of @b as it is, and @lost is told. */
static void assert_found(const char *what, const struct image_builder *b, const char *names, uint32_t lost)
{
    struct qcbm_image handle = { 0 };
    struct qcbm_error err = { 0 };
    char got[128] = "";
    struct session s;
    uint32_t n_lost;

    session_open(&s, b);
    handle.image = s.img->image;
    assert_ok(qcbmi_bitmap_salvage(s.img, &handle.bitmaps, &n_lost, &err), &err);
    for (uint32_t i = 0; i < handle.bitmaps->n; i++)
        snprintf(got + strlen(got), sizeof(got) - strlen(got), "%s ", handle.bitmaps->list[i].name);
    if (strcmp(got, names) != 0 || n_lost != lost)
        fail_msg("%s: found \"%s\", %u lost", what, got, (unsigned)n_lost);
    handle.image = NULL;
    qcbmi_handle_clear(&handle);
    session_close(&s);
}

/* build_abc() with @len bytes of @value at @off in the directory. */
static void assert_damaged(const char *what, uint64_t off, uint8_t value, size_t len, const char *names, uint32_t lost)
{
    struct image_builder b;

    build_abc(&b);
    memset(b.bytes + b.directory + off, value, len);
    assert_found(what, &b, names, lost);
    build_free(&b);
}

static void entries_are_found_by_what_they_look_like(void **state)
{
    (void)state;
    assert_damaged("sound", 0, 0, 0, "a b c ", 0);
    assert_damaged("offset of a table", 32, 0xff, 8, "a b c ", 0);
    assert_damaged("length of a name", 32 + 18, 0xff, 1, "a b c ", 0);
    assert_damaged("an entry of zeros", 32, 0, 32, "a c ", 1);
    assert_damaged("all but the first", 32, 0, 64, "a ", 2);
    assert_damaged("nothing", 0, 0, 512, "", 3);
}

static void numbers_of_the_extension_are_not_believed(void **state)
{
    struct image_builder b;
    uint64_t payload;

    (void)state;
    build_abc(&b);
    payload = b.exts[0].offset + 8;
    be32_store(b.bytes + payload, 7);
    assert_found("count", &b, "a b c ", 0);
    be32_store(b.bytes + payload, 0);
    assert_found("no count", &b, "a b c ", 0);
    memset(b.bytes + b.directory, 0, 512);
    assert_found("neither count nor entries", &b, "", QCBMI_SALVAGE_UNKNOWN);
    be64_store(b.bytes + payload + 16, UINT64_C(1) << 40);
    be32_store(b.bytes + payload, 3);
    assert_found("past the end", &b, "", 3);
    build_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(entries_are_found_by_what_they_look_like),
        cmocka_unit_test(numbers_of_the_extension_are_not_believed),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
