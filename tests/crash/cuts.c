/* cuts.c - every state that a power cut can leave behind: old or new, and nothing else touched
 * SPDX-License-Identifier: MIT
 *
 * usage: cuts RANDOM SAMPLE IMAGE...
 *
 * Each operation of ops.c is run on each image with a backend that records writes, growth and flushes; states.c
 * builds what a cut could leave, with RANDOM random subsets for each stretch between two flushes; judge.c judges each
 * state. One state in SAMPLE (0: none) is written to the current folder for QEMU's programs to judge, with the lines
 * of a table on standard output: sample STATE BEFORE AFTER NAMED. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "judge.h"
#include "ops.h"
#include "part.h"
#include "states.h"

/* Kinds of write that the images must have brought about, or the proof has a hole. */
static struct {
    const char *what;
    bool seen;
} kinds[] = {
    { "refcount table entry", false },
    { "header: refcount table", false },
    { "header: copy of the backing file name", false },
    { "header: bitmaps extension, not yet visible", false },
    { "header: bitmaps extension, second copy", false },
    { "header: no bitmaps extension", false },
    { "header: autoclear bits", false },
    { "bitmap directory: flags", false },
    { "bitmap data", false },
};

static int note_kind(void *opaque, const struct qcbm_plan_step *step)
{
    (void)opaque;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        kinds[i].seen |= strcmp(kinds[i].what, step->what) == 0;
    return 0;
}

struct totals {
    uint64_t built, distinct, verdicts[VERDICTS], leaking, most_leaks, runs;
};

/* One operation on one image. */
struct run {
    const char *image;
    const struct crash_op *op;
    struct judge judge;
    uint64_t verdicts[VERDICTS];
    unsigned sample, number; /* number of the run, for names of files */
    uint64_t given;
    bool end_written;
    const uint8_t *end;
    size_t end_len;
};

static _Noreturn void bad(const struct run *r, const char *what, const char *why)
{
    char text[512];

    snprintf(text, sizeof(text), "%s, %s, %s", r->image, r->op->name, what);
    look_fail(text, why);
}

static void write_file(const char *name, const uint8_t *bytes, size_t len)
{
    FILE *f = fopen(name, "wb");

    if (!f || fwrite(bytes, 1, len, f) != len || fclose(f) != 0)
        look_fail(name, "cannot be written");
}

static void write_sample(struct run *r, const uint8_t *bytes, size_t len, const char *what)
{
    char state[64], after[64];

    snprintf(state, sizeof(state), "state-%u-%" PRIu64 ".img", r->number, r->given);
    snprintf(after, sizeof(after), "after-%u.img", r->number);
    write_file(state, bytes, len);
    if (!r->end_written)
        write_file(after, r->end, r->end_len);
    r->end_written = true;
    printf("sample\t%s\t%s\t%s\t%s\t%s, %s\n", state, r->image, after, r->op->named, r->op->name, what);
}

static int judge_one(void *opaque, const uint8_t *bytes, size_t len, const char *what)
{
    struct run *r = opaque;
    const char *why;
    enum verdict verdict = judge_state(&r->judge, bytes, len, &why);

    if (verdict < VERDICT_OLD)
        bad(r, what, why);
    r->verdicts[verdict]++;
    r->given++;
    /* a spread that depends on nothing but the counts: the same states each time */
    if (r->sample && ((r->given + 4096ull * r->number) * UINT64_C(0x9e3779b97f4a7c15) >> 32) % r->sample == 0)
        write_sample(r, bytes, len, what);
    return 0;
}

static void judge_run(struct run *r, const struct states_source *src, struct totals *t)
{
    struct states_count count;
    const char *why;

    if (!judge_begin(&r->judge, r->op->named, src->start, src->start_len, r->end, r->end_len, &why))
        bad(r, "begin and end", why);
    if (src->events[src->n - 1].kind != RECORD_FLUSH)
        bad(r, "end", "the last writes are not flushed");
    states_walk(src, judge_one, r, &count);
    if (judge_sees_change(&r->judge) && (r->verdicts[VERDICT_OLD] == 0 || r->verdicts[VERDICT_NEW] == 0))
        bad(r, "states", "old and new state were not both seen");
    t->built += count.built;
    t->distinct += count.distinct;
    t->leaking += r->judge.leaking_states;
    if (r->judge.most_leaks > t->most_leaks)
        t->most_leaks = r->judge.most_leaks;
    for (int i = 0; i < VERDICTS; i++)
        t->verdicts[i] += r->verdicts[i];
    t->runs++;
    printf("%s, %s: %" PRIu64 " states, %" PRIu64 " distinct, %" PRIu64 " old, %" PRIu64 " new\n", r->image,
           r->op->name, count.built, count.distinct, r->verdicts[VERDICT_OLD], r->verdicts[VERDICT_NEW]);
    judge_end(&r->judge);
}

static void try_op(struct run *r, const uint8_t *bytes, size_t len, unsigned random_subsets, struct totals *t)
{
    struct record *record = record_new(bytes, len);
    struct qcbm_error err;
    int ret = crash_op_run(r->op, record, r->image, NULL, NULL, note_kind, &err);

    if (ret < 0)
        bad(r, "commit", err.message);
    if (ret == 0) {
        struct states_source src = { bytes, len, record->events, record->n, random_subsets, r->number };

        r->end = qcbm_mem_data(record->mem, &r->end_len);
        judge_run(r, &src, t);
    }
    record_free(record);
}

int main(int argc, char **argv)
{
    struct totals t = { 0 };
    unsigned number = 0;

    if (argc < 4)
        look_fail("usage", "cuts RANDOM SAMPLE IMAGE...");
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 3; i < argc; i++) {
        size_t len;
        uint8_t *bytes = look_read_file(argv[i], &len);

        for (size_t k = 0; k < crash_n_ops; k++) {
            struct run r = { .image = argv[i], .op = &crash_ops[k] };

            r.number = number++;
            r.sample = (unsigned)strtoul(argv[2], NULL, 10);
            if (test_takes((uint64_t)i + k)) /* other operations of the next image */
                try_op(&r, bytes, len, (unsigned)strtoul(argv[1], NULL, 10), &t);
        }
        free(bytes);
    }
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (!kinds[i].seen && test_part() == 1) /* of a part of the operations, not all kinds */
            look_fail("no image made this kind of write", kinds[i].what);
    printf("%zu operations, %d images, %" PRIu64 " runs: %" PRIu64 " states, %" PRIu64
           " of them distinct and judged: %" PRIu64 " old, %" PRIu64 " new; %" PRIu64 " have leaks, at most %" PRIu64
           " clusters\n",
           crash_n_ops, argc - 3, t.runs, t.built, t.distinct, t.verdicts[VERDICT_OLD], t.verdicts[VERDICT_NEW],
           t.leaking, t.most_leaks);
    return t.distinct ? 0 : 1;
}
