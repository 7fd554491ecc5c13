/* mutations.c - is the judge honest? Plans in a deliberately wrong order must be caught
 * SPDX-License-Identifier: MIT
 *
 * usage: mutations IMAGE...
 *
 * Each mutation changes the plan of an operation before the commit runs it, as a mistake in the library would. The
 * crash states of what is then written are judged as cuts.c does; a mutation that never leads to a bad state fails
 * the test, and so does an unchanged plan that leads to one. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "bitmap/bitmap_edit.h"
#include "judge.h"
#include "ops.h"
#include "states.h"

#define RANDOM_SUBSETS 8u
#define ENOUGH 5u /* runs in which a mutation was caught: no more are needed */

static struct qcbmi_plan_stage *find_stage(struct qcbmi_plan *plan, const char *name)
{
    for (size_t i = 0; i < plan->n; i++)
        if (strcmp(plan->stages[i].name, name) == 0 && plan->stages[i].n)
            return &plan->stages[i];
    return NULL;
}

/* The first switch of a plan, unless it is a flag of the directory alone. */
static struct qcbmi_plan_stage *find_switch(struct qcbmi_plan *plan)
{
    struct qcbmi_plan_stage *found = NULL;

    for (size_t i = 0; i < plan->n && !found; i++)
        if (plan->stages[i].switches && plan->stages[i].n && strcmp(plan->stages[i].name, "reclaim") != 0)
            found = &plan->stages[i];
    return found;
}

static void add(struct qcbmi_plan_stage *to, const struct qcbmi_plan_write *write)
{
    if (qcbmi_grow_array(&to->writes, &to->capacity, to->n, sizeof(*to->writes), NULL) < 0)
        abort();
    to->writes[to->n++] = *write;
}

/* The writes of @from go to the end of @to: no flush between them. */
static void join(struct qcbmi_plan_stage *to, struct qcbmi_plan_stage *from)
{
    for (size_t i = 0; i < from->n; i++)
        add(to, &from->writes[i]);
    from->n = 0;
}

static bool exchange(struct qcbmi_plan_stage *a, struct qcbmi_plan_stage *b)
{
    struct qcbmi_plan_stage saved;

    if (!a || !b || a == b)
        return false;
    saved = *a;
    *a = *b;
    *b = saved;
    return true;
}

static bool no_flushes(struct qcbmi_plan *plan)
{
    for (size_t i = 1; i < plan->n; i++)
        join(&plan->stages[0], &plan->stages[i]);
    return true;
}

static bool switch_before_prepare(struct qcbmi_plan *plan)
{
    return exchange(find_stage(plan, "prepare"), find_switch(plan));
}

static bool reclaim_before_switch(struct qcbmi_plan *plan)
{
    return exchange(find_stage(plan, "reclaim"), find_switch(plan));
}

/* New refcount blocks become visible in the flush that makes their content durable. */
static bool blocks_with_table_entries(struct qcbmi_plan *plan)
{
    struct qcbmi_plan_stage *prepare = find_stage(plan, "prepare"), *refcounts = find_stage(plan, "refcounts");

    if (!prepare || !refcounts)
        return false;
    join(prepare, refcounts);
    return true;
}

/* Without the counts of the clusters that the switch makes part of the image. */
static bool no_counts(struct qcbmi_plan *plan)
{
    struct qcbmi_plan_stage *prepare = find_stage(plan, "prepare");
    size_t kept = 0;

    for (size_t i = 0; prepare && i < prepare->n; i++) {
        if (strcmp(prepare->writes[i].what, "refcount block") == 0)
            free(prepare->writes[i].source.bytes);
        else
            prepare->writes[kept++] = prepare->writes[i];
    }
    if (!prepare || kept == prepare->n)
        return false;
    prepare->n = kept;
    return true;
}

/* The write of the switch as two, so that half of it may reach the disk alone. */
static bool switch_in_two(struct qcbmi_plan *plan)
{
    struct qcbmi_plan_stage *stage = find_switch(plan);
    struct qcbmi_plan_write rest;
    uint64_t half;

    if (!stage || stage->writes[0].len < 24)
        return false;
    half = stage->writes[0].len - 8; /* the last field of the payload: the offset of the directory */
    rest = stage->writes[0];
    rest.off += half;
    rest.len -= half;
    rest.source.bytes = malloc((size_t)rest.len);
    if (!rest.source.bytes)
        abort();
    memcpy(rest.source.bytes, stage->writes[0].source.bytes + half, (size_t)rest.len);
    stage->writes[0].len = half;
    add(stage, &rest);
    return true;
}

/* As QEMU does: the first cluster in one write, which tears between sectors. */
static bool whole_first_cluster(struct qcbmi_plan *plan)
{
    bool any = false;

    for (size_t i = 0; i < plan->n; i++) {
        struct qcbmi_plan_stage *stage = &plan->stages[i];
        size_t kept = 0;

        for (size_t k = 0; k < stage->n; k++) {
            if (stage->writes[k].off < plan->header_len && stage->writes[k].source.bytes) {
                free(stage->writes[k].source.bytes);
                any = true;
            } else {
                stage->writes[kept++] = stage->writes[k];
            }
        }
        stage->n = kept;
    }
    if (!any || qcbmi_plan_stage(plan, "switch", true, NULL) < 0)
        return false;
    return qcbmi_plan_header_write(plan, "header", 0, plan->header_len, NULL) == 0;
}

static bool unchanged(struct qcbmi_plan *plan)
{
    (void)plan;
    return true;
}

static const struct mutation {
    const char *name;
    bool (*change)(struct qcbmi_plan *plan); /* false: this plan has nothing to change */
    bool harmless;
} mutations[] = {
    { "the plan as it is", unchanged, true },
    { "no flushes between the stages", no_flushes, false },
    { "the switch before what it refers to", switch_before_prepare, false },
    { "old clusters given up before the switch", reclaim_before_switch, false },
    { "new refcount blocks in one flush with their table entries", blocks_with_table_entries, false },
    { "references without refcounts", no_counts, false },
    { "the switch as two writes", switch_in_two, false },
    { "the whole first cluster in one write", whole_first_cluster, false },
};

struct trial {
    const struct mutation *mutation;
    struct judge judge;
    bool applies;
    const char *why; /* set when caught */
};

static void change_plan(void *opaque, struct qcbm_edit *edit)
{
    struct trial *t = opaque;

    t->applies = edit->plan.n > 0 && t->mutation->change(&edit->plan);
}

static int judge_one(void *opaque, const uint8_t *bytes, size_t len, const char *what)
{
    struct trial *t = opaque;
    const char *why;

    (void)what;
    if (judge_state(&t->judge, bytes, len, &why) < VERDICT_OLD)
        t->why = why;
    return t->why != NULL;
}

/* Commit the changed plan, and judge the states it passes through. */
static void try_mutation(struct trial *t, const struct crash_op *op, const char *path, const uint8_t *bytes, size_t len)
{
    struct record *record = record_new(bytes, len), *right = record_new(bytes, len);
    struct states_count count;
    struct qcbm_error err;
    const void *end;
    size_t end_len;

    /* old and new are what the library makes of it undisturbed */
    if (crash_op_run(op, right, path, NULL, NULL, NULL, &err) == 0) {
        /* a wrong order may be seen by the commit itself, which reads the image again; what it wrote is what counts */
        (void)crash_op_run(op, record, path, change_plan, t, NULL, &err);
        end = qcbm_mem_data(right->mem, &end_len);
        if (t->applies && judge_begin(&t->judge, op->named, bytes, len, end, end_len, &t->why)) {
            struct states_source src = { bytes, len, record->events, record->n, RANDOM_SUBSETS, 1 };

            t->why = NULL;
            states_walk(&src, judge_one, t, &count);
        }
        judge_end(&t->judge);
    }
    record_free(record);
    record_free(right);
}

static bool judge_mutation(const struct mutation *m, char **paths, int n)
{
    unsigned caught = 0, tried = 0;
    char example[256] = "";

    for (int i = 0; i < n; i++) {
        size_t len;
        uint8_t *bytes = look_read_file(paths[i], &len);

        for (size_t k = 0; k < crash_n_ops && caught < ENOUGH; k++) {
            struct trial t = { .mutation = m };

            try_mutation(&t, &crash_ops[k], paths[i], bytes, len);
            tried += t.applies;
            caught += t.applies && t.why;
            if (t.applies && t.why && !example[0])
                snprintf(example, sizeof(example), ", for example %s, %s: %s", paths[i], crash_ops[k].name, t.why);
        }
        free(bytes);
    }
    printf("%s: bad states in %u of %u runs%s\n", m->name, caught, tried, example);
    return m->harmless ? caught == 0 : caught > 0;
}

int main(int argc, char **argv)
{
    bool ok = argc > 1;

    setvbuf(stdout, NULL, _IOLBF, 0);
    for (size_t i = 0; i < sizeof(mutations) / sizeof(mutations[0]); i++)
        if (!judge_mutation(&mutations[i], argv + 1, argc - 1)) {
            printf("FAILED: %s\n", mutations[i].harmless ? "a sound plan is called bad" : "not caught");
            ok = false;
        }
    return ok ? 0 : 1;
}
