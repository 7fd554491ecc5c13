/* check_parts.h - what the parts of one check share
 * SPDX-License-Identifier: MIT
 *
 * The order of work (check.c), and what is known after each step:
 *
 *   load       snapshots and refcount table lie in memory; a bad snapshot ends the list, those before it are checked.
 *   passes     over clusters [lo, hi): as many as the counters of a pass may take memory for (options.memory), so all
 *              at once for honest images. Each pass
 *     counts   every reference (sink: counter). In file order, each table read once however often it is referred to.
 *              Says nothing; problems go to the totals, in the first pass alone. Tables with problems are in l2_noisy.
 *     tells    what counting met, in the words and the order of QEMU (sink: teller). Only if it met something; reads
 *              noisy tables again, out of the budget. The totals are final already.
 *     compares the counters with the stored refcounts, and collects leaks and clusters that have two owners.
 *   after      COPIED flags, header, bitmaps, lost tables. All totals and problems are known.
 *   owners     the list of references once more (sink: searcher) for the names of those with one cluster.
 *   cures      chosen by all that was found.
 *
 * What always holds: time is linear in the bytes that are allocated for the file. What reads or tells anything again
 * pays from the budget, and when it is used up says so once. Nothing is taken into memory by a number that the image
 * gives before that many bytes were found in the file.
 *
 * A pass over the references is a sink; how problems are heard meanwhile is a voice (check_findings.c). */
#ifndef QCBMI_CHECK_PARTS_H
#define QCBMI_CHECK_PARTS_H

#include "base/bitset.h"
#include "base/counts.h"
#include "bitmap/handle.h"
#include "bitmap/leaks.h"
#include "image/l2_notes.h"
#include "image/problems.h"
#include "image/refs.h"
#include "image/snapshots.h"
#include "image/stored_counts.h"
#include "io/holes.h"

#define CHECK_NOWHERE ((struct qcbmi_place){ QCBM_NO_OFFSET, NULL, UINT64_MAX, UINT32_MAX })

struct check;
struct check_table;
struct check_suspects;
struct check_groups;

/* A pass over the references. */
struct check_sink {
    /* @ref is to clusters [@first, @end), of which the first lies in the file. */
    int (*clusters)(struct check *c, uint64_t first, uint64_t end, const struct qcbmi_ref *ref);
    /* The tables of a state. */
    int (*state)(struct check *c, const struct qcbmi_ref *l1);
    /* Entries of @t name @n clusters from @off on, compressed or not. NULL: that is no matter. */
    void (*mapped)(struct check *c, struct check_table *t, uint64_t off, uint64_t n, bool copied);
    void (*compressed)(struct check *c, const struct check_table *t);
    void (*soon)(const struct check *c, uint64_t cluster); /* it will be referred to */
    /* Is the L2 table in @cluster to be read again? */
    bool (*wants)(const struct check *c, uint64_t cluster);
    bool once;  /* it reads each table for the first time */
    bool looks; /* at tables as a whole, whether something was written over them */
};

/* How problems are heard. */
enum check_price { PRICE_FREE, PRICE_BUDGET, PRICE_MESSAGES };
struct check_voice {
    bool total;             /* they are added to the totals, */
    bool say;               /* and told, */
    enum check_price price; /* for this */
    unsigned only;          /* no other problem is heard at all; CHECK_ALL, CHECK_NONE */
};
#define CHECK_ALL ((unsigned)QCBMI_PROBLEM_COUNT)
#define CHECK_NONE (CHECK_ALL + 1)
#define CHECK_LOUD ((struct check_voice){ true, true, PRICE_FREE, CHECK_ALL })

struct check {
    struct qcbm_image *handle;
    struct qcbmi_image *img; /* of the handle */
    const struct q2_geometry *g;
    struct qcbm_check_options o;
    struct qcbm_check_result r;
    struct qcbm_error *err;
    bool met[QCBMI_PROBLEM_COUNT];           /* problems that there are, */
    bool met_of_others[QCBMI_PROBLEM_COUNT]; /* and of what is no bitmap's */
    uint64_t n_told[QCBMI_PROBLEM_COUNT];

    uint64_t n_met;                    /* how often */
    struct check_groups *groups;       /* what was told, by kind and table; NULL until something was */
    const struct check_table *telling; /* the table whose entries are told, or NULL */

    const struct check_sink *sink;
    struct check_voice voice;

    uint64_t file_len;   /* rounded up to a sector, as QEMU has it */
    uint64_t real_len;   /* bytes of it that are no holes */
    uint64_t n_clusters; /* of the file; one more if a reference reaches there */
    uint64_t lo, hi;     /* clusters of this pass */
    uint64_t messages;   /* on single clusters that may still be given: as many as the file has, or says it has */
    uint64_t budget_full;
    uint64_t budget; /* bytes of tables that may be read beyond once each */
    bool exhausted;  /* it is used up, and that has been said */

    struct qcbmi_counts refs;                         /* references found */
    struct qcbmi_counts owners;                       /* of them those that rule each other out */
    struct qcbmi_counts stored;                       /* refcounts on disk */
    struct qcbmi_counts told;                         /* references while telling, if they are counted again */
    struct qcbmi_bitset l2_seen, l2_noisy, l2_copied; /* per cluster: an L2 table; with problems; with COPIED wrong */
    bool l1_copied;                                   /* COPIED is wrong in the active L1 */
    bool recount, recounted;                          /* what counting met is told by counting again, in order */

    uint64_t *blobs;                 /* places of compressed data of one L2 table */
    struct qcbmi_stored_counts disk; /* the refcounts, table and block */
    bool signalled;                  /* some block is unreadable, and QEMU has said so */
    uint64_t highest_end;            /* one more than the last cluster in use */

    struct qcbmi_loose_snapshots snapshots;
    bool snapshots_unknown; /* some of them: what has no reference here may be theirs */

    struct check_suspects *suspects;
    struct qcbmi_leaks leaks;
    bool aligned_only; /* what an entry with an unaligned offset leads to is not counted: it is not there */
    bool no_refcounts; /* what refcount table and blocks are is not counted: they are given up */
    int (*counted)(struct check *c, void *counted_for); /* NULL, or called in each pass when all of it is counted */
    void *counted_for;
    struct qcbmi_progress progress;
    struct qcbmi_holes holes;
};

/* Is this the first pass? Further ones only count. */
static inline bool check_is_first(const struct check *c)
{
    return c->r.passes == 0;
}

/* ---- check_findings.c: problems, totals, the budget ---- */

/* Note @weight times problem @id; @fmt makes the message if somebody wants it. Returns 0 or QCBM_E_ABORTED. */
int qcbmi_check_problem(struct check *c, enum qcbm_problem_id id, uint64_t weight, const struct qcbmi_place *at,
                        const char *fmt, ...) __attribute__((format(printf, 5, 6)));
/* Take @bytes from the budget. False, and the problem noted, when it is used up. */
bool qcbmi_check_afford(struct check *c, uint64_t bytes);
int qcbmi_check_step(struct check *c, uint64_t bytes); /* progress */
/* Read; what lies past the end of the file is zeros. *@zeros (may be NULL): all of it is a hole, nothing was read. */
int qcbmi_check_read(struct check *c, uint64_t off, void *buf, uint64_t len, bool *zeros);
/* Each kind that was told once, with the cure that fits to all that was found. */
int qcbmi_check_tell_kinds(struct check *c);

/* ---- check_summary.c: findings counted by kind and table ---- */

/* One more of @id; *@number is which. Returns 0, QCBM_E_NOMEM. */
int qcbmi_check_count(struct check *c, enum qcbm_problem_id id, const struct qcbmi_place *at, uint64_t *number);
int qcbmi_check_tell_summary(struct check *c);
void qcbmi_check_groups_free(struct check_groups *groups); /* NULL is fine */

/* ---- check_reference.c ---- */

/* Judge @ref, and give it to the sink if it leads into the file. */
int qcbmi_check_reference(struct check *c, const struct qcbmi_ref *ref);
/* The same, but the end of the file may cut what lies there. */
int qcbmi_check_clusters(struct check *c, const struct qcbmi_ref *ref);
/* Is a table cut by the end of the file? Then that is a problem. */
int qcbmi_check_cut(struct check *c, const struct qcbmi_ref *ref);
/* A cluster that QEMU would count too far; it says so for each reference beyond. */
int qcbmi_check_tell_overflow(struct check *c, uint64_t cluster, const struct qcbmi_place *at);

/* check_cure.c: what to do about @id in this image, once all problems are known */
void qcbmi_check_cure(const struct check *c, enum qcbm_problem_id id, char *to, size_t size);
/* The level of "qemu-img check -r" that mends @id and loses nothing else, or none. */
enum qcbm_repair_level qcbmi_check_repair_level(const struct check *c, enum qcbm_problem_id id);
/* Are there leaks which something damaged may have pointed to? */
bool qcbmi_check_keeps_leaks(const struct check *c);
/* Would a repair by qemu-img delete the snapshots of this image? */
bool qcbmi_check_repair_loses_snapshots(const struct check *c);

/* check_refused.c: what a repair of all refuses without force, as far as a check can tell */
enum check_refusal {
    CHECK_NOT_REFUSED,
    CHECK_REFUSED_PERHAPS, /* entries that lead nowhere stay, and what cannot go on beside them is refused */
    CHECK_REFUSED,
    CHECK_REFUSED_EVER /* with force, too */
};
enum check_refusal qcbmi_check_refusal(const struct check *c);
/* Why only force may decide who has the cluster, as the end of a sentence, or NULL. */
struct check_suspect;
const char *qcbmi_check_why_disputed(const struct check *c, const struct check_suspect *x);
bool qcbmi_check_has_disputed(const struct check *c);
bool qcbmi_check_gives_up_snapshots(const struct check *c);
bool qcbmi_check_leads_nowhere(const struct check *c);
bool qcbmi_check_is_beside_maps(enum qcbm_problem_id id);
/* Is there damage beside which a repair of bitmaps alone does not know what it must not take, and refuses? */
bool qcbmi_check_refuses_bitmaps(const struct check *c);

/* check_snapshots.c */
int qcbmi_check_load_snapshots(struct check *c);

/* check_entries.c: one entry, with all that is wrong with it, in QEMU's order */
struct check_table {
    uint64_t offset;         /* of the L2 table */
    uint64_t weight, active; /* L1 entries that point to it, in all and of the active state */
    uint64_t next;           /* where data would go on without a gap; 0 at the start */
    uint64_t guest;          /* of its first entry, if one walk is for one L1 entry */
    uint32_t state;          /* likewise */
    bool has_guest;
};
int qcbmi_check_entry(struct check *c, struct check_table *t, uint32_t i, const uint8_t *bytes);
/* All entries of a table, those that are sound as runs; for a sink that counts. */
int qcbmi_check_entries(struct check *c, struct check_table *t, const struct qcbmi_l2_content *content);
/* An L1 entry alone: before and after the reference that it makes, as QEMU has it. */
int qcbmi_check_l1_reserved(struct check *c, uint64_t raw, const struct qcbmi_place *at, uint64_t weight);
int qcbmi_check_l1_alignment(struct check *c, uint64_t raw, const struct qcbmi_place *at, uint64_t weight);
/* Entries of one table with the same compressed data. */
int qcbmi_check_shared_data(struct check *c, const struct check_table *t, const uint8_t *bytes);

/* check_overwritten.c: tables of which most entries make no sense */
struct check_look {
    uint64_t used, bad;     /* entries that are not 0; of them those that make no sense, */
    uint64_t first;         /* the first of which is this, */
    bool same, small, text; /* and which are all the same, small numbers, text */
};
/* Could a file of this disk ever have been so long? */
bool qcbmi_check_is_plausible(const struct check *c, uint64_t off);
bool qcbmi_check_is_bad_l1_entry(const struct check *c, uint64_t raw);
bool qcbmi_check_is_bad_l2_entry(const struct check *c, const uint8_t *bytes);
void qcbmi_check_look_at(struct check_look *l, uint64_t raw, bool bad);
bool qcbmi_check_is_overwritten(const struct check_look *l);
bool qcbmi_check_l2_overwritten(const struct check *c, const uint8_t *bytes, struct check_look *l);
int qcbmi_check_tell_l2_overwritten(struct check *c, const struct check_table *t, const struct check_look *l);
int qcbmi_check_tell_l1_overwritten(struct check *c, uint64_t off, uint32_t state, const struct check_look *l);

/* check_count.c: the sink that counts; goes over tables by check_sweep.c */
extern const struct check_sink qcbmi_check_counter;
int qcbmi_check_begin_pass(struct check *c); /* counters for clusters from c->lo on; c->hi may come down */
void qcbmi_check_end_pass(struct check *c);  /* fine at any time */

/* check_sweep.c: the tables of all states into the sink, in the order of the file */
int qcbmi_check_sweep(struct check *c);

/* check_tell.c: the sink that tells, and tables in the order of QEMU for any sink */
extern const struct check_sink qcbmi_check_teller;
int qcbmi_check_walk_l1(struct check *c, const struct qcbmi_ref *l1);

/* check_copied.c */
int qcbmi_check_tell_copied(struct check *c);

/* check_refcounts.c: as stored */
int qcbmi_check_load_reftable(struct check *c);
int qcbmi_check_load_stored(struct check *c);
/* The stored refcount of any cluster; false if it cannot be read. */
bool qcbmi_check_stored(struct check *c, uint64_t cluster, uint64_t *value);
int qcbmi_check_refblocks(struct check *c); /* references to the blocks */

/* check_compare.c: stored refcounts and counters */
int qcbmi_check_compare(struct check *c);

/* check_bitmaps.c */
int qcbmi_check_bitmap_references(struct check *c);
int qcbmi_check_bitmap_health(struct check *c);

/* check_walk.c: the list of references into c->sink, but for the refcount blocks */
int qcbmi_check_walk(struct check *c);

/* check_suspects.c: clusters that may have two owners */
#define CHECK_MAX_SUSPECTS 1024u
#define CHECK_MAX_OWNERS 3u
#define CHECK_MAX_PARTED 8u /* owners of one cluster that a repair gives a cluster each */
struct check_suspect {
    uint64_t cluster;
    uint64_t n_owners;
    struct qcbmi_ref_owner owners[CHECK_MAX_OWNERS];
};
struct check_suspects {
    size_t n;
    struct check_suspect list[CHECK_MAX_SUSPECTS];
};
void qcbmi_check_suspect(struct check *c, uint64_t cluster);
int qcbmi_check_collect_suspects(struct check *c);

/* check_owners.c: the sink that searches */
int qcbmi_check_name_owners(struct check *c);
/* " of snapshot 'name'", or nothing for the active state; an owner in words. */
void qcbmi_check_state_text(const struct check *c, uint32_t state, char *to, size_t size);
void qcbmi_check_owner_text(const struct check *c, const struct qcbmi_ref_owner *o, char *to, size_t size);

/* check_lost.c: leaks that are no waste; and these alone, without any other part of the check */
int qcbmi_check_tell_lost(struct check *c);
int qcbmi_check_find_lost(struct check *c);

#endif
