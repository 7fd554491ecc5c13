/* delta_meta.c - who a delta is: its identity, its parent, sizes, digest and probes; as bytes (docs/delta-format.md)
 * SPDX-License-Identifier: MIT */
#include "format/delta_meta.h"

#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/error.h"

#define VERSION 1u
#define HAS_PARENT 1u
#define HAS_DIGEST 2u
#define HAS_ZEROS_FROM 4u

/* ---- ids as text ---- */

void qcbmi_identity_text(const uint8_t id[QCBMI_IDENTITY_BYTES], char text[2 * QCBMI_IDENTITY_BYTES + 1])
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < QCBMI_IDENTITY_BYTES; i++) {
        text[2 * i] = digits[id[i] >> 4];
        text[2 * i + 1] = digits[id[i] & 15];
    }
    text[2 * QCBMI_IDENTITY_BYTES] = '\0';
}

static int hex_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

/* The dashes of a UUID: all four or none. */
static bool is_dash_place(size_t digits)
{
    return digits == 8 || digits == 12 || digits == 16 || digits == 20;
}

bool qcbmi_identity_parse(const char *text, uint8_t id[QCBMI_IDENTITY_BYTES])
{
    bool dashes = strlen(text) == 36;

    memset(id, 0, QCBMI_IDENTITY_BYTES);
    for (size_t i = 0; i < 2 * QCBMI_IDENTITY_BYTES; i++) {
        int value;

        if (dashes && is_dash_place(i) && *text++ != '-')
            return false;
        value = hex_value(*text++);
        if (value < 0)
            return false;
        id[i / 2] = (uint8_t)(id[i / 2] << 4 | value);
    }
    return *text == '\0';
}

/* ---- rules ---- */

static int check_probes(const struct qcbmi_delta_meta *m, struct qcbm_error *err)
{
    uint64_t end = 0, size = u64_min(m->size_after, m->size_before);

    for (uint32_t i = 0; i < m->n_probes; i++) {
        const struct qcbmi_delta_probe *p = &m->probes[i];

        if (p->offset < end || p->length == 0 || p->length > QCBMI_DELTA_PROBE_MAX ||
            !range_fits(p->offset, p->length, size))
            return qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET,
                              "identity: probe %u, %" PRIu64 " bytes at 0x%" PRIx64 ", does not lie in the disk behind "
                              "the one before it",
                              i, p->length, p->offset);
        end = p->offset + p->length;
    }
    return 0;
}

static bool is_granularity(uint32_t g)
{
    return g == 0 || (g >= 512 && (g & (g - 1)) == 0);
}

int qcbmi_delta_meta_check(const struct qcbmi_delta_meta *m, struct qcbm_error *err)
{
    if (m->kind != QCBMI_IDENTITY_DELTA && m->kind != QCBMI_IDENTITY_STATE)
        return qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "identity: there is no kind %u", m->kind);
    if (m->size_after > INT64_MAX || (m->size_before > INT64_MAX && m->size_before != UINT64_MAX))
        return qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "identity: a disk of more than 2^63 - 1 bytes");
    if (m->has_zeros_from ? m->zeros_from > m->size_after || m->size_before != UINT64_MAX : m->zeros_from != 0)
        return qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET,
                          "identity: zeros from 0x%" PRIx64 " on, where the size of the disk before is known or that "
                          "afterwards is less",
                          m->zeros_from);
    if (!is_granularity(m->granularity))
        return qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "identity: granularity %u", m->granularity);
    if (m->n_probes > QCBMI_DELTA_MAX_PROBES)
        return qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "identity: %u probes", m->n_probes);
    if (!qcbmi_is_printable(m->bitmap, strlen(m->bitmap)) || !qcbmi_is_printable(m->note, strlen(m->note)))
        return qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "identity: a name or note that is not plain UTF-8");
    return check_probes(m, err);
}

/* ---- bytes ---- */

size_t qcbmi_delta_meta_len(const struct qcbmi_delta_meta *m)
{
    return QCBMI_DELTA_META_FIXED + (size_t)m->n_probes * QCBMI_DELTA_PROBE_BYTES + strlen(m->bitmap) +
           strlen(m->note) + QCBMI_DIGEST_BYTES;
}

void qcbmi_delta_meta_trim(struct qcbmi_delta_meta *m, size_t max)
{
    size_t len = qcbmi_delta_meta_len(m), others = len - m->n_probes * QCBMI_DELTA_PROBE_BYTES;
    uint32_t n = max > others ? (uint32_t)((max - others) / QCBMI_DELTA_PROBE_BYTES) : 0;

    if (len <= max)
        return;
    for (uint32_t i = 0; i < n; i++)
        m->probes[i] = m->probes[(uint64_t)i * m->n_probes / n];
    m->n_probes = n;
}

void qcbmi_delta_meta_store(uint8_t *to, const struct qcbmi_delta_meta *m)
{
    size_t at = QCBMI_DELTA_META_FIXED, bitmap = strlen(m->bitmap), note = strlen(m->note);

    memset(to, 0, QCBMI_DELTA_META_FIXED);
    be32_store(to, VERSION);
    to[4] = (uint8_t)m->kind;
    be16_store(to + 6, (uint16_t)((m->has_parent ? HAS_PARENT : 0) | (m->has_digest ? HAS_DIGEST : 0) |
                                  (m->has_zeros_from ? HAS_ZEROS_FROM : 0)));
    memcpy(to + 8, m->id, QCBMI_IDENTITY_BYTES);
    if (m->has_parent)
        memcpy(to + 24, m->parent, QCBMI_IDENTITY_BYTES);
    be64_store(to + 40, (uint64_t)m->created);
    be64_store(to + 48, m->size_before);
    be64_store(to + 56, m->size_after);
    be32_store(to + 64, m->granularity);
    be32_store(to + 68, m->n_probes);
    be16_store(to + 72, (uint16_t)bitmap);
    be16_store(to + 74, (uint16_t)note);
    if (m->has_digest)
        memcpy(to + 80, m->digest, QCBMI_DIGEST_BYTES);
    be64_store(to + 96, m->digest_at);
    be64_store(to + 104, m->zeros_from);
    for (uint32_t i = 0; i < m->n_probes; i++, at += QCBMI_DELTA_PROBE_BYTES) {
        be64_store(to + at, m->probes[i].offset);
        be64_store(to + at + 8, m->probes[i].length);
        memcpy(to + at + 16, m->probes[i].digest, QCBMI_DIGEST_BYTES);
    }
    memcpy(to + at, m->bitmap, bitmap);
    memcpy(to + at + bitmap, m->note, note);
    qcbmi_digest(to, at + bitmap + note, to + at + bitmap + note);
}

/* Does @len agree with what the fixed part says, and the digest at the end with all of it? */
static int check_whole(const uint8_t *from, size_t len, struct qcbm_error *err)
{
    uint32_t probes = be32_load(from + 68);
    size_t names = (size_t)be16_load(from + 72) + be16_load(from + 74);

    if (probes > QCBMI_DELTA_MAX_PROBES || be16_load(from + 72) > QCBMI_DELTA_MAX_NAME ||
        be16_load(from + 74) > QCBMI_DELTA_MAX_NOTE ||
        len != QCBMI_DELTA_META_FIXED + probes * QCBMI_DELTA_PROBE_BYTES + names + QCBMI_DIGEST_BYTES)
        return qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "identity: its %zu bytes are not as many as it needs",
                          len);
    if (!qcbmi_digest_is(from, len - QCBMI_DIGEST_BYTES, from + len - QCBMI_DIGEST_BYTES))
        return qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "identity: its digest says that it is damaged");
    return 0;
}

/* A name has no NUL in it, or what is behind it would be lost. */
static int take_text(char *to, const uint8_t *from, size_t len, struct qcbm_error *err)
{
    if (memchr(from, '\0', len))
        return qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "identity: a NUL in a name or note");
    memcpy(to, from, len);
    to[len] = '\0';
    return 0;
}

int qcbmi_delta_meta_parse(const uint8_t *from, size_t len, struct qcbmi_delta_meta *out, struct qcbm_error *err)
{
    struct qcbmi_delta_meta m = { 0 };
    size_t at = QCBMI_DELTA_META_FIXED;
    int ret;

    if (len < QCBMI_DELTA_META_FIXED + QCBMI_DIGEST_BYTES)
        return qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "identity: %zu bytes are too few", len);
    if (be32_load(from) != VERSION)
        return qcbmi_fail(err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET, "identity of version %u", be32_load(from));
    ret = check_whole(from, len, err);
    if (ret < 0)
        return ret;
    m.kind = from[4];
    m.has_parent = be16_load(from + 6) & HAS_PARENT;
    m.has_digest = be16_load(from + 6) & HAS_DIGEST;
    m.has_zeros_from = be16_load(from + 6) & HAS_ZEROS_FROM;
    memcpy(m.id, from + 8, QCBMI_IDENTITY_BYTES);
    if (m.has_parent)
        memcpy(m.parent, from + 24, QCBMI_IDENTITY_BYTES);
    m.created = (int64_t)be64_load(from + 40);
    m.size_before = be64_load(from + 48);
    m.size_after = be64_load(from + 56);
    m.granularity = be32_load(from + 64);
    m.n_probes = be32_load(from + 68);
    if (m.has_digest)
        memcpy(m.digest, from + 80, QCBMI_DIGEST_BYTES);
    m.digest_at = be64_load(from + 96);
    m.zeros_from = be64_load(from + 104);
    for (uint32_t i = 0; i < m.n_probes; i++, at += QCBMI_DELTA_PROBE_BYTES) {
        m.probes[i].offset = be64_load(from + at);
        m.probes[i].length = be64_load(from + at + 8);
        memcpy(m.probes[i].digest, from + at + 16, QCBMI_DIGEST_BYTES);
    }
    ret = take_text(m.bitmap, from + at, be16_load(from + 72), err);
    if (ret == 0)
        ret = take_text(m.note, from + at + be16_load(from + 72), be16_load(from + 74), err);
    if (ret == 0)
        ret = qcbmi_delta_meta_check(&m, err);
    if (ret == 0)
        *out = m;
    return ret;
}
