/* xml_domain.c - the disks of a domain, from libvirt's XML of it
 * SPDX-License-Identifier: MIT
 *
 * Of a disk its target, its image and its format, and what keeps it out of a checkpoint. libvirt leaves out what is no
 * hard disk, is read-only, or is empty; what it cannot make a checkpoint of, and what this library does not open, is
 * told, as a checkpoint that silently lacks a disk is worth nothing. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/sized.h"
#include "checkpoint/xml.h"
#include "checkpoint/xml_text.h"

struct qcbm_domain_xml {
    struct qcbmi_xml doc;
    struct qcbm_domain_xml_info info;
    struct qcbm_domain_xml_disk *disks;
};

static bool is(const char *value, const char *what)
{
    return value && strcmp(value, what) == 0;
}

/* What of a <disk> matters. */
struct parts {
    const struct qcbmi_xml_node *source, *driver, *target, *readonly, *slices;
};

static int find_parts(const struct qcbmi_xml *doc, const struct qcbmi_xml_node *node, struct parts *p,
                      struct qcbm_error *err)
{
    int ret = qcbmi_xml_child(doc, node, "source", &p->source, err);

    if (ret == 0)
        ret = qcbmi_xml_child(doc, node, "driver", &p->driver, err);
    if (ret == 0)
        ret = qcbmi_xml_child(doc, node, "target", &p->target, err);
    if (ret == 0)
        ret = qcbmi_xml_child(doc, node, "readonly", &p->readonly, err);
    if (ret == 0 && p->source)
        ret = qcbmi_xml_child(doc, p->source, "slices", &p->slices, err);
    return ret;
}

/* Why it is in no checkpoint, as libvirt sees it; or NULL. @local: it is said to be a file or a block device. */
static const char *left_out(const struct qcbm_domain_xml_disk *disk, const char *device, bool local,
                            const struct parts *p)
{
    if (device && strcmp(device, "disk") != 0)
        return "it is no hard disk";
    if (p->readonly)
        return "it is read-only";
    return !disk->path && (local || !p->source) ? "it is empty" : NULL;
}

/* Why it should be in one, and cannot; or NULL. */
static const char *unfit(const struct qcbm_domain_xml_disk *disk, const struct parts *p)
{
    if (!disk->path)
        return "it is neither a file nor a block device of this host";
    if (disk->path[0] != '/')
        return "the name of its image does not begin with '/'";
    if (p->slices)
        return "it is a part of its file";
    return !is(disk->format, "qcow2") ? "it is no qcow2 image, so it has no bitmaps" : NULL;
}

static int read_disk(struct qcbm_domain_xml *x, const struct qcbmi_xml_node *node, struct qcbm_error *err)
{
    const struct qcbmi_xml *doc = &x->doc;
    const char *type = qcbmi_xml_attr(doc, node, "type");
    struct qcbm_domain_xml_disk disk = { .format = "raw" }; /* as libvirt takes it where nothing is said */
    bool file = !type || is(type, "file");
    struct parts p = { 0 };
    int ret = find_parts(doc, node, &p, err);

    if (ret < 0)
        return ret;
    disk.target = p.target ? qcbmi_xml_attr(doc, p.target, "dev") : NULL;
    if (!disk.target || !disk.target[0])
        return qcbmi_fail(err, QCBM_E_CORRUPT, node->offset, "a <disk> without <target dev=...>");
    for (uint32_t i = 0; i < x->info.disks; i++)
        if (strcmp(x->disks[i].target, disk.target) == 0)
            return qcbmi_fail(err, QCBM_E_CORRUPT, node->offset, "two disks have the same target");
    if (p.source && (file || is(type, "block")))
        disk.path = qcbmi_xml_attr(doc, p.source, file ? "file" : "dev");
    if (p.driver && qcbmi_xml_attr(doc, p.driver, "type"))
        disk.format = qcbmi_xml_attr(doc, p.driver, "type");
    disk.why = left_out(&disk, qcbmi_xml_attr(doc, node, "device"), file || is(type, "block"), &p);
    disk.use = disk.why ? QCBM_DOMAIN_DISK_LEFT_OUT : QCBM_DOMAIN_DISK_TAKEN;
    if (!disk.why && (disk.why = unfit(&disk, &p)))
        disk.use = QCBM_DOMAIN_DISK_UNFIT;
    x->disks[x->info.disks++] = disk;
    return 0;
}

static int read_disks(struct qcbm_domain_xml *x, struct qcbm_error *err)
{
    const struct qcbmi_xml_node *devices, *node = NULL;
    uint32_t n = 0;
    int ret = qcbmi_xml_child(&x->doc, &x->doc.nodes[0], "devices", &devices, err);

    if (ret < 0 || !devices)
        return ret;
    while ((node = qcbmi_xml_next(&x->doc, devices, node, "disk")))
        n++;
    if (n > QCBMI_XML_MAX_DISKS)
        return qcbmi_fail(err, QCBM_E_LIMIT, devices->offset, "the domain has %" PRIu32 " disks", n);
    x->disks = qcbmi_alloc_array(n, sizeof(x->disks[0]), err);
    if (!x->disks)
        return QCBM_E_NOMEM;
    while (ret == 0 && (node = qcbmi_xml_next(&x->doc, devices, node, "disk")))
        ret = read_disk(x, node, err);
    return ret;
}

static int read_domain(struct qcbm_domain_xml *x, struct qcbm_error *err)
{
    const struct qcbmi_xml_node *root = &x->doc.nodes[0], *name, *uuid;
    int ret;

    if (strcmp(root->name, "domain") != 0)
        return qcbmi_fail(err, QCBM_E_CORRUPT, root->offset, "no domain: the XML begins with <%.100s>", root->name);
    ret = qcbmi_xml_child(&x->doc, root, "name", &name, err);
    if (ret == 0)
        ret = qcbmi_xml_child(&x->doc, root, "uuid", &uuid, err);
    if (ret == 0 && (!name || !name->text[0]))
        ret = qcbmi_fail(err, QCBM_E_CORRUPT, root->offset, "a domain without <name>");
    if (ret < 0)
        return ret;
    x->info.name = name->text;
    x->info.uuid = uuid ? uuid->text : NULL;
    return read_disks(x, err);
}

int qcbm_domain_xml_read(const void *bytes, size_t len, struct qcbm_domain_xml **out, struct qcbm_error *err)
{
    struct qcbm_domain_xml *x = qcbmi_alloc_array(1, sizeof(*x), err);
    int ret;

    *out = NULL;
    if (!x)
        return QCBM_E_NOMEM;
    ret = qcbmi_xml_read(&x->doc, bytes, len, err);
    if (ret == 0)
        ret = read_domain(x, err);
    if (ret < 0) {
        qcbm_domain_xml_free(x);
        return ret;
    }
    *out = x;
    return 0;
}

int qcbm_domain_xml_get_info(const struct qcbm_domain_xml *x, struct qcbm_domain_xml_info *out, size_t size)
{
    return qcbmi_give_checked(out, size, &x->info, sizeof(x->info));
}

int qcbm_domain_xml_get_disk(const struct qcbm_domain_xml *x, uint32_t index, struct qcbm_domain_xml_disk *out,
                             size_t size)
{
    return index < x->info.disks ? qcbmi_give_checked(out, size, &x->disks[index], sizeof(x->disks[0])) : QCBM_E_ARG;
}

void qcbm_domain_xml_free(struct qcbm_domain_xml *x)
{
    if (!x)
        return;
    qcbmi_xml_free(&x->doc);
    free(x->disks);
    free(x);
}
