/* test_edit_nomem.c - a call that fails has staged nothing: each call that changes an edit, each allocation of it
 * SPDX-License-Identifier: MIT
 *
 * The edit is committed afterwards all the same. Then the file must be what it is without the call, byte for byte. */
#include "image_unit.h"

#include "fail_calls.h"

/* Enough granules for several pieces of a bitmap in memory. */
#define SIZE MIB(64)
#define AUTO 2u

struct world {
    struct image_builder image, other;
    struct qcbm_image *source; /* of the other image, opened with force-share */
    uint8_t file[65536];       /* a bitmap in a file of its own */
    size_t file_len, file_at;
};

static int take_bytes(void *opaque, const void *bytes, size_t len)
{
    struct world *w = opaque;

    assert_true(len <= sizeof(w->file) - w->file_len);
    memcpy(w->file + w->file_len, bytes, len);
    w->file_len += len;
    return 0;
}

static int64_t give_bytes(void *opaque, void *buf, size_t len)
{
    struct world *w = opaque;
    size_t n = w->file_len - w->file_at < len ? w->file_len - w->file_at : len;

    memcpy(buf, w->file + w->file_at, n);
    w->file_at += n;
    return (int64_t)n;
}

/* Two bitmaps of 512 bytes to a bit, with bits in two of their table entries, which no chunk has in common. */
static void build(struct image_builder *b)
{
    struct build_options opt = { .size = SIZE, .cluster_bits = 12, .backing = "base", .backing_format = "raw" };
    uint64_t entries[SIZE / 512 / 8 / 4096] = { 0 };

    build_start(b, &opt);
    for (uint64_t guest = 0; guest < SIZE; guest += MIB(8))
        build_data(b, guest + KIB(4));
    for (unsigned i = 0; i < 2; i++) {
        entries[i] = build_clusters(b, 1);
        entries[3 - i] = build_clusters(b, 1);
        b->bytes[entries[i] + 100] = 0x55;
        b->bytes[entries[3 - i] + 200] = 0xaa;
        build_bitmap(b, i ? "b" : "a", 9, AUTO, entries, sizeof(entries) / 8);
        memset(entries, 0, sizeof(entries));
    }
    build_finish(b);
}

static void world_begin(struct world *w)
{
    struct qcbm_error err = { 0 };

    memset(w, 0, sizeof(*w));
    build(&w->image);
    build(&w->other);
    w->source = build_open(&w->other, QCBM_OPEN_FORCE_SHARE);
    assert_ok(qcbm_bitmap_export(w->source, "a", QCBM_TRANSFER_QCBM, take_bytes, w, &err), &err);
}

static void world_end(struct world *w)
{
    qcbm_close(w->source);
    build_free(&w->image);
    build_free(&w->other);
}

#define CALL(name) static int call_##name(struct world *w, struct qcbm_edit *e, struct qcbm_error *err)
#define UNUSED(a) (void)(a)

CALL(add)
{
    UNUSED(w);
    return qcbm_edit_add(e, "new", 512, 0, err);
}

CALL(rename)
{
    UNUSED(w);
    return qcbm_edit_rename(e, "a", "new", err);
}

CALL(rotate)
{
    UNUSED(w);
    return qcbm_edit_rotate(e, "a", "new", err);
}

CALL(clear)
{
    UNUSED(w);
    return qcbm_edit_clear(e, "a", err);
}

CALL(merge)
{
    UNUSED(w);
    return qcbm_edit_merge(e, "a", NULL, "b", err);
}

CALL(merge_other)
{
    return qcbm_edit_merge(e, "b", w->source, "a", err);
}

CALL(intersect)
{
    UNUSED(w);
    return qcbm_edit_intersect(e, "a", NULL, "b", err);
}

CALL(subtract)
{
    return qcbm_edit_subtract(e, "a", w->source, "b", err);
}

CALL(copy)
{
    UNUSED(w);
    return qcbm_edit_copy(e, "new", NULL, "a", err);
}

CALL(copy_other)
{
    return qcbm_edit_copy(e, "new", w->source, "a", err);
}

CALL(regranularise)
{
    UNUSED(w);
    return qcbm_edit_regranularise(e, "a", 1024, err);
}

CALL(set_range)
{
    UNUSED(w);
    return qcbm_edit_set_range(e, "a", MIB(17), MIB(30), err);
}

CALL(unset_range)
{
    UNUSED(w);
    return qcbm_edit_unset_range(e, "a", 512, MIB(50), err);
}

CALL(import)
{
    w->file_at = 0;
    return qcbm_edit_import(e, "new", NULL, give_bytes, w, NULL, 0, err);
}

static int synth(struct qcbm_edit *e, struct qcbm_image *overlay, const char *name, unsigned flags,
                 struct qcbm_error *err)
{
    struct qcbm_synth_options opt = QCBM_SYNTH_OPTIONS_INIT;

    opt.granularity = 512;
    opt.flags = flags;
    return qcbm_edit_synth(e, overlay, name, &opt, NULL, err);
}

CALL(synth)
{
    return synth(e, w->source, "new", 0, err);
}

CALL(synth_merge)
{
    return synth(e, w->source, "a", QCBM_SYNTH_MERGE, err);
}

CALL(synth_replace)
{
    return synth(e, w->source, "a", QCBM_SYNTH_REPLACE, err);
}

CALL(set_undo)
{
    UNUSED(w);
    return qcbm_edit_set_undo(e, "/nowhere/undo", err);
}

static const struct {
    const char *name;
    int (*call)(struct world *w, struct qcbm_edit *e, struct qcbm_error *err);
} calls[] = {
    { "add", call_add },
    { "rename", call_rename },
    { "rotate", call_rotate },
    { "clear", call_clear },
    { "merge", call_merge },
    { "merge of another image", call_merge_other },
    { "intersect", call_intersect },
    { "subtract", call_subtract },
    { "copy", call_copy },
    { "copy of another image", call_copy_other },
    { "regranularise", call_regranularise },
    { "set a range", call_set_range },
    { "unset a range", call_unset_range },
    { "import", call_import },
    { "synth", call_synth },
    { "synth, merge", call_synth_merge },
    { "synth, replace", call_synth_replace },
    { "set_undo", call_set_undo },
};
#define N_CALLS (sizeof(calls) / sizeof(calls[0]))

/* What the edit has before the call: nothing, or bits of both bitmaps in memory. */
static struct qcbm_edit *begin(struct session *s, bool in_memory)
{
    struct qcbm_error err = { 0 };
    struct qcbm_edit *edit;

    assert_ok(qcbm_edit_begin(s->img, &edit, &err), &err);
    if (in_memory) {
        assert_ok(qcbm_edit_set_range(edit, "a", MIB(2), 512, &err), &err);
        assert_ok(qcbm_edit_set_range(edit, "b", MIB(18), 512, &err), &err);
    }
    return edit;
}

/* The call with allocation @at failing (0: without the call). False when there are not so many. */
static bool run(struct world *w, size_t call, bool in_memory, uint64_t at, const uint8_t *want, size_t want_len)
{
    struct qcbm_error err = { 0 };
    struct session s;
    struct qcbm_edit *edit;
    struct fail_report report = { 0 };
    const uint8_t *bytes;
    size_t len;
    int ret;

    session_open(&s, &w->image);
    edit = begin(&s, in_memory);
    fail_arm(&(struct fail_plan){ FAIL_ALLOC, at, FAIL_ERROR, 0 });
    ret = calls[call].call(w, edit, &err);
    report = fail_disarm();
    if (report.fired) {
        assert_int_equal(ret, QCBM_E_NOMEM);
        assert_int_equal(err.code, QCBM_E_NOMEM);
        assert_ok(qcbm_edit_commit(edit, NULL, 0, &err), &err);
        bytes = session_bytes(&s, &len);
        if (len != want_len || memcmp(bytes, want, len) != 0)
            fail_msg("%s, bits %s, allocation %llu fails: something is staged", calls[call].name,
                     in_memory ? "in memory" : "stored", (unsigned long long)at);
    }
    qcbm_edit_free(edit);
    session_close(&s);
    return report.fired;
}

static void every_call_that_fails_stages_nothing(void **state)
{
    struct world w;

    (void)state;
    world_begin(&w);
    for (int in_memory = 0; in_memory < 2; in_memory++) {
        struct qcbm_error err = { 0 };
        struct session s;
        struct qcbm_edit *edit;
        const uint8_t *want;
        size_t len;

        session_open(&s, &w.image);
        edit = begin(&s, in_memory);
        assert_ok(qcbm_edit_commit(edit, NULL, 0, &err), &err);
        want = session_bytes(&s, &len);
        for (size_t i = 0; i < N_CALLS; i++) {
            uint64_t at = 1;

            while (run(&w, i, in_memory, at, want, len))
                at++;
            assert_true(at > 1 || in_memory); /* on stored bits each of them takes memory */
        }
        qcbm_edit_free(edit);
        session_close(&s);
    }
    world_end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_call_that_fails_stages_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
