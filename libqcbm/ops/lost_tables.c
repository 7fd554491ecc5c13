/* lost_tables.c - does an image speak for a lost mapping table, whose range every list of allocated clusters lacks?
 * SPDX-License-Identifier: MIT */
#include "ops/lost_tables.h"

#include <stdio.h>

#define MEMORY (UINT64_C(64) << 20) /* for counting references; with more to count the tables are read again */

static int keep_first(void *opaque, const struct qcbm_check_finding *f)
{
    struct qcbmi_lost_tables *l = opaque;
    char *to = f->problem->severity == QCBM_CHECK_DAMAGE ? l->evidence : l->suspicion;

    if (!to[0])
        snprintf(to, sizeof(l->evidence), "%s", f->message);
    return 0;
}

int qcbmi_lost_tables_look(struct qcbm_image *handle, struct qcbmi_lost_tables *out, struct qcbm_error *err)
{
    struct qcbm_check_options o = QCBM_CHECK_OPTIONS_INIT;
    struct qcbm_check_result r;
    struct qcbm_error why;
    int ret;

    *out = (struct qcbmi_lost_tables){ 0 };
    if (handle->image->open_flags & QCBM_OPEN_FORCE_SHARE)
        return 0;
    o.lost_only = true;
    o.memory = MEMORY;
    o.finding = keep_first;
    o.opaque = out;
    ret = qcbm_check(handle, &o, &r, sizeof(r), &why);
    out->tables = r.lost_tables;
    if (ret == QCBM_E_CORRUPT || ret == QCBM_E_LIMIT)
        snprintf(out->unknown, sizeof(out->unknown), "%s", why.message);
    else if (ret < 0 && err)
        *err = why;
    return out->unknown[0] ? 0 : ret;
}
