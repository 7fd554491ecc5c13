/* undo_file.h - the parts of an undo file: header, records, end mark (docs/undo-format.md)
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_UNDO_FILE_H
#define QCBMI_UNDO_FILE_H

#include "base/digest.h"
#include "qcbm-io.h"

#define QCBMI_UNDO_VERSION 2u /* version 1 has no seal, and does not tell what the seal is needed for */
#define QCBMI_UNDO_HEADER_BYTES 128u
#define QCBMI_UNDO_END_BYTES 32u
#define QCBMI_UNDO_SEAL_BYTES 64u              /* behind the end mark, from version 2 on */
#define QCBMI_UNDO_RECORD_FIXED 32u            /* in front of a record's digests */
#define QCBMI_UNDO_MAX_LEN (UINT32_C(1) << 20) /* bytes of the image that one record is about */
#define QCBMI_UNDO_MAX_STAGES 63u              /* stages are bits of a word when the image is compared */
#define QCBMI_UNDO_SECTOR 512u                 /* what storage writes whole or not at all */
#define QCBMI_UNDO_MAX_SECTORS (QCBMI_UNDO_MAX_LEN / QCBMI_UNDO_SECTOR)
#define QCBMI_UNDO_MAX_RECORD_BYTES                                                                                    \
    (QCBMI_UNDO_RECORD_FIXED + (QCBMI_UNDO_MAX_SECTORS + 1) * QCBMI_DIGEST_BYTES + QCBMI_UNDO_MAX_LEN)

/* A time, if it is known. */
struct qcbmi_undo_time {
    bool known;
    struct qcbm_io_time time;
};

struct qcbmi_undo_header {
    uint32_t version;
    uint32_t n_stages;
    uint64_t len_before, len_after; /* of the image file */
    uint64_t n_records;
    uint64_t file_len;                    /* of the undo file, end mark included */
    uint8_t identity[QCBMI_DIGEST_BYTES]; /* of what no change of bitmaps touches in the image's header */
    bool recording;                       /* there were bitmaps that record writes; version 1 does not say: true */
    uint32_t first_switch;          /* stage in which the header begins to change, n_stages if none; version 1: 0 */
    struct qcbmi_undo_time written; /* the image, before the change */
};

/* Written into a complete undo file: how far image and file have come together. */
enum qcbmi_undo_seal_kind {
    QCBMI_UNDO_OPEN,   /* zeros: the change is under way, or was cut short */
    QCBMI_UNDO_SEALED, /* it is complete, and at .written the image was written last */
    QCBMI_UNDO_BEGUN   /* one of the above, and then an undo began in one image file, and is not known to be over */
};
/* What is known of the change stays when an undo begins: the undo adds which file it writes to, and takes that away
 * again when it is complete. An undo that was tried on a copy says nothing of the image. */
struct qcbmi_undo_seal {
    enum qcbmi_undo_seal_kind kind;
    struct qcbmi_undo_time written; /* the image, by the change; the undo file, if .cut */
    bool cut;                       /* of BEGUN: the change was OPEN */
    uint32_t image;                 /* of BEGUN: mark of the file that is undone, qcbmi_file_mark(); 0: not known */
};

enum qcbmi_undo_kind {
    QCBMI_UNDO_OVERWRITTEN = 1, /* a digest of what was written for each sector, and the old bytes */
    QCBMI_UNDO_APPENDED = 2,    /* behind the old end of the file: digests alone */
    QCBMI_UNDO_UNTOUCHED = 3    /* one digest of bytes that stay, those of other records taken as zeros */
};

/* One that changes is about whole sectors or about a part of one. */
struct qcbmi_undo_record {
    enum qcbmi_undo_kind kind;
    uint32_t stage;    /* 0 for UNTOUCHED */
    uint64_t off, len; /* in the image */
    uint64_t index;    /* of the record in the undo file */
};

/* @to has QCBMI_UNDO_HEADER_BYTES. */
void qcbmi_undo_header_store(uint8_t *to, const struct qcbmi_undo_header *h);
/* Returns 0, QCBM_E_ARG (no undo file), QCBM_E_UNSUPPORTED (a later version), QCBM_E_CORRUPT (damaged; or incomplete:
 * all zeros, since the header is written behind the records). */
int qcbmi_undo_header_parse(const uint8_t *from, struct qcbmi_undo_header *out, struct qcbm_error *err);

/* The last bytes of the file, written when all others are durable; bound to the header @header of this file. */
void qcbmi_undo_end_store(uint8_t *to, const uint8_t *header);
/* Returns 0 or QCBM_E_CORRUPT (incomplete: zeros; or damaged). */
int qcbmi_undo_end_check(const uint8_t *from, const uint8_t *header, struct qcbm_error *err);

/* Behind the records: where the end mark lies, if they end at @at; bytes of the file from there on. */
uint64_t qcbmi_undo_end_offset(const struct qcbmi_undo_header *h, uint64_t at);
uint64_t qcbmi_undo_tail_bytes(const struct qcbmi_undo_header *h);

/* Bound to the header @header as well. It lies in one sector, so it is written whole or not at all.
 * The latter returns 0 or QCBM_E_CORRUPT. */
void qcbmi_undo_seal_store(uint8_t *to, const struct qcbmi_undo_seal *seal, const uint8_t *header);
int qcbmi_undo_seal_parse(const uint8_t *from, const uint8_t *header, struct qcbmi_undo_seal *out,
                          struct qcbm_error *err);

/* Sectors that a record touches, and its bytes in the file with the digest over all of it at the end. */
uint64_t qcbmi_undo_sectors(const struct qcbmi_undo_record *r);
uint64_t qcbmi_undo_record_bytes(const struct qcbmi_undo_record *r);
/* Places in the stored record: the digest of sector @i (0 for UNTOUCHED), the old bytes. */
uint8_t *qcbmi_undo_record_digest(uint8_t *record, uint64_t i);
uint8_t *qcbmi_undo_record_old(uint8_t *record, const struct qcbmi_undo_record *r);

/* Complete a record, whose digests and old bytes are in @to already. */
void qcbmi_undo_record_seal(uint8_t *to, const struct qcbmi_undo_record *r);
/* The fixed part of record @index (at @at of the file, for messages), against the header. Then the record has
 * qcbmi_undo_record_bytes(), and qcbmi_undo_record_check() compares all of it with its digest.
 * Both return 0 or QCBM_E_CORRUPT. */
int qcbmi_undo_record_parse(const uint8_t *from, uint64_t index, uint64_t at, const struct qcbmi_undo_header *h,
                            struct qcbmi_undo_record *out, struct qcbm_error *err);
int qcbmi_undo_record_check(const uint8_t *record, const struct qcbmi_undo_record *r, uint64_t at,
                            struct qcbm_error *err);

#endif
