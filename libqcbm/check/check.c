/* check.c - the check as a whole: its order of work
 * SPDX-License-Identifier: MIT */
#include "check/check.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/sized.h"
#include "bitmap/bitmap_list.h"

#define MIN_MEMORY (UINT64_C(4) << 10)
/* Tables that honest programs write are read a handful of times at most; hostile ones refer to each other at will. */
#define BUDGET_BASE (UINT64_C(64) << 20)
#define BUDGET_MAX (UINT64_C(16) << 30)
#define COST_OF_MESSAGE 128u

/* What the counting walk met, in the words and the order of QEMU. A further pass counts on: all that is new in it are
 * clusters with too many references. */
static int tell_walk(struct check *c)
{
    int ret = 0;

    c->sink = &qcbmi_check_teller;
    c->voice = (struct check_voice){ false, true, PRICE_BUDGET,
                                     check_is_first(c) ? CHECK_ALL : QCBM_PROBLEM_REFCOUNT_OVERFLOW };
    c->recounted = c->recount;
    if (c->recount)
        ret = qcbmi_counts_init(&c->told, 0, c->n_clusters, c->err);
    if (ret == 0)
        ret = qcbmi_check_walk(c);
    c->voice.price = PRICE_FREE;
    if (ret == 0)
        ret = qcbmi_check_refblocks(c);
    qcbmi_counts_free(&c->told);
    return ret;
}

static int count_references(struct check *c)
{
    uint64_t before = c->n_met;
    int ret;

    c->sink = &qcbmi_check_counter;
    c->voice = (struct check_voice){ check_is_first(c), false, PRICE_FREE, CHECK_ALL };
    ret = qcbmi_check_walk(c);
    if (ret == 0)
        ret = qcbmi_check_refblocks(c);
    if (ret == 0 && ((c->n_met > before && check_is_first(c)) || (c->recount && !c->recounted)))
        ret = tell_walk(c);
    return ret;
}

/* Clusters from c->lo on, as many as the memory allows. */
static int run_pass(struct check *c)
{
    int ret = qcbmi_check_begin_pass(c);

    if (ret == 0)
        ret = count_references(c);
    c->voice = CHECK_LOUD;
    c->voice.price = PRICE_MESSAGES;
    if (ret == 0)
        ret = qcbmi_check_compare(c);
    c->voice = CHECK_LOUD;
    if (ret == 0)
        ret = qcbmi_check_collect_suspects(c);
    if (ret == 0 && c->counted)
        ret = c->counted(c, c->counted_for);
    qcbmi_check_end_pass(c);
    c->r.passes++;
    return ret;
}

static int run_passes(struct check *c)
{
    uint64_t end = c->n_clusters + 2; /* an unaligned reference may reach a little further */
    int ret = 0;

    for (c->lo = 0; ret == 0 && c->lo < c->n_clusters; c->lo = c->hi) {
        c->hi = end;
        ret = run_pass(c);
    }
    return ret;
}

static int warn_of_header(struct check *c)
{
    const struct q2_header *h = &c->img->h;
    struct qcbmi_place at = { Q2_OFF_INCOMPATIBLE, "header", UINT64_MAX, UINT32_MAX };
    int ret = 0;

    if (h->incompatible & QCBM_INCOMPAT_CORRUPT)
        ret = qcbmi_check_problem(c, QCBM_PROBLEM_HEADER_CORRUPT_BIT, 1, &at, "the image is marked corrupt");
    if (ret == 0 && (h->incompatible & QCBM_INCOMPAT_DIRTY))
        ret = qcbmi_check_problem(c, QCBM_PROBLEM_HEADER_DIRTY_BIT, 1, &at,
                                  "the image is marked dirty: it was not closed");
    at.offset = Q2_OFF_SIZE;
    if (ret == 0 && !is_aligned(h->size, Q2_SECTOR))
        ret = qcbmi_check_problem(c, QCBM_PROBLEM_HEADER_SIZE_ODD, 1, &at,
                                  "virtual size %" PRIu64 " is no multiple of 512", h->size);
    if (ret == 0 && q2_tag_get(&c->img->exts, NULL) == Q2_TAG_BAD) {
        at.offset = q2_extension_find(&c->img->exts, Q2_EXT_TAG)->offset;
        ret = qcbmi_check_problem(c, QCBM_PROBLEM_TAG, 1, &at, "%s", Q2_TAG_BAD_TEXT);
    }
    return ret;
}

/* Bytes that somebody had to provide: holes cost nothing, so they buy no work. */
static uint64_t real_length(struct check *c)
{
    uint64_t available, allocated = 0;

    if (qcbmi_io_space(&c->img->io, &available, &allocated, NULL) < 0 || allocated == 0) /* 0 for a device */
        return c->file_len;
    return u64_min(c->file_len, allocated);
}

static int prepare(struct check *c)
{
    int ret;

    c->n_clusters = div_up(c->file_len, c->g->cluster_size);
    if (c->n_clusters > INT32_MAX)
        return qcbmi_fail(c->err, QCBM_E_LIMIT, QCBM_NO_OFFSET, "File too large");
    c->r.total_clusters = div_up(c->g->sector_size_down, c->g->cluster_size);
    c->real_len = real_length(c);
    c->budget = c->budget_full = BUDGET_BASE + u64_min(c->real_len, BUDGET_MAX);
    c->messages = c->budget_full / COST_OF_MESSAGE;
    qcbmi_leaks_init(&c->leaks, c->img, c->snapshots.n != 0);
    ret = qcbmi_bitset_init(&c->l2_noisy, c->n_clusters + 2, c->err);
    if (ret == 0)
        ret = qcbmi_bitset_init(&c->l2_copied, c->n_clusters + 2, c->err);
    return ret < 0 ? ret : qcbmi_check_load_reftable(c);
}

static int warn_of_repair(struct check *c)
{
    const struct qcbmi_bitmap_list *list = c->handle->bitmaps;
    struct qcbmi_place at = { c->img->h.snapshots_offset, "snapshot table", UINT64_MAX, UINT32_MAX };

    if (!qcbmi_check_repair_loses_snapshots(c))
        return 0;
    return qcbmi_check_problem(c, QCBM_PROBLEM_SNAPSHOTS_AND_BITMAPS, 1, &at,
                               "%" PRIu32 " snapshot%s beside %s: a repair by qemu-img would delete the snapshots",
                               c->img->h.n_snapshots, qcbmi_s(c->img->h.n_snapshots),
                               list->n && !list->stale ? "bitmaps" : "features that are dropped");
}

static int count_all(struct check *c)
{
    int ret = qcbmi_check_load_snapshots(c);

    if (ret == 0)
        ret = prepare(c);
    return ret < 0 ? ret : run_passes(c);
}

int qcbmi_check_run(struct check *c)
{
    int ret;

    if (c->o.lost_only)
        return qcbmi_check_find_lost(c);
    ret = count_all(c);
    if (ret == 0 && (c->l1_copied || qcbmi_bitset_next_set(&c->l2_copied, 0) < c->l2_copied.n_bits))
        ret = qcbmi_check_tell_copied(c);
    if (ret == 0)
        c->r.image_end_offset = u64_max(c->highest_end, 1) << c->g->cluster_bits;
    if (ret == 0)
        ret = warn_of_header(c);
    if (ret == 0)
        ret = qcbmi_check_bitmap_health(c);
    if (ret == 0)
        ret = qcbmi_check_tell_lost(c);
    if (ret == 0)
        ret = warn_of_repair(c);
    if (ret == 0)
        ret = qcbmi_check_name_owners(c);
    if (ret == 0)
        ret = qcbmi_check_tell_summary(c);
    return ret < 0 ? ret : qcbmi_check_tell_kinds(c);
}

void qcbmi_check_free(struct check *c)
{
    qcbmi_check_end_pass(c);
    qcbmi_holes_free(&c->holes);
    qcbmi_counts_free(&c->told);
    qcbmi_bitset_free(&c->l2_noisy);
    qcbmi_bitset_free(&c->l2_copied);
    free(c->blobs);
    qcbmi_stored_counts_free(&c->disk);
    qcbmi_loose_snapshots_free(&c->snapshots);
    free(c->suspects);
    qcbmi_check_groups_free(c->groups);
    qcbmi_leaks_free(&c->leaks);
}

int qcbmi_check_begin(struct check *c, struct qcbm_image *handle, const struct qcbm_check_options *options,
                      struct qcbm_error *err)
{
    int ret;

    *c = (struct check){ .handle = handle,
                         .img = handle->image,
                         .g = &handle->image->g,
                         .o = QCBM_CHECK_OPTIONS_INIT,
                         .err = err,
                         .voice = CHECK_LOUD };
    ret = qcbmi_take_options(&c->o, sizeof(c->o), options, err);
    if (ret < 0)
        return ret;
    c->o.memory = u64_max(c->o.memory, MIN_MEMORY);
    c->progress = (struct qcbmi_progress){ .to = c->o.progress };
    qcbmi_holes_init(&c->holes, &c->img->io);
    c->file_len = align_up(c->img->io.size, Q2_SECTOR);
    return 0;
}

int qcbm_check(struct qcbm_image *img, const struct qcbm_check_options *options, struct qcbm_check_result *out,
               size_t size, struct qcbm_error *err)
{
    struct check c;
    int ret = qcbmi_check_size(size, err);

    if (ret == 0)
        ret = qcbmi_check_begin(&c, img, options, err);
    if (ret < 0)
        return ret;
    ret = qcbmi_check_run(&c);
    qcbmi_check_free(&c);
    qcbmi_give(out, size, &c.r, sizeof(c.r));
    return ret;
}
