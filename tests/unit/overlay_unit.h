/* overlay_unit.h - deltas in memory, and disks that they are applied to, for tests of merging
 * SPDX-License-Identifier: MIT */
#ifndef OVERLAY_UNIT_H
#define OVERLAY_UNIT_H

#include "unit.h"

#include "delta/delta.h"

enum { MAX_RECORDS = 24, MAX_DISK = 4096 };

/* A delta that is a list; byte b of data at offset o is (o + .seed). */
struct fake_delta {
    struct qcbmi_delta d;
    struct qcbmi_delta_record records[MAX_RECORDS];
    size_t n, next;
    uint8_t seed;
};

static inline uint8_t fake_byte(const struct fake_delta *f, uint64_t offset)
{
    return (uint8_t)(1 + (offset * 7 + f->seed) % 255);
}

static inline int fake_next(struct qcbmi_delta *d, struct qcbmi_delta_record *out, struct qcbm_error *err)
{
    struct fake_delta *f = (struct fake_delta *)d;

    (void)err;
    if (f->next == f->n)
        return 0;
    *out = f->records[f->next++];
    return 1;
}

static inline int fake_read(struct qcbmi_delta *d, uint64_t offset, void *buf, uint64_t len, struct qcbm_error *err)
{
    const struct fake_delta *f = (struct fake_delta *)d;

    (void)err;
    for (uint64_t i = 0; i < len; i++)
        ((uint8_t *)buf)[i] = fake_byte(f, offset + i);
    return 0;
}

static inline int fake_rewind(struct qcbmi_delta *d, struct qcbm_error *err)
{
    (void)err;
    ((struct fake_delta *)d)->next = 0;
    return 0;
}

static const struct qcbmi_delta_form fake_form = {
    .name = "fake", .next = fake_next, .read = fake_read, .rewind = fake_rewind
};

static inline void fake_init(struct fake_delta *f, uint64_t size_before, uint64_t size_after, uint8_t seed)
{
    memset(f, 0, sizeof(*f));
    f->d.form = &fake_form;
    f->d.meta.size_before = size_before;
    f->d.meta.size_after = size_after;
    f->seed = seed;
}

static inline void fake_add(struct fake_delta *f, uint64_t offset, uint64_t length, enum qcbmi_delta_type type)
{
    assert_true(f->n < MAX_RECORDS);
    f->records[f->n++] = (struct qcbmi_delta_record){ offset, length, type };
}

/* Random records in whole @unit, but for the end of the disk. */
static inline void fake_fill(struct fake_delta *f, uint64_t unit, uint64_t *random)
{
    uint64_t size = f->d.meta.size_after, at = next_random(random) % 8 * unit;

    while (at < size && f->n < MAX_RECORDS) {
        uint64_t length = (1 + next_random(random) % 4) * unit;

        length = length < size - at ? length : size - at;
        fake_add(f, at, length, next_random(random) % 2 ? QCBMI_DELTA_DATA : QCBMI_DELTA_ZERO);
        at += length + next_random(random) % 4 * next_random(random) % 5 * unit;
    }
}

/* A disk in memory: grown with zeros, written to, cut. */
struct disk {
    uint8_t bytes[MAX_DISK];
    uint64_t size;
};

static inline void disk_resize(struct disk *disk, uint64_t size)
{
    for (uint64_t i = disk->size; i < size; i++)
        disk->bytes[i] = 0;
    disk->size = size;
}

static inline void disk_apply(struct disk *disk, const struct fake_delta *f)
{
    if (f->d.meta.size_after > disk->size)
        disk_resize(disk, f->d.meta.size_after);
    for (size_t i = 0; i < f->n; i++)
        for (uint64_t at = f->records[i].offset; at < f->records[i].offset + f->records[i].length; at++)
            disk->bytes[at] = f->records[i].type == QCBMI_DELTA_DATA ? fake_byte(f, at) : 0;
    disk_resize(disk, f->d.meta.size_after);
}

#endif
