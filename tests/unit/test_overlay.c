/* test_overlay.c - deltas on top of one another are what they are one after the other
 * SPDX-License-Identifier: MIT */
#include "overlay_unit.h"

#include "delta/overlay.h"

enum { MAX_DELTAS = 6 };

/* All pieces on @disk: in order, within the disk. Returns how many bytes they have. */
static uint64_t apply_overlay(struct qcbmi_overlay *o, struct disk *disk)
{
    uint64_t end = 0, bytes = 0;
    struct qcbm_error err = { 0 };
    struct qcbmi_overlay_piece p;
    int ret;

    assert_int_equal(qcbmi_overlay_rewind(o, &err), 0);
    if (o->size_after > disk->size)
        disk_resize(disk, o->size_after);
    while ((ret = qcbmi_overlay_next(o, &p, &err)) == 1) {
        assert_true(p.r.length > 0 && p.r.offset >= end);
        end = p.r.offset + p.r.length;
        assert_true(end <= o->size_after);
        bytes += p.r.length;
        if (p.r.type == QCBMI_DELTA_ZERO)
            memset(disk->bytes + p.r.offset, 0, p.r.length);
        else
            assert_int_equal(qcbmi_delta_read(p.from, p.r.offset, disk->bytes + p.r.offset, p.r.length, &err), 0);
    }
    assert_int_equal(ret, 0);
    disk_resize(disk, o->size_after);
    return bytes;
}

static uint64_t merge(struct fake_delta *deltas, size_t n, struct disk *disk)
{
    struct qcbmi_delta *list[MAX_DELTAS];
    struct qcbm_error err = { 0 };
    struct qcbmi_overlay o;
    uint64_t bytes;

    for (size_t i = 0; i < n; i++)
        list[i] = &deltas[i].d;
    assert_int_equal(qcbmi_overlay_init(&o, list, n, &err), 0);
    bytes = apply_overlay(&o, disk);
    qcbmi_overlay_free(&o);
    return bytes;
}

static void random_disk(struct disk *disk, uint64_t size, uint64_t *random)
{
    disk->size = size;
    for (uint64_t i = 0; i < size; i++)
        disk->bytes[i] = (uint8_t)(1 + next_random(random) % 255);
}

/* One to six deltas of random records, on a disk of random size in each state. */
static void random_histories_end_in_the_same_disk(void **state)
{
    uint64_t random = 20731;

    (void)state;
    for (unsigned round = 0; round < 20000; round++) {
        struct fake_delta deltas[MAX_DELTAS];
        static struct disk disk, merged;
        size_t n = 1 + next_random(&random) % MAX_DELTAS;
        uint64_t size = 1 + next_random(&random) % 400;

        random_disk(&disk, size, &random);
        merged = disk;
        for (size_t i = 0; i < n; i++) {
            uint64_t after = next_random(&random) % 3 ? size : 1 + next_random(&random) % 400;
            bool known = i > 0 || next_random(&random) % 4;

            fake_init(&deltas[i], known ? size : UINT64_MAX, after, (uint8_t)(i * 31));
            fake_fill(&deltas[i], 1 + next_random(&random) % 9, &random);
            disk_apply(&disk, &deltas[i]);
            size = after;
        }
        merge(deltas, n, &merged);
        assert_int_equal(merged.size, disk.size);
        assert_memory_equal(merged.bytes, disk.bytes, disk.size);
    }
}

/* Old:  0-9 data, 20-29 data.  New: 5-24 zeros. */
static void the_later_one_wins_byte_by_byte_zeros_included(void **state)
{
    static const struct qcbmi_delta_record expected[] = { { 0, 5, QCBMI_DELTA_DATA },
                                                          { 5, 20, QCBMI_DELTA_ZERO },
                                                          { 25, 5, QCBMI_DELTA_DATA } };
    struct fake_delta deltas[2];
    struct qcbmi_delta *list[] = { &deltas[0].d, &deltas[1].d };
    struct qcbm_error err = { 0 };
    struct qcbmi_overlay o;
    struct qcbmi_overlay_piece p;

    (void)state;
    fake_init(&deltas[0], 100, 100, 1);
    fake_add(&deltas[0], 0, 10, QCBMI_DELTA_DATA);
    fake_add(&deltas[0], 20, 10, QCBMI_DELTA_DATA);
    fake_init(&deltas[1], 100, 100, 2);
    fake_add(&deltas[1], 5, 20, QCBMI_DELTA_ZERO);
    assert_int_equal(qcbmi_overlay_init(&o, list, 2, &err), 0);
    assert_int_equal(qcbmi_overlay_rewind(&o, &err), 0);
    for (size_t i = 0; i < ARRAY_LEN(expected); i++) {
        assert_int_equal(qcbmi_overlay_next(&o, &p, &err), 1);
        assert_int_equal(p.r.offset, expected[i].offset);
        assert_int_equal(p.r.length, expected[i].length);
        assert_int_equal(p.r.type, expected[i].type);
    }
    assert_int_equal(qcbmi_overlay_next(&o, &p, &err), 0);
    assert_int_equal(qcbmi_overlay_next(&o, &p, &err), 0);
    qcbmi_overlay_free(&o);
}

/* Growing alone has no records; after the disk was shorter, what an older state has there does. */
static void growing_needs_records_only_over_what_was_there(void **state)
{
    struct fake_delta deltas[3];
    static struct disk disk;
    uint64_t random = 1;

    (void)state;
    fake_init(&deltas[0], 100, 100, 1);
    fake_init(&deltas[1], 100, 4000, 1);
    random_disk(&disk, 100, &random);
    assert_int_equal(merge(deltas, 2, &disk), 0);
    assert_int_equal(disk.size, 4000);

    fake_init(&deltas[0], 100, 40, 1);
    fake_init(&deltas[1], 40, 60, 1);
    fake_init(&deltas[2], 60, 4000, 1);
    random_disk(&disk, 100, &random);
    assert_int_equal(merge(deltas, 3, &disk), 60);
    assert_true(disk.bytes[39] != 0 && disk.bytes[40] == 0 && disk.bytes[99] == 0);

    deltas[0].d.meta.size_before = UINT64_MAX; /* then it may have been as long as the last */
    random_disk(&disk, 4000, &random);
    assert_int_equal(merge(deltas, 3, &disk), 3960);
    assert_true(disk.bytes[39] != 0 && disk.bytes[40] == 0 && disk.bytes[3999] == 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_later_one_wins_byte_by_byte_zeros_included),
        cmocka_unit_test(growing_needs_records_only_over_what_was_there),
        cmocka_unit_test(random_histories_end_in_the_same_disk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
