/* check_entries.c - what the entries of an L2 table refer to, and what is wrong with them
 * SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/sort.h"
#include "check/check_parts.h"

/* Clusters in random order of the file make every counter a miss of the cache: each is fetched so many notes before its
 * turn. Faster than to sort them first. */
#define AHEAD 24u

static struct qcbmi_place place_of(const struct check *c, const struct check_table *t, uint32_t i)
{
    return (struct qcbmi_place){ t->offset + (uint64_t)i * c->g->l2_entry_size, "L2 table", i, UINT32_MAX };
}

/* A reference that entry @i of @t makes. */
static struct qcbmi_ref ref_of(const struct check *c, const struct check_table *t, uint32_t i, enum qcbmi_ref_kind kind,
                               uint64_t off, uint64_t len)
{
    uint64_t guest = t->guest + (uint64_t)i * c->g->cluster_size;
    struct qcbmi_ref ref = { .owner = { kind, t->state, guest }, .offset = off, .len = len, .weight = t->weight };

    ref.exclusive = kind == QCBMI_REF_DATA ? t->active : 0;
    ref.at = place_of(c, t, i);
    ref.pointer = ref.at.offset;
    return ref;
}

static int check_compressed(struct check *c, struct check_table *t, uint32_t i, uint64_t raw, uint64_t word)
{
    struct qcbmi_place at = place_of(c, t, i);
    struct q2_l2_entry e;
    struct qcbmi_ref ref;
    int ret = 0;

    q2_l2_entry_parse(raw, 0, 0, c->g, &e);
    if (raw & Q2_ENTRY_COPIED)
        ret = qcbmi_check_problem(c, QCBM_PROBLEM_L2_COMPRESSED_COPIED, t->weight, &at,
                                  "ERROR: coffset=0x%" PRIx64 ": copied flag must never be set for compressed clusters",
                                  e.host_offset);
    raw &= ~Q2_ENTRY_COPIED;
    if (ret < 0)
        return ret;
    if (c->g->data_file)
        return qcbmi_check_problem(c, QCBM_PROBLEM_L2_COMPRESSED_DATA_FILE, t->weight, &at,
                                   "ERROR compressed cluster %" PRIu32 " with data file, entry=0x%" PRIx64, i, raw);
    if (word)
        return qcbmi_check_problem(c, QCBM_PROBLEM_L2_COMPRESSED_SUBCLUSTERS, t->weight, &at,
                                   "ERROR compressed cluster %" PRIu32
                                   " with non-zero subcluster allocation bitmap, entry=0x%" PRIx64,
                                   i, raw);
    if (c->sink->compressed)
        c->sink->compressed(c, t);
    ref = ref_of(c, t, i, QCBMI_REF_COMPRESSED, e.host_offset, e.host_len);
    return qcbmi_check_reference(c, &ref);
}

static int check_alignment(struct check *c, const struct check_table *t, uint64_t raw, uint64_t word, uint64_t off,
                           const struct qcbmi_place *at)
{
    bool data = c->g->extended_l2 ? (uint32_t)word != 0 : !(raw & Q2_L2_ZERO);

    if (is_aligned(off, c->g->cluster_size))
        return 0;
    if (!data)
        return qcbmi_check_problem(
            c, QCBM_PROBLEM_L2_PREALLOC_UNALIGNED, t->weight, at,
            "ERROR offset=%" PRIx64 ": Preallocated cluster is not properly aligned; L2 entry corrupted.", off);
    return qcbmi_check_problem(c, QCBM_PROBLEM_L2_DATA_UNALIGNED, t->weight, at,
                               "ERROR offset=%" PRIx64 ": Data cluster is not properly aligned; L2 entry corrupted.",
                               off);
}

/* What QEMU's check is silent about. */
static int check_beyond(struct check *c, const struct check_table *t, uint32_t i, uint64_t raw, uint64_t off,
                        const struct qcbmi_place *at)
{
    if (c->g->version == 2 && (raw & Q2_L2_ZERO))
        return qcbmi_check_problem(c, QCBM_PROBLEM_L2_VERSION_2_ZERO, t->weight, at,
                                   "L2 entry 0x%016" PRIx64 " has the zero flag, which version 2 does not know", raw);
    if (c->g->data_file && t->has_guest && t->active && off != t->guest + (uint64_t)i * c->g->cluster_size)
        return qcbmi_check_problem(c, QCBM_PROBLEM_L2_DATA_FILE_OFFSET, t->weight, at,
                                   "L2 entry 0x%016" PRIx64 " of guest offset 0x%" PRIx64
                                   ": another offset in the data file",
                                   raw, t->guest + (uint64_t)i * c->g->cluster_size);
    return 0;
}

static int check_allocated(struct check *c, struct check_table *t, uint32_t i, uint64_t raw, uint64_t word)
{
    struct qcbmi_place at = place_of(c, t, i);
    uint64_t off = raw & Q2_ENTRY_OFFSET_MASK;
    struct qcbmi_ref ref = ref_of(c, t, i, QCBMI_REF_DATA, off, c->g->cluster_size);
    int ret = 0;

    if (c->sink->mapped)
        c->sink->mapped(c, t, off, 1, raw & Q2_ENTRY_COPIED);
    if ((word >> 32) & word)
        ret = qcbmi_check_problem(
            c, QCBM_PROBLEM_L2_SUBCLUSTERS, t->weight, &at,
            "ERROR offset=%" PRIx64 ": Allocated cluster has corrupted subcluster allocation bitmap", off);
    if (ret == 0)
        ret = check_alignment(c, t, raw, word, off, &at);
    if (ret == 0)
        ret = check_beyond(c, t, i, raw, off, &at);
    if (ret < 0 || c->g->data_file || (c->aligned_only && !is_aligned(off, c->g->cluster_size)))
        return ret;
    return qcbmi_check_reference(c, &ref);
}

int qcbmi_check_entry(struct check *c, struct check_table *t, uint32_t i, const uint8_t *bytes)
{
    uint64_t raw = be64_load(bytes), word = c->g->extended_l2 ? be64_load(bytes + 8) : 0;
    struct qcbmi_place at;
    struct q2_l2_entry e;
    int ret = 0;

    if ((raw | word) == 0)
        return 0;
    if (raw & Q2_L2_COMPRESSED)
        return check_compressed(c, t, i, raw, word);
    at = place_of(c, t, i);
    if (raw & Q2_L2_RESERVED)
        ret = qcbmi_check_problem(c, QCBM_PROBLEM_L2_RESERVED, t->weight, &at,
                                  "ERROR found l2 entry with reserved bits set: %" PRIx64, raw);
    q2_l2_entry_parse(raw, word, 0, c->g, &e);
    if (ret == 0 && (e.kind == Q2_NORMAL || e.kind == Q2_ZERO_ALLOC))
        return check_allocated(c, t, i, raw, word);
    if (ret == 0 && e.kind == Q2_UNALLOCATED && (uint32_t)word)
        ret = qcbmi_check_problem(c, QCBM_PROBLEM_L2_SUBCLUSTERS_UNALLOCATED, t->weight, &at,
                                  "ERROR: Unallocated cluster has non-zero subcluster allocation map");
    return ret < 0 || e.kind != Q2_ZERO_PLAIN ? ret : check_beyond(c, t, i, raw, 0, &at);
}

/* The places of compressed data into c->blobs, sorted; honest ones mostly are. Returns their number. */
static uint32_t collect_blobs(struct check *c, const uint8_t *bytes)
{
    bool sorted = true;
    uint32_t n = 0;

    for (uint32_t i = 0; i < c->g->l2_entries; i++) {
        uint64_t raw = be64_load(bytes + (size_t)i * c->g->l2_entry_size);
        struct q2_l2_entry e;

        if (!(raw & Q2_L2_COMPRESSED))
            continue;
        q2_l2_entry_parse(raw, 0, 0, c->g, &e);
        sorted = sorted && (n == 0 || e.host_offset >= c->blobs[n - 1]);
        c->blobs[n++] = e.host_offset;
    }
    if (!sorted)
        qcbmi_sort(c->blobs, n, sizeof(c->blobs[0]), qcbmi_by_u64);
    return n;
}

int qcbmi_check_shared_data(struct check *c, const struct check_table *t, const uint8_t *bytes)
{
    struct qcbmi_place at = { t->offset, "L2 table", UINT64_MAX, UINT32_MAX };
    uint64_t shared = 0, first = 0;
    uint32_t n;

    if (!c->blobs)
        c->blobs = qcbmi_alloc_array(c->g->l2_entries, sizeof(c->blobs[0]), c->err);
    if (!c->blobs)
        return QCBM_E_NOMEM;
    n = collect_blobs(c, bytes);
    for (uint32_t i = 1; i < n; i++) {
        if (c->blobs[i] != c->blobs[i - 1])
            continue;
        first = shared++ ? first : c->blobs[i];
    }
    if (shared == 0)
        return 0;
    return qcbmi_check_problem(c, QCBM_PROBLEM_COMPRESSED_SHARED, t->weight, &at,
                               "L2 table at 0x%" PRIx64 ": %" PRIu64
                               " compressed clusters have data that belongs to others, first at 0x%" PRIx64,
                               t->offset, shared, first);
}

/* Entries that are sound on their own. */
static int check_sound(struct check *c, struct check_table *t, const struct qcbmi_l2_note *note)
{
    uint64_t off = note->raw & Q2_ENTRY_OFFSET_MASK;
    /* each of them starts in the file, which is what counts */
    struct qcbmi_ref ref =
        ref_of(c, t, note->index, QCBMI_REF_DATA, off, (note->n - 1) * (uint64_t)c->g->cluster_size + 1);

    if (c->sink->mapped)
        c->sink->mapped(c, t, off, note->n, note->raw & Q2_ENTRY_COPIED);
    return qcbmi_check_clusters(c, &ref);
}

int qcbmi_check_entries(struct check *c, struct check_table *t, const struct qcbmi_l2_content *content)
{
    size_t known = content->n + content->n_ahead;
    bool compressed = false;
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < content->n; i++) {
        const struct qcbmi_l2_note *note = &content->notes[i];

        if (i + AHEAD < known && content->notes[i + AHEAD].n)
            c->sink->soon(c, (content->notes[i + AHEAD].raw & Q2_ENTRY_OFFSET_MASK) >> c->g->cluster_bits);
        compressed |= note->n == 0 && (note->raw & Q2_L2_COMPRESSED);
        ret = note->n
                  ? check_sound(c, t, note)
                  : qcbmi_check_entry(c, t, note->index, content->bytes + note->index * (size_t)c->g->l2_entry_size);
    }
    return ret < 0 || !compressed || !check_is_first(c) ? ret : qcbmi_check_shared_data(c, t, content->bytes);
}

/* ---- L1 entries ---- */

int qcbmi_check_l1_reserved(struct check *c, uint64_t raw, const struct qcbmi_place *at, uint64_t weight)
{
    struct q2_l1_entry e;

    q2_l1_entry_parse(raw, c->g, &e);
    if (!e.reserved)
        return 0;
    return qcbmi_check_problem(c, QCBM_PROBLEM_L1_RESERVED, weight, at,
                               "ERROR found L1 entry with reserved bits set: %" PRIx64, raw);
}

int qcbmi_check_l1_alignment(struct check *c, uint64_t raw, const struct qcbmi_place *at, uint64_t weight)
{
    struct q2_l1_entry e;

    q2_l1_entry_parse(raw, c->g, &e);
    if (!e.unaligned)
        return 0;
    return qcbmi_check_problem(c, QCBM_PROBLEM_L1_UNALIGNED, weight, at,
                               "ERROR l2_offset=%" PRIx64 ": Table is not cluster aligned; L1 entry corrupted",
                               e.l2_offset);
}
