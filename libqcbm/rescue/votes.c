/* votes.c - pieces of evidence, collected: this table, that slot, how sure, why
 * SPDX-License-Identifier: MIT */
#include "base/alloc.h"
#include "rescue/evidence.h"

#define MAX_VOTES ((size_t)1 << 22)

int qcbmi_vote(struct qcbmi_votes *v, uint64_t table, uint64_t slot, unsigned score, enum qcbmi_rescue_why why,
               struct qcbm_error *err)
{
    const struct qcbmi_rescue *r = v->r;

    if (slot >= r->n_slots || !qcbmi_slot_is_open(&r->slots[slot]) || v->n == MAX_VOTES)
        return 0;
    if (qcbmi_grow_array(&v->list, &v->capacity, v->n, sizeof(*v->list), err) < 0)
        return QCBM_E_NOMEM;
    v->list[v->n++] = (struct qcbmi_vote){ table, slot, (uint8_t)score, (uint8_t)why };
    return 0;
}
