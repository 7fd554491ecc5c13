/* test_repair_guard.c - what is not repaired without force, and what not even by it
 * SPDX-License-Identifier: MIT */
#include "image_unit.h"

#include "base/bytes.h"

static void expect(const char *what, const struct image_builder *b, unsigned flags, int code, const char *text)
{
    struct qcbm_repair_options o = QCBM_REPAIR_OPTIONS_INIT;
    struct qcbm_error err = { 0 };
    struct qcbm_repair_result r;
    struct session s;
    int ret;

    session_open(&s, b);
    o.flags = flags;
    ret = qcbm_repair(s.img, &o, &r, sizeof(r), &err);
    if (ret != code || (text && !strstr(err.message, text)))
        fail_msg("%s: %d, %s", what, ret, err.message);
    if (code)
        assert_int_equal(s.rec->n, 0);
    session_close(&s);
}

/* @n guest clusters of 512 bytes in one; with leaks of what they had. */
static void build_shared(struct image_builder *b, unsigned n, bool leaks)
{
    struct build_options opt = { .size = KIB(64) };
    uint64_t first;

    build_start(b, &opt);
    first = build_data(b, 0);
    if (leaks)
        build_clusters(b, n - 1);
    for (unsigned i = 1; i < n; i++)
        build_map(b, i * UINT64_C(512), first | BUILD_COPIED, 0);
    build_finish(b);
    build_set_refcount(b, first, 1);
}

static void two_owners(void **state)
{
    struct image_builder b;

    (void)state;
    build_shared(&b, 2, false);
    expect("nothing leaks", &b, 0, 0, NULL);
    build_free(&b);
    build_shared(&b, 2, true);
    expect("leaks", &b, 0, QCBM_E_UNSAFE, "leaked clusters may be what one of them had");
    expect("leaks, by force", &b, QCBM_REPAIR_FORCE, 0, NULL);
    build_free(&b);
}

static void more_owners_than_rounds(void **state)
{
    struct image_builder b;

    (void)state;
    build_shared(&b, 8, false);
    expect("8", &b, 0, 0, NULL);
    build_free(&b);
    build_shared(&b, 9, false);
    expect("9", &b, QCBM_REPAIR_FORCE, QCBM_E_LIMIT, "has 9 owners");
    build_free(&b);
}

/* One of them is not there any more, whichever it is. */
static void an_l1_table_in_somebody_elses_cluster(void **state)
{
    struct build_options opt = { .size = KIB(64) };
    struct image_builder b;

    (void)state;
    build_start(&b, &opt);
    build_data(&b, 0);
    build_map(&b, 512, b.l1 | BUILD_COPIED, 0);
    build_finish(&b);
    build_set_refcount(&b, b.l1, 1);
    expect("L1", &b, 0, QCBM_E_UNSAFE, "so one of them is lost");
    build_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(two_owners),
        cmocka_unit_test(more_owners_than_rounds),
        cmocka_unit_test(an_l1_table_in_somebody_elses_cluster),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
