/* host_map.c - what the bytes of an image file are used for, as extents in the order of the file
 * SPDX-License-Identifier: MIT */
#include "base/checked.h"
#include "base/error.h"
#include "base/progress.h"
#include "ops/host_uses.h"

/* A set along the file: what it says, and up to where. Asked in order, it goes over the set once. */
struct along {
    bool is_in;
    uint64_t until;
};

struct walk {
    struct qcbmi_host_uses uses;
    struct along sets[QCBMI_HOST_SETS];
    struct along stored; /* has a refcount */
    struct qcbmi_counts none;
    qcbm_host_map_fn *fn;
    void *opaque;
    uint64_t cluster_size, file_size;
    struct qcbm_host_extent run; /* not yet given out; length 0: none */
};

static void move_set(const struct walk *w, unsigned set, struct along *a, uint64_t at)
{
    const struct qcbmi_bitset *bits = &w->uses.sets[set];

    if (at < a->until)
        return;
    a->is_in = qcbmi_bitset_get(bits, at);
    a->until = a->is_in ? qcbmi_bitset_next_clear(bits, at) : qcbmi_bitset_next_set(bits, at);
}

static void move_stored(struct walk *w, uint64_t at)
{
    const struct qcbmi_counts *stored = &w->uses.stored;
    uint64_t end = w->uses.n_clusters;

    if (at < w->stored.until)
        return;
    w->stored.is_in = qcbmi_counts_get(stored, at) != 0;
    if (w->stored.is_in)
        for (w->stored.until = at + 1; w->stored.until < end && qcbmi_counts_get(stored, w->stored.until);)
            w->stored.until++;
    else
        w->stored.until = qcbmi_counts_next_difference(stored, &w->none, at, end);
}

static enum qcbm_host_kind kind_of(const struct walk *w)
{
    static const struct {
        enum qcbmi_host_set set;
        enum qcbm_host_kind kind;
    } order[] = { { QCBMI_HOST_OTHER, QCBM_HOST_HEADER },        { QCBMI_HOST_TABLES, QCBM_HOST_TABLES },
                  { QCBMI_HOST_REFCOUNTS, QCBM_HOST_REFCOUNTS }, { QCBMI_HOST_BITMAPS, QCBM_HOST_BITMAPS },
                  { QCBMI_HOST_DATA, QCBM_HOST_DATA },           { QCBMI_HOST_COMPRESSED, QCBM_HOST_COMPRESSED },
                  { QCBMI_HOST_SNAPSHOTS, QCBM_HOST_SNAPSHOTS } };

    for (unsigned i = 0; i < sizeof(order) / sizeof(order[0]); i++)
        if (w->sets[order[i].set].is_in)
            return w->stored.is_in ? order[i].kind : QCBM_HOST_UNCOUNTED;
    return w->stored.is_in ? QCBM_HOST_LEAKED : QCBM_HOST_FREE;
}

static int give_out(struct walk *w, struct qcbm_error *err)
{
    struct qcbm_host_extent run = w->run;

    w->run.length = 0;
    if (run.offset + run.length > w->file_size) /* the last cluster may be cut short */
        run.length = w->file_size - u64_min(run.offset, w->file_size);
    return run.length && w->fn(w->opaque, &run) ? qcbmi_fail_stopped(err) : 0;
}

/* Clusters [@first, @end), of one kind. */
static int add(struct walk *w, uint64_t first, uint64_t end, enum qcbm_host_kind kind, bool begins,
               struct qcbm_error *err)
{
    int ret = 0;

    if (w->run.length == 0 || w->run.kind != kind || (begins && kind == QCBM_HOST_DATA)) {
        ret = give_out(w, err);
        w->run = (struct qcbm_host_extent){ .offset = first * w->cluster_size, .kind = kind };
    }
    w->run.length += (end - first) * w->cluster_size;
    return ret;
}

static int give_all(struct walk *w, struct qcbm_error *err)
{
    uint64_t at = 0, end;
    int ret = 0;

    for (; ret == 0 && at < w->uses.n_clusters; at = end) {
        move_stored(w, at);
        end = w->stored.until;
        for (unsigned i = 0; i < QCBMI_HOST_SETS; i++) {
            move_set(w, i, &w->sets[i], at);
            end = u64_min(end, w->sets[i].until);
        }
        if (w->sets[QCBMI_HOST_BEGINS].is_in) /* one run begins in each of them */
            end = at + 1;
        ret = add(w, at, end, kind_of(w), w->sets[QCBMI_HOST_BEGINS].is_in, err);
    }
    return ret < 0 ? ret : give_out(w, err);
}

int qcbm_host_map(struct qcbm_image *img, qcbm_host_map_fn *fn, void *opaque, const struct qcbm_progress *progress,
                  struct qcbm_error *err)
{
    struct qcbmi_progress p = { progress, 0, img->image->io.size };
    struct walk w = { .fn = fn, .opaque = opaque };
    int ret;

    w.cluster_size = img->image->g.cluster_size;
    w.file_size = img->image->io.size;
    ret = qcbmi_host_uses_read(&w.uses, img, &p, err);
    if (ret == 0)
        ret = qcbmi_counts_init(&w.none, 0, w.uses.n_clusters, err);
    if (ret == 0)
        ret = give_all(&w, err);
    qcbmi_counts_free(&w.none);
    qcbmi_host_uses_free(&w.uses);
    return ret;
}
