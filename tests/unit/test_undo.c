/* test_undo.c - a change taken back: the very bytes, every refusal with its own words, failures in between
 * SPDX-License-Identifier: MIT */
#include "undo_ground.h"

/* ---- undone ---- */

static void content_and_length_come_back(void **state)
{
    static change_fn *const changes[] = { change_synth, change_disable };
    struct ground *g = *state;

    for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
        struct qcbm_undo_result r;
        struct qcbm_error err = { 0 };
        struct record *rec;

        ground_with(g, changes[i]);
        assert_true(g->changed_len != g->b.len || memcmp(g->changed, g->b.bytes, g->b.len) != 0);
        assert_ok(undo_bytes(g->changed, g->changed_len, g->undo, &r, &rec, &err), &err);
        assert_record_is(rec, g->b.bytes, g->b.len);
        assert_int_equal(r.found, QCBM_UNDO_FOUND_AFTER);
        assert_int_equal(r.file_size, g->b.len);
        assert_int_equal(r.bytes_cut, g->changed_len - g->b.len);
        assert_int_equal(rec->events[rec->n - 1].kind, RECORD_FLUSH);
        record_free(rec);
    }
}

static void the_result_counts_what_is_done(void **state)
{
    struct ground *g = *state;
    uint64_t bytes = 0, writes = 0, flushes = 0;
    struct qcbm_undo_result r;
    struct qcbm_error err = { 0 };
    struct record *rec;

    assert_ok(undo_bytes(g->changed, g->changed_len, g->undo, &r, &rec, &err), &err);
    for (size_t i = 0; i < rec->n; i++) {
        writes += rec->events[i].kind == RECORD_WRITE;
        flushes += rec->events[i].kind == RECORD_FLUSH;
        bytes += rec->events[i].kind == RECORD_WRITE ? rec->events[i].len : 0;
    }
    assert_int_equal(r.writes, writes);
    assert_int_equal(r.flushes, flushes);
    assert_int_equal(r.bytes_written, bytes);
    record_free(rec);
}

static void undone_twice_it_writes_nothing(void **state)
{
    struct ground *g = *state;
    struct qcbm_undo_result r;
    struct qcbm_error err = { 0 };
    struct record *rec;

    assert_ok(undo_bytes(g->b.bytes, g->b.len, g->undo, &r, &rec, &err), &err);
    assert_int_equal(r.found, QCBM_UNDO_FOUND_BEFORE);
    assert_int_equal(rec->n, 0);
    record_free(rec);
    ground_with(g, change_nothing);
    assert_ok(undo_bytes(g->b.bytes, g->b.len, g->undo, &r, &rec, &err), &err);
    assert_int_equal(r.found, QCBM_UNDO_FOUND_BEFORE);
    record_free(rec);
}

static void the_handle_shows_the_old_state(void **state)
{
    struct ground *g = *state;
    struct qcbm_error err = { 0 };
    struct session s;

    session_on(&s, g->changed, g->changed_len, QCBM_OPEN_WRITE);
    assert_dirty(s.img, "a", "0-512 4096-4608");
    assert_ok(qcbm_undo(s.img, g->undo, NULL, NULL, 0, &err), &err);
    assert_dirty(s.img, "a", "1536-2048");
    session_close(&s);
}

static int count_step(void *opaque, const struct qcbm_plan_step *step)
{
    assert_string_equal(step->stage_name, "undo");
    ++*(uint32_t *)opaque;
    return 0;
}

static int stop_at_once(void *opaque, const struct qcbm_plan_step *step)
{
    (void)opaque;
    (void)step;
    return 1;
}

static void a_dry_run_tells_and_writes_nothing(void **state)
{
    struct ground *g = *state;
    struct qcbm_undo_options o = QCBM_UNDO_OPTIONS_INIT;
    struct qcbm_undo_result r;
    struct qcbm_error err = { 0 };
    uint32_t steps = 0;
    struct session s;

    session_on(&s, g->changed, g->changed_len, 0); /* reading will do */
    o.dry_run = true;
    o.step = count_step;
    o.opaque = &steps;
    assert_ok(qcbm_undo(s.img, g->undo, &o, &r, sizeof(r), &err), &err);
    assert_true(steps >= 3);
    assert_int_equal(r.writes, steps);
    assert_int_equal(s.rec->n, 0);
    o.dry_run = false;
    assert_failure(qcbm_undo(s.img, g->undo, &o, &r, sizeof(r), &err), &err, QCBM_E_READONLY, QCBM_NO_OFFSET,
                   "opened for reading");
    o.dry_run = true;
    o.step = stop_at_once;
    assert_failure(qcbm_undo(s.img, g->undo, &o, &r, sizeof(r), &err), &err, QCBM_E_ABORTED, QCBM_NO_OFFSET, "stopped");
    session_close(&s);
}

/* A place that is in the end what it was, but not in between: the way back passes the same bytes. */
static void a_place_that_changes_twice_goes_back_twice(void **state)
{
    static const char *const texts[2][2] = { { "B", "x" }, { "A", "y" } };
    struct ground *g = *state;
    struct qcbmi_plan plan = { .undo_path = g->undo };
    struct qcbm_undo_result r;
    struct qcbm_error err = { 0 };
    struct record *rec;
    struct session s;
    const uint8_t *bytes;
    size_t len, at = g->b.len - 1000;

    unlink(g->undo);
    g->b.bytes[at] = 'A';
    session_open(&s, &g->b);
    for (unsigned i = 0; i < 2; i++) {
        assert_ok(qcbmi_plan_stage(&plan, "s", false, &err), &err);
        assert_ok(qcbmi_plan_write(&plan, "w", at, texts[i][0], 1, &err), &err);
        assert_ok(qcbmi_plan_write(&plan, "w", at + 600, texts[i][1], 1, &err), &err);
    }
    assert_ok(qcbmi_plan_commit(&plan, s.img->image, &err), &err);
    bytes = session_bytes(&s, &len);
    assert_true(bytes[at] == 'A' && bytes[at + 600] == 'y');
    assert_ok(undo_bytes(bytes, len, g->undo, &r, &rec, &err), &err);
    assert_record_is(rec, g->b.bytes, g->b.len);
    assert_int_equal(r.writes, 4);
    record_free(rec);
    qcbmi_plan_free(&plan);
    session_close(&s);
}

/* 3 MiB in a row, of one write: it goes back in writes that fit into the memory that was taken for them. */
static void a_long_write_goes_back_in_pieces(void **state)
{
    struct ground *g = *state;
    struct qcbmi_plan plan = { .undo_path = g->undo };
    struct qcbm_undo_result r;
    struct qcbm_error err = { 0 };
    struct qcbmi_bitset bits;
    struct record *rec;
    struct session s;
    const uint8_t *bytes;
    size_t len;

    unlink(g->undo);
    build_resize(&g->b, MIB(4));
    assert_int_equal(qcbmi_bitset_init(&bits, MIB(24), NULL), 0);
    assert_int_equal(qcbmi_bitset_set(&bits, 0, MIB(24), NULL), 0);
    session_open(&s, &g->b);
    assert_ok(qcbmi_plan_stage(&plan, "s", false, &err), &err);
    assert_ok(
        qcbmi_plan_write_from(&plan, "bits", 100000, MIB(3), &(struct qcbmi_source){ .bits = &bits, .first = 0 }, &err),
        &err);
    assert_ok(qcbmi_plan_commit(&plan, s.img->image, &err), &err);
    bytes = session_bytes(&s, &len);
    assert_ok(undo_bytes(bytes, len, g->undo, &r, &rec, &err), &err);
    assert_record_is(rec, g->b.bytes, g->b.len);
    for (size_t i = 0; i < rec->n; i++)
        assert_true(rec->events[i].len <= MIB(1));
    record_free(rec);
    qcbmi_bitset_free(&bits);
    qcbmi_plan_free(&plan);
    session_close(&s);
}

/* ---- refused: the image ---- */

static void another_image_is_refused(void **state)
{
    struct ground *g = *state;
    struct build_options opts[] = { { .size = KIB(65) },
                                    { .size = KIB(64), .cluster_bits = 12 },
                                    { .size = KIB(64), .refcount_bits = 8 } };

    for (size_t i = 0; i < ARRAY_LEN(opts); i++) {
        struct image_builder other;

        build_start(&other, &opts[i]);
        build_finish(&other);
        expect_refused(g, other.bytes, other.len, QCBM_E_ARG, QCBM_NO_OFFSET, "is of another image");
        build_free(&other);
    }
}

static void another_length_is_refused(void **state)
{
    struct ground *g = *state;
    uint8_t *longer = calloc(1, g->changed_len + 1);

    assert_non_null(longer);
    memcpy(longer, g->changed, g->changed_len);
    expect_refused(g, longer, g->changed_len + 1, QCBM_E_UNSAFE, QCBM_NO_OFFSET, "has changed since: the file is");
    expect_refused(g, longer, g->b.len - 1, QCBM_E_UNSAFE, QCBM_NO_OFFSET, "has changed since: the file is");
    free(longer);
}

/* Every byte of the image, changed: refused, or no concern of the undo, which leaves it as it is. */
static void every_byte_that_matters_is_compared(void **state)
{
    struct ground *g = *state;
    uint8_t *want = exact_copy(g->b.bytes, g->b.len);
    size_t refused = 0, undone = 0;

    for (size_t i = 0; i < g->changed_len; i++) {
        struct qcbm_undo_result r;
        struct qcbm_error err = { 0 };
        struct record *rec;
        struct session s;
        int ret;

        g->changed[i] ^= 0x10;
        s.rec = record_new(g->changed, g->changed_len);
        if (qcbm_open_io(record_ops(), s.rec, QCBM_OPEN_WRITE, &s.img, NULL) == 0) {
            qcbm_close(s.img);
            ret = undo_bytes(g->changed, g->changed_len, g->undo, &r, &rec, &err);
            if (ret < 0) {
                assert_true(ret == QCBM_E_UNSAFE || ret == QCBM_E_ARG);
                assert_int_equal(rec->n, 0);
                refused++;
            } else {
                assert_true(i < g->b.len);
                want[i] ^= 0x10;
                assert_record_is(rec, want, g->b.len);
                want[i] ^= 0x10;
                undone++;
            }
            record_free(rec);
        }
        record_free(s.rec);
        g->changed[i] ^= 0x10;
    }
    assert_true(refused > 2000);
    assert_true(undone > 500); /* guest data, L2 tables */
    free(want);
}

/* The header, the refcount table, the directory and what the change gave up are needed, though not overwritten. */
static void what_the_old_state_relies_on_is_compared(void **state)
{
    struct ground *g = *state;
    uint64_t places[] = { g->b.bitmaps[0].table, g->b.directory, g->b.reftable + 8, 511, 0 };

    places[4] = be64_load(g->b.bytes + g->b.bitmaps[0].table); /* its data */
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        g->changed[places[i]] ^= 0x40;
        expect_refused(g, g->changed, g->changed_len, QCBM_E_UNSAFE, places[i] == 511 ? 0 : ANYWHERE,
                       "has changed since, or is another one: these bytes are not those that it had");
        g->changed[places[i]] ^= 0x40;
    }
    ground_with(g, change_disable); /* the directory stays where it is */
    g->changed[g->b.bitmaps[1].entry + 12] ^= 2;
    expect_refused(g, g->changed, g->changed_len, QCBM_E_UNSAFE, g->b.directory,
                   "has changed since, or is another one");
}

/* Later stages done and earlier ones not: no cut leaves that. */
static void stages_that_contradict_each_other_are_refused(void **state)
{
    struct ground *g = *state;
    uint8_t *mixed = exact_copy(g->changed, g->changed_len);

    memcpy(mixed + 512, g->b.bytes + 512, g->b.len - 512); /* the header is new, the rest old */
    expect_refused(g, mixed, g->changed_len, QCBM_E_UNSAFE, ANYWHERE, "not those that were written");
    free(mixed);
}

/* ---- failures ---- */

struct failing {
    int good; /* calls that change something and still work */
};
static struct failing failing;

static int refuse(struct qcbm_error *err)
{
    return qcbmi_fail_errno(err, 5, QCBM_NO_OFFSET, "made to fail");
}

static int failing_write(void *self, uint64_t off, const void *buf, size_t len, struct qcbm_error *err)
{
    return failing.good-- > 0 ? record_ops()->write_at(self, off, buf, len, err) : refuse(err);
}

static int failing_flush(void *self, struct qcbm_error *err)
{
    return failing.good-- > 0 ? record_ops()->flush(self, err) : refuse(err);
}

static int failing_cut(void *self, uint64_t len, struct qcbm_error *err)
{
    return failing.good-- > 0 ? record_ops()->cut(self, len, err) : refuse(err);
}

/* Wherever it fails, the undo can be repeated with a new handle; the old one is of no more use. */
static void a_failed_undo_can_be_repeated(void **state)
{
    struct ground *g = *state;
    struct qcbm_io_ops ops = *record_ops();
    int ret = -1, failures = 0;

    ops.write_at = failing_write;
    ops.flush = failing_flush;
    ops.cut = failing_cut;
    for (int good = 0; ret < 0; good++) {
        struct qcbm_undo_result r;
        struct qcbm_error err = { 0 };
        struct session s = { record_new(g->changed, g->changed_len), NULL };
        struct record *rec;
        size_t len;
        const uint8_t *bytes;

        assert_ok(qcbm_open_io(&ops, s.rec, QCBM_OPEN_WRITE, &s.img, &err), &err);
        failing.good = good;
        ret = qcbm_undo(s.img, g->undo, NULL, NULL, 0, &err);
        if (ret < 0) {
            assert_failure(ret, &err, QCBM_E_IO, QCBM_NO_OFFSET, "undone in part, repeat it: ");
            assert_int_equal(qcbm_undo(s.img, g->undo, NULL, NULL, 0, &err), QCBM_E_UNSAFE);
            assert_non_null(strstr(err.message, "a commit failed"));
            failures++;
        }
        bytes = session_bytes(&s, &len);
        assert_ok(undo_bytes(bytes, len, g->undo, &r, &rec, &err), &err);
        assert_record_is(rec, g->b.bytes, g->b.len);
        record_free(rec);
        session_close(&s);
    }
    assert_true(failures > 6); /* three writes, a flush each, the cut, its flush */
}

static void a_backend_that_cannot_cut_is_told(void **state)
{
    struct ground *g = *state;
    struct qcbm_io_ops ops = *record_ops();
    struct session s = { record_new(g->changed, g->changed_len), NULL };
    struct qcbm_error err = { 0 };

    ops.cut = NULL;
    assert_ok(qcbm_open_io(&ops, s.rec, QCBM_OPEN_WRITE, &s.img, &err), &err);
    assert_failure(qcbm_undo(s.img, g->undo, NULL, NULL, 0, &err), &err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET,
                   "cannot make the image shorter");
    assert_int_equal(s.rec->n, 0);
    session_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_GROUND(content_and_length_come_back),
        ON_GROUND(the_result_counts_what_is_done),
        ON_GROUND(undone_twice_it_writes_nothing),
        ON_GROUND(the_handle_shows_the_old_state),
        ON_GROUND(a_dry_run_tells_and_writes_nothing),
        ON_GROUND(a_place_that_changes_twice_goes_back_twice),
        ON_GROUND(a_long_write_goes_back_in_pieces),
        ON_GROUND(another_image_is_refused),
        ON_GROUND(another_length_is_refused),
        ON_GROUND(every_byte_that_matters_is_compared),
        ON_GROUND(what_the_old_state_relies_on_is_compared),
        ON_GROUND(stages_that_contradict_each_other_are_refused),
        ON_GROUND(a_failed_undo_can_be_repeated),
        ON_GROUND(a_backend_that_cannot_cut_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
