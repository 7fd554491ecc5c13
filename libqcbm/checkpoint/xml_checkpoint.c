/* xml_checkpoint.c - libvirt's XML of a checkpoint, read and written
 * SPDX-License-Identifier: MIT
 *
 * The rules are those of libvirt's schema: elements in any order, each at most once; a <disk> without the attribute
 * "checkpoint" has one, called as the checkpoint is if it does not say otherwise. What libvirt ignores is ignored: the
 * <domain> that it saw then, sizes. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/sized.h"
#include "checkpoint/disks.h"
#include "checkpoint/xml.h"
#include "checkpoint/xml_text.h"

struct qcbm_checkpoint_xml {
    struct qcbmi_xml doc;
    struct qcbm_checkpoint_xml_info info;
    struct qcbm_checkpoint_xml_disk *disks;
};

/* ---- reading ---- */

static int read_text(const struct qcbmi_xml *doc, const struct qcbmi_xml_node *parent, const char *name,
                     const char **out, struct qcbm_error *err)
{
    const struct qcbmi_xml_node *node;
    int ret = qcbmi_xml_child(doc, parent, name, &node, err);

    if (ret == 0 && node)
        *out = node->text;
    return ret;
}

static int read_time(struct qcbm_checkpoint_xml *x, struct qcbm_error *err)
{
    const struct qcbmi_xml_node *node;
    int ret = qcbmi_xml_child(&x->doc, &x->doc.nodes[0], "creationTime", &node, err);

    if (ret < 0 || !node)
        return ret;
    for (const char *p = node->text; *p; p++)
        if (*p < '0' || *p > '9' || !u64_mul(x->info.creation_time, 10, &x->info.creation_time) ||
            !u64_add(x->info.creation_time, (uint64_t)(*p - '0'), &x->info.creation_time))
            return qcbmi_fail(err, QCBM_E_CORRUPT, node->offset, "<creationTime> is no number of seconds");
    if (!node->text[0])
        return qcbmi_fail(err, QCBM_E_CORRUPT, node->offset, "<creationTime> is empty");
    x->info.has_creation_time = true;
    return 0;
}

static int read_names(struct qcbm_checkpoint_xml *x, struct qcbm_error *err)
{
    const struct qcbmi_xml_node *root = &x->doc.nodes[0], *parent = NULL;
    int ret = read_text(&x->doc, root, "name", &x->info.name, err);

    if (ret == 0 && !x->info.name)
        ret = qcbmi_fail(err, QCBM_E_CORRUPT, root->offset, "a checkpoint without <name>");
    if (ret == 0)
        ret = qcbmi_checkpoint_check_name(x->info.name, err);
    if (ret == 0)
        ret = read_text(&x->doc, root, "description", &x->info.description, err);
    if (ret == 0)
        ret = qcbmi_xml_child(&x->doc, root, "parent", &parent, err);
    if (ret < 0 || !parent)
        return ret;
    ret = read_text(&x->doc, parent, "name", &x->info.parent, err);
    if (ret == 0 && !x->info.parent)
        ret = qcbmi_fail(err, QCBM_E_CORRUPT, parent->offset, "a <parent> without <name>");
    return ret < 0 ? ret : qcbmi_checkpoint_check_name(x->info.parent, err);
}

static int read_disk(struct qcbm_checkpoint_xml *x, const struct qcbmi_xml_node *node, struct qcbm_error *err)
{
    const char *kind = qcbmi_xml_attr(&x->doc, node, "checkpoint");
    struct qcbm_checkpoint_xml_disk disk = { .name = qcbmi_xml_attr(&x->doc, node, "name"),
                                             .has_checkpoint = !kind || strcmp(kind, "no") != 0,
                                             .bitmap = qcbmi_xml_attr(&x->doc, node, "bitmap") };
    char text[256];

    if (!disk.name || !disk.name[0])
        return qcbmi_fail(err, QCBM_E_CORRUPT, node->offset, "a <disk> without the attribute \"name\"");
    if (kind && strcmp(kind, "no") != 0 && strcmp(kind, "bitmap") != 0)
        return qcbmi_fail(err, QCBM_E_CORRUPT, node->offset,
                          "checkpoint=\"%s\" of a <disk> is neither \"no\" nor \"bitmap\"",
                          qcbmi_printable(text, sizeof text, kind, strlen(kind)));
    for (uint32_t i = 0; i < x->info.disks; i++)
        if (strcmp(x->disks[i].name, disk.name) == 0)
            return qcbmi_fail(err, QCBM_E_CORRUPT, node->offset, "two of <disk> are called '%s'",
                              qcbmi_printable(text, sizeof text, disk.name, strlen(disk.name)));
    if (!disk.bitmap)
        disk.bitmap = x->info.name;
    x->disks[x->info.disks++] = disk;
    return 0;
}

/* No <disks> at all: all disks of the domain have the checkpoint. */
static int read_disks(struct qcbm_checkpoint_xml *x, struct qcbm_error *err)
{
    const struct qcbmi_xml_node *disks, *node = NULL;
    uint32_t n = 0;
    int ret = qcbmi_xml_child(&x->doc, &x->doc.nodes[0], "disks", &disks, err);

    x->info.all_disks = ret == 0 && !disks;
    if (ret < 0 || !disks)
        return ret;
    while ((node = qcbmi_xml_next(&x->doc, disks, node, "disk")))
        n++;
    if (n == 0 || n > QCBMI_XML_MAX_DISKS)
        return qcbmi_fail(err, n ? QCBM_E_LIMIT : QCBM_E_CORRUPT, disks->offset, "<disks> has %" PRIu32 " disks", n);
    x->disks = qcbmi_alloc_array(n, sizeof(x->disks[0]), err);
    if (!x->disks)
        return QCBM_E_NOMEM;
    while (ret == 0 && (node = qcbmi_xml_next(&x->doc, disks, node, "disk")))
        ret = read_disk(x, node, err);
    return ret;
}

int qcbm_checkpoint_xml_read(const void *bytes, size_t len, struct qcbm_checkpoint_xml **out, struct qcbm_error *err)
{
    struct qcbm_checkpoint_xml *x = qcbmi_alloc_array(1, sizeof(*x), err);
    int ret;

    *out = NULL;
    if (!x)
        return QCBM_E_NOMEM;
    ret = qcbmi_xml_read(&x->doc, bytes, len, err);
    if (ret == 0 && strcmp(x->doc.nodes[0].name, "domaincheckpoint") != 0)
        ret = qcbmi_fail(err, QCBM_E_CORRUPT, x->doc.nodes[0].offset, "no checkpoint: the XML begins with <%.100s>",
                         x->doc.nodes[0].name);
    if (ret == 0)
        ret = read_names(x, err);
    if (ret == 0)
        ret = read_time(x, err);
    if (ret == 0)
        ret = read_disks(x, err);
    if (ret < 0) {
        qcbm_checkpoint_xml_free(x);
        return ret;
    }
    *out = x;
    return 0;
}

int qcbm_checkpoint_xml_get_info(const struct qcbm_checkpoint_xml *x, struct qcbm_checkpoint_xml_info *out, size_t size)
{
    return qcbmi_give_checked(out, size, &x->info, sizeof(x->info));
}

int qcbm_checkpoint_xml_get_disk(const struct qcbm_checkpoint_xml *x, uint32_t index,
                                 struct qcbm_checkpoint_xml_disk *out, size_t size)
{
    return index < x->info.disks ? qcbmi_give_checked(out, size, &x->disks[index], sizeof(x->disks[0])) : QCBM_E_ARG;
}

void qcbm_checkpoint_xml_free(struct qcbm_checkpoint_xml *x)
{
    if (!x)
        return;
    qcbmi_xml_free(&x->doc);
    free(x->disks);
    free(x);
}

/* ---- writing ---- */

static int check_what(const struct qcbm_checkpoint_xml_content *what, struct qcbm_error *err)
{
    int ret = qcbmi_checkpoint_check_name(what->name, err);

    if (ret == 0 && what->parent)
        ret = qcbmi_checkpoint_check_name(what->parent, err);
    if (ret == 0 && what->parent && strcmp(what->parent, what->name) == 0)
        ret = qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "a checkpoint is not its own parent");
    if (ret == 0 && what->n_disks == 0)
        ret = qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "a checkpoint of no disk");
    if (ret == 0 && what->n_disks > QCBMI_XML_MAX_DISKS)
        ret = qcbmi_fail(err, QCBM_E_LIMIT, QCBM_NO_OFFSET, "a checkpoint of more than %u disks", QCBMI_XML_MAX_DISKS);
    return ret;
}

int qcbm_checkpoint_xml_write(const struct qcbm_checkpoint_xml_content *what, qcbm_write_fn *fn, void *opaque,
                              struct qcbm_error *err)
{
    struct qcbm_checkpoint_xml_content all = { 0 };
    struct qcbmi_xml_text t = { .fn = fn, .opaque = opaque, .err = err };
    char time[24];
    int ret = qcbmi_take_options(&all, sizeof all, what, err);

    if (ret == 0)
        ret = check_what(&all, err);
    if (ret < 0)
        return ret;
    snprintf(time, sizeof time, "%" PRIu64, all.creation_time);
    qcbmi_xml_put(&t, "<domaincheckpoint>\n  <name>", all.name, "</name>\n");
    if (all.description)
        qcbmi_xml_put(&t, "  <description>", all.description, "</description>\n");
    if (all.parent)
        qcbmi_xml_put(&t, "  <parent>\n    <name>", all.parent, "</name>\n  </parent>\n");
    qcbmi_xml_put(&t, "  <creationTime>", time, "</creationTime>\n  <disks>\n");
    for (size_t i = 0; i < all.n_disks; i++) {
        qcbmi_xml_put(&t, "    <disk name=\"", all.disks[i], "\" checkpoint=\"bitmap\"");
        qcbmi_xml_put(&t, " bitmap=\"", all.name, "\"/>\n");
    }
    qcbmi_xml_put(&t, "  </disks>\n</domaincheckpoint>\n", NULL, NULL);
    return t.ret;
}
