/* left_data.c - data that nothing names any more, put where it may belong
 * SPDX-License-Identifier: MIT */
#include "rescue/rebuild.h"

int qcbmi_rebuild_from_left(struct qcbmi_rescue *r, struct qcbm_error *err)
{
    (void)r;
    (void)err;
    return 0;
}
