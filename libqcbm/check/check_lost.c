/* check_lost.c - leaked clusters that are no waste: what bitmap/lost_tables.h finds, told
 * SPDX-License-Identifier: MIT */
#include <inttypes.h>

#include "bitmap/leak_count.h"
#include "check/check_parts.h"

static int tell_tables(struct check *c, const struct qcbmi_lost *found)
{
    char text[256];
    int ret = 0;

    c->r.lost_tables = found->n_evidence;
    for (size_t i = 0; ret == 0 && i < found->n; i++) {
        const struct qcbmi_lost_table *t = &found->list[i];
        struct qcbmi_place at = { t->cluster << c->g->cluster_bits, NULL, UINT64_MAX, UINT32_MAX };

        if (!qcbmi_lost_is_evidence(t))
            continue;
        qcbmi_lost_table_text(c->img, t, text, sizeof(text));
        ret = qcbmi_check_problem(c, QCBM_PROBLEM_LOST_TABLE, 1, &at, "%s", text);
    }
    if (ret == 0 && found->n_all > found->n && found->n_evidence)
        ret = qcbmi_check_problem(c, QCBM_PROBLEM_LOST_TABLE, found->n_all - found->n, &CHECK_NOWHERE,
                                  "%" PRIu64 " more leaked clusters look like mapping tables", found->n_all - found->n);
    return ret;
}

static int tell_suspicion(struct check *c, const struct qcbmi_leaks *leaks, const struct qcbmi_lost *found)
{
    char text[1024];

    c->r.suspicious_leaks = leaks->n_leaked;
    qcbmi_lost_suspicion_text(c->img, leaks, found, text, sizeof(text));
    return qcbmi_check_problem(c, QCBM_PROBLEM_LOST_TABLE_SUSPECTED, 1, &CHECK_NOWHERE, "%s", text);
}

static int tell(struct check *c, const struct qcbmi_lost_clues *clues)
{
    struct qcbmi_lost found;
    int ret = qcbmi_lost_search(clues, &found, c->err);

    if (ret == 0)
        ret = tell_tables(c, &found);
    if (ret == 0 && found.suspicion)
        ret = tell_suspicion(c, clues->leaks, &found);
    c->r.unproven_leaks = clues->leaks->n_leaked && (clues->leaks->blank.n || found.empty.n);
    qcbmi_lost_free(&found);
    return ret;
}

static struct qcbmi_lost_clues clues_of(struct check *c, struct qcbmi_leaks *leaks)
{
    return (struct qcbmi_lost_clues){ c->img, c->handle->bitmaps, &c->holes, leaks,
                                      c->r.allocated_clusters >= c->r.total_clusters };
}

int qcbmi_check_tell_lost(struct check *c)
{
    struct qcbmi_lost_clues clues = clues_of(c, &c->leaks);

    /* References were left out, or those of snapshots are unknown: what looks like a leak may be none. */
    if (c->exhausted || c->snapshots_unknown) {
        c->r.suspicious_leaks = c->leaks.n_leaked;
        return 0;
    }
    return tell(c, &clues);
}

int qcbmi_check_find_lost(struct check *c)
{
    struct qcbmi_lost_clues clues = clues_of(c, &c->leaks);
    int ret = qcbmi_leaks_count(&clues, c->o.memory, &c->progress, c->err);

    return ret < 0 ? ret : tell(c, &clues);
}
