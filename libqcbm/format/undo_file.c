/* undo_file.c - the parts of an undo file: header, records, end mark (docs/undo-format.md)
 * SPDX-License-Identifier: MIT */
#include "format/undo_file.h"

#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/error.h"

#define DIGEST QCBMI_DIGEST_BYTES
#define HEADER_DIGEST (QCBMI_UNDO_HEADER_BYTES - DIGEST) /* where it stands */

static const uint8_t header_magic[8] = "QCBMUNDO";
static const uint8_t end_magic[8] = "QCBMDONE";
static const uint8_t seal_magic[8] = "QCBMSEAL";

static int fail_incomplete(struct qcbm_error *err)
{
    return qcbmi_fail(
        err, QCBM_E_CORRUPT, QCBM_NO_OFFSET,
        "the undo file is incomplete: the operation was stopped before it changed the image; it may be removed");
}

static int fail_damaged(struct qcbm_error *err, const char *what, uint64_t at)
{
    return qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "the undo file is damaged: %s at 0x%" PRIx64, what, at);
}

/* ---- header, end mark, seal ---- */

enum { RECORDING = 1, TIME_KNOWN = 2, WAS_OPEN = 4 };

static void time_store(uint8_t *to, const struct qcbmi_undo_time *t)
{
    be64_store(to, t->known ? (uint64_t)t->time.seconds : 0);
    be32_store(to + 8, t->known ? t->time.nanoseconds : 0);
}

static struct qcbmi_undo_time time_load(const uint8_t *from, bool known)
{
    return (struct qcbmi_undo_time){ known, { (int64_t)be64_load(from), be32_load(from + 8) } };
}

/* What version 2 has where version 1 has zeros. */
static bool parse_since_2(const uint8_t *from, struct qcbmi_undo_header *h)
{
    uint32_t flags = be32_load(from + 64);

    if (h->version == 1) {
        h->recording = true;
        return bytes_are_zero(from + 64, HEADER_DIGEST - 64);
    }
    h->recording = flags & RECORDING;
    h->first_switch = be32_load(from + 68);
    h->written = time_load(from + 72, flags & TIME_KNOWN);
    return (flags & ~(uint32_t)(RECORDING | TIME_KNOWN)) == 0 && h->first_switch <= h->n_stages &&
           h->written.time.nanoseconds < 1000000000 && bytes_are_zero(from + 84, HEADER_DIGEST - 84);
}

void qcbmi_undo_header_store(uint8_t *to, const struct qcbmi_undo_header *h)
{
    memset(to, 0, QCBMI_UNDO_HEADER_BYTES);
    memcpy(to, header_magic, sizeof(header_magic));
    be32_store(to + 8, h->version);
    be32_store(to + 12, h->n_stages);
    be64_store(to + 16, h->len_before);
    be64_store(to + 24, h->len_after);
    be64_store(to + 32, h->n_records);
    be64_store(to + 40, h->file_len);
    memcpy(to + 48, h->identity, DIGEST);
    if (h->version > 1) {
        be32_store(to + 64, (h->recording ? RECORDING : 0) | (h->written.known ? TIME_KNOWN : 0));
        be32_store(to + 68, h->first_switch);
        time_store(to + 72, &h->written);
    }
    qcbmi_digest(to, HEADER_DIGEST, to + HEADER_DIGEST);
}

int qcbmi_undo_header_parse(const uint8_t *from, struct qcbmi_undo_header *out, struct qcbm_error *err)
{
    struct qcbmi_undo_header h = { 0 };

    if (bytes_are_zero(from, QCBMI_UNDO_HEADER_BYTES))
        return fail_incomplete(err);
    if (memcmp(from, header_magic, sizeof(header_magic)) != 0)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "this is no undo file: the magic is missing");
    h.version = be32_load(from + 8);
    if (h.version < 1 || h.version > QCBMI_UNDO_VERSION)
        return qcbmi_fail(err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET,
                          "the undo file has version %" PRIu32 ", this program knows version %u", h.version,
                          QCBMI_UNDO_VERSION);
    if (!qcbmi_digest_is(from, HEADER_DIGEST, from + HEADER_DIGEST))
        return fail_damaged(err, "header", 0);
    h.n_stages = be32_load(from + 12);
    h.len_before = be64_load(from + 16);
    h.len_after = be64_load(from + 24);
    h.n_records = be64_load(from + 32);
    h.file_len = be64_load(from + 40);
    memcpy(h.identity, from + 48, DIGEST);
    if (h.n_stages > QCBMI_UNDO_MAX_STAGES || h.len_before > h.len_after || h.len_after > INT64_MAX ||
        !parse_since_2(from, &h) || h.file_len < QCBMI_UNDO_HEADER_BYTES + qcbmi_undo_tail_bytes(&h) ||
        h.file_len > INT64_MAX || h.n_records > h.file_len / (QCBMI_UNDO_RECORD_FIXED + 2 * DIGEST))
        return fail_damaged(err, "impossible numbers in the header", 12);
    *out = h;
    return 0;
}

void qcbmi_undo_end_store(uint8_t *to, const uint8_t *header)
{
    memcpy(to, end_magic, sizeof(end_magic));
    memset(to + 8, 0, 8);
    memcpy(to + 16, header + HEADER_DIGEST, DIGEST);
}

uint64_t qcbmi_undo_tail_bytes(const struct qcbmi_undo_header *h)
{
    return QCBMI_UNDO_END_BYTES + (h->version > 1 ? QCBMI_UNDO_SEAL_BYTES : 0);
}

/* So that what lies there does not cross a sector. */
uint64_t qcbmi_undo_end_offset(const struct qcbmi_undo_header *h, uint64_t at)
{
    return align_up(at, h->version > 1 ? 128 : QCBMI_UNDO_END_BYTES);
}

void qcbmi_undo_seal_store(uint8_t *to, const struct qcbmi_undo_seal *seal, const uint8_t *header)
{
    memset(to, 0, QCBMI_UNDO_SEAL_BYTES);
    if (seal->kind == QCBMI_UNDO_OPEN)
        return;
    memcpy(to, seal_magic, sizeof(seal_magic));
    be32_store(to + 8, (uint32_t)seal->kind);
    be32_store(to + 12, (seal->written.known ? TIME_KNOWN : 0) | (seal->cut ? WAS_OPEN : 0));
    time_store(to + 16, &seal->written);
    be32_store(to + 28, seal->image);
    memcpy(to + 32, header + HEADER_DIGEST, DIGEST);
    qcbmi_digest(to, 48, to + 48);
}

/* Are flags and mark those of @kind? */
static bool is_sound_seal(uint32_t kind, uint32_t flags, uint32_t image)
{
    if (kind == QCBMI_UNDO_SEALED)
        return (flags & ~(uint32_t)TIME_KNOWN) == 0 && image == 0;
    return kind == QCBMI_UNDO_BEGUN && (flags & ~(uint32_t)(TIME_KNOWN | WAS_OPEN)) == 0;
}

int qcbmi_undo_seal_parse(const uint8_t *from, const uint8_t *header, struct qcbmi_undo_seal *out,
                          struct qcbm_error *err)
{
    uint32_t kind = be32_load(from + 8), flags = be32_load(from + 12), image = be32_load(from + 28);

    *out = (struct qcbmi_undo_seal){ .kind = QCBMI_UNDO_OPEN };
    if (bytes_are_zero(from, QCBMI_UNDO_SEAL_BYTES))
        return 0;
    if (memcmp(from, seal_magic, sizeof(seal_magic)) != 0 || !qcbmi_digest_is(from, 48, from + 48) ||
        memcmp(from + 32, header + HEADER_DIGEST, DIGEST) != 0 || !is_sound_seal(kind, flags, image))
        return fail_damaged(err, "seal", be64_load(header + 40) - QCBMI_UNDO_SEAL_BYTES);
    out->kind = (enum qcbmi_undo_seal_kind)kind;
    out->written = time_load(from + 16, flags & TIME_KNOWN);
    out->cut = flags & WAS_OPEN;
    out->image = image;
    return 0;
}

int qcbmi_undo_end_check(const uint8_t *from, const uint8_t *header, struct qcbm_error *err)
{
    const struct qcbmi_undo_header h = { .version = be32_load(header + 8) };
    uint8_t want[QCBMI_UNDO_END_BYTES];

    qcbmi_undo_end_store(want, header);
    if (memcmp(from, want, sizeof(want)) == 0)
        return 0;
    return bytes_are_zero(from, QCBMI_UNDO_END_BYTES)
               ? fail_incomplete(err)
               : fail_damaged(err, "end mark", be64_load(header + 40) - qcbmi_undo_tail_bytes(&h));
}

/* ---- records ---- */

uint64_t qcbmi_undo_sectors(const struct qcbmi_undo_record *r)
{
    return (r->off + r->len - 1) / QCBMI_UNDO_SECTOR - r->off / QCBMI_UNDO_SECTOR + 1;
}

static uint64_t n_digests(const struct qcbmi_undo_record *r)
{
    return r->kind == QCBMI_UNDO_UNTOUCHED ? 1 : qcbmi_undo_sectors(r);
}

uint64_t qcbmi_undo_record_bytes(const struct qcbmi_undo_record *r)
{
    return QCBMI_UNDO_RECORD_FIXED + n_digests(r) * DIGEST + (r->kind == QCBMI_UNDO_OVERWRITTEN ? r->len : 0) + DIGEST;
}

uint8_t *qcbmi_undo_record_digest(uint8_t *record, uint64_t i)
{
    return record + QCBMI_UNDO_RECORD_FIXED + i * DIGEST;
}

uint8_t *qcbmi_undo_record_old(uint8_t *record, const struct qcbmi_undo_record *r)
{
    return qcbmi_undo_record_digest(record, n_digests(r));
}

void qcbmi_undo_record_seal(uint8_t *to, const struct qcbmi_undo_record *r)
{
    uint64_t bytes = qcbmi_undo_record_bytes(r) - DIGEST;

    be32_store(to, (uint32_t)r->kind);
    be32_store(to + 4, r->stage);
    be64_store(to + 8, r->off);
    be64_store(to + 16, r->len);
    be64_store(to + 24, r->index);
    qcbmi_digest(to, (size_t)bytes, to + bytes);
}

/* Whole sectors, or a part of one? */
static bool keeps_sectors(const struct qcbmi_undo_record *r)
{
    return r->kind == QCBMI_UNDO_UNTOUCHED || qcbmi_undo_sectors(r) == 1 ||
           (is_aligned(r->off, QCBMI_UNDO_SECTOR) && is_aligned(r->len, QCBMI_UNDO_SECTOR));
}

/* Does a record of this kind lie in its part of the image? */
static bool in_its_part(const struct qcbmi_undo_record *r, const struct qcbmi_undo_header *h)
{
    if (r->kind == QCBMI_UNDO_APPENDED)
        return r->off >= h->len_before && range_fits(r->off, r->len, h->len_after);
    return range_fits(r->off, r->len, h->len_before);
}

int qcbmi_undo_record_parse(const uint8_t *from, uint64_t index, uint64_t at, const struct qcbmi_undo_header *h,
                            struct qcbmi_undo_record *out, struct qcbm_error *err)
{
    struct qcbmi_undo_record r = { .stage = be32_load(from + 4),
                                   .off = be64_load(from + 8),
                                   .len = be64_load(from + 16),
                                   .index = be64_load(from + 24) };
    uint32_t kind = be32_load(from);

    if (kind < QCBMI_UNDO_OVERWRITTEN || kind > QCBMI_UNDO_UNTOUCHED || r.index != index)
        return fail_damaged(err, "record", at);
    r.kind = (enum qcbmi_undo_kind)kind;
    if (r.len == 0 || r.len > QCBMI_UNDO_MAX_LEN || !in_its_part(&r, h) || !keeps_sectors(&r) ||
        (r.kind == QCBMI_UNDO_UNTOUCHED ? r.stage != 0 : r.stage >= h->n_stages))
        return fail_damaged(err, "record", at);
    *out = r;
    return 0;
}

int qcbmi_undo_record_check(const uint8_t *record, const struct qcbmi_undo_record *r, uint64_t at,
                            struct qcbm_error *err)
{
    size_t bytes = (size_t)qcbmi_undo_record_bytes(r) - DIGEST;

    return qcbmi_digest_is(record, bytes, record + bytes) ? 0 : fail_damaged(err, "record", at);
}
