/* hint.c - the words nearest to one that nobody knows
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <string.h>

#include "cmd.h"
#include "hint.h"

enum { MAX_LETTERS = 31 }; /* of words that are compared */

static size_t smaller(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Letters put in, left out, exchanged, or swapped with their neighbour, to get from @a to @b. */
static size_t distance(const char *a, const char *b)
{
    size_t n = strlen(a), m = strlen(b);
    size_t rows[3][MAX_LETTERS + 1] = { { 0 } };
    size_t *before = rows[0], *last = rows[1], *now = rows[2];

    for (size_t j = 0; j <= m; j++)
        last[j] = j;
    for (size_t i = 1; i <= n; i++) {
        now[0] = i;
        for (size_t j = 1; j <= m; j++) {
            now[j] = smaller(smaller(last[j], now[j - 1]) + 1, last[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                now[j] = smaller(now[j], before[j - 2] + 1);
        }
        size_t *oldest = before;

        before = last;
        last = now;
        now = oldest;
    }
    return last[m];
}

/* More wrong letters than this, and another word was meant. */
static size_t tolerance(size_t letters)
{
    return letters < 4 ? 1 : letters < 9 ? 2 : 3;
}

struct hint hint_of(const char *typed)
{
    return (struct hint){ .typed = typed, .distance = tolerance(strlen(typed)) };
}

void hint_offer(struct hint *hint, const char *word)
{
    size_t len = strlen(hint->typed), d;

    if (len == 0 || len > MAX_LETTERS || strlen(word) > MAX_LETTERS)
        return;
    d = strncmp(word, hint->typed, len) == 0 ? 0 : distance(hint->typed, word); /* the beginning of a word is near */
    if (d > hint->distance || d >= len)
        return;
    if (d < hint->distance)
        hint->n = 0;
    hint->distance = d;
    if (hint->n < HINT_WORDS)
        hint->words[hint->n++] = word;
}

void hint_print(const struct hint *hint, const char *before)
{
    char text[HINT_WORDS * (MAX_LETTERS + 8)] = "";
    size_t len = 0;

    for (size_t i = 0; i < hint->n; i++) {
        const char *link = i == 0 ? "" : i + 1 < hint->n ? ", " : " or ";

        len += (size_t)snprintf(text + len, sizeof text - len, "%s'%s%s'", link, before, hint->words[i]);
    }
    if (hint->n > 0)
        cmd_hint("did you mean %s?", text);
}
