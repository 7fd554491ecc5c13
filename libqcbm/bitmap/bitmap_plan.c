/* bitmap_plan.c - from the list of an edit to a plan: what changed, where it goes, what is given up
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/sort.h"
#include "bitmap/bitmap_edit.h"
#include "bitmap/bitmap_ext.h"
#include "bitmap/bitmap_load.h"
#include "bitmap/bitmap_mark.h"
#include "bitmap/bitmap_mend.h"
#include "bitmap/bitmap_refs.h"
#include "bitmap/bitmap_stale.h"
#include "bitmap/bitmap_store.h"
#include "io/holes.h"
#include "write/commit.h"
#include "write/header_tag.h"

/* ---- what the image has now ---- */

/* Those that are stored come first, in the order of the directory. */
static bool before_stored(const void *elem, const void *stored)
{
    const struct qcbmi_edit_bitmap *b = *(struct qcbmi_edit_bitmap *const *)elem;

    return b->stored && b->stored < (const struct qcbmi_bitmap *)stored;
}

static bool is_kept(const struct qcbm_edit *edit, const struct qcbmi_bitmap *stored)
{
    const struct qcbmi_edit_list *list = &edit->list;
    size_t i = qcbmi_lower_bound(list->at, list->n, sizeof(list->at[0]), before_stored, stored);

    return i < list->n && list->at[i]->stored == stored && !list->at[i]->bits_changed;
}

struct note {
    const struct qcbm_edit *edit;
    struct qcbmi_owners *owners;
    bool kept; /* the new directory will still refer to the bitmap at hand */
    struct qcbm_error *err;
};

static const struct qcbmi_bitmap *bitmap_at(const struct note *n, uint64_t index)
{
    return &n->edit->handle->bitmaps->list[index];
}

static int note_ref(void *opaque, const struct qcbmi_ref *ref)
{
    const struct note *n = opaque;
    uint64_t size = n->edit->img->io.size;
    struct qcbmi_ref inside = *ref;
    int ret;

    if (n->edit->mend && ref->owner.kind == QCBMI_REF_BITMAP_DIRECTORY) /* it may lie anywhere, and is given up */
        return 0;
    if (ref->owner.kind != QCBMI_REF_BITMAP_DATA)
        return qcbmi_owners_add_ref(n->owners, ref, n->err);
    /* A reference past the end, or to a cluster that the end cuts, is no reason to keep a bitmap that is given up; but
     * what release_cluster() will free must be this bitmap's alone. */
    if (!n->kept && ref->offset >= size)
        return 0;
    if (!n->kept)
        inside.len = u64_min(ref->len, size - ref->offset);
    ret = qcbmi_owners_add_ref(n->owners, &inside, n->err);
    return qcbmi_owners_blame(n->owners, ret, bitmap_at(n, ref->owner.index)->d.table_offset, n->err);
}

static int note_table(void *opaque, const struct qcbmi_ref *table)
{
    struct note *n = opaque;
    const struct qcbmi_bitmap *b = bitmap_at(n, table->owner.index);
    int ret;

    n->kept = is_kept(n->edit, b);
    if (n->edit->mend && !n->kept) /* as damaged as it may be; mend knows what it names */
        return 0;
    if (qcbmi_bitmap_table_in_file(n->edit->img, b)) {
        ret = note_ref(n, table);
        return ret < 0 ? ret : 1;
    }
    if (!n->kept)
        return 0;
    return qcbmi_fail(n->err, QCBM_E_UNSAFE, b->entry_offset,
                      "bitmap directory entry %" PRIu64 ": its table does not lie in the file; "
                      "remove that bitmap first",
                      table->owner.index);
}

static int refuse_bad_entries(void *opaque, uint32_t index, const struct qcbmi_bad_entries *bad)
{
    const struct note *n = opaque;
    const struct qcbmi_bitmap *b = bitmap_at(n, index);

    if (!n->kept || (b->d.flags & Q2_BITMAP_IN_USE))
        return 0;
    return qcbmi_fail(n->err, QCBM_E_UNSAFE, b->d.table_offset,
                      "bitmap table of directory entry %u has %" PRIu64 " malformed "
                      "entries, QEMU refuses the image; remove that bitmap first",
                      index, bad->n);
}

/* Everything that the bitmaps occupy. A stale extension may point anywhere, and owns nothing: bitmap_stale.h. */
static int own_bitmaps(const struct qcbm_edit *edit, struct qcbmi_owners *owners, struct qcbm_error *err)
{
    const struct qcbmi_bitmap_list *list = edit->handle->bitmaps;
    struct note note = { edit, owners, false, err };
    struct qcbmi_ref_sink sink = { &note, note_ref, NULL, NULL };
    struct qcbmi_holes holes;
    struct qcbmi_bitmap_refs refs = { edit->img, list, &holes, "bitmap table", &sink, note_table, refuse_bad_entries };
    int ret;

    if (!list->has_ext || list->stale)
        return 0;
    qcbmi_holes_init(&holes, &edit->img->io);
    ret = qcbmi_bitmap_refs_walk(&refs, err);
    qcbmi_holes_free(&holes);
    return ret;
}

/* ---- what changes ---- */

/* An entry that QEMU refuses only for extra data is legal and stays as it is, and one whose namesake goes away is good
 * again; any other bad one must go first. */
static int check_kept(const struct qcbm_edit *edit, const struct qcbmi_edit_bitmap *b, struct qcbm_error *err)
{
    struct q2_bitmap_dirent d;

    if (!b->stored || b->bits_changed || !b->stored->bad)
        return 0;
    d = b->stored->d;
    d.extra_len = 0;
    d.flags &= ~Q2_BITMAP_EXTRA_COMPATIBLE;
    if (q2_bitmap_dirent_check(&d, b->stored->entry_offset, &edit->img->g, NULL) == 0 &&
        qcbmi_edit_list_is_unique(&edit->list, b))
        return 0;
    if (err)
        *err = b->stored->why;
    return qcbmi_prefix(err, QCBM_E_UNSAFE, "a bitmap that QEMU refuses must be removed first: ");
}

static bool is_renamed(const struct qcbmi_edit_bitmap *b)
{
    return b->name_len != b->stored->d.name_len || memcmp(b->name, b->stored->d.name, b->name_len) != 0;
}

/* Is the new directory the old one but for flags whose bytes share one sector? Then [*@off, *@end) are those bytes. */
static bool only_flags(const struct qcbm_edit *edit, uint64_t *off, uint64_t *end)
{
    const struct qcbmi_bitmap_list *list = edit->handle->bitmaps;

    *off = UINT64_MAX;
    *end = 0;
    if (list->stale || edit->list.n != list->n)
        return false;
    for (size_t i = 0; i < edit->list.n; i++) {
        const struct qcbmi_edit_bitmap *b = edit->list.at[i];
        uint64_t at;

        if (b->stored != &list->list[i] || b->bits_changed || is_renamed(b))
            return false;
        if (b->flags == b->stored->d.flags)
            continue;
        at = b->stored->entry_offset + Q2_BITMAP_DIRENT_FLAGS_OFF;
        *off = u64_min(*off, at);
        *end = u64_max(*end, at + 4);
    }
    return *end == 0 || *off / Q2_SECTOR == (*end - 1) / Q2_SECTOR;
}

/* cut here: some entries are old and some are new, and the bitmaps have both */
static int plan_tables(struct qcbm_edit *edit, struct qcbm_error *err)
{
    int ret = edit->n_tables ? qcbmi_plan_stage(&edit->plan, "mapping tables", true, err) : 0;

    for (size_t i = 0; ret == 0 && i < edit->n_tables; i++) {
        const struct qcbmi_table_write *t = &edit->tables[i];
        const struct qcbmi_source source = { .series = t->series, .first = t->first };

        ret = qcbmi_plan_write_from(&edit->plan, "L2 table", t->off, t->len, &source, err);
    }
    return ret;
}

/* cut here: the bitmaps are new, and the tag is old */
static int plan_tag(struct qcbm_edit *edit, struct qcbm_error *err)
{
    if (edit->tag_change == QCBMI_TAG_STAYS)
        return 0;
    return qcbmi_tag_plan(&edit->plan, edit->tag_change == QCBMI_TAG_SET ? edit->tag : NULL, err);
}

static int plan_tables_alone(struct qcbm_edit *edit, struct qcbm_error *err)
{
    int ret = qcbmi_plan_stage(&edit->plan, "prepare", false, err);

    if (ret == 0)
        ret = qcbmi_ext_plan_clear_unknown(edit->img, &edit->plan, err);
    if (ret == 0)
        ret = plan_tag(edit, err);
    return ret < 0 ? ret : plan_tables(edit, err);
}

/* One write inside one sector of the directory: old or new, and nothing else is touched. */
static int plan_flags(struct qcbm_edit *edit, uint64_t off, uint64_t end, struct qcbm_error *err)
{
    const struct qcbmi_bitmap_list *list = edit->handle->bitmaps;
    uint8_t bytes[Q2_SECTOR];
    int ret;

    memcpy(bytes, list->directory + (off - list->ext.directory_offset), (size_t)(end - off));
    for (size_t i = 0; i < edit->list.n; i++) {
        uint64_t at = edit->list.at[i]->stored->entry_offset + Q2_BITMAP_DIRENT_FLAGS_OFF;

        if (at >= off && at < end)
            be32_store(bytes + (at - off), edit->list.at[i]->flags);
    }
    ret = qcbmi_plan_relies(&edit->plan, list->ext.directory_offset, list->ext.directory_size, err);
    if (ret == 0)
        ret = qcbmi_plan_stage(&edit->plan, "prepare", false, err);
    if (ret == 0)
        ret = qcbmi_ext_plan_clear_unknown(edit->img, &edit->plan, err);
    if (ret == 0)
        ret = qcbmi_plan_stage(&edit->plan, "switch", true, err);
    if (ret == 0)
        ret = qcbmi_plan_write(&edit->plan, "bitmap directory: flags", off, bytes, end - off, err);
    if (ret == 0)
        ret = plan_tag(edit, err);
    return ret < 0 ? ret : plan_tables(edit, err);
}

/* ---- a new directory ---- */

static uint64_t directory_bytes(const struct qcbm_edit *edit)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < edit->list.n; i++) {
        const struct qcbmi_edit_bitmap *b = edit->list.at[i];
        bool keeps_extra = b->stored && !b->bits_changed;

        sum += q2_bitmap_dirent_len(keeps_extra ? b->stored->d.extra_len : 0, (uint16_t)b->name_len);
    }
    return sum;
}

static void build_directory(const struct qcbm_edit *edit, uint8_t *to)
{
    for (size_t i = 0; i < edit->list.n; i++) {
        const struct qcbmi_edit_bitmap *b = edit->list.at[i];
        struct q2_bitmap_dirent d = { .table_offset = b->table_offset, .table_entries = b->table_entries };

        d.type = Q2_BITMAP_TYPE_DIRTY;
        d.granularity_bits = (uint8_t)b->gran_bits;
        if (b->stored && !b->bits_changed) /* verbatim but for flags and name */
            d = b->stored->d;
        d.flags = b->flags;
        d.name = (const uint8_t *)b->name;
        d.name_len = (uint16_t)b->name_len;
        q2_bitmap_dirent_store(to, &d);
        to += q2_bitmap_dirent_len(d.extra_len, d.name_len);
    }
}

static int store_directory(struct qcbm_edit *edit, struct qcbmi_alloc *alloc, struct q2_bitmaps_ext *ext,
                           struct qcbm_error *err)
{
    uint8_t *bytes;
    int ret;

    ext->n_bitmaps = (uint32_t)edit->list.n;
    ext->directory_size = directory_bytes(edit);
    if (ext->directory_size > Q2_MAX_BITMAP_DIRECTORY)
        return qcbmi_fail(err, QCBM_E_LIMIT, QCBM_NO_OFFSET,
                          "the bitmap directory would pass its limit of %" PRIu64 " bytes", Q2_MAX_BITMAP_DIRECTORY);
    bytes = qcbmi_alloc_array(ext->directory_size, 1, err);
    if (!bytes)
        return QCBM_E_NOMEM;
    build_directory(edit, bytes);
    ret = qcbmi_alloc_take(alloc, div_up(ext->directory_size, edit->img->g.cluster_size), &ext->directory_offset, err);
    if (ret < 0) {
        free(bytes);
        return ret;
    }
    return qcbmi_plan_write_owned(&edit->plan, "bitmap directory", ext->directory_offset, bytes, ext->directory_size,
                                  err);
}

static uint64_t clusters_wanted(const struct qcbm_edit *edit)
{
    uint32_t cs = edit->img->g.cluster_size;
    uint64_t want = div_up(directory_bytes(edit), cs);

    for (size_t i = 0; i < edit->list.n; i++)
        if (edit->list.at[i]->bits_changed)
            want += qcbmi_bitmap_store_want(&edit->list.at[i]->map, cs);
    return want;
}

/* ---- what is given up ---- */

struct release {
    struct qcbmi_alloc *alloc;
    struct qcbmi_plan *plan;
};

static int release_cluster(void *opaque, uint64_t offset, struct qcbm_error *err)
{
    struct release *r = opaque;

    if (offset >= r->alloc->img->io.size)
        return 0;
    return qcbmi_alloc_release(r->alloc, r->plan, offset, r->alloc->img->g.cluster_size, err);
}

static int release_bitmaps(struct qcbm_edit *edit, struct qcbmi_alloc *alloc, struct qcbm_error *err)
{
    const struct qcbmi_bitmap_list *list = edit->handle->bitmaps;
    struct release r = { alloc, &edit->plan };
    struct qcbmi_holes holes;
    uint64_t n_bad;
    int ret = 0;

    qcbmi_holes_init(&holes, &edit->img->io);
    for (uint32_t i = 0; ret == 0 && i < list->n; i++) {
        const struct qcbmi_bitmap *b = &list->list[i];

        if (is_kept(edit, b) || !qcbmi_bitmap_table_in_file(edit->img, b))
            continue;
        ret = qcbmi_bitmap_clusters(edit->img, &holes, b, release_cluster, &r, &n_bad, err);
        if (ret == 0)
            ret = qcbmi_alloc_release(alloc, &edit->plan, b->d.table_offset, 8 * (uint64_t)b->d.table_entries, err);
    }
    qcbmi_holes_free(&holes);
    return ret;
}

static int release_old(struct qcbm_edit *edit, const struct qcbmi_owners *owners, struct qcbmi_alloc *alloc,
                       const struct qcbmi_stale *stale, struct qcbm_error *err)
{
    const struct qcbmi_bitmap_list *list = edit->handle->bitmaps;
    int ret = qcbmi_stale_release(stale, alloc, &edit->plan, err);

    if (ret == 0 && edit->mend) {
        ret = qcbmi_mend_release(edit->mend, owners, alloc, &edit->plan, err);
        return ret < 0 ? ret : qcbmi_alloc_emit_released(alloc, &edit->plan, err);
    }
    if (ret == 0 && list->has_ext && !list->stale)
        ret = qcbmi_alloc_release(alloc, &edit->plan, list->ext.directory_offset, list->ext.directory_size, err);
    if (ret == 0)
        ret = release_bitmaps(edit, alloc, err);
    return ret < 0 ? ret : qcbmi_alloc_emit_released(alloc, &edit->plan, err);
}

/* ---- what an undo relies on ---- */

static int rely_on_cluster(void *opaque, uint64_t offset, struct qcbm_error *err)
{
    struct qcbm_edit *edit = opaque;

    return qcbmi_plan_relies(&edit->plan, offset, edit->img->g.cluster_size, err);
}

int qcbmi_edit_rely_on_bits(struct qcbm_edit *edit, struct qcbm_error *err)
{
    struct qcbmi_holes holes;
    uint64_t n_bad;
    int ret = 0;

    qcbmi_holes_init(&holes, &edit->img->io);
    for (size_t i = 0; ret == 0 && i < edit->list.n; i++) {
        const struct qcbmi_bitmap *b = edit->list.at[i]->stored;

        if (!b || b->bad || edit->handle->bitmaps->stale || edit->list.at[i]->bits_changed)
            continue;
        ret = qcbmi_plan_relies(&edit->plan, b->d.table_offset, 8 * (uint64_t)b->d.table_entries, err);
        if (ret == 0)
            ret = qcbmi_bitmap_clusters(edit->img, &holes, b, rely_on_cluster, edit, &n_bad, err);
    }
    qcbmi_holes_free(&holes);
    return ret;
}

/* ---- the plan ---- */

/* What the new state needs, in clusters that nobody refers to yet. */
static int prepare(struct qcbm_edit *edit, struct qcbmi_alloc *alloc, struct q2_bitmaps_ext *ext,
                   struct qcbm_error *err)
{
    int ret = qcbmi_ext_plan_clear_unknown(edit->img, &edit->plan, err);

    for (size_t i = 0; ret == 0 && i < edit->list.n; i++) {
        struct qcbmi_edit_bitmap *b = edit->list.at[i];

        if (b->bits_changed)
            ret = qcbmi_bitmap_store(alloc, &edit->plan, &b->map, &b->table_offset, &b->table_entries, err);
    }
    if (ret == 0 && edit->list.n)
        ret = store_directory(edit, alloc, ext, err);
    return ret < 0 ? ret : qcbmi_alloc_emit(alloc, &edit->plan, 0, 1, err);
}

/* Stages: 0 prepare | 1 new refcount blocks become visible | header switches | mapping tables | reclaim. */
static int plan_stages(struct qcbm_edit *edit, const struct qcbmi_owners *owners, struct qcbmi_alloc *alloc,
                       const struct qcbmi_stale *stale, struct qcbm_error *err)
{
    struct q2_bitmaps_ext ext = { 0 };
    struct qcbmi_plan *plan = &edit->plan;
    int ret = qcbmi_plan_stage(plan, "prepare", false, err);

    if (ret == 0)
        ret = qcbmi_plan_stage(plan, "refcounts", false, err);
    plan->current = 0;
    if (ret == 0)
        ret = prepare(edit, alloc, &ext, err);
    if (ret == 0 && edit->list.n)
        ret = qcbmi_ext_plan_set(edit->handle, plan, 0, &ext, err);
    else if (ret == 0 && edit->handle->bitmaps->has_ext)
        ret = qcbmi_ext_plan_remove(edit->handle, plan, err);
    else if (ret == 0)
        ret = qcbmi_ext_plan_clear_alone(plan, err);
    if (ret == 0)
        ret = plan_tag(edit, err);
    if (ret == 0)
        ret = plan_tables(edit, err);
    if (ret == 0)
        ret = qcbmi_plan_stage(plan, "reclaim", true, err); /* cut here: what is given up leaks */
    if (ret == 0)
        plan->stages[plan->current].reclaims = true;
    return ret < 0 ? ret : release_old(edit, owners, alloc, stale, err);
}

static int plan_directory(struct qcbm_edit *edit, struct qcbmi_owners *owners, struct qcbm_error *err)
{
    struct qcbmi_alloc alloc = { 0 };
    struct qcbmi_stale stale = { 0 };
    int ret = qcbmi_alloc_begin(&alloc, owners, clusters_wanted(edit), err);

    if (ret == 0 && edit->mend)
        ret = qcbmi_mend_shield(edit->mend, &alloc, err);
    if (ret == 0)
        ret = qcbmi_stale_find(&stale, edit->handle->bitmaps->was, &alloc, owners, &edit->plan, err);
    if (ret == 0)
        ret = plan_stages(edit, owners, &alloc, &stale, err);
    qcbmi_stale_free(&stale);
    qcbmi_alloc_free(&alloc);
    return ret;
}

/* Are there bitmaps that record what a guest writes? */
static bool is_recording(const struct qcbmi_bitmap_list *list)
{
    for (uint32_t i = 0; i < list->n; i++)
        if (qcbmi_bitmap_records(list->list[i].d.flags))
            return true;
    return false;
}

/* Every reference in the image is in @owners after it. Flags need it, too: the directory must not be a piece of the
 * disk as well. */
static int scan(struct qcbm_edit *edit, struct qcbmi_owners *owners, struct qcbmi_progress *way, bool commits,
                struct qcbm_error *err)
{
    int ret = qcbmi_owners_scan_metadata(edit->img, owners, err);
    bool known;

    if (ret == 0)
        ret = own_bitmaps(edit, owners, err);
    if (ret < 0)
        return ret;
    known = qcbmi_owners_know_data(owners, &edit->named);
    way->total = known ? 0 : qcbmi_owners_data_cost(owners);
    if (commits) /* and the cluster of the header */
        way->total += (1 + clusters_wanted(edit)) << edit->img->g.cluster_bits;
    return known ? 0 : qcbmi_owners_scan_data(owners, way, err);
}

int qcbmi_edit_build_plan(struct qcbm_edit *edit, struct qcbmi_progress *way, bool commits, struct qcbm_error *err)
{
    struct qcbmi_owners owners = { 0 };
    uint64_t off = 0, end = 0;
    bool flags_only, tables_only, tag_only;
    int ret;

    qcbmi_edit_list_close_gaps(&edit->list);
    flags_only = !(edit->mend && edit->mend->needed) && only_flags(edit, &off, &end);
    tables_only = flags_only ? end == 0 : edit->list.n == 0 && edit->handle->bitmaps->n == 0 && !edit->mend;
    tag_only = tables_only && !edit->n_tables; /* no bitmap is touched, and no cluster taken */
    if (tag_only && edit->tag_change == QCBMI_TAG_STAYS)
        return 0; /* nothing changes */
    edit->plan.gives_up_recording = !tag_only && is_recording(edit->handle->bitmaps);
    ret = edit->mend ? qcbmi_mend_check_writable(edit->img, err) : qcbmi_edit_check_writable(edit->handle, err);
    for (size_t i = 0; ret == 0 && !tag_only && i < edit->list.n; i++)
        ret = check_kept(edit, edit->list.at[i], err);
    if (ret == 0)
        ret = qcbmi_plan_header_init(&edit->plan, edit->img->cluster0, edit->img->g.cluster_size, err);
    if (ret == 0 && !tag_only)
        ret = scan(edit, &owners, way, commits, err);
    if (ret == 0)
        ret = tables_only  ? plan_tables_alone(edit, err)
              : flags_only ? plan_flags(edit, off, end, err)
                           : plan_directory(edit, &owners, err);
    if (ret == 0)
        ret = qcbmi_plan_check_space(&edit->plan, edit->img, err);
    qcbmi_owners_free(&owners);
    return qcbmi_image_refuse(edit->img, ret, err);
}
