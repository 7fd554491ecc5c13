/* test_undo_save.c - what goes into an undo file, when, and what is left of it when something fails
 * SPDX-License-Identifier: MIT */
#include "undo_unit.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>

static void load(struct qcbmi_undo_file *f, const char *path)
{
    struct qcbm_error err = { 0 };

    memset(f, 0, sizeof(*f));
    assert_ok(qcbmi_undo_file_open(f, path, &err), &err);
}

/* ---- what is saved ---- */

/* A plan by hand: stage 0 writes [1000, 1600), stage 1 [1020, 1028) and the same again, stage 2 behind the end. */
static void save_by_hand(const struct image_builder *b, const char *path)
{
    struct qcbmi_plan plan = { .undo_path = path };
    struct qcbm_error err = { 0 };
    uint8_t bytes[600];
    struct session s;

    session_open(&s, b);
    memset(bytes, 0x11, sizeof(bytes));
    assert_ok(qcbmi_plan_stage(&plan, "zero", false, &err), &err);
    assert_ok(qcbmi_plan_write(&plan, "w", 1000, bytes, 600, &err), &err);
    assert_ok(qcbmi_plan_stage(&plan, "empty", false, &err), &err);
    assert_ok(qcbmi_plan_stage(&plan, "one", false, &err), &err);
    memset(bytes, 0x22, sizeof(bytes));
    assert_ok(qcbmi_plan_write(&plan, "w", 1020, bytes, 8, &err), &err);
    assert_ok(qcbmi_plan_stage(&plan, "two", false, &err), &err);
    assert_ok(qcbmi_plan_write(&plan, "w", b->len - 100, bytes, 300, &err), &err);
    assert_ok(qcbmi_plan_relies(&plan, b->len - 600, 500, &err), &err);
    assert_ok(qcbmi_plan_relies(&plan, b->len - 100, 500, &err), &err); /* goes on where the last ended: one range */
    assert_ok(qcbmi_undo_save(&plan, s.img->image, &err), &err);
    assert_untouched(&s, b);
    qcbmi_plan_free(&plan);
    session_close(&s);
}

static void writes_are_cut_at_each_other_s_ends_and_at_sectors(void **state)
{
    struct image_builder *b = bench_builder(state);
    const char *path = temp_path(bench_dir(state), "undo");
    struct qcbmi_undo_file f;
    struct {
        int kind;
        unsigned stage;
        uint64_t off, len;
    } want[] = {
        { 1, 0, 1000, 20 }, { 1, 0, 1020, 4 },   { 1, 1, 1020, 4 },  { 1, 0, 1024, 4 },
        { 1, 1, 1024, 4 },  { 1, 0, 1028, 508 }, { 1, 0, 1536, 64 }, { 1, 2, 0, 100 },
        { 2, 2, 0, 200 },   { 3, 0, 0, 512 },    { 3, 0, 512, 512 }, { 3, 0, 0, 600 },
    };

    build_ab(b);
    want[7].off = b->len - 100;
    want[8].off = b->len;
    want[11].off = b->len - 600;
    save_by_hand(b, path);
    load(&f, path);
    assert_int_equal(f.h.n_stages, 3); /* empty ones do not count */
    assert_int_equal(f.h.len_before, b->len);
    assert_int_equal(f.h.len_after, b->len + 200);
    assert_int_equal(f.n, ARRAY_LEN(want));
    for (size_t i = 0; i < f.n; i++) {
        assert_int_equal(f.places[i].r.kind, want[i].kind);
        assert_int_equal(f.places[i].r.stage, want[i].stage);
        assert_int_equal(f.places[i].r.off, want[i].off);
        assert_int_equal(f.places[i].r.len, want[i].len);
    }
    qcbmi_undo_file_close(&f);
}

static void old_bytes_are_those_before_the_stage(void **state)
{
    struct image_builder *b = bench_builder(state);
    const char *path = temp_path(bench_dir(state), "undo");
    static const uint8_t ones[4] = { 0x11, 0x11, 0x11, 0x11 };
    uint8_t twos[QCBMI_DIGEST_BYTES];
    struct qcbmi_undo_file f;

    build_ab(b);
    for (size_t i = 0; i < 600; i++)
        b->bytes[1000 + i] = (uint8_t)i; /* refcounts and more; nothing is read of it */
    save_by_hand(b, path);
    load(&f, path);
    assert_int_equal(qcbmi_undo_file_record(&f, 1, NULL), 0); /* stage 0: of the image */
    assert_memory_equal(qcbmi_undo_record_old(f.record, &f.places[1].r), b->bytes + 1020, 4);
    assert_true(qcbmi_digest_is(ones, 4, qcbmi_undo_record_digest(f.record, 0)));
    assert_int_equal(qcbmi_undo_file_record(&f, 2, NULL), 0); /* stage 1: what stage 0 wrote */
    assert_memory_equal(qcbmi_undo_record_old(f.record, &f.places[2].r), ones, 4);
    qcbmi_digest("\x22\x22\x22\x22", 4, twos);
    assert_memory_equal(qcbmi_undo_record_digest(f.record, 0), twos, sizeof(twos));
    qcbmi_undo_file_close(&f);
}

/* 3 MiB of payload over 3 MiB of old bytes: records of at most 1 MiB, and no more memory than for one. */
static void long_writes_become_several_records(void **state)
{
    struct bench *t = *state;
    const char *path = temp_path(bench_dir(state), "undo");
    struct qcbmi_plan plan = { .undo_path = path };
    struct qcbm_error err = { 0 };
    struct qcbmi_bitset bits;
    struct qcbmi_undo_file f;
    uint64_t total = 0;

    build_ab(&t->b);
    build_resize(&t->b, MIB(4));
    session_open(&t->s, &t->b);
    assert_int_equal(qcbmi_bitset_init(&bits, MIB(24), NULL), 0);
    assert_int_equal(qcbmi_bitset_set(&bits, 5, MIB(20), NULL), 0);
    assert_ok(qcbmi_plan_stage(&plan, "s", false, &err), &err);
    assert_ok(
        qcbmi_plan_write_from(&plan, "bits", 100000, MIB(3), &(struct qcbmi_source){ .bits = &bits, .first = 0 }, &err),
        &err);
    assert_ok(qcbmi_undo_save(&plan, t->s.img->image, &err), &err);
    load(&f, path);
    for (size_t i = 0; i < f.n_changed; i++) {
        const struct qcbmi_undo_record *r = &f.places[i].r;

        assert_int_equal(r->off, 100000 + total);
        assert_true(r->len <= MIB(1));
        total += r->len;
    }
    assert_int_equal(total, MIB(3));
    qcbmi_undo_file_close(&f);
    qcbmi_bitset_free(&bits);
    qcbmi_plan_free(&plan);
}

static void too_many_stages_are_refused(void **state)
{
    struct bench *t = *state;
    const char *path = temp_path(bench_dir(state), "undo");
    struct qcbmi_plan plan = { .undo_path = path };
    struct qcbm_error err = { 0 };

    build_ab(&t->b);
    session_open(&t->s, &t->b);
    for (unsigned i = 0; i < 64; i++) {
        assert_ok(qcbmi_plan_stage(&plan, "s", false, &err), &err);
        assert_ok(qcbmi_plan_write(&plan, "w", 2048 + i, "x", 1, &err), &err);
    }
    assert_failure(qcbmi_undo_save(&plan, t->s.img->image, &err), &err, QCBM_E_LIMIT, QCBM_NO_OFFSET,
                   "at most 63 stages");
    assert_int_equal(access(path, F_OK), -1);
    qcbmi_plan_free(&plan);
}

/* ---- when ---- */

static void a_change_of_nothing_makes_an_undo_file_too(void **state)
{
    struct bench *t = *state;
    const char *path = temp_path(bench_dir(state), "undo");
    struct qcbmi_undo_file f;
    struct qcbm_error err = { 0 };

    build_ab(&t->b);
    session_open(&t->s, &t->b);
    assert_ok(change_with_undo(&t->s, change_nothing, path, &err), &err);
    assert_untouched(&t->s, &t->b);
    load(&f, path);
    assert_int_equal(f.n_changed, 0);
    qcbmi_undo_file_close(&f);
}

static void a_plan_makes_no_undo_file(void **state)
{
    struct bench *t = *state;
    const char *path = temp_path(bench_dir(state), "undo");
    struct qcbm_error err = { 0 };
    struct qcbm_edit *edit;

    build_ab(&t->b);
    session_open(&t->s, &t->b);
    assert_ok(qcbm_edit_begin(t->s.img, &edit, &err), &err);
    assert_ok(change_synth(edit, t->s.img, &err), &err);
    assert_ok(qcbm_edit_set_undo(edit, path, &err), &err);
    assert_ok(qcbm_edit_plan(edit, NULL, 0, NULL, NULL, &err), &err);
    qcbm_edit_free(edit);
    assert_int_equal(access(path, F_OK), -1);
}

/* ---- failures ---- */

static void a_file_that_is_there_is_not_overwritten(void **state)
{
    struct image_builder *b = bench_builder(state);
    const char *path = temp_path(bench_dir(state), "undo");
    struct qcbm_error err = { 0 };
    struct session s;
    char text[8] = "";
    int fd = open(path, O_CREAT | O_WRONLY, 0600);

    assert_int_equal(write(fd, "mine", 4), 4);
    close(fd);
    build_ab(b);
    for (unsigned i = 0; i < 2; i++) {
        session_open(&s, b);
        assert_failure(change_with_undo(&s, i ? change_nothing : change_synth, path, &err), &err, QCBM_E_EXISTS,
                       QCBM_NO_OFFSET, "exists already and is not overwritten");
        assert_untouched(&s, b);
        session_close(&s);
    }
    fd = open(path, O_RDONLY);
    assert_int_equal(read(fd, text, sizeof(text)), 4);
    assert_string_equal(text, "mine");
    close(fd);
}

/* However much of the file can be written: the image is not touched, and no file is left. */
static void an_undo_file_that_cannot_be_written_is_removed(void **state)
{
    struct image_builder *b = bench_builder(state);
    const char *path = temp_path(bench_dir(state), "undo");
    struct rlimit old, limit;
    struct qcbm_error err = { 0 };
    struct session s;
    unsigned failures = 0;
    int ret = -1;

    build_ab(b);
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &old);
    for (rlim_t max = 0; ret < 0; max += 100) {
        session_open(&s, b);
        limit = (struct rlimit){ max, old.rlim_max };
        setrlimit(RLIMIT_FSIZE, &limit);
        ret = change_with_undo(&s, change_synth, path, &err);
        setrlimit(RLIMIT_FSIZE, &old);
        if (ret < 0) {
            assert_failure(ret, &err, QCBM_E_IO, err.offset, "nothing was written: undo file '");
            assert_untouched(&s, b);
            assert_int_equal(access(path, F_OK), -1);
            failures++;
        }
        session_close(&s);
    }
    assert_true(failures > 10);
    assert_int_equal(access(path, F_OK), 0);
}

/* The memory backend, on a device that is full. */
static int no_space(void *self, uint64_t off, uint64_t len, struct qcbm_error *err)
{
    (void)self;
    (void)off;
    (void)len;
    return qcbmi_fail(err, QCBM_E_NOSPACE, QCBM_NO_OFFSET, "no space");
}

static int no_growth(void *self, uint64_t len, struct qcbm_error *err)
{
    return no_space(self, 0, len, err);
}

static void a_commit_that_ends_before_its_first_write_leaves_no_undo_file(void **state)
{
    struct image_builder *b = bench_builder(state);
    const char *path = temp_path(bench_dir(state), "undo");
    struct qcbm_error err = { 0 };

    build_ab(b);
    for (unsigned i = 0; i < 2; i++) {
        struct qcbm_io_ops ops = *record_ops();
        struct session s = { record_new(b->bytes, b->len), NULL };

        if (i == 0)
            ops.reserve = no_space;
        else
            ops.grow = no_growth;
        assert_ok(qcbm_open_io(&ops, s.rec, QCBM_OPEN_WRITE, &s.img, &err), &err);
        assert_failure(change_with_undo(&s, change_synth, path, &err), &err, QCBM_E_NOSPACE, QCBM_NO_OFFSET,
                       "no space");
        assert_untouched(&s, b);
        assert_int_equal(access(path, F_OK), -1);
        session_close(&s);
    }
}

static void a_folder_that_is_not_there_is_told(void **state)
{
    struct bench *t = bench_open(state, build_ab);
    struct qcbm_error err = { 0 };

    assert_failure(change_with_undo(&t->s, change_synth, "/nonexistent/a\nb", &err), &err, QCBM_E_NOTFOUND,
                   QCBM_NO_OFFSET,
                   "nothing was written: undo file '/nonexistent/a\\x0ab': Could not create: No such file");
    assert_untouched(&t->s, &t->b);
}

#define IN_FOLDER(test) image_test(test)

int main(void)
{
    const struct CMUnitTest tests[] = {
        IN_FOLDER(writes_are_cut_at_each_other_s_ends_and_at_sectors),
        IN_FOLDER(old_bytes_are_those_before_the_stage),
        IN_FOLDER(long_writes_become_several_records),
        IN_FOLDER(too_many_stages_are_refused),
        IN_FOLDER(a_change_of_nothing_makes_an_undo_file_too),
        IN_FOLDER(a_plan_makes_no_undo_file),
        IN_FOLDER(a_file_that_is_there_is_not_overwritten),
        IN_FOLDER(an_undo_file_that_cannot_be_written_is_removed),
        IN_FOLDER(a_commit_that_ends_before_its_first_write_leaves_no_undo_file),
        IN_FOLDER(a_folder_that_is_not_there_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
