/* repair_parts.h - what the repairs of one image share
 * SPDX-License-Identifier: MIT
 *
 * A repair is a step: it looks at the image as it is after the steps before it, and gives a plan of its own. repair.c
 * has the order of the steps and the states of the whole. */
#ifndef QCBMI_REPAIR_PARTS_H
#define QCBMI_REPAIR_PARTS_H

#include "bitmap/bitmap_list.h"
#include "bitmap/dirtymap.h"
#include "image/problems.h"
#include "image/refs.h"
#include "write/plan.h"

struct qcbmi_repair {
    struct qcbm_image *img;  /* as it was; for reading alone until the commit */
    struct qcbm_image *work; /* the same over a shadow: with the steps so far */
    struct qcbm_repair_options o;
    struct qcbm_repair_result r;
    struct qcbm_check_result before; /* first pass */
    struct qcbm_check_result after;  /* second pass; for the steps behind it */
    bool met[QCBMI_PROBLEM_COUNT];   /* problems of the first pass */
    struct qcbmi_plan whole;         /* all steps so far, one after the other */
    uint64_t room;                   /* on a device: where what is not in use begins, or 0 */
    size_t counts, counts_end;       /* stages of it: those that make refcounts high enough; none if they are equal */
    uint64_t lost_pointers;          /* entries that were given up, or left: leaks may be what they led to */
    uint64_t left;                   /* of them those that stay as they are, since nothing is given up without force, */
    uint64_t left_from;  /* and where in the file they lead to behind its end, the first; UINT64_MAX: nowhere */
    uint64_t copied_met; /* wrong COPIED flags of the first pass; told when refcounts are right, as QEMU does */
    uint64_t copied_told, copied_fixed;
    bool lost_bitmaps;               /* the directory named some that are gone: leaks may be their bits */
    bool bitmaps_first;              /* before the refcounts leave a cluster to a bitmap */
    bool separated;                  /* clusters with two owners were copied */
    struct qcbmi_dirtymap changed;   /* of the disk; size 0: nothing */
    struct qcbmi_bitset were_shared; /* clusters that had two owners, and have one by now; size 0: none */
    bool all_changed, marked;        /* all of it; bitmaps have it, which was told */
    struct qcbmi_repair_item *items; /* repair_told.c */
    size_t n_items, items_capacity;
};

#define QCBMI_MAX_ROUNDS CHECK_MAX_PARTED /* of repair_two_owners.c */
/* Bytes of memory, of the whole, of a step's plan, and of the shadow. */
#define QCBMI_REPAIR_MAX_HELD (UINT64_C(2) << 30)

struct qcbmi_repair_step {
    unsigned levels; /* bits 1u << enum qcbm_repair_level */
    bool of_maps;    /* mapping tables, snapshots, owners: only if the first pass found something wrong with them */
    bool when_clean; /* behind the second pass, and only if that found nothing left */
    int (*run)(struct qcbmi_repair *r, struct qcbm_error *err);
};

/* ---- repair_step.c ---- */

/* Carry @plan out on r->work, whose header and bitmaps are read again, and move its stages behind those of r->whole.
 * What is left of @plan is to be freed, on failure too. */
int qcbmi_repair_commit(struct qcbmi_repair *r, struct qcbmi_plan *plan, struct qcbm_error *err);
/* No plan has more in memory than it may. */
int qcbmi_repair_check_held(uint64_t held, struct qcbm_error *err);

/* ---- repair_order.c: the whole, once it is planned, into an order in which a cut does no harm ---- */
int qcbmi_repair_order(struct qcbmi_repair *r, struct qcbm_error *err);

/* ---- repair_told.c: all of it is kept, and told when the whole is planned ---- */

/* Something that is repaired. A row for each kind, place or bitmap, never one for each cluster. */
int qcbmi_repair_tell(struct qcbmi_repair *r, const struct qcbm_repair_row *row, struct qcbm_error *err);
int qcbmi_repair_tell_finding(struct qcbmi_repair *r, const struct qcbm_check_finding *f, struct qcbm_error *err);
int qcbmi_repair_tell_all(struct qcbmi_repair *r, struct qcbm_error *err);
/* Nobody is told of what came behind the first @from; 0 also frees. */
void qcbmi_repair_forget(struct qcbmi_repair *r, size_t from);
/* Findings behind the first @from are not repaired: they are told as what is left. */
void qcbmi_repair_leave(struct qcbmi_repair *r, size_t from);

/* Nothing of the guest's, and no snapshot, is given up without. */
static inline bool qcbmi_repair_is_forced(const struct qcbmi_repair *r)
{
    return r->o.flags & QCBM_REPAIR_FORCE;
}

/* ---- the steps, a file each ---- */

/* repair_guard.c: is that an image of which a repair keeps all that is there? */
int qcbmi_repair_guard(struct qcbmi_repair *r, struct qcbm_error *err);

/* repair_snapshots.c: the snapshots whose entries are sound, in a table that can be read. */
int qcbmi_repair_snapshots(struct qcbmi_repair *r, struct qcbm_error *err);

/* repair_l1.c, repair_l2.c: entries that lead nowhere, or say what no entry may say. */
int qcbmi_repair_l1(struct qcbmi_repair *r, struct qcbm_error *err);
int qcbmi_repair_l2(struct qcbmi_repair *r, struct qcbm_error *err);
int qcbmi_repair_l2_separated(struct qcbmi_repair *r,
                              struct qcbm_error *err); /* tables that had another owner before */

/* repair_two_owners.c: a cluster for each. */
bool qcbmi_repair_is_of_bitmap(const struct qcbmi_ref_owner *owner);
int qcbmi_repair_two_owners(struct qcbmi_repair *r, struct qcbm_error *err);

/* repair_refcounts.c: every cluster that is used counts as often as it is. */
int qcbmi_repair_refcounts(struct qcbmi_repair *r, struct qcbm_error *err);

/* repair_leaks.c: refcounts that are too high come down, where that takes nothing from anybody. */
int qcbmi_repair_leaks(struct qcbmi_repair *r, struct qcbm_error *err);

/* repair_copied.c: COPIED flags as the refcounts by then say. */
int qcbmi_repair_copied(struct qcbmi_repair *r, struct qcbm_error *err);

/* repair_header.c: the marks "dirty" and "corrupt", once all else is well. */
int qcbmi_repair_header_bits(struct qcbmi_repair *r, struct qcbm_error *err);

/* repair_bitmaps.c: all that can be wrong with bitmaps, so that QEMU opens the image and no dirty byte is missing. */
int qcbmi_repair_bitmaps(struct qcbmi_repair *r, struct qcbm_error *err);

#endif
