/* test_synth_chain.c - synthesised bitmaps of several layers, and in other images
 * SPDX-License-Identifier: MIT */
#include "synth_unit.h"

/* ---- into another image ---- */

struct into {
    struct image_builder from, to;
    struct qcbm_image *overlay;
    struct session target;
};

/* @from has data in its first and its last KiB. */
static int run_into(struct into *t, uint64_t from_size, uint64_t to_size, uint64_t granularity, struct qcbm_error *err)
{
    struct build_options to = { .size = to_size, .cluster_bits = 12 };
    struct qcbm_synth_options opt = QCBM_SYNTH_OPTIONS_INIT;
    struct qcbm_edit *edit = NULL;
    int ret;

    build_overlay(&t->from, from_size);
    build_data(&t->from, 0);
    build_data(&t->from, (from_size - 1) / 512 * 512);
    build_finish(&t->from);
    build_start(&t->to, &to);
    build_finish(&t->to);
    t->overlay = build_open(&t->from, 0);
    session_open(&t->target, &t->to);
    opt.granularity = granularity;
    ret = qcbm_edit_begin(t->target.img, &edit, err);
    if (ret == 0)
        ret = qcbm_edit_synth(edit, t->overlay, "n", &opt, NULL, err);
    if (ret == 0)
        ret = qcbm_edit_commit(edit, NULL, 0, err);
    qcbm_edit_free(edit);
    return ret;
}

static void end_into(struct into *t)
{
    session_close(&t->target);
    qcbm_close(t->overlay);
    build_free(&t->from);
    build_free(&t->to);
}

static void the_bitmap_has_the_size_of_the_image_it_goes_into(void **state)
{
    static const struct {
        uint64_t from, to;
        const char *dirty;
    } cases[] = {
        { KIB(64), KIB(64), "0-512 65024-65536" },
        { KIB(64), KIB(128), "0-512 65024-65536" },
        { KIB(64) + 100, KIB(128), "0-512 65536-66048" }, /* an odd size on the reading side loses nothing */
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct into t;
        struct qcbm_error err = { 0 };

        assert_ok(run_into(&t, cases[i].from, cases[i].to, 512, &err), &err);
        assert_dirty(t.target.img, "n", cases[i].dirty);
        end_into(&t);
    }
}

static void dirty_ranges_past_the_end_are_refused(void **state)
{
    static const struct {
        uint64_t from, to, granularity;
    } cases[] = {
        { KIB(64), KIB(32), 512 },
        { KIB(64), KIB(64) - 512, 512 },
        { KIB(64), KIB(64) - 512, KIB(4) }, /* the last granule has a bit, but not all of its bytes */
        { KIB(64) + 100, KIB(64) + 100, 512 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct into t;
        struct qcbm_error err = { 0 };
        int ret = run_into(&t, cases[i].from, cases[i].to, cases[i].granularity, &err);

        assert_failure(ret, &err, QCBM_E_ARG, QCBM_NO_OFFSET, "past the end");
        assert_untouched(&t.target, &t.to);
        end_into(&t);
    }
}

/* ---- chains: files in a folder ---- */

/* Layer @name of @size with data at @guest (none if UINT64_MAX). */
static void write_layer(const struct temp_dir *d, const char *name, uint64_t size, const char *backing, uint64_t guest)
{
    struct build_options opt = { .size = size, .backing = backing, .backing_format = backing ? "qcow2" : NULL };
    struct image_builder b;

    build_start(&b, &opt);
    if (guest != UINT64_MAX)
        build_data(&b, guest);
    build_finish(&b);
    build_write_file(&b, temp_path(d, name));
    build_free(&b);
}

static int synth_file(const struct temp_dir *d, const char *top, const char *since, unsigned flags, char *dirty,
                      struct qcbm_synth_summary *sum, char note[512], struct qcbm_error *err)
{
    struct qcbm_synth_options opt = QCBM_SYNTH_OPTIONS_INIT;
    struct extent_text text = { "" };
    struct qcbm_synth_result *r = NULL;
    struct qcbm_image *img;
    int ret = qcbm_open(temp_path(d, top), QCBM_OPEN_WRITE, &img, err);

    opt.granularity = 512;
    opt.flags = flags;
    opt.since = since ? temp_path(d, since) : NULL;
    note[0] = dirty[0] = '\0';
    if (ret == 0)
        ret = qcbm_synth(img, "n", &opt, &r, err);
    if (ret == 0) {
        qcbm_synth_result_summary(r, sum, sizeof(*sum));
        snprintf(note, 512, "%s", sum->notes ? qcbm_synth_result_note(r, 0) : "");
        assert_ok(qcbm_bitmap_extents(img, "n", 0, add_extent_text, &text, err), err);
        snprintf(dirty, 512, "%s", text.text);
    }
    qcbm_synth_result_free(r);
    qcbm_close(img);
    return ret;
}

/* A chain of four layers with these sizes and a cluster of data each, where it is not UINT64_MAX; from the base to the
 * top. */
static void synth_of_four(const uint64_t *sizes, const uint64_t *at, const char *since, char *dirty,
                          struct qcbm_synth_summary *sum)
{
    static const char *const names[] = { "base", "low", "mid", "top" };
    struct temp_dir d;
    struct qcbm_error err = { 0 };
    char note[512];

    temp_dir_make(&d);
    for (unsigned i = 0; i < 4; i++)
        write_layer(&d, names[i], sizes[i], i ? names[i - 1] : NULL, at[i]);
    assert_ok(synth_file(&d, "top", since, 0, dirty, sum, note, &err), &err);
    temp_dir_remove(&d);
}

static void since_counts_the_layers_above_the_base(void **state)
{
    static const struct {
        const char *since, *dirty;
        uint32_t layers;
    } cases[] = {
        { NULL, "12288-12800", 1 },
        { "mid", "12288-12800", 1 },
        { "low", "8192-8704 12288-12800", 2 },
        { "base", "4096-4608 8192-8704 12288-12800", 3 },
    };
    struct qcbm_synth_summary sum;
    char dirty[512];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        static const uint64_t sizes[] = { KIB(64), KIB(64), KIB(64), KIB(64) }, at[] = { 0, KIB(4), KIB(8), KIB(12) };

        synth_of_four(sizes, at, cases[i].since, dirty, &sum);
        assert_string_equal(dirty, cases[i].dirty);
        assert_int_equal(sum.layers, cases[i].layers);
        assert_int_equal(sum.notes, 0);
    }
}

/* What a short layer hides of a longer one below it reads as zeros, though no table says so. */
static void a_short_layer_makes_dirty_what_it_hides(void **state)
{
    static const struct {
        uint64_t sizes[4]; /* from the base to the top */
        const char *dirty; /* no layer but the base has data */
    } cases[] = {
        { { KIB(64), KIB(64), KIB(32), KIB(64) }, "32768-65536" },
        { { KIB(64), KIB(32), KIB(64), KIB(64) }, "32768-65536" },
        { { KIB(64), KIB(16), KIB(32), KIB(64) }, "16384-65536" },
        { { KIB(64), KIB(64), KIB(32), KIB(48) }, "32768-49152" },
        { { KIB(32), KIB(16), KIB(64), KIB(64) }, "16384-32768" },
        { { KIB(32), KIB(64), KIB(16), KIB(64) }, "16384-65536" },       /* low is as long as 64, mid hides it */
        { { KIB(32), KIB(32), KIB(32), KIB(64) }, "" },                  /* grown at the top only */
        { { KIB(32), KIB(64), KIB(64), KIB(64) }, "" },                  /* grown further down */
        { { KIB(64), KIB(64), KIB(64), KIB(32) }, "" },                  /* the top is the shortest */
        { { KIB(64), KIB(32) + 100, KIB(64), KIB(64) }, "32768-65536" }, /* QEMU cuts the odd bytes off */
        /* it cuts them off a qcow2 layer, and fills them up of a raw one: the shorter may be the longer */
        { { KIB(32) + 100, KIB(32) + 200, KIB(64), KIB(64) }, "32768-33280" },
    };
    struct qcbm_synth_summary sum;
    char dirty[512];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        static const uint64_t at[] = { 0, UINT64_MAX, UINT64_MAX, UINT64_MAX };

        synth_of_four(cases[i].sizes, at, "base", dirty, &sum);
        if (strcmp(dirty, cases[i].dirty) != 0)
            print_error("case %zu\n", i);
        assert_string_equal(dirty, cases[i].dirty);
    }
}

static void a_tail_past_the_base_is_clean_with_a_note_or_dirty_on_request(void **state)
{
    static const struct {
        const char *since;
        unsigned flags;
        const char *dirty, *note;
    } cases[] = {
        { "base", 0, "0-512", "grown by 32768 bytes" },
        { "base", QCBM_SYNTH_DIRTY_TAIL, "0-512 32768-65536", "all of them are dirty" },
        { NULL, QCBM_SYNTH_DIRTY_TAIL, "0-512 32768-65536", "all of them are dirty" },
    };
    struct qcbm_synth_summary sum;
    char dirty[512], note[512];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct temp_dir d;
        struct qcbm_error err = { 0 };

        temp_dir_make(&d);
        write_layer(&d, "base", KIB(32), NULL, UINT64_MAX);
        write_layer(&d, "top", KIB(64), "base", 0);
        assert_ok(synth_file(&d, "top", cases[i].since, cases[i].flags, dirty, &sum, note, &err), &err);
        assert_string_equal(dirty, cases[i].dirty);
        assert_non_null(strstr(note, cases[i].note));
        assert_int_equal(sum.notes, 1);
        temp_dir_remove(&d);
    }
}

/* What a running program holds in memory is missing in it: such bits are for looking at. */
static void what_was_read_while_others_may_write_is_not_committed(void **state)
{
    struct qcbm_synth_options opt = QCBM_SYNTH_OPTIONS_INIT;
    const struct temp_dir *d = bench_dir(state);

    write_layer(d, "base", KIB(64), NULL, 0);
    write_layer(d, "mid", KIB(64), "base", KIB(4));
    write_layer(d, "top", KIB(64), "mid", KIB(8));
    opt.since = temp_path(d, "base");
    for (unsigned i = 0; i < 2; i++) { /* the overlay, then the layers below it */
        struct qcbm_error err = { 0 };
        struct qcbm_image *target, *top;
        struct qcbm_plan_summary sum;
        struct qcbm_edit *edit;

        opt.flags = i ? QCBM_SYNTH_FORCE_SHARE : 0;
        assert_ok(qcbm_open(temp_path(d, "mid"), QCBM_OPEN_WRITE, &target, &err), &err);
        assert_ok(qcbm_open(temp_path(d, "top"), i ? 0 : QCBM_OPEN_FORCE_SHARE, &top, &err), &err);
        assert_ok(qcbm_edit_begin(target, &edit, &err), &err);
        assert_ok(qcbm_edit_synth(edit, top, "n", &opt, NULL, &err), &err);
        assert_ok(qcbm_edit_plan(edit, &sum, sizeof(sum), NULL, NULL, &err), &err);
        assert_true(sum.writes > 0);
        assert_failure(qcbm_edit_commit(edit, NULL, 0, &err), &err, QCBM_E_UNSAFE, QCBM_NO_OFFSET, "not written");
        assert_int_equal(bitmap_count(target), 0);
        qcbm_edit_free(edit);
        qcbm_close(top);
        qcbm_close(target);
    }
}

static void a_base_that_is_none_is_refused(void **state)
{
    static const struct {
        const char *since;
        int code;
        const char *text;
    } cases[] = {
        { "top", QCBM_E_ARG, "is the overlay itself" },
        { "other", QCBM_E_CHAIN, "is not in the backing chain" },
        { "missing", QCBM_E_NOTFOUND, "No such file" },
    };
    struct qcbm_synth_summary sum;
    char dirty[512], note[512];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct temp_dir d;
        struct qcbm_error err = { 0 };
        int ret;

        temp_dir_make(&d);
        write_layer(&d, "base", KIB(64), NULL, UINT64_MAX);
        write_layer(&d, "top", KIB(64), "base", 0);
        write_layer(&d, "other", KIB(64), NULL, 0);
        ret = synth_file(&d, "top", cases[i].since, 0, dirty, &sum, note, &err);
        assert_failure(ret, &err, cases[i].code, QCBM_NO_OFFSET, cases[i].text);
        temp_dir_remove(&d);
    }
}

static void a_base_needs_an_image_in_a_file(void **state)
{
    struct bench *t = *state;
    struct qcbm_synth_options opt = QCBM_SYNTH_OPTIONS_INIT;
    struct qcbm_error err = { 0 };

    build_overlay(&t->b, KIB(64));
    build_finish(&t->b);
    session_open(&t->s, &t->b);
    opt.since = "base";
    assert_failure(qcbm_synth(t->s.img, "n", &opt, NULL, &err), &err, QCBM_E_ARG, QCBM_NO_OFFSET, "in a file");
}

/* The image that gets the bitmap is open for writing, and is a layer of the chain that is read. */
static void the_target_may_be_a_layer_of_the_chain(void **state)
{
    struct qcbm_synth_options opt = QCBM_SYNTH_OPTIONS_INIT;
    struct qcbm_image *top, *mid;
    struct qcbm_edit *edit;
    struct qcbm_error err = { 0 };
    const struct temp_dir *d = bench_dir(state);

    write_layer(d, "base", KIB(64), NULL, 0);
    write_layer(d, "mid", KIB(64), "base", KIB(4));
    write_layer(d, "top", KIB(64), "mid", KIB(8));
    assert_ok(qcbm_open(temp_path(d, "mid"), QCBM_OPEN_WRITE, &mid, &err), &err);
    assert_ok(qcbm_open(temp_path(d, "top"), 0, &top, &err), &err);
    assert_ok(qcbm_edit_begin(mid, &edit, &err), &err);
    opt.granularity = 512;
    opt.since = temp_path(d, "base");
    assert_ok(qcbm_edit_synth(edit, top, "n", &opt, NULL, &err), &err);
    assert_ok(qcbm_edit_commit(edit, NULL, 0, &err), &err);
    assert_dirty(mid, "n", "4096-4608 8192-8704");
    qcbm_edit_free(edit);
    qcbm_close(top);
    qcbm_close(mid);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_bitmap_has_the_size_of_the_image_it_goes_into),
        cmocka_unit_test(dirty_ranges_past_the_end_are_refused),
        cmocka_unit_test(since_counts_the_layers_above_the_base),
        cmocka_unit_test(a_short_layer_makes_dirty_what_it_hides),
        cmocka_unit_test(a_tail_past_the_base_is_clean_with_a_note_or_dirty_on_request),
        image_test(what_was_read_while_others_may_write_is_not_committed),
        cmocka_unit_test(a_base_that_is_none_is_refused),
        image_test(a_base_needs_an_image_in_a_file),
        image_test(the_target_may_be_a_layer_of_the_chain),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
