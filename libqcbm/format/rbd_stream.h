/* rbd_stream.h - the records of `rbd export-diff`: bytes to structs and back (docs/delta-format.md)
 * SPDX-License-Identifier: MIT
 *
 * Version 1 is what `rbd import-diff` and `rbd merge-diff` take. In version 2 each record but the last tells how long
 * it is; only `rbd export --export-format 2` makes it. Numbers are little-endian. */
#ifndef QCBMI_RBD_STREAM_H
#define QCBMI_RBD_STREAM_H

#include <stdbool.h>
#include <stddef.h>

#include "qcbm.h"

#define QCBMI_RBD_BANNER 12u                   /* bytes in front of the first record */
#define QCBMI_RBD_MAX_HEAD 25u                 /* of a record, in front of its bytes */
#define QCBMI_RBD_MAX_NAME 4096u               /* of a snapshot: the limit of Ceph's readers */
#define QCBMI_RBD_MAX_DATA (UINT32_C(4) << 20) /* of one record that is written: import-diff holds it in memory */

enum qcbmi_rbd_kind {
    QCBMI_RBD_END,
    QCBMI_RBD_FROM,  /* name of the snapshot before */
    QCBMI_RBD_TO,    /* name of the snapshot after */
    QCBMI_RBD_SIZE,  /* of the disk after */
    QCBMI_RBD_OTHER, /* of version 2: can be skipped */
    QCBMI_RBD_DATA,
    QCBMI_RBD_ZERO
};

struct qcbmi_rbd_record {
    enum qcbmi_rbd_kind kind;
    uint64_t offset;  /* of DATA and ZERO, on the disk */
    uint64_t length;  /* of DATA and ZERO; SIZE: the size */
    uint32_t head;    /* bytes of the stream that said so */
    uint64_t payload; /* bytes of the stream that follow: the name, the data, what is skipped */
};

/* What the records so far allow. Begins as { .version = ... }. */
struct qcbmi_rbd_order {
    unsigned version; /* 1 or 2 */
    bool seen[QCBMI_RBD_ZERO + 1];
    uint64_t size; /* of the disk, once it is known */
    uint64_t end;  /* of the last record of data or zeros, on the disk */
};

/* Is this the banner of a version (1, 2)? 0 if not. @bytes has QCBMI_RBD_BANNER. */
unsigned qcbmi_rbd_version(const uint8_t *bytes);

/* The head of the record that begins with @bytes, of which @avail are there, at @at of the stream; all the rules of the
 * order are kept. Metadata comes first and once, with a size; records ascend, do not overlap, and lie on the disk.
 * Returns 0, QCBM_E_CORRUPT. */
int qcbmi_rbd_parse(const uint8_t *bytes, size_t avail, uint64_t at, struct qcbmi_rbd_order *order,
                    struct qcbmi_rbd_record *out, struct qcbm_error *err);

/* Version 1. @to has room for QCBMI_RBD_BANNER; for QCBMI_RBD_MAX_HEAD. Both return how much was stored; what the
 * record carries follows. */
size_t qcbmi_rbd_banner_store(uint8_t *to);
size_t qcbmi_rbd_store(uint8_t *to, const struct qcbmi_rbd_record *r);

#endif
