/* apply_file.h - the files that an apply keeps beside an image: how far it is, and which state the disk has
 * SPDX-License-Identifier: MIT
 *
 * The layout is in docs/apply-format.md; it is of the family of the undo file: header, record, end mark, each with a
 * digest, and one sector that is written again and again. */
#ifndef QCBMI_APPLY_FILE_H
#define QCBMI_APPLY_FILE_H

#include "format/delta_meta.h"

#define QCBMI_APPLY_VERSION 1u
#define QCBMI_APPLY_HEADER_BYTES 128u
#define QCBMI_APPLY_MAX_NAME 4096u  /* of the delta */
#define QCBMI_APPLY_STEP_BYTES 512u /* a sector, which storage writes whole or not at all */

/* What comes next. Each is begun when all before it is durable. */
enum qcbmi_apply_phase {
    QCBMI_APPLY_GROW = 1, /* bitmaps, the id that goes, the size if the disk becomes larger */
    QCBMI_APPLY_DATA,     /* the records from .offset on */
    QCBMI_APPLY_CUT,      /* the size if it becomes smaller */
    QCBMI_APPLY_NAME      /* the id of the new state */
};

struct qcbmi_apply_file {
    uint8_t id[QCBMI_IDENTITY_BYTES]; /* of the delta; of one without identity the digest of its records */
    uint8_t digest[QCBMI_DIGEST_BYTES];
    bool had_no_leaks; /* the image, before anything was written to it */
    bool has_parent;
    uint8_t parent[QCBMI_IDENTITY_BYTES];
    uint64_t size_before, size_after;    /* of the disk */
    uint32_t image;                      /* mark of the file that is written to, qcbmi_file_mark(); 0: not known */
    char name[QCBMI_APPLY_MAX_NAME + 1]; /* of the delta, as the user gave it */
};

struct qcbmi_apply_step {
    enum qcbmi_apply_phase phase;
    uint64_t offset;
};

#define QCBMI_APPLY_END_BYTES 32u

/* Bytes of the whole file; where its end mark lies, which is written last; and its step. */
uint64_t qcbmi_apply_file_bytes(const struct qcbmi_apply_file *f);
uint64_t qcbmi_apply_end_offset(const struct qcbmi_apply_file *f);
uint64_t qcbmi_apply_step_offset(const struct qcbmi_apply_file *f);
/* @to has that many bytes. */
void qcbmi_apply_file_store(uint8_t *to, const struct qcbmi_apply_file *f, const struct qcbmi_apply_step *step);
/* @to has QCBMI_APPLY_STEP_BYTES; @file is what qcbmi_apply_file_store() made. */
void qcbmi_apply_step_store(uint8_t *to, const struct qcbmi_apply_step *step, const uint8_t *file);
/* The whole file. A step that cannot be read is the first one: all of it is done again.
 * Returns 0, QCBM_E_NOTFOUND (cut short when it was made: nothing has been written to the image), QCBM_E_ARG (no such
 * file), QCBM_E_UNSUPPORTED (a later version), QCBM_E_CORRUPT. */
int qcbmi_apply_file_parse(const uint8_t *from, uint64_t len, struct qcbmi_apply_file *out,
                           struct qcbmi_apply_step *step, struct qcbm_error *err);
/* What a file of the largest name has. */
#define QCBMI_APPLY_FILE_MAX (UINT64_C(6) << 10)

/* ---- the state that the disk of a raw file has ---- */

#define QCBMI_STATE_BYTES 128u

struct qcbmi_state_file {
    uint8_t id[QCBMI_IDENTITY_BYTES];
    uint64_t size;      /* of the file or device */
    uint64_t disk_size; /* at most as much: a device may be longer */
    uint32_t image;     /* as above, for people: a copy of both files is as good */
    bool time_known;
    int64_t seconds; /* when the image was written last */
    uint32_t nanoseconds;
};
void qcbmi_state_file_store(uint8_t *to, const struct qcbmi_state_file *s);
/* Returns 0, QCBM_E_ARG, QCBM_E_UNSUPPORTED or QCBM_E_CORRUPT. */
int qcbmi_state_file_parse(const uint8_t *from, uint64_t len, struct qcbmi_state_file *out, struct qcbm_error *err);

#endif
