/* undo_cuts.c - from every state that a cut of an operation can leave, and from every state that a cut of its undo can
 * leave, an undo gives back the first image; and those states are sound images too
 * SPDX-License-Identifier: MIT
 *
 * usage: undo_cuts RANDOM IMAGE...    (works in the current folder)
 *
 * Each operation of ops.c is recorded on each image, with an undo file. Each state of the recording (states.c) is
 * undone. Then the undo of the finished operation is recorded; each of its states is judged (judge.c) and undone once
 * more. Of one state in NESTED of the operation the undo is recorded as well, and its states undone. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "judge.h"
#include "ops.h"
#include "part.h"
#include "states.h"

#define UNDO_FILE "undo.tmp"
#define NESTED 37u /* of so many states of the operation, one has the states of its undo walked */

struct run {
    const char *image;
    const struct crash_op *op;
    const uint8_t *start;
    size_t start_len;
    struct judge judge;
};

static uint64_t operation_states, undo_states, nested_states, found[3];

static _Noreturn void bad(const struct run *r, const char *what, const char *why)
{
    char text[512];

    snprintf(text, sizeof(text), "%s, %s, %s", r->image, r->op->name, what);
    look_fail(text, why);
}

static void set_undo(void *opaque, struct qcbm_edit *edit)
{
    (void)opaque;
    if (qcbm_edit_set_undo(edit, UNDO_FILE, NULL) < 0)
        look_fail("undo", "no memory");
}

/* Undo what is in @record; it must be the first image then. */
static void undo(const struct run *r, struct record *record, const char *what)
{
    struct qcbm_undo_result result;
    struct qcbm_image *img;
    struct qcbm_error err;
    const void *bytes;
    size_t len;

    if (qcbm_open_io(record_ops(), record, QCBM_OPEN_WRITE, &img, &err) < 0 ||
        qcbm_undo(img, UNDO_FILE, NULL, &result, sizeof(result), &err) < 0)
        bad(r, what, err.message);
    qcbm_close(img);
    bytes = qcbm_mem_data(record->mem, &len);
    if (len != r->start_len || memcmp(bytes, r->start, len) != 0)
        bad(r, what, "undone, and not the first image");
    found[result.found]++;
}

static void undo_bytes(const struct run *r, const uint8_t *bytes, size_t len, const char *what)
{
    struct record *record = record_new(bytes, len);

    undo(r, record, what);
    record_free(record);
}

static int nested_state(void *opaque, const uint8_t *bytes, size_t len, const char *what)
{
    nested_states++;
    undo_bytes(opaque, bytes, len, what);
    return 0;
}

static int operation_state(void *opaque, const uint8_t *bytes, size_t len, const char *what)
{
    struct run *r = opaque;
    struct record *record = record_new(bytes, len);
    struct states_source src = { .start = bytes, .start_len = len };
    struct states_count count;

    undo(r, record, what);
    src.events = record->events;
    src.n = record->n;
    if (operation_states++ % NESTED == 0 && src.n > 0)
        states_walk(&src, nested_state, r, &count);
    record_free(record);
    return 0;
}

static int undo_state(void *opaque, const uint8_t *bytes, size_t len, const char *what)
{
    struct run *r = opaque;
    const char *why;

    undo_states++;
    if (judge_state(&r->judge, bytes, len, &why) < VERDICT_OLD)
        bad(r, what, why);
    undo_bytes(r, bytes, len, what);
    return 0;
}

static void walk_undo(struct run *r, const struct record *operation, unsigned random_subsets)
{
    size_t end_len;
    const void *end = qcbm_mem_data(operation->mem, &end_len);
    struct record *record = record_new(end, end_len);
    struct states_source src = { end, end_len, NULL, 0, random_subsets, 1 };
    struct states_count count;
    const char *why;

    undo(r, record, "the end");
    src.events = record->events;
    src.n = record->n;
    if (!judge_begin(&r->judge, r->op->named, r->start, r->start_len, end, end_len, &why))
        bad(r, "begin and end", why);
    if (src.n == 0 || src.events[src.n - 1].kind != RECORD_FLUSH)
        bad(r, "the end", "the last writes of the undo are not flushed");
    states_walk(&src, undo_state, r, &count);
    judge_end(&r->judge);
    record_free(record);
}

static void try_op(struct run *r, unsigned random_subsets)
{
    struct record *record = record_new(r->start, r->start_len);
    struct qcbm_error err;
    int ret;

    unlink(UNDO_FILE);
    ret = crash_op_run(r->op, record, r->image, set_undo, NULL, NULL, &err);
    if (ret < 0)
        bad(r, "commit", err.message);
    if (ret == 0) {
        struct states_source src = { r->start, r->start_len, record->events, record->n, random_subsets, 1 };
        struct states_count count;

        states_walk(&src, operation_state, r, &count);
        walk_undo(r, record, random_subsets);
    }
    record_free(record);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        look_fail("usage", "undo_cuts RANDOM IMAGE...");
    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 2; i < argc; i++) {
        size_t len;
        uint8_t *bytes = look_read_file(argv[i], &len);

        for (size_t k = 0; k < crash_n_ops; k++) {
            struct run r = { .image = argv[i], .op = &crash_ops[k], .start = bytes, .start_len = len };

            if (test_takes((uint64_t)i + k))
                try_op(&r, (unsigned)strtoul(argv[1], NULL, 10));
        }
        free(bytes);
    }
    unlink(UNDO_FILE);
    printf("%" PRIu64 " states of operations, %" PRIu64 " of their undos, %" PRIu64
           " of undos of states: all undone; found after %" PRIu64 ", between %" PRIu64 ", before %" PRIu64 "\n",
           operation_states, undo_states, nested_states, found[QCBM_UNDO_FOUND_AFTER], found[QCBM_UNDO_FOUND_BETWEEN],
           found[QCBM_UNDO_FOUND_BEFORE]);
    return operation_states && undo_states && nested_states && found[QCBM_UNDO_FOUND_BETWEEN] ? 0 : 1;
}
