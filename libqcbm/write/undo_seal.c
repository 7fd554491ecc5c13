/* undo_seal.c - what is written into an undo file once it is complete: that the change is done, that an undo has begun
 * SPDX-License-Identifier: MIT
 *
 * The seal has the time at which the image was written last. A guest that writes later leaves another time, even where it
 * leaves no trace in header, refcounts and bitmaps. An undo writes to the image as well, so it says so first. */
#include "write/undo_seal.h"

#include "format/undo_file.h"
#include "io/open.h"

static int write_seal(const char *path, struct qcbmi_undo_seal seal, struct qcbm_error *err)
{
    uint8_t header[QCBMI_UNDO_HEADER_BYTES], bytes[QCBMI_UNDO_SEAL_BYTES];
    struct qcbmi_undo_header h;
    struct qcbmi_io io = { 0 };
    int ret = qcbmi_open(&io, path, true, err);

    if (ret == 0)
        ret = qcbmi_io_read(&io, 0, header, sizeof(header), "header", err);
    if (ret == 0)
        ret = qcbmi_undo_header_parse(header, &h, err);
    if (ret == 0 && h.version > 1) {
        qcbmi_undo_seal_store(bytes, &seal, header);
        ret = qcbmi_io_write(&io, h.file_len - sizeof(bytes), bytes, sizeof(bytes), err);
        if (ret == 0)
            ret = qcbmi_io_flush(&io, err);
    }
    qcbmi_io_close(&io);
    return ret;
}

void qcbmi_undo_seal(const char *path, struct qcbmi_image *img)
{
    struct qcbmi_undo_seal seal = { .kind = QCBMI_UNDO_SEALED };
    bool told;

    seal.written.known = qcbmi_io_written(&img->io, true, &seal.written.time, &told);
    (void)write_seal(path, seal, NULL);
}

void qcbmi_undo_begin(const char *path, const struct qcbmi_undo_seal *old)
{
    struct qcbmi_undo_seal seal = { QCBMI_UNDO_BEGUN, old->written };

    (void)write_seal(path, seal, NULL);
}
