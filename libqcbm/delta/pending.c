/* pending.c - what comes side by side on the disk, gathered into one record of a stream
 * SPDX-License-Identifier: MIT */
#include "delta/pending.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"

int qcbmi_pending_init(struct qcbmi_pending *p, struct qcbm_error *err)
{
    uint8_t *room = qcbmi_alloc_array(QCBMI_PENDING_MAX + 2 * QCBMI_PENDING_ROOM, 1, err);

    if (!room)
        return QCBM_E_NOMEM;
    p->data = room + QCBMI_PENDING_ROOM;
    return 0;
}

void qcbmi_pending_free(struct qcbmi_pending *p)
{
    if (p->data)
        free(p->data - QCBMI_PENDING_ROOM);
    p->data = NULL;
}

int qcbmi_pending_flush(struct qcbmi_pending *p, struct qcbm_error *err)
{
    int ret = p->r.length ? p->put(p->opaque, p, err) : 0;

    p->r.length = 0;
    return ret;
}

/* Does it go on with what is there? */
static bool goes_on(const struct qcbmi_pending *p, enum qcbmi_delta_type type, uint64_t offset)
{
    return p->r.length && p->r.type == type && p->r.offset + p->r.length == offset &&
           (type == QCBMI_DELTA_ZERO || offset % QCBMI_PENDING_MAX != 0);
}

static int add(struct qcbmi_pending *p, enum qcbmi_delta_type type, uint64_t offset, uint64_t length,
               struct qcbm_error *err)
{
    int ret = 0;

    if (!goes_on(p, type, offset)) {
        ret = qcbmi_pending_flush(p, err);
        p->r = (struct qcbmi_delta_record){ .offset = offset, .type = type };
    }
    p->r.length += length;
    return ret;
}

int qcbmi_pending_data(struct qcbmi_pending *p, uint64_t offset, uint64_t length, const uint8_t *bytes,
                       struct qcbm_error *err)
{
    int ret = 0;

    for (uint64_t done = 0, n; ret == 0 && done < length; done += n) {
        n = u64_min(length - done, QCBMI_PENDING_MAX - (offset + done) % QCBMI_PENDING_MAX);
        ret = add(p, QCBMI_DELTA_DATA, offset + done, n, err);
        if (ret == 0)
            memcpy(p->data + (offset + done - p->r.offset), bytes + done, (size_t)n);
    }
    return ret;
}

int qcbmi_pending_zero(struct qcbmi_pending *p, uint64_t offset, uint64_t length, struct qcbm_error *err)
{
    return add(p, QCBMI_DELTA_ZERO, offset, length, err);
}
