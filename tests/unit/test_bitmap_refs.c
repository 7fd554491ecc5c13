/* test_bitmap_refs.c - what bitmaps refer to: all of it, in the order of the directory, whatever state they are in
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "bitmap/bitmap_refs.h"
#include "io/holes.h"

#define PAST_END 0x40000000u

struct seen {
    char text[640];
    unsigned left;   /* references until the sink stops; 0: it does not */
    uint32_t closed; /* a bitmap whose table is not followed */
};

static int see(void *opaque, const struct qcbmi_ref *ref)
{
    struct seen *s = opaque;
    size_t n = strlen(s->text);

    assert_int_equal(ref->weight, 1);
    assert_int_equal(ref->exclusive, 1);
    assert_int_equal(ref->at.offset, ref->pointer);
    snprintf(s->text + n, sizeof(s->text) - n, "%s %lld: %llu+%llu by %llu, %s %lld; ", qcbmi_ref_name(&ref->owner),
             (long long)ref->owner.index, (unsigned long long)ref->offset, (unsigned long long)ref->len,
             (unsigned long long)ref->pointer, ref->at.table, (long long)ref->at.index);
    return s->left && --s->left == 0 ? QCBM_E_ABORTED : 0;
}

static int see_table(void *opaque, const struct qcbmi_ref *table)
{
    const struct seen *s = opaque;
    int ret = see(opaque, table);

    return ret < 0 ? ret : table->owner.index != s->closed;
}

static int see_bad(void *opaque, uint32_t bitmap, const struct qcbmi_bad_entries *bad)
{
    struct seen *s = opaque;
    size_t n = strlen(s->text);

    snprintf(s->text + n, sizeof(s->text) - n, "bitmap %u: %llu bad, %llu is 0x%llx; ", bitmap,
             (unsigned long long)bad->n, (unsigned long long)bad->index, (unsigned long long)bad->raw);
    return s->left && --s->left == 0 ? QCBM_E_ABORTED : 0;
}

/* "used" is in use and has bad entries, a cluster and one past the end; "empty" has none. */
static void build_two(struct image_builder *b, bool stale, uint64_t *data)
{
    struct build_options opt = { .size = MIB(8), .stale_bitmaps = stale };
    uint64_t entries[4];

    build_start(b, &opt);
    *data = build_clusters(b, 1);
    entries[0] = *data;
    entries[1] = 0x202;
    entries[2] = PAST_END;
    entries[3] = 0x403;
    build_bitmap(b, "used", 9, Q2_BITMAP_IN_USE, entries, 4);
    build_bitmap(b, "empty", 9, 0, NULL, 0);
    build_finish(b);
}

static int walk(struct bench *t, const struct qcbmi_bitmap_list *list, struct seen *seen)
{
    struct qcbmi_image *img = t->s.img->image;
    struct qcbmi_ref_sink sink = { seen, see, NULL, NULL };
    struct qcbmi_holes holes;
    struct qcbmi_bitmap_refs refs = { img, list, &holes, "table", &sink, see_table, see_bad };
    int ret;

    qcbmi_holes_init(&holes, &img->io);
    ret = qcbmi_bitmap_refs_walk(&refs, NULL);
    qcbmi_holes_free(&holes);
    return ret;
}

static void expect(const struct bench *t, const struct qcbmi_bitmap_list *list, uint64_t data, char *to, size_t size)
{
    const struct image_builder *b = &t->b;
    unsigned long long used = b->bitmaps[0].table, empty = b->bitmaps[1].table;

    snprintf(to, size,
             "the bitmap directory -1: %llu+%llu by %llu, header -1; "
             "table of bitmap 0: %llu+%u by %llu, bitmap directory 0; "
             "data of bitmap 0: %llu+512 by %llu, bitmap table 0; data of bitmap 0: %u+512 by %llu, bitmap table 2; "
             "bitmap 0: 2 bad, 1 is 0x202; table of bitmap 1: %llu+%u by %llu, bitmap directory 1; ",
             (unsigned long long)b->directory, (unsigned long long)list->ext.directory_size,
             (unsigned long long)list->ext_offset, used, 8 * b->bitmaps[0].n_entries,
             (unsigned long long)b->bitmaps[0].entry, (unsigned long long)data, used, PAST_END, used + 16, empty,
             8 * b->bitmaps[1].n_entries, (unsigned long long)b->bitmaps[1].entry);
}

static void assert_all_listed(struct bench *t, bool stale)
{
    struct seen seen = { .closed = UINT32_MAX };
    const struct qcbmi_bitmap_list *list;
    char want[640];
    uint64_t data;

    build_two(&t->b, stale, &data);
    session_open(&t->s, &t->b);
    list = stale ? t->s.img->bitmaps->was : t->s.img->bitmaps;
    assert_non_null(list);
    expect(t, list, data, want, sizeof(want));
    assert_int_equal(walk(t, list, &seen), 0);
    assert_string_equal(seen.text, want);
}

static void all_is_listed_of_bitmaps_in_use_too(void **state)
{
    assert_all_listed(*state, false);
}

static void all_is_listed_of_stale_bitmaps(void **state)
{
    assert_all_listed(*state, true);
}

static void what_a_table_names_follows_only_if_the_sink_says_so(void **state)
{
    struct bench *t = *state;
    struct seen seen = { .closed = 0 };
    uint64_t data;

    build_two(&t->b, false, &data);
    session_open(&t->s, &t->b);
    assert_int_equal(walk(t, t->s.img->bitmaps, &seen), 0);
    assert_null(strstr(seen.text, "data"));
    assert_null(strstr(seen.text, "bad"));
    assert_non_null(strstr(seen.text, "table of bitmap 1"));
}

static void a_sink_that_stops_is_asked_no_more(void **state)
{
    struct bench *t = *state;
    uint64_t data;

    build_two(&t->b, false, &data);
    session_open(&t->s, &t->b);
    for (unsigned stop = 1; stop <= 6; stop++) {
        struct seen seen = { .left = stop, .closed = UINT32_MAX };
        unsigned n = 0;

        assert_int_equal(walk(t, t->s.img->bitmaps, &seen), QCBM_E_ABORTED);
        for (const char *at = seen.text; (at = strchr(at, ';')) != NULL; at++)
            n++;
        assert_int_equal(n, stop);
    }
}

static void without_bitmaps_there_is_nothing(void **state)
{
    struct bench *t = *state;
    struct build_options opt = { .size = KIB(64) };
    struct seen seen = { .closed = UINT32_MAX };

    build_start(&t->b, &opt);
    build_finish(&t->b);
    session_open(&t->s, &t->b);
    assert_int_equal(walk(t, t->s.img->bitmaps, &seen), 0);
    assert_string_equal(seen.text, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(all_is_listed_of_bitmaps_in_use_too),
        image_test(all_is_listed_of_stale_bitmaps),
        image_test(what_a_table_names_follows_only_if_the_sink_says_so),
        image_test(a_sink_that_stops_is_asked_no_more),
        image_test(without_bitmaps_there_is_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
