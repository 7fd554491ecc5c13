/* undo_writer.c - has anybody written to an image since a change that is to be undone?
 * SPDX-License-Identifier: MIT
 *
 * A guest that rewrites clusters which it has changes no metadata, if the image has no bitmaps for QEMU to keep. A bitmap
 * that comes back would then lack its writes. What shows such a guest is the time of the last write. */
#include "ops/undo_writer.h"

/* A change that was cut short has no seal. Its own writes come soon after the undo file was made; later ones are those of
 * somebody else. */
#define SECONDS_OF_A_CHANGE 60

static bool is_time(const struct qcbm_io_time *a, const struct qcbm_io_time *b)
{
    return a->seconds == b->seconds && a->nanoseconds == b->nanoseconds;
}

bool qcbmi_undo_is_last_writer(const struct qcbmi_undo_file *file, struct qcbmi_image *img)
{
    const struct qcbmi_undo_time *sealed = &file->seal.written;
    struct qcbm_io_time now;
    bool told;

    return sealed->known && qcbmi_io_written(&img->io, false, &now, &told) && is_time(&now, &sealed->time);
}

/* Would no bitmap come back that lacks a write? There is none that records; or the header still leads to the old ones, which
 * a guest would have changed. */
static bool no_bits_at_risk(const struct qcbmi_undo_file *file, uint32_t last_stage)
{
    return !file->h.recording || last_stage <= file->h.first_switch;
}

static int fail(const char *why, struct qcbm_error *err)
{
    return qcbmi_fail(
        err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
        "%s: bitmaps that record writes would come back without those of a guest that ran since (force undoes "
        "it all the same)",
        why);
}

int qcbmi_undo_find_writer(struct qcbmi_undo_file *file, struct qcbmi_image *img, uint32_t last_stage,
                           enum qcbm_undo_writer *out, struct qcbm_error *err)
{
    struct qcbm_io_time now, made;
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
    if (file->seal.kind != QCBMI_UNDO_SEALED && qcbmi_io_written(&file->io, false, &made, &told) &&
        now.seconds - SECONDS_OF_A_CHANGE <= made.seconds)
        return 0;
    *out = QCBM_UNDO_WRITER_SEEN;
    return fail("the image has changed since: its file was written after the change, or is a copy", err);
}
