/* lost_header.c - a header put together from what the rest of the file shows
 * SPDX-License-Identifier: MIT
 *
 * The refcounts are known. Clusters that have one are looked at for mapping tables; what names most of them is an L1
 * table. Those of snapshots are named by the table of snapshots, which is known by its look, or have COPIED flags that
 * are older than the refcounts; the one that is left is the active one. */
#include "rescue/lost_header.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "format/q2_l1l2.h"
#include "image/snapshots.h"
#include "rescue/rescue.h"

/* ---- snapshots ---- */

/* How many entries the table at @off has, and the size of the disk by the last of them. */
static int read_snapshots(struct qcbmi_rescue *r, uint64_t off, struct qcbmi_lost_header *out,
                          struct qcbmi_loose_snapshots *list, struct qcbm_error *err)
{
    int ret;

    r->img->h.snapshots_offset = off;
    r->img->h.n_snapshots = Q2_MAX_SNAPSHOTS;
    ret = qcbmi_snapshots_read_loosely(r->img, &r->holes, list, err);
    r->img->h.n_snapshots = 0;
    r->img->h.snapshots_offset = 0;
    for (uint32_t i = 0; ret == 0 && i < list->n; i++) {
        const struct q2_snapshot *s = &list->list[i];

        if (q2_snapshot_is_zero(s) || !qcbmi_snapshot_l1_is_sound(r->img, s))
            break;
        out->h.n_snapshots = i + 1;
        if (s->disk_size != UINT64_MAX && s->disk_size <= INT64_MAX)
            out->h.size = s->disk_size;
    }
    if (out->h.n_snapshots)
        out->h.snapshots_offset = off;
    return ret;
}

static bool is_of_snapshot(const struct qcbmi_loose_snapshots *list, uint32_t n, uint64_t l1)
{
    for (uint32_t i = 0; i < n; i++)
        if (list->list[i].l1_offset == l1)
            return true;
    return false;
}

/* ---- the L1 table ---- */

struct l1_run {
    uint64_t offset, clusters;
    uint64_t named; /* entries */
};

/* L1 tables of several clusters are neighbours. */
static struct l1_run run_at(const struct qcbmi_rescue *r, size_t *i)
{
    struct l1_run run = { .offset = r->found[*i].ref.offset };

    do {
        run.named += r->found[*i].n;
        run.clusters++;
        ++*i;
    } while (*i < r->n_found && r->found[*i].l1 && !r->found[*i].targeted &&
             r->found[*i].ref.offset == run.offset + (run.clusters << r->g->cluster_bits));
    return run;
}

/* The one with the most entries of those that are of no snapshot; *@n gets how many there are. */
static struct l1_run choose_l1(const struct qcbmi_rescue *r, const struct qcbmi_loose_snapshots *list, uint32_t n_list,
                               size_t *n)
{
    struct l1_run best = { 0 };

    *n = 0;
    for (size_t i = 0; i < r->n_found;) {
        struct l1_run run;

        if (!r->found[i].l1 || r->found[i].targeted) {
            i++;
            continue;
        }
        run = run_at(r, &i);
        if (is_of_snapshot(list, n_list, run.offset))
            continue;
        ++*n;
        if (run.named > best.named)
            best = run;
    }
    return best;
}

/* ---- the size ---- */

/* The end of what the last entry of the L1 table maps. */
static int find_mapped_end(struct qcbmi_rescue *r, const struct l1_run *run, uint64_t *end, struct qcbm_error *err)
{
    uint64_t len = run->clusters << r->g->cluster_bits, i = len / 8;
    uint8_t *bytes = qcbmi_alloc_array(len, 1, err);
    int ret = bytes ? qcbmi_holes_read(&r->holes, run->offset, bytes, len, NULL, "L1 table", err) : QCBM_E_NOMEM;
    const struct qcbmi_candidate *c = NULL;

    while (ret == 0 && i-- > 0)
        if (be64_load(bytes + 8 * i) & Q2_ENTRY_OFFSET_MASK) {
            c = qcbmi_rescue_candidate(r, be64_load(bytes + 8 * i) & Q2_ENTRY_OFFSET_MASK);
            *end = c && c->n ? i * r->g->l2_span + ((uint64_t)(c->last_index + 1) << r->g->cluster_bits)
                             : (i + 1) * r->g->l2_span;
            break;
        }
    free(bytes);
    return ret;
}

/* Clusters of the table behind those with entries are zeros. */
static int check_room(struct qcbmi_rescue *r, const struct l1_run *run, uint64_t size, struct qcbm_error *err)
{
    uint64_t need = div_up(8 * div_up(size, r->g->l2_span), r->g->cluster_size);
    uint64_t first = run->offset >> r->g->cluster_bits;
    uint8_t *bytes = qcbmi_alloc_array(r->g->cluster_size, 1, err);
    int ret = bytes ? 0 : QCBM_E_NOMEM;

    for (uint64_t i = run->clusters; ret == 0 && i < need; i++) {
        ret = qcbmi_holes_read(&r->holes, (first + i) << r->g->cluster_bits, bytes, r->g->cluster_size, NULL,
                               "L1 table", err);
        if (ret == 0 && (!qcbmi_rescue_is_left(r, first + i) || !bytes_are_zero(bytes, r->g->cluster_size)))
            ret = qcbmi_fail(err, QCBM_E_ARG, run->offset,
                             "the L1 table that was found has no room for a disk of %" PRIu64 " bytes", size);
    }
    free(bytes);
    return ret;
}

static int set_size(struct qcbmi_rescue *r, const struct l1_run *run, uint64_t size, struct qcbmi_lost_header *out,
                    struct qcbm_error *err)
{
    uint64_t end = 0;
    int ret = find_mapped_end(r, run, &end, err);

    out->size_proven = size != 0;
    if (size == 0)
        size = u64_max(out->h.size, align_up(end, Q2_SECTOR));
    if (ret == 0 && (size > INT64_MAX || 8 * div_up(size, r->g->l2_span) > Q2_MAX_L1_BYTES))
        return qcbmi_fail(err, QCBM_E_LIMIT, QCBM_NO_OFFSET,
                          "a disk of %" PRIu64 " bytes is too large for these clusters", size);
    out->h.size = size;
    out->h.l1_offset = run->offset;
    out->h.l1_entries = (uint32_t)u64_max(div_up(size, r->g->l2_span), 1);
    return ret == 0 ? check_room(r, run, size, err) : ret;
}

/* ---- all of it ---- */

/* The LUKS header says where its data begins: so long is the area that QEMU has for it. */
static int read_marks(struct qcbmi_rescue *r, struct qcbmi_lost_header *out, struct qcbmi_loose_snapshots *list,
                      struct qcbm_error *err)
{
    uint8_t sectors[4];
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < r->n_marks; i++) {
        const struct qcbmi_mark *m = &r->marks[i];

        if (m->targeted)
            continue;
        if (m->kind == QCBMI_MARK_SNAPSHOTS && out->h.n_snapshots == 0) {
            qcbmi_loose_snapshots_free(list);
            ret = read_snapshots(r, m->offset, out, list, err);
        } else if (m->kind == QCBMI_MARK_LUKS && out->luks_offset == 0) {
            ret = qcbmi_holes_read(&r->holes, m->offset + 104, sectors, 4, NULL, "LUKS header", err);
            out->luks_offset = m->offset;
            out->luks_length = ret == 0 ? (uint64_t)be32_load(sectors) * Q2_SECTOR : 0;
        }
    }
    return ret;
}

static int find(struct qcbmi_rescue *r, uint64_t size, struct qcbmi_lost_header *out, struct qcbm_error *err)
{
    struct qcbmi_loose_snapshots list = { 0 };
    struct l1_run run;
    size_t n = 0;
    int ret = qcbmi_rescue_known(r, err);

    if (ret == 0)
        ret = qcbmi_rescue_candidates(r, err);
    if (ret == 0)
        ret = read_marks(r, out, &list, err);
    run = choose_l1(r, &list, out->h.n_snapshots, &n);
    out->guessed = n > 1;
    if (ret == 0 && n == 0)
        ret = qcbmi_fail(err, QCBM_E_NOT_QCOW2, QCBM_NO_OFFSET, "the header is lost, and no L1 table is to be found");
    if (ret == 0)
        ret = set_size(r, &run, size, out, err);
    qcbmi_loose_snapshots_free(&list);
    return ret;
}

int qcbmi_find_header(struct qcbmi_image *img, uint64_t size, struct qcbmi_lost_header *out, struct qcbm_error *err)
{
    struct qcbm_image handle = { .image = img };
    struct qcbmi_rescue r;
    int ret;

    qcbmi_rescue_begin(&r, img, &handle);
    *out = (struct qcbmi_lost_header){ .h = img->h };
    ret = r.n_clusters > QCBMI_RESCUE_MAX_CLUSTERS
              ? qcbmi_fail(err, QCBM_E_LIMIT, QCBM_NO_OFFSET, "the file has more than 2^32 clusters")
              : qcbmi_bitmap_list_load(&handle, err);
    if (ret == 0)
        ret = find(&r, size, out, err);
    qcbmi_rescue_free(&r);
    qcbmi_handle_clear(&handle);
    return ret;
}
