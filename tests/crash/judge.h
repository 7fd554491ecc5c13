/* judge.h - what a crash state is worth: old, new, or what it has lost
 * SPDX-License-Identifier: MIT */
#ifndef TESTS_JUDGE_H
#define TESTS_JUDGE_H

#include "guest.h"
#include "look.h"

enum verdict { /* the worst comes first: a state has one verdict */
               VERDICT_UNOPENABLE,
               VERDICT_GUEST,   /* guest content, a name, a snapshot or a foreign extension differs */
               VERDICT_UNNAMED, /* a bitmap that was not named is lost, inconsistent, or differs */
               VERDICT_BETWEEN, /* the named bitmaps are neither all old nor all new */
               VERDICT_CORRUPT, /* the check finds corruptions or damage, or no bitmap could be added any more */
               VERDICT_OLD,
               VERDICT_NEW,
               VERDICTS
};

extern const char *const verdict_names[VERDICTS];

struct judge {
    const char *named; /* bitmaps that the operation is about, each followed by a comma; "*" = all */
    struct look before, after;
    struct guest guest;
    uint64_t leaking_states, most_leaks; /* of the states judged so far */
};

/* @start must outlive the judge. false: one of the two is not a sound image, @why says why. */
bool judge_begin(struct judge *j, const char *named, const uint8_t *start, size_t start_len, const uint8_t *end,
                 size_t end_len, const char **why);
enum verdict judge_state(struct judge *j, const uint8_t *bytes, size_t len, const char **why);
bool judge_sees_change(const struct judge *j); /* do old and new state differ? */
void judge_end(struct judge *j);

#endif
