/* against.c - what of a disk differs from a manifest that is named, for all who make bitmaps of it
 * SPDX-License-Identifier: MIT */
#include "ops/against.h"

#include <string.h>

#include "base/error.h"
#include "manifest/manifest_make.h"

/* QEMU rounds the length of a raw file up to sectors, and sizes of images down. */
static int check_size(const struct qcbmi_manifest_compare *c, struct qcbm_error *err)
{
    uint64_t disk = qcbmi_manifest_disk_size(c->disk), was = align_down(c->manifest->h.size, Q2_SECTOR);

    if (disk >= was)
        return 0;
    return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                      "it is of a disk of %" PRIu64 " bytes, and this one has %" PRIu64
                      ": it is another disk, or was cut",
                      was, disk);
}

static int mark(struct qcbmi_manifest_compare *c, const char *path, bool force, struct qcbmi_dirtymap *map,
                struct qcbm_error *err)
{
    int ret = qcbmi_chain_check_finished(c->disk, err);

    if (ret == 0)
        ret = qcbm_manifest_open(path, &c->manifest, err);
    if (ret == 0)
        ret = check_size(c, err);
    if (ret == 0)
        ret = qcbmi_manifest_mark(c, map, err);
    /* of a part that is known to have changed nothing need be equal */
    return ret < 0 || force || c->only ? ret : qcbmi_manifest_check_related(c, err);
}

int qcbmi_against(struct qcbmi_manifest_compare *c, const char *path, bool force, struct qcbmi_dirtymap *map,
                  struct qcbm_error *err)
{
    char text[256];
    int ret = mark(c, path, force, map, err);

    qcbm_manifest_close(c->manifest);
    c->manifest = NULL;
    if (ret == 0 || ret == QCBM_E_NOMEM || ret == QCBM_E_ABORTED)
        return ret;
    return qcbmi_prefix(err, ret, "against '%s': ", qcbmi_printable(text, sizeof(text), path, strlen(path)));
}
