/* usage_api.c - how much of the file is in use: from the refcounts, and from the references where those are wrong
 * SPDX-License-Identifier: MIT
 *
 * People size volumes by it. After a crash refcounts may say less than what is in use, so all references are counted as
 * well; where these cannot be known, neither can the figures. */
#include <stdio.h>

#include "base/checked.h"
#include "base/sized.h"
#include "bitmap/handle.h"
#include "image/refscan.h"

#define COUNTING_MEMORY (UINT64_C(64) << 20)

struct usage {
    struct qcbm_image_usage u;
    uint64_t uncounted; /* clusters that are used and have refcount 0 */
};

/* Refcounts and clusters may be such as no file can have. */
static uint64_t bytes_of(uint64_t clusters, const struct q2_geometry *g)
{
    uint64_t bytes;

    return u64_mul(clusters, g->cluster_size, &bytes) ? u64_min(bytes, INT64_MAX) : INT64_MAX;
}

static void set_unknown(struct usage *s, const char *why)
{
    if (!s->u.why_unknown[0])
        snprintf(s->u.why_unknown, sizeof(s->u.why_unknown), "%s", why);
}

/* Wrong numbers and flags are no matter, the references are counted. Any other corruption may hide references. */
static bool hides_references(const struct qcbm_problem *problem)
{
    switch (problem->id) {
    case QCBM_PROBLEM_REFCOUNT_ZERO:
    case QCBM_PROBLEM_REFCOUNT_TOO_LOW:
    case QCBM_PROBLEM_REFCOUNT_OVERFLOW:
    case QCBM_PROBLEM_COPIED_L1:
    case QCBM_PROBLEM_COPIED_L2:
        return false;
    case QCBM_PROBLEM_MESSAGES_LEFT_OUT:
        return true;
    default:
        return problem->severity == QCBM_CHECK_CORRUPTION || problem->severity == QCBM_CHECK_FAULT;
    }
}

static int judge(void *opaque, const struct qcbm_check_finding *f)
{
    struct usage *s = opaque;

    s->uncounted += f->problem->id == QCBM_PROBLEM_REFCOUNT_ZERO;
    if (hides_references(f->problem))
        set_unknown(s, f->message);
    return 0;
}

static int count_references(struct qcbm_image *img, struct usage *s, struct qcbm_check_result *r,
                            const struct qcbm_progress *progress, struct qcbm_error *err)
{
    struct qcbm_check_options options = QCBM_CHECK_OPTIONS_INIT;
    struct qcbm_error why = { 0 };
    int ret;

    options.memory = COUNTING_MEMORY;
    options.finding = judge;
    options.opaque = s;
    options.progress = progress;
    ret = qcbm_check(img, &options, r, sizeof(*r), &why);
    if (ret == QCBM_E_CORRUPT || ret == QCBM_E_LIMIT) {
        set_unknown(s, why.message);
        return 0;
    }
    if (ret < 0 && err)
        *err = why;
    return ret;
}

int qcbm_image_usage(struct qcbm_image *img, struct qcbm_image_usage *out, size_t size,
                     const struct qcbm_progress *progress, struct qcbm_error *err)
{
    struct qcbm_check_result r = { 0 };
    struct usage s = { 0 };
    struct qcbmi_refscan scan;
    int ret = qcbmi_check_size(size, err);

    if (ret == 0)
        ret = qcbmi_refscan(img->image, UINT64_MAX, false, &scan, err);
    if (ret == 0)
        ret = count_references(img, &s, &r, progress, err);
    if (ret < 0)
        return ret;
    s.u.bad_entries = scan.bad_entries;
    s.u.allocated_bytes = s.u.end_offset = QCBM_UNKNOWN;
    if (!s.u.why_unknown[0]) {
        s.u.allocated_bytes = bytes_of(scan.used_clusters + s.uncounted, &img->image->g);
        s.u.end_offset = u64_max(bytes_of(scan.end_cluster, &img->image->g), r.image_end_offset);
    }
    qcbmi_give(out, size, &s.u, sizeof(s.u));
    return 0;
}
