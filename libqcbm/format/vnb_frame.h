/* vnb_frame.h - the frames of virtnbdbackup's stream: bytes to structs and back (docs/delta-format.md)
 * SPDX-License-Identifier: MIT
 *
 * A frame is a line of text, "KIND START LENGTH", and what it carries; that ends as a line does. First comes one of
 * metadata (vnb_meta.h), last one that says stop. */
#ifndef QCBMI_VNB_FRAME_H
#define QCBMI_VNB_FRAME_H

#include <stdbool.h>
#include <stddef.h>

#include "qcbm.h"

#define QCBMI_VNB_HEAD 40u /* bytes of the line, its end included */
#define QCBMI_VNB_LINE_END 2u

enum qcbmi_vnb_kind {
    QCBMI_VNB_META,
    QCBMI_VNB_DATA,
    QCBMI_VNB_ZERO, /* of full backups: virtnbdrestore skips it, since a new disk has zeros there */
    QCBMI_VNB_STOP,
    QCBMI_VNB_COMP /* behind the end of a stream with compressed frames */
};

struct qcbmi_vnb_frame {
    enum qcbmi_vnb_kind kind;
    uint64_t start, length; /* of DATA and ZERO, on the disk; META: length of the JSON */
};

/* What the frames so far allow: numbers of the metadata, and how far we are. */
struct qcbmi_vnb_order {
    uint64_t size;      /* of the disk */
    uint64_t data_size; /* bytes that all frames of data are to have */
    uint64_t end;       /* of the last frame, on the disk */
    uint64_t data_seen;
};

/* The line at @at of the stream: any frame. Returns 0 or QCBM_E_CORRUPT. */
int qcbmi_vnb_frame_parse(const uint8_t bytes[QCBMI_VNB_HEAD], uint64_t at, struct qcbmi_vnb_frame *out,
                          struct qcbm_error *err);
/* May it come here, behind the metadata? Frames ascend, do not overlap, lie on the disk, and with STOP there is as much
 * data as was told: virtnbdrestore calls that damage, too. Returns 0 or QCBM_E_CORRUPT. */
int qcbmi_vnb_frame_check(const struct qcbmi_vnb_frame *f, uint64_t at, struct qcbmi_vnb_order *order,
                          struct qcbm_error *err);
/* The end of the line behind what a frame carries. */
int qcbmi_vnb_line_end_check(const uint8_t bytes[QCBMI_VNB_LINE_END], uint64_t at, struct qcbm_error *err);

void qcbmi_vnb_frame_store(uint8_t to[QCBMI_VNB_HEAD], const struct qcbmi_vnb_frame *f);
void qcbmi_vnb_line_end_store(uint8_t to[QCBMI_VNB_LINE_END]);

#endif
