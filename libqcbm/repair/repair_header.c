/* repair_header.c - the marks "dirty" and "corrupt" taken off an image in which nothing is wrong any more
 * SPDX-License-Identifier: MIT */
#include "base/bytes.h"
#include "repair/repair_look.h"

int qcbmi_repair_header_bits(struct qcbmi_repair *r, struct qcbm_error *err)
{
    uint64_t marks = QCBM_INCOMPAT_DIRTY | QCBM_INCOMPAT_CORRUPT, now = r->work->image->h.incompatible;
    struct qcbmi_plan plan = { 0 };
    uint8_t field[8];
    int ret;

    if (r->work->image->h.version < 3 || !(now & marks))
        return 0;
    be64_store(field, now & ~marks);
    ret = qcbmi_plan_stage(&plan, "header", true, err);
    if (ret == 0)
        ret = qcbmi_plan_write(&plan, "header: features", Q2_OFF_INCOMPATIBLE, field, sizeof(field), err);
    if (ret == 0)
        ret = qcbmi_repair_tell_done(
            r, "header-bits", Q2_OFF_INCOMPATIBLE,
            now & QCBM_INCOMPAT_CORRUPT ? "the mark \"corrupt\" is taken off" : "the mark \"dirty\" is taken off", err);
    if (ret == 0)
        ret = qcbmi_repair_commit(r, &plan, err);
    qcbmi_plan_free(&plan);
    return ret;
}
