/* qcow2_identity.c - the identity of a delta in an image: the extension of its header, and the mark at the end of a
 * stream
 * SPDX-License-Identifier: MIT */
#include <string.h>

#include "base/error.h"
#include "delta/qcow2_form.h"

static const uint8_t magic[8] = { 'Q', 'C', 'B', 'M', 'E', 'N', 'D', '\n' };

/* Magic, id, digest of the records, zeros, and a digest of these. */
enum { ID = 8, DIGEST = 24, CHECK = QCBMI_QCOW2_MARK - QCBMI_DIGEST_BYTES };

void qcbmi_qcow2_mark_store(uint8_t *to, const struct qcbmi_delta_meta *m)
{
    memset(to, 0, QCBMI_QCOW2_MARK);
    memcpy(to, magic, sizeof(magic));
    memcpy(to + ID, m->id, QCBMI_IDENTITY_BYTES);
    memcpy(to + DIGEST, m->digest, QCBMI_DIGEST_BYTES);
    qcbmi_digest(to, CHECK, to + CHECK);
}

int qcbmi_qcow2_mark_parse(const uint8_t *from, struct qcbmi_delta_meta *m, struct qcbm_error *err)
{
    if (memcmp(from, magic, sizeof(magic)) != 0 || memcmp(from + ID, m->id, QCBMI_IDENTITY_BYTES) != 0 ||
        !qcbmi_digest_is(from, CHECK, from + CHECK))
        return qcbmi_fail(err, QCBM_E_CORRUPT, m->digest_at,
                          "delta: it came as a stream, and its end mark is missing or damaged");
    memcpy(m->digest, from + DIGEST, QCBMI_DIGEST_BYTES);
    m->has_digest = true;
    return 0;
}

int qcbmi_qcow2_write_header(struct qcbmi_new_image *n, const struct q2_header *h, const struct qcbmi_delta_meta *m,
                             struct qcbm_error *err)
{
    uint8_t bytes[QCBMI_DELTA_META_MAX];
    const struct qcbmi_new_extension ext = { Q2_EXT_IDENTITY, (uint32_t)qcbmi_delta_meta_len(m), bytes };

    qcbmi_delta_meta_store(bytes, m);
    return qcbmi_new_header(n, h, &ext, 1, NULL, err);
}
