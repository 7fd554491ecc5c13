/* faults.c - each allocation and each system call fails once: an error that says why, nothing lost, nothing leaked
 * SPDX-License-Identifier: MIT
 *
 * usage: faults alloc|calls STRIDE IMAGE...        in a folder that the images' backing files are in
 *
 * The calls of a session (session.c) are counted, then the session is run again for each of them (or one in STRIDE,
 * each time others), which fails: with an error, for good, in the middle of a transfer, or as EINTR and short
 * transfers do. What is not an error by POSIX must change nothing. Else each step gives its right answer or the code
 * of the failure; the file is old or new, as the message says; no memory, descriptor or lock is left behind. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail_calls.h"
#include "judge.h"
#include "part.h"
#include "session.h"

#define WORK "work.qcow2"

static const struct fault {
    const char *name;
    enum fail_call call;
    enum fail_how how;
    int error;
    int code; /* that the library gives for it; 0 = it goes on as if nothing had been */
} faults[] = {
    { "no memory", FAIL_ALLOC, FAIL_ERROR, ENOMEM, QCBM_E_NOMEM },
    { "no memory from now on", FAIL_ALLOC, FAIL_ALL, ENOMEM, QCBM_E_NOMEM },
    { "open: EMFILE", FAIL_OPEN, FAIL_ERROR, EMFILE, QCBM_E_IO },
    { "open: EINTR", FAIL_OPEN, FAIL_ERROR, EINTR, 0 },
    { "fcntl: EIO", FAIL_LOCK, FAIL_ERROR, EIO, QCBM_E_IO },
    { "read: EIO", FAIL_READ, FAIL_ERROR, EIO, QCBM_E_IO },
    { "read: EINTR", FAIL_READ, FAIL_ERROR, EINTR, 0 },
    { "read: short", FAIL_READ, FAIL_SHORT, 0, 0 },
    { "write: EIO", FAIL_WRITE, FAIL_ERROR, EIO, QCBM_E_IO },
    { "write: half, then EIO", FAIL_WRITE, FAIL_TORN, EIO, QCBM_E_IO },
    { "write: ENOSPC from now on", FAIL_WRITE, FAIL_ALL, ENOSPC, QCBM_E_NOSPACE },
    { "write: EINTR", FAIL_WRITE, FAIL_ERROR, EINTR, 0 },
    { "write: short", FAIL_WRITE, FAIL_SHORT, 0, 0 },
    { "flush: EIO", FAIL_FLUSH, FAIL_ERROR, EIO, QCBM_E_IO },
    { "flush: EINTR", FAIL_FLUSH, FAIL_ERROR, EINTR, 0 },
    { "ftruncate: ENOSPC", FAIL_GROW, FAIL_ERROR, ENOSPC, QCBM_E_NOSPACE },
    { "ftruncate: EINTR", FAIL_GROW, FAIL_ERROR, EINTR, 0 },
    { "fallocate: ENOSPC", FAIL_RESERVE, FAIL_ERROR, ENOSPC, QCBM_E_NOSPACE },
    { "fallocate: EIO", FAIL_RESERVE, FAIL_ERROR, EIO, QCBM_E_IO },
    { "fallocate: EINTR", FAIL_RESERVE, FAIL_ERROR, EINTR, 0 },
    { "fallocate: EOPNOTSUPP", FAIL_RESERVE, FAIL_ERROR, EOPNOTSUPP, 0 },
    { "lseek: EIO", FAIL_SEEK, FAIL_ERROR, EIO, 0 },
};

static bool happened[sizeof(faults) / sizeof(faults[0])];
static const struct fail_plan never = { .call = FAIL_CALLS };
static uint64_t stride, phase; /* phase: which calls the next session takes */
static uint64_t n_runs, n_old, n_new, n_failures;

struct run {
    const char *image, *op; /* op: NULL = reading */
    const struct fault *fault;
    uint64_t at;
};

/* The test goes on: each failure is a place of its own in the library. */
static void bad(const struct run *r, const char *why)
{
    printf("FAILED: %s, %s, %s, call %" PRIu64 ": %s\n", r->image, r->op ? r->op : "reading",
           r->fault ? r->fault->name : "no fault", r->at, why);
    n_failures++;
}

static void write_work(const uint8_t *bytes, size_t len)
{
    FILE *f = fopen(WORK, "wb");

    if (!f || fwrite(bytes, 1, len, f) != len || fclose(f) != 0)
        look_fail(WORK, "cannot be written");
}

static unsigned open_descriptors(void)
{
    unsigned n = 0;

    for (int fd = 0; fd < 64; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* Nothing of the session is left: memory, descriptors, locks. */
static void check_left_behind(const struct run *r, const struct fail_report *report, unsigned descriptors)
{
    struct qcbm_image *img;
    struct qcbm_error err;

    if (report->live_blocks != 0)
        bad(r, "memory is not freed");
    if (report->late_writes)
        bad(r, "writes after a flush that failed");
    if (open_descriptors() != descriptors)
        bad(r, "a descriptor is left open");
    if (qcbm_open(WORK, QCBM_OPEN_WRITE, &img, &err) < 0)
        bad(r, err.message);
    else
        qcbm_close(img);
}

/* A layer of the chain that does not open has a code of its own, as have locks. */
static bool is_expected(const struct fault *fault, int code)
{
    if (fault->code == 0 || fault->code == QCBM_E_NOMEM)
        return code == fault->code;
    return code == fault->code || code == QCBM_E_CHAIN || (fault->call == FAIL_LOCK && code == QCBM_E_NOLOCKS);
}

/* Each step as without the fault, or with its code. Only one step may fail, unless all later calls do. */
static void check_steps(const struct run *r, const struct session *s, const struct session *right)
{
    unsigned failed = 0;

    for (unsigned i = 0; i < s->n; i++) {
        const struct session_step *step = &s->steps[i], *as = NULL;

        for (unsigned k = 0; k < right->n && !as; k++) /* steps are left out behind an open that failed */
            if (strcmp(right->steps[k].name, step->name) == 0 && (k >= i || i == 0))
                as = &right->steps[k];
        if (!as) {
            bad(r, "a step too many");
            return;
        }
        if (step->code == as->code && (step->code < 0 || step->hash == as->hash))
            continue;
        failed++;
        if (step->code == 0 || !is_expected(r->fault, step->code))
            bad(r, step->code ? step->err.message : step->name); /* the name: another answer, and no error */
        if (r->fault->code != QCBM_E_NOMEM && step->err.sys_errno != r->fault->error)
            bad(r, "the error object has another errno");
    }
    if (failed > 1 && r->fault->how == FAIL_ERROR)
        bad(r, "more than one step failed");
}

/* The file as the last step says that it is. */
static void check_file(const struct run *r, const struct session *s, struct judge *judge)
{
    const struct session_step *last = &s->steps[s->n - 1];
    bool committed = strcmp(last->name, "commit") == 0;
    const char *why;
    size_t len;
    uint8_t *now = look_read_file(WORK, &len);
    enum verdict verdict = judge_state(judge, now, len, &why);

    if (verdict < VERDICT_OLD)
        bad(r, why);
    if (last->code == 0 && verdict != VERDICT_NEW)
        bad(r, "success, and the old state");
    if ((!committed || strstr(last->err.message, "nothing was written")) && last->code < 0 &&
        (len < judge->guest.len || memcmp(now, judge->guest.bytes, judge->guest.len) != 0))
        bad(r, "nothing was to be written, and the file changed");
    if (last->code < 0 && verdict == VERDICT_NEW && judge_sees_change(judge) && !strstr(last->err.message, "new state"))
        bad(r, last->err.message);
    if (last->code < 0 && verdict == VERDICT_OLD && strstr(last->err.message, "new state is"))
        bad(r, last->err.message);
    n_old += verdict == VERDICT_OLD;
    n_new += verdict == VERDICT_NEW;
    free(now);
}

static void arm(const struct run *r)
{
    fail_arm(&(struct fail_plan){ r->fault->call, r->at, r->fault->how, r->fault->error });
}

/* The first call always, then one in stride. */
static uint64_t next_call(uint64_t at)
{
    return at == 1 ? at + 1 + phase++ % stride : at + stride;
}

static void try_reading(struct run *r, const struct session *right)
{
    for (r->at = 1;; r->at = next_call(r->at)) {
        struct session s = { .n = 0 };
        unsigned descriptors = open_descriptors();
        struct fail_report report;

        arm(r);
        session_read(&s, WORK);
        report = fail_disarm();
        check_left_behind(r, &report, descriptors);
        check_steps(r, &s, right);
        if (!report.fired)
            return;
        happened[r->fault - faults] = true;
        n_runs++;
    }
}

static void try_editing(struct run *r, const struct crash_op *op, const struct session *right, struct judge *judge)
{
    for (r->at = 1;; r->at = next_call(r->at)) {
        struct session s = { .n = 0 };
        unsigned descriptors = open_descriptors();
        struct fail_report report;

        write_work(judge->guest.bytes, judge->guest.len);
        arm(r);
        session_edit(&s, WORK, op);
        report = fail_disarm();
        check_left_behind(r, &report, descriptors);
        check_steps(r, &s, right);
        check_file(r, &s, judge);
        if (!report.fired)
            return;
        happened[r->fault - faults] = true;
        n_runs++;
    }
}

static bool is_chosen(const struct fault *fault, bool alloc)
{
    return (fault->call == FAIL_ALLOC) == alloc;
}

static void image_reading(const char *image, bool alloc)
{
    struct run r = { .image = image };
    struct session right = { .n = 0 };

    fail_arm(&never);
    session_read(&right, WORK);
    fail_disarm();
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        r.fault = &faults[i];
        if (is_chosen(r.fault, alloc))
            try_reading(&r, &right);
    }
}

static void image_editing(const char *image, const uint8_t *bytes, size_t len, const struct crash_op *op, bool alloc)
{
    struct run r = { .image = image, .op = op->name };
    struct session right = { .n = 0 };
    struct judge judge;
    const char *why;
    uint8_t *end;
    size_t end_len;

    write_work(bytes, len);
    session_edit(&right, WORK, op);
    if (right.steps[right.n - 1].code < 0 || strcmp(right.steps[right.n - 1].name, "commit") != 0)
        return; /* it does not apply to this image; cuts.c tells whether that is right */
    end = look_read_file(WORK, &end_len);
    if (!judge_begin(&judge, op->named, bytes, len, end, end_len, &why))
        look_fail(image, why);
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++) {
        r.fault = &faults[i];
        if (is_chosen(r.fault, alloc))
            try_editing(&r, op, &right, &judge);
    }
    judge_end(&judge);
    free(end);
}

int main(int argc, char **argv)
{
    bool alloc;

    if (argc < 4)
        look_fail("usage", "faults alloc|calls STRIDE IMAGE...");
    setvbuf(stdout, NULL, _IOLBF, 0);
    stride = strtoul(argv[2], NULL, 10) * test_part();
    if (stride == 0)
        look_fail("usage", "STRIDE is at least 1");
    alloc = strcmp(argv[1], "alloc") == 0;
    for (int i = 3; i < argc; i++) {
        size_t len;
        uint8_t *bytes = look_read_file(argv[i], &len);

        write_work(bytes, len);
        image_reading(argv[i], alloc);
        for (size_t k = 0; k < crash_n_ops; k++)
            image_editing(argv[i], bytes, len, &crash_ops[k], alloc);
        free(bytes);
    }
    for (size_t i = 0; i < sizeof(faults) / sizeof(faults[0]); i++)
        if (is_chosen(&faults[i], alloc) && !happened[i])
            look_fail("this never happened", faults[i].name);
    printf("%" PRIu64 " sessions with a fault; after it the file was old %" PRIu64 " times, new %" PRIu64 " times\n",
           n_runs, n_old, n_new);
    return n_failures == 0 && n_runs && n_old && n_new ? 0 : 1;
}
