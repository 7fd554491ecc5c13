/* synth_refine.c - a bitmap without what is no difference: against which content, and what is told of it
 * SPDX-License-Identifier: MIT
 *
 * The reference must be the disk as it was when the bitmap began. For what an overlay has allocated that is the chain
 * below it, or below the layers that count. For changes since a snapshot, or for a bitmap that was there, it is not:
 * there the caller has to say where the old content is. */
#include <inttypes.h>
#include <string.h>

#include "base/checked.h"
#include "format/probe.h"
#include "io/open.h"
#include "manifest/manifest_compare.h"
#include "ops/against.h"
#include "ops/refine.h"
#include "ops/since.h"
#include "ops/synth.h"

static const char of_snapshot[] = "snapshot:";

/* Both disks, and what holds them open. */
struct sides {
    struct qcbmi_chain disk, reference; /* the second is empty if it is a part of the first */
    struct qcbmi_snapshot_view view;
    struct qcbmi_image *image;   /* a qcow2 image that is the reference; NULL if it is the caller's */
    struct qcbm_io_ops borrowed; /* of the caller's backend */
    struct qcbmi_refine job;
};

int qcbmi_synth_refine_check(const struct qcbm_synth_options *opt, struct qcbm_error *err)
{
    if (opt->refine > QCBM_REFINE_CONTENT)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "there is no such way to refine: %u", opt->refine);
    if (opt->refine_ops && !opt->refine_against)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "a reference needs a name for messages");
    if (opt->refine_against && !opt->refine)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "a reference is of use for refining only");
    if (opt->refine && (opt->flags & QCBM_SYNTH_DIRTY_TAIL))
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                          "a tail that is to be dirty whatever it holds cannot be refined");
    if (opt->refine && opt->since_snapshot && !opt->refine_against)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                          "the backing file is not what the disk held at that snapshot: changes since a snapshot are "
                          "refined against a reference that is named");
    return 0;
}

/* What the old bitmap has of the disk began before what is allocated now: its reference is another one. */
int qcbmi_synth_refine_check_merge(const struct synth *s, bool exists, struct qcbm_error *err)
{
    if (!exists || !s->opt.refine || s->opt.refine_against || !(s->opt.flags & QCBM_SYNTH_MERGE))
        return 0;
    return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                      "the backing file is not what the disk held when the bitmap began: merging into one is refined "
                      "against a reference that is named");
}

static struct qcbmi_chain_options chain_options(const struct synth *s)
{
    struct qcbmi_chain_options options = { .force_share = s->opt.flags & QCBM_SYNTH_FORCE_SHARE };

    options.known = s->target == s->overlay ? NULL : s->target;
    return options;
}

/* ---- the reference ---- */

/* By its first bytes, as QEMU does it; what is neither qcow2 nor raw would be compared as the bytes of a container. */
static int open_format(struct synth *s, struct sides *o, struct qcbmi_io *io, const char *path, unsigned flags,
                       struct qcbm_error *err)
{
    uint8_t head[QCBMI_PROBE_BYTES] = { 0 };
    const char *format = s->opt.refine_format;
    int ret = qcbmi_io_read(io, 0, head, u64_min(io->size, sizeof(head)), "first bytes", err);

    if (ret == 0 && !format)
        format = qcbmi_probe(head, path);
    if (ret == 0 && strcmp(format, "qcow2") == 0)
        return qcbmi_image_open(io, path, flags, &o->image, err);
    qcbmi_io_close(io);
    if (ret == 0 && strcmp(format, "raw") != 0)
        ret = qcbmi_fail(err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET, "of format %s", format);
    return ret < 0 ? ret : qcbmi_chain_open_raw(path, flags, &o->reference, err);
}

static int open_file(struct synth *s, struct sides *o, const char *path, struct qcbm_error *err)
{
    struct qcbmi_chain_options options = chain_options(s);
    unsigned flags = s->overlay->open_flags & (QCBM_OPEN_NO_LOCK | QCBM_OPEN_FORCE_SHARE);
    struct qcbmi_image *top = NULL;
    struct qcbmi_file_id id;
    struct qcbmi_io io = { 0 };
    int ret = qcbmi_identify(path, &id, err);

    if (ret == 0 && qcbmi_same_file(&id, &s->overlay->io.id))
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "that is the image itself");
    if (s->opt.flags & QCBM_SYNTH_FORCE_SHARE)
        flags |= QCBM_OPEN_FORCE_SHARE;
    if (ret == 0 && options.known && qcbmi_same_file(&id, &options.known->io.id))
        top = options.known;
    else if (ret == 0)
        ret = qcbmi_open(&io, path, false, err);
    if (ret == 0 && !top)
        ret = open_format(s, o, &io, path, flags, err);
    top = top ? top : o->image;
    return ret < 0 || !top ? ret : qcbmi_chain_open(top, &options, &o->reference, err);
}

/* What a server has may be a disk, or the file of an image, whose bytes compare with nothing: that is told by the
 * caller, and not guessed, because a guest may write at the beginning of its disk what it likes. */
static int open_backend(struct synth *s, struct sides *o, const char *name, struct qcbm_error *err)
{
    unsigned flags = s->overlay->open_flags & (QCBM_OPEN_NO_LOCK | QCBM_OPEN_FORCE_SHARE);
    struct qcbmi_chain_options options = chain_options(s);
    uint8_t head[QCBMI_PROBE_BYTES] = { 0 };
    const char *format = s->opt.refine_format;
    struct qcbmi_io io;
    int ret = qcbmi_io_borrow(&io, &o->borrowed, s->opt.refine_ops, s->opt.refine_self, err);

    if (ret < 0)
        return ret;
    if (format && strcmp(format, "qcow2") == 0) {
        ret = qcbmi_image_open(&io, NULL, flags, &o->image, err);
        return ret < 0 ? ret : qcbmi_chain_open(o->image, &options, &o->reference, err);
    }
    if (!format)
        ret = qcbmi_io_read(&io, 0, head, u64_min(io.size, sizeof(head)), "first bytes", err);
    format = ret == 0 && !format ? qcbmi_probe(head, "") : format;
    if (ret == 0 && strcmp(format, "raw") != 0)
        ret = qcbmi_fail(err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET,
                         "it begins as an image of format %s does, and not as a disk", format);
    if (ret == 0)
        return qcbmi_chain_take_raw(&io, name, flags, &o->reference, err);
    qcbmi_io_close(&io);
    return ret;
}

static int open_reference(struct synth *s, struct sides *o, struct qcbm_error *err)
{
    const char *words = s->opt.refine_against;
    struct qcbmi_chain_options options = chain_options(s);
    uint32_t index = 0;
    char text[256];
    int ret;

    if (s->opt.refine_ops || strncmp(words, of_snapshot, strlen(of_snapshot)) != 0) {
        ret = s->opt.refine_ops ? open_backend(s, o, words, err) : open_file(s, o, words, err);
        return ret == 0 || ret == QCBM_E_NOMEM
                   ? ret
                   : qcbmi_prefix(err, ret,
                                  "reference '%s': ", qcbmi_printable(text, sizeof(text), words, strlen(words)));
    }
    ret = qcbmi_snapshot_find(s->overlay, words + strlen(of_snapshot), &index, err);
    if (ret == 0)
        ret = qcbmi_snapshot_view_init(&o->view, s->overlay, index, err);
    return ret < 0 ? ret : qcbmi_chain_open(&o->view.img, &options, &o->reference, err);
}

/* ---- both sides ---- */

static int open_disk(struct synth *s, struct sides *o, struct qcbm_error *err)
{
    struct qcbmi_chain_options options = chain_options(s);

    if (s->opt.since)
        return qcbmi_since_open(s->overlay, s->opt.since, &options, true, &o->disk, &o->job.shared, err);
    o->job.shared = 1;
    return qcbmi_chain_open(s->opt.snapshot ? &s->to.img : s->overlay, &options, &o->disk, err);
}

static uint64_t size_of(const struct qcbmi_chain *chain, size_t layer)
{
    return layer < chain->n ? align_down(chain->layers[layer].size, Q2_SECTOR) : 0;
}

/* Nothing else tells that a server has the disk in question. */
static int check_size(const struct synth *s, const struct qcbmi_refine *r, struct qcbm_error *err)
{
    if (!s->opt.refine_ops || r->size == r->reference_size)
        return 0;
    return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                      "the reference has %" PRIu64 " bytes, the disk %" PRIu64 ": they are not one disk",
                      r->reference_size, r->size);
}

static int open_sides(struct synth *s, struct sides *o, struct qcbm_error *err)
{
    unsigned flags = QCBMI_DATA_FILES | (s->opt.flags & QCBM_SYNTH_FORCE_SHARE ? QCBMI_DATA_FORCE_SHARE : 0);
    struct qcbmi_refine *r = &o->job;
    const struct qcbmi_chain *reference = &o->disk;
    int ret = open_disk(s, o, err);

    if (ret == 0 && s->opt.refine_against)
        ret = open_reference(s, o, err);
    if (ret == 0)
        ret = qcbmi_chain_check_finished(&o->disk, err);
    if (ret == 0)
        ret = qcbmi_chain_check_finished(&o->reference, err);
    if (ret == 0 && s->opt.refine == QCBM_REFINE_CONTENT)
        ret = qcbmi_chain_check_plain(&o->disk, err);
    if (ret == 0 && s->opt.refine == QCBM_REFINE_CONTENT)
        ret = qcbmi_chain_check_plain(&o->reference, err);
    if (ret < 0)
        return ret;
    if (s->opt.refine_against) {
        reference = &o->reference;
        r->shared = 0;
    }
    r->size = size_of(&o->disk, 0);
    r->reference_size = size_of(reference, r->shared);
    ret = check_size(s, r, err);
    if (ret == 0)
        ret = qcbmi_data_of_chain(&o->disk, 0, flags, &r->disk, err);
    if (ret == 0 && r->shared < reference->n)
        ret = qcbmi_data_of_chain(reference, r->shared, flags, &r->reference, err);
    return ret;
}

static void close_sides(struct sides *o)
{
    qcbmi_data_close(o->job.disk);
    qcbmi_data_close(o->job.reference);
    qcbmi_chain_close(&o->reference);
    qcbmi_image_free(o->image);
    qcbmi_snapshot_view_free(&o->view);
    qcbmi_chain_close(&o->disk);
}

static int tell(struct synth *s, const struct qcbmi_refine_figures *f, struct qcbm_error *err)
{
    struct qcbm_synth_summary *sum = &s->result->sum;

    sum->refined_zero_bytes = f->zero_bytes;
    sum->refined_equal_bytes = f->equal_bytes;
    sum->unreadable_bytes = f->unreadable_bytes;
    if (f->unreadable_bytes == 0)
        return 0;
    return qcbmi_synth_note(s->result, err,
                            "%" PRIu64 " bytes could not be compared, and stay dirty; the first: %.300s",
                            f->unreadable_bytes, f->why.message);
}

/* ---- a manifest ---- */

static bool is_manifest(const struct synth *s)
{
    const char *words = s->opt.refine_against;

    return words && !s->opt.refine_format && !s->opt.refine_ops &&
           strncmp(words, of_snapshot, strlen(of_snapshot)) != 0 && qcbmi_manifest_is(words);
}

/* Its granules may be larger than those of the map: what is dirty and differs stays. */
static int refine_by_manifest(struct synth *s, struct qcbm_error *err)
{
    struct qcbmi_chain_options options = chain_options(s);
    struct qcbmi_manifest_compare c = { .only = &s->map, .force_share = options.force_share, .progress = &s->progress };
    struct qcbmi_refine_figures figures = { 0 };
    struct qcbmi_dirtymap differs = { 0 };
    struct sides o = { 0 };
    uint64_t before = qcbmi_dirtymap_dirty_bytes(&s->map);
    int ret = 0;

    if (s->opt.refine != QCBM_REFINE_CONTENT)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "a manifest tells of content, and not of metadata");
    s->progress.total -= u64_min(s->progress.total, s->map.size);
    ret = open_disk(s, &o, err);
    if (ret == 0)
        ret = qcbmi_dirtymap_init(&differs, s->map.size, s->map.gran_bits, err);
    c.disk = &o.disk;
    if (ret == 0)
        ret = qcbmi_against(&c, s->opt.refine_against, s->opt.flags & QCBM_SYNTH_FORCE, &differs, err);
    if (ret == 0)
        ret = qcbmi_dirtymap_intersect(&s->map, &differs, err);
    figures.unreadable_bytes = c.out.unreadable_bytes;
    figures.why = c.out.why;
    figures.equal_bytes = ret == 0 ? before - qcbmi_dirtymap_dirty_bytes(&s->map) : 0;
    qcbmi_dirtymap_free(&differs);
    close_sides(&o);
    return ret < 0 ? ret : tell(s, &figures, err);
}

int qcbmi_synth_refine(struct synth *s, struct qcbm_error *err)
{
    struct sides o = { 0 };
    int ret;

    if (!s->opt.refine)
        return 0;
    if (is_manifest(s))
        return refine_by_manifest(s, err);
    ret = open_sides(s, &o, err);
    o.job.metadata_alone = s->opt.refine == QCBM_REFINE_ZERO;
    o.job.threads = s->overlay->threads;
    if (s->overlay->io.trace && s->overlay->io.trace->fn)
        o.job.threads = 1;
    o.job.progress = &s->progress;
    if (ret == 0)
        ret = qcbmi_refine(&o.job, &s->map, err);
    if (ret == 0)
        ret = tell(s, &o.job.out, err);
    close_sides(&o);
    return ret;
}
