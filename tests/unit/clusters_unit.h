/* clusters_unit.h - what the unit tests of free clusters and refcounts share: a job, and what the file is afterwards
 * SPDX-License-Identifier: MIT */
#ifndef CLUSTERS_UNIT_H
#define CLUSTERS_UNIT_H

#include "image_unit.h"

#include "write/clusters.h"

#define PREPARE 0u
#define VISIBLE 1u
#define RECLAIM 2u

struct job {
    struct qcbm_image *img;
    struct qcbmi_owners owners;
    struct qcbmi_alloc alloc;
    struct qcbmi_plan plan;
    uint8_t *file; /* with the plan carried out */
    uint64_t file_len;
};

static inline int begin(struct job *j, const struct image_builder *b, uint64_t want, struct qcbm_error *err)
{
    memset(j, 0, sizeof(*j));
    j->img = build_open(b, QCBM_OPEN_WRITE);
    assert_ok(qcbmi_owners_scan_metadata(j->img->image, &j->owners, err), err);
    assert_ok(qcbmi_owners_scan_data(&j->owners, NULL, err), err);
    assert_ok(qcbmi_plan_header_init(&j->plan, j->img->image->cluster0, j->img->image->g.cluster_size, err), err);
    for (int i = 0; i < 3; i++)
        assert_ok(qcbmi_plan_stage(&j->plan, "", false, err), err);
    return qcbmi_alloc_begin(&j->alloc, &j->owners, want, err);
}

static inline void begin_ok(struct job *j, const struct image_builder *b, uint64_t want)
{
    struct qcbm_error err = { 0 };

    assert_ok(begin(j, b, want, &err), &err);
}

static inline uint64_t take(struct job *j, uint64_t n)
{
    struct qcbm_error err = { 0 };
    uint64_t off;

    assert_ok(qcbmi_alloc_take(&j->alloc, n, &off, &err), &err);
    return off;
}

static inline void emit(struct job *j)
{
    struct qcbm_error err = { 0 };

    assert_ok(qcbmi_alloc_emit(&j->alloc, &j->plan, PREPARE, VISIBLE, &err), &err);
}

static inline void carry_out(struct job *j, const struct image_builder *b)
{
    j->file_len = j->plan.end > b->len ? j->plan.end : b->len;
    free(j->file);
    j->file = calloc(1, (size_t)j->file_len);
    assert_non_null(j->file);
    memcpy(j->file, b->bytes, b->len);
    for (size_t i = 0; i < j->plan.n; i++)
        for (size_t k = 0; k < j->plan.stages[i].n; k++) {
            const struct qcbmi_plan_write *w = &j->plan.stages[i].writes[k];

            assert_true(w->off + w->len <= j->file_len);
            memcpy(j->file + w->off, w->source.bytes, (size_t)w->len);
        }
}

static inline void end(struct job *j)
{
    free(j->file);
    qcbmi_plan_free(&j->plan);
    qcbmi_alloc_free(&j->alloc);
    qcbmi_owners_free(&j->owners);
    qcbm_close(j->img);
}

/* Refcount of cluster @c in the file after the plan, by the letter of the specification. */
static inline uint64_t refcount_after(const struct job *j, const struct image_builder *b, uint64_t c)
{
    uint64_t per = (uint64_t)b->cluster_size * 8 / b->opt.refcount_bits, block, value = 0;
    uint32_t bits = b->opt.refcount_bits;
    uint64_t table = be64_load(j->file + 48), n = be32_load(j->file + 56) * (uint64_t)b->cluster_size / 8;

    block = c / per < n ? be64_load(j->file + table + 8 * (c / per)) : 0;
    if (!block)
        return 0;
    if (bits < 8)
        return j->file[block + c % per * bits / 8] >> (c % per * bits % 8) & ((1u << bits) - 1);
    for (uint32_t k = 0; k < bits / 8; k++)
        value = value << 8 | j->file[block + c % per * (bits / 8) + k];
    return value;
}

/* After emit: what was taken was free, and has refcount 1 now; all others are as before; tables are sound. */
static inline void check_file(struct job *j, const struct image_builder *b)
{
    uint64_t cs = b->cluster_size, n = (j->plan.end > b->len ? j->plan.end : b->len) / cs, taken = 0;
    uint8_t *want = calloc(1, (size_t)n);

    assert_non_null(want);
    carry_out(j, b);
    for (uint64_t c = 0; c < b->len / cs; c++)
        want[c] = (uint8_t)build_get_refcount(b, c * cs);
    for (size_t i = 0; i < j->alloc.n_taken; i++)
        for (uint64_t c = j->alloc.taken[i].first; c < j->alloc.taken[i].first + j->alloc.taken[i].n; c++, taken++) {
            assert_true(c < n);
            assert_int_equal(want[c], 0);
            want[c] = 1;
        }
    for (uint64_t c = 0; c < n; c++)
        if (refcount_after(j, b, c) != want[c])
            fail_msg("cluster %llu of %llu: refcount %llu, wanted %u", (unsigned long long)c, (unsigned long long)n,
                     (unsigned long long)refcount_after(j, b, c), want[c]);
    assert_int_equal(j->plan.clusters_allocated, taken);
    free(want);
}

static inline void build_width(struct image_builder *b, uint32_t cluster_bits, unsigned order, uint64_t n_used)
{
    struct build_options opt = { .size = 65536, .cluster_bits = cluster_bits, .refcount_bits = 1u << order };

    build_start(b, &opt);
    build_clusters(b, n_used);
    build_finish(b);
}

#endif
