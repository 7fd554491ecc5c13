/* undo_writer.c - has anybody written to an image since a change that is to be undone?
 * SPDX-License-Identifier: MIT
 *
 * A guest that rewrites clusters which it has changes no metadata, if the image has no bitmaps for QEMU to keep. A
 * bitmap that comes back would then lack its writes. What shows such a guest is the time of the last write. */
#include "ops/undo_writer.h"

#include "io/open.h"

/* A change that was cut short has no seal. Its own writes come soon after the undo file was made, and those of an undo
 * soon after the file said that it began; earlier and later ones are those of somebody else. */
#define SECONDS_OF_A_CHANGE 60

static bool is_time(const struct qcbm_io_time *a, const struct qcbm_io_time *b)
{
    return a->seconds == b->seconds && a->nanoseconds == b->nanoseconds;
}

/* Not before @from and not after @to, as well as clocks of several storages agree? */
static bool is_within(const struct qcbm_io_time *t, const struct qcbm_io_time *from, const struct qcbm_io_time *to)
{
    int64_t since, until;

    return !__builtin_sub_overflow(t->seconds, from->seconds, &since) && since >= -SECONDS_OF_A_CHANGE &&
           !__builtin_sub_overflow(t->seconds, to->seconds, &until) && until <= SECONDS_OF_A_CHANGE;
}

bool qcbmi_undo_is_last_writer(const struct qcbmi_undo_file *file, struct qcbmi_image *img)
{
    const struct qcbmi_undo_time *sealed = &file->seal.written;
    struct qcbm_io_time now;
    bool told;

    return sealed->known && !file->seal.cut && qcbmi_io_written(&img->io, false, &now, &told) &&
           is_time(&now, &sealed->time);
}

/* Would no bitmap come back that lacks a write? There is none that records; or the header still leads to the old ones,
 * which a guest would have changed. */
static bool no_bits_at_risk(const struct qcbmi_undo_file *file, uint32_t last_stage)
{
    return !file->h.recording || last_stage <= file->h.first_switch;
}

/* May @now, at which the image was written last, be the time of the change itself, which was cut short, or of an undo
 * that was? An undo of a copy may have been cut short as well: that says nothing of this image. */
static bool may_be_cut_short(struct qcbmi_undo_file *file, const struct qcbmi_image *img,
                             const struct qcbm_io_time *now)
{
    const struct qcbmi_undo_seal *seal = &file->seal;
    const struct qcbm_io_time *known = seal->written.known ? &seal->written.time : NULL;
    uint32_t image = seal->kind == QCBMI_UNDO_BEGUN ? qcbmi_file_mark(&img->io) : 0;
    bool begun_here = image != 0 && image == seal->image, told;
    struct qcbm_io_time noted; /* in the undo file: that it was made, or that an undo began, the last of several */

    if (seal->cut && known && is_within(now, known, known))
        return true;
    return (seal->kind == QCBMI_UNDO_OPEN || begun_here) && qcbmi_io_written(&file->io, false, &noted, &told) &&
           is_within(now, known ? known : &noted, &noted);
}

static int fail(const char *why, struct qcbm_error *err)
{
    return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                      "%s: bitmaps that record writes would come back without those of a guest that ran since", why);
}

int qcbmi_undo_find_writer(struct qcbmi_undo_file *file, struct qcbmi_image *img, uint32_t last_stage,
                           enum qcbm_undo_writer *out, struct qcbm_error *err)
{
    struct qcbm_io_time now;
    bool known, told;

    *out = QCBM_UNDO_WRITER_NONE;
    if (no_bits_at_risk(file, last_stage) || qcbmi_undo_is_last_writer(file, img))
        return 0;
    *out = QCBM_UNDO_WRITER_UNKNOWN;
    known = qcbmi_io_written(&img->io, false, &now, &told);
    if (!told)
        return 0;
    if (!known)
        return fail("the storage does not tell whether the image has changed since", err);
    if (may_be_cut_short(file, img, &now))
        return 0;
    *out = QCBM_UNDO_WRITER_SEEN;
    return fail("the image has changed since: its file was written after the change, or is a copy", err);
}
