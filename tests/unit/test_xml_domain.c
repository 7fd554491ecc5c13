/* test_xml_domain.c - the disks of a domain, from libvirt's XML of it
 * SPDX-License-Identifier: MIT */
#include <stdio.h>

#include "unit.h"

#include "base/error.h"

static int read_disks(const char *disks, struct qcbm_domain_xml **out)
{
    char text[4096];

    snprintf(text, sizeof text,
             "<domain type='kvm' xmlns:qemu='http://libvirt.org/schemas/domain/qemu/1.0'><name>d</name><uuid>u</uuid>"
             "<devices><emulator>e</emulator>%s</devices><qemu:commandline/></domain>",
             disks);
    return qcbm_domain_xml_read(text, strlen(text), out, NULL);
}

static void disks_are_found(void **state)
{
    static const struct {
        const char *xml, *path;
        enum qcbm_domain_disk_use use;
    } rows[] = {
        { "<disk type='file' device='disk'><driver type='qcow2'/><source file='/a'><x/></source><target "
          "dev='vda'/></disk>",
          "/a", QCBM_DOMAIN_DISK_TAKEN },
        { "<disk type='block'><target dev='vda'/><driver type='qcow2'/><source dev='/dev/b'/></disk>", "/dev/b",
          QCBM_DOMAIN_DISK_TAKEN },
        { "<disk type='file'><driver type='qcow2'/><source file='/a'/><backingStore><source file='/b'/></backingStore>"
          "<target dev='vda'/></disk>",
          "/a", QCBM_DOMAIN_DISK_TAKEN },
        { "<disk type='file' device='cdrom'><driver type='raw'/><source file='/c'/><target dev='vda'/></disk>", "/c",
          QCBM_DOMAIN_DISK_LEFT_OUT },
        { "<disk type='file'><driver type='qcow2'/><source file='/a'/><target dev='vda'/><readonly/></disk>", "/a",
          QCBM_DOMAIN_DISK_LEFT_OUT },
        { "<disk type='file'><target dev='vda'/></disk>", NULL, QCBM_DOMAIN_DISK_LEFT_OUT },
        { "<disk type='file'><source startupPolicy='optional'/><target dev='vda'/></disk>", NULL,
          QCBM_DOMAIN_DISK_LEFT_OUT },
        { "<disk type='file'><source file='/a'/><target dev='vda'/></disk>", "/a", QCBM_DOMAIN_DISK_UNFIT },
        { "<disk type='file'><driver type='raw'/><source file='/a'/><target dev='vda'/></disk>", "/a",
          QCBM_DOMAIN_DISK_UNFIT },
        { "<disk type='network'><driver type='qcow2'/><source protocol='rbd' name='p/i'/><target dev='vda'/></disk>",
          NULL, QCBM_DOMAIN_DISK_UNFIT },
        { "<disk type='file'><driver type='qcow2'/><source file='a'/><target dev='vda'/></disk>", "a",
          QCBM_DOMAIN_DISK_UNFIT },
        { "<disk type='file'><driver type='qcow2'/><source file='/a'><slices/></source><target dev='vda'/></disk>",
          "/a", QCBM_DOMAIN_DISK_UNFIT },
    };

    (void)state;
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        struct qcbm_domain_xml_info info;
        struct qcbm_domain_xml_disk disk;
        struct qcbm_domain_xml *x;

        assert_int_equal(read_disks(rows[i].xml, &x), 0);
        assert_int_equal(qcbm_domain_xml_get_info(x, &info, sizeof info), 0);
        assert_string_equal(info.name, "d");
        assert_string_equal(info.uuid, "u");
        assert_int_equal(info.disks, 1);
        assert_int_equal(qcbm_domain_xml_get_disk(x, 0, &disk, sizeof disk), 0);
        assert_string_equal(disk.target, "vda");
        if (disk.use != rows[i].use || (disk.use == QCBM_DOMAIN_DISK_TAKEN) != !disk.why)
            fail_msg("%d: %s", (int)disk.use, rows[i].xml);
        if (rows[i].path)
            assert_string_equal(disk.path, rows[i].path);
        else
            assert_null(disk.path);
        assert_int_equal(qcbm_domain_xml_get_disk(x, 1, &disk, sizeof disk), QCBM_E_ARG);
        qcbm_domain_xml_free(x);
    }
    qcbm_domain_xml_free(NULL);
}

static void what_breaks_a_rule_is_refused(void **state)
{
    static const char *const disks[] = {
        "<disk/>",
        "<disk><target/></disk>",
        "<disk><target dev=''/></disk>",
        "<disk><target dev='vda'/></disk><disk><target dev='vda'/></disk>",
        "<disk><target dev='vda'/><target dev='vdb'/></disk>",
        "<disk><target dev='vda'/><source file='/a'/><source file='/b'/></disk>",
    };
    struct qcbm_domain_xml *x;

    (void)state;
    for (size_t i = 0; i < sizeof disks / sizeof disks[0]; i++) {
        if (read_disks(disks[i], &x) != QCBM_E_CORRUPT)
            fail_msg("taken: %s", disks[i]);
        assert_null(x);
    }
    assert_int_equal(qcbm_domain_xml_read("<a/>", 4, &x, NULL), QCBM_E_CORRUPT);
    assert_int_equal(qcbm_domain_xml_read("<domain/>", 9, &x, NULL), QCBM_E_CORRUPT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(disks_are_found),
        cmocka_unit_test(what_breaks_a_rule_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
