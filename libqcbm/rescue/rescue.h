/* rescue.h - what the steps of a rescue share: what is known of the clusters of the file, and of each slot of the L1
 * table
 * SPDX-License-Identifier: MIT
 *
 * States: an image whose header is sound, or was found again (geometry.c); what is known explains clusters (known.c);
 * the slots of the L1 table are judged (slots.c); clusters with a refcount that nothing explains are looked at for
 * tables (candidates.c), which evidence puts into slots (votes.c, evidence.c); tables that are lost are put together
 * from what clusters are left (rebuild.c). From then on nothing changes: ranges are told and the new image is written
 * (writing.c).
 *
 * Memory: a bit or a byte for each cluster of the file, 24 bytes for each slot, 40 for each candidate, and the tables
 * that are put together. Each step is linear in the bytes of the file, but for sorting. */
#ifndef QCBMI_RESCUE_H
#define QCBMI_RESCUE_H

#include "base/bitset.h"
#include "base/counts.h"
#include "base/progress.h"
#include "bitmap/bitmap_list.h"
#include "image/l2_read.h"
#include "io/holes.h"

#define QCBMI_RESCUE_MAX_CLUSTERS (UINT64_C(1) << 32)
#define QCBMI_RESCUE_PIECE (UINT64_C(1) << 20) /* bytes of a read */

/* Why a range is what it is taken for. The words are in words.c. */
enum qcbmi_rescue_why {
    QCBMI_WHY_TABLES,        /* header, L1, L2 lead there */
    QCBMI_WHY_EMPTY,         /* they say that nothing is there, and nothing is missing */
    QCBMI_WHY_NO_NAME,       /* they say so, and whether there was a backing file is not known: the header is lost */
    QCBMI_WHY_SNAPSHOT,      /* the pointer in a snapshot, of which the refcount has one more */
    QCBMI_WHY_SNAPSHOT_DATA, /* it shares data with a snapshot's table of this slot */
    QCBMI_WHY_ONLY_SLOT,     /* there is one table, and one place for it */
    QCBMI_WHY_OLD_L1,        /* an old copy of the L1 table */
    QCBMI_WHY_RUN,           /* the clusters follow those of the neighbour in the file */
    QCBMI_WHY_BITMAP,        /* a bitmap has this pattern of dirty granules */
    QCBMI_WHY_BACKING,       /* content that the backing file has there, too */
    QCBMI_WHY_ORDER,         /* as many as there are places, taken in the order of the file */
    QCBMI_WHY_DOUBLE,        /* more entries name the cluster than its refcount has */
    QCBMI_WHY_FREE,          /* the cluster is free by its refcount */
    QCBMI_WHY_SALVAGED,      /* a sound entry beside damaged ones */
    QCBMI_WHY_MAYBE_MISSING, /* reads as nothing, but clusters are left over */
    QCBMI_WHY_NO_REFCOUNTS,  /* refcounts cannot tell whether something is missing */
    QCBMI_WHY_BLANK,         /* zeros in the table, and clusters are left over */
    QCBMI_WHY_BAD_ENTRY,     /* the entry makes no sense */
    QCBMI_WHY_TABLE_LOST,    /* the L2 table was overwritten */
    QCBMI_WHY_POINTER_LOST,  /* the entry of the L1 table was */
    QCBMI_WHY_TIE,           /* two have the same claim */
    QCBMI_WHY_IF_RIGHT,      /* nothing is left over, if what is likely is right */
    QCBMI_WHY_COMPRESSION,   /* compressed in which way is not known: the header is lost */
    QCBMI_WHY_L1_GUESSED     /* one of several L1 tables was taken */
};

enum qcbmi_slot_state {
    QCBMI_SLOT_EMPTY, /* an entry of zeros beside others that are sound */
    QCBMI_SLOT_BLANK, /* an entry of zeros in a sector of zeros */
    QCBMI_SLOT_BAD,   /* an entry that leads nowhere */
    QCBMI_SLOT_TABLE, /* a table of the file, by its L1 entry or put there */
    QCBMI_SLOT_ZEROS, /* a table all zeros */
    QCBMI_SLOT_LOST,  /* its place is known, and something else is in it */
    QCBMI_SLOT_REBUILT
};

struct qcbmi_slot {
    uint64_t table;   /* where it lies */
    uint32_t rebuilt; /* of the list of these */
    uint8_t state, score, why;
    bool tie; /* two candidates have the same claim */
};

/* What one entry of a table is worth. */
enum qcbmi_verdict {
    QCBMI_ENTRY_EMPTY, /* zeros beside sound entries */
    QCBMI_ENTRY_BLANK, /* zeros in a sector of zeros: 512 bytes are what a device writes at once */
    QCBMI_ENTRY_SOUND,
    QCBMI_ENTRY_SALVAGED, /* sound, beside damaged ones */
    QCBMI_ENTRY_BAD
};

/* A cluster that has the look of an L2 table, and that nothing explains. */
struct qcbmi_candidate {
    struct qcbmi_l2_ref ref; /* its index is that in the list of candidates */
    uint64_t first, last;    /* host offsets of the first and the last cluster that it names */
    uint32_t first_index, last_index, n;
    bool targeted; /* another one names it */
    bool l1;       /* what it names are candidates: an L1 table */
    bool placed;
    uint64_t slot; /* where it was put */
};

struct qcbmi_rebuilt {
    uint8_t *table;
    uint8_t *score, *why; /* of each entry */
};

/* A cluster that nothing explains, and whose first bytes are those of other metadata. */
enum qcbmi_mark_kind { QCBMI_MARK_SNAPSHOTS, QCBMI_MARK_LUKS };
#define QCBMI_MAX_MARKS 64u
struct qcbmi_mark {
    uint64_t offset;
    enum qcbmi_mark_kind kind;
    bool targeted; /* data, after all */
};

struct qcbmi_rescue {
    struct qcbmi_image *img;
    const struct q2_geometry *g;
    struct qcbm_image *handle; /* with the bitmaps */
    struct qcbmi_holes holes;
    uint64_t n_clusters;
    struct qcbmi_counts stored, named; /* refcounts; references that are known */
    struct qcbmi_bitset meta;          /* clusters of metadata that is known */
    bool snap_damaged;                 /* a reference of a snapshot may be missing: what is left over may be its */
    bool refcounts;                    /* those that are stored can be relied on */
    bool low;             /* some are lower than the references that are known: nothing is proven by them */
    bool backing_unknown; /* the name of the backing file, if there was one, is lost with the header */
    bool l1_in_doubt;     /* where the L1 table is was guessed */

    struct qcbmi_l2_ref *snap; /* L2 tables of snapshots, by offset and slot; one each */
    size_t n_snap, snap_capacity;
    struct qcbmi_slot *slots;
    uint64_t n_slots;
    struct qcbmi_candidate *found; /* by offset */
    size_t n_found, found_capacity;
    struct qcbmi_rebuilt *rebuilt;
    size_t n_rebuilt, rebuilt_capacity;
    struct qcbmi_mark marks[QCBMI_MAX_MARKS];
    size_t n_marks;
    uint64_t left;     /* clusters with a refcount that nothing explains, at the end */
    uint64_t unplaced; /* candidates without a slot */
    unsigned least;    /* the lowest score of what was put somewhere: emptiness elsewhere is no surer */
    bool header_lost;
    uint64_t placed;

    bool probe_backing; /* the backing file may be read for evidence */
    struct qcbmi_progress progress;
};

/* run.c: before anything else, and at last */
void qcbmi_rescue_begin(struct qcbmi_rescue *r, struct qcbmi_image *img, struct qcbm_image *handle);
void qcbmi_rescue_free(struct qcbmi_rescue *r);

/* known.c */
int qcbmi_rescue_known(struct qcbmi_rescue *r, struct qcbm_error *err);

/* named.c */
/* Raise the references of the clusters of [@off, @off + @len) by @weight. */
int qcbmi_rescue_name(struct qcbmi_rescue *r, uint64_t off, uint64_t len, uint64_t weight, struct qcbm_error *err);
/* Does its refcount have more than is explained? Without refcounts: is nothing known of it? */
bool qcbmi_rescue_is_left(const struct qcbmi_rescue *r, uint64_t cluster);
/* Does a snapshot name the table at @table? */
bool qcbmi_rescue_is_of_snapshot(const struct qcbmi_rescue *r, uint64_t table);
/* How sure is it that the reference more that a snapshot's cluster has is that of the active disk? Never wholly: a cut
 * while a snapshot was deleted leaves it, too, and so does a snapshot that is lost, or a refcount that was overwritten;
 * and from version 3 on a guest that wrote zeros leaves the cluster to the entry, which says "zeros" beside it. */
unsigned qcbmi_score_of_excess(const struct qcbmi_rescue *r);
/* The next such cluster from @from on, or n_clusters. */
uint64_t qcbmi_rescue_next_left(const struct qcbmi_rescue *r, uint64_t from);

/* judge.c: an entry of a table for all of its uses. */
struct q2_l2_entry;
bool qcbmi_rescue_entry_is_sound(const struct qcbmi_rescue *r, const struct q2_l2_entry *e);
void qcbmi_rescue_parse(const struct qcbmi_rescue *r, const uint8_t *table, uint32_t index, uint64_t slot,
                        struct q2_l2_entry *out);
/* Of each of the entries of @table into @verdicts. Returns how many are sound; *@bad gets how many are bad. */
uint32_t qcbmi_rescue_judge(const struct qcbmi_rescue *r, const uint8_t *table, uint8_t *verdicts, uint32_t *bad);
/* Add what the sound entries name, @weight times. */
int qcbmi_rescue_name_targets(struct qcbmi_rescue *r, const uint8_t *table, const uint8_t *verdicts, uint64_t weight,
                              struct qcbm_error *err);

/* slots.c */
int qcbmi_rescue_slots(struct qcbmi_rescue *r, struct qcbm_error *err);
/* Is anything amiss: a slot that leads nowhere, a cluster that nothing explains? */
bool qcbmi_rescue_is_amiss(const struct qcbmi_rescue *r);
/* May a table be put there? */
bool qcbmi_slot_is_open(const struct qcbmi_slot *s);

/* looks.c: does a table of snapshots begin with these bytes, a sector at least? */
bool qcbmi_looks_like_snapshots(const struct q2_geometry *g, uint64_t file_size, const uint8_t *bytes);

/* candidates.c */
int qcbmi_rescue_candidates(struct qcbmi_rescue *r, struct qcbm_error *err);
struct qcbmi_candidate *qcbmi_rescue_candidate(const struct qcbmi_rescue *r, uint64_t offset);
/* Of a table of the active state? */
bool qcbmi_candidate_is_root(const struct qcbmi_candidate *c);

/* placing.c: table @table is that of @slot, with what it names. */
int qcbmi_rescue_put(struct qcbmi_rescue *r, uint64_t table, uint64_t slot, unsigned score, enum qcbmi_rescue_why why,
                     struct qcbm_error *err);

/* evidence.c: where candidates belong */
int qcbmi_rescue_place(struct qcbmi_rescue *r, struct qcbm_error *err);

/* tell_left.c; @fn may be NULL. Returns 0, QCBM_E_ABORTED. */
int qcbmi_rescue_tell_left(const struct qcbmi_rescue *r, qcbm_rescue_left_fn *fn, void *opaque, struct qcbm_error *err);

/* rebuild.c */
int qcbmi_rescue_rebuild(struct qcbmi_rescue *r, struct qcbm_error *err);

#endif
