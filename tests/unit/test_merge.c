/* test_merge.c - deltas made one: what is refused, who the result is, which probes stay
 * SPDX-License-Identifier: MIT */
#include "delta_unit.h"

#include "delta/merge.h"
#include "delta/merge_probes.h"

#define SIZE (UINT64_C(1) << 20)

/* State @n as an id. */
static void state_id(uint8_t id[QCBMI_IDENTITY_BYTES], uint8_t n)
{
    memset(id, n, QCBMI_IDENTITY_BYTES);
}

static void step(struct qcbmi_delta *d, uint8_t from, uint8_t to)
{
    *d = (struct qcbmi_delta){ .form = &qcbmi_delta_rbd, .has_meta = true };
    d->meta.size_before = d->meta.size_after = SIZE;
    d->meta.has_parent = from != 0;
    state_id(d->meta.parent, from);
    state_id(d->meta.id, to);
}

static int check(struct qcbmi_delta *a, struct qcbmi_delta *b, bool force, struct qcbm_error *err)
{
    struct qcbmi_delta *deltas[] = { a, b };
    const char *names[] = { "old", "new" };
    const struct qcbmi_merge m = { .deltas = deltas, .names = names, .n = 2, .force_parent = force };

    return qcbmi_merge_check_order(&m, err);
}

static void ids_decide_what_follows_what(void **state)
{
    struct qcbmi_delta a, b;
    struct qcbm_error err = { 0 };

    (void)state;
    step(&a, 1, 2);
    step(&b, 2, 3);
    assert_int_equal(check(&a, &b, false, &err), 0);
    assert_failure(check(&b, &a, false, &err), &err, QCBM_E_CHAIN, QCBM_NO_OFFSET,
                   "'new' begins at state 01010101010101010101010101010101, and 'old' leads to "
                   "03030303030303030303030303030303: they do not follow one another");
    assert_int_equal(check(&b, &a, true, &err), 0);
    assert_failure(check(&a, &a, false, &err), &err, QCBM_E_CHAIN, QCBM_NO_OFFSET, "do not follow");
    a.to = b.from = "same"; /* ids win */
    step(&b, 4, 3);
    assert_failure(check(&a, &b, false, &err), &err, QCBM_E_CHAIN, QCBM_NO_OFFSET, "do not follow");
}

static void without_ids_names_decide(void **state)
{
    struct qcbmi_delta a, b;
    struct qcbm_error err = { 0 };

    (void)state;
    step(&a, 1, 2);
    step(&b, 2, 3);
    b.has_meta = false;
    assert_failure(check(&a, &b, false, &err), &err, QCBM_E_CHAIN, QCBM_NO_OFFSET, "--force-parent");
    assert_int_equal(check(&a, &b, true, &err), 0);
    a.to = "monday";
    b.from = "monday";
    assert_int_equal(check(&a, &b, false, &err), 0);
    b.from = "tues\nday";
    assert_failure(check(&a, &b, false, &err), &err, QCBM_E_CHAIN, QCBM_NO_OFFSET,
                   "'new' begins at state tues\\x0aday, and 'old' leads to monday");
    step(&b, 0, 3);
    a.to = NULL;
    assert_failure(check(&a, &b, false, &err), &err, QCBM_E_CHAIN, QCBM_NO_OFFSET, "it is not known at which state");
}

static void sizes_and_forms_must_meet(void **state)
{
    struct qcbmi_delta a, b;
    struct qcbm_error err = { 0 };

    (void)state;
    step(&a, 1, 2);
    step(&b, 2, 3);
    b.meta.size_before = 512;
    assert_failure(check(&a, &b, false, &err), &err, QCBM_E_CHAIN, QCBM_NO_OFFSET,
                   "'new' begins with a disk of 512 bytes, and 'old' leads to one of 1048576");
    assert_int_equal(check(&a, &b, true, &err), 0);
    b.meta.size_before = UINT64_MAX;
    assert_int_equal(check(&a, &b, false, &err), 0);
    b.form = &qcbmi_delta_vnb;
    for (unsigned force = 0; force < 2; force++)
        assert_failure(check(&a, &b, force, &err), &err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET,
                       "'old' has the form rbd-diff and 'new' has vnb");
}

static void the_result_begins_as_the_first_and_ends_as_the_last(void **state)
{
    struct qcbmi_delta a, b, *deltas[] = { &a, &b };
    struct qcbmi_merge m = { .deltas = deltas, .n = 2 };
    struct qcbmi_delta_meta meta, again;
    struct qcbm_error err = { 0 };

    (void)state;
    step(&a, 1, 2);
    step(&b, 2, 3);
    a.meta.size_before = 512;
    a.meta.granularity = 4096;
    b.meta.granularity = 65536;
    b.meta.created = 77;
    strcpy(a.meta.bitmap, "first");
    strcpy(b.meta.note, "last");
    assert_int_equal(qcbmi_merge_identity(&m, &meta, &err), 0);
    assert_memory_equal(meta.id, b.meta.id, sizeof meta.id);
    assert_true(meta.has_parent);
    assert_memory_equal(meta.parent, a.meta.parent, sizeof meta.parent);
    assert_int_equal(meta.size_before, 512);
    assert_int_equal(meta.size_after, SIZE);
    assert_int_equal(meta.granularity, 4096);
    assert_int_equal(meta.created, 77);
    assert_string_equal(meta.bitmap, "first");
    assert_string_equal(meta.note, "last");
    m.note = "mine";
    b.has_meta = false; /* then it is given an id */
    assert_int_equal(qcbmi_merge_identity(&m, &meta, &err), 0);
    assert_int_equal(qcbmi_merge_identity(&m, &again, &err), 0);
    assert_string_equal(meta.note, "mine");
    assert_memory_not_equal(meta.id, again.id, sizeof meta.id);
    a.meta.has_parent = false;
    assert_int_equal(qcbmi_merge_identity(&m, &meta, &err), 0);
    assert_false(meta.has_parent);
}

static void add_probe(struct qcbmi_delta *d, uint64_t offset, uint64_t length)
{
    d->meta.probes[d->meta.n_probes++] = (struct qcbmi_delta_probe){ .offset = offset, .length = length };
}

/* Old: 0, 40, 80.  New: 20, 40, 90, and one past the end of a shorter state. Written to: 20-29, 85. */
static void probes_stay_where_nothing_is_written(void **state)
{
    struct qcbmi_delta a, b, *deltas[] = { &a, &b };
    struct qcbmi_merge_probes p;
    struct qcbmi_delta_meta out;
    struct qcbm_error err = { 0 };

    (void)state;
    step(&a, 1, 2);
    step(&b, 2, 3);
    a.meta.size_after = 1000;
    add_probe(&a, 0, 10);
    add_probe(&a, 40, 10);
    add_probe(&a, 80, 10);
    add_probe(&b, 20, 10);
    add_probe(&b, 40, 10);
    add_probe(&b, 90, 10);
    add_probe(&b, 995, 10);
    assert_int_equal(qcbmi_merge_probes_init(&p, deltas, 2, &err), 0);
    qcbmi_merge_probes_strike(&p, 10, 5);
    qcbmi_merge_probes_strike(&p, 29, 1);
    qcbmi_merge_probes_strike(&p, 85, 1);
    qcbmi_merge_probes_give(&p, &out);
    assert_int_equal(out.n_probes, 3);
    assert_int_equal(out.probes[0].offset, 0);
    assert_int_equal(out.probes[1].offset, 40);
    assert_int_equal(out.probes[2].offset, 90);
    qcbmi_merge_probes_free(&p);
}

static void of_too_many_probes_some_are_taken_evenly(void **state)
{
    struct qcbmi_delta all[5], *deltas[5];
    struct qcbmi_merge_probes p;
    struct qcbmi_delta_meta out;
    struct qcbm_error err = { 0 };

    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        step(&all[i], (uint8_t)(i + 1), (uint8_t)(i + 2));
        for (unsigned k = 0; k < QCBMI_DELTA_MAX_PROBES; k++)
            add_probe(&all[i], 50 * k + 10 * i, 10);
        deltas[i] = &all[i];
    }
    assert_int_equal(qcbmi_merge_probes_init(&p, deltas, 5, &err), 0);
    qcbmi_merge_probes_give(&p, &out);
    assert_int_equal(out.n_probes, QCBMI_DELTA_MAX_PROBES);
    for (unsigned k = 0; k < QCBMI_DELTA_MAX_PROBES; k++)
        assert_int_equal(out.probes[k].offset / 50, k);
    qcbmi_merge_probes_free(&p);
}

/* Two files of each form into a third, which is read. */
static void files_of_each_form_are_merged(void **state)
{
    static const struct qcbmi_delta_record old[] = { { 0, 131072, QCBMI_DELTA_DATA } },
                                           new[] = { { 65536, 131072, QCBMI_DELTA_ZERO } };
    static const char *const forms[] = { "qcow2", "raw+map", "rbd-diff", "vnb" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(forms); i++) {
        struct qcbmi_delta_wish wish = { .form = qcbmi_delta_form_named(forms[i]) };
        struct qcbmi_delta_meta meta = some_meta(SIZE);
        uint8_t *disk = malloc(SIZE), *expected = malloc(131072);
        const char *paths[3], *names[] = { "old", "new" };
        struct qcbmi_delta *deltas[2], *d;
        struct qcbmi_merge m = { .deltas = deltas, .names = names, .n = 2, .force_parent = false };
        struct qcbmi_merge_result result;
        struct qcbm_error err = { 0 };
        struct temp_dir dir;

        assert_true(disk && expected && wish.form);
        temp_dir_make(&dir);
        paths[0] = wish.path = temp_path(&dir, "old");
        assert_int_equal(write_records(&wish, &meta, old, 1, 65536, &err), 0);
        paths[1] = wish.path = temp_path(&dir, "new");
        memcpy(meta.parent, meta.id, sizeof meta.id);
        memset(meta.id, 0x11, sizeof meta.id);
        assert_int_equal(write_records(&wish, &meta, new, 1, 65536, &err), 0);
        for (unsigned k = 0; k < 2; k++)
            assert_int_equal(qcbmi_delta_open(paths[k], &deltas[k], &err), 0);
        m.path = paths[2] = temp_path(&dir, "merged");
        assert_int_equal(qcbmi_delta_merge(&m, &result, &err), 0);
        assert_int_equal(result.data_bytes + result.zero_bytes, 3 * 65536);
        assert_int_equal(result.bytes_before, 4 * 65536);
        assert_int_equal(qcbmi_delta_merge(&m, &result, &err), QCBM_E_EXISTS);
        assert_int_equal(qcbmi_delta_open(paths[2], &d, &err), 0);
        assert_string_equal(d->form->name, forms[i]);
        assert_memory_equal(d->meta.id, meta.id, sizeof meta.id);
        assert_int_equal(d->meta.parent[0], 0xcd);
        assert_int_equal(qcbmi_delta_verify(d, NULL, NULL, &err), 0);
        assert_int_equal(read_all(d, disk, &err), 0);
        fill_pattern(expected, 0, 65536);
        assert_memory_equal(disk, expected, 65536);
        memset(expected, 0, 131072);
        assert_memory_equal(disk + 65536, expected, 131072);
        assert_int_equal(disk[3 * 65536], 0xff);
        for (unsigned k = 0; k < 2; k++)
            qcbmi_delta_close(deltas[k]);
        qcbmi_delta_close(d);
        temp_dir_remove(&dir);
        free(disk);
        free(expected);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ids_decide_what_follows_what),
        cmocka_unit_test(without_ids_names_decide),
        cmocka_unit_test(sizes_and_forms_must_meet),
        cmocka_unit_test(the_result_begins_as_the_first_and_ends_as_the_last),
        cmocka_unit_test(probes_stay_where_nothing_is_written),
        cmocka_unit_test(of_too_many_probes_some_are_taken_evenly),
        cmocka_unit_test(files_of_each_form_are_merged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
