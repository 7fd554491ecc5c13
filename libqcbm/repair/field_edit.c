/* field_edit.c - single fields of an image set by hand, all of them or none
 * SPDX-License-Identifier: MIT
 *
 * States, and what brings an edit from one to the next:
 *
 *   as it was   the image is locked, its header read but not judged: it need not open
 *   found       each field has its place, and the value that it was said to have
 *   planned     all fields are set in copies of the sectors that they lie in. Fields of one sector are one write, which
 *               is all there or not at all. Of several sectors refcounts that rise come first, then what refers, then
 *               the header, then what falls: a stage and a flush each. A cut between them leaves some of the sectors as
 *               they were; only the undo file tells which, so without one such a change is refused
 *   judged      both states were opened and checked in memory. What makes it worse is refused here; a dry run ends here
 *   committed   written by one commit, with one undo file */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/sized.h"
#include "format/q2_limits.h"
#include "io/open.h"
#include "repair/field.h"
#include "write/commit.h"
#include "write/undo_save.h"

#define MAX_EDITS 4096u

struct sector {
    uint64_t offset;
    uint32_t len, from, end; /* bytes that the file has of it; those that the stage at hand changes */
    uint8_t bytes[Q2_SECTOR];
};

struct fields {
    struct qcbmi_image *img;
    struct qcbm_dump look; /* its io is that of img */
    struct qcbm_edit_fields_options o;
    struct qcbmi_field_edit *edits;
    size_t n;
    struct sector *sectors;
    size_t n_sectors, sectors_capacity;
    struct qcbmi_plan plan;
    struct qcbm_edit_fields_result r;
};

/* ---- found ---- */

static bool is_forced(const struct fields *s)
{
    return s->o.flags & QCBM_EDIT_FIELDS_FORCE;
}

static int fail_field(const struct qcbmi_field_edit *e, int code, struct qcbm_error *err, const char *why)
{
    char text[128];

    return qcbmi_fail(err, code, e->place.offset, "'%s': %s: nothing was written",
                      qcbmi_printable(text, sizeof(text), e->field.text.at, e->field.text.len), why);
}

static int fail_value(const struct qcbmi_field_edit *e, struct qcbm_error *err)
{
    char text[128];

    return qcbmi_fail(err, QCBM_E_UNSAFE, e->place.offset,
                      "'%s' is 0x%" PRIx64 ", not 0x%" PRIx64 ": the image has changed, or is another one; nothing was "
                      "written",
                      qcbmi_printable(text, sizeof(text), e->field.text.at, e->field.text.len), e->place.value,
                      e->field.old_value);
}

static bool overlap(const struct qcbmi_field_place *a, const struct qcbmi_field_place *b)
{
    if (a->offset >= b->offset + b->length || b->offset >= a->offset + a->length)
        return false;
    return a->bits >= 8 || b->bits >= 8 || a->shift == b->shift;
}

static int find(struct fields *s, struct qcbmi_field_edit *e, struct qcbm_error *err)
{
    int ret = qcbmi_field_parse(e->text, &e->field, err);

    if (ret == 0)
        ret = qcbmi_field_find(&s->look, &e->field, &e->place, err);
    if (ret < 0)
        return ret;
    if (e->field.new_value > qcbmi_field_max(&e->place))
        return fail_field(e, QCBM_E_ARG, err, "the new value does not fit into the field");
    if (!e->field.has_old && !is_forced(s))
        return fail_field(e, QCBM_E_UNSAFE, err,
                          "the value that it has now is missing, as in 'FIELD: OLD=NEW'; --force does without");
    if (e->field.has_old && e->field.old_value != e->place.value)
        return fail_value(e, err);
    for (const struct qcbmi_field_edit *other = s->edits; other < e; other++)
        if (overlap(&other->place, &e->place))
            return fail_field(e, QCBM_E_ARG, err, "another edit is about the same bytes");
    return 0;
}

static int find_all(struct fields *s, struct qcbm_error *err)
{
    int ret = 0;

    s->look.io = s->img->io;
    ret = qcbmi_dump_begin(&s->look, err);
    for (size_t i = 0; ret == 0 && i < s->n; i++)
        ret = find(s, &s->edits[i], err);
    return ret;
}

/* ---- planned ---- */

enum stage { STAGE_RAISE, STAGE_REFER, STAGE_HEADER, STAGE_LOWER, N_STAGES };

static enum stage stage_of(const struct qcbmi_field_edit *e)
{
    bool more = e->field.new_value > e->place.value;

    switch (e->field.kind) {
    case QCBMI_FIELD_REFCOUNT:
    case QCBMI_FIELD_REFCOUNT_TABLE:
        return more ? STAGE_RAISE : STAGE_LOWER;
    case QCBMI_FIELD_HEADER:
        return STAGE_HEADER;
    default:
        return STAGE_REFER;
    }
}

static int take_sector(struct fields *s, uint64_t offset, struct sector **out, struct qcbm_error *err)
{
    struct sector *sector;
    int ret;

    for (size_t i = 0; i < s->n_sectors; i++) {
        *out = &s->sectors[i];
        if ((*out)->offset == offset)
            return 0;
    }
    ret = qcbmi_grow_array(&s->sectors, &s->sectors_capacity, s->n_sectors, sizeof(*sector), err);
    if (ret < 0)
        return ret;
    sector = &s->sectors[s->n_sectors++];
    *sector = (struct sector){ .offset = offset, .from = Q2_SECTOR };
    sector->len = (uint32_t)u64_min(Q2_SECTOR, s->img->io.size - offset);
    *out = sector;
    return qcbmi_io_read(&s->img->io, offset, sector->bytes, sector->len, "field", err);
}

/* Into the copies of its sectors, of which there are two if a damaged table lies askew. */
static int set(struct fields *s, const struct qcbmi_field_edit *e, struct qcbm_error *err)
{
    uint8_t bytes[8];
    int ret = qcbmi_io_read(&s->img->io, e->place.offset, bytes, e->place.length, "field", err);

    for (uint32_t i = 0; ret == 0 && i < e->place.length; i++) {
        uint64_t at = e->place.offset + i;
        struct sector *sector;

        ret = take_sector(s, align_down(at, Q2_SECTOR), &sector, err);
        if (ret == 0)
            bytes[i] = sector->bytes[at % Q2_SECTOR];
    }
    qcbmi_field_store(&e->place, bytes, e->field.new_value);
    for (uint32_t i = 0; ret == 0 && i < e->place.length; i++) {
        uint64_t at = e->place.offset + i;
        struct sector *sector;

        ret = take_sector(s, align_down(at, Q2_SECTOR), &sector, err);
        if (ret < 0 || sector->bytes[at % Q2_SECTOR] == bytes[i])
            continue;
        sector->bytes[at % Q2_SECTOR] = bytes[i];
        sector->from = (uint32_t)u64_min(sector->from, at % Q2_SECTOR);
        sector->end = (uint32_t)u64_max(sector->end, at % Q2_SECTOR + 1);
    }
    return ret;
}

/* What has changed since the last call, a write each sector. */
static int write_stage(struct fields *s, const char *name, struct qcbm_error *err)
{
    int ret = qcbmi_plan_stage(&s->plan, name, true, err);

    for (size_t i = 0; ret == 0 && i < s->n_sectors; i++) {
        struct sector *x = &s->sectors[i];

        if (x->end == 0)
            continue;
        ret = qcbmi_plan_write(&s->plan, "fields", x->offset + x->from, x->bytes + x->from, x->end - x->from, err);
        s->r.sectors += ret == 0;
        x->from = Q2_SECTOR;
        x->end = 0;
    }
    return ret;
}

static int make_stages(struct fields *s, bool together, struct qcbm_error *err)
{
    static const char *const names[N_STAGES] = { "refcounts up", "fields", "header", "refcounts down" };
    int ret = 0;

    for (int stage = 0; ret == 0 && stage < N_STAGES; stage++) {
        for (size_t i = 0; ret == 0 && i < s->n; i++)
            if ((int)stage_of(&s->edits[i]) == stage)
                ret = set(s, &s->edits[i], err);
        if (ret == 0 && (!together || stage == N_STAGES - 1))
            ret = write_stage(s, together ? "fields" : names[stage], err);
    }
    return ret;
}

/* Are they all in one sector? */
static bool is_one_write(const struct fields *s)
{
    uint64_t first = s->edits[0].place.offset / Q2_SECTOR;

    for (size_t i = 0; i < s->n; i++) {
        const struct qcbmi_field_place *p = &s->edits[i].place;

        if (p->offset / Q2_SECTOR != first || (p->offset + p->length - 1) / Q2_SECTOR != first)
            return false;
    }
    return true;
}

static int make_plan(struct fields *s, struct qcbm_error *err)
{
    bool dry = s->o.flags & QCBM_EDIT_FIELDS_DRY_RUN;
    int ret = make_stages(s, is_one_write(s), err);

    s->plan.gives_up_recording = true; /* whoever writes after this relies on it: an undo looks for that */
    if (ret == 0 && s->r.sectors > 1 && !s->o.undo && !dry && !is_forced(s))
        ret = qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                         "the fields lie in %" PRIu32 " sectors, so a power cut could leave some of them changed: take "
                         "--undo, whose file leads back from there, or --force; nothing was written",
                         s->r.sectors);
    return ret;
}

/* ---- judged, committed ---- */

static int judge(struct fields *s, struct qcbm_error *err)
{
    struct qcbmi_field_judge j = { .img = s->img, .memory = s->o.memory, .progress = s->o.progress };
    int ret;

    j.edits = s->edits;
    j.n = s->n;
    j.made = s->o.made;
    j.opaque = s->o.opaque;
    ret = qcbmi_field_judge(&j, &s->plan, err);
    if (ret < 0)
        return ret;
    s->r.opens_before = j.opens_before;
    s->r.opens_after = j.opens_after;
    s->r.worse = j.worst.code != 0;
    if (!s->r.worse || is_forced(s))
        return 0;
    if (err)
        *err = j.worst;
    return qcbmi_prefix(err, QCBM_E_UNSAFE, "nothing was written, --force does it all the same: ");
}

static int tell_change(struct fields *s, const struct qcbmi_field_edit *e, struct qcbm_error *err)
{
    const struct qcbmi_field_place *p = &e->place;
    uint8_t before[8] = { 0 }, after[8] = { 0 };
    char *field = qcbmi_memdup_nul(e->field.text.at, e->field.text.len, err);
    struct qcbm_field_change c = { field, p->what, p->offset, p->length, p->value, e->field.new_value, before, after };
    int ret = field ? qcbmi_io_read(&s->img->io, p->offset, before, p->length, "field", err) : QCBM_E_NOMEM;

    for (uint32_t i = 0; ret == 0 && i < p->length; i++) {
        struct sector *sector;

        ret = take_sector(s, align_down(p->offset + i, Q2_SECTOR), &sector, err); /* it is there */
        if (ret == 0)
            after[i] = sector->bytes[(p->offset + i) % Q2_SECTOR];
    }
    if (ret == 0 && s->o.field(s->o.opaque, &c))
        ret = qcbmi_fail_stopped(err);
    free(field);
    return ret;
}

static int tell(struct fields *s, struct qcbm_error *err)
{
    struct qcbm_plan_summary sum;

    for (size_t i = 0; s->o.field && i < s->n; i++) {
        int ret = tell_change(s, &s->edits[i], err);

        if (ret < 0)
            return ret;
    }
    qcbmi_plan_summary(&s->plan, s->img, &sum);
    s->r.writes = sum.writes;
    s->r.flushes = sum.flushes;
    s->r.bytes_written = sum.bytes_written;
    return s->o.step ? qcbmi_plan_each(&s->plan, s->o.step, s->o.opaque, err) : 0;
}

static int commit(struct fields *s, struct qcbm_error *err)
{
    if (s->o.flags & QCBM_EDIT_FIELDS_DRY_RUN)
        return 0;
    s->plan.undo_path = s->o.undo;
    if (s->r.writes)
        return qcbmi_plan_commit(&s->plan, s->img, err);
    return s->o.undo ? qcbmi_undo_save(&s->plan, s->img, err) : 0;
}

static int run(struct fields *s, struct qcbm_error *err)
{
    int ret = find_all(s, err);

    if (ret == 0)
        ret = make_plan(s, err);
    if (ret == 0 && s->r.sectors)
        ret = judge(s, err);
    if (ret == 0)
        ret = tell(s, err);
    return ret < 0 ? ret : commit(s, err);
}

static int read_options(struct fields *s, unsigned flags, const struct qcbm_edit_fields_options *from, size_t n,
                        size_t size, struct qcbm_error *err)
{
    int ret = qcbmi_check_size(size, err);

    s->o = (struct qcbm_edit_fields_options)QCBM_EDIT_FIELDS_OPTIONS_INIT;
    if (ret == 0)
        ret = qcbmi_take_options(&s->o, sizeof(s->o), from, err);
    if (ret == 0 && n == 0)
        ret = qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "there is nothing to edit");
    if (ret == 0 && n > MAX_EDITS)
        ret = qcbmi_fail(err, QCBM_E_LIMIT, QCBM_NO_OFFSET, "more than %u edits in one change", MAX_EDITS);
    if (ret == 0 && !(s->o.flags & QCBM_EDIT_FIELDS_DRY_RUN) && !(flags & QCBM_OPEN_WRITE))
        ret = qcbmi_fail(err, QCBM_E_READONLY, QCBM_NO_OFFSET, "the image was opened for reading");
    return ret;
}

/* Takes over @io. */
static int edit_on(struct qcbmi_io *io, const char *path, unsigned flags, const char *const *edits, size_t n,
                   const struct qcbm_edit_fields_options *options, struct qcbm_edit_fields_result *out, size_t size,
                   struct qcbm_error *err)
{
    struct fields s = { .n = n };
    int ret = read_options(&s, flags, options, n, size, err);

    if (ret < 0)
        qcbmi_io_close(io);
    else
        ret = qcbmi_image_open_loosely(io, path, flags, &s.img, err);
    if (ret == 0) {
        s.edits = qcbmi_alloc_array(n, sizeof(s.edits[0]), err);
        ret = s.edits ? 0 : QCBM_E_NOMEM;
    }
    for (size_t i = 0; ret == 0 && i < n; i++)
        s.edits[i].text = edits[i];
    if (ret == 0)
        ret = run(&s, err);
    if (ret == 0)
        qcbmi_give(out, size, &s.r, sizeof(s.r));
    qcbmi_dump_end(&s.look);
    qcbmi_plan_free(&s.plan);
    free(s.sectors);
    free(s.edits);
    qcbmi_image_free(s.img);
    return ret;
}

int qcbm_edit_fields(const char *path, unsigned flags, const char *const *edits, size_t n,
                     const struct qcbm_edit_fields_options *options, struct qcbm_edit_fields_result *out, size_t size,
                     struct qcbm_error *err)
{
    struct qcbmi_io io;
    int ret = qcbmi_open(&io, path, flags & QCBM_OPEN_WRITE, err);

    return ret < 0 ? ret : edit_on(&io, path, flags, edits, n, options, out, size, err);
}

int qcbm_edit_fields_io(const struct qcbm_io_ops *ops, void *self, unsigned flags, const char *const *edits, size_t n,
                        const struct qcbm_edit_fields_options *options, struct qcbm_edit_fields_result *out,
                        size_t size, struct qcbm_error *err)
{
    struct qcbmi_io io;
    int ret = qcbmi_io_init(&io, ops, self, flags & QCBM_OPEN_WRITE, err);
    return ret < 0 ? ret : edit_on(&io, NULL, flags, edits, n, options, out, size, err);
}
