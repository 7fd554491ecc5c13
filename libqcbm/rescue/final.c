/* final.c - what a slot of the L1 table is in the new image, entry by entry, and how sure that is
 * SPDX-License-Identifier: MIT
 *
 * That nothing was there is proven only where nothing is missing: each cluster that has a refcount is accounted for. */
#include "rescue/final.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "format/q2_l1l2.h"

#define GUESSED 60u
#define TABLE_GONE 95u /* nothing is missing, and the table that would say so is */

int qcbmi_final_init(struct qcbmi_final *f, struct qcbmi_rescue *r, struct qcbm_error *err)
{
    f->r = r;
    f->table = qcbmi_alloc_array(r->g->cluster_size, 1, err);
    f->verdicts = qcbmi_alloc_array(r->g->l2_entries, 3, err);
    if (!f->table || !f->verdicts)
        return QCBM_E_NOMEM;
    f->score = f->verdicts + r->g->l2_entries;
    f->why = f->score + r->g->l2_entries;
    return 0;
}

void qcbmi_final_free(struct qcbmi_final *f)
{
    free(f->table);
    free(f->verdicts);
    *f = (struct qcbmi_final){ 0 };
}

static void set(struct qcbmi_final *f, uint32_t i, unsigned score, enum qcbmi_rescue_why why)
{
    f->score[i] = (uint8_t)score;
    f->why[i] = (uint8_t)why;
}

/* At most so sure. */
static void doubt(struct qcbmi_final *f, uint32_t i, unsigned most, enum qcbmi_rescue_why why)
{
    if (f->score[i] > most)
        set(f, i, most, why);
}

/* Do the refcounts say that no table, and no data, is missing? */
static bool nothing_is_missing(const struct qcbmi_rescue *r)
{
    return r->left == 0 && r->refcounts && !r->low;
}

/* Does the refcount of the cluster say the same? */
static void ask_refcount(struct qcbmi_final *f, uint32_t i, const struct q2_l2_entry *e)
{
    const struct qcbmi_rescue *r = f->r;
    uint64_t cluster = e->host_offset >> r->g->cluster_bits, named, stored;

    if (e->host_len == 0)
        return;
    named = qcbmi_counts_get(&r->named, cluster);
    stored = r->refcounts ? qcbmi_counts_get(&r->stored, cluster) : 1;
    if (r->refcounts && stored == 0)
        doubt(f, i, 50, QCBMI_WHY_FREE);
    else if (named > stored && (r->refcounts || (e->copied && e->kind != Q2_COMPRESSED)))
        doubt(f, i, 50, QCBMI_WHY_DOUBLE);
}

/* Nothing is there, by an entry beside others. */
static void judge_empty(struct qcbmi_final *f, uint32_t i)
{
    const struct qcbmi_rescue *r = f->r;

    set(f, i, 100, QCBMI_WHY_EMPTY);
    if (r->left && f->verdicts[i] == QCBMI_ENTRY_BLANK)
        set(f, i, 0, QCBMI_WHY_BLANK);
    else if (r->left)
        set(f, i, 90, QCBMI_WHY_MAYBE_MISSING);
    else if (!nothing_is_missing(r))
        set(f, i, 80, QCBMI_WHY_NO_REFCOUNTS);
    else if (f->verdicts[i] == QCBMI_ENTRY_BLANK)
        doubt(f, i, r->least, QCBMI_WHY_IF_RIGHT);
    if (r->backing_unknown)
        doubt(f, i, 0, QCBMI_WHY_NO_NAME);
}

static void judge_table(struct qcbmi_final *f, const struct qcbmi_slot *s)
{
    const struct qcbmi_rescue *r = f->r;
    uint32_t bad;

    qcbmi_rescue_judge(r, f->table, f->verdicts, &bad);
    for (uint32_t i = 0; i < r->g->l2_entries; i++) {
        struct q2_l2_entry e;

        if (f->verdicts[i] == QCBMI_ENTRY_EMPTY || f->verdicts[i] == QCBMI_ENTRY_BLANK) {
            judge_empty(f, i);
        } else if (f->verdicts[i] == QCBMI_ENTRY_BAD) {
            memset(f->table + (uint64_t)i * r->g->l2_entry_size, 0, r->g->l2_entry_size);
            set(f, i, 0, QCBMI_WHY_BAD_ENTRY);
        } else {
            qcbmi_rescue_parse(r, f->table, i, 0, &e);
            set(f, i, 100, QCBMI_WHY_TABLES);
            if (f->verdicts[i] == QCBMI_ENTRY_SALVAGED)
                set(f, i, 70, QCBMI_WHY_SALVAGED);
            ask_refcount(f, i, &e);
            if (r->header_lost && e.kind == Q2_COMPRESSED)
                doubt(f, i, 90, QCBMI_WHY_COMPRESSION);
            if (r->backing_unknown && q2_l2_entry_allocated_mask(&e, r->g) != UINT32_MAX) /* subclusters */
                doubt(f, i, 0, QCBMI_WHY_NO_NAME);
        }
        if (s->score)
            doubt(f, i, s->score, (enum qcbmi_rescue_why)s->why);
    }
}

/* A table that was put together; what it does not have may have read as zeros. */
static void judge_rebuilt(struct qcbmi_final *f, const struct qcbmi_rebuilt *b)
{
    const struct qcbmi_rescue *r = f->r;
    bool zeros = !r->img->backing_file;

    memcpy(f->table, b->table, r->g->cluster_size);
    for (uint32_t i = 0; i < r->g->l2_entries; i++) {
        set(f, i, b->score[i], (enum qcbmi_rescue_why)b->why[i]);
        if (!bytes_are_zero(f->table + (uint64_t)i * r->g->l2_entry_size, r->g->l2_entry_size))
            continue;
        if (r->backing_unknown)
            set(f, i, 0, QCBMI_WHY_NO_NAME);
        else if (!nothing_is_missing(r))
            set(f, i, 0, QCBMI_WHY_TABLE_LOST);
        else if (zeros)
            set(f, i, TABLE_GONE, QCBMI_WHY_EMPTY);
        else
            set(f, i, 60, QCBMI_WHY_TABLE_LOST);
        doubt(f, i, r->least, QCBMI_WHY_IF_RIGHT);
    }
}

/* All of a slot without a table. */
static void judge_nothing(struct qcbmi_final *f, const struct qcbmi_slot *s)
{
    const struct qcbmi_rescue *r = f->r;
    bool settled = nothing_is_missing(r), backing = r->img->backing_file != NULL;

    f->all_score = 100;
    f->all_why = QCBMI_WHY_EMPTY;
    switch (s->state) {
    case QCBMI_SLOT_ZEROS:
    case QCBMI_SLOT_LOST:
        f->all_score = !settled ? 0 : backing ? 60 : s->state == QCBMI_SLOT_LOST ? TABLE_GONE : 100;
        f->all_why = settled && !backing ? QCBMI_WHY_EMPTY : QCBMI_WHY_TABLE_LOST;
        break;
    case QCBMI_SLOT_BAD:
        f->all_score = settled ? 80 : 0;
        f->all_why = QCBMI_WHY_POINTER_LOST;
        break;
    case QCBMI_SLOT_BLANK:
    case QCBMI_SLOT_EMPTY:
        if (!settled && r->left == 0) {
            f->all_score = 80;
            f->all_why = QCBMI_WHY_NO_REFCOUNTS;
        } else if (r->left) {
            bool lost = r->unplaced || s->state == QCBMI_SLOT_BLANK;

            f->all_score = lost ? 0 : 90;
            f->all_why = lost ? QCBMI_WHY_BLANK : QCBMI_WHY_MAYBE_MISSING;
        }
        break;
    }
    if (f->all_score > r->least) {
        f->all_score = (uint8_t)r->least;
        f->all_why = QCBMI_WHY_IF_RIGHT;
    }
    if (r->backing_unknown && f->all_score) {
        f->all_score = 0;
        f->all_why = QCBMI_WHY_NO_NAME;
    }
    if (s->tie && f->all_score < 100)
        f->all_why = QCBMI_WHY_TIE;
}

/* All that hangs below an L1 table that may be another one. */
static void doubt_all(struct qcbmi_final *f)
{
    for (uint32_t i = 0; f->has_table && i < f->r->g->l2_entries; i++)
        doubt(f, i, GUESSED, QCBMI_WHY_L1_GUESSED);
    if (!f->has_table && f->all_score > GUESSED) {
        f->all_score = GUESSED;
        f->all_why = QCBMI_WHY_L1_GUESSED;
    }
}

int qcbmi_final_slot(struct qcbmi_final *f, uint64_t slot, struct qcbm_error *err)
{
    const struct qcbmi_rescue *r = f->r;
    const struct qcbmi_slot *s = &r->slots[slot];
    bool zeros = false;
    int ret = 0;

    f->has_table = s->state == QCBMI_SLOT_TABLE || s->state == QCBMI_SLOT_REBUILT;
    if (s->state == QCBMI_SLOT_TABLE) {
        ret = qcbmi_holes_read(&f->r->holes, s->table, f->table, r->g->cluster_size, &zeros, "L2 table", err);
        if (ret == 0 && zeros)
            memset(f->table, 0, r->g->cluster_size);
        if (ret == 0)
            judge_table(f, s);
    } else if (s->state == QCBMI_SLOT_REBUILT) {
        judge_rebuilt(f, &r->rebuilt[s->rebuilt]);
    } else {
        judge_nothing(f, s);
    }
    if (ret == 0 && r->l1_in_doubt)
        doubt_all(f);
    return ret;
}
