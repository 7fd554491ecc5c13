/* test_probe.c - formats by first bytes: those that QEMU knows, near misses, and raw
 * SPDX-License-Identifier: MIT */
#include "unit.h"

#include "format/probe.h"

#define CASE(format, name, bytes)                                                                                      \
    {                                                                                                                  \
        format, name, bytes, sizeof(bytes) - 1                                                                         \
    }

static void first_bytes_tell_the_format(void **state)
{
    static const struct {
        const char *format, *name, *bytes;
        size_t len;
    } cases[] = {
        CASE("qcow2", "x", "QFI\xfb\0\0\0\2"),
        CASE("qcow2", "x.dmg", "QFI\xfb\0\0\0\3"),
        CASE("qcow2", "x", "QFI\xfb\xff\xff\xff\xff"),
        CASE("qcow", "x", "QFI\xfb\0\0\0\1"),
        CASE("raw", "x", "QFI\xfb\0\0\0\0"),
        CASE("raw", "x", "QFI"),
        CASE("raw", "x", ""),
        CASE("vmdk", "x", "KDMV"),
        CASE("vmdk", "x", "COWD"),
        CASE("vmdk", "x", "# Disk DescriptorFile\nversion=1\n"),
        CASE("vmdk", "x", "#\r\n  \r\nversion=3\r\n"),
        CASE("raw", "x", "# c\n\nversion=1\n"),
        CASE("raw", "x", "version=4\n"),
        CASE("raw", "x", "version=1"),
        CASE("raw", "x", " version=1\n"),
        CASE("luks", "x", "LUKS\xba\xbe\0\1"),
        CASE("raw", "x", "LUKS\xba\xbe\0\2"),
        CASE("parallels", "x", "WithouFreSpacExt\2\0\0\0"),
        CASE("raw", "x", "WithouFreSpacExt\3\0\0\0"),
        CASE("vpc", "x", "conectix"),
        CASE("vhdx", "x", "vhdxfile"),
        CASE("qed", "x", "QED\0"),
        CASE("dmg", "a.dmg", ""),
        CASE("raw", ".dmg", ""),
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint8_t *head = calloc(1, QCBMI_PROBE_BYTES);

        assert_non_null(head);
        memcpy(head, cases[i].bytes, cases[i].len);
        assert_string_equal(qcbmi_probe(head, cases[i].name), cases[i].format);
        free(head);
    }
}

/* No byte behind the sector is looked at, whatever is in it. */
static void any_sector_is_something(void **state)
{
    static const char fills[] = "#\n \r=v\0\xff";

    (void)state;
    for (size_t i = 0; i < sizeof(fills); i++) {
        uint8_t *head = malloc(QCBMI_PROBE_BYTES);

        assert_non_null(head);
        memset(head, fills[i], QCBMI_PROBE_BYTES);
        assert_string_equal(qcbmi_probe(head, "x"), "raw");
        free(head);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(first_bytes_tell_the_format),
        cmocka_unit_test(any_sector_is_something),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
