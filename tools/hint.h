/* hint.h - the words nearest to one that nobody knows
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_HINT_H
#define QCBM_TOOL_HINT_H

#include <stddef.h>

enum { HINT_WORDS = 6 };

struct hint {
    const char *typed;
    size_t distance;               /* of the words so far */
    const char *words[HINT_WORDS]; /* all of that distance */
    size_t n;
};

/* @typed must outlive the hint, as must the words offered. */
struct hint hint_of(const char *typed);
/* One more word that would have been known. Those that are far off are forgotten. */
void hint_offer(struct hint *hint, const char *word);
/* "qcbm: hint: did you mean '--add'?" on stderr, with @before in front of each word (at most two bytes); nothing if no
 * word is near. */
void hint_print(const struct hint *hint, const char *before);

#endif
