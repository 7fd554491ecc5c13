/* manifest_compare.c - where a disk differs from what a manifest says it was
 * SPDX-License-Identifier: MIT */
#include "manifest/manifest_compare.h"

#include <string.h>

#include "base/bytes.h"
#include "base/error.h"
#include "manifest/disk_digests.h"
#include "manifest/manifest_make.h"

#define ENOUGH 8u /* granules: by chance a disk has so many new ones and none that stayed */

struct comparing {
    struct qcbmi_manifest_compare *c;
    struct qcbmi_manifest_place place;
    uint64_t size; /* of what is compared */
    unsigned gran_bits;
    uint64_t start, end; /* a range that is not told yet: bytes; empty at first */
    bool unreadable;
};

static int tell(struct comparing *s, struct qcbm_error *err)
{
    uint64_t start = s->start, end = s->end;

    s->start = s->end;
    if (start == end)
        return 0;
    s->c->out.different_bytes += end - start;
    if (s->unreadable)
        s->c->out.unreadable_bytes += end - start;
    return s->c->fn ? s->c->fn(s->c->opaque, start, end, s->unreadable, err) : 0;
}

static int differs(struct comparing *s, uint64_t start, uint64_t end, bool unreadable, struct qcbm_error *err)
{
    int ret = start == s->end && unreadable == s->unreadable ? 0 : tell(s, err);

    if (s->start == s->end)
        s->start = start;
    s->end = end;
    s->unreadable = unreadable;
    return ret;
}

/* @n granules from @granule on, on the disk all zeros (NULL), or one with that digest; @was of the manifest. */
static int compare(struct comparing *s, uint64_t granule, uint64_t n, const uint8_t *is, const uint8_t *was,
                   struct qcbm_error *err)
{
    bool equal = is && was ? memcmp(is, was, s->c->manifest->hasher.bytes) == 0 : is == was;
    uint64_t start = granule << s->gran_bits, end = u64_min((granule + n) << s->gran_bits, s->size);

    s->c->out.compared += n;
    s->c->out.compared_bytes += end - start;
    if (!equal)
        return differs(s, start, end, false, err);
    s->c->out.equal += n;
    s->c->out.equal_bytes += end - start;
    return 0;
}

static int take_unreadable(struct comparing *s, const struct qcbmi_digests *d, uint64_t first, uint64_t n,
                           struct qcbm_error *err)
{
    if (s->c->out.unreadable_bytes == 0 && !(s->unreadable && s->end > s->start))
        s->c->out.why = *d->why;
    return differs(s, first << s->gran_bits, u64_min((first + n) << s->gran_bits, s->size), true, err);
}

static int take_granules(void *opaque, const struct qcbmi_digests *d, struct qcbm_error *err)
{
    struct comparing *s = opaque;
    int ret = 0;

    if (!d->kinds && d->all == QCBMI_GRANULE_UNREADABLE)
        return take_unreadable(s, d, d->first, d->n, err);
    for (uint64_t i = 0, n; ret == 0 && i < d->n; i += n) {
        unsigned kind = d->kinds ? d->kinds[i] : d->all;
        const uint8_t *was = NULL;

        n = 1;
        if (kind == QCBMI_GRANULE_UNREADABLE) {
            ret = take_unreadable(s, d, d->first + i, 1, err);
            continue;
        }
        ret = qcbmi_manifest_at(&s->place, d->first + i, &was, &n, err);
        n = ret < 0 ? 1 : was || d->kinds ? 1 : u64_min(n, d->n - i);
        if (ret == 0)
            ret = compare(s, d->first + i, n,
                          kind == QCBMI_GRANULE_ZEROS ? NULL : d->digests + i * s->c->manifest->hasher.bytes, was, err);
    }
    return ret;
}

/* Bytes of the disk, up to the end of the granules that can be compared. */
static uint64_t common_size(const struct comparing *s, uint64_t disk, uint64_t was)
{
    return disk < align_down(was, Q2_SECTOR) ? align_down(disk, UINT64_C(1) << s->gran_bits) : u64_min(disk, was);
}

static bool is_wanted(const struct comparing *s, uint64_t off, uint64_t end)
{
    uint64_t from, to;

    return !s->c->only || (qcbmi_dirtymap_next(s->c->only, off, &from, &to) && from < end);
}

/* What is behind the end of the manifest's disk in its last sector: the manifest counts it as zeros. */
static int compare_sector(struct comparing *s, struct qcbmi_data *data, uint64_t was, uint64_t disk,
                          struct qcbm_error *err)
{
    uint8_t bytes[Q2_SECTOR];
    struct qcbm_error why;
    int ret;

    if (!is_wanted(s, was, disk))
        return 0;
    ret = qcbmi_data_read(data, was, bytes, disk - was, &why);
    if (ret == QCBM_E_NOMEM)
        return qcbmi_fail_nomem(err);
    if (ret < 0 && s->c->out.unreadable_bytes == 0 && !(s->unreadable && s->end > s->start))
        s->c->out.why = why;
    return ret < 0 || !bytes_are_zero(bytes, disk - was) ? differs(s, was, disk, ret < 0, err) : 0;
}

/* QEMU rounds the length of a file up to sectors; what it adds are zeros, and no growth. */
static int take_rest(struct comparing *s, struct qcbmi_data *data, uint64_t disk, uint64_t was, struct qcbm_error *err)
{
    uint64_t end = align_up(was, Q2_SECTOR);
    int ret = 0;

    if (disk > end) {
        s->c->out.grown_bytes = disk - end;
        ret = differs(s, was, disk, false, err);
    } else if (disk > was) {
        ret = compare_sector(s, data, was, disk, err);
    } else if (disk < was) {
        ret = differs(s, s->size, was, false, err);
    }
    return ret < 0 ? ret : tell(s, err);
}

int qcbmi_manifest_compare(struct qcbmi_manifest_compare *c, struct qcbm_error *err)
{
    struct comparing s = { .c = c, .place = { .m = c->manifest }, .gran_bits = c->manifest->h.gran_bits };
    uint64_t disk = qcbmi_manifest_disk_size(c->disk), was = c->manifest->h.size;
    unsigned flags = QCBMI_DATA_FILES | QCBMI_DATA_HOLES | (c->force_share ? QCBMI_DATA_FORCE_SHARE : 0);
    struct qcbmi_disk_digests job = { .gran_bits = s.gran_bits,
                                      .hasher = &c->manifest->hasher,
                                      .only = c->only,
                                      .all_from = UINT64_MAX,
                                      .progress = c->progress,
                                      .fn = take_granules,
                                      .opaque = &s };
    int ret = qcbmi_chain_check_plain(c->disk, err);

    c->out = (struct qcbmi_manifest_figures){ 0 };
    s.size = job.size = common_size(&s, disk, was);
    job.threads = qcbmi_manifest_threads(c->disk, c->threads);
    if (ret == 0)
        ret = qcbmi_data_of_chain(c->disk, 0, flags, &job.disk, err);
    if (c->progress)
        c->progress->total += qcbmi_disk_digests_cost(&job);
    if (ret == 0)
        ret = qcbmi_disk_digests(&job, err);
    if (ret == 0)
        ret = take_rest(&s, job.disk, disk, was, err);
    qcbmi_data_close(job.disk);
    qcbmi_manifest_place_free(&s.place);
    return ret;
}

static int mark(void *opaque, uint64_t start, uint64_t end, bool unreadable, struct qcbm_error *err)
{
    (void)unreadable;
    return qcbmi_dirtymap_set(opaque, start, end, err);
}

int qcbmi_manifest_mark(struct qcbmi_manifest_compare *c, struct qcbmi_dirtymap *map, struct qcbm_error *err)
{
    c->fn = mark;
    c->opaque = map;
    return qcbmi_manifest_compare(c, err);
}

int qcbmi_manifest_check_related(const struct qcbmi_manifest_compare *c, struct qcbm_error *err)
{
    if (!c->manifest->is_index || c->out.equal || c->out.compared < ENOUGH)
        return 0;
    return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                      "none of %" PRIu64
                      " chunks of the disk is in the index: it is of another disk, or of an encrypted "
                      "backup, whose digests are keyed",
                      c->out.compared);
}
