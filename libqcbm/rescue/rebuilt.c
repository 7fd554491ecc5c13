/* rebuilt.c - one entry of a table that is put together
 * SPDX-License-Identifier: MIT */
#include "base/bytes.h"
#include "format/q2_l1l2.h"
#include "rescue/rebuild.h"

int qcbmi_rebuilt_set(struct qcbmi_rescue *r, uint64_t slot, uint32_t index, uint64_t raw, uint64_t word,
                      unsigned score, enum qcbmi_rescue_why why, struct qcbm_error *err)
{
    struct qcbmi_rebuilt *b = &r->rebuilt[r->slots[slot].rebuilt];
    uint8_t *at = b->table + (uint64_t)index * r->g->l2_entry_size;
    struct q2_l2_entry e;

    be64_store(at, raw);
    if (r->g->extended_l2)
        be64_store(at + 8, word);
    b->score[index] = (uint8_t)score;
    b->why[index] = (uint8_t)why;
    r->least = score < r->least ? score : r->least;
    qcbmi_rescue_parse(r, b->table, index, slot, &e);
    return qcbmi_rescue_name(r, e.host_offset, e.host_len, 1, err);
}
