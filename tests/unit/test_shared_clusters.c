/* test_shared_clusters.c - clusters that two states share: which they are, and what their refcounts say
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "ops/shared_clusters.h"

/* Refcounts of a file of 40 clusters: 2 from the tenth on, but 1 for the 20th and 0 for the 30th. */
static void build_counts(struct image_builder *b)
{
    struct build_options opt = { .size = KIB(64) };

    build_start(b, &opt);
    build_clusters(b, 40 - b->len / 512);
    build_finish(b);
    for (uint64_t i = 10; i < 40; i++)
        build_set_refcount(b, 512 * i, i == 20 ? 1 : i == 30 ? 0 : 2);
}

static void counts_below_two_are_damage(void **state)
{
    static const struct {
        uint64_t ranges[4][2]; /* bytes */
        unsigned damage;
        uint64_t first;
    } cases[] = {
        { { { 0 } }, 0, 0 },
        { { { 512 * 10, 512 }, { 512 * 11, 512 * 9 } }, 0, 0 },
        { { { 512 * 10, 512 * 30 } }, 2, 512 * 20 },
        { { { 512 * 30, 1 }, { 512 * 10, 512 }, { 512 * 11, 512 } }, 1, 512 * 30 },
        { { { 512 * 19 + 511, 2 } }, 1, 512 * 20 }, /* a byte of the next */
        { { { 512 * 19, 512 }, { 512 * 21, 512 } }, 0, 0 },
        { { { 512 * 39, 512 }, { 512 * 20, 8 }, { 512 * 20 + 8, 8 } }, 1, 512 * 20 }, /* counted once */
        { { { 0, 1 } }, 1, 0 },                                                       /* the header is nobody else's */
    };
    struct qcbm_image *img;

    build_counts(bench_builder(state));
    img = bench_image(state, 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct qcbmi_damage damage = { 0 };
        struct qcbmi_shared s;
        struct qcbm_error err = { 0 };

        assert_ok(qcbmi_shared_init(&s, img->image, &err), &err);
        for (unsigned k = 0; k < 4; k++)
            if (cases[i].ranges[k][1])
                assert_ok(qcbmi_shared_add(&s, cases[i].ranges[k][0], cases[i].ranges[k][1], &err), &err);
        assert_ok(qcbmi_shared_check(&s, &damage, &err), &err);
        assert_int_equal(damage.count, cases[i].damage);
        if (damage.count)
            assert_int_equal(damage.first.offset, cases[i].first);
        qcbmi_shared_free(&s);
        qcbmi_shared_free(&s);
    }
}

static void a_block_that_cannot_be_read_is_damage(void **state)
{
    struct image_builder *b = bench_builder(state);
    struct qcbmi_damage damage = { 0 };
    struct qcbmi_shared s;
    struct qcbm_error err = { 0 };
    struct qcbm_image *img;

    build_counts(b);
    b->bytes[b->reftable + 6] = 1; /* no longer aligned: bit 8 */
    b->bytes[b->reftable] = 0x7f;
    img = bench_image(state, 0);
    assert_ok(qcbmi_shared_init(&s, img->image, &err), &err);
    assert_ok(qcbmi_shared_add(&s, 512 * 12, 512, &err), &err);
    assert_ok(qcbmi_shared_check(&s, &damage, &err), &err);
    assert_int_equal(damage.count, 1);
    qcbmi_shared_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        image_test(counts_below_two_are_damage),
        image_test(a_block_that_cannot_be_read_is_damage),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
