/* undo_seal.c - what is written into an undo file once it is complete: that the change is done, that an undo has begun
 * SPDX-License-Identifier: MIT
 *
 * The seal has the time at which the image was written last. A guest that writes later leaves another time, even where
 * it leaves no trace in header, refcounts and bitmaps. An undo writes to the image as well, so it says so first, and in
 * which file: what is known of the change holds for all others. */
#include "write/undo_seal.h"

#include "io/open.h"

/* Is @file that of a change which can be sealed? Then *@at is where the seal lies. */
static int find_seal(struct qcbmi_io *file, uint8_t *header, uint64_t *at, struct qcbm_error *err)
{
    struct qcbmi_undo_header h;
    int ret = qcbmi_io_read(file, 0, header, QCBMI_UNDO_HEADER_BYTES, "header", err);

    if (ret == 0)
        ret = qcbmi_undo_header_parse(header, &h, err);
    if (ret == 0 && h.version == 1)
        ret = qcbmi_fail(err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET, "version 1 has no seal");
    if (ret == 0)
        *at = h.file_len - QCBMI_UNDO_SEAL_BYTES;
    return ret;
}

/* @made: the time of the last write that the file is to have then; NULL for that of this one. */
static int write_seal(const char *path, const struct qcbmi_undo_seal *seal, const struct qcbm_io_time *made,
                      struct qcbm_error *err)
{
    uint8_t header[QCBMI_UNDO_HEADER_BYTES], bytes[QCBMI_UNDO_SEAL_BYTES];
    struct qcbmi_io io = { 0 };
    uint64_t at;
    int ret = qcbmi_open(&io, path, true, err);

    if (ret == 0)
        ret = find_seal(&io, header, &at, err);
    if (ret == 0) {
        qcbmi_undo_seal_store(bytes, seal, header);
        ret = qcbmi_io_write(&io, at, bytes, sizeof(bytes), err);
    }
    if (ret == 0)
        ret = qcbmi_io_flush(&io, err);
    if (ret == 0 && made)
        qcbmi_io_set_written(&io, made);
    qcbmi_io_close(&io);
    return ret;
}

void qcbmi_undo_seal(const char *path, struct qcbmi_image *img)
{
    struct qcbmi_undo_seal seal = { .kind = QCBMI_UNDO_SEALED };
    bool told;

    seal.written.known = qcbmi_io_written(&img->io, true, &seal.written.time, &told);
    (void)write_seal(path, &seal, NULL, NULL);
}

void qcbmi_undo_begin(struct qcbmi_undo_file *file, const char *path, const struct qcbmi_image *img)
{
    bool told;

    if (file->seal.kind == QCBMI_UNDO_OPEN) {
        file->seal.cut = true;
        file->seal.written.known = qcbmi_io_written(&file->io, false, &file->seal.written.time, &told);
    }
    file->seal.kind = QCBMI_UNDO_BEGUN;
    file->seal.image = qcbmi_file_mark(&img->io);
    (void)write_seal(path, &file->seal, NULL, NULL);
}

void qcbmi_undo_end(const struct qcbmi_undo_file *file, const char *path)
{
    const struct qcbmi_undo_time *time = &file->seal.written;
    struct qcbmi_undo_seal seal = { .kind = QCBMI_UNDO_OPEN };

    if (file->seal.cut) {
        (void)write_seal(path, &seal, time->known ? &time->time : NULL, NULL);
        return;
    }
    seal.kind = QCBMI_UNDO_SEALED;
    seal.written = *time;
    (void)write_seal(path, &seal, NULL, NULL);
}
