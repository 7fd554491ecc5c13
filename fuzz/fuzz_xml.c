/* fuzz_xml.c - libvirt's XML of a checkpoint and of a domain: what is taken keeps the rules, and what of it is written
 * is read as the same
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "checkpoint/disks.h"
#include "checkpoint/xml.h"
#include "fuzz.h"

/* Every element hangs in the tree once, behind its parent. */
static void check_tree(const uint8_t *data, size_t size)
{
    struct qcbmi_xml doc;
    struct qcbm_error err = { 0 };
    int ret = qcbmi_xml_read(&doc, data, size, &err);
    size_t met = 1;

    if (ret < 0)
        fuzz_check_error(&err, ret);
    fuzz_require(ret == 0 || err.offset == QCBM_NO_OFFSET || err.offset <= size, "XML", "place");
    for (size_t i = 0; ret == 0 && i < doc.n_nodes; i++) {
        const struct qcbmi_xml_node *n = &doc.nodes[i];

        fuzz_require(n->name[0] && qcbmi_xml_is_text(n->text, strlen(n->text)), "XML", "text");
        for (uint32_t k = n->first_child; k; k = doc.nodes[k].next, met++)
            fuzz_require(k > i && k < doc.n_nodes && doc.nodes[k].parent == i, "XML", "tree");
        for (uint32_t k = 0; k < n->n_attrs; k++)
            fuzz_require(qcbmi_xml_attr(&doc, n, doc.attrs[n->first_attr + k].name) ==
                             doc.attrs[n->first_attr + k].value,
                         "XML", "attribute");
    }
    fuzz_require(ret < 0 || met == doc.n_nodes, "XML", "an element is not in the tree");
    qcbmi_xml_free(&doc);
}

struct text {
    char *bytes;
    size_t len;
};

static int keep(void *opaque, const void *bytes, size_t len)
{
    struct text *t = opaque;

    t->bytes = realloc(t->bytes, t->len + len);
    if (!t->bytes)
        abort();
    memcpy(t->bytes + t->len, bytes, len);
    t->len += len;
    return 0;
}

static bool same(const char *a, const char *b)
{
    return a == b || (a && b && strcmp(a, b) == 0);
}

/* All of its disks that have a checkpoint, written and read again. */
static void check_written(const struct qcbm_checkpoint_xml *x, const struct qcbm_checkpoint_xml_info *info)
{
    struct qcbm_checkpoint_xml_content what = QCBM_CHECKPOINT_XML_CONTENT_INIT;
    const char **disks = calloc((size_t)info->disks + 1, sizeof(*disks));
    struct qcbm_checkpoint_xml_info again;
    struct qcbm_checkpoint_xml_disk disk;
    struct qcbm_checkpoint_xml *y = NULL;
    struct text t = { 0 };

    if (!disks)
        abort();
    for (uint32_t i = 0; i < info->disks; i++) {
        fuzz_require(qcbm_checkpoint_xml_get_disk(x, i, &disk, sizeof(disk)) == 0 && disk.name[0] && disk.bitmap,
                     "checkpoint", "disk");
        if (disk.has_checkpoint)
            disks[what.n_disks++] = disk.name;
    }
    what.name = info->name;
    what.parent = same(info->parent, info->name) ? NULL : info->parent;
    what.description = info->description;
    what.creation_time = info->creation_time;
    what.disks = disks;
    if (what.n_disks > 0) {
        fuzz_require(qcbm_checkpoint_xml_write(&what, keep, &t, NULL) == 0, "checkpoint", "cannot be written");
        if (t.len <= QCBMI_XML_MAX) { /* characters in other words may be longer */
            fuzz_require(qcbm_checkpoint_xml_read(t.bytes, t.len, &y, NULL) == 0, "checkpoint", "cannot be read again");
            fuzz_require(qcbm_checkpoint_xml_get_info(y, &again, sizeof(again)) == 0 && same(again.name, what.name) &&
                             same(again.parent, what.parent) && same(again.description, what.description) &&
                             again.creation_time == what.creation_time && again.disks == what.n_disks,
                         "checkpoint", "is another one");
        }
        for (uint32_t i = 0; y && i < again.disks; i++)
            fuzz_require(qcbm_checkpoint_xml_get_disk(y, i, &disk, sizeof(disk)) == 0 && same(disk.name, disks[i]),
                         "checkpoint", "has other disks");
    }
    qcbm_checkpoint_xml_free(y);
    free(t.bytes);
    free(disks);
}

static void check_checkpoint(const uint8_t *data, size_t size)
{
    struct qcbm_checkpoint_xml_info info;
    struct qcbm_checkpoint_xml *x;
    struct qcbm_error err = { 0 };
    int ret = qcbm_checkpoint_xml_read(data, size, &x, &err);

    if (ret < 0)
        fuzz_check_error(&err, ret);
    fuzz_require((ret == 0) == (x != NULL), "checkpoint", "none, and no error");
    if (ret < 0)
        return;
    fuzz_require(qcbm_checkpoint_xml_get_info(x, &info, sizeof(info)) == 0, "checkpoint", "info");
    fuzz_require(qcbmi_checkpoint_check_name(info.name, NULL) == 0, "checkpoint", "name");
    check_written(x, &info);
    qcbm_checkpoint_xml_free(x);
}

static void check_domain(const uint8_t *data, size_t size)
{
    struct qcbm_domain_xml_info info;
    struct qcbm_domain_xml_disk disk;
    struct qcbm_domain_xml *x;
    struct qcbm_error err = { 0 };
    int ret = qcbm_domain_xml_read(data, size, &x, &err);

    if (ret < 0)
        fuzz_check_error(&err, ret);
    if (ret < 0)
        return;
    fuzz_require(qcbm_domain_xml_get_info(x, &info, sizeof(info)) == 0 && info.name[0], "domain", "info");
    for (uint32_t i = 0; i < info.disks; i++) {
        fuzz_require(qcbm_domain_xml_get_disk(x, i, &disk, sizeof(disk)) == 0 && disk.target[0], "domain", "disk");
        fuzz_require((disk.use == QCBM_DOMAIN_DISK_TAKEN) == !disk.why, "domain", "why");
        fuzz_require(disk.use != QCBM_DOMAIN_DISK_TAKEN || (disk.path[0] == '/' && same(disk.format, "qcow2")),
                     "domain", "a disk that nobody can open");
    }
    qcbm_domain_xml_free(x);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t *exact = malloc(size ? size : 1);

    if (!exact)
        abort();
    memcpy(exact, data, size);
    check_tree(exact, size);
    check_checkpoint(exact, size);
    check_domain(exact, size);
    free(exact);
    return 0;
}
