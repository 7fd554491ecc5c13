/* rescue.c - a rescue: its order of work, and the new file that is whole or not there
 * SPDX-License-Identifier: MIT
 *
 * The damaged file is opened for reading alone, under the locks of a reader. The new one has another name until all of
 * it is durable; whatever ends the rescue before that removes it, but a loss of power, which leaves NEW.qcbm-new. */
#include "base/checked.h"
#include "base/sized.h"
#include "io/open.h"
#include "rescue/geometry.h"
#include "rescue/rescue_run.h"
#include "rescue/writing.h"
#include "write/new_file.h"

static int check_image(const struct qcbmi_rescue *r, struct qcbm_error *err)
{
    if (r->g->data_file)
        return qcbmi_fail(
            err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET,
            "the guest's bytes lie in the external data file, each at its own offset of the disk: take that "
            "file as a raw image");
    if (r->n_clusters > QCBMI_RESCUE_MAX_CLUSTERS)
        return qcbmi_fail(err, QCBM_E_LIMIT, QCBM_NO_OFFSET, "the file has more than 2^32 clusters");
    return 0;
}

/* What is not accounted for, at the end. Without refcounts that is not known: then there is something if anything is
 * amiss. */
static uint64_t count_left(const struct qcbmi_rescue *r, bool amiss)
{
    uint64_t n = 0;

    if (!r->refcounts)
        return amiss;
    for (uint64_t i = qcbmi_rescue_next_left(r, 0); i < r->n_clusters; i = qcbmi_rescue_next_left(r, i + 1))
        n++;
    return n;
}

/* Is there a refcount lower than the references that are known? Then others may be, and something be missing
 * unnoticed. */
static bool has_low_counts(const struct qcbmi_rescue *r)
{
    uint64_t n = r->n_clusters, i = r->refcounts ? qcbmi_counts_next_difference(&r->stored, &r->named, 0, n) : n;

    while (i < n && qcbmi_counts_get(&r->stored, i) >= qcbmi_counts_get(&r->named, i))
        i = qcbmi_counts_next_difference(&r->stored, &r->named, i + 1, n);
    return i < n;
}

/* All that can be known. */
static int look(struct qcbmi_rescue *r, struct qcbm_error *err)
{
    bool amiss;
    int ret = qcbmi_rescue_known(r, err);

    if (ret == 0)
        ret = qcbmi_rescue_slots(r, err);
    if (ret < 0)
        return ret;
    amiss = qcbmi_rescue_is_amiss(r);
    if (amiss)
        ret = qcbmi_rescue_candidates(r, err);
    if (ret == 0 && amiss)
        ret = qcbmi_rescue_place(r, err);
    if (ret == 0 && amiss)
        ret = qcbmi_rescue_rebuild(r, err);
    r->left = count_left(r, amiss);
    r->low = has_low_counts(r);
    /* Of a lost header's L1 table, too, it is a guess then that it is the active one. */
    r->l1_in_doubt |= r->header_lost && r->unplaced;
    return ret;
}

static bool is_empty(const struct qcbmi_rescue *r, const struct qcbmi_rebuilt *b)
{
    for (uint32_t i = 0; i < r->g->l2_entries; i++)
        if (b->score[i])
            return false;
    return true;
}

static void count_tables(const struct qcbmi_rescue *r, struct qcbm_rescue_result *out)
{
    for (uint64_t i = 0; i < r->n_slots; i++) {
        const struct qcbmi_slot *s = &r->slots[i];
        bool rebuilt = s->state == QCBMI_SLOT_REBUILT, lost = rebuilt && is_empty(r, &r->rebuilt[s->rebuilt]);

        out->table_places += qcbmi_slot_is_open(s);
        out->tables_lost += lost || s->state == QCBMI_SLOT_LOST;
        out->tables_rebuilt += rebuilt && !lost;
    }
}

static void fill(const struct qcbmi_rescue *r, const struct qcbmi_writing *w, const struct qcbmi_geometry_found *found,
                 struct qcbm_rescue_result *out)
{
    *out = (struct qcbm_rescue_result){
        .virtual_size = r->g->size,
        .cluster_size = r->g->cluster_size,
        .header_lost = found->lost,
        .size_proven = found->size_proven,
        .refcounts = r->refcounts,
        .backing_unknown = found->backing_unknown,
        .proven = w->tell.bytes[QCBM_RESCUE_PROVEN],
        .likely = w->tell.bytes[QCBM_RESCUE_LIKELY],
        .unknown = w->tell.bytes[QCBM_RESCUE_UNKNOWN],
        .tables_placed = r->placed,
        .tables_unplaced = r->unplaced,
        .table_span = r->g->l2_span,
        .clusters_left = r->refcounts ? r->left : 0,
        .snapshots = r->img->h.n_snapshots,
        .bitmaps_kept = w->bitmaps_kept,
        .bitmaps_lost = w->bitmaps_lost,
        .bytes_copied = w->bytes_copied,
        .file_size = w->file_size,
    };
    count_tables(r, out);
}

static int rescue_image(struct qcbmi_image *img, const struct qcbmi_geometry_found *found, struct qcbmi_io *to,
                        const struct qcbm_rescue_options *o, struct qcbm_rescue_result *out, struct qcbm_error *err)
{
    struct qcbm_image handle = { .image = img };
    struct qcbmi_rescue r;
    struct qcbmi_writing w = { .r = &r, .to = to, .tell = { .fn = o->range, .opaque = o->opaque } };
    int ret;

    qcbmi_rescue_begin(&r, img, &handle);
    r.l1_in_doubt = found->l1_guessed;
    r.header_lost = found->lost;
    r.backing_unknown = found->backing_unknown;
    r.probe_backing = o->flags & QCBM_RESCUE_PROBE_BACKING;
    r.progress = (struct qcbmi_progress){ .to = o->progress, .total = 2 * img->io.size };
    ret = check_image(&r, err);
    if (ret == 0)
        ret = qcbmi_bitmap_list_load(&handle, err);
    if (ret == 0)
        ret = look(&r, err);
    if (ret == 0)
        ret = qcbmi_rescue_write(&w, err);
    if (ret == 0)
        ret = qcbmi_rescue_tell_left(&r, o->left, o->opaque, err);
    if (ret == 0)
        fill(&r, &w, found, out);
    qcbmi_rescue_free(&r);
    qcbmi_handle_clear(&handle);
    return ret;
}

int qcbmi_rescue_run(struct qcbmi_io *from, const char *path, struct qcbmi_io *to, const struct qcbm_rescue_options *o,
                     struct qcbm_rescue_result *out, struct qcbm_error *err)
{
    const struct qcbmi_geometry_wish wish = { o->size, o->cluster_size };
    struct qcbmi_geometry_found found;
    struct qcbmi_image *img;
    int ret = qcbmi_rescue_open(from, path, &wish, &img, &found, err);

    if (ret < 0)
        return ret;
    ret = rescue_image(img, &found, to, o, out, err);
    qcbmi_image_free(img);
    return ret;
}

/* ---- files ---- */

static int check_options(const struct qcbm_rescue_options *o, struct qcbm_error *err)
{
    uint32_t cs = o->cluster_size;

    if (cs && ((cs & (cs - 1)) || cs < 1u << Q2_MIN_CLUSTER_BITS || cs > 1u << Q2_MAX_CLUSTER_BITS))
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "a cluster has 512 bytes to 2 MiB, a power of two");
    if (o->size % Q2_SECTOR || o->size > INT64_MAX)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "the size of a disk is a multiple of 512");
    if (o->open_flags & ~(unsigned)(QCBM_OPEN_FORCE_SHARE | QCBM_OPEN_NO_LOCK))
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "a damaged image is opened for reading alone");
    return 0;
}

static int run_on(struct qcbmi_io *from, const char *path, const char *new_path, const struct qcbm_rescue_options *o,
                  struct qcbm_rescue_result *out, struct qcbm_error *err)
{
    struct qcbmi_new_file to;
    int ret;

    if (!new_path)
        return qcbmi_rescue_run(from, path, NULL, o, out, err);
    ret = qcbmi_new_file_begin(&to, new_path, err);
    if (ret == 0)
        ret = qcbmi_rescue_run(from, path, &to.io, o, out, err);
    return qcbmi_new_file_end(&to, ret, err);
}

int qcbm_rescue(const char *path, const char *new_path, const struct qcbm_rescue_options *options,
                struct qcbm_rescue_result *out, size_t size, struct qcbm_error *err)
{
    struct qcbm_rescue_options o = QCBM_RESCUE_OPTIONS_INIT;
    struct qcbm_rescue_result result;
    struct qcbmi_io from = { 0 };
    int ret = out ? qcbmi_check_size(size, err) : 0;

    if (ret == 0)
        ret = qcbmi_take_options(&o, sizeof(o), options, err);
    if (ret == 0)
        ret = check_options(&o, err);
    if (ret == 0)
        ret = qcbmi_open(&from, path, false, err);
    if (ret < 0)
        return ret;
    ret = qcbmi_lock(&from, o.open_flags, err);
    if (ret == 0)
        ret = qcbmi_io_refresh_size(&from, err);
    if (ret == 0)
        ret = run_on(&from, path, new_path, &o, &result, err);
    qcbmi_io_close(&from);
    if (ret == 0 && out)
        qcbmi_give(out, size, &result, sizeof(result));
    return ret;
}
