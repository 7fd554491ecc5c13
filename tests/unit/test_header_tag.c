/* test_header_tag.c - the tag put into every layout of the first cluster, changed, taken out
 * SPDX-License-Identifier: MIT
 *
 * As in test_bitmap_ext.c each plan is carried out sector by sector, within a stage in every order. In every state the
 * header parses, names the same backing file and foreign extensions, and has the tag of before or after, or none where
 * there were several. */
#include "bitmap_ext_unit.h"

#include "write/header_tag.h"

static const uint8_t tag_a[16] = "first tag, bytes", tag_b[16] = "and another one.", new_tag[16] = "the one that is.";

enum had { HAD_NONE, HAD_ONE, HAD_SAME_TWICE, HAD_TWO, HAD_SHORT, HAD_LONG, HAD_KINDS };

struct tag_layout {
    const char *backing;
    uint32_t cluster_bits, front; /* bytes of a foreign extension in front */
    enum had had;
    bool behind, padding, bitmaps; /* a foreign extension behind; padding that fits; a first bitmap in the same plan */
};

#define NAME_16 "0123456789abcdef"
#define NAME_64 NAME_16 NAME_16 NAME_16 NAME_16

static void build_tagged(struct image_builder *b, const struct tag_layout *l)
{
    const struct build_options opt = { .size = 65536, .cluster_bits = l->cluster_bits, .backing = l->backing };
    uint8_t fill[512] = { 7 };

    build_start(b, &opt);
    if (l->front)
        build_extension(b, FOREIGN, fill, l->front);
    if (l->padding)
        build_extension(b, Q2_EXT_PADDING, fill, 16);
    if (l->had == HAD_SHORT || l->had == HAD_LONG)
        build_extension(b, Q2_EXT_TAG, fill, l->had == HAD_SHORT ? 8 : 24);
    if (l->had == HAD_ONE || l->had == HAD_SAME_TWICE || l->had == HAD_TWO)
        build_extension(b, Q2_EXT_TAG, tag_a, 16);
    if (l->behind)
        build_extension(b, FOREIGN + 1, fill, 4);
    if (l->had == HAD_SAME_TWICE || l->had == HAD_TWO)
        build_extension(b, Q2_EXT_TAG, l->had == HAD_TWO ? tag_b : tag_a, 16);
    build_finish(b);
}

/* The tag that @cluster has: 'a', 'n'ew, '0' none, or '?' that is no tag. */
static char tag_of(const uint8_t *cluster, size_t len, unsigned *n)
{
    struct q2_extensions exts;
    struct q2_header h;
    uint8_t tag[16];
    enum q2_tag state;

    assert_int_equal(q2_header_parse(cluster, len, &h, NULL), 0);
    assert_int_equal(q2_extensions_parse(cluster, len, &h, &exts, NULL), 0);
    state = q2_tag_get(&exts, tag);
    *n = 0;
    for (size_t i = 0; i < exts.n; i++)
        *n += exts.list[i].type == Q2_EXT_TAG;
    q2_extensions_free(&exts);
    if (state == Q2_TAG_NONE)
        return '0';
    if (state == Q2_TAG_BAD)
        return '?';
    return memcmp(tag, tag_a, 16) == 0 ? 'a' : memcmp(tag, tag_b, 16) == 0 ? 'b' : memcmp(tag, new_tag, 16) ? 'x' : 'n';
}

static bool may_be(const struct tag_layout *l, char seen, char before, char after)
{
    if (seen == before || seen == after)
        return true;
    if (l->had == HAD_ONE || l->had == HAD_SAME_TWICE) /* one that no write can change in its place */
        return after == 'n' && seen == '?';
    return l->had == HAD_TWO && after == '0' && seen == 'b'; /* the first of two that are taken out is gone */
}

static void run_tag_plan(const struct tag_layout *l, const struct qcbmi_plan *plan, uint8_t *cluster, size_t len,
                         char after)
{
    uint8_t *start = exact_copy(cluster, len), *now = exact_copy(cluster, len);
    unsigned n_tags;
    char before = tag_of(cluster, len, &n_tags);
    enum view view = VIEW_NONE;

    for (size_t i = 0; i < plan->n; i++) {
        struct piece pieces[12];
        size_t n = split(&plan->stages[i], pieces, ARRAY_LEN(pieces));

        for (unsigned set = 0; set < 1u << n; set++) {
            memcpy(now, cluster, len);
            for (size_t k = 0; k < n; k++)
                if (set >> k & 1)
                    memcpy(now + pieces[k].off, pieces[k].bytes, (size_t)pieces[k].len);
            check_state(start, now, len, &view);
            char seen = tag_of(now, len, &n_tags);

            if (!may_be(l, seen, before, after) || (l->bitmaps && seen == 'n' && view != VIEW_NEW))
                fail_msg("front %u, had %d, stage %zu, pieces 0x%x: tag %c, bitmaps %d", l->front, (int)l->had, i, set,
                         seen, view);
        }
        memcpy(cluster, now, len);
    }
    assert_int_equal(tag_of(cluster, len, &n_tags), after);
    assert_int_equal(n_tags, after == 'n');
    assert_true(!l->bitmaps || view == VIEW_NEW);
    assert_memory_equal(plan->header, cluster, len);
    free(start);
    free(now);
}

struct seen {
    unsigned done, no_room;
};

static void try_layout(const struct tag_layout *l, const uint8_t *tag, struct seen *seen)
{
    struct image_builder b;
    struct qcbmi_plan plan;
    struct qcbm_error err = { 0 };
    struct qcbm_image *img;
    int ret;

    build_tagged(&b, l);
    img = build_open(&b, QCBM_OPEN_WRITE);
    start_plan(&plan, img);
    ret = l->bitmaps ? qcbmi_ext_plan_set(img, &plan, 0, &new_ext, &err) : 0;
    if (ret == 0)
        ret = qcbmi_tag_plan(&plan, tag, &err);
    if (ret == 0) {
        run_tag_plan(l, &plan, b.bytes, b.cluster_size, tag ? 'n' : '0');
        seen->done++;
    } else {
        assert_int_equal(ret, QCBM_E_NOSPACE);
        assert_true(tag != NULL || l->bitmaps);
        seen->no_room++;
    }
    qcbmi_plan_free(&plan);
    qcbm_close(img);
    build_free(&b);
}

/* Do all of them fit into the cluster? */
static bool is_possible(const struct tag_layout *l)
{
    size_t sum = 112 + (l->front ? 8 + l->front : 0) + (l->padding ? 24 : 0) + (l->behind ? 16 : 0) + 2 * 32 + 8;

    return sum + (l->backing ? strlen(l->backing) : 0) <= (size_t)1 << l->cluster_bits;
}

static void in_every_layout(const uint8_t *tag)
{
    static const char *const names[] = { NULL, "b", NAME_64 NAME_64 NAME_64 "abc" };
    struct seen seen = { 0, 0 };

    for (unsigned k = 0; k < ARRAY_LEN(names) * 2 * HAD_KINDS * 8; k++) {
        struct tag_layout l = { .backing = names[k % 3], .cluster_bits = k / 3 % 2 ? 10 : 9 };

        l.had = (enum had)(k / 6 % HAD_KINDS);
        l.behind = k / 36 & 1;
        l.padding = k / 72 & 1;
        l.bitmaps = k / 144 & 1;
        for (l.front = 0; l.front <= 480; l.front += 8)
            if (is_possible(&l))
                try_layout(&l, tag, &seen);
    }
    assert_true(seen.done > 1000 && seen.no_room > 100);
}

static void put_in(void **state)
{
    (void)state;
    in_every_layout(new_tag);
}

static void taken_out(void **state)
{
    (void)state;
    in_every_layout(NULL);
}

static unsigned stages_of(const struct tag_layout *l, const uint8_t *tag)
{
    struct image_builder b;
    struct qcbmi_plan plan;
    struct qcbm_image *img;
    unsigned n;

    build_tagged(&b, l);
    img = build_open(&b, QCBM_OPEN_WRITE);
    start_plan(&plan, img);
    assert_int_equal(qcbmi_tag_plan(&plan, tag, NULL), 0);
    n = stages_with_writes(&plan);
    qcbmi_plan_free(&plan);
    qcbm_close(img);
    build_free(&b);
    return n;
}

static void what_is_so_already_costs_nothing(void **state)
{
    static const struct tag_layout none = { .cluster_bits = 12 }, one = { .cluster_bits = 12, .had = HAD_ONE },
                                   name = { .cluster_bits = 12, .backing = "b" },
                                   pad = { .cluster_bits = 12, .padding = true };

    (void)state;
    assert_int_equal(stages_of(&none, NULL), 0);
    assert_int_equal(stages_of(&one, tag_a), 0);
    assert_int_equal(stages_of(&one, new_tag), 1);
    assert_int_equal(stages_of(&one, NULL), 1);
    assert_int_equal(stages_of(&name, new_tag), 1);
    assert_int_equal(stages_of(&none, new_tag), 2);
    assert_int_equal(stages_of(&pad, new_tag), 2);
}

/* ---- the calls ---- */

static void a_tag_of_the_caller(void **state)
{
    static const struct tag_layout l = { .cluster_bits = 12 };
    static const char text[] = "00112233445566778899aabbccddeeff";
    struct image_builder b;
    struct qcbm_image_info info;
    struct qcbm_plan_summary sum;
    struct qcbm_error err;
    struct qcbm_image *img;
    struct qcbm_edit *edit;
    char first[33];

    (void)state;
    build_tagged(&b, &l);
    img = build_open(&b, QCBM_OPEN_WRITE);
    assert_int_equal(qcbm_edit_begin(img, &edit, NULL), 0);
    assert_int_equal(qcbm_edit_set_tag(edit, "0011", &err), QCBM_E_ARG);
    assert_int_equal(qcbm_edit_set_tag(edit, "00112233445566778899aabbccddeefg", &err), QCBM_E_ARG);
    assert_int_equal(qcbm_edit_set_tag(edit, "00112233-4455-6677-8899-AABBCCDDEEFF", &err), 0);
    assert_int_equal(qcbm_edit_commit(edit, &sum, sizeof(sum), &err), 0);
    assert_int_equal(sum.clusters_allocated, 0);
    assert_int_equal(qcbm_edit_set_tag(edit, NULL, &err), QCBM_E_ARG); /* it is void */
    qcbm_edit_free(edit);
    qcbm_image_get_info(img, &info, sizeof(info));
    assert_string_equal(info.tag, text);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(qcbm_edit_begin(img, &edit, NULL), 0);
        assert_int_equal(qcbm_edit_set_tag(edit, NULL, &err), 0);
        assert_int_equal(qcbm_edit_commit(edit, NULL, 0, &err), 0);
        qcbm_edit_free(edit);
        qcbm_image_get_info(img, &info, sizeof(info));
        assert_string_not_equal(info.tag, i ? first : text);
        memcpy(first, info.tag, sizeof(first));
    }
    assert_int_equal(qcbm_edit_begin(img, &edit, NULL), 0);
    assert_int_equal(qcbm_edit_remove_tag(edit, &err), 0);
    assert_int_equal(qcbm_edit_commit(edit, NULL, 0, &err), 0);
    qcbm_edit_free(edit);
    qcbm_image_get_info(img, &info, sizeof(info));
    assert_null(info.tag);
    qcbm_close(img);
    build_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(put_in),
        cmocka_unit_test(taken_out),
        cmocka_unit_test(what_is_so_already_costs_nothing),
        cmocka_unit_test(a_tag_of_the_caller),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
