/* context.c - what an NBD server says of a guest's disk, as dirty ranges
 * SPDX-License-Identifier: MIT
 *
 * A flag that is not known makes a range dirty: too much is copied then, and nothing is lost.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "context.h"
#include "remote.h"

enum { HOLE = 1u << 0, ZERO = 1u << 1 }; /* of base:allocation */

enum context_kind context_kind_of(const char *context)
{
    static const char bitmap[] = "qemu:dirty-bitmap:";

    if (strncmp(context, bitmap, strlen(bitmap)) == 0 && context[strlen(bitmap)])
        return CONTEXT_BITMAP;
    if (strcmp(context, "qemu:allocation-depth") == 0)
        return CONTEXT_DEPTH;
    return strcmp(context, "base:allocation") == 0 ? CONTEXT_ALLOCATION : CONTEXT_OTHER;
}

struct marking {
    enum context_kind kind;
    struct qcbm_edit *edit;
    const char *name;
    uint64_t size;
    struct qcbm_error *err;
    int failed; /* of the edit */
};

static bool is_dirty(enum context_kind kind, uint32_t flags)
{
    switch (kind) {
    case CONTEXT_DEPTH: /* 0: no layer has it; from 2 on: one below */
        return flags == 1;
    case CONTEXT_ALLOCATION:
        return flags != (HOLE | ZERO);
    default:
        return flags != 0;
    }
}

static int mark(void *opaque, uint64_t offset, uint64_t length, uint32_t flags)
{
    struct marking *m = opaque;
    uint64_t left = offset < m->size ? m->size - offset : 0;

    if (left && is_dirty(m->kind, flags))
        m->failed = qcbm_edit_set_range(m->edit, m->name, offset, length < left ? length : left, m->err);
    return m->failed;
}

int context_mark(const char *uri, const char *context, struct qcbm_image *img, struct qcbm_edit *edit, const char *name,
                 struct qcbm_error *err)
{
    struct marking m = { .kind = context_kind_of(context), .edit = edit, .name = name, .err = err };
    struct qcbm_image_info info;
    struct qcbm_error walk;
    int ret;

    qcbm_image_get_info(img, &info, sizeof info);
    m.size = info.virtual_size / 512 * 512;
    if (remote_size(uri) / 512 * 512 != m.size) {
        *err = (struct qcbm_error){ .code = QCBM_E_ARG, .offset = QCBM_NO_OFFSET };
        snprintf(err->message, sizeof err->message,
                 "the server's disk has %" PRIu64 " bytes, that of the image %" PRIu64 ": they are not one disk",
                 remote_size(uri), info.virtual_size);
        return err->code;
    }
    ret = remote_extents(uri, context, mark, &m, &walk);
    if (m.failed)
        return m.failed;
    if (ret < 0)
        *err = walk;
    return ret;
}
