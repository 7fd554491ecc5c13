/* journal_file.h - a journal over several images: header, records, end mark, decision, marks (docs/journal-format.md)
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_JOURNAL_FILE_H
#define QCBMI_JOURNAL_FILE_H

#include "base/digest.h"

#define QCBMI_JOURNAL_VERSION 1u
#define QCBMI_JOURNAL_HEADER_BYTES 128u
#define QCBMI_JOURNAL_SECTOR 512u                    /* what storage writes whole or not at all */
#define QCBMI_JOURNAL_STATE_BYTES 64u                /* of the decision */
#define QCBMI_JOURNAL_MARK_BYTES 32u                 /* of each disk */
#define QCBMI_JOURNAL_MAX_DISKS 1024u                /* libvirt's limit is far below */
#define QCBMI_JOURNAL_TEMPORARY ".qcbm-new"          /* behind the name of an overlay that has none yet */
#define QCBMI_JOURNAL_MAX_BYTES (UINT64_C(64) << 20) /* of the file; a disk takes a few KiB */

enum qcbmi_journal_disk_flag {
    QCBMI_JOURNAL_SWITCHED = 1u << 0, /* the image gets a new state itself: there are sectors */
    QCBMI_JOURNAL_OVERLAY = 1u << 1,  /* a new image on top of it */
    QCBMI_JOURNAL_DEVICE = 1u << 2,   /* that is a block device: no name is given, its first sector is the switch */
    QCBMI_JOURNAL_FENCED = 1u << 3    /* the fence says whether another program wrote */
};

/* What a sector is in each state: those of one stage are written together, later stages behind a flush. */
struct qcbmi_journal_sector {
    uint32_t stage;  /* 0: it does not change, and tells one state from another */
    bool of_overlay; /* of the device of the overlay, not of the image */
    uint64_t off;
    uint8_t before[QCBMI_JOURNAL_SECTOR], after[QCBMI_JOURNAL_SECTOR];
};

/* What shall be true of a bitmap in the end, where the sectors do not tell the way there any more. */
enum qcbmi_journal_goal_kind {
    QCBMI_GOAL_THERE = 1, /* it records, and has all that may have changed; in the overlay, if there is one */
    QCBMI_GOAL_DISABLED,  /* of the image */
    QCBMI_GOAL_GONE,      /* of the image */
    QCBMI_GOAL_OLDER /* it recorded before, and had so many dirty granules: may stand in for one that is to be there */
};
struct qcbmi_journal_goal {
    enum qcbmi_journal_goal_kind kind;
    uint32_t gran_bits;
    uint64_t dirty; /* granules */
    char *name;
};

/* What is done to the disks: for the words of a recovery, and for nothing else. */
enum qcbmi_journal_change {
    QCBMI_JOURNAL_CREATES, /* a checkpoint, */
    QCBMI_JOURNAL_MENDS,   /* mends one, */
    QCBMI_JOURNAL_REMOVES  /* bitmaps */
};

struct qcbmi_journal_disk {
    uint32_t flags;                       /* enum qcbmi_journal_disk_flag */
    uint64_t dev, ino, size;              /* of the image file */
    uint8_t identity[QCBMI_DIGEST_BYTES]; /* of what no change of bitmaps touches in its header */
    uint8_t first[QCBMI_DIGEST_BYTES];    /* of its first sector before the change */
    char *target, *image;                 /* full path */
    char *overlay, *temporary;            /* full paths; "" if there are none */
    char *undo;                           /* full path of the undo file that is made; NULL: none is */
    uint64_t overlay_len;
    uint8_t overlay_digest[QCBMI_DIGEST_BYTES]; /* of all of it */
    struct qcbmi_journal_sector *sectors;       /* by stage */
    size_t n_sectors, sectors_capacity;
    struct qcbmi_journal_goal *goals;
    size_t n_goals, goals_capacity;
    bool marked; /* it has its new state, and nothing is left to be done */
};

enum qcbmi_journal_state {
    QCBMI_JOURNAL_OPEN,    /* no disk has begun to switch */
    QCBMI_JOURNAL_DECIDED, /* all will have the new state */
    QCBMI_JOURNAL_DONE     /* all have it */
};

struct qcbmi_journal {
    enum qcbmi_journal_change change;
    char *name; /* of the checkpoint, or what the change is called */
    struct qcbmi_journal_disk *disks;
    uint32_t n_disks;
    enum qcbmi_journal_state state;
    uint8_t header_digest[QCBMI_DIGEST_BYTES]; /* to which decision and marks are bound; set by store and parse */
    uint64_t state_at;                         /* in the file; the marks come in the next sector */
    uint64_t len;                              /* of the file */
};

void qcbmi_journal_free(struct qcbmi_journal *j);           /* fine on a zeroed struct */
void qcbmi_journal_disk_free(struct qcbmi_journal_disk *d); /* the same for one that is in no journal */

int qcbmi_journal_add_sector(struct qcbmi_journal_disk *d, const struct qcbmi_journal_sector *s,
                             struct qcbm_error *err);
/* @name is copied. QCBM_E_LIMIT: no bitmap that QEMU takes has it, so none can be asked for. */
int qcbmi_journal_add_goal(struct qcbmi_journal_disk *d, enum qcbmi_journal_goal_kind kind, const char *name,
                           uint32_t gran_bits, uint64_t dirty, struct qcbm_error *err);

/* All of the file but for its end mark, open: *@bytes is the caller's, of j->len bytes. QCBM_E_NOMEM, QCBM_E_LIMIT
 * (also: what could not be parsed again). */
int qcbmi_journal_store(struct qcbmi_journal *j, uint8_t **bytes, struct qcbm_error *err);
/* The end mark, one sector; where it goes: qcbmi_journal_end_at(). */
void qcbmi_journal_end_store(const struct qcbmi_journal *j, uint8_t to[QCBMI_JOURNAL_SECTOR]);
uint64_t qcbmi_journal_end_at(const struct qcbmi_journal *j);
/* The decision, and that it is done: QCBMI_JOURNAL_STATE_BYTES at j->state_at. */
void qcbmi_journal_state_store(const struct qcbmi_journal *j, enum qcbmi_journal_state state, uint8_t *to);
/* The mark of disk @index: QCBMI_JOURNAL_MARK_BYTES, and where. */
uint64_t qcbmi_journal_mark_store(const struct qcbmi_journal *j, uint32_t index, uint8_t *to);

/* A whole file in memory. Free @j on failure too. Returns 0, QCBM_E_ARG (no journal), QCBM_E_UNSUPPORTED (a later
 * version), QCBM_E_CORRUPT (damaged, or incomplete), QCBM_E_NOMEM. */
int qcbmi_journal_parse(const uint8_t *bytes, uint64_t len, struct qcbmi_journal *j, struct qcbm_error *err);

#endif
