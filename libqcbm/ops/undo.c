/* undo.c - take back a recorded change: is this the image, how far did the change get, and the way back as a plan
 * SPDX-License-Identifier: MIT
 *
 * Each sector of each record has versions: the old bytes, and what each stage wrote over them. Which version is there
 * tells between which stages the image may be; all sectors together must leave one possibility at least. From there the
 * way back is a plan like any other, with the stages in reverse: what a cut leaves is then a state that a cut of the
 * operation could have left, from which the way back can be found again. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/sized.h"
#include "bitmap/session.h"
#include "io/open.h"
#include "ops/undo_writer.h"
#include "write/commit.h"
#include "write/undo_load.h"
#include "write/undo_seal.h"

#define SECTOR QCBMI_UNDO_SECTOR

struct undo {
    struct qcbm_image *handle;
    struct qcbmi_image *img; /* of the handle */
    struct qcbmi_undo_file file;
    struct qcbmi_plan plan;
    uint8_t *now;      /* bytes of the image that the record at hand is about */
    uint64_t *allowed; /* for each of their sectors: bit S = possible while stage S is carried out */
    uint64_t possible; /* the same for the whole image; bit n_stages = all is done */

    uint8_t group[SECTOR]; /* old bytes in a row, to be written back by one write ... */
    uint64_t group_at;     /* ... or where they lie in the undo file, if they are more than a sector; else 0 */
    uint64_t group_off, group_len;
    bool changed; /* not all of them are there already */
    bool loose;   /* the image was opened without a look at it */
};

static int fail_changed(struct qcbm_error *err, uint64_t off)
{
    return qcbmi_fail(err, QCBM_E_UNSAFE, off,
                      "the image has changed since, or is another one: these bytes are not those that were written");
}

/* ---- the image ---- */

static int check_identity(const struct undo *u, struct qcbm_error *err)
{
    const struct qcbmi_undo_header *h = &u->file.h;
    uint8_t identity[QCBMI_DIGEST_BYTES], but_changed[QCBMI_DIGEST_BYTES];

    qcbmi_undo_identity(u->img, NULL, 0, identity);
    qcbmi_undo_identity(u->img, u->file.places, u->file.n_changed, but_changed);
    if (memcmp(identity, h->identity, sizeof(identity)) != 0 && memcmp(but_changed, h->identity, sizeof(identity)) != 0)
        return qcbmi_fail(
            err, QCBM_E_ARG, QCBM_NO_OFFSET,
            "the undo file is of another image: version, cluster size, virtual size, encryption or refcount "
            "width differ");
    if (u->img->io.size >= h->len_before && u->img->io.size <= h->len_after)
        return 0;
    return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                      "the image has changed since: the file is %" PRIu64 " bytes long, and was left with %" PRIu64,
                      u->img->io.size, h->len_after);
}

/* The image's bytes of record @r; what is not there any more, or not yet, as zeros. */
static int read_now(struct undo *u, const struct qcbmi_undo_record *r, struct qcbm_error *err)
{
    uint64_t inside = r->off < u->img->io.size ? u64_min(r->len, u->img->io.size - r->off) : 0;

    memset(u->now + inside, 0, (size_t)(r->len - inside));
    return inside ? qcbmi_io_read(&u->img->io, r->off, u->now, inside, "what was recorded", err) : 0;
}

static int check_untouched(struct undo *u, size_t i, struct qcbm_error *err)
{
    const struct qcbmi_undo_record *r = &u->file.places[i].r;
    int ret = read_now(u, r, err);

    if (ret == 0)
        ret = qcbmi_undo_file_record(&u->file, i, err);
    if (ret < 0)
        return ret;
    qcbmi_undo_mask(u->file.places, u->file.n_changed, r->off, u->now, r->len);
    if (qcbmi_digest_is(u->now, (size_t)r->len, qcbmi_undo_record_digest(u->file.record, 0)))
        return 0;
    return qcbmi_fail(err, QCBM_E_UNSAFE, r->off,
                      "the image has changed since, or is another one: these bytes are not those that it had");
}

/* What the undo will cut off must be what the change appended: its records, and zeros between them. */
static int check_appended(struct undo *u, struct qcbm_error *err)
{
    struct qcbmi_undo_record r = { .off = u->file.h.len_before };
    int ret = 0;

    for (; ret == 0 && r.off < u->img->io.size; r.off += r.len) {
        r.len = u64_min(QCBMI_UNDO_MAX_LEN, u->img->io.size - r.off);
        ret = read_now(u, &r, err);
        if (ret < 0)
            return ret;
        qcbmi_undo_mask(u->file.places, u->file.n_changed, r.off, u->now, r.len);
        if (!bytes_are_zero(u->now, r.len))
            return fail_changed(err, r.off);
    }
    return ret;
}

/* Bits @first to @last. */
static uint64_t stages(uint64_t first, uint64_t last)
{
    return (UINT64_MAX >> (63 - last)) & (UINT64_MAX << first);
}

/* What the sectors of record @i allow: their old bytes, that its stage has not begun or is under way; the new ones,
 * that it is under way or over, and the next of the same place not begun or under way. Appended bytes stay until the
 * end of an undo, so they do not say that anything was done. */
static int allow(struct undo *u, size_t i, struct qcbm_error *err)
{
    const struct qcbmi_undo_place *p = &u->file.places[i];
    bool appended = p->r.kind == QCBMI_UNDO_APPENDED, first = i == 0 || p[-1].r.off != p->r.off;
    bool last = i + 1 == u->file.n_changed || p[1].r.off != p->r.off;
    const uint8_t *old = qcbmi_undo_record_old(u->file.record, &p->r);
    uint64_t until = last ? u->file.h.n_stages : p[1].r.stage, from = 0;
    int ret = qcbmi_undo_file_record(&u->file, i, err);

    for (uint64_t k = 0; ret == 0 && from < p->r.len; k++) {
        uint64_t end = u64_min(p->r.len, align_down(p->r.off + from, SECTOR) + SECTOR - p->r.off), n = end - from;

        if (first)
            u->allowed[k] = 0;
        if (first && (appended ? bytes_are_zero(u->now + from, n) : memcmp(u->now + from, old + from, (size_t)n) == 0))
            u->allowed[k] |= stages(0, p->r.stage);
        if (qcbmi_digest_is(u->now + from, (size_t)n, qcbmi_undo_record_digest(u->file.record, k)))
            u->allowed[k] |= stages(appended ? 0 : p->r.stage, until);
        if (last)
            u->possible &= u->allowed[k];
        if (last && u->possible == 0)
            return fail_changed(err, p->r.off + from);
        from = end;
    }
    return ret;
}

static int compare(struct undo *u, struct qcbm_error *err)
{
    const struct qcbmi_undo_file *f = &u->file;
    int ret = check_identity(u, err);

    u->possible = stages(0, f->h.n_stages);
    for (size_t i = 0; ret == 0 && i < f->n_changed; i++) {
        if (i == 0 || f->places[i - 1].r.off != f->places[i].r.off)
            ret = read_now(u, &f->places[i].r, err);
        if (ret == 0)
            ret = allow(u, i, err);
    }
    for (size_t i = f->n_changed; ret == 0 && i < f->n; i++)
        ret = check_untouched(u, i, err);
    return ret < 0 ? ret : check_appended(u, err);
}

/* ---- the way back ---- */

/* Is record @i the last of its place that a stage up to @top wrote? */
static bool is_topmost(const struct qcbmi_undo_file *f, size_t i, uint32_t top)
{
    return i + 1 == f->n_changed || f->places[i + 1].r.off != f->places[i].r.off || f->places[i + 1].r.stage > top;
}

/* They have been compared with their digest; there may be too many of them for memory. */
static int read_old(void *opaque, uint64_t at, uint8_t *to, uint64_t len, uint64_t *got, struct qcbm_error *err)
{
    struct undo *u = opaque;

    *got = len;
    return qcbmi_io_read(&u->file.io, at, to, len, "old bytes in the undo file", err);
}

static int end_group(struct undo *u, struct qcbm_error *err)
{
    struct qcbmi_source in_file = { .fn = read_old, .opaque = u, .first = u->group_at };
    int ret = 0;

    if (u->changed && u->group_at)
        ret = qcbmi_plan_write_from(&u->plan, "old bytes", u->group_off, u->group_len, &in_file, err);
    else if (u->changed)
        ret = qcbmi_plan_write(&u->plan, "old bytes", u->group_off, u->group, u->group_len, err);
    u->group_len = u->group_at = 0;
    u->changed = false;
    return ret;
}

/* Put record @i, one of the stage at hand, to those that go back in one write. */
static int add_to_group(struct undo *u, size_t i, uint32_t top, struct qcbm_error *err)
{
    const struct qcbmi_undo_place *p = &u->file.places[i];
    const struct qcbmi_undo_record *r = &p->r;
    const uint8_t *old = qcbmi_undo_record_old(u->file.record, r);
    int ret = qcbmi_undo_file_record(&u->file, i, err);

    if (ret == 0)
        ret = read_now(u, r, err);
    if (ret == 0 && (u->group_off + u->group_len != r->off || r->off % SECTOR == 0))
        ret = end_group(u, err);
    if (ret < 0)
        return ret;
    if (u->group_len == 0)
        u->group_off = r->off;
    if (r->len > SECTOR) /* whole sectors: alone in its group */
        u->group_at = p->at + (uint64_t)(old - u->file.record);
    else
        memcpy(u->group + u->group_len, old, (size_t)r->len);
    u->group_len += r->len;
    u->changed |= !is_topmost(&u->file, i, top) || memcmp(u->now, old, (size_t)r->len) != 0;
    return 0;
}

/* What one write changed within a sector goes back in one write, or a cut would leave what no cut of the operation
 * could: half of a header extension. Neighbours are joined up to the end of a sector, also where some are as they
 * were. */
static int plan_stage(struct undo *u, uint32_t stage, uint32_t top, struct qcbm_error *err)
{
    const struct qcbmi_undo_place *p = u->file.places;
    int ret = qcbmi_plan_stage(&u->plan, "undo", false, err);

    for (size_t i = 0; ret == 0 && i < u->file.n_changed; i++) {
        bool again = i > 0 && p[i - 1].r.off == p[i].r.off && p[i - 1].r.stage == stage;

        if (p[i].r.stage == stage && p[i].r.kind == QCBMI_UNDO_OVERWRITTEN && !again)
            ret = add_to_group(u, i, top, err);
    }
    return ret < 0 ? ret : end_group(u, err);
}

static int plan_back(struct undo *u, struct qcbm_error *err)
{
    uint32_t top = (uint32_t)__builtin_ctzll(u->possible);
    int ret = 0;

    u->plan.undoes = true;
    u->plan.end = u->file.h.len_before;
    if (top == u->file.h.n_stages && top > 0)
        top--;
    for (uint32_t stage = top + 1; ret == 0 && stage-- > 0;)
        ret = plan_stage(u, stage, top, err);
    return ret;
}

static void tell(const struct undo *u, struct qcbm_undo_result *r)
{
    struct qcbm_plan_summary sum;
    bool cut = u->img->io.size > u->plan.end;

    qcbmi_plan_summary(&u->plan, u->img, &sum);
    memset(r, 0, sizeof(*r));
    r->writes = sum.writes;
    r->flushes = sum.flushes + cut;
    r->bytes_written = sum.bytes_written;
    r->file_size = u->plan.end;
    r->bytes_cut = cut ? u->img->io.size - u->plan.end : 0;
    if (sum.writes == 0 && !cut)
        r->found = QCBM_UNDO_FOUND_BEFORE;
    else if (u->possible >> u->file.h.n_stages & 1 && u->img->io.size == u->file.h.len_after)
        r->found = QCBM_UNDO_FOUND_AFTER;
    else
        r->found = QCBM_UNDO_FOUND_BETWEEN;
}

static int look_for_writer(struct undo *u, const struct qcbm_undo_options *o, struct qcbm_undo_result *r,
                           struct qcbm_error *err)
{
    uint32_t last_stage = 63 - (uint32_t)__builtin_clzll(u->possible);
    int ret;

    if (r->found == QCBM_UNDO_FOUND_BEFORE)
        return 0;
    ret = qcbmi_undo_find_writer(&u->file, u->img, last_stage, &r->writer, err);
    return o->force ? 0 : ret;
}

/* What is back may be an image that does not open: then the handle is of no more use, but it is undone. */
static int reload(struct undo *u, struct qcbm_error *err)
{
    struct qcbm_error why;
    int ret = u->loose ? QCBM_E_CORRUPT : qcbmi_reload(u->handle, &why);

    u->img->failed = ret < 0;
    if (ret != QCBM_E_IO && ret != QCBM_E_NOMEM)
        return 0;
    if (err)
        *err = why;
    return ret;
}

/* An undo of the change before this one finds the time that it knows. */
static int carry_out(struct undo *u, const char *path, struct qcbm_error *err)
{
    bool alone = u->file.h.written.known && qcbmi_undo_is_last_writer(&u->file, u->img);
    int ret;

    qcbmi_undo_begin(&u->file, path, u->img);
    u->img->generation++;
    ret = qcbmi_plan_commit(&u->plan, u->img, err);
    u->img->failed = ret < 0;
    if (ret == 0)
        ret = reload(u, err);
    if (ret < 0)
        return ret;
    qcbmi_undo_end(&u->file, path);
    if (alone)
        qcbmi_io_set_written(&u->img->io, &u->file.h.written.time);
    return 0;
}

static int run(struct undo *u, const char *path, const struct qcbm_undo_options *o, struct qcbm_undo_result *r,
               struct qcbm_error *err)
{
    int ret = compare(u, err);

    if (ret == 0)
        ret = plan_back(u, err);
    if (ret < 0)
        return ret;
    tell(u, r);
    ret = look_for_writer(u, o, r, err);
    if (ret == 0 && o->step)
        ret = qcbmi_plan_each(&u->plan, o->step, o->opaque, err);
    if (ret < 0 || o->dry_run || r->found == QCBM_UNDO_FOUND_BEFORE)
        return ret;
    u->plan.progress = o->progress;
    return carry_out(u, path, err);
}

/* No record is about more than the image has. */
static int alloc_buffers(struct undo *u, struct qcbm_error *err)
{
    uint64_t most = u64_min(QCBMI_UNDO_MAX_LEN, u->file.h.len_after);

    u->now = qcbmi_alloc_array(most, 1, err);
    u->allowed = qcbmi_alloc_array(div_up(most, SECTOR) + 1, sizeof(*u->allowed), err);
    return u->now && u->allowed ? 0 : QCBM_E_NOMEM;
}

static int undo(struct qcbm_image *img, bool loose, const char *path, const struct qcbm_undo_options *options,
                struct qcbm_undo_result *out, size_t size, struct qcbm_error *err)
{
    struct qcbm_undo_options o = QCBM_UNDO_OPTIONS_INIT;
    struct qcbm_undo_result result;
    struct undo u = { .handle = img, .img = img->image, .loose = loose };
    int ret = qcbmi_image_check_sound(u.img, err);

    if (ret == 0)
        ret = qcbmi_take_options(&o, sizeof(o), options, err);
    if (ret == 0 && out)
        ret = qcbmi_check_size(size, err);
    if (ret == 0 && !o.dry_run && !(u.img->open_flags & QCBM_OPEN_WRITE))
        ret = qcbmi_fail(err, QCBM_E_READONLY, QCBM_NO_OFFSET, "the image was opened for reading");
    if (ret < 0)
        return ret;
    ret = qcbmi_undo_file_open(&u.file, path, err);
    if (ret == 0)
        ret = alloc_buffers(&u, err);
    if (ret == 0)
        ret = run(&u, path, &o, &result, err);
    if (ret == 0 && out)
        qcbmi_give(out, size, &result, sizeof(result));
    qcbmi_plan_free(&u.plan);
    qcbmi_undo_file_close(&u.file);
    free(u.now);
    free(u.allowed);
    return ret;
}

int qcbm_undo(struct qcbm_image *img, const char *path, const struct qcbm_undo_options *options,
              struct qcbm_undo_result *out, size_t size, struct qcbm_error *err)
{
    return undo(img, false, path, options, out, size, err);
}

int qcbm_undo_path(const char *image, unsigned flags, const char *path, const struct qcbm_undo_options *options,
                   struct qcbm_undo_result *out, size_t size, struct qcbm_error *err)
{
    struct qcbm_image handle = { 0 };
    struct qcbmi_io io;
    int ret = qcbmi_open(&io, image, flags & QCBM_OPEN_WRITE, err);

    if (ret == 0)
        ret = qcbmi_image_open_loosely(&io, image, flags, &handle.image, err);
    if (ret == 0)
        ret = undo(&handle, true, path, options, out, size, err);
    qcbmi_image_free(handle.image);
    return ret;
}
