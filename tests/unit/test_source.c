/* test_source.c - bytes of planned writes from memory, from bits, and from functions that give little, fail or end
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "write/commit.h"

/* A function of bytes 0, 1, 2, ... that gives few of them at a time, and fails or ends where it is told to. */
struct giver {
    uint64_t most, fails_at, ends_at;
    unsigned calls;
};

static int give_some(void *opaque, uint64_t at, uint8_t *to, uint64_t len, uint64_t *got, struct qcbm_error *err)
{
    struct giver *g = opaque;
    uint64_t n = len < g->most ? len : g->most;

    g->calls++;
    if (at + n > g->fails_at)
        return qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "made to fail");
    if (at + n > g->ends_at)
        n = g->ends_at > at ? g->ends_at - at : 0;
    for (uint64_t i = 0; i < n; i++)
        to[i] = (uint8_t)(at + i);
    *got = n;
    return 0;
}

static int give_too_much(void *opaque, uint64_t at, uint8_t *to, uint64_t len, uint64_t *got, struct qcbm_error *err)
{
    (void)opaque;
    (void)at;
    (void)err;
    memset(to, 0, (size_t)len);
    *got = len + 1;
    return 0;
}

static void each_source_gives_the_bytes_from_its_first_on(void **state)
{
    uint8_t bytes[] = { 1, 2, 3, 4 }, *to = exact_copy("\0\0", 2);
    struct giver g = { UINT64_MAX, UINT64_MAX, UINT64_MAX, 0 };
    struct qcbmi_bitset bits;

    (void)state;
    assert_int_equal(qcbmi_source_load(&(struct qcbmi_source){ .bytes = bytes }, 2, to, 2, NULL), 0);
    assert_memory_equal(to, "\x03\x04", 2);
    assert_int_equal(qcbmi_bitset_init(&bits, 24, NULL), 0);
    assert_int_equal(qcbmi_bitset_set(&bits, 16, 20, NULL), 0);
    assert_int_equal(qcbmi_source_load(&(struct qcbmi_source){ .bits = &bits, .first = 1 }, 1, to, 2, NULL), 0);
    assert_memory_equal(to, "\x0f\x00", 2); /* zeros behind the end */
    qcbmi_bitset_free(&bits);
    assert_int_equal(
        qcbmi_source_load(&(struct qcbmi_source){ .fn = give_some, .opaque = &g, .first = 5 }, 2, to, 2, NULL), 0);
    assert_memory_equal(to, "\x07\x08", 2);
    free(to);
}

static void a_function_is_asked_for_the_rest(void **state)
{
    struct giver g = { 3, UINT64_MAX, UINT64_MAX, 0 };
    struct qcbmi_source s = { .fn = give_some, .opaque = &g };
    uint8_t to[8];

    (void)state;
    assert_int_equal(qcbmi_source_load(&s, 10, to, sizeof(to), NULL), 0);
    assert_memory_equal(to, "\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11", 8);
    assert_int_equal(g.calls, 3);
}

static void a_function_that_ends_early_or_gives_too_much_fails(void **state)
{
    struct giver g = { 3, UINT64_MAX, 13, 0 };
    struct qcbmi_source s = { .fn = give_some, .opaque = &g };
    struct qcbm_error err = { 0 };
    uint8_t to[8];

    (void)state;
    assert_failure(qcbmi_source_load(&s, 10, to, sizeof(to), &err), &err, QCBM_E_IO, QCBM_NO_OFFSET,
                   "the payload ends after 13 bytes");
    s.fn = give_too_much;
    assert_failure(qcbmi_source_load(&s, 0, to, sizeof(to), &err), &err, QCBM_E_IO, QCBM_NO_OFFSET, "ends after 0");
}

static void neighbours_of_one_source_are_one_write(void **state)
{
    struct giver g = { 0 }, other = { 0 };
    struct qcbmi_plan plan = { 0 };
    struct qcbmi_source a = { .fn = give_some, .opaque = &g }, b = { .fn = give_some, .opaque = &g, .first = 512 };

    (void)state;
    assert_int_equal(qcbmi_plan_stage(&plan, "prepare", false, NULL), 0);
    assert_int_equal(qcbmi_plan_write_from(&plan, "payload", 2048, 512, &a, NULL), 0);
    assert_int_equal(qcbmi_plan_write_from(&plan, "payload", 2560, 512, &b, NULL), 0);
    assert_int_equal(plan.stages[0].n, 1);
    assert_int_equal(plan.stages[0].writes[0].len, 1024);
    assert_int_equal(qcbmi_plan_write_from(&plan, "payload", 3072, 512, &b, NULL), 0); /* a gap in the payload */
    assert_int_equal(plan.stages[0].n, 2);
    a = (struct qcbmi_source){ .fn = give_some, .opaque = &other, .first = 1024 };
    assert_int_equal(qcbmi_plan_write_from(&plan, "payload", 3584, 512, &a, NULL), 0);
    assert_int_equal(plan.stages[0].n, 3);
    qcbmi_plan_free(&plan);
}

static void what_is_switched_is_in_memory(void **state)
{
    struct giver g = { 0 };
    struct qcbmi_plan plan = { 0 };
    struct qcbm_error err = { 0 };
    struct qcbmi_source s = { .fn = give_some, .opaque = &g };

    (void)state;
    assert_int_equal(qcbmi_plan_stage(&plan, "switch", true, NULL), 0);
    assert_failure(qcbmi_plan_write_from(&plan, "payload", 0, 8, &s, &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET,
                   "must be in memory");
    assert_int_equal(plan.stages[0].n, 0);
    qcbmi_plan_free(&plan);
}

/* ---- in a commit ---- */

static void build_plain(struct image_builder *b)
{
    struct build_options opt = { .size = KIB(64) };

    build_start(b, &opt);
    build_clusters(b, 4);
    build_finish(b);
}

/* 3 MiB of payload at the end of the image, then a switch. */
static int commit_payload(struct bench *t, struct giver *g, const char *undo_path, struct qcbm_error *err)
{
    struct qcbmi_plan plan = { .undo_path = undo_path };
    struct qcbmi_source s = { .fn = give_some, .opaque = g };
    int ret;

    assert_int_equal(qcbmi_plan_stage(&plan, "prepare", false, NULL), 0);
    assert_int_equal(qcbmi_plan_write_from(&plan, "payload", t->b.len, MIB(3), &s, NULL), 0);
    assert_int_equal(qcbmi_plan_stage(&plan, "switch", true, NULL), 0);
    assert_int_equal(qcbmi_plan_write(&plan, "switch", 2048, "new", 3, NULL), 0);
    plan.end = t->b.len + MIB(3);
    ret = qcbmi_plan_commit(&plan, t->s.img->image, err);
    qcbmi_plan_free(&plan);
    return ret;
}

static bool is_switched(const struct record *rec)
{
    for (size_t i = 0; i < rec->n; i++)
        if (rec->events[i].kind == RECORD_WRITE && rec->events[i].off == 2048)
            return true;
    return false;
}

static void a_payload_is_written_in_pieces(void **state)
{
    struct bench *t = bench_open(state, build_plain);
    struct giver g = { 4096 + 1, UINT64_MAX, UINT64_MAX, 0 };
    struct qcbm_error err = { 0 };
    size_t len, end = t->b.len;
    const uint8_t *now;

    assert_ok(commit_payload(t, &g, NULL, &err), &err);
    assert_int_equal(t->s.rec->n, 1 + 3 + 1 + 1 + 1); /* growth; pieces, a flush; the switch, a flush */
    now = qcbm_mem_data(t->s.rec->mem, &len);
    assert_int_equal(len, end + MIB(3));
    for (size_t i = 0; i < MIB(3); i++)
        assert_int_equal(now[end + i], (uint8_t)i);
    assert_true(is_switched(t->s.rec));
}

static void a_payload_that_fails_switches_nothing(void **state)
{
    static const struct giver cases[] = {
        { 4096, 0, UINT64_MAX, 0 },
        { 4096, MIB(3) - 1, UINT64_MAX, 0 },
        { 4096, UINT64_MAX, MIB(2), 0 },
    };
    static const int codes[] = { QCBM_E_CORRUPT, QCBM_E_CORRUPT, QCBM_E_IO };
    struct bench *t = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct giver g = cases[i];
        struct qcbm_error err = { 0 };

        build_plain(&t->b);
        session_open(&t->s, &t->b);
        assert_failure(commit_payload(t, &g, NULL, &err), &err, codes[i], QCBM_NO_OFFSET,
                       "the old state is in place, clusters may have leaked: writing payload at");
        assert_false(is_switched(t->s.rec));
        session_close(&t->s);
        build_free(&t->b);
        memset(t, 0, sizeof(*t));
    }
}

static void a_payload_that_fails_for_the_undo_file_writes_nothing(void **state)
{
    const struct temp_dir *d = bench_dir(state);
    struct bench *t = bench_open(state, build_plain);
    struct giver g = { 4096, MIB(1), UINT64_MAX, 0 };
    struct qcbm_error err = { 0 };

    assert_failure(commit_payload(t, &g, temp_path(d, "undo"), &err), &err, QCBM_E_CORRUPT, QCBM_NO_OFFSET,
                   "nothing was written: undo file");
    assert_int_equal(t->s.rec->n, 0);
    assert_int_equal(access(temp_path(d, "undo"), F_OK), -1);
    g.fails_at = UINT64_MAX;
    assert_ok(commit_payload(t, &g, temp_path(d, "undo"), &err), &err);
    assert_int_equal(access(temp_path(d, "undo"), F_OK), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_source_gives_the_bytes_from_its_first_on),
        cmocka_unit_test(a_function_is_asked_for_the_rest),
        cmocka_unit_test(a_function_that_ends_early_or_gives_too_much_fails),
        cmocka_unit_test(neighbours_of_one_source_are_one_write),
        cmocka_unit_test(what_is_switched_is_in_memory),
        image_test(a_payload_is_written_in_pieces),
        image_test(a_payload_that_fails_switches_nothing),
        image_test(a_payload_that_fails_for_the_undo_file_writes_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
