/* test_all_refs.c - all that refers to clusters: each once with its weight, and what cannot be followed left out
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "bitmap/all_refs.h"

struct seen {
    char text[1024];
    uint64_t budget;
};

static void say(struct seen *s, const char *what, uint64_t off, uint64_t len, uint64_t weight)
{
    size_t n = strlen(s->text);

    snprintf(s->text + n, sizeof(s->text) - n, "%s %llu+%llu x%llu; ", what, (unsigned long long)off,
             (unsigned long long)len, (unsigned long long)weight);
}

static int see_ref(void *opaque, enum qcbmi_ref_kind kind, uint64_t off, uint64_t len, uint64_t weight)
{
    const struct qcbmi_ref_owner owner = { kind, 0, 0 };

    say(opaque, qcbmi_ref_name(&owner), off, len, weight);
    return 0;
}

static int see_entries(void *opaque, const struct qcbmi_swept_l2 *l2, const struct qcbmi_entry_refs *refs)
{
    char what[64];

    snprintf(what, sizeof(what), "%llu%s of %llu", (unsigned long long)refs->n, refs->compressed ? " compressed" : "",
             (unsigned long long)l2->table.l1_index);
    say(opaque, what, refs->offset, refs->len, l2->weight);
    return 0;
}

static int see_blank(void *opaque, const struct qcbmi_swept_l2 *l2)
{
    say(opaque, "blank", l2->table.offset, 0, l2->active);
    return 0;
}

static bool afford(void *opaque, uint64_t bytes)
{
    struct seen *s = opaque;
    bool enough = bytes <= s->budget;

    s->budget -= enough ? bytes : 0;
    return enough;
}

static int walk(struct qcbm_image *handle, struct seen *seen)
{
    struct qcbmi_image *img = handle->image;
    struct qcbmi_all_refs refs = { .img = img, .bitmaps = handle->bitmaps, .opaque = seen };
    struct qcbmi_loose_snapshots snapshots = { 0 };
    struct qcbmi_stored_counts stored = { 0 };
    struct qcbmi_holes holes;
    struct qcbm_error err;
    int ret;

    qcbmi_holes_init(&holes, &img->io);
    refs.holes = &holes;
    refs.snapshots = &snapshots;
    refs.stored = &stored;
    refs.ref = see_ref;
    refs.entries = see_entries;
    refs.blank = see_blank;
    refs.afford = afford;
    ret = qcbmi_snapshots_read_loosely(img, &holes, &snapshots, &err);
    if (ret == 0)
        ret = qcbmi_stored_counts_init(&stored, img, &holes, &err);
    if (ret == 0)
        ret = qcbmi_all_refs_walk(&refs, &err);
    qcbmi_stored_counts_free(&stored);
    qcbmi_loose_snapshots_free(&snapshots);
    qcbmi_holes_free(&holes);
    return ret;
}

static void assert_seen(const struct seen *s, const char *what, uint64_t off, uint64_t len, uint64_t weight)
{
    struct seen want = { .text = "" };

    say(&want, what, off, len, weight);
    if (!strstr(s->text, want.text))
        fail_msg("no '%s' in '%s'", want.text, s->text);
}

static unsigned times_seen(const struct seen *s, const char *what)
{
    unsigned n = 0;

    for (const char *at = s->text; (at = strstr(at, what)) != NULL; at++)
        n++;
    return n;
}

/* An L2 table maps 32 KiB. The first has a run, compressed data and, with a snapshot, a second reference to each; the
 * next one came later, the third is all zeros. */
static uint64_t build_states(struct image_builder *b)
{
    const struct build_options opt = { .size = KIB(96) };
    uint64_t run, packed;

    build_start(b, &opt);
    run = build_data(b, 512);
    build_data(b, 1024);
    packed = build_clusters(b, 1);
    build_map(b, 2048, BUILD_COMPRESSED | (packed + 100), 0);
    build_map(b, 2560, BUILD_ZERO, 0);
    build_snapshot(b, "1", "before");
    build_data(b, KIB(32));
    build_l2_entry(b, KIB(64));
    return run;
}

static void each_table_comes_once_with_its_weight(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct seen seen = { .budget = 0 };
    uint64_t run = build_states(b), blank;

    build_finish(b);
    blank = be64_load(b->bytes + b->l1 + 16) & ~BUILD_COPIED;
    assert_int_equal(walk(bench_image(state, 0), &seen), 0);
    assert_seen(&seen, "the header", 0, 512, 1);
    assert_seen(&seen, "the active L1 table", b->l1, 1, 1);
    assert_seen(&seen, "the active L1 table", b->snapshots[0].l1, 1, 1);
    assert_seen(&seen, "the L2 table", be64_load(b->bytes + b->l1) & ~BUILD_COPIED, 512, 2);
    assert_seen(&seen, "the L2 table", blank, 512, 1);
    assert_seen(&seen, "blank", blank, 0, 1);
    assert_seen(&seen, "2 of 0", run, 513, 2);
    assert_seen(&seen, "1 compressed of 0", run + 1024 + 100, 412, 2);
    assert_seen(&seen, "1 of 1", (be64_load(b->bytes + build_l2_entry(b, KIB(32)))) & ~BUILD_COPIED, 1, 1);
    assert_seen(&seen, "the snapshot table", b->snapshot_table, 63, 1);
    assert_seen(&seen, "the refcount table", b->reftable, 512, 1);
    assert_seen(&seen, "refcount block", b->refblock, 512, 1);
    assert_int_equal(times_seen(&seen, "bitmap"), 0);
}

/* As the check counts it: a cluster's length from where the entry points, which touches two. */
static void an_entry_that_is_not_aligned_is_a_cluster_long(void **state)
{
    const struct build_options opt = { .size = KIB(96), .cluster_bits = 10 };
    struct image_builder *b = bench_builder(state);
    struct seen seen = { .budget = 0 };
    uint64_t data;

    build_start(b, &opt);
    data = build_data(b, 0);
    build_map(b, 0, BUILD_COPIED | (data + 512), 0);
    build_finish(b);
    assert_int_equal(walk(bench_image(state, 0), &seen), 0);
    assert_seen(&seen, "1 of 0", data + 512, 1024, 1);
}

static void what_cannot_be_followed_is_left_out(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct seen seen = { .budget = 0 };

    (void)build_states(b);
    build_finish(b);
    b->bytes[b->reftable + 7] |= 1;                          /* a reserved bit */
    be64_store(b->bytes + b->snapshots[0].entry, KIB(1024)); /* its L1 table, far behind the end of the file */
    assert_int_equal(walk(bench_image(state, 0), &seen), 0);
    assert_int_equal(times_seen(&seen, "refcount block"), 0);
    assert_seen(&seen, "the active L1 table", b->l1, 1, 1);
    assert_seen(&seen, "the L2 table", be64_load(b->bytes + b->l1) & ~BUILD_COPIED, 512, 1);
}

static void bitmaps_are_followed_and_twice_only_if_that_is_paid_for(void **state)
{
    const struct build_options opt = { .size = KIB(96) };
    struct image_builder *b = bench_builder(state);
    struct seen seen = { .budget = 0 };
    uint64_t data;

    build_start(b, &opt);
    data = build_clusters(b, 1);
    build_bitmap(b, "one", 9, 0, &data, 1);
    build_bitmap(b, "two", 9, 0, &data, 1);
    build_finish(b);
    be64_store(b->bytes + b->bitmaps[1].entry, b->bitmaps[0].table);
    assert_int_equal(walk(bench_image(state, 0), &seen), 0);
    assert_seen(&seen, "the bitmap directory", b->directory, b->directory_len, 1);
    assert_seen(&seen, "table of bitmap", b->bitmaps[0].table, 8, 1);
    assert_int_equal(times_seen(&seen, "data of bitmap"), 1);
    seen = (struct seen){ .budget = 8 };
    assert_int_equal(walk(((struct bench *)*state)->s.img, &seen), 0);
    assert_seen(&seen, "data of bitmap", data, 512, 1);
    assert_int_equal(times_seen(&seen, "data of bitmap"), 2);
    assert_int_equal(seen.budget, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(each_table_comes_once_with_its_weight),
        image_test(an_entry_that_is_not_aligned_is_a_cluster_long),
        image_test(what_cannot_be_followed_is_left_out),
        image_test(bitmaps_are_followed_and_twice_only_if_that_is_paid_for),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
