/* test_whole_clusters.c - merged pieces in whole clusters, and the one case in which there are none
 * SPDX-License-Identifier: MIT */
#include "overlay_unit.h"

#include "base/checked.h"
#include "delta/whole_clusters.h"

enum { UNIT = 16, MAX_DELTAS = 5 };

static void take_piece(struct disk *disk, const struct qcbmi_overlay_piece *p, const uint8_t *bytes)
{
    struct qcbm_error err = { 0 };

    if (bytes)
        memcpy(disk->bytes + p->r.offset, bytes, p->r.length);
    else if (p->r.type == QCBMI_DELTA_ZERO)
        memset(disk->bytes + p->r.offset, 0, p->r.length);
    else
        assert_int_equal(qcbmi_delta_read(p->from, p->r.offset, disk->bytes + p->r.offset, p->r.length, &err), 0);
}

/* Returns 0, or QCBM_E_LIMIT. */
static int apply_clusters(struct fake_delta *deltas, size_t n, struct disk *disk)
{
    struct qcbmi_delta *list[MAX_DELTAS];
    struct qcbmi_whole_clusters c;
    struct qcbmi_overlay o;
    struct qcbmi_overlay_piece p;
    struct qcbm_error err = { 0 };
    const uint8_t *bytes;
    uint64_t end = 0;
    int ret;

    for (size_t i = 0; i < n; i++)
        list[i] = &deltas[i].d;
    assert_int_equal(qcbmi_overlay_init(&o, list, n, &err), 0);
    assert_int_equal(qcbmi_whole_clusters_init(&c, &o, UNIT, &err), 0);
    assert_int_equal(qcbmi_whole_clusters_rewind(&c, &err), 0);
    if (o.size_after > disk->size)
        disk_resize(disk, o.size_after);
    while ((ret = qcbmi_whole_clusters_next(&c, &p, &bytes, &err)) == 1) {
        assert_true(p.r.length > 0 && p.r.offset >= end && p.r.offset % UNIT == 0);
        end = p.r.offset + p.r.length;
        assert_true(end == o.size_after || (end % UNIT == 0 && end < o.size_after));
        take_piece(disk, &p, bytes);
    }
    if (ret < 0)
        assert_failure(ret, &err, QCBM_E_LIMIT, QCBM_NO_OFFSET, "one after the other");
    disk_resize(disk, o.size_after);
    qcbmi_whole_clusters_free(&c);
    qcbmi_overlay_free(&o);
    return ret;
}

/* Was the disk shortened inside a cluster, and made longer again, where the oldest state had something? */
static bool may_be_refused(const struct fake_delta *deltas, size_t n)
{
    uint64_t oldest = deltas[0].d.meta.size_before;

    for (size_t i = 1; i < n; i++) {
        uint64_t size = deltas[i - 1].d.meta.size_after;

        if (size % UNIT && deltas[i].d.meta.size_after > size && oldest > align_down(size, UNIT))
            return true;
    }
    return false;
}

static void random_disk(struct disk *disk, uint64_t size, uint64_t *random)
{
    disk->size = size;
    for (uint64_t i = 0; i < size; i++)
        disk->bytes[i] = (uint8_t)(1 + next_random(random) % 255);
}

/* Half of them with disks of whole clusters. */
static void random_histories_end_in_the_same_disk(void **state)
{
    unsigned done = 0, refused = 0;
    uint64_t random = 99;

    (void)state;
    for (unsigned round = 0; round < 20000; round++) {
        struct fake_delta deltas[MAX_DELTAS];
        static struct disk disk, merged;
        size_t n = 1 + next_random(&random) % MAX_DELTAS;
        uint64_t size = 1 + next_random(&random) % 200, step = round % 2 ? 1 : UNIT;

        random_disk(&disk, size, &random);
        merged = disk;
        for (size_t i = 0; i < n; i++) {
            uint64_t after = next_random(&random) % 3 ? size : (1 + next_random(&random) % 200 / step) * step;

            fake_init(&deltas[i], size, after, (uint8_t)(i * 31));
            fake_fill(&deltas[i], (uint64_t)UNIT << (next_random(&random) % 2), &random);
            disk_apply(&disk, &deltas[i]);
            size = after;
        }
        if (apply_clusters(deltas, n, &merged) < 0) {
            assert_true(may_be_refused(deltas, n));
            refused++;
            continue;
        }
        assert_memory_equal(merged.bytes, disk.bytes, disk.size);
        done++;
    }
    assert_true(done > 15000 && refused > 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_histories_end_in_the_same_disk),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
