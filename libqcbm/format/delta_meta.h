/* delta_meta.h - who a delta is: its identity, its parent, sizes, digest and probes; as bytes (docs/delta-format.md)
 * SPDX-License-Identifier: MIT
 *
 * The bytes are the payload of a header extension of qcow2 (Q2_EXT_IDENTITY). A sidecar file has the same fields as
 * JSON, and a digest of these bytes. An image that is no delta may have the extension, too: then it says which state
 * the disk has. */
#ifndef QCBMI_DELTA_META_H
#define QCBMI_DELTA_META_H

#include "base/digest.h"

#define QCBMI_IDENTITY_BYTES 16u
#define QCBMI_DELTA_MAX_PROBES 64u
#define QCBMI_DELTA_MAX_NAME 1023u /* of a bitmap, as QEMU has it */
#define QCBMI_DELTA_MAX_NOTE 255u
#define QCBMI_DELTA_META_FIXED 112u /* bytes in front of the probes */
#define QCBMI_DELTA_PROBE_BYTES 32u
#define QCBMI_DELTA_META_MAX                                                                                           \
    (QCBMI_DELTA_META_FIXED + QCBMI_DELTA_MAX_PROBES * QCBMI_DELTA_PROBE_BYTES + QCBMI_DELTA_MAX_NAME +                \
     QCBMI_DELTA_MAX_NOTE + QCBMI_DIGEST_BYTES)

enum qcbmi_identity_kind {
    QCBMI_IDENTITY_DELTA = 1, /* the file is a delta; all fields */
    QCBMI_IDENTITY_STATE =
        2 /* the file is an image whose disk is in state .id; .has_parent, .parent and .created at most */
};

/* Content of the disk that is not in the delta, and is the same before and after. */
struct qcbmi_delta_probe {
    uint64_t offset, length; /* length > 0; at most QCBMI_DELTA_PROBE_MAX bytes */
    uint8_t digest[QCBMI_DIGEST_BYTES];
};
#define QCBMI_DELTA_PROBE_MAX (UINT64_C(1) << 20)

struct qcbmi_delta_meta {
    enum qcbmi_identity_kind kind;
    uint8_t id[QCBMI_IDENTITY_BYTES]; /* the state that the delta leads to; written as 32 hex digits */
    bool has_parent;
    uint8_t parent[QCBMI_IDENTITY_BYTES]; /* the state that it begins at; zeros if it is not known */
    int64_t created;                      /* seconds since 1970, UTC; 0: not known */
    uint64_t size_before;                 /* of the disk; UINT64_MAX: not known */
    uint64_t size_after;
    bool has_zeros_from;                /* at most where .size_before is not known: */
    uint64_t zeros_from;                /* what the delta does not have from here on is zeros afterwards */
    uint32_t granularity;               /* of the dirty map that it was made from; 0: not known */
    bool has_digest;                    /* false in a form without identity, and while the writer is at work */
    uint8_t digest[QCBMI_DIGEST_BYTES]; /* of the records, see delta/content.h */
    uint64_t digest_at; /* 0, or where in the file the digest stands, as it was not known when the header was written */
    uint32_t n_probes;
    struct qcbmi_delta_probe probes[QCBMI_DELTA_MAX_PROBES]; /* ascending, no overlap */
    char bitmap[QCBMI_DELTA_MAX_NAME +
                1]; /* name of the bitmap, or empty. UTF-8 or not: it is printed through a filter */
    char note[QCBMI_DELTA_MAX_NOTE + 1];
};

/* Bytes of the payload. */
size_t qcbmi_delta_meta_len(const struct qcbmi_delta_meta *m);
/* @to has that many bytes. */
void qcbmi_delta_meta_store(uint8_t *to, const struct qcbmi_delta_meta *m);
/* Returns 0, QCBM_E_UNSUPPORTED (a later version), QCBM_E_CORRUPT (damaged, or it breaks a rule). */
int qcbmi_delta_meta_parse(const uint8_t *from, size_t len, struct qcbmi_delta_meta *out, struct qcbm_error *err);
/* The rules that do not depend on how it is stored: sizes, probes, lengths. QCBM_E_CORRUPT. */
int qcbmi_delta_meta_check(const struct qcbmi_delta_meta *m, struct qcbm_error *err);

/* Leave out as many probes as it takes for the payload to have @max bytes at most, if that is enough: every n-th
 * stays. */
void qcbmi_delta_meta_trim(struct qcbmi_delta_meta *m, size_t max);

/* 32 hex digits and back; false if @text is none. @text may have dashes as a UUID has. */
void qcbmi_identity_text(const uint8_t id[QCBMI_IDENTITY_BYTES], char text[2 * QCBMI_IDENTITY_BYTES + 1]);
bool qcbmi_identity_parse(const char *text, uint8_t id[QCBMI_IDENTITY_BYTES]);

#endif
