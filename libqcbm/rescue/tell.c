/* tell.c - ranges of the disk as they are told: neighbours that are alike are one
 * SPDX-License-Identifier: MIT */
#include "rescue/tell.h"

#include "base/checked.h"

static const struct {
    const char *code, *text;
} words[] = {
    [QCBMI_WHY_TABLES] = { "tables", "the mapping tables lead there, and no refcount speaks against it" },
    [QCBMI_WHY_EMPTY] = { "empty", "nothing was mapped there, and no cluster of the file is unaccounted for" },
    [QCBMI_WHY_NO_NAME] = { "backing-lost",
                            "nothing is mapped there: zeros, or what a backing file has whose name is lost "
                            "with the header" },
    [QCBMI_WHY_SNAPSHOT] = { "snapshot",
                             "a snapshot names it, and its refcount has one more reference than there are" },
    [QCBMI_WHY_SNAPSHOT_DATA] = { "snapshot-data", "the table shares data with the table of a snapshot at this place" },
    [QCBMI_WHY_ONLY_SLOT] = { "only-place", "one table was found, and there is one place for it" },
    [QCBMI_WHY_OLD_L1] = { "old-l1", "an old copy of the L1 table has the table at this place" },
    [QCBMI_WHY_RUN] = { "run",
                        "its clusters follow those of the neighbour in the file, as a sequential writer leaves them" },
    [QCBMI_WHY_BITMAP] = { "bitmap", "the dirty granules of a bitmap lie as its clusters do" },
    [QCBMI_WHY_BACKING] = { "content", "it has content that the backing file or a snapshot has at this place" },
    [QCBMI_WHY_ORDER] = { "order", "as many were found as there are places: put there in the order of the file" },
    [QCBMI_WHY_DOUBLE] = { "named-twice", "more entries name the cluster than its refcount has" },
    [QCBMI_WHY_FREE] = { "refcount-0", "an entry names the cluster, and its refcount says that it is free" },
    [QCBMI_WHY_SALVAGED] = { "salvaged", "a sound entry in a damaged sector of the table" },
    [QCBMI_WHY_MAYBE_MISSING] = { "maybe-missing",
                                  "nothing is mapped there, but clusters of the file are unaccounted for" },
    [QCBMI_WHY_NO_REFCOUNTS] = { "no-refcounts",
                                 "nothing is mapped there; refcounts cannot confirm that nothing is missing" },
    [QCBMI_WHY_BLANK] = { "zeroed", "a sector of the table is zeros, and clusters of the file are unaccounted for" },
    [QCBMI_WHY_BAD_ENTRY] = { "bad-entry", "an entry that leads nowhere, or one in a damaged sector of the table" },
    [QCBMI_WHY_TABLE_LOST] = { "table-lost", "its L2 table was zeroed or overwritten" },
    [QCBMI_WHY_POINTER_LOST] = { "pointer-lost", "its entry of the L1 table was overwritten" },
    [QCBMI_WHY_TIE] = { "tie", "two tables, or two places, have the same claim" },
    [QCBMI_WHY_IF_RIGHT] = { "if-right", "nothing was mapped there, if all that is likely is where it was put" },
    [QCBMI_WHY_COMPRESSION] = { "compression", "compressed data, taken for zlib's since the header is lost" },
    [QCBMI_WHY_L1_GUESSED] = { "l1-guessed", "of several L1 tables the one with most entries was taken" },
};

static enum qcbm_rescue_certainty certainty_of(unsigned score)
{
    return score == 100 ? QCBM_RESCUE_PROVEN : score ? QCBM_RESCUE_LIKELY : QCBM_RESCUE_UNKNOWN;
}

int qcbmi_tell_end(struct qcbmi_tell *t, struct qcbm_error *err)
{
    struct qcbm_rescue_range run = t->run;

    t->run.length = 0;
    if (run.length == 0)
        return 0;
    t->bytes[run.certainty] += run.length;
    if (run.certainty != QCBM_RESCUE_PROVEN && t->doubt &&
        qcbmi_dirtymap_set(t->doubt, run.start, run.start + run.length, err) < 0)
        return QCBM_E_NOMEM;
    return t->fn && t->fn(t->opaque, &run) ? qcbmi_fail_stopped(err) : 0;
}

int qcbmi_tell(struct qcbmi_tell *t, uint64_t start, uint64_t len, unsigned score, enum qcbmi_rescue_why why,
               bool mapped, struct qcbm_error *err)
{
    struct qcbm_rescue_range *run = &t->run;
    int ret;

    if (start >= t->size)
        return 0;
    len = u64_min(len, t->size - start);
    if (score == 100) { /* all that is proven is one run */
        why = QCBMI_WHY_TABLES;
        mapped = true;
    }
    if (run->length && run->start + run->length == start && run->score == score && run->code == words[why].code &&
        run->mapped == mapped) {
        run->length += len;
        return 0;
    }
    ret = qcbmi_tell_end(t, err);
    *run = (struct qcbm_rescue_range){ .start = start,
                                       .length = len,
                                       .certainty = certainty_of(score),
                                       .score = score,
                                       .code = words[why].code,
                                       .reason = words[why].text,
                                       .mapped = mapped };
    return ret;
}
