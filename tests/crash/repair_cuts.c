/* repair_cuts.c - every state that a cut of a repair can leave can be repaired to the end that the repair would have
 * had
 * SPDX-License-Identifier: MIT
 *
 * usage: repair_cuts RANDOM IMAGE...
 *
 * Each image is damaged. What mends it, each verb of repair_verbs.c, is recorded; states.c builds what a cut could
 * leave, with RANDOM random subsets for each stretch between two flushes; each state must open and be repaired, without
 * a finding of the check left, to the same disk and the same bitmaps. None has a cluster in use that counts as free and
 * did not before, unless it is marked corrupt: the next program that writes to it would take that cluster. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io_record.h"
#include "look.h"
#include "part.h"
#include "repair_verbs.h"
#include "states.h"

#define PIECE 65536u
#define MAX_UNCOUNTED 65536u
#define MAX_STATES 300u /* of an image, unless very many are asked for */

/* What an image says once it is repaired. */
struct end {
    uint64_t disk;
    struct look look;
};

/* Clusters in use that count as free, in order. */
struct uncounted {
    uint64_t list[MAX_UNCOUNTED];
    size_t n;
    bool outside; /* the refcount table leads behind the end of the file, so a longer one has such clusters by itself */
};

struct run {
    const char *image;
    const struct repair_verb *verb;
    struct end end;
    unsigned flags;          /* none if that leaves nothing to repair, else force */
    struct uncounted before; /* in the damaged image, */
    size_t len;              /* which is as long as that */
    uint64_t marked;         /* states that are marked corrupt */
    uint64_t n, max;         /* states that were repaired; 0: as many as there are */
    uint64_t untouched;      /* states in which nothing was left to repair */
};

static _Noreturn void bad(const struct run *r, const char *what, const char *why)
{
    char text[512];

    snprintf(text, sizeof(text), "%s, %s, %s", r->image, r->verb->name, what);
    look_fail(text, why);
}

static uint64_t hash(uint64_t h, const uint8_t *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        h = (h ^ bytes[i]) * UINT64_C(0x100000001b3);
    return h;
}

static uint64_t hash_disk(const struct run *r, struct qcbm_image *img, const char *what)
{
    static uint8_t piece[PIECE], zeros[PIECE];
    struct qcbm_image_info info;
    struct qcbm_error err;
    uint64_t h = 0;

    qcbm_image_get_info(img, &info, sizeof(info));
    for (uint64_t at = 0; at < info.virtual_size; at += PIECE) {
        size_t len = (size_t)(info.virtual_size - at < PIECE ? info.virtual_size - at : PIECE);

        if (qcbm_read(img, at, piece, len, 0, &err) < 0) {
            if (r->verb->is_whole)
                bad(r, what, err.message);
            memset(piece, '?', len); /* as before: not every verb mends the disk */
        }
        if (memcmp(piece, zeros, len) != 0)
            h = hash(h ^ at, piece, len);
    }
    return h;
}

static void check_clean(const struct run *r, struct qcbm_image *img, const char *what)
{
    struct qcbm_check_result found;
    struct qcbm_error err;

    if (qcbm_check(img, NULL, &found, sizeof(found), &err) < 0)
        bad(r, what, err.message);
    if (found.corruptions + found.leaks + found.check_errors + found.damages)
        bad(r, what, "something is left to repair");
}

static int note_uncounted(void *opaque, const struct qcbm_check_finding *f)
{
    struct uncounted *u = opaque;

    u->outside |= f->problem->id == QCBM_PROBLEM_REFBLOCK_OUTSIDE;
    if (f->problem->id == QCBM_PROBLEM_REFCOUNT_ZERO && u->n < MAX_UNCOUNTED)
        u->list[u->n++] = f->offset;
    return 0;
}

static void find_uncounted(const struct run *r, struct qcbm_image *img, const char *what, struct uncounted *u)
{
    struct qcbm_check_options o = QCBM_CHECK_OPTIONS_INIT;
    struct qcbm_check_result found;
    struct qcbm_error err;

    u->n = 0;
    o.finding = note_uncounted;
    o.opaque = u;
    if (qcbm_check(img, &o, &found, sizeof(found), &err) < 0)
        bad(r, what, err.message);
}

/* Is what another program would take for free free, or is the state marked so that none does? */
static void check_counted(struct run *r, struct qcbm_image *img, const char *what)
{
    static struct uncounted now;
    struct qcbm_image_info info;
    size_t k = 0;

    qcbm_image_get_info(img, &info, sizeof(info));
    if (info.incompatible_features & QCBM_INCOMPAT_CORRUPT) {
        r->marked++;
        return;
    }
    find_uncounted(r, img, what, &now);
    for (size_t i = 0; i < now.n; i++) {
        while (k < r->before.n && r->before.list[k] < now.list[i])
            k++;
        if ((k == r->before.n || r->before.list[k] != now.list[i]) && !(r->before.outside && now.list[i] >= r->len))
            bad(r, what, "a cluster in use counts as free, and did not before");
    }
}

/* Repair what is in @record, and look at it. Returns whether anything was written; the damaged image may be refused. */
static bool repair(struct run *r, struct record *record, const char *what, struct end *end)
{
    size_t len, events = record->n;
    struct qcbm_image *img;
    struct qcbm_error err;
    const void *bytes;
    int ret;

    if (qcbm_open_io(record_ops(), record, QCBM_OPEN_WRITE, &img, &err) < 0)
        bad(r, what, err.message);
    if (end == &r->end)
        find_uncounted(r, img, what, &r->before);
    else
        check_counted(r, img, what);
    ret = r->verb->run(img, r->flags, &err);
    if (ret < 0 && (r->verb->is_whole || end != &r->end))
        bad(r, what, err.message);
    if (r->verb->is_whole)
        check_clean(r, img, what);
    end->disk = hash_disk(r, img, what);
    qcbm_close(img);
    bytes = qcbm_mem_data(record->mem, &len);
    if (!look_at(bytes, len, &end->look))
        bad(r, what, "does not open");
    return record->n > events;
}

/* Is nothing left of it when it was repaired without force? */
static bool is_repaired_at_once(const uint8_t *bytes, size_t len)
{
    struct qcbm_repair_result result;
    struct qcbm_check_result found;
    struct qcbm_image *img;
    struct qcbm_mem *mem;
    bool clean;

    if (qcbm_mem_new(bytes, len, &mem, NULL) < 0 || qcbm_open_io(qcbm_mem_ops(), mem, QCBM_OPEN_WRITE, &img, NULL) < 0)
        return false;
    clean = qcbm_repair(img, NULL, &result, sizeof(result), NULL) == 0 &&
            qcbm_check(img, NULL, &found, sizeof(found), NULL) == 0 &&
            found.corruptions + found.leaks + found.check_errors + found.damages == 0;
    qcbm_close(img);
    return clean;
}

static bool same_bitmaps(const struct look *a, const struct look *b)
{
    for (uint32_t i = 0; i < a->n; i++) {
        const struct look_bitmap *other = look_find(b, a->bitmaps[i].name);

        if (!other || other->flags != a->bitmaps[i].flags || other->hash != a->bitmaps[i].hash)
            return false;
    }
    return a->n == b->n && a->names == b->names;
}

static int repair_state(void *opaque, const uint8_t *bytes, size_t len, const char *what)
{
    struct run *r = opaque;
    struct record *record = record_new(bytes, len);
    struct end end;

    r->untouched += !repair(r, record, what, &end);
    if (end.disk != r->end.disk)
        bad(r, what, "another disk than without the cut");
    if (!same_bitmaps(&end.look, &r->end.look))
        bad(r, what, "other bitmaps than without the cut");
    record_free(record);
    return ++r->n == r->max;
}

static void try_verb(const char *name, const struct repair_verb *verb, unsigned random_subsets,
                     struct states_count *total)
{
    static struct run r;
    struct states_count count;
    size_t len;
    uint8_t *bytes = look_read_file(name, &len);
    struct record *record = record_new(bytes, len);

    memset(&r, 0, sizeof(r));
    r.image = name;
    r.verb = verb;
    r.len = len;
    r.flags = is_repaired_at_once(bytes, len) ? 0 : QCBM_REPAIR_FORCE;
    r.max = random_subsets < 100 ? MAX_STATES : 0;
    if (!repair(&r, record, "repair", &r.end)) {
        if (verb->is_whole)
            bad(&r, "repair", "there is nothing to repair");
        record_free(record);
        free(bytes);
        return;
    }
    states_walk(&(struct states_source){ bytes, len, record->events, record->n, random_subsets, 1 }, repair_state, &r,
                &count);
    if (r.n != r.max && !verb->repeats && (r.untouched == 0 || r.untouched == count.distinct))
        bad(&r, "states", "old and new state were not both seen");
    printf("%s, %s: %" PRIu64 " states, %" PRIu64 " distinct, %" PRIu64 " with nothing left to repair, %" PRIu64
           " marked corrupt%s\n",
           name, verb->name, count.built, count.distinct, r.untouched, r.marked, r.flags ? ", by force" : "");
    total->built += count.built;
    total->distinct += count.distinct;
    record_free(record);
    free(bytes);
}

static void try_image(const char *name, unsigned random_subsets, struct states_count *total)
{
    bool bitmaps = strstr(name, "bitmap") != NULL;

    for (size_t i = 0; i < repair_n_verbs; i++)
        if (repair_verbs[i].is_whole || bitmaps || !repair_verbs[i].of_bitmaps)
            try_verb(name, &repair_verbs[i], random_subsets, total);
}

int main(int argc, char **argv)
{
    struct states_count total = { 0 };

    if (argc < 3)
        look_fail("usage", "repair_cuts RANDOM IMAGE...");
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 2; i < argc; i++)
        if (test_takes((unsigned)i))
            try_image(argv[i], (unsigned)strtoul(argv[1], NULL, 10), &total);
    printf("%d images: %" PRIu64 " states, %" PRIu64 " of them distinct and repaired\n", argc - 2, total.built,
           total.distinct);
    return total.distinct ? 0 : 1;
}
