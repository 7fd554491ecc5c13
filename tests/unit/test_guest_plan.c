/* test_guest_plan.c - guest bytes written into images in memory: what the disk, snapshots and refcounts are afterwards;
 * and each allocation that fails
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "delta/apply_target.h"
#include "fail_calls.h"

#define SIZE KIB(64)
#define MAX_EXTENTS 32u

/* What is written: extents, and their bytes in a disk. */
struct job {
    struct qcbmi_guest_extent e[MAX_EXTENTS];
    size_t n, at;
    uint8_t disk[SIZE];
    struct qcbmi_guest_stream stream;
};

static int next(void *opaque, struct qcbmi_guest_extent *out, struct qcbm_error *err)
{
    struct job *j = opaque;

    (void)err;
    if (j->at == j->n)
        return 0;
    *out = j->e[j->at++];
    return 1;
}

static int read_bytes(void *opaque, uint64_t off, void *buf, uint64_t len, struct qcbm_error *err)
{
    const struct job *j = opaque;

    (void)err;
    assert_true(off + len <= SIZE);
    memcpy(buf, j->disk + off, (size_t)len);
    return 0;
}

/* Of the disk @now it makes what it is afterwards. */
static void make_job(struct job *j, uint64_t *seed, uint8_t *now)
{
    uint64_t at = 0;

    memset(j, 0, sizeof(*j));
    j->stream = (struct qcbmi_guest_stream){ next, read_bytes, j };
    while (j->n < MAX_EXTENTS) {
        uint64_t unit = next_random(seed) % 3 ? 512 : 100, off = at + next_random(seed) % 12 * unit;
        uint64_t end = off + (1 + next_random(seed) % 9) * unit;
        bool zero = next_random(seed) % 3 == 0;

        if (end > SIZE)
            break;
        j->e[j->n++] = (struct qcbmi_guest_extent){ off, end, zero };
        for (uint64_t i = off; i < end; i++)
            j->disk[i] = now[i] = zero ? 0 : (uint8_t)next_random(seed);
        at = end;
    }
}

static void put_data(struct image_builder *b, uint64_t guest, uint64_t cs)
{
    uint64_t off = build_data(b, guest); /* which may move the bytes */

    memset(b->bytes + off, (int)(guest / cs) + 1, cs);
}

/* Plain, zero and unallocated clusters, some of them shared with a snapshot, and a bitmap. */
static void build(struct image_builder *b, bool extended, unsigned cluster_bits)
{
    struct build_options opt = { .size = SIZE, .cluster_bits = cluster_bits, .extended_l2 = extended };
    uint64_t cs = UINT64_C(1) << cluster_bits;

    build_start(b, &opt);
    for (uint64_t guest = 0; guest < SIZE; guest += 4 * cs)
        put_data(b, guest, cs);
    build_snapshot(b, "1", "then");
    for (uint64_t guest = cs; guest < SIZE / 2; guest += 8 * cs) /* the other table stays shared */
        put_data(b, guest, cs);
    if (!extended)
        for (uint64_t guest = 2 * cs; guest < SIZE / 2; guest += 8 * cs)
            build_map(b, guest, BUILD_ZERO, 0);
    build_bitmap(b, "on", 9, 2, NULL, 0);
    build_finish(b);
}

struct ground {
    struct qcbm_mem *mem;
    struct qcbmi_apply_target t;
};

static void open_ground(struct ground *g, const uint8_t *bytes, size_t len)
{
    struct qcbm_error err = { 0 };
    struct qcbmi_io io;

    assert_int_equal(qcbm_mem_new(bytes, len, &g->mem, NULL), 0);
    qcbm_mem_keep(g->mem);
    assert_ok(qcbmi_io_init(&io, qcbm_mem_ops(), g->mem, true, &err), &err);
    assert_ok(qcbmi_target_open(&g->t, &io, "image", true, QCBM_OPEN_WRITE, &err), &err);
}

static void close_ground(struct ground *g)
{
    qcbmi_target_close(&g->t);
    qcbm_mem_free(g->mem);
}

static void read_disk(const uint8_t *bytes, size_t len, const char *snapshot, uint8_t *to)
{
    struct qcbm_error err = { 0 };
    struct qcbmi_apply_target t;
    struct qcbmi_data *d;
    struct qcbmi_io io;
    struct qcbm_mem *mem;

    assert_int_equal(qcbm_mem_new(bytes, len, &mem, NULL), 0);
    assert_ok(qcbmi_io_init(&io, qcbm_mem_ops(), mem, false, &err), &err);
    assert_ok(qcbmi_target_open(&t, &io, "image", true, 0, &err), &err);
    if (snapshot) { /* the L1 table of the only one is read as if it were the active one */
        const struct q2_snapshot *s;

        assert_ok(qcbm_snapshots_load(&t.handle, &(uint32_t){ 0 }, &err), &err);
        s = &t.handle.image->snapshots[0];
        t.handle.image->h.l1_offset = s->l1_offset;
    }
    assert_ok(qcbmi_target_reader(&t, &d, &err), &err);
    assert_ok(qcbmi_data_read(d, 0, to, SIZE, &err), &err);
    qcbmi_data_close(d);
    qcbmi_target_close(&t);
}

static void expect_sound(const uint8_t *bytes, size_t len, bool leaks_are_fine)
{
    struct qcbm_check_result result;
    struct qcbm_error err = { 0 };
    struct qcbm_image *img;
    struct qcbm_mem *mem;

    assert_int_equal(qcbm_mem_new(bytes, len, &mem, NULL), 0);
    assert_ok(qcbm_open_io(qcbm_mem_ops(), mem, 0, &img, &err), &err);
    assert_ok(qcbm_check(img, NULL, &result, sizeof(result), &err), &err);
    assert_int_equal(result.corruptions, 0);
    if (!leaks_are_fine)
        assert_int_equal(result.leaks, 0);
    qcbm_close(img);
}

static int write_job(struct ground *g, struct job *j, uint64_t batch, struct qcbm_error *err)
{
    const struct qcbmi_target_write w = { .stream = &j->stream, .batch = batch };

    j->at = 0;
    return qcbmi_target_write(&g->t, &w, err);
}

static void one_life(uint64_t seed, bool extended, unsigned cluster_bits, uint64_t batch)
{
    static uint8_t now[SIZE], then[SIZE], got[SIZE];
    static struct job j;
    struct qcbm_error err = { 0 };
    struct image_builder b;
    struct ground g;
    const uint8_t *bytes;
    size_t len;

    build(&b, extended, cluster_bits);
    read_disk(b.bytes, b.len, NULL, now);
    read_disk(b.bytes, b.len, "then", then);
    open_ground(&g, b.bytes, b.len);
    for (int i = 0; i < 4; i++) {
        make_job(&j, &seed, now);
        assert_ok(write_job(&g, &j, batch, &err), &err);
        bytes = qcbm_mem_data(g.mem, &len);
        read_disk(bytes, len, NULL, got);
        assert_memory_equal(got, now, SIZE);
        read_disk(bytes, len, "then", got);
        assert_memory_equal(got, then, SIZE);
        expect_sound(bytes, len, false);
    }
    close_ground(&g);
    build_free(&b);
}

static void disks_are_what_is_written(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 40; seed++)
        one_life(seed, false, 9, 0);
    for (uint64_t seed = 1; seed <= 10; seed++)
        one_life(seed, true, 14, 0);
}

static void batches_end_anywhere(void **state)
{
    (void)state;
    for (uint64_t batch = 1; batch <= 5; batch++)
        one_life(batch + 100, batch % 2, batch % 2 ? 14 : 9, batch);
}

static void count_scans(void *opaque, const struct qcbm_trace_event *e)
{
    uint64_t *n = opaque;

    if (e->kind == QCBM_TRACE_READ && e->what && strstr(e->what, "snapshot"))
        ++*n;
}

/* What is free is found out once: in a large image that is a reading of all tables, too long for each batch. */
static void tables_are_read_once_for_all_batches(void **state)
{
    static uint8_t now[SIZE];
    static struct job j;
    uint64_t scans[2] = { 0 };

    (void)state;
    for (int i = 0; i < 2; i++) {
        struct qcbmi_trace trace = { count_scans, &scans[i] };
        struct image_builder b;
        struct ground g;
        uint64_t seed = 5;

        build(&b, false, 9);
        open_ground(&g, b.bytes, b.len);
        make_job(&j, &seed, now);
        qcbmi_io_trace_as(&g.t.handle.image->io, &trace, "image");
        assert_int_equal(write_job(&g, &j, i ? 1 : 0, NULL), 0);
        g.t.handle.image->io.trace = NULL;
        close_ground(&g);
        build_free(&b);
    }
    assert_true(scans[0] > 0);
    assert_int_equal(scans[1], scans[0]);
}

/* What is written twice is there, and takes no more room; what is given up is used again. */
static void space_is_used_again(void **state)
{
    static uint8_t now[SIZE];
    static struct job j;
    struct image_builder b;
    struct ground g;
    uint64_t seed = 7;
    size_t before, after;

    (void)state;
    build(&b, false, 9);
    open_ground(&g, b.bytes, b.len);
    make_job(&j, &seed, now);
    assert_int_equal(write_job(&g, &j, 0, NULL), 0);
    assert_int_equal(write_job(&g, &j, 0, NULL), 0);
    qcbm_mem_data(g.mem, &before);
    for (int i = 0; i < 6; i++)
        assert_int_equal(write_job(&g, &j, 0, NULL), 0);
    qcbm_mem_data(g.mem, &after);
    assert_int_equal(before, after);
    close_ground(&g);
    build_free(&b);
}

/* Damage is no ground to write on. */
static void damage_is_refused(void **state)
{
    static uint8_t now[SIZE];
    static struct job j;
    struct qcbm_error err = { 0 };
    struct image_builder b;
    struct ground g;
    const uint8_t *bytes;
    size_t len;
    uint64_t seed = 9;

    (void)state;
    make_job(&j, &seed, now);
    build(&b, false, 9);
    build_set_refcount(&b, b.l1, 0);
    open_ground(&g, b.bytes, b.len);
    assert_int_equal(write_job(&g, &j, 0, &err), QCBM_E_UNSAFE);
    bytes = qcbm_mem_data(g.mem, &len);
    assert_true(len == b.len && memcmp(bytes, b.bytes, len) == 0);
    close_ground(&g);
    build_free(&b);
}

/* An allocation fails: each cluster is old or new, nothing is corrupt, and a second try gives it all. */
static void one_failure(const struct image_builder *b, uint64_t at, bool *fired)
{
    static uint8_t old[SIZE], now[SIZE], got[SIZE];
    static struct job j;
    const struct fail_plan plan = { FAIL_ALLOC, at, FAIL_ERROR, 0 };
    struct qcbm_error err = { 0 };
    struct ground g;
    const uint8_t *bytes;
    uint64_t seed = 11;
    size_t len;
    int ret;

    read_disk(b->bytes, b->len, NULL, old);
    memcpy(now, old, SIZE);
    make_job(&j, &seed, now);
    open_ground(&g, b->bytes, b->len);
    fail_arm(&plan);
    ret = write_job(&g, &j, 16, &err);
    *fired = fail_disarm().fired;
    assert_true(ret == (*fired ? QCBM_E_NOMEM : 0) || ret == 0);
    bytes = qcbm_mem_data(g.mem, &len);
    expect_sound(bytes, len, true);
    read_disk(bytes, len, NULL, got);
    for (uint64_t i = 0; i < SIZE; i += 512)
        assert_true(memcmp(got + i, old + i, 512) == 0 || memcmp(got + i, now + i, 512) == 0);
    close_ground(&g);
}

static void each_allocation_may_fail(void **state)
{
    struct image_builder b;
    bool fired = true;
    uint64_t at;

    (void)state;
    build(&b, false, 9);
    for (at = 1; fired; at++)
        one_failure(&b, at, &fired);
    assert_true(at > 50);
    build_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(disks_are_what_is_written),
        cmocka_unit_test(batches_end_anywhere),
        cmocka_unit_test(tables_are_read_once_for_all_batches),
        cmocka_unit_test(space_is_used_again),
        cmocka_unit_test(damage_is_refused),
        cmocka_unit_test(each_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
