/* copy_check.c - is a disk the copy that a bitmap was carried beside? Its content against a manifest
 * SPDX-License-Identifier: MIT
 *
 * What is dirty was written last, so a copy that is stale differs there, if anywhere. What is clean is told by a
 * sample: another disk, or a copy that is not whole. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/draw.h"
#include "base/error.h"
#include "base/sized.h"
#include "base/sort.h"
#include "bitmap/bitmap_edit.h"
#include "manifest/manifest_compare.h"
#include "manifest/manifest_make.h"

#define DRAWN 1024u                      /* granules */
#define DRAWN_BYTES (UINT64_C(64) << 20) /* in all of them */
#define ZEROS_PART 8u                    /* any disk may have them: an eighth as many */

/* Of all granules of a kind that are clean. They are gone over twice, run by run: counted, and then those taken whose
 * numbers were drawn. */
struct sample {
    uint64_t at[DRAWN]; /* numbers among them, in order; then granules */
    uint64_t n, taken, seen, room;
};

struct checking {
    struct qcbm_edit *edit;
    struct qcbmi_manifest_compare c;
    struct qcbmi_dirtymap dirty, wanted; /* the bitmap; granules of the manifest that are compared */
    struct sample data, zeros;
    struct qcbm_copy_checked out;
};

static void see(struct sample *s, uint64_t first, uint64_t end)
{
    for (; s->taken < s->n && s->at[s->taken] - s->seen < end - first; s->taken++)
        s->at[s->taken] = first + (s->at[s->taken] - s->seen);
    s->seen += end - first;
}

/* Of granules [@first, @end) those that the bitmap does not touch. */
static void see_clean(struct checking *s, struct sample *sample, uint64_t first, uint64_t end)
{
    unsigned bits = s->wanted.gran_bits;
    uint64_t start, stop;

    while (first < end && qcbmi_dirtymap_next(&s->wanted, first << bits, &start, &stop)) {
        see(sample, first, u64_min(start >> bits, end));
        first = u64_max(div_up(stop, UINT64_C(1) << bits), first);
    }
    if (first < end)
        see(sample, first, end);
}

static int see_all_clean(struct checking *s, struct qcbm_error *err)
{
    const struct qcbm_manifest *m = s->c.manifest;
    struct qcbmi_manifest_place place = { .m = s->c.manifest };
    uint64_t n_granules = u64_min(s->wanted.bits.n_bits, m->granules), n;
    int ret = 0;

    for (uint64_t g = 0; ret == 0 && g < n_granules; g += n) {
        const uint8_t *digest = NULL;

        ret = qcbmi_manifest_at(&place, g, &digest, &n, err);
        if (ret == 0)
            see_clean(s, digest ? &s->data : &s->zeros, g, u64_min(g + n, n_granules));
        else
            n = 1;
    }
    qcbmi_manifest_place_free(&place);
    return ret;
}

/* What was counted; a number that is drawn twice counts once. */
static void draw(struct sample *s, uint64_t seed)
{
    s->n = u64_min(s->room, s->seen);
    for (uint64_t i = 0; i < s->n; i++)
        s->at[i] = s->seen <= s->room ? i : qcbmi_draw(&seed) % s->seen;
    qcbmi_sort(s->at, s->n, sizeof(s->at[0]), qcbmi_by_u64);
    s->seen = 0;
}

static int take(struct checking *s, const struct sample *sample, struct qcbm_error *err)
{
    unsigned bits = s->wanted.gran_bits;
    int ret = 0;

    for (uint64_t i = 0; ret == 0 && i < sample->taken; i++)
        ret = qcbmi_dirtymap_set(&s->wanted, sample->at[i] << bits, (sample->at[i] + 1) << bits, err);
    return ret;
}

static int add_clean(struct checking *s, uint64_t seed, struct qcbm_error *err)
{
    int ret;

    s->data.room = u64_min(DRAWN, DRAWN_BYTES >> s->wanted.gran_bits);
    s->zeros.room = s->data.room / ZEROS_PART;
    ret = see_all_clean(s, err);
    draw(&s->data, seed);
    draw(&s->zeros, seed);
    if (ret == 0)
        ret = see_all_clean(s, err);
    if (ret == 0)
        ret = take(s, &s->data, err);
    return ret < 0 ? ret : take(s, &s->zeros, err);
}

/* What is dirty, and the samples. */
static int select_granules(struct checking *s, uint64_t seed, struct qcbm_error *err)
{
    uint64_t dirty;
    int ret = qcbmi_dirtymap_init(&s->wanted, s->dirty.size, s->c.manifest->h.gran_bits, err);

    if (ret == 0)
        ret = qcbmi_dirtymap_merge(&s->wanted, &s->dirty, err);
    if (ret < 0)
        return ret;
    dirty = qcbmi_dirtymap_dirty_bytes(&s->wanted);
    ret = add_clean(s, seed, err);
    s->out.drawn_bytes = qcbmi_dirtymap_dirty_bytes(&s->wanted) - dirty;
    return ret;
}

static int note_first(void *opaque, uint64_t start, uint64_t end, bool unreadable, struct qcbm_error *err)
{
    struct checking *s = opaque;

    (void)unreadable;
    (void)err;
    if (s->out.first_size == 0) {
        s->out.first_offset = start;
        s->out.first_size = end - start;
    }
    return 0;
}

static int refuse(const struct checking *s, struct qcbm_error *err)
{
    uint64_t disk = qcbmi_manifest_disk_size(s->c.disk), was = s->c.manifest->h.size;
    const char *what = s->c.out.unreadable_bytes == 0                          ? ""
                       : s->c.out.unreadable_bytes == s->c.out.different_bytes ? ", which cannot be read"
                                                                               : ", some of which cannot be read";
    if (align_down(disk, Q2_SECTOR) != align_down(was, Q2_SECTOR) && disk != align_up(was, Q2_SECTOR))
        return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                          "the disk is not what the manifest is of: that had %" PRIu64
                          " bytes, and this one has %" PRIu64,
                          was, disk);
    return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                      "the disk is not what the manifest is of: the first difference is at %" PRIu64 " (%" PRIu64
                      " bytes), and %" PRIu64 " of %" PRIu64 " bytes differ that were compared%s",
                      s->out.first_offset, s->out.first_size, s->c.out.different_bytes,
                      qcbmi_dirtymap_dirty_bytes(&s->wanted), what);
}

static int compare(struct checking *s, const struct qcbm_progress *told, struct qcbm_error *err)
{
    struct qcbmi_image *img = s->edit->img;
    struct qcbmi_chain_options options = { .force_share = img->open_flags & QCBM_OPEN_FORCE_SHARE };
    struct qcbmi_progress progress = { .to = told };
    struct qcbmi_chain chain = { 0 };
    int ret = qcbmi_chain_open(img, &options, &chain, err);

    s->c.disk = &chain;
    s->c.force_share = options.force_share;
    s->c.progress = &progress;
    s->c.only = &s->wanted;
    s->c.fn = note_first;
    s->c.opaque = s;
    if (ret == 0)
        ret = qcbmi_chain_check_finished(&chain, err);
    if (ret == 0)
        ret = qcbmi_manifest_compare(&s->c, err);
    s->out.compared_bytes = s->c.out.compared_bytes;
    s->out.different_bytes = s->c.out.different_bytes;
    if (ret == 0)
        ret = qcbmi_manifest_check_related(&s->c, err);
    if (ret == 0 && s->c.out.different_bytes)
        ret = refuse(s, err);
    qcbmi_chain_close(&chain);
    return ret;
}

static int check(struct checking *s, const char *name, const char *manifest, uint64_t seed,
                 const struct qcbm_progress *progress, struct qcbm_error *err)
{
    struct qcbmi_edit_bitmap *b;
    char text[256];
    int ret = qcbmi_edit_check_open(s->edit, err);

    if (ret == 0)
        ret = qcbmi_edit_find_consistent(s->edit, name, &b, err);
    if (ret == 0)
        ret = qcbmi_edit_copy_bits(s->edit, b, &s->dirty, err);
    if (ret < 0)
        return ret;
    ret = qcbm_manifest_open(manifest, &s->c.manifest, err);
    if (ret == 0)
        ret = select_granules(s, seed, err);
    if (ret == 0)
        ret = compare(s, progress, err);
    if (ret == 0 || ret == QCBM_E_NOMEM || ret == QCBM_E_ABORTED)
        return ret;
    return qcbmi_prefix(err, ret, "check with '%s': ", qcbmi_printable(text, sizeof(text), manifest, strlen(manifest)));
}

int qcbm_edit_check_copy(struct qcbm_edit *edit, const char *name, const char *manifest, uint64_t seed,
                         const struct qcbm_progress *progress, struct qcbm_copy_checked *out, size_t out_size,
                         struct qcbm_error *err)
{
    int ret = out ? qcbmi_check_size(out_size, err) : 0;
    struct checking *s;

    if (ret < 0)
        return ret;
    s = qcbmi_alloc_array(1, sizeof(*s), err);
    if (!s)
        return QCBM_E_NOMEM;
    s->edit = edit;
    ret = check(s, name, manifest, seed, progress, err);
    if (out)
        qcbmi_give(out, out_size, &s->out, sizeof(s->out));
    qcbm_manifest_close(s->c.manifest);
    qcbmi_dirtymap_free(&s->dirty);
    qcbmi_dirtymap_free(&s->wanted);
    free(s);
    return ret;
}
