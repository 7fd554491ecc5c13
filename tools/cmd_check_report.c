/* cmd_check_report.c - what qcbm check finds: told on stderr as it comes, and kept for the totals and JSON
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "cmd_check.h"
#include "colour.h"
#include "qemu_text.h"

enum { MAX_LISTED = 4096 /* of a kind */, MAX_AGAIN = 16 << 20 /* bytes */ };

int check_report_kind(void *opaque, const struct qcbm_check_kind *kind)
{
    struct check_report *r = opaque;
    struct check_kind *to = &r->kinds[r->n_kinds];

    r->strict |= kind->problem->strict;
    if (r->n_kinds == CHECK_MAX_KINDS)
        return 0;
    *to = (struct check_kind){ kind->problem, kind->count, strdup(kind->cure), kind->repair };
    r->n_kinds += to->cure != NULL;
    return 0;
}

/* How many findings of the problem there were before. */
static uint64_t number_of(struct check_report *r, const struct qcbm_problem *problem)
{
    return (unsigned)problem->id < CHECK_MAX_KINDS ? r->seen[problem->id]++ : MAX_LISTED;
}

static bool make_room(struct check_report *r)
{
    size_t capacity = r->listed_capacity ? 2 * r->listed_capacity : 64;
    struct check_listed *grown;

    if (r->n_listed < r->listed_capacity)
        return true;
    grown = realloc(r->listed, capacity * sizeof grown[0]);
    if (!grown)
        return false;
    r->listed = grown;
    r->listed_capacity = capacity;
    return true;
}

/* Keep it for the JSON, which begins with the totals. Very many of one kind do not push out the others. */
static void list_finding(struct check_report *r, const struct qcbm_check_finding *f)
{
    char *message = number_of(r, f->problem) < MAX_LISTED && make_room(r) ? strdup(f->message) : NULL;

    if (message)
        r->listed[r->n_listed++] = (struct check_listed){ *f, message };
    else
        r->left_out++;
}

/* In qemu-img's words, of which the first says how bad it is. */
static void print_line(const char *text, enum tone tone)
{
    size_t word = strcspn(text, " :");

    colour_put(stderr, tone, text, word);
    print_escaped(stderr, text + word, strlen(text + word));
    fputc('\n', stderr);
}

/* Does a repair of @level deal with it? */
static bool is_mended(enum qcbm_repair_level level, const struct qcbm_problem *problem)
{
    return level != QCBM_REPAIR_NONE && (problem->repair == level || (level == QCBM_REPAIR_ALL && problem->repair));
}

/* QEMU tells of what it repairs in another first word. */
static void print_repairing(const char *message)
{
    static const char *const words[] = { "ERROR", "Leaked" };
    char line[512];

    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
        if (strncmp(message, words[i], strlen(words[i])) == 0)
            message += strlen(words[i]);
    snprintf(line, sizeof line, "Repairing%s%s", *message == ' ' ? "" : " ", message);
    print_line(line, TONE_NOTE);
}

static bool is_refcount(uint32_t id)
{
    return id == QCBM_PROBLEM_CLUSTER_LEAKED || id == QCBM_PROBLEM_REFCOUNT_TOO_LOW || id == QCBM_PROBLEM_REFCOUNT_ZERO;
}

static bool is_copied(uint32_t id)
{
    return id == QCBM_PROBLEM_COPIED_L1 || id == QCBM_PROBLEM_COPIED_L2;
}

static void keep_for_again(struct check_report *r, const char *message)
{
    size_t n = strlen(message) + 1;

    if (r->again_len + n > MAX_AGAIN)
        return;
    if (r->again_len + n > r->again_capacity) {
        char *grown = realloc(r->again, 2 * (r->again_len + n));

        if (!grown)
            return;
        r->again = grown;
        r->again_capacity = 2 * (r->again_len + n);
    }
    memcpy(r->again + r->again_len, message, n);
    r->again_len += n;
}

void check_report_again(struct check_report *r, const char *word)
{
    for (size_t at = 0; at < r->again_len; at += strlen(r->again + at) + 1)
        if (strncmp(r->again + at, word, strlen(word)) == 0)
            print_repairing(r->again + at);
}

/* Is it told in QEMU's word for what it repairs? Refcounts are told twice, see check_report_again(). */
static bool tells_repair(struct check_report *r, const struct qcbm_check_finding *f)
{
    const struct qcbm_problem *problem = f->problem;

    if (r->repairs != QCBM_REPAIR_NONE && is_refcount(problem->id))
        keep_for_again(r, f->message);
    if (problem->severity == QCBM_CHECK_CORRUPTION || problem->severity == QCBM_CHECK_FAULT)
        r->others |= !is_copied(problem->id);
    if (is_refcount(problem->id))
        return false;
    if (r->repairs == QCBM_REPAIR_LEAKS && is_copied(problem->id))
        return !r->others;
    return is_mended(r->repairs, problem);
}

static void tell(struct check_report *r, const struct qcbm_check_finding *f)
{
    size_t again_len = r->again_len;
    bool repairs = tells_repair(r, f);

    if (!r->all && f->number > QCBM_CHECK_MANY) { /* there is a line for all of them */
        r->again_len = again_len;
        return;
    }
    if (f->problem->id == QCBM_PROBLEM_SNAPSHOT_TABLE) {
        r->stays_silent = true;
        cmd_error("%s", f->message);
    } else if (f->problem->qemu_text && repairs) {
        print_repairing(f->message);
    } else if (f->problem->qemu_text) {
        print_line(f->message, f->problem->severity == QCBM_CHECK_LEAK ? TONE_WARNING : TONE_ERROR);
        if (f->hint)
            print_line(f->hint, TONE_PLAIN);
    } else if (f->problem->severity == QCBM_CHECK_WARNING) {
        cmd_warning("[%s] %s", f->problem->code, f->message);
    } else {
        cmd_error("error: [%s] %s", f->problem->code, f->message);
    }
}

int check_report_finding(void *opaque, const struct qcbm_check_finding *f)
{
    struct check_report *r = opaque;

    if (r->json || r->later)
        list_finding(r, f);
    if (!r->later)
        tell(r, f);
    return 0;
}

void check_report_tell(struct check_report *r)
{
    for (size_t i = 0; i < r->n_listed; i++) {
        struct qcbm_check_finding f = r->listed[i].f;

        f.message = r->listed[i].message;
        tell(r, &f);
    }
}

int check_report_summary(void *opaque, const struct qcbm_check_summary *summary)
{
    struct check_report *r = opaque;

    if (r->n_sums == r->sums_capacity) {
        size_t capacity = r->sums_capacity ? 2 * r->sums_capacity : 16;
        struct qcbm_check_summary *grown = realloc(r->sums, capacity * sizeof grown[0]);

        if (!grown)
            return 1;
        r->sums = grown;
        r->sums_capacity = capacity;
    }
    r->sums[r->n_sums++] = *summary;
    return 0;
}

static void tell_sum(const struct qcbm_check_summary *s)
{
    static const char *const causes[] = { "", "; likely zeroed", "; likely overwritten",
                                          "; likely the file was cut, or the table overwritten" };

    fprintf(stderr, "qcbm: %" PRIu64 " times [%s]", s->count, s->problem->code);
    if (s->table)
        fprintf(stderr, " in the %s at 0x%" PRIx64, s->table, s->offset);
    if (s->guest_length)
        fprintf(stderr, ", guest 0x%" PRIx64 " - 0x%" PRIx64, s->guest_offset, s->guest_offset + s->guest_length);
    if (s->guest_length && s->snapshot != UINT32_MAX)
        fprintf(stderr, " of snapshot %" PRIu32, s->snapshot);
    if (s->file_length)
        fprintf(stderr, ", for the file from 0x%" PRIx64 " to 0x%" PRIx64, s->file_offset,
                s->file_offset + s->file_length);
    fprintf(stderr, "%s; the first %u are above, --all has all\n", causes[s->cause], QCBM_CHECK_MANY);
}

void check_report_tell_sums(const struct check_report *r)
{
    for (size_t i = 0; !r->all && i < r->n_sums; i++)
        tell_sum(&r->sums[i]);
}

void check_report_clear(struct check_report *r)
{
    for (size_t i = 0; i < r->n_listed; i++)
        free(r->listed[i].message);
    free(r->listed);
    free(r->sums);
    free(r->again);
    for (size_t i = 0; i < r->n_kinds; i++)
        free(r->kinds[i].cure);
}
