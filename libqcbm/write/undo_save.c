/* undo_save.c - what a plan will overwrite, saved into a new undo file before the first write
 * SPDX-License-Identifier: MIT
 *
 * A plan is known as a whole before it is carried out, so all of its old bytes are saved at once: two flushes of the
 * undo file, whatever the number of stages. Where a later stage overwrites what an earlier one wrote, its "old" bytes
 * are the earlier one's. Writes are cut at each other's ends, so that two records are about the same bytes or about
 * different ones, never about some in common. */
#include "write/undo_save.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/sort.h"
#include "io/io_file.h"
#include "io/open.h"

#define MAX_LEN ((uint64_t)QCBMI_UNDO_MAX_LEN)
#define NO_SWITCH UINT32_MAX

struct save {
    const struct qcbmi_plan *plan;
    struct qcbmi_image *img;
    struct qcbmi_io file;
    struct qcbmi_undo_header h;
    struct qcbmi_undo_place *places;
    size_t n_places, capacity;
    uint64_t *cuts; /* sorted: where writes begin and end, and the end of the image */
    size_t n_cuts;
    uint8_t *record, *new_bytes, *last_new; /* last_new: new_bytes of the record before */
    uint64_t at;                            /* end of what has been written to the file */
    bool names_change; /* the plan changes what the image is known by: an edit of the header by hand */
};

/* Fields that no change of bitmaps touches. */
static const struct {
    uint8_t off, len;
} identity_fields[] = { { Q2_OFF_MAGIC, 8 }, /* and the version */
                        { Q2_OFF_CLUSTER_BITS, 4 },
                        { Q2_OFF_SIZE, 8 },
                        { Q2_OFF_CRYPT_METHOD, 4 },
                        { Q2_OFF_REFCOUNT_ORDER, 4 } };
#define N_IDENTITY_FIELDS (sizeof(identity_fields) / sizeof(identity_fields[0]))

/* ---- what is overwritten, in which pieces ---- */

static int collect_cuts(struct save *s, struct qcbm_error *err)
{
    uint64_t n_writes = 0;

    for (size_t i = 0; i < s->plan->n; i++)
        n_writes += s->plan->stages[i].n;
    s->cuts = qcbmi_alloc_array(2 * n_writes + 1, sizeof(*s->cuts), err);
    if (!s->cuts)
        return QCBM_E_NOMEM;
    s->cuts[s->n_cuts++] = s->h.len_before;
    for (size_t i = 0; i < s->plan->n; i++)
        for (size_t j = 0; j < s->plan->stages[i].n; j++) {
            const struct qcbmi_plan_write *w = &s->plan->stages[i].writes[j];

            s->cuts[s->n_cuts++] = w->off;
            s->cuts[s->n_cuts++] = w->off + w->len;
            s->h.len_after = u64_max(s->h.len_after, w->off + w->len);
        }
    qcbmi_sort(s->cuts, s->n_cuts, sizeof(*s->cuts), qcbmi_by_u64);
    return 0;
}

/* The first cut behind @off; there is one. */
static uint64_t next_cut(const struct save *s, uint64_t off)
{
    return s->cuts[qcbmi_lower_bound_u64(s->cuts, s->n_cuts, sizeof(*s->cuts), off + 1)];
}

/* Whole sectors, or a part of one: what of a sector was written at once can be found, and put back, at once. */
static uint64_t piece(uint64_t off, uint64_t len)
{
    uint64_t in_sector = off % QCBMI_UNDO_SECTOR;

    if (in_sector || len < QCBMI_UNDO_SECTOR)
        return u64_min(len, QCBMI_UNDO_SECTOR - in_sector);
    return u64_min(MAX_LEN, align_down(len, QCBMI_UNDO_SECTOR));
}

static int add_write(struct save *s, const struct qcbmi_plan_write *w, uint32_t stage, struct qcbm_error *err)
{
    struct qcbmi_undo_place place = { .write = w };

    place.r.stage = stage;
    for (place.r.off = w->off; place.r.off < w->off + w->len; place.r.off += place.r.len) {
        place.r.len = piece(place.r.off, next_cut(s, place.r.off) - place.r.off);
        place.r.kind = place.r.off < s->h.len_before ? QCBMI_UNDO_OVERWRITTEN : QCBMI_UNDO_APPENDED;
        place.r.index = s->n_places;
        if (qcbmi_grow_array(&s->places, &s->capacity, s->n_places, sizeof(place), err) < 0)
            return QCBM_E_NOMEM;
        s->places[s->n_places++] = place;
    }
    return 0;
}

/* By place; of one place, the order of the plan. */
static int compare_places(const void *a, const void *b)
{
    const struct qcbmi_undo_place *x = a, *y = b;
    int by_off = u64_compare(x->r.off, y->r.off);

    return by_off ? by_off : u64_compare(x->r.index, y->r.index);
}

static int collect_places(struct save *s, struct qcbm_error *err)
{
    int ret = collect_cuts(s, err);

    for (size_t i = 0; ret == 0 && i < s->plan->n; i++) {
        if (s->plan->stages[i].n == 0)
            continue;
        if (s->h.n_stages == QCBMI_UNDO_MAX_STAGES)
            return qcbmi_fail(err, QCBM_E_LIMIT, QCBM_NO_OFFSET, "an undo file has at most %u stages",
                              QCBMI_UNDO_MAX_STAGES);
        if (s->plan->stages[i].switches && s->h.first_switch == NO_SWITCH)
            s->h.first_switch = s->h.n_stages;
        for (size_t j = 0; ret == 0 && j < s->plan->stages[i].n; j++)
            ret = add_write(s, &s->plan->stages[i].writes[j], s->h.n_stages, err);
        s->h.n_stages++;
    }
    if (ret == 0)
        qcbmi_sort(s->places, s->n_places, sizeof(*s->places), compare_places);
    return ret;
}

/* ---- what is written to the file ---- */

static int append(struct save *s, const void *bytes, uint64_t len, struct qcbm_error *err)
{
    int ret = qcbmi_io_write(&s->file, s->at, bytes, len, err);

    s->at += len;
    return ret;
}

static int append_record(struct save *s, struct qcbmi_undo_record *r, struct qcbm_error *err)
{
    r->index = s->h.n_records++;
    qcbmi_undo_record_seal(s->record, r);
    return append(s, s->record, qcbmi_undo_record_bytes(r), err);
}

static void digest_sectors(struct save *s, const struct qcbmi_undo_record *r)
{
    uint64_t from = 0;

    for (uint64_t i = 0; from < r->len; i++) {
        uint64_t end = u64_min(r->len, align_down(r->off + from, QCBMI_UNDO_SECTOR) + QCBMI_UNDO_SECTOR - r->off);

        qcbmi_digest(s->new_bytes + from, (size_t)(end - from), qcbmi_undo_record_digest(s->record, i));
        from = end;
    }
}

/* Does a record change what the image is known by? */
static bool changes_identity(const struct qcbmi_undo_record *r, const uint8_t *old, const uint8_t *new_bytes)
{
    for (size_t i = 0; i < N_IDENTITY_FIELDS; i++)
        for (uint64_t at = u64_max(identity_fields[i].off, r->off);
             at < u64_min(identity_fields[i].off + identity_fields[i].len, r->off + r->len); at++)
            if (old[at - r->off] != new_bytes[at - r->off])
                return true;
    return false;
}

static int save_place(struct save *s, size_t i, struct qcbm_error *err)
{
    struct qcbmi_undo_place *p = &s->places[i];
    uint8_t *old = qcbmi_undo_record_old(s->record, &p->r), *swap = s->last_new;
    int ret;

    s->last_new = s->new_bytes;
    s->new_bytes = swap;
    ret = qcbmi_source_load(&p->write->source, p->r.off - p->write->off, s->new_bytes, p->r.len, err);
    if (ret < 0)
        return ret;
    digest_sectors(s, &p->r);
    if (p->r.kind == QCBMI_UNDO_OVERWRITTEN && i > 0 && p[-1].r.off == p->r.off)
        memcpy(old, s->last_new, (size_t)p->r.len);
    else if (p->r.kind == QCBMI_UNDO_OVERWRITTEN)
        ret = qcbmi_io_read(&s->img->io, p->r.off, old, p->r.len, "what will be overwritten", err);
    if (ret < 0)
        return ret;
    s->names_change |= p->r.kind == QCBMI_UNDO_OVERWRITTEN && changes_identity(&p->r, old, s->new_bytes);
    return append_record(s, &p->r, err);
}

static int save_untouched(struct save *s, uint64_t off, uint64_t len, struct qcbm_error *err)
{
    struct qcbmi_undo_record r = { .kind = QCBMI_UNDO_UNTOUCHED, .off = off };
    uint64_t end = off < s->h.len_before ? off + u64_min(len, s->h.len_before - off) : off;
    int ret = 0;

    for (; ret == 0 && r.off < end; r.off += r.len) {
        r.len = u64_min(MAX_LEN, end - r.off);
        ret = qcbmi_io_read(&s->img->io, r.off, s->new_bytes, r.len, "what an undo relies on", err);
        if (ret < 0)
            return ret;
        qcbmi_undo_mask(s->places, s->n_places, r.off, s->new_bytes, r.len);
        qcbmi_digest(s->new_bytes, (size_t)r.len, qcbmi_undo_record_digest(s->record, 0));
        ret = append_record(s, &r, err);
    }
    return ret;
}

static int save_records(struct save *s, struct qcbm_error *err)
{
    const struct qcbmi_image *img = s->img;
    int ret = 0;

    s->at = QCBMI_UNDO_HEADER_BYTES;
    for (size_t i = 0; ret == 0 && i < s->n_places; i++)
        ret = save_place(s, i, err);
    if (ret == 0)
        ret = save_untouched(s, 0, img->g.cluster_size, err);
    if (ret == 0)
        ret = save_untouched(s, img->h.reftable_offset, (uint64_t)img->h.reftable_clusters << img->g.cluster_bits, err);
    for (size_t i = 0; ret == 0 && i < s->plan->n_relied; i++)
        ret = save_untouched(s, s->plan->relied[i].off, s->plan->relied[i].len, err);
    return ret;
}

/* The end mark comes when all else is durable: a file that has it is complete, and before it has it the image is not
 * touched. */
static int save_frame(struct save *s, struct qcbm_error *err)
{
    uint8_t header[QCBMI_UNDO_HEADER_BYTES], tail[128] = { 0 };
    uint64_t at = qcbmi_undo_end_offset(&s->h, s->at), n_tail = qcbmi_undo_tail_bytes(&s->h);
    int ret;

    qcbmi_undo_identity(s->img, s->places, s->names_change ? s->n_places : 0, s->h.identity);
    s->h.file_len = at + n_tail;
    s->h.first_switch = (uint32_t)u64_min(s->h.first_switch, s->h.n_stages);
    qcbmi_undo_header_store(header, &s->h);
    ret = append(s, tail, at - s->at, err);
    if (ret == 0)
        ret = qcbmi_io_write(&s->file, 0, header, sizeof(header), err);
    if (ret == 0)
        ret = qcbmi_io_flush(&s->file, err);
    if (ret < 0)
        return ret;
    qcbmi_undo_end_store(tail, header);
    ret = append(s, tail, n_tail, err); /* the place of the seal, too */
    return ret < 0 ? ret : qcbmi_io_flush(&s->file, err);
}

static int save_all(struct save *s, struct qcbm_error *err)
{
    int ret;

    s->record = qcbmi_alloc_array(QCBMI_UNDO_MAX_RECORD_BYTES, 1, err);
    s->new_bytes = qcbmi_alloc_array(MAX_LEN, 1, err);
    s->last_new = qcbmi_alloc_array(MAX_LEN, 1, err);
    if (!s->record || !s->new_bytes || !s->last_new)
        return QCBM_E_NOMEM;
    ret = collect_places(s, err);
    if (ret == 0)
        ret = save_records(s, err);
    if (ret == 0)
        ret = save_frame(s, err);
    return ret < 0 ? ret : qcbmi_file_sync_folder(s->plan->undo_path, err);
}

int qcbmi_undo_save(const struct qcbmi_plan *plan, struct qcbmi_image *img, struct qcbm_error *err)
{
    struct save s = { .plan = plan, .img = img };
    char text[256];
    bool told;
    int ret = qcbmi_create(&s.file, plan->undo_path, err);
    bool created = ret == 0;

    s.h.version = QCBMI_UNDO_VERSION;
    s.h.recording = plan->gives_up_recording;
    s.h.first_switch = NO_SWITCH;
    s.h.written.known = qcbmi_io_written(&img->io, false, &s.h.written.time, &told);
    s.h.len_before = img->io.size;
    s.h.len_after = u64_max(img->io.size, plan->end);
    if (ret == 0) {
        qcbmi_io_trace_as(&s.file, img->io.trace, plan->undo_path);
        s.file.doing = "undo file";
        ret = save_all(&s, err);
    }
    qcbmi_io_close(&s.file);
    if (ret < 0 && created)
        qcbmi_file_remove(plan->undo_path);
    free(s.places);
    free(s.cuts);
    free(s.record);
    free(s.new_bytes);
    free(s.last_new);
    if (ret < 0)
        qcbmi_printable(text, sizeof(text), plan->undo_path, strlen(plan->undo_path));
    return ret < 0 ? qcbmi_prefix(err, ret, "undo file '%s': ", text) : 0;
}

static bool ends_before(const void *place, const void *off)
{
    const struct qcbmi_undo_record *r = &((const struct qcbmi_undo_place *)place)->r;

    return r->off + r->len <= *(const uint64_t *)off;
}

void qcbmi_undo_mask(const struct qcbmi_undo_place *places, size_t n, uint64_t off, uint8_t *bytes, uint64_t len)
{
    for (size_t i = qcbmi_lower_bound(places, n, sizeof(*places), ends_before, &off);
         i < n && places[i].r.off < off + len; i++) {
        uint64_t from = u64_max(places[i].r.off, off), end = u64_min(places[i].r.off + places[i].r.len, off + len);

        memset(bytes + (from - off), 0, (size_t)(end - from));
    }
}

/* ---- what an image is known by ---- */

void qcbmi_undo_identity(const struct qcbmi_image *img, const struct qcbmi_undo_place *places, size_t n,
                         uint8_t out[QCBMI_DIGEST_BYTES])
{
    uint8_t bytes[28];
    size_t len = 0;

    for (size_t i = 0; i < N_IDENTITY_FIELDS; i++) {
        memcpy(bytes + len, img->cluster0 + identity_fields[i].off, identity_fields[i].len);
        qcbmi_undo_mask(places, n, identity_fields[i].off, bytes + len, identity_fields[i].len);
        len += identity_fields[i].len;
    }
    qcbmi_digest(bytes, len, out);
}
