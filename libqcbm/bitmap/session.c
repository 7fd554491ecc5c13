/* session.c - an edit from its beginning to its commit, and the image's handle with it
 * SPDX-License-Identifier: MIT
 *
 * States of an edit: open (changes are taken) -> planned (qcbm_edit_plan(), the plan stands, no change is taken) ->
 * committed. Whatever state it is in, an edit is void once another commit has run on its image: each counts the
 * generation of the image up before its first write, failed ones too.
 * States of a handle: sound -> failed, when a commit or reading back its result failed: then what is in memory may be
 * neither the old nor the new state, and the handle is good for closing only. The file is one of the two. */
#include "bitmap/session.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/sized.h"
#include "bitmap/bitmap_mend.h"
#include "write/commit.h"
#include "write/undo_save.h"

void qcbm_edit_free(struct qcbm_edit *edit)
{
    if (!edit)
        return;
    qcbmi_plan_free(&edit->plan);
    qcbmi_edit_list_free(&edit->list);
    free(edit->undo_path);
    free(edit->tables);
    qcbmi_l2_named_free(&edit->named);
    qcbmi_mend_free(edit->mend);
    free(edit);
}

static int add_stored(struct qcbm_edit *edit, const struct qcbmi_bitmap *stored, struct qcbm_error *err)
{
    struct qcbmi_edit_bitmap b = { .stored = stored, .flags = stored->d.flags }, *added;

    b.gran_bits = stored->d.granularity_bits;
    b.table_offset = stored->d.table_offset;
    b.table_entries = stored->d.table_entries;
    return qcbmi_edit_list_add(&edit->list, &b, NULL, &added, err);
}

int qcbm_edit_begin(struct qcbm_image *img, struct qcbm_edit **out, struct qcbm_error *err)
{
    const struct qcbmi_bitmap_list *list = img->bitmaps;
    struct qcbm_edit *edit;
    int ret = qcbmi_image_check_sound(img->image, err);

    *out = NULL;
    if (ret == 0 &&
        (img->image->open_flags & QCBM_OPEN_WRITE)) /* one for reading is planned with: then the plan says it */
        ret = qcbmi_edit_check_writable(img, err);
    if (ret < 0)
        return qcbmi_image_refuse(img->image, ret, err);
    edit = qcbmi_alloc_array(1, sizeof(*edit), err);
    if (!edit)
        return QCBM_E_NOMEM;
    edit->handle = img;
    edit->img = img->image;
    edit->generation = img->image->generation;
    for (uint32_t i = 0; ret == 0 && i < list->n; i++)
        ret = add_stored(edit, &list->list[i], err);
    if (ret < 0) {
        qcbm_edit_free(edit);
        return ret;
    }
    *out = edit;
    return 0;
}

static int make_plan(struct qcbm_edit *edit, struct qcbmi_progress *way, bool commits, struct qcbm_error *err)
{
    int ret = qcbmi_edit_check_current(edit, err);

    if (ret < 0 || edit->planned)
        return ret;
    ret = qcbmi_edit_build_plan(edit, way, commits, err);
    if (ret < 0)
        qcbmi_plan_free(&edit->plan);
    edit->planned = ret == 0;
    return ret;
}

int qcbm_edit_plan(struct qcbm_edit *edit, struct qcbm_plan_summary *out, size_t size, qcbm_plan_fn *fn, void *opaque,
                   struct qcbm_error *err)
{
    struct qcbmi_progress way = { .to = edit->progress };
    struct qcbm_plan_summary summary;
    int ret = qcbmi_edit_check_current(edit, err);

    if (ret == 0 && out)
        ret = qcbmi_check_size(size, err);
    if (ret == 0)
        ret = make_plan(edit, &way, false, err);
    if (ret < 0)
        return ret;
    qcbmi_plan_summary(&edit->plan, edit->img, &summary);
    if (out)
        qcbmi_give(out, size, &summary, sizeof(summary));
    return fn ? qcbmi_plan_each(&edit->plan, fn, opaque, err) : 0;
}

void qcbm_edit_set_progress(struct qcbm_edit *edit, const struct qcbm_progress *progress)
{
    edit->progress = progress;
}

int qcbm_edit_set_undo(struct qcbm_edit *edit, const char *path, struct qcbm_error *err)
{
    char *copy = qcbmi_memdup_nul(path, strlen(path), err);

    if (!copy)
        return QCBM_E_NOMEM;
    free(edit->undo_path);
    edit->undo_path = copy;
    return 0;
}

/* What was committed is durable; only this handle does not know it if this fails. */
int qcbmi_reload(struct qcbm_image *handle, struct qcbm_error *err)
{
    int ret = qcbmi_image_reload_header(handle->image, err);

    if (ret == 0)
        ret = qcbmi_bitmap_list_load(handle, err);
    return ret < 0 ? qcbmi_prefix(err, ret, "the new state is in place, but could not be read back: ") : 0;
}

int qcbmi_commit_and_reload(const struct qcbmi_plan *plan, struct qcbm_image *handle, struct qcbm_error *err)
{
    int ret;

    handle->image->generation++; /* all edits are void */
    ret = qcbmi_plan_commit(plan, handle->image, err);
    if (ret == 0)
        ret = qcbmi_reload(handle, err);
    handle->image->failed = ret < 0;
    return ret;
}

int qcbmi_edit_make_ready(struct qcbm_edit *edit, struct qcbm_error *err)
{
    int ret = edit->undo_path ? qcbmi_edit_rely_on_bits(edit, err) : 0;

    if (ret < 0)
        return ret;
    edit->plan.undo_path = edit->undo_path;
    edit->img->generation++;
    edit->img->failed = true; /* for who looks at it afterwards: it is not read back */
    return 0;
}

/* The part of a way that the writes take, which are known only when the first part is behind: what is said to be all of
 * it stays, so that nobody sees it go back. */
struct writes_share {
    struct qcbmi_progress *way;
    uint64_t from, rest;
};

static int tell_share(void *opaque, uint64_t done, uint64_t total)
{
    struct writes_share *s = opaque;
    uint64_t part = done == total ? s->rest : (uint64_t)((double)s->rest * ((double)done / (double)total));

    return qcbmi_progress_at(s->way, s->from + part, NULL);
}

static int carry_out(struct qcbm_edit *edit, const struct qcbm_plan_summary *summary, struct qcbmi_progress *way,
                     struct qcbm_error *err)
{
    struct writes_share share = { way, way->done, way->total - way->done };
    const struct qcbm_progress progress = { tell_share, &share };
    int ret = 0;

    edit->plan.undo_path = edit->undo_path;
    if (edit->undo_path)
        ret = qcbmi_edit_rely_on_bits(edit, err);
    if (ret < 0)
        return ret;
    if (summary->writes == 0)
        return edit->undo_path ? qcbmi_undo_save(&edit->plan, edit->img, err) : 0;
    edit->plan.progress = &progress;
    ret = qcbmi_commit_and_reload(&edit->plan, edit->mend ? edit->mend->real : edit->handle, err);
    edit->plan.progress = NULL;
    return ret;
}

int qcbm_edit_commit(struct qcbm_edit *edit, struct qcbm_plan_summary *out, size_t size, struct qcbm_error *err)
{
    struct qcbmi_progress way = { .to = edit->progress };
    struct qcbm_plan_summary summary;
    int ret;

    if (!(edit->img->open_flags & QCBM_OPEN_WRITE))
        return qcbmi_fail(err, QCBM_E_READONLY, QCBM_NO_OFFSET, "the image was opened for reading");
    if (out && qcbmi_check_size(size, err) < 0)
        return QCBM_E_ARG;
    if (edit->of_live_data)
        return qcbmi_fail(
            err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
            "what was read with force-share may miss what a running program holds in memory: it can be planned, "
            "not written");
    ret = make_plan(edit, &way, true, err);
    if (ret < 0)
        return ret;
    qcbmi_plan_summary(&edit->plan, edit->img, &summary);
    if (way.total == 0) /* planned before: all of the way are the writes */
        way.total = summary.bytes_written;
    if (out)
        qcbmi_give(out, size, &summary, sizeof(summary));
    return carry_out(edit, &summary, &way, err);
}
