/* repair_snapshots.c - the snapshot table: what is sound in it, into a new one
 * SPDX-License-Identifier: MIT
 *
 * Where an entry cannot be read the next one begins somewhere behind it; entries lie on multiples of 8 bytes, so that
 * place is looked for. The new table lies behind the end of the file until the header is switched to it, by one
 * write. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "repair/repair_look.h"

#define EXTRA_NEEDED 16u                        /* VM state size and disk size: version 3 */
#define MAX_SEARCH (UINT64_C(1) << 20)          /* bytes behind a bad entry */
#define MAX_TABLE (Q2_MAX_SNAPSHOT_TABLE_BYTES) /* of the new one */

struct rescue {
    struct qcbmi_repair *r;
    const struct qcbmi_image *img;
    uint8_t *bytes; /* of the old table, zeros behind the end of the file */
    size_t len;
    uint8_t *out;
    size_t out_len, capacity;
    uint32_t n_kept, n_lost, n_completed;
};

static bool is_sound(const struct rescue *s, const struct q2_snapshot *e)
{
    const struct q2_geometry *g = &s->img->g;

    return !q2_snapshot_is_zero(e) && is_aligned(e->l1_offset, g->cluster_size) && e->l1_offset >= g->cluster_size &&
           e->l1_entries <= Q2_MAX_L1_BYTES / 8 &&
           range_fits(e->l1_offset, 8 * (uint64_t)e->l1_entries, qcbmi_image_end(s->img));
}

/* What a program would have written: for places at which an entry is only supposed to begin. */
static bool is_likely(const struct rescue *s, const struct q2_snapshot *e)
{
    bool digits = e->id_len > 0;

    for (uint16_t i = 0; i < e->id_len; i++)
        digits &= e->id[i] >= '0' && e->id[i] <= '9';
    return digits && e->l1_entries && e->date_nsec < 1000000000 && is_sound(s, e);
}

static int make_room(struct rescue *s, size_t n, struct qcbm_error *err)
{
    uint8_t *grown;

    if (n > MAX_TABLE - s->out_len)
        return qcbmi_fail(err, QCBM_E_LIMIT, s->img->h.snapshots_offset, "the snapshot table would be too large");
    if (s->out_len + n <= s->capacity)
        return 0;
    grown = realloc(s->out, 2 * (s->out_len + n));
    if (!grown)
        return qcbmi_fail_nomem(err);
    s->out = grown;
    s->capacity = 2 * (s->out_len + n);
    return 0;
}

static int keep(struct rescue *s, const struct q2_snapshot *found, struct qcbm_error *err)
{
    uint8_t extra[EXTRA_NEEDED];
    struct q2_snapshot e = *found;
    int ret;

    if (s->img->g.version >= 3 && e.extra_len < EXTRA_NEEDED) {
        be64_store(extra, e.extra_len >= 8 ? e.vm_state_size : e.vm_state_size32);
        be64_store(extra + 8, s->img->h.size); /* QEMU takes today's size, too */
        e.extra = extra;
        e.extra_len = EXTRA_NEEDED;
        s->n_completed++;
    }
    ret = make_room(s, q2_snapshot_len(&e), err);
    if (ret < 0)
        return ret;
    q2_snapshot_store(s->out + s->out_len, &e);
    s->out_len += q2_snapshot_len(&e);
    s->n_kept++;
    return 0;
}

/* The next place behind @from at which an entry is likely, or the end. */
static size_t search(const struct rescue *s, size_t from)
{
    size_t end = (size_t)u64_min(s->len, from + MAX_SEARCH);

    for (size_t at = align_up(from + 8, 8); at + Q2_SNAPSHOT_FIXED < end; at += 8) {
        struct q2_cursor in;
        struct q2_snapshot e;

        q2_cursor_init(&in, s->bytes + at, s->len - at);
        if (q2_snapshot_parse(&in, s->bytes + at, 0, 0, &e, NULL) == 0 && is_likely(s, &e))
            return at;
    }
    return s->len;
}

static int take_all(struct rescue *s, struct qcbm_error *err)
{
    uint32_t n = s->img->h.n_snapshots;
    size_t at = 0;
    int ret = 0;

    for (uint32_t i = 0; ret == 0 && i < n && at < s->len; i++) {
        struct q2_cursor in;
        struct q2_snapshot e;
        int bad;

        q2_cursor_init(&in, s->bytes + at, s->len - at);
        bad = q2_snapshot_parse(&in, s->bytes + at, 0, i, &e, NULL);
        if (bad == 0 && is_sound(s, &e))
            ret = keep(s, &e, err);
        if (bad == 0 && (is_sound(s, &e) || !q2_snapshot_is_zero(&e)))
            at += (size_t)align_up(q2_snapshot_len(&e), 8);
        else
            at = search(s, at);
    }
    s->n_lost = n - s->n_kept;
    return ret;
}

static int read_table(struct rescue *s, struct check *c)
{
    uint64_t off = s->img->h.snapshots_offset, n = s->img->h.n_snapshots;
    uint64_t inside = off < s->img->io.size ? s->img->io.size - off : 0;

    s->len = (size_t)u64_min(u64_min(inside, Q2_MAX_SNAPSHOT_TABLE_BYTES), n * Q2_MAX_SNAPSHOT_ENTRY);
    s->bytes = qcbmi_alloc_array(s->len, 1, c->err);
    return s->bytes ? qcbmi_check_read(c, off, s->bytes, s->len, NULL) : QCBM_E_NOMEM;
}

static int switch_header(struct rescue *s, struct qcbmi_plan *plan, uint64_t at, struct qcbm_error *err)
{
    uint8_t field[12];
    int ret = qcbmi_plan_stage(plan, "switch", true, err);

    be32_store(field, s->n_kept);
    be64_store(field + 4, at);
    return ret < 0 ? ret
                   : qcbmi_plan_write(plan, "header: snapshot table", Q2_OFF_N_SNAPSHOTS, field, sizeof(field), err);
}

static int make_plan(struct rescue *s, struct qcbmi_plan *plan, struct qcbm_error *err)
{
    uint64_t cs = s->img->g.cluster_size, at = 0;
    int ret = qcbmi_plan_stage(plan, "prepare", false, err);

    if (ret == 0 && s->n_kept) {
        at = qcbmi_repair_append(s->r, plan, div_up(s->out_len, cs));
        ret = qcbmi_plan_write(plan, "snapshot table", at, s->out, s->out_len, err);
    }
    return ret < 0 ? ret : switch_header(s, plan, at, err);
}

static int tell(struct rescue *s, struct qcbm_error *err)
{
    struct qcbm_repair_row row = { .code = "snapshot-table", .offset = s->img->h.snapshots_offset };
    char kept[64], lost[96];

    snprintf(kept, sizeof(kept), "%" PRIu32 " snapshot%s", s->n_kept, qcbmi_s(s->n_kept));
    snprintf(lost, sizeof(lost), "LOST: %" PRIu32 " snapshots, whose entries cannot be read or lead to no table",
             s->n_lost);
    row.done = s->n_completed ? "the snapshot table is written anew, incomplete entries with today's disk size"
                              : "the snapshot table is written anew";
    row.kept = kept;
    row.lost = s->n_lost ? lost : NULL;
    return qcbmi_repair_tell(s->r, &row, err);
}

/* The others could be kept, but refcounts are not to be counted without those that cannot be read. */
static int guard(const struct rescue *s, struct qcbm_error *err)
{
    if (s->n_lost == 0 || qcbmi_repair_is_forced(s->r))
        return 0;
    return qcbmi_fail(err, QCBM_E_UNSAFE, s->img->h.snapshots_offset,
                      "%" PRIu32 " of %" PRIu32
                      " snapshots have entries that cannot be read or lead to no table: nothing was "
                      "written; with --force they are given up; take a copy of the image first",
                      s->n_lost, s->img->h.n_snapshots);
}

static bool is_damaged(const struct check *c)
{
    return c->snapshots_unknown || c->met[QCBM_PROBLEM_SNAPSHOT_LOST] || c->met[QCBM_PROBLEM_SNAPSHOT_INCOMPLETE] ||
           c->met[QCBM_PROBLEM_SNAPSHOT_L1_UNALIGNED] || c->met[QCBM_PROBLEM_SNAPSHOT_L1_SIZE];
}

int qcbmi_repair_snapshots(struct qcbmi_repair *r, struct qcbm_error *err)
{
    struct rescue s = { .r = r, .img = r->work->image };
    struct qcbmi_plan plan = { 0 };
    bool damaged = false;
    struct check c;
    int ret = qcbmi_repair_look(r, &c, 0, NULL, NULL, err);

    if (ret == 0 && is_damaged(&c)) {
        damaged = true;
        ret = read_table(&s, &c);
        if (ret == 0)
            ret = take_all(&s, err);
    }
    qcbmi_check_free(&c);
    if (ret == 0 && damaged) {
        r->lost_pointers += s.n_lost;
        ret = guard(&s, err);
        if (ret == 0)
            ret = tell(&s, err);
        if (ret == 0)
            ret = make_plan(&s, &plan, err);
        if (ret == 0)
            ret = qcbmi_repair_commit(r, &plan, err);
    }
    qcbmi_plan_free(&plan);
    free(s.bytes);
    free(s.out);
    return ret;
}
