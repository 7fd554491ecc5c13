/* test_xml_checkpoint.c - libvirt's XML of a checkpoint, read and written
 * SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "unit.h"

#include "base/error.h"

struct text {
    char bytes[8192];
    size_t len;
};

static int keep(void *opaque, const void *bytes, size_t len)
{
    struct text *t = opaque;

    assert_true(len < sizeof t->bytes - t->len);
    memcpy(t->bytes + t->len, bytes, len);
    t->len += len;
    return 0;
}

static int read_text(const char *text, struct qcbm_checkpoint_xml **out)
{
    return qcbm_checkpoint_xml_read(text, strlen(text), out, NULL);
}

static void what_is_written_is_read(void **state)
{
    static const char *const disks[] = { "vda", "/dev/a&b", "x\"<'\t\n>" };
    struct qcbm_checkpoint_xml_content what = QCBM_CHECKPOINT_XML_CONTENT_INIT;
    struct qcbm_checkpoint_xml_info info;
    struct qcbm_checkpoint_xml_disk disk;
    struct qcbm_checkpoint_xml *x;
    struct text t = { .len = 0 };

    (void)state;
    what.name = "C-2.x";
    what.parent = "C_1";
    what.description = "a < b & \xc3\xa4";
    what.creation_time = UINT64_MAX;
    what.disks = disks;
    what.n_disks = 3;
    assert_int_equal(qcbm_checkpoint_xml_write(&what, keep, &t, NULL), 0);
    assert_int_equal(qcbm_checkpoint_xml_read(t.bytes, t.len, &x, NULL), 0);
    assert_int_equal(qcbm_checkpoint_xml_get_info(x, &info, sizeof info), 0);
    assert_string_equal(info.name, "C-2.x");
    assert_string_equal(info.parent, "C_1");
    assert_string_equal(info.description, what.description);
    assert_true(info.has_creation_time && !info.all_disks);
    assert_int_equal(info.creation_time, UINT64_MAX);
    assert_int_equal(info.disks, 3);
    for (uint32_t i = 0; i < 3; i++) {
        assert_int_equal(qcbm_checkpoint_xml_get_disk(x, i, &disk, sizeof disk), 0);
        assert_string_equal(disk.name, disks[i]);
        assert_string_equal(disk.bitmap, "C-2.x");
        assert_true(disk.has_checkpoint);
    }
    assert_int_equal(qcbm_checkpoint_xml_get_disk(x, 3, &disk, sizeof disk), QCBM_E_ARG);
    qcbm_checkpoint_xml_free(x);
    qcbm_checkpoint_xml_free(NULL);
}

static void what_libvirt_would_not_take_is_not_written(void **state)
{
    static const char *const disks[] = { "vda", "\x01", "\xff" };
    static const char *const names[] = { "", ".a", "a b", "a/b", "a:b", "\xc3\xa4", "a\n" };
    struct qcbm_checkpoint_xml_content what = QCBM_CHECKPOINT_XML_CONTENT_INIT;
    struct text t = { .len = 0 };

    (void)state;
    what.disks = disks;
    what.n_disks = 1;
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        what.name = names[i];
        assert_int_equal(qcbm_checkpoint_xml_write(&what, keep, &t, NULL), QCBM_E_ARG);
    }
    what.name = what.parent = "C";
    assert_int_equal(qcbm_checkpoint_xml_write(&what, keep, &t, NULL), QCBM_E_ARG);
    what.parent = NULL;
    what.n_disks = 0;
    assert_int_equal(qcbm_checkpoint_xml_write(&what, keep, &t, NULL), QCBM_E_ARG);
    what.n_disks = 2;
    assert_int_equal(qcbm_checkpoint_xml_write(&what, keep, &t, NULL), QCBM_E_ARG);
    what.disks = disks + 2;
    what.n_disks = 1;
    assert_int_equal(qcbm_checkpoint_xml_write(&what, keep, &t, NULL), QCBM_E_ARG);
}

/* As libvirt gives it out: what is not known here is passed over. */
static void what_libvirt_writes_is_read(void **state)
{
    struct qcbm_checkpoint_xml_info info;
    struct qcbm_checkpoint_xml_disk disk;
    struct qcbm_checkpoint_xml *x;

    (void)state;
    assert_int_equal(
        read_text("<domaincheckpoint>\n"
                  "  <disks><disk name='vda' checkpoint='bitmap' bitmap='b' size='42'/>\n"
                  "    <disk name='vdb' checkpoint='no'/><disk name='vdc'/></disks>\n"
                  "  <domain type='kvm'><name>d</name><devices><disk><name>x</name></disk></devices></domain>\n"
                  "  <creationTime>1525111885</creationTime><name>1525889631</name>\n"
                  "</domaincheckpoint>\n",
                  &x),
        0);
    assert_int_equal(qcbm_checkpoint_xml_get_info(x, &info, sizeof info), 0);
    assert_string_equal(info.name, "1525889631");
    assert_null(info.parent);
    assert_int_equal(info.creation_time, 1525111885);
    assert_int_equal(info.disks, 3);
    assert_int_equal(qcbm_checkpoint_xml_get_disk(x, 0, &disk, sizeof disk), 0);
    assert_string_equal(disk.bitmap, "b");
    assert_int_equal(qcbm_checkpoint_xml_get_disk(x, 1, &disk, sizeof disk), 0);
    assert_false(disk.has_checkpoint);
    assert_int_equal(qcbm_checkpoint_xml_get_disk(x, 2, &disk, sizeof disk), 0);
    assert_true(disk.has_checkpoint);
    assert_string_equal(disk.bitmap, "1525889631");
    qcbm_checkpoint_xml_free(x);

    assert_int_equal(read_text("<domaincheckpoint><name>a</name></domaincheckpoint>", &x), 0);
    assert_int_equal(qcbm_checkpoint_xml_get_info(x, &info, sizeof info), 0);
    assert_true(info.all_disks && !info.has_creation_time);
    qcbm_checkpoint_xml_free(x);
}

static void what_breaks_a_rule_is_refused(void **state)
{
    static const char *const insides[] = {
        "",
        "<name>a</name><name>b</name>",
        "<name/>",
        "<name>a/b</name>",
        "<name>a</name><parent/>",
        "<name>a</name><parent><name>.</name></parent>",
        "<name>a</name><creationTime/>",
        "<name>a</name><creationTime>-1</creationTime>",
        "<name>a</name><creationTime>12:30</creationTime>",
        "<name>a</name><creationTime>1 2</creationTime>",
        "<name>a</name><creationTime>18446744073709551616</creationTime>",
        "<name>a</name><disks/>",
        "<name>a</name><disks><disk/></disks>",
        "<name>a</name><disks><disk name=''/></disks>",
        "<name>a</name><disks><disk name='v'/><disk name='v'/></disks>",
        "<name>a</name><disks><disk name='v' checkpoint='yes'/></disks>",
        "<name>a</name><disks><disk name='v'/></disks><disks><disk name='v'/></disks>",
    };

    (void)state;
    for (size_t i = 0; i < sizeof insides / sizeof insides[0]; i++) {
        struct qcbm_checkpoint_xml *x;
        char text[512];
        int ret;

        snprintf(text, sizeof text, "<domaincheckpoint>%s</domaincheckpoint>", insides[i]);
        ret = read_text(text, &x);
        if (ret != QCBM_E_CORRUPT && ret != QCBM_E_ARG)
            fail_msg("%d: %s", ret, text);
        assert_null(x);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_written_is_read),
        cmocka_unit_test(what_libvirt_would_not_take_is_not_written),
        cmocka_unit_test(what_libvirt_writes_is_read),
        cmocka_unit_test(what_breaks_a_rule_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
