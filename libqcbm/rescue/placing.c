/* placing.c - a table put into a slot of the L1 table, and what it names counted
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "base/alloc.h"
#include "rescue/rescue.h"

int qcbmi_rescue_put(struct qcbmi_rescue *r, uint64_t table, uint64_t slot, unsigned score, enum qcbmi_rescue_why why,
                     struct qcbm_error *err)
{
    uint32_t cs = r->g->cluster_size, bad;
    uint8_t *bytes = qcbmi_alloc_array(cs, 1, err), *verdicts = qcbmi_alloc_array(r->g->l2_entries, 1, err);
    struct qcbmi_candidate *c = qcbmi_rescue_candidate(r, table);
    uint64_t cluster = table >> r->g->cluster_bits;
    int ret = bytes && verdicts ? 0 : QCBM_E_NOMEM;

    if (ret == 0)
        ret = qcbmi_holes_read(&r->holes, table, bytes, cs, NULL, "L2 table", err);
    if (ret == 0)
        ret = qcbmi_bitset_set(&r->meta, cluster, cluster + 1, err);
    if (ret == 0)
        ret = qcbmi_rescue_name(r, table, 1, 1, err);
    if (ret == 0) {
        qcbmi_rescue_judge(r, bytes, verdicts, &bad);
        ret = qcbmi_rescue_name_targets(r, bytes, verdicts, 1, err);
    }
    if (ret == 0)
        r->slots[slot] = (struct qcbmi_slot){
            .table = table, .state = QCBMI_SLOT_TABLE, .score = (uint8_t)score, .why = (uint8_t)why
        };
    if (ret == 0 && c) {
        c->placed = true;
        c->slot = slot;
    }
    r->placed += ret == 0;
    r->least = score < r->least ? score : r->least;
    free(bytes);
    free(verdicts);
    return ret;
}
