/* check.h - the state of one check, shared by the walks
 * SPDX-License-Identifier: MIT
 *
 * Two ways over the tables: counting goes in file order, reads each table once however often it is referred to, and says
 * nothing; telling goes in the order in which qemu-img speaks, and happens only if there is something to tell. */
#ifndef QCBMI_CHECK_H
#define QCBMI_CHECK_H

#include "base/bitset.h"
#include "base/counts.h"
#include "bitmap/handle.h"
#include "check/check_rules.h"
#include "format/q2_l2_runs.h"
#include "image/l2_read.h"
#include "io/holes.h"

struct check_place {
    uint64_t offset; /* of the bad bytes, or QCBM_NO_OFFSET */
    const char *table;
    uint64_t index;
    uint32_t bitmap;
};
#define CHECK_NOWHERE ((struct check_place){ QCBM_NO_OFFSET, NULL, UINT64_MAX, UINT32_MAX })

/* Who refers to a cluster, for the search for owners. Kinds from OWNER_L2 on may have several, by rule. */
enum check_owner_kind { OWNER_META, OWNER_L2, OWNER_DATA, OWNER_COMPRESSED };
struct check_owner {
    enum check_owner_kind kind;
    const char *what; /* for OWNER_META */
    uint32_t state;   /* 0 = active, i + 1 = snapshot i */
    uint64_t index;   /* entry, bitmap, L1 index, or guest offset */
};

struct check_snapshot {
    uint64_t l1_offset;
    uint32_t l1_entries;
    uint32_t extra_len;
    bool sound; /* its L1 can be walked */
    const uint8_t *id, *name;
    uint16_t id_len, name_len;
};

/* Leaks, and what may be missing because of them: check_lost.c */
struct check_run {
    uint64_t first, end;
};
struct check_runs {
    struct check_run *list;
    size_t n, capacity;
};
struct check_lost {
    struct check_runs leaked; /* clusters */
    struct check_runs shared; /* of them those that a snapshot still refers to */
    struct check_runs blank;  /* active L1 entries whose L2 table is all zeros */
    uint64_t n_leaked;
};

struct check_suspects;

struct check {
    struct qcbm_image *handle;
    struct qcbmi_image *img; /* of the handle */
    const struct q2_geometry *g;
    struct qcbm_check_options o;
    struct qcbm_check_result r;
    struct qcbm_error *err;
    bool met[P_COUNT]; /* problems that there are */
    uint64_t n_told[P_COUNT];

    bool count;                    /* references count */
    bool tally, tell;              /* problems are added to the totals; are told */
    bool again;                    /* a further pass: only counters count */
    bool noise;                    /* there is something to tell */
    bool walking;                  /* tables are walked for messages, which the budget bounds */
    bool only_overflow;            /* nothing else is told */
    bool overflow, overflow_told;  /* some cluster has more references than its refcount can say */
    struct check_suspects *search; /* not NULL: references are matched with the suspects, nothing else happens */

    uint64_t file_len;   /* rounded up to a sector, as QEMU has it */
    uint64_t real_len;   /* bytes of it that are no holes */
    uint64_t n_clusters; /* of the file; one more if a reference reaches there */
    uint64_t lo, hi;     /* clusters of this pass */
    bool exhausted;      /* and that has been said */
    bool comparing;      /* refcounts are compared: a message for each cluster that the file has, or says it has */
    uint64_t messages;   /* that may still be given then */
    uint64_t budget_full;
    uint64_t budget; /* bytes of tables that may be read beyond once each */

    struct qcbmi_counts refs;                         /* references found */
    struct qcbmi_counts owners;                       /* of them those that rule each other out */
    struct qcbmi_counts stored;                       /* refcounts on disk */
    struct qcbmi_counts told;                         /* references while telling, if any overflows */
    struct qcbmi_bitset l2_seen, l2_noisy, l2_copied; /* per cluster: an L2 table; with problems; with COPIED wrong */
    bool l1_copied;

    struct q2_l2_scan scan;
    uint64_t *blobs; /* places of compressed data of one L2 table */
    uint8_t *l1_active;
    uint64_t *reftable;
    uint64_t n_reftable;
    bool unreadable; /* some refcount block is */
    bool signalled;  /* and QEMU has said so */
    uint8_t *block;  /* one cluster: a refcount block */
    uint64_t block_offset;
    uint64_t highest_end; /* one more than the last cluster in use */

    struct check_snapshot *snapshots;
    uint8_t *snapshot_bytes;
    uint32_t n_snapshots;
    uint64_t snapshots_len;
    bool snapshots_unknown; /* some of them: what has no reference here may be theirs */

    struct check_suspects *suspects;
    struct check_lost lost;
    struct qcbmi_progress progress;
    struct qcbmi_holes holes;
};

/* Note @weight times problem @id; @fmt makes the message if somebody wants it. Returns 0 or QCBM_E_ABORTED. */
int qcbmi_check_problem(struct check *c, enum qcbm_problem_id id, uint64_t weight, const struct check_place *at,
                        const char *fmt, ...) __attribute__((format(printf, 5, 6)));

/* @weight references to [@off, @off + @len), by @owner; @exclusive of them rule out any other. */
int qcbmi_check_reference(struct check *c, uint64_t off, uint64_t len, uint64_t weight, uint64_t exclusive,
                          const struct check_owner *owner, const struct check_place *at);

/* Is a table of @owner cut by the end of the file? Then that is a problem. */
int qcbmi_check_cut(struct check *c, uint64_t off, uint64_t len, const struct check_owner *owner,
                    const struct check_place *at);

/* Read; what lies past the end of the file is zeros. *@zeros (may be NULL): all of it is a hole, nothing was read. */
int qcbmi_check_read(struct check *c, uint64_t off, void *buf, uint64_t len, bool *zeros);
/* Take @bytes from the budget. False, and the problem noted, when it is used up. */
bool qcbmi_check_afford(struct check *c, uint64_t bytes);
int qcbmi_check_step(struct check *c, uint64_t bytes); /* progress */

/* check_cure.c: what to do about @id in this image, once all problems are known */
void qcbmi_check_cure(const struct check *c, enum qcbm_problem_id id, char *to, size_t size);
/* The level of "qemu-img check -r" that mends @id and loses nothing else, or none. */
enum qcbm_repair_level qcbmi_check_repair_level(const struct check *c, enum qcbm_problem_id id);
/* Are there leaks which something damaged may have pointed to? */
bool qcbmi_check_keeps_leaks(const struct check *c);
/* Would a repair by qemu-img delete the snapshots of this image? */
bool qcbmi_check_repair_loses_snapshots(const struct check *c);

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
int qcbmi_check_count_table(struct check *c, struct check_table *t, const uint8_t *bytes);
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

/* check_tables.c */
int qcbmi_check_by_value(const void *a, const void *b); /* for qsort() of uint64_t */
int qcbmi_check_count_tables(struct check *c);
int qcbmi_check_tell_l1(struct check *c, uint64_t off, uint64_t entries, uint32_t state);
int qcbmi_check_tell_copied(struct check *c);

/* check_refcounts.c */
int qcbmi_check_load_reftable(struct check *c);
int qcbmi_check_load_stored(struct check *c);
/* The stored refcount of any cluster; false if it cannot be read. */
bool qcbmi_check_stored(struct check *c, uint64_t cluster, uint64_t *value);
int qcbmi_check_refblocks(struct check *c);
int qcbmi_check_compare(struct check *c);

/* check_bitmaps.c */
int qcbmi_check_bitmap_references(struct check *c);
int qcbmi_check_bitmap_health(struct check *c);

/* check_owners.c */
int qcbmi_check_collect_suspects(struct check *c);
void qcbmi_check_suspect(struct check *c, uint64_t cluster);
void qcbmi_check_owner_found(struct check *c, uint64_t first, uint64_t end, const struct check_owner *owner);
int qcbmi_check_name_owners(struct check *c);
void qcbmi_check_suspects_free(struct check_suspects *s);

/* check_lost.c */
int qcbmi_check_note_leak(struct check *c, uint64_t cluster, uint64_t stored, uint64_t found);
int qcbmi_check_note_blank(struct check *c, uint64_t l1_index);
int qcbmi_check_tell_lost(struct check *c);
void qcbmi_check_lost_free(struct check_lost *l);

/* check.c: header, L1 tables, snapshots, tables of refcounts, LUKS, bitmaps; the refcount blocks come after it */
int qcbmi_check_walk(struct check *c);

#endif
