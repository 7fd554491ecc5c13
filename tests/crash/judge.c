/* judge.c - what a crash state is worth: old, new, or what it has lost
 * SPDX-License-Identifier: MIT */
#include "judge.h"

#include <stdio.h>
#include <string.h>

#include "qcbm-io.h"

const char *const verdict_names[VERDICTS] = {
    "does not open", "guest content", "unnamed bitmap", "in between", "corruption", "old", "new",
};

static bool is_named(const struct judge *j, const char *name)
{
    char key[72];

    snprintf(key, sizeof(key), "%s,", name);
    return strcmp(j->named, "*") == 0 || strstr(j->named, key) != NULL;
}

static bool same_bitmap(const struct look_bitmap *a, const struct look_bitmap *b)
{
    if (!a || !b)
        return a == b;
    return a->hash == b->hash && a->flags == b->flags;
}

/* Are the named bitmaps all as in @as? */
static bool named_as(const struct judge *j, const struct look *now, const struct look *as)
{
    for (uint32_t i = 0; i < now->n; i++)
        if (is_named(j, now->bitmaps[i].name) && !same_bitmap(&now->bitmaps[i], look_find(as, now->bitmaps[i].name)))
            return false;
    for (uint32_t i = 0; i < as->n; i++)
        if (is_named(j, as->bitmaps[i].name) && !look_find(now, as->bitmaps[i].name))
            return false;
    return true;
}

/* All others are there as before, and no further one is. */
static bool is_as(const struct judge *j, const struct look *now, const struct look *as)
{
    return named_as(j, now, as) && strcmp(now->tag, as->tag) == 0;
}

/* The last step: the old one may stand beside bitmaps that are new. */
static bool tag_is_right(const struct judge *j, const struct look *now)
{
    return strcmp(now->tag, j->before.tag) == 0 || is_as(j, now, &j->after);
}

static bool unnamed_are_same(const struct judge *j, const struct look *now)
{
    for (uint32_t i = 0; i < j->before.n; i++) {
        const struct look_bitmap *b = &j->before.bitmaps[i];

        if (!is_named(j, b->name) && !same_bitmap(b, look_find(now, b->name)))
            return false;
    }
    for (uint32_t i = 0; i < now->n; i++)
        if (!is_named(j, now->bitmaps[i].name) && !look_find(&j->before, now->bitmaps[i].name))
            return false;
    return true;
}

/* What the check says, in @text; NULL if it finds nothing but leaks. */
static const char *check(const uint8_t *bytes, size_t len, uint64_t *leaks)
{
    struct qcbm_check_result r = { 0 };
    struct qcbm_image *img;
    struct qcbm_mem *mem;
    static struct qcbm_error err;

    if (qcbm_mem_new(bytes, len, &mem, &err) < 0 || qcbm_open_io(qcbm_mem_ops(), mem, 0, &img, &err) < 0)
        return err.message;
    if (qcbm_check(img, NULL, &r, sizeof(r), &err) < 0) {
        qcbm_close(img);
        return err.message;
    }
    qcbm_close(img);
    *leaks = r.leaks;
    if (r.check_errors)
        return "something cannot be checked";
    if (r.corruptions)
        return "the check finds corruptions";
    return r.damages ? "the check finds damage" : NULL;
}

static enum verdict is(enum verdict verdict, const char *reason, const char **why)
{
    *why = reason;
    return verdict;
}

enum verdict judge_state(struct judge *j, const uint8_t *bytes, size_t len, const char **why)
{
    const char *problem;
    uint64_t leaks = 0;
    struct look now;

    if (!look_at(bytes, len, &now))
        return is(VERDICT_UNOPENABLE, "it does not open", why);
    if (now.names != j->before.names)
        return is(VERDICT_GUEST, "a name or a foreign extension changed", why);
    if (!guest_is_same(&j->guest, bytes, len))
        return is(VERDICT_GUEST, "guest data, its tables, the header or a snapshot changed", why);
    if (now.synth_ok && (now.dirty != j->before.dirty || now.damaged != j->before.damaged))
        return is(VERDICT_GUEST, "the allocation changed", why);
    if (!unnamed_are_same(j, &now))
        return is(VERDICT_UNNAMED, "a bitmap that was not named changed", why);
    if (!named_as(j, &now, &j->before) && !named_as(j, &now, &j->after))
        return is(VERDICT_BETWEEN, "the named bitmaps are neither all old nor all new", why);
    if (!tag_is_right(j, &now))
        return is(VERDICT_BETWEEN, "the tag is neither old nor new, or new before the bitmaps are", why);
    problem = check(bytes, len, &leaks);
    if (problem)
        return is(VERDICT_CORRUPT, problem, why);
    if (!now.synth_ok || !now.plan_ok)
        return is(VERDICT_CORRUPT, "no bitmap can be added any more", why);
    if (now.errors != j->before.errors)
        return is(VERDICT_CORRUPT, "there is a new finding", why);
    j->leaking_states += leaks > 0;
    j->most_leaks = leaks > j->most_leaks ? leaks : j->most_leaks;
    *why = "";
    return is_as(j, &now, &j->after) ? VERDICT_NEW : VERDICT_OLD;
}

bool judge_begin(struct judge *j, const char *named, const uint8_t *start, size_t start_len, const uint8_t *end,
                 size_t end_len, const char **why)
{
    *j = (struct judge){ .named = named };
    guest_find(&j->guest, start, start_len);
    if (!look_at(start, start_len, &j->before) || !look_at(end, end_len, &j->after)) {
        *why = "it does not open before or after the operation";
        return false;
    }
    if (judge_state(j, start, start_len, why) < VERDICT_OLD)
        return false;
    if (judge_state(j, end, end_len, why) != VERDICT_NEW)
        return false;
    return true;
}

bool judge_sees_change(const struct judge *j)
{
    return !is_as(j, &j->after, &j->before);
}

void judge_end(struct judge *j)
{
    guest_free(&j->guest);
}
