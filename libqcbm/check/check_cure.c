/* check_cure.c - what to do about a problem: the way that keeps all that the image at hand has
 * SPDX-License-Identifier: MIT
 *
 * What QEMU's own repair keeps, tried with 7.2.22 (tests/interop/cures.py tries it again, each way with each kind of
 * image):
 *
 *   - "qemu-img check" with -r opens without the table of snapshots. Whatever makes that open rewrite the header
 *     (bitmaps that get marked in use, a stale extension or an unknown autoclear bit that is dropped) writes "no
 *     snapshots", and what they had is freed as leaked: exit code 0.
 *   - A read-write open of an image with the dirty bit repairs it with that table loaded, and keeps everything.
 *   - With the corrupt bit nothing but "check -r" opens for writing.
 *   - Both free leaked clusters although a damaged pointer stands beside them, whose clusters these may be.
 *   - Bits of bitmaps that are past the end of the file are forgotten by any open for writing.
 *
 * So there is one way for the image as a whole, chosen when all problems are known. */
#include <stdarg.h>
#include <stdio.h>

#include "base/checked.h"
#include "bitmap/bitmap_list.h"
#include "check/check_parts.h"

enum way {
    WAY_CHECK,  /* qemu-img check -r: the only one of which the JSON names the level */
    WAY_OPEN,   /* a read-write open */
    WAY_REPAIR, /* qcbm check -r: QEMU's own would lose something, or does not know how */
    WAY_BITMAPS /* first the problems of the bitmaps themselves */
};

#define OPEN "'qemu-io -f qcow2 -c \"read 0 512\" FILE'"

struct text {
    char *to;
    size_t size, len;
};

__attribute__((format(printf, 2, 3))) static void say(struct text *t, const char *fmt, ...)
{
    va_list args;
    int n;

    va_start(args, fmt);
    n = vsnprintf(t->to + t->len, t->size - t->len, fmt, args);
    va_end(args);
    if (n > 0)
        t->len = (size_t)u64_min(t->len + (size_t)n, t->size - 1);
}

/* ---- the image ---- */

static bool has_snapshots(const struct check *c)
{
    return c->img->h.n_snapshots != 0;
}

/* Bitmaps that QEMU would write, so those in use are none. */
static bool has_bitmaps(const struct check *c)
{
    const struct qcbmi_bitmap_list *list = c->handle->bitmaps;

    for (uint32_t i = 0; !list->stale && i < list->n; i++)
        if (!(list->list[i].d.flags & Q2_BITMAP_IN_USE))
            return true;
    return false;
}

static bool has_stale_features(const struct check *c)
{
    return c->handle->bitmaps->stale || (c->img->h.autoclear & ~Q2_AUTOCLEAR_KNOWN);
}

bool qcbmi_check_repair_loses_snapshots(const struct check *c)
{
    return has_snapshots(c) && (has_bitmaps(c) || has_stale_features(c));
}

/* Damage that no repair of QEMU's mends: what looks leaked beside it may be what it points to no more. */
static bool is_beyond_repair(enum qcbm_problem_id id)
{
    const struct qcbm_problem *rule = qcbm_problem_get(id);

    switch (id) {
    case QCBM_PROBLEM_SNAPSHOT_TABLE:
    case QCBM_PROBLEM_SNAPSHOT_LOST:
    case QCBM_PROBLEM_LOST_TABLE_SUSPECTED:
    case QCBM_PROBLEM_REFTABLE_RESERVED:
    case QCBM_PROBLEM_REFBLOCK_UNALIGNED:
    case QCBM_PROBLEM_REFBLOCK_OUTSIDE: /* the file would be made as long as that */
    case QCBM_PROBLEM_REFBLOCK_REFCOUNT:
    case QCBM_PROBLEM_REFCOUNT_UNREADABLE:
        return true;
    default:
        return rule->repair == QCBM_REPAIR_NONE && rule->severity != QCBM_CHECK_WARNING;
    }
}

static bool is_of_bitmaps(enum qcbm_problem_id id)
{
    const struct qcbm_problem *rule = qcbm_problem_get(id);

    return rule->repair == QCBM_REPAIR_BITMAPS && rule->severity != QCBM_CHECK_WARNING;
}

static bool has_any(const struct check *c, bool (*is)(enum qcbm_problem_id id))
{
    for (unsigned id = 0; id < QCBMI_PROBLEM_COUNT; id++)
        if (c->met[id] && is(id))
            return true;
    return false;
}

/* Stale bitmaps, of which "check -r bitmaps" keeps the names; any repair of QEMU's drops them. */
static bool has_names_to_keep(const struct check *c)
{
    return c->handle->bitmaps->stale && c->img->h.version >= 3;
}

static enum way choose(const struct check *c)
{
    bool loses = qcbmi_check_repair_loses_snapshots(c), bad_bitmaps = has_any(c, is_of_bitmaps) || has_names_to_keep(c);
    uint64_t marks = c->img->h.incompatible & (QCBM_INCOMPAT_CORRUPT | QCBM_INCOMPAT_DIRTY);

    if (has_any(c, is_beyond_repair))
        return WAY_REPAIR;
    if (bad_bitmaps)
        return marks ? WAY_REPAIR : WAY_BITMAPS;
    if (marks == QCBM_INCOMPAT_DIRTY)
        return WAY_OPEN;
    return loses ? WAY_REPAIR : WAY_CHECK;
}

bool qcbmi_check_keeps_leaks(const struct check *c)
{
    return c->r.leaks && (has_any(c, is_beyond_repair) || has_any(c, is_of_bitmaps));
}

enum qcbm_repair_level qcbmi_check_repair_level(const struct check *c, enum qcbm_problem_id id)
{
    enum qcbm_repair_level level = qcbm_problem_get(id)->repair;

    return level != QCBM_REPAIR_BITMAPS && choose(c) == WAY_CHECK ? level : QCBM_REPAIR_NONE;
}

/* Entries whose guest range reads as zeros, without an error. */
static bool reads_as_zeros(enum qcbm_problem_id id)
{
    switch (id) {
    case QCBM_PROBLEM_REFERENCE_PAST_END:
    case QCBM_PROBLEM_REFERENCE_NOWHERE:
    case QCBM_PROBLEM_TABLE_CUT:
    case QCBM_PROBLEM_LOST_TABLE:
    case QCBM_PROBLEM_LOST_TABLE_SUSPECTED:
        return true;
    default:
        return false;
    }
}

/* Entries at which QEMU's programs give up reading. */
static bool is_unreadable(enum qcbm_problem_id id)
{
    switch (id) {
    case QCBM_PROBLEM_L1_UNALIGNED:
    case QCBM_PROBLEM_L2_COMPRESSED_COPIED:
    case QCBM_PROBLEM_L2_DATA_UNALIGNED:
    case QCBM_PROBLEM_L2_PREALLOC_UNALIGNED:
    case QCBM_PROBLEM_L2_SUBCLUSTERS:
    case QCBM_PROBLEM_L2_VERSION_2_ZERO:
    case QCBM_PROBLEM_L2_DATA_FILE_OFFSET:
        return true;
    default:
        return false;
    }
}

/* ---- the words ---- */

static bool is_corruption(enum qcbm_problem_id id)
{
    return qcbm_problem_get(id)->severity == QCBM_CHECK_CORRUPTION || id == QCBM_PROBLEM_HEADER_CORRUPT_BIT;
}

static void say_copy(const struct check *c, struct text *t)
{
    say(t, "leave the file as it is, and read it out: 'qemu-img convert -f qcow2 -O qcow2 FILE COPY'");
    if (c->img->backing_file)
        say(t, " (with '-B BACKING -F FORMAT' the copy stays an overlay)");
    if (has_snapshots(c) && !c->met[QCBM_PROBLEM_SNAPSHOT_LOST])
        say(t, ", 'qemu-img convert -f qcow2 -O qcow2 -l SNAPSHOT FILE COPY-OF-SNAPSHOT' for each snapshot");
    if (has_bitmaps(c))
        say(t, ", 'qcbm bitmap --export OUT FILE BITMAP' and 'qcbm bitmap --import OUT COPY BITMAP' for each bitmap");
    if (has_any(c, is_unreadable))
        say(t, "; it stops at a guest cluster that cannot be read");
    if (has_any(c, reads_as_zeros))
        say(t, "; the copy has zeros, without an error, where what is lost was mapped: restore that from a backup");
}

/* What force takes: each part of it has a rule by which the repair refuses. */
static void say_given_up(const struct check *c, struct text *t)
{
    const char *link = "";

    if (qcbmi_check_gives_up_snapshots(c)) {
        say(t, "the snapshots that cannot be read");
        link = ", ";
    }
    if (c->r.lost_tables || qcbmi_check_has_disputed(c)) {
        say(t, "%sleaked clusters that may be somebody's data", link);
        link = ", ";
    }
    if (qcbmi_check_leads_nowhere(c) || !*link)
        say(t, "%sguest ranges whose entries lead nowhere, which then read as zeros", link);
}

/* The way where a repair of all refuses. */
static void say_resort(const struct check *c, struct text *t, bool forced)
{
    say(t, "'qcbm rescue FILE -o NEW' writes what can be found to a new image, and leaves this one as it is");
    if (!forced)
        return;
    say(t, "; or take a copy, and 'qcbm check -r all --force FILE' gives up ");
    say_given_up(c, t);
}

/* A repair at @level, and what it does, where it is not refused. */
static void say_repair(const struct check *c, struct text *t, const char *level, const char *outcome)
{
    switch (qcbmi_check_refusal(c)) {
    case CHECK_NOT_REFUSED:
        say(t, "'qcbm check -r %s FILE'%s", level, outcome);
        break;
    case CHECK_REFUSED_PERHAPS:
        say(t, "'qcbm check -r %s FILE'%s; where it refuses, or what is left leads nowhere, ", level, outcome);
        say_resort(c, t, true);
        break;
    case CHECK_REFUSED:
        say(t, "this cannot be repaired without loss; ");
        say_resort(c, t, true);
        break;
    case CHECK_REFUSED_EVER:
        say(t, "no repair does it; ");
        say_resort(c, t, false);
        break;
    }
}

static void say_way(const struct check *c, struct text *t)
{
    const char *level = has_any(c, is_corruption) || has_any(c, is_beyond_repair) ? "all" : "leaks";

    switch (choose(c)) {
    case WAY_CHECK:
        say(t, "'qemu-img check -r %s FILE'", level);
        break;
    case WAY_OPEN:
        say(t, OPEN ": when it is opened for writing QEMU repairs it, and keeps snapshots and bitmaps");
        break;
    case WAY_REPAIR:
        say_repair(c, t, level, ": it keeps snapshots and bitmaps, and with '--undo UNDO' can be taken back");
        break;
    case WAY_BITMAPS:
        say(t, "first solve the problems of the bitmaps, then check again: as they are, a repair would lose bits");
        break;
    }
}

static void say_of_leaks(const struct check *c, struct text *t)
{
    if (qcbmi_check_keeps_leaks(c))
        say(t, "do not free them: they may be what another problem here has cut off; solve that one first");
    else
        say_way(c, t);
}

static void say_of_bitmaps(const struct check *c, struct text *t, const char *outcome)
{
    if (qcbmi_check_refuses_bitmaps(c)) {
        say(t, "with the rest of the image, which is damaged, too: ");
        say_repair(c, t, "all", "");
    } else if (c->img->h.version < 3)
        say(t, "'qemu-img amend -f qcow2 -o compat=1.1 FILE', which drops the bitmaps");
    else
        say(t, "'qcbm check -r bitmaps FILE' %s", outcome);
}

/* A name that a shell takes as it is, and that is no option. */
static bool is_plain_name(const char *name)
{
    static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";

    return name[0] && name[0] != '-' && name[strspn(name, plain)] == '\0';
}

static void say_revive(const struct check *c, struct text *t)
{
    const struct qcbmi_bitmap_list *list = c->handle->bitmaps;
    const struct qcbmi_bitmap *one = NULL;
    uint32_t n = 0;

    for (uint32_t i = 0; i < list->n; i++)
        if (list->list[i].d.flags & Q2_BITMAP_IN_USE) {
            one = &list->list[i];
            n++;
        }
    if (n > 1)
        say(t, "'qcbm bitmap --revive-all FILE'");
    else
        say(t, "'qcbm bitmap --revive FILE %s'", one && is_plain_name(one->name) ? one->name : "BITMAP");
}

static void say_of_bitmap_in_use(const struct check *c, struct text *t)
{
    if (c->g->raw_data_file) {
        say(t, "%s", qcbm_problem_get(QCBM_PROBLEM_BITMAP_IN_USE)->cure);
        return;
    }
    if (qcbmi_check_refuses_bitmaps(c)) {
        say(t, "with the rest of the image, which is damaged, and may not tell all that a guest wrote: ");
        say_repair(c, t, "all", "");
        return;
    }
    say_revive(c, t);
    say(t,
        " makes it cover all that was stored of it and all that the image has allocated: no less than it had, unless "
        "the image was committed and emptied; or wait for the program that uses it");
    if (c->img->backing_file)
        say(t, " (qcbm synth --replace does the same in an overlay)");
}

static void say_of_stale_bitmaps(const struct check *c, struct text *t)
{
    if (c->img->h.version < 3)
        say(t, "'qemu-img amend -f qcow2 -o compat=1.1 FILE', which drops them and leaves what they had as leaked "
               "clusters; then check again, and make new bitmaps");
    else
        say(t, "%s", qcbm_problem_get(QCBM_PROBLEM_BITMAPS_STALE)->cure);
}

/* What a repair of the bitmaps does about @id; NULL if it does nothing. */
static const char *mended_bitmaps(enum qcbm_problem_id id)
{
    switch (id) {
    case QCBM_PROBLEM_BITMAPS_AUTOCLEAR_ALONE:
        return "clears that bit";
    case QCBM_PROBLEM_BITMAP_DIRECTORY_BROKEN:
        return "keeps all bitmaps that can be read in it, and tells which are gone";
    case QCBM_PROBLEM_BITMAP_NAME_DUPLICATE:
        return "makes one bitmap of the two, with the dirty bits of both";
    case QCBM_PROBLEM_BITMAP_NAME_UNREACHABLE:
        return "gives it a name that can be said, and keeps its bits";
    case QCBM_PROBLEM_BITMAP_ENTRY_CONSTRAINT:
    case QCBM_PROBLEM_BITMAP_TABLE_SHARED:
    case QCBM_PROBLEM_BITMAP_TABLE_ENTRY:
    case QCBM_PROBLEM_BITMAP_TABLE_PAST_END:
    case QCBM_PROBLEM_BITMAP_TABLE_SIZE:
    case QCBM_PROBLEM_BITMAP_DATA_PAST_END:
    case QCBM_PROBLEM_BITMAP_DATA_SHARED:
    case QCBM_PROBLEM_BITMAP_UNREADABLE:
        return "keeps the bits that can be proven, and makes the others dirty; a backup by it copies more, and misses "
               "nothing";
    default:
        return NULL;
    }
}

/* What the disk has lost a snapshot may still have: it has tables of its own. */
static void say_of_lost(const struct check *c, struct text *t, enum qcbm_problem_id id)
{
    say(t, "%s; 'qcbm rescue FILE -o NEW' looks for it in the file, and writes what it finds to a new image",
        qcbm_problem_get(id)->cure);
    if (has_snapshots(c) && !c->met[QCBM_PROBLEM_SNAPSHOT_LOST])
        say(t, "; a snapshot may still have it, 'qemu-img convert -f qcow2 -O qcow2 -l SNAPSHOT FILE COPY-OF-SNAPSHOT' "
               "for each snapshot");
}

/* Nothing hangs on them that could be lost: the way that keeps most of this image is theirs. */
static bool has_no_cure_of_its_own(enum qcbm_problem_id id)
{
    switch (id) {
    case QCBM_PROBLEM_L2_PREALLOC_UNALIGNED:
    case QCBM_PROBLEM_REFTABLE_RESERVED:
    case QCBM_PROBLEM_REFBLOCK_UNALIGNED:
    case QCBM_PROBLEM_REFBLOCK_OUTSIDE:
    case QCBM_PROBLEM_REFBLOCK_REFCOUNT:
    case QCBM_PROBLEM_REFCOUNT_UNREADABLE:
    case QCBM_PROBLEM_REFCOUNT_TOO_LOW:
    case QCBM_PROBLEM_REFCOUNT_ZERO:
    case QCBM_PROBLEM_COPIED_L1:
    case QCBM_PROBLEM_COPIED_L2:
    case QCBM_PROBLEM_HEADER_CORRUPT_BIT:
    case QCBM_PROBLEM_HEADER_DIRTY_BIT:
        return true;
    default:
        return false;
    }
}

static bool loses_a_range(enum qcbm_problem_id id)
{
    return id == QCBM_PROBLEM_TABLE_CUT || id == QCBM_PROBLEM_TABLE_OVERWRITTEN || id == QCBM_PROBLEM_LOST_TABLE ||
           id == QCBM_PROBLEM_LOST_TABLE_SUSPECTED || id == QCBM_PROBLEM_REFERENCE_PAST_END ||
           id == QCBM_PROBLEM_REFERENCE_NOWHERE;
}

/* Of kinds that have one cure, or one of two. */
static void say_of_kind(const struct check *c, struct text *t, enum qcbm_problem_id id)
{
    if (has_no_cure_of_its_own(id))
        say_way(c, t);
    else if (loses_a_range(id))
        say_of_lost(c, t, id);
    else if (mended_bitmaps(id))
        say_of_bitmaps(c, t, mended_bitmaps(id));
    else
        say(t, "%s", qcbm_problem_get(id)->cure);
}

void qcbmi_check_cure(const struct check *c, enum qcbm_problem_id id, char *to, size_t size)
{
    struct text t = { to, size, 0 };

    to[0] = '\0';
    switch (id) {
    case QCBM_PROBLEM_CLUSTER_LEAKED:
        say_of_leaks(c, &t);
        break;
    case QCBM_PROBLEM_L1_RESERVED:
        say(&t, "restore the entry from a copy, or ");
        say_copy(c, &t);
        break;
    case QCBM_PROBLEM_REFCOUNT_OVERFLOW:
        say(&t, "widen the refcounts, 'qemu-img amend -f qcow2 -o refcount_bits=64 FILE', or ");
        say_copy(c, &t);
        break;
    case QCBM_PROBLEM_SNAPSHOT_INCOMPLETE:
        if (c->met[QCBM_PROBLEM_SNAPSHOT_LOST])
            say(&t, "see snapshot-lost");
        else
            say_way(c, &t);
        break;
    case QCBM_PROBLEM_SNAPSHOT_TABLE:
        say(&t, "take a copy of the image; 'qcbm check -r all --force FILE' then keeps bitmaps and the snapshots that "
                "can be read, and gives up the others");
        break;
    case QCBM_PROBLEM_BITMAP_IN_USE:
        say_of_bitmap_in_use(c, &t);
        break;
    case QCBM_PROBLEM_BITMAPS_STALE:
        say_of_stale_bitmaps(c, &t);
        break;
    default:
        say_of_kind(c, &t, id);
    }
}
