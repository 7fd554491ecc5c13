/* test_field_edit.c - single fields set by hand: where they lie, what is compared, what is refused, how they are
 * written
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include <errno.h>

#include "fail_calls.h"
#include "repair/field.h"

#define DATA KIB(1)

static void plain(struct image_builder *b)
{
    build_start(b, &(struct build_options){ .size = KIB(64) });
    build_data(b, 0);
    build_data(b, DATA);
    build_bitmap(b, "b0", 9, 2, NULL, 0);
    build_bitmap(b, "b 1", 10, 0, NULL, 0);
    build_finish(b);
}

struct run {
    struct qcbm_edit_fields_options o;
    struct qcbm_edit_fields_result r;
    struct qcbm_error err;
    struct qcbm_field_change last; /* without its strings */
    unsigned n_made, n_told;
};

static int on_field(void *opaque, const struct qcbm_field_change *c)
{
    ((struct run *)opaque)->last = *c;
    ((struct run *)opaque)->n_told++;
    return 0;
}

static int on_made(void *opaque, const struct qcbm_check_finding *f)
{
    assert_non_null(f->message);
    ((struct run *)opaque)->n_made++;
    return 0;
}

/* On the bytes that @s has by now. */
static int edit(struct session *s, struct run *run, unsigned flags, const char *undo, const char *const *edits,
                size_t n)
{
    struct qcbm_edit_fields_options o = QCBM_EDIT_FIELDS_OPTIONS_INIT;

    *run = (struct run){ .err = { 0 } };
    o.flags = flags;
    o.undo = undo;
    o.field = on_field;
    o.made = on_made;
    o.opaque = run;
    return qcbm_edit_fields_io(record_ops(), s->rec, QCBM_OPEN_WRITE, edits, n, &o, &run->r, sizeof(run->r), &run->err);
}

static int edit_one(struct session *s, struct run *run, unsigned flags, const char *text)
{
    return edit(s, run, flags, NULL, &text, 1);
}

static struct session *open_plain(void **state)
{
    struct bench *t = *state;

    plain(&t->b);
    t->s.rec = record_new(t->b.bytes, t->b.len);
    return &t->s;
}

static void assert_same(const struct session *s, const struct image_builder *b)
{
    size_t len;
    const uint8_t *now = session_bytes(s, &len);

    assert_int_equal(len, b->len);
    assert_memory_equal(now, b->bytes, len);
}

/* ---- as it is written ---- */

static void an_edit_is_read_from_its_end(void **state)
{
    static const struct {
        const char *text;
        enum qcbmi_field_kind kind;
        uint64_t index, old_value, new_value;
        const char *whose, *name;
        bool has_old;
    } cases[] = {
        { "l2 0x10000: 0x8000000000050000=0x1", QCBMI_FIELD_L2, 0x10000, UINT64_C(0x8000000000050000), 1, "", "",
          true },
        { "l2 65536:5=18446744073709551615", QCBMI_FIELD_L2, 65536, 5, UINT64_MAX, "", "", true },
        { " l1  3 =7", QCBMI_FIELD_L1, 3, 0, 7, "", "", false },
        { "header size: 1 = 2", QCBMI_FIELD_HEADER, 0, 1, 2, "", "size", true },
        { "bitmap a:b=c d flags: 0x0=0X1", QCBMI_FIELD_BITMAP, 0, 0, 1, "a:b=c d", "flags", true },
        { "bitmap a:5 flags=1", QCBMI_FIELD_BITMAP, 0, 0, 1, "a:5", "flags", false },
        { "bitmap_table x 4: 1=0", QCBMI_FIELD_BITMAP_TABLE, 4, 1, 0, "x", "4", true },
        { "snapshot 2 l1_size: 1=0", QCBMI_FIELD_SNAPSHOT, 2, 1, 0, "2", "l1_size", true },
        { "bitmaps nb_bitmaps: 1=0", QCBMI_FIELD_BITMAPS, 0, 1, 0, "", "nb_bitmaps", true },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct qcbm_error err = { 0 };
        struct qcbmi_field f;

        assert_ok(qcbmi_field_parse(cases[i].text, &f, &err), &err);
        assert_int_equal(f.kind, cases[i].kind);
        assert_int_equal(f.index, cases[i].index);
        assert_int_equal(f.has_old, cases[i].has_old);
        assert_true(f.old_value == cases[i].old_value && f.new_value == cases[i].new_value);
        assert_true(!*cases[i].whose || qcbmi_word_is(f.whose, cases[i].whose));
        assert_true(!*cases[i].name || qcbmi_word_is(f.name, cases[i].name));
    }
}

static void what_is_no_edit_is_refused(void **state)
{
    static const char *const cases[] = { "",
                                         "l2",
                                         "l2 0",
                                         "l2 0=",
                                         "l2 0: 1=",
                                         "l2 x: 1=2",
                                         "l2 0: 1=2x",
                                         "l2 0: 1=0x",
                                         "l2: 1=2",
                                         "l3 0: 1=2",
                                         "l2 0 1: 1=2",
                                         "header: 1=2",
                                         "bitmap b: 1=2",
                                         "snapshot a b: 1=2",
                                         "=1",
                                         "header a b: 1=2",
                                         "l1 0: 1=18446744073709551616" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct qcbm_error err = { 0 };
        struct qcbmi_field f;

        if (qcbmi_field_parse(cases[i], &f, &err) != QCBM_E_ARG)
            fail_msg("'%s' is read", cases[i]);
        assert_null(strchr(err.message, '\n'));
    }
}

/* ---- where it lies ---- */

static void each_field_is_found_where_it_lies(void **state)
{
    struct session *s = open_plain(state);
    struct image_builder *b = bench_builder(state);
    uint64_t l2 = build_l2_entry(b, DATA);
    struct run run;
    struct {
        const char *text;
        uint64_t offset;
        uint32_t length;
    } cases[] = {
        { "header cluster_bits=9", 20, 4 },
        { "header compression_type=0", 104, 1 },
        { "extension 0 length=24", 112 + 4, 4 },
        { "l1 0=0", b->l1, 8 },
        { "l2 1024=0", l2, 8 },
        { "refcount 3=0", b->refblock + 6, 2 },
        { "refcount_table 0=0", b->reftable, 8 },
        { "bitmaps nb_bitmaps=0", 112 + 8, 4 },
        { "bitmap 0 flags=0", b->bitmaps[0].entry + 12, 4 },
        { "bitmap b0 name_size=0", b->bitmaps[0].entry + 18, 2 },
        { "bitmap b 1 granularity_bits=0", b->bitmaps[1].entry + 17, 1 },
        { "bitmap_table b 1 0=1", b->bitmaps[1].table, 8 },
    };

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *text = cases[i].text;

        assert_ok(edit_one(s, &run, QCBM_EDIT_FIELDS_FORCE | QCBM_EDIT_FIELDS_DRY_RUN, text), &run.err);
        assert_int_equal(run.last.offset, cases[i].offset);
        assert_int_equal(run.last.length, cases[i].length);
    }
    assert_same(s, b);
}

static void what_is_not_there_is_told(void **state)
{
    struct session *s = open_plain(state);
    static const struct {
        const char *text;
        int code;
    } cases[] = {
        { "header nix=1", QCBM_E_ARG },
        { "l1 2=1", QCBM_E_NOTFOUND },
        { "l2 1=1", QCBM_E_ARG },
        { "l2 0x8000=1", QCBM_E_NOTFOUND },
        { "subclusters 0=1", QCBM_E_NOTFOUND },
        { "refcount 100000=1", QCBM_E_NOTFOUND },
        { "snapshot 0 l1_size=1", QCBM_E_NOTFOUND },
        { "bitmap 2 flags=1", QCBM_E_NOTFOUND },
        { "bitmap b2 flags=1", QCBM_E_NOTFOUND },
        { "bitmap b0 nix=1", QCBM_E_ARG },
        { "bitmap_table b0 9=1", QCBM_E_NOTFOUND },
        { "extension 9 type=1", QCBM_E_NOTFOUND },
        { "header cluster_bits=0x100000000", QCBM_E_ARG },
        { "bitmap b0 type=256", QCBM_E_ARG },
        { "l1 0xffffffffffffffff=1", QCBM_E_NOTFOUND },
        { "l2 0xfffffffffffffe00=1", QCBM_E_NOTFOUND },
        { "refcount 0xffffffffffffffff=1", QCBM_E_NOTFOUND },
    };
    struct run run;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (edit_one(s, &run, QCBM_EDIT_FIELDS_FORCE, cases[i].text) != cases[i].code)
            fail_msg("'%s': %s", cases[i].text, run.err.message);
        assert_null(strchr(run.err.message, '\n'));
    }
    assert_untouched(s, bench_builder(state));
}

/* Of each width, beside neighbours that stay. */
static void refcounts_of_all_widths_are_set_alone(void **state)
{
    for (uint32_t bits = 1; bits <= 64; bits *= 2) {
        struct image_builder b = { 0 };
        const char *text = bits == 1 ? "refcount 6: 0=1" : "refcount 6: 0=3";
        struct session s = { 0 };
        struct run run;

        (void)state;
        build_start(&b, &(struct build_options){ .size = KIB(64), .refcount_bits = bits });
        build_data(&b, 0);
        build_finish(&b);
        s.rec = record_new(b.bytes, b.len);
        assert_ok(edit_one(&s, &run, 0, text), &run.err);
        build_set_refcount(&b, 6 * 512, bits == 1 ? 1 : 3);
        assert_same(&s, &b);
        assert_int_equal(run.r.sectors, 1);
        assert_int_equal(session_count(&s, RECORD_WRITE), 1);
        record_free(s.rec);
        build_free(&b);
    }
}

/* Fields that share a byte are two, but the same one is not. */
static void neighbours_in_a_byte_are_set_together(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct bench *t = *state;
    const char *two[] = { "refcount 9: 0=1", "refcount 11: 0=2" }, *same[] = { "refcount 9: 0=1", "refcount 9: 0=2" };
    struct run run;

    build_start(b, &(struct build_options){ .size = KIB(64), .refcount_bits = 2 });
    build_data(b, 0);
    build_finish(b);
    t->s.rec = record_new(b->bytes, b->len);
    assert_int_equal(edit(&t->s, &run, 0, NULL, same, 2), QCBM_E_ARG);
    assert_ok(edit(&t->s, &run, 0, NULL, two, 2), &run.err);
    build_set_refcount(b, 9 * 512, 1);
    build_set_refcount(b, 11 * 512, 2);
    assert_same(&t->s, b);
}

static void the_words_of_an_extended_entry_are_two_fields(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct bench *t = *state;
    uint64_t entry;
    struct run run;

    build_start(b, &(struct build_options){ .size = MIB(1), .cluster_bits = 14, .extended_l2 = true });
    entry = build_l2_entry(b, KIB(32));
    build_map(b, KIB(32), build_clusters(b, 1) | BUILD_COPIED, 1);
    build_finish(b);
    t->s.rec = record_new(b->bytes, b->len);
    assert_ok(edit_one(&t->s, &run, 0, "subclusters 32768: 1=3"), &run.err);
    assert_int_equal(run.last.offset, entry + 8);
    assert_int_equal(edit_one(&t->s, &run, 0, "subclusters 32768: 3=0x100000001"), QCBM_E_UNSAFE); /* data and zeros */
    assert_non_null(strstr(run.err.message, "l2-subclusters"));
}

/* ---- compared, refused ---- */

static void the_old_value_must_be_there(void **state)
{
    struct session *s = open_plain(state);
    const char *two[] = { "bitmap b0 flags: 2=0", "bitmap b 1 flags: 2=0" };
    struct run run;

    assert_int_equal(edit_one(s, &run, 0, "bitmap b0 flags=0"), QCBM_E_UNSAFE);
    assert_int_equal(edit_one(s, &run, 0, "bitmap b0 flags: 0=2"), QCBM_E_UNSAFE);
    assert_int_equal(edit_one(s, &run, QCBM_EDIT_FIELDS_FORCE, "bitmap b0 flags: 0=2"), QCBM_E_UNSAFE);
    assert_int_equal(edit(s, &run, 0, NULL, two, 2), QCBM_E_UNSAFE); /* the second is wrong: neither is written */
    assert_non_null(strstr(run.err.message, "'bitmap b 1 flags' is 0x0, not 0x2"));
    assert_untouched(s, bench_builder(state));
}

static void two_edits_of_the_same_bytes_are_refused(void **state)
{
    struct session *s = open_plain(state);
    const char *same[] = { "bitmap b0 flags: 2=0", "bitmap 0 flags: 2=1" };
    const char *beside[] = { "bitmap b0 flags: 2=0", "bitmap 1 flags: 0=2" };
    struct run run;

    assert_int_equal(edit(s, &run, 0, NULL, same, 2), QCBM_E_ARG);
    assert_untouched(s, bench_builder(state));
    assert_ok(edit(s, &run, 0, NULL, beside, 2), &run.err);
    assert_int_equal(run.r.sectors, 1);
    assert_int_equal(session_count(s, RECORD_WRITE), 1);
}

static void what_makes_it_worse_is_refused_by_name(void **state)
{
    struct session *s = open_plain(state);
    struct image_builder *b = bench_builder(state);
    struct run run;
    char owner[64];
    struct {
        const char *text, *says;
    } cases[] = {
        { owner, "refcount" },
        { "refcount 5: 1=0", "refcount=0" },
        { "header magic: 0x514649fb=0", "would not open" },
        { "header cluster_bits: 9=40", "would not open" },
        { "bitmap b0 granularity_bits: 9=99", "b0" },
        { "bitmap b0 bitmap_table_size: 1=2", "b0" },
        { "refcount_table 0: 0x400=0x10400", "refcount" },
    };

    snprintf(owner, sizeof(owner), "l2 0x2000: 0=0x%llx", (unsigned long long)(BUILD_COPIED | b->l1));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (edit_one(s, &run, 0, cases[i].text) != QCBM_E_UNSAFE || !strstr(run.err.message, cases[i].says))
            fail_msg("'%s': %s", cases[i].text, run.err.message);
        assert_int_equal(run.n_told, 0);
    }
    assert_untouched(s, b);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_ok(edit_one(s, &run, QCBM_EDIT_FIELDS_FORCE | QCBM_EDIT_FIELDS_DRY_RUN, cases[i].text), &run.err);
        assert_true(run.r.worse);
    }
    assert_untouched(s, b);
}

static void build_overlay(struct image_builder *b)
{
    build_start(b, &(struct build_options){
                       .size = KIB(64), .backing = "base", .backing_format = "raw", .stale_bitmaps = true });
    build_extension(b, 0x12345678, "abcdefgh", 8);
    build_bitmap(b, "b0", 9, 2, NULL, 0);
    build_finish(b);
}

/* Nothing is wrong with the image without it. */
static void what_vanishes_must_be_named(void **state)
{
    static const struct {
        const char *edits[2], *lost; /* NULL: it is taken */
    } cases[] = {
        { { "header header_length: 112=104" }, "the format of the backing file, 'raw'" },
        { { "extension 0 type: 0xe2792aca=0" }, "type 0x12345678" },
        { { "extension 1 type: 0x12345678=0" }, "the bitmaps extension" },
        { { "extension 1 length: 8=40" }, "the bitmaps extension" },
        { { "extension 1 type: 0x12345678=0x12345679" }, NULL },
        { { "extension 0 type: 0xe2792aca=0x12345679" }, NULL },
        { { "extension 1 length: 8=7" }, NULL },
        { { "header backing_file_size: 4=3" }, NULL },
        { { "header backing_file_size: 4=0", "header backing_file_offset: 184=0" }, NULL },
        { { "header size: 65536=32768" }, NULL },
    };
    struct image_builder *b = bench_builder(state);
    struct session *s = &((struct bench *)*state)->s;

    build_overlay(b);
    s->rec = record_new(b->bytes, b->len);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct run run;
        int ret = edit(s, &run, QCBM_EDIT_FIELDS_DRY_RUN, NULL, cases[i].edits, cases[i].edits[1] ? 2 : 1);

        if (ret != (cases[i].lost ? QCBM_E_UNSAFE : 0) || (ret && !strstr(run.err.message, cases[i].lost)))
            fail_msg("'%s': %d %s", cases[i].edits[0], ret, run.err.message);
        if (ret == 0)
            continue;
        assert_non_null(strstr(run.err.message, "--force does it all the same: the image would lose"));
        assert_ok(edit(s, &run, QCBM_EDIT_FIELDS_DRY_RUN | QCBM_EDIT_FIELDS_FORCE, NULL, cases[i].edits,
                       cases[i].edits[1] ? 2 : 1),
                  &run.err);
        assert_true(run.r.worse);
    }
    assert_untouched(s, b);
}

static void leaks_are_told_and_not_refused(void **state)
{
    struct session *s = open_plain(state);
    struct image_builder *b = bench_builder(state);
    char text[64];
    struct run run;

    snprintf(text, sizeof(text), "l2 1024: 0x%llx=1",
             (unsigned long long)(BUILD_COPIED | (b->l1 + 3 * (uint64_t)b->cluster_size)));
    assert_ok(edit_one(s, &run, 0, text), &run.err);
    assert_false(run.r.worse);
    assert_true(run.r.opens_before && run.r.opens_after);
    assert_int_equal(run.n_made, 1);
}

/* What was wrong before is no hindrance. */
static void old_damage_does_not_count(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct bench *t = *state;
    struct run run;

    plain(b);
    build_set_refcount(b, b->l1, 0);
    t->s.rec = record_new(b->bytes, b->len);
    assert_int_equal(edit_one(&t->s, &run, 0, "bitmap b0 flags: 2=0"), 0);
    assert_int_equal(run.n_made, 0);
    assert_int_equal(edit_one(&t->s, &run, 0, "refcount 3: 0=1"), 0);
    assert_int_equal(run.n_made, 0);
}

/* ---- written ---- */

static void several_sectors_want_an_undo_file_and_come_in_order(void **state)
{
    struct session *s = open_plain(state);
    struct image_builder *b = bench_builder(state);
    const char *edits[] = { "header size: 65536=66048", "refcount 40: 0=1", "bitmap b0 flags: 2=0", "refcount 5: 1=0" };
    char undo[300];
    struct run run;

    snprintf(undo, sizeof(undo), "%s/undo", bench_dir(state)->path);
    assert_int_equal(edit(s, &run, 0, NULL, edits, 3), QCBM_E_UNSAFE);
    assert_non_null(strstr(run.err.message, "power cut"));
    assert_untouched(s, b);
    assert_ok(edit(s, &run, QCBM_EDIT_FIELDS_FORCE, undo, edits, 4), &run.err);
    assert_int_equal(run.r.flushes, 4);
    assert_int_equal(session_count(s, RECORD_WRITE), 4);
    assert_int_equal(s->rec->events[0].off, b->refblock + 81); /* up, what refers, header, down */
    assert_int_equal(s->rec->events[2].off, b->bitmaps[0].entry + 15);
    assert_true(s->rec->events[4].off < 512);
    assert_int_equal(s->rec->events[6].off, b->refblock + 11);
    assert_true(run.r.worse);
}

static void an_edit_that_changes_nothing_writes_nothing(void **state)
{
    struct session *s = open_plain(state);
    struct run run;

    assert_ok(edit_one(s, &run, 0, "bitmap b0 flags: 2=2"), &run.err);
    assert_int_equal(run.r.sectors, 0);
    assert_untouched(s, bench_builder(state));
}

static void assert_is_file(const char *path, const struct image_builder *b)
{
    uint8_t *now = malloc(b->len + 1);
    FILE *in = fopen(path, "rb");

    assert_non_null(in);
    assert_int_equal(fread(now, 1, b->len + 1, in), b->len);
    assert_memory_equal(now, b->bytes, b->len);
    fclose(in);
    free(now);
}

/* The header cannot be read: it is set right, and broken, and taken back, whatever the image is known by. */
static void an_image_that_does_not_open_is_edited_and_undone(void **state)
{
    static const char *const edits[] = { "header magic: 0x514649fb=1", "header version: 3=9",
                                         "header cluster_bits: 9=77", "header refcount_order: 4=7",
                                         "header size: 65536=0xffffffffffffffff" };
    struct image_builder *b = bench_builder(state);
    char image[300], undo[300];

    plain(b);
    snprintf(image, sizeof(image), "%s/image", bench_dir(state)->path);
    for (size_t i = 0; i < ARRAY_LEN(edits); i++) {
        struct qcbm_edit_fields_options o = QCBM_EDIT_FIELDS_OPTIONS_INIT;
        struct qcbm_edit_fields_result r;
        struct qcbm_undo_result u;
        struct qcbm_error err = { 0 };

        build_write_file(b, image);
        snprintf(undo, sizeof(undo), "%s/undo%zu", bench_dir(state)->path, i);
        o.flags = QCBM_EDIT_FIELDS_FORCE;
        o.undo = undo;
        assert_ok(qcbm_edit_fields(image, QCBM_OPEN_WRITE, &edits[i], 1, &o, &r, sizeof(r), &err), &err);
        assert_true(r.opens_before && !r.opens_after && r.worse);
        assert_ok(qcbm_undo_path(image, QCBM_OPEN_WRITE, undo, NULL, &u, sizeof(u), &err), &err);
        assert_int_equal(u.found, QCBM_UNDO_FOUND_AFTER);
        assert_is_file(image, b);
    }
}

/* A call fails, whichever it is: all is as it was, or the undo file leads back; nothing leaks. */
static void a_call_that_fails_leaves_a_way_back(void **state)
{
    static const char *const edits[] = { "refcount 20: 0=1", "bitmap b0 flags: 2=0", "header size: 65536=65024" };
    static const enum fail_call calls[] = { FAIL_ALLOC, FAIL_OPEN, FAIL_READ, FAIL_WRITE, FAIL_FLUSH };
    struct image_builder *b = bench_builder(state);
    unsigned fired = 0;

    plain(b);
    for (size_t k = 0; k < ARRAY_LEN(calls); k++) {
        for (uint64_t at = 1; at < 4000; at++) {
            const char *image = temp_path(bench_dir(state), "image"), *undo = temp_path(bench_dir(state), "undo");
            struct qcbm_edit_fields_options o = QCBM_EDIT_FIELDS_OPTIONS_INIT;
            struct qcbm_undo_options force = QCBM_UNDO_OPTIONS_INIT;
            struct qcbm_edit_fields_result r;
            struct qcbm_error err = { 0 };
            struct fail_report report;
            int ret;

            build_write_file(b, image);
            unlink(undo);
            o.undo = undo;
            o.flags = QCBM_EDIT_FIELDS_FORCE;
            fail_arm(&(struct fail_plan){ calls[k], at, FAIL_ERROR, calls[k] == FAIL_ALLOC ? ENOMEM : EIO });
            ret = qcbm_edit_fields(image, QCBM_OPEN_WRITE, edits, 3, &o, &r, sizeof(r), &err);
            report = fail_disarm();
            assert_int_equal(report.live_blocks, 0);
            if (!report.fired) {
                assert_ok(ret, &err);
                break;
            }
            fired++;
            force.force = true;
            if (access(undo, F_OK) == 0)
                assert_ok(qcbm_undo_path(image, QCBM_OPEN_WRITE, undo, &force, NULL, 0, &err), &err);
            assert_is_file(image, b);
        }
    }
    assert_true(fired > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_edit_is_read_from_its_end),
        cmocka_unit_test(what_is_no_edit_is_refused),
        image_test(each_field_is_found_where_it_lies),
        image_test(what_is_not_there_is_told),
        cmocka_unit_test(refcounts_of_all_widths_are_set_alone),
        image_test(neighbours_in_a_byte_are_set_together),
        image_test(a_call_that_fails_leaves_a_way_back),
        image_test(the_words_of_an_extended_entry_are_two_fields),
        image_test(the_old_value_must_be_there),
        image_test(two_edits_of_the_same_bytes_are_refused),
        image_test(what_makes_it_worse_is_refused_by_name),
        image_test(what_vanishes_must_be_named),
        image_test(leaks_are_told_and_not_refused),
        image_test(old_damage_does_not_count),
        image_test(several_sectors_want_an_undo_file_and_come_in_order),
        image_test(an_edit_that_changes_nothing_writes_nothing),
        image_test(an_image_that_does_not_open_is_edited_and_undone),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
