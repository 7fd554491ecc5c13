/* bitmap_mend.c - an edit that begins with damaged bitmaps
 * SPDX-License-Identifier: MIT */
#include "bitmap/bitmap_mend.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "bitmap/bitmap_load.h"
#include "bitmap/bitmap_salvage.h"

#define SHOWN 128 /* bytes of a name in a row */

struct row {
    const char *code;
    uint64_t offset;
    const char *name; /* NULL: of no bitmap in particular */
    char done[720], kept[240], lost[160];
};

static int tell(const struct qcbmi_mend *m, const struct row *r, struct qcbm_error *err)
{
    struct qcbm_repair_row row = { .code = r->code, .offset = r->offset, .bitmap = r->name };

    row.done = r->done;
    row.kept = r->kept[0] ? r->kept : NULL;
    row.lost = r->lost[0] ? r->lost : NULL;
    return m->tell && m->tell(m->opaque, &row) ? qcbmi_fail_stopped(err) : 0;
}

static const char *shown(char to[SHOWN], const char *name)
{
    return qcbmi_printable(to, SHOWN, name, strlen(name));
}

/* ---- names ---- */

/* A name that QEMU takes, of any that is stored. False: it is that already. */
static bool mend_name(const struct qcbmi_bitmap *b, char to[Q2_MAX_BITMAP_NAME + 1])
{
    size_t n = u64_min(b->d.name_len, Q2_MAX_BITMAP_NAME);

    memcpy(to, b->d.name, n);
    to[n] = '\0';
    if (n == 0)
        strcpy(to, "unnamed");
    for (size_t i = 0; i < n; i++)
        if (!to[i])
            to[i] = '_';
    return n == 0 || n != b->d.name_len || strlen(b->name) != n;
}

/* Until no other has it. */
static void make_unique(const struct qcbm_edit *edit, char name[Q2_MAX_BITMAP_NAME + 1])
{
    size_t len = u64_min(strlen(name), Q2_MAX_BITMAP_NAME - 8);

    for (unsigned i = 2; qcbmi_edit_list_find(&edit->list, name); i++)
        snprintf(name + len, 9, "-%u", i);
}

static int tell_renamed(const struct qcbmi_mend *m, const struct qcbmi_bitmap *b, const char *name,
                        struct qcbm_error *err)
{
    struct row r = { "bitmap-renamed", b->entry_offset, name, "", "", "" };
    char old[SHOWN], new[SHOWN];

    snprintf(r.done, sizeof(r.done), "a bitmap whose name '%s' no program can say is called '%s' from here on",
             qcbmi_printable(old, sizeof(old), b->d.name, b->d.name_len), shown(new, name));
    return tell(m, &r, err);
}

/* ---- one bitmap into the edit ---- */

static int tell_judged(const struct qcbmi_mend *m, const struct qcbmi_bitmap *b, const char *name,
                       const struct qcbmi_judged *j, struct qcbm_error *err)
{
    static const struct {
        const char *code, *kept;
    } words[] = { [QCBMI_JUDGED_EXACT] = { "bitmap-rescued", "all its bits" },
                  [QCBMI_JUDGED_SUPERSET] = { "bitmap-superset", "the bits that can be proven" },
                  [QCBMI_JUDGED_NOTHING] = { "bitmap-all-dirty", "its name" } };
    struct row r = { words[j->is].code, b->entry_offset, name, "", "", "" };
    char text[SHOWN];

    snprintf(r.done, sizeof(r.done), "bitmap '%s' is written anew: %s", shown(text, name),
             b->bad ? b->why.message : j->why);
    snprintf(r.kept, sizeof(r.kept), "%s", words[j->is].kept);
    if (j->assumed)
        snprintf(r.lost, sizeof(r.lost), "the bits of %" PRIu64 " bytes of the disk, which count as dirty now",
                 j->assumed);
    return tell(m, &r, err);
}

/* Flags that cannot be believed: recording does no harm. */
static uint32_t mend_flags(const struct qcbmi_bitmap *b, const struct qcbmi_judged *j)
{
    uint32_t known = Q2_BITMAP_IN_USE | Q2_BITMAP_AUTO, flags = b->d.flags & known;

    if (b->d.flags & ~(known | Q2_BITMAP_EXTRA_COMPATIBLE))
        flags |= Q2_BITMAP_AUTO;
    if (j->is == QCBMI_JUDGED_NOTHING) /* no session can have left more than that */
        flags = Q2_BITMAP_AUTO;
    return flags;
}

/* Two with one name: who asks for it may mean either, so it gets the bits of both. */
static int unite(struct qcbm_edit *edit, struct qcbmi_edit_bitmap *first, const struct qcbmi_bitmap *b,
                 struct qcbmi_judged *j, struct qcbm_error *err)
{
    struct row r = { "bitmap-united", b->entry_offset, first->name, "", "", "" };
    struct qcbmi_dirtymap bits = { 0 }, second = { 0 };
    char text[SHOWN];
    int ret = qcbmi_edit_copy_bits(edit, first, &bits, err);

    if (ret == 0 && j->is == QCBMI_JUDGED_SOUND)
        ret = qcbmi_bitmap_load(edit->img, b, &second, err);
    if (ret == 0)
        ret = qcbmi_dirtymap_merge(&bits, j->is == QCBMI_JUDGED_SOUND ? &second : &j->map, err);
    if (ret == 0)
        qcbmi_edit_take_map(first, &bits);
    first->flags |= mend_flags(b, j);
    qcbmi_dirtymap_free(&bits);
    qcbmi_dirtymap_free(&second);
    edit->mend->needed = true;
    snprintf(r.done, sizeof(r.done), "two bitmaps called '%s' become one", shown(text, first->name));
    snprintf(r.kept, sizeof(r.kept), "what is dirty in either");
    return ret < 0 ? ret : tell(edit->mend, &r, err);
}

static int take_judged(struct qcbm_edit *edit, const struct qcbmi_bitmap *b, struct qcbmi_judged *j, bool renamed,
                       const char *name, struct qcbm_error *err)
{
    struct qcbmi_edit_bitmap fresh = { .stored = b, .flags = mend_flags(b, j) }, *added;
    int ret;

    fresh.gran_bits = b->d.granularity_bits;
    fresh.table_offset = b->d.table_offset;
    fresh.table_entries = b->d.table_entries;
    ret = qcbmi_edit_list_add(&edit->list, &fresh, renamed ? name : NULL, &added, err);
    if (ret < 0)
        return ret;
    if (renamed)
        ret = tell_renamed(edit->mend, b, name, err);
    if (ret < 0 || j->is == QCBMI_JUDGED_SOUND)
        return ret;
    qcbmi_edit_take_map(added, &j->map);
    return tell_judged(edit->mend, b, name, j, err);
}

static int take_bitmap(struct qcbm_edit *edit, uint32_t i, struct qcbm_error *err)
{
    struct qcbmi_mend *m = edit->mend;
    struct qcbmi_bitmap *b = &m->view.bitmaps->list[i];
    struct qcbmi_edit_bitmap *first;
    char name[Q2_MAX_BITMAP_NAME + 1];
    struct qcbmi_judged j;
    bool renamed;
    int ret;

    b->bad = q2_bitmap_dirent_check(&b->d, b->entry_offset, &edit->img->g, &b->why) < 0;
    ret = qcbmi_judge_bitmap(&m->judge, i, &j, err);
    renamed = mend_name(b, name);
    if (renamed)
        make_unique(edit, name);
    m->needed |= renamed || j.is != QCBMI_JUDGED_SOUND;
    first = qcbmi_edit_list_find(&edit->list, name);
    if (ret == 0)
        ret = first ? unite(edit, first, b, &j, err) : take_judged(edit, b, &j, renamed, name, err);
    qcbmi_dirtymap_free(&j.map);
    return ret;
}

/* ---- the whole ---- */

/* Why the directory cannot stay where it is, or NULL. */
static const char *why_directory(const struct qcbmi_mend *m)
{
    const struct qcbmi_bitmap_list *old = m->real->bitmaps;
    uint64_t off = old->ext.directory_offset, cs = m->real->image->g.cluster_size;
    uint64_t end = old->broken ? 0 : div_up(off + old->ext.directory_size, cs);

    if (old->broken)
        return old->why_broken.message;
    return qcbmi_judge_is_shared(&m->judge, off / cs, end) ? "a cluster of it is also somebody else's" : NULL;
}

static int tell_directory(const struct qcbmi_mend *m, uint32_t lost, struct qcbm_error *err)
{
    const struct qcbmi_bitmap_list *old = m->real->bitmaps;
    struct row r = { "bitmap-directory", old->ext_offset, NULL, "", "", "" };

    if (!why_directory(m))
        return 0;
    r.offset = old->broken ? old->why_broken.offset : old->ext.directory_offset;
    snprintf(r.done, sizeof(r.done), "the bitmap directory is written anew (%s)", why_directory(m));
    if (m->view.bitmaps->n)
        snprintf(r.kept, sizeof(r.kept), "%" PRIu32 " bitmaps that could be read in it", m->view.bitmaps->n);
    if (lost == QCBMI_SALVAGE_UNKNOWN)
        snprintf(r.lost, sizeof(r.lost), "all others, if there were any: how many bitmaps it had cannot be read");
    else if (lost)
        snprintf(r.lost, sizeof(r.lost), "%" PRIu32 " bitmaps of which not even a name can be read", lost);
    return tell(m, &r, err);
}

static int take_all(struct qcbm_edit *edit, uint32_t lost, struct qcbm_error *err)
{
    struct qcbmi_mend *m = edit->mend;
    int ret = tell_directory(m, lost, err);

    m->needed = why_directory(m) != NULL;
    for (uint32_t i = 0; ret == 0 && i < m->view.bitmaps->n; i++)
        ret = take_bitmap(edit, i, err);
    return ret;
}

/* The mark of bitmaps that are not there. */
static int tell_autoclear(struct qcbmi_mend *m, struct qcbm_error *err)
{
    struct row r = { "bitmaps-autoclear", Q2_OFF_AUTOCLEAR, NULL, "", "", "" };

    m->needed = true;
    snprintf(r.done, sizeof(r.done), "autoclear feature bit 0 is cleared: the header has no bitmaps extension");
    return tell(m, &r, err);
}

static int copy_empty(struct qcbmi_mend *m, const struct qcbmi_bitmap_list *old, struct qcbm_error *err)
{
    m->view.bitmaps = qcbmi_alloc_array(1, sizeof(*m->view.bitmaps), err);
    if (!m->view.bitmaps)
        return QCBM_E_NOMEM;
    m->view.bitmaps->has_ext = m->view.bitmaps->stale = true;
    m->view.bitmaps->ext_offset = old->ext_offset;
    m->view.bitmaps->ext_len = old->ext_len;
    m->view.bitmaps->ext = old->ext;
    return 0;
}

/* QEMU has no bitmap of a disk without bytes. If there is one, then the size is what is damaged, and bits that are cut
 * to it are gone. */
static int check_size(const struct qcbm_edit *edit, struct qcbm_error *err)
{
    if (edit->img->g.sector_size_down || edit->mend->view.bitmaps->n == 0)
        return 0;
    return qcbmi_fail(err, QCBM_E_UNSAFE, Q2_OFF_SIZE,
                      "the virtual size is 0, and there are bitmaps of a disk that had one");
}

static int find_out(struct qcbm_edit *edit, struct qcbmi_image *was, const struct qcbmi_bitset *were_shared,
                    struct qcbm_error *err)
{
    struct qcbmi_mend *m = edit->mend;
    const struct qcbmi_bitmap_list *old = m->real->bitmaps;
    uint32_t lost;
    int ret;

    if (old->stale && !old->was) /* nothing is there any more; the next bitmap that is made takes the place */
        return copy_empty(m, old, err);
    ret = qcbmi_bitmap_salvage(m->real, &m->view.bitmaps, &lost, err);
    if (ret == 0)
        ret = check_size(edit, err);
    if (ret == 0)
        ret = qcbmi_judge_begin(&m->judge, edit->img, m->view.bitmaps, was, were_shared, err);
    if (ret == 0 && old->has_ext)
        return take_all(edit, lost, err);
    return ret == 0 && (edit->img->h.autoclear & QCBM_AUTOCLEAR_BITMAPS) ? tell_autoclear(m, err) : ret;
}

int qcbmi_mend_begin(struct qcbm_image *handle, struct qcbmi_image *was, const struct qcbmi_bitset *were_shared,
                     qcbm_repair_fn *fn, void *opaque, struct qcbm_edit **out, struct qcbm_error *err)
{
    struct qcbmi_mend *m = qcbmi_alloc_array(1, sizeof(*m), err);
    struct qcbm_edit *edit = qcbmi_alloc_array(1, sizeof(*edit), err);
    int ret = m && edit ? qcbmi_image_check_sound(handle->image, err) : QCBM_E_NOMEM;

    *out = NULL;
    if (!m || !edit) {
        free(m);
        free(edit);
        return ret;
    }
    *m = (struct qcbmi_mend){
        .real = handle, .was = was, .view = { .image = handle->image }, .tell = fn, .opaque = opaque
    };
    *edit = (struct qcbm_edit){ .handle = &m->view, .img = handle->image, .mend = m };
    edit->generation = handle->image->generation;
    if (ret == 0)
        ret = find_out(edit, was, were_shared, err);
    if (ret == 0)
        *out = edit;
    else
        qcbm_edit_free(edit);
    return ret;
}

int qcbm_edit_begin_mending(struct qcbm_image *img, qcbm_repair_fn *fn, void *opaque, struct qcbm_edit **out,
                            struct qcbm_error *err)
{
    int ret = qcbmi_mend_check_writable(img->image, err);

    *out = NULL;
    return ret < 0 ? ret : qcbmi_mend_begin(img, img->image, NULL, fn, opaque, out, err);
}

int qcbmi_edit_begin_keeping(struct qcbm_image *handle, struct qcbm_edit **out, struct qcbm_error *err)
{
    return handle->bitmaps->stale ? qcbm_edit_begin_mending(handle, NULL, NULL, out, err)
                                  : qcbm_edit_begin(handle, out, err);
}
