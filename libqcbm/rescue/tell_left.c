/* tell_left.c - what has no place in the new image, and where in the file it lies
 * SPDX-License-Identifier: MIT */
#include "rescue/rescue.h"

static bool is_unplaced(const struct qcbmi_candidate *c)
{
    return qcbmi_candidate_is_root(c) && !c->placed;
}

static int tell_table(const struct qcbmi_rescue *r, const struct qcbmi_candidate *c, qcbm_rescue_left_fn *fn,
                      void *opaque)
{
    unsigned cb = r->g->cluster_bits;
    const struct qcbm_rescue_left left = { .offset = c->ref.offset,
                                           .length = r->g->cluster_size,
                                           .table = true,
                                           .entries = c->n,
                                           .first = (uint64_t)c->first_index << cb,
                                           .end = ((uint64_t)c->last_index + 1) << cb };

    return fn(opaque, &left);
}

/* The run of clusters that begins with @from; *@end gets where it ends: at a table, too. */
static int tell_clusters(const struct qcbmi_rescue *r, uint64_t from, uint64_t *end, qcbm_rescue_left_fn *fn,
                         void *opaque)
{
    unsigned cb = r->g->cluster_bits;
    struct qcbm_rescue_left left = { .offset = from << cb };
    const struct qcbmi_candidate *c;

    for (*end = from + 1; *end < r->n_clusters && qcbmi_rescue_is_left(r, *end); ++*end) {
        c = qcbmi_rescue_candidate(r, *end << cb);
        if (c && is_unplaced(c))
            break;
    }
    left.length = (*end - from) << cb;
    return fn(opaque, &left);
}

/* Without refcounts only tables: what is left is then all that nothing names, free clusters, too. */
static int tell_tables(const struct qcbmi_rescue *r, qcbm_rescue_left_fn *fn, void *opaque)
{
    int stop = 0;

    for (size_t i = 0; !stop && i < r->n_found; i++)
        if (is_unplaced(&r->found[i]))
            stop = tell_table(r, &r->found[i], fn, opaque);
    return stop;
}

int qcbmi_rescue_tell_left(const struct qcbmi_rescue *r, qcbm_rescue_left_fn *fn, void *opaque, struct qcbm_error *err)
{
    uint64_t i = fn && r->refcounts ? qcbmi_rescue_next_left(r, 0) : r->n_clusters, end;
    int stop = fn && !r->refcounts ? tell_tables(r, fn, opaque) : 0;

    for (; !stop && i < r->n_clusters; i = qcbmi_rescue_next_left(r, end)) {
        const struct qcbmi_candidate *c = qcbmi_rescue_candidate(r, i << r->g->cluster_bits);

        end = i + 1;
        stop = c && is_unplaced(c) ? tell_table(r, c, fn, opaque) : tell_clusters(r, i, &end, fn, opaque);
    }
    return stop ? qcbmi_fail_stopped(err) : 0;
}
