/* apply.c - deltas applied to a disk: in place, or into a new file; the order of work
 * SPDX-License-Identifier: MIT
 *
 * In place, a delta is applied in steps, each begun when all before it is durable and the state file says so:
 *
 *   grow   what the delta will write is set in bitmaps that record; the disk gets larger; the recorded id goes
 *   data   the records, from the last offset that is known to be durable
 *   cut    the disk gets smaller
 *   name   the id of the new state is recorded
 *
 * Before "grow" the disk has its old state, and behind "name" its new one. In between it has neither: nobody is told a
 * state, a command that would write to it finds the state file and refuses, and the same apply goes on where it was, or
 * from the beginning, which gives the same. A power cut leaves single clusters old or new (write/guest_plan.h); the
 * image is sound. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/sized.h"
#include "bitmap/dirtymap.h"
#include "delta/apply_run.h"
#include "format/probe.h"
#include "io/io_file.h"
#include "io/open.h"
#include "io/unfinished.h"

#define LEAKS_MEMORY (UINT64_C(64) << 20)

/* ---- a delta in place ---- */

/* All that the delta writes, for the bitmaps. A disk too large for such a map is all of it. */
static int mark_bitmaps(struct qcbmi_apply_run *r, const char *path, struct qcbm_error *err)
{
    const struct q2_geometry *g = &r->t.handle.image->g;
    struct qcbmi_apply_stream s = { 0 };
    struct qcbmi_guest_extent e;
    struct qcbmi_dirtymap map = { 0 };
    int ret = qcbmi_dirtymap_init(&map, g->sector_size_down, qcbmi_target_granularity(&r->t), err), more = 1;

    if (ret == QCBM_E_LIMIT)
        return qcbmi_target_mark(&r->t, NULL, err);
    if (ret == 0)
        ret = qcbmi_apply_stream_open(&s, path, err);
    while (ret == 0 && (more = s.stream.next(s.stream.opaque, &e, err)) > 0)
        if (e.off < map.size)
            ret = qcbmi_dirtymap_set(&map, e.off, u64_min(e.end, map.size), err);
    if (ret == 0 && more < 0)
        ret = more;
    if (ret == 0)
        ret = qcbmi_target_mark(&r->t, &map, err);
    qcbmi_apply_stream_close(&s);
    qcbmi_dirtymap_free(&map);
    return ret;
}

static int step_grow(struct qcbmi_apply_run *r, size_t i, struct qcbm_error *err)
{
    const struct qcbmi_apply_file *f = &r->state.file;
    int ret = 0;

    if (qcbmi_target_records(&r->t))
        ret = mark_bitmaps(r, r->items[i].path, err);
    if (ret == 0) /* what is durable of the delta stays, also where it lies behind the old end */
        ret = qcbmi_target_grow(&r->t, u64_max(f->size_before, r->durable), f->size_after, err);
    if (ret == 0)
        ret = qcbmi_disk_state_clear(&r->t, r->prefix, err);
    return ret < 0 ? ret : qcbmi_apply_state_step(&r->state, QCBMI_APPLY_DATA, r->durable, err);
}

static int note_done(void *opaque, uint64_t done, struct qcbm_error *err)
{
    struct qcbmi_apply_run *r = opaque;

    return done == UINT64_MAX ? 0 : qcbmi_apply_state_step(&r->state, QCBMI_APPLY_DATA, done, err);
}

static int write_records(struct qcbmi_apply_run *r, size_t i, uint64_t from, qcbmi_target_step_fn *step,
                         struct qcbm_error *err)
{
    struct qcbmi_apply_stream s;
    struct qcbmi_target_write w = { .from = from, .step = step, .opaque = r, .progress = &r->progress };
    int ret = qcbmi_apply_stream_open(&s, r->items[i].path, err);

    w.stream = &s.stream;
    if (ret == 0)
        ret = qcbmi_target_write(&r->t, &w, err);
    qcbmi_apply_stream_close(&s);
    return ret;
}

static int step_data(struct qcbmi_apply_run *r, size_t i, struct qcbm_error *err)
{
    int ret = write_records(r, i, r->state.step.offset, note_done, err);

    return ret < 0 ? ret : qcbmi_apply_state_step(&r->state, QCBMI_APPLY_CUT, 0, err);
}

static int step_cut(struct qcbmi_apply_run *r, struct qcbm_error *err)
{
    int ret = qcbmi_target_cut(&r->t, r->state.file.size_before, r->state.file.size_after, err);

    return ret < 0 ? ret : qcbmi_apply_state_step(&r->state, QCBMI_APPLY_NAME, 0, err);
}

static int step_name(struct qcbmi_apply_run *r, struct qcbm_error *err)
{
    int ret = qcbmi_apply_record_id(r, r->prefix, r->state.file.id, r->state.file.size_after, err);

    return ret < 0 ? ret : qcbmi_apply_state_end(&r->state, err);
}

static int in_place(struct qcbmi_apply_run *r, size_t i, struct qcbm_error *err)
{
    int ret = 0;

    if (r->state.step.phase == QCBMI_APPLY_GROW)
        ret = step_grow(r, i, err);
    if (ret == 0 && r->state.step.phase == QCBMI_APPLY_DATA)
        ret = step_data(r, i, err);
    if (ret == 0 && r->state.step.phase == QCBMI_APPLY_CUT)
        ret = step_cut(r, err);
    return ret < 0 ? ret : step_name(r, err);
}

static int fill_file(struct qcbmi_apply_run *r, size_t i, struct qcbm_error *err)
{
    const struct qcbmi_apply_item *item = &r->items[i];
    struct qcbmi_apply_file *f = &r->state.file;
    size_t len = strlen(item->path);

    *f = (struct qcbmi_apply_file){ .had_no_leaks = r->has_no_leaks,
                                    .has_parent = item->meta.has_parent,
                                    .size_after = item->meta.size_after,
                                    .image = qcbmi_file_mark(qcbmi_target_io(&r->t)) };
    memcpy(f->id, item->meta.id, sizeof(f->id));
    memcpy(f->digest, item->digest, sizeof(f->digest));
    memcpy(f->parent, item->meta.parent, sizeof(f->parent));
    memcpy(f->name, item->path, u64_min(len, QCBMI_APPLY_MAX_NAME));
    return qcbmi_apply_size_before(r, i, &f->size_before, err);
}

/* The state file may lie beside another disk than the one that it was written of: a backup that was copied over it,
 * under its name. So what counts as done is read back, and done again from the beginning if it is not there; and ids
 * and bitmaps are seen to in any case. */
static int look_back(struct qcbmi_apply_run *r, size_t i, struct qcbm_error *err)
{
    const struct qcbmi_apply_file *f = &r->state.file;
    uint64_t size = qcbmi_target_size(&r->t), at;
    enum qcbmi_apply_phase phase = r->state.step.phase;
    bool same = size >= f->size_after || qcbmi_target_is_device(&r->t);
    int ret = 0;

    if (size != f->size_before && size != f->size_after && !qcbmi_target_is_device(&r->t))
        return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                          "the disk has %" PRIu64 " bytes, and neither the %" PRIu64 " from before '%.200s' nor the "
                          "%" PRIu64 " from behind it: it is not the one that the state file is of",
                          size, f->size_before, r->items[i].path, f->size_after);
    r->resumes = phase != QCBMI_APPLY_GROW;
    r->durable = phase == QCBMI_APPLY_GROW ? 0 : phase == QCBMI_APPLY_DATA ? r->state.step.offset : f->size_after;
    if (same && r->durable)
        ret = qcbmi_apply_compare(r, i, r->durable, &same, &at, err);
    r->is_replaced = r->durable && !same;
    if (!same)
        r->durable = 0;
    r->state.step.phase = QCBMI_APPLY_GROW;
    return ret;
}

/* Where there were none before these are clusters that a batch had taken and did not come to use, and those that it did
 * not come to give up: nobody's data, though an L2 table among them looks like one that was lost. A file that has come
 * in place of the image, or was copied over it, may have others. */
static int free_leaks(struct qcbmi_apply_run *r, struct qcbm_error *err)
{
    struct qcbm_repair_options o = QCBM_REPAIR_OPTIONS_INIT;
    struct qcbm_repair_result done;
    int ret;

    if (!r->is_qcow2 || r->has_no_leaks || r->is_replaced || !r->state.file.had_no_leaks ||
        r->state.file.image != qcbmi_file_mark(qcbmi_target_io(&r->t)))
        return 0;
    o.level = QCBM_REPAIR_LEAKS;
    o.flags = QCBM_REPAIR_FORCE;
    o.memory = LEAKS_MEMORY;
    ret = qcbm_repair(&r->t.handle, &o, &done, sizeof(done), err);
    qcbmi_target_forget(&r->t);
    r->has_no_leaks = ret == 0 && done.leaks_fixed > 0;
    return ret < 0 ? qcbmi_prefix(err, ret, "leaked clusters: ") : 0;
}

/* Other commands find the state file by the name that they are given. */
static int check_names(const struct qcbmi_apply_run *r, struct qcbm_error *err)
{
    if (!r->o->state_prefix && qcbmi_file_has_other_names(r->base))
        return qcbmi_fail(
            err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
            "the disk has another name, too (a hard link), under which nobody would see that a delta is in it "
            "in part: remove that name, or write a new file with -o");
    return 0;
}

static int begin_or_resume(struct qcbmi_apply_run *r, size_t i, struct qcbm_error *err)
{
    int ret = qcbmi_target_check_writable(&r->t, err);

    if (ret == 0)
        ret = qcbmi_target_check_resize(&r->t, r->items[i].meta.size_after, err);
    if (ret == 0 && !r->state.there)
        ret = check_names(r, err);
    if (ret < 0 || r->o->flags & QCBM_APPLY_DRY_RUN)
        return ret;
    r->resumes = false;
    r->durable = 0;
    if (r->state.there) {
        ret = look_back(r, i, err);
        if (ret == 0)
            ret = qcbmi_apply_state_resume(&r->state, err);
        return ret < 0 ? ret : free_leaks(r, err);
    }
    ret = fill_file(r, i, err);
    return ret < 0 ? ret : qcbmi_apply_state_begin(&r->state, err);
}

/* A disk that could not be made larger, for one, is the one that it was: nothing has to be gone on with. */
static bool is_untouched(const struct qcbmi_apply_run *r)
{
    return !r->resumes && r->state.step.phase == QCBMI_APPLY_GROW &&
           (qcbmi_target_is_device(&r->t) || qcbmi_target_size(&r->t) == r->state.file.size_before) &&
           !(r->is_qcow2 && r->t.handle.image->failed);
}

static int apply_in_place(struct qcbmi_apply_run *r, size_t i, struct qcbm_error *err)
{
    int ret = begin_or_resume(r, i, err);

    if (ret < 0 || r->o->flags & QCBM_APPLY_DRY_RUN)
        return ret;
    ret = in_place(r, i, err);
    if (ret < 0 && is_untouched(r)) {
        (void)qcbmi_apply_state_end(&r->state, NULL);
        return qcbmi_prefix(err, ret, "nothing of the disk was changed: ");
    }
    return ret < 0 ? qcbmi_prefix(err, ret, "applied in part, the same command again goes on with it: ") : 0;
}

/* ---- where to begin ---- */

/* A refcount that is too low would free, behind the first batch, what somebody still has. */
static int check_image(struct qcbmi_apply_run *r, struct qcbm_error *err)
{
    struct qcbm_check_result c;
    int ret;

    if (!r->is_qcow2 || r->o->new_path)
        return 0;
    ret = qcbm_check(&r->t.handle, NULL, &c, sizeof(c), err);
    r->has_no_leaks = ret == 0 && c.leaks == 0;
    if (ret == 0 && (c.corruptions || c.check_errors))
        ret = qcbmi_image_refuse(
            r->t.handle.image,
            qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                       "a check finds %" PRIu64 " errors in the image, and nothing is written to it%s",
                       c.corruptions + c.check_errors,
                       r->state.there ? "; as a delta is in it in part: delete the .qcbm-apply file, run "
                                        "'qcbm check -r all', and apply the delta again with --force-parent"
                                      : ""),
            err);
    return ret;
}

static int fail_unfinished(const struct qcbmi_apply_run *r, struct qcbm_error *err)
{
    char id[33], name[200];

    qcbmi_identity_text(r->state.file.id, id);
    return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                      "'%s' (%s) has been applied in part: apply that first, in place, which goes on with it",
                      qcbmi_printable(name, sizeof(name), r->state.file.name, strlen(r->state.file.name)), id);
}

static bool is_unfinished(const struct qcbmi_apply_run *r, size_t i)
{
    return memcmp(r->items[i].meta.id, r->state.file.id, QCBMI_IDENTITY_BYTES) == 0 &&
           memcmp(r->items[i].digest, r->state.file.digest, QCBMI_DIGEST_BYTES) == 0;
}

/* The delta that is unfinished, or the one behind that which the disk's state says was the last. */
static int find_first(const struct qcbmi_apply_run *r, size_t *first, struct qcbm_error *err)
{
    *first = 0;
    if (r->state.there && r->o->new_path)
        return fail_unfinished(r, err);
    if (r->state.there) {
        while (*first < r->n && !is_unfinished(r, *first))
            ++*first;
        return *first == r->n ? fail_unfinished(r, err) : 0;
    }
    for (size_t i = 0; r->disk.known == QCBMI_STATE_KNOWN && i < r->n; i++)
        if (memcmp(r->items[i].meta.id, r->disk.id, QCBMI_IDENTITY_BYTES) == 0)
            *first = i + 1;
    return 0;
}

/* Where nothing is recorded, the word of the caller counts; it does not count against what is. */
static int take_base_id(struct qcbmi_apply_run *r, struct qcbm_error *err)
{
    uint8_t id[QCBMI_IDENTITY_BYTES];
    char text[33];

    if (!r->o->base_id)
        return 0;
    if (!qcbmi_identity_parse(r->o->base_id, id))
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "the id of the base is not 32 hex digits");
    if (r->disk.known == QCBMI_STATE_KNOWN && memcmp(id, r->disk.id, sizeof(id)) != 0) {
        qcbmi_identity_text(r->disk.id, text);
        return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET, "the disk has the recorded state %s, and no other", text);
    }
    r->disk.known = QCBMI_STATE_KNOWN;
    memcpy(r->disk.id, id, sizeof(id));
    return 0;
}

/* The id of the last delta stays where the disk is taken back to a snapshot, or written to by a guest. */
static int check_already(struct qcbmi_apply_run *r, size_t first, struct qcbm_error *err)
{
    bool same = true;
    uint64_t at = 0;
    char text[33];
    int ret = r->state.there || first == 0 ? 0 : qcbmi_apply_compare(r, first - 1, UINT64_MAX, &same, &at, err);

    if (ret < 0 || same)
        return ret;
    qcbmi_identity_text(r->disk.id, text);
    return qcbmi_fail(
        err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
        "the disk has the recorded state %s, to which '%.200s' leads, and does not hold what that has at guest "
        "0x%" PRIx64 ": it was written to since, or taken back to a snapshot",
        text, r->items[first - 1].path, at);
}

static void set_total(struct qcbmi_apply_run *r, size_t first)
{
    r->progress.to = r->o->progress;
    for (size_t i = first; i < r->n; i++)
        r->progress.total += r->items[i].data_bytes + r->items[i].zero_bytes;
    if (r->o->new_path)
        r->progress.total += qcbmi_target_size(&r->t);
}

static int run(struct qcbmi_apply_run *r, struct qcbm_error *err)
{
    bool dry = r->o->flags & QCBM_APPLY_DRY_RUN;
    size_t first = 0;
    int ret = qcbmi_apply_state_load(&r->state, r->prefix, err);

    if (ret == 0)
        ret = qcbmi_disk_state_load(&r->t, r->prefix, &r->disk, err);
    r->result.state_was_known = r->disk.known == QCBMI_STATE_KNOWN;
    r->result.state_was_stale = r->disk.known == QCBMI_STATE_STALE;
    if (ret == 0)
        ret = take_base_id(r, err);
    if (ret == 0)
        ret = qcbmi_apply_check_row(r, err);
    if (ret == 0)
        ret = find_first(r, &first, err);
    if (ret == 0)
        ret = check_image(r, err);
    if (ret == 0)
        ret = check_already(r, first, err);
    if (ret < 0)
        return ret;
    set_total(r, first);
    if (!r->o->new_path)
        ret = qcbmi_apply_each(r, first, apply_in_place, err);
    else
        ret = dry ? qcbmi_apply_each(r, first, qcbmi_apply_foresee_new, err) : qcbmi_apply_into_new(r, first, err);
    if (!r->result.size)
        r->result.size = qcbmi_target_size(&r->t);
    if (r->disk.known == QCBMI_STATE_KNOWN)
        qcbmi_identity_text(r->disk.id, r->result.id);
    return ret;
}

/* ---- the call ---- */

static unsigned target_flags(const struct qcbm_apply_options *o)
{
    bool writes = !o->new_path && !(o->flags & QCBM_APPLY_DRY_RUN);

    return o->open_flags | (writes ? QCBM_OPEN_WRITE : 0);
}

static int check_options(const struct qcbm_apply_options *o, size_t n, struct qcbm_error *err)
{
    const char *const formats[] = { o->base_format, o->new_format };

    for (int i = 0; i < 2; i++)
        if (formats[i] && strcmp(formats[i], "raw") != 0 && strcmp(formats[i], "qcow2") != 0)
            return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "format '%.40s' is not supported (raw and qcow2 are)",
                              formats[i]);
    if (o->new_format && !o->new_path)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "a format of the new file, and no new file");
    if (n == 0)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "no delta");
    if (o->open_flags & ~(unsigned)(QCBM_OPEN_FORCE_SHARE | QCBM_OPEN_NO_LOCK) ||
        (o->open_flags & QCBM_OPEN_FORCE_SHARE && target_flags(o) & QCBM_OPEN_WRITE))
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "force-share is for reading only");
    return 0;
}

/* A name below /dev may lead to another disk tomorrow, and a file there is gone with the power. */
static int find_prefix(struct qcbmi_apply_run *r, const struct qcbmi_io *io, struct qcbm_error *err)
{
    if (!io->traits.is_device && r->o->state_prefix) /* elsewhere nobody would see that the disk is half of one state */
        return qcbmi_fail(
            err, QCBM_E_ARG, QCBM_NO_OFFSET,
            "the state of a disk that is a file is kept beside it, where other commands look for it: another "
            "place (--state) is for block devices, leave it out");
    if (io->traits.is_device && !r->o->state_prefix && target_flags(r->o) & QCBM_OPEN_WRITE)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                          "a block device has no folder for the state file: name a place that outlives a loss of power "
                          "(--state)");
    if (r->o->state_prefix)
        r->prefix = qcbmi_memdup_nul(r->o->state_prefix, strlen(r->o->state_prefix), err);
    else
        r->prefix = qcbmi_unfinished_prefix(r->base, err);
    return r->prefix ? 0 : QCBM_E_NOMEM;
}

static int probe_format(struct qcbmi_apply_run *r, struct qcbmi_io *io, struct qcbm_error *err)
{
    uint8_t head[QCBMI_PROBE_BYTES] = { 0 };
    const char *format = r->o->base_format;
    int ret = 0;

    if (!format) {
        ret = qcbmi_io_read(io, 0, head, u64_min(io->size, sizeof(head)), "first sector", err);
        format = qcbmi_probe(head, r->base);
    }
    r->is_qcow2 = strcmp(format, "qcow2") == 0;
    if (ret == 0 && !r->is_qcow2 && strcmp(format, "raw") != 0)
        ret = qcbmi_fail(err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET,
                         "the disk has format '%s' (raw and qcow2 are supported)", format);
    return ret;
}

static int open_base(struct qcbmi_apply_run *r, struct qcbm_error *err)
{
    struct qcbmi_io io;
    unsigned flags = target_flags(r->o);
    int ret = qcbmi_open(&io, r->base, flags & QCBM_OPEN_WRITE, err);

    if (ret < 0)
        return ret;
    ret = find_prefix(r, &io, err);
    if (ret == 0)
        ret = probe_format(r, &io, err);
    if (ret < 0) {
        qcbmi_io_close(&io);
        return ret;
    }
    return qcbmi_target_open(&r->t, &io, r->base, r->is_qcow2, flags, err);
}

int qcbm_apply(const char *base, const char *const *deltas, size_t n, const struct qcbm_apply_options *options,
               struct qcbm_apply_result *out, size_t size, struct qcbm_error *err)
{
    struct qcbm_apply_options o = QCBM_APPLY_OPTIONS_INIT;
    struct qcbmi_apply_run r = { .o = &o, .base = base, .n = n };
    int ret = out ? qcbmi_check_size(size, err) : 0;

    if (ret == 0)
        ret = qcbmi_take_options(&o, sizeof(o), options, err);
    if (ret == 0)
        ret = check_options(&o, n, err);
    if (ret < 0)
        return ret;
    r.items = qcbmi_alloc_array(n, sizeof(*r.items), err);
    ret = r.items ? open_base(&r, err) : QCBM_E_NOMEM;
    if (ret == 0)
        ret = qcbmi_apply_read_items(&r, deltas, err);
    if (ret == 0)
        ret = run(&r, err);
    qcbmi_target_close(&r.t);
    qcbmi_apply_state_free(&r.state);
    free(r.prefix);
    free(r.items);
    if (ret == 0 && out)
        qcbmi_give(out, size, &r.result, sizeof(r.result));
    return ret;
}

int qcbm_apply_check_finished(const char *path, struct qcbm_error *err)
{
    return qcbmi_unfinished_refuse(path, err);
}
