/* check_findings.c - problems, and how they are heard; the totals; what the work may cost
 * SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stdio.h>

#include "base/checked.h"
#include "bitmap/bitmap_list.h"
#include "check/check_parts.h"

#define COST_OF_MESSAGE 128u /* while tables are walked for messages */

static uint64_t *total_of(struct check *c, enum qcbm_check_severity severity)
{
    switch (severity) {
    case QCBM_CHECK_LEAK:
        return &c->r.leaks;
    case QCBM_CHECK_CORRUPTION:
        return &c->r.corruptions;
    case QCBM_CHECK_FAULT:
        return &c->r.check_errors;
    case QCBM_CHECK_DAMAGE:
        return &c->r.damages;
    default:
        return &c->r.warnings;
    }
}

static const char *hint_for(enum qcbm_problem_id id)
{
    if (id == QCBM_PROBLEM_REFCOUNT_OVERFLOW)
        return "Use qemu-img amend to increase the refcount entry width or qemu-img convert to create a clean copy "
               "if the image cannot be opened for writing";
    return NULL;
}

static bool may_tell(struct check *c)
{
    if (c->voice.price == PRICE_BUDGET)
        return qcbmi_check_afford(c, COST_OF_MESSAGE);
    if (c->voice.price == PRICE_FREE)
        return true;
    if (c->messages == 0)
        return false;
    if (--c->messages == 0) {
        c->voice.price = PRICE_FREE;
        (void)qcbmi_check_problem(c, QCBM_PROBLEM_MESSAGES_LEFT_OUT, 1, &CHECK_NOWHERE,
                                  "too many clusters have a wrong refcount to name all of them");
        c->voice.price = PRICE_MESSAGES;
        return false;
    }
    return true;
}

static bool is_heard(const struct check *c, enum qcbm_problem_id id)
{
    return c->voice.only == CHECK_ALL || c->voice.only == (unsigned)id;
}

/* Its pointer stands in the extension, in the header. */
static bool is_of_directory(const struct check *c, const struct qcbmi_place *at)
{
    const struct qcbmi_bitmap_list *list = c->handle->bitmaps;

    return list && list->ext_offset && at->offset == list->ext_offset;
}

int qcbmi_check_problem(struct check *c, enum qcbm_problem_id id, uint64_t weight, const struct qcbmi_place *at,
                        const char *fmt, ...)
{
    const struct qcbm_problem *rule = qcbm_problem_get(id);
    struct qcbm_check_finding f = { rule, at->offset, at->table, at->index, at->bitmap, NULL, hint_for(id), 0 };
    char message[1024];
    va_list args;

    if (!is_heard(c, id))
        return 0;
    c->met[id] = true;
    c->met_of_others[id] |= at->bitmap == UINT32_MAX && !is_of_directory(c, at);
    c->n_met++;
    if (c->voice.total)
        *total_of(c, rule->severity) += weight;
    if (!c->voice.say || !(c->o.finding || c->o.kind || c->o.summary) || !may_tell(c))
        return 0;
    c->n_told[id]++;
    if (!c->o.finding && !c->o.summary)
        return 0;
    if (qcbmi_check_count(c, id, at, &f.number) < 0)
        return QCBM_E_NOMEM;
    if (!c->o.finding)
        return 0;
    va_start(args, fmt);
    vsnprintf(message, sizeof(message), fmt, args);
    va_end(args);
    f.message = message;
    return c->o.finding(c->o.opaque, &f) ? qcbmi_fail_stopped(c->err) : 0;
}

int qcbmi_check_step(struct check *c, uint64_t bytes)
{
    return qcbmi_progress_add(&c->progress, bytes, c->err);
}

bool qcbmi_check_afford(struct check *c, uint64_t bytes)
{
    struct check_voice before = c->voice;

    if (bytes <= c->budget) {
        c->budget -= bytes;
        return true;
    }
    if (c->exhausted)
        return false;
    c->budget = 0;
    c->exhausted = true;
    c->voice = CHECK_LOUD;
    c->voice.only = before.only;
    (void)qcbmi_check_problem(c, QCBM_PROBLEM_TOO_MUCH_WORK, 1, &CHECK_NOWHERE,
                              "tables refer to the same bytes over and over; the rest of them was left out");
    c->voice = before;
    return false;
}

int qcbmi_check_read(struct check *c, uint64_t off, void *buf, uint64_t len, bool *zeros)
{
    return qcbmi_holes_read(&c->holes, off, buf, len, zeros, "metadata", c->err);
}

/* Each kind once, with the cure that fits to all that was found. */
int qcbmi_check_tell_kinds(struct check *c)
{
    c->r.keep_leaks = qcbmi_check_keeps_leaks(c);
    for (unsigned id = 0; c->o.kind && id < QCBMI_PROBLEM_COUNT; id++) {
        char cure[2048];
        struct qcbm_check_kind kind = { qcbm_problem_get(id), c->n_told[id], cure, qcbmi_check_repair_level(c, id) };

        if (c->n_told[id] == 0)
            continue;
        qcbmi_check_cure(c, id, cure, sizeof(cure));
        if (c->o.kind(c->o.opaque, &kind))
            return qcbmi_fail_stopped(c->err);
    }
    return 0;
}
