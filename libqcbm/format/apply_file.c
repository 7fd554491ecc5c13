/* apply_file.c - the files that an apply keeps beside an image: how far it is, and which state the disk has
 * SPDX-License-Identifier: MIT */
#include "format/apply_file.h"

#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/error.h"

#define DIGEST QCBMI_DIGEST_BYTES
#define HEADER QCBMI_APPLY_HEADER_BYTES
#define HEADER_DIGEST (HEADER - DIGEST) /* where it stands */
#define END_BYTES QCBMI_APPLY_END_BYTES

enum { HAS_PARENT = 1, HAD_NO_LEAKS = 2 };
enum { TIME_KNOWN = 1 };

static const uint8_t header_magic[8] = "QCBMAPLY", end_magic[8] = "QCBMDONE", step_magic[8] = "QCBMSTEP",
                     state_magic[8] = "QCBMSTID";

static int fail_damaged(struct qcbm_error *err, const char *what)
{
    return qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "the state file is damaged: %s", what);
}

/* ---- places ---- */

static uint64_t name_bytes(size_t len)
{
    return align_up(8 + len, 16) + DIGEST;
}

static uint64_t step_offset(size_t name_len)
{
    return align_up(HEADER + name_bytes(name_len) + END_BYTES, QCBMI_APPLY_STEP_BYTES);
}

uint64_t qcbmi_apply_step_offset(const struct qcbmi_apply_file *f)
{
    return step_offset(strlen(f->name));
}

uint64_t qcbmi_apply_end_offset(const struct qcbmi_apply_file *f)
{
    return HEADER + name_bytes(strlen(f->name));
}

uint64_t qcbmi_apply_file_bytes(const struct qcbmi_apply_file *f)
{
    return qcbmi_apply_step_offset(f) + QCBMI_APPLY_STEP_BYTES;
}

/* ---- stored ---- */

static void store_header(uint8_t *to, const struct qcbmi_apply_file *f)
{
    memcpy(to, header_magic, sizeof(header_magic));
    be32_store(to + 8, QCBMI_APPLY_VERSION);
    be32_store(to + 12, (f->has_parent ? HAS_PARENT : 0u) | (f->had_no_leaks ? HAD_NO_LEAKS : 0u));
    memcpy(to + 16, f->id, QCBMI_IDENTITY_BYTES);
    memcpy(to + 32, f->digest, DIGEST);
    memcpy(to + 48, f->parent, QCBMI_IDENTITY_BYTES);
    be64_store(to + 64, f->size_before);
    be64_store(to + 72, f->size_after);
    be32_store(to + 80, f->image);
    be32_store(to + 84, (uint32_t)strlen(f->name));
    qcbmi_digest(to, HEADER_DIGEST, to + HEADER_DIGEST);
}

static void store_end(uint8_t *to, const uint8_t *header)
{
    memcpy(to, end_magic, sizeof(end_magic));
    memset(to + 8, 0, 8);
    memcpy(to + 16, header + HEADER_DIGEST, DIGEST);
}

void qcbmi_apply_step_store(uint8_t *to, const struct qcbmi_apply_step *step, const uint8_t *file)
{
    memset(to, 0, QCBMI_APPLY_STEP_BYTES);
    memcpy(to, step_magic, sizeof(step_magic));
    be32_store(to + 8, (uint32_t)step->phase);
    be64_store(to + 16, step->offset);
    memcpy(to + 32, file + HEADER_DIGEST, DIGEST);
    qcbmi_digest(to, 48, to + 48);
}

void qcbmi_apply_file_store(uint8_t *to, const struct qcbmi_apply_file *f, const struct qcbmi_apply_step *step)
{
    size_t len = strlen(f->name);
    uint64_t bytes = name_bytes(len);

    memset(to, 0, (size_t)qcbmi_apply_file_bytes(f));
    store_header(to, f);
    be32_store(to + HEADER, (uint32_t)len);
    memcpy(to + HEADER + 8, f->name, len);
    qcbmi_digest(to + HEADER, (size_t)(bytes - DIGEST), to + HEADER + bytes - DIGEST);
    store_end(to + HEADER + bytes, to);
    qcbmi_apply_step_store(to + qcbmi_apply_step_offset(f), step, to);
}

/* ---- read ---- */

static int fail_incomplete(struct qcbm_error *err)
{
    return qcbmi_fail(err, QCBM_E_NOTFOUND, QCBM_NO_OFFSET,
                      "the state file is incomplete: the command was stopped before it changed the image");
}

static int parse_header(const uint8_t *from, struct qcbmi_apply_file *f, size_t *name_len, struct qcbm_error *err)
{
    uint32_t version = be32_load(from + 8), flags = be32_load(from + 12), len = be32_load(from + 84);

    if (bytes_are_zero(from, HEADER))
        return fail_incomplete(err);
    if (memcmp(from, header_magic, sizeof(header_magic)) != 0)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "this is no state file of an apply: the magic is missing");
    if (version != QCBMI_APPLY_VERSION)
        return qcbmi_fail(err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET,
                          "the state file has version %" PRIu32 ", this program knows version %u", version,
                          QCBMI_APPLY_VERSION);
    if (!qcbmi_digest_is(from, HEADER_DIGEST, from + HEADER_DIGEST))
        return fail_damaged(err, "header");
    *f = (struct qcbmi_apply_file){ .has_parent = flags & HAS_PARENT,
                                    .had_no_leaks = flags & HAD_NO_LEAKS,
                                    .size_before = be64_load(from + 64),
                                    .size_after = be64_load(from + 72),
                                    .image = be32_load(from + 80) };
    memcpy(f->id, from + 16, QCBMI_IDENTITY_BYTES);
    memcpy(f->digest, from + 32, DIGEST);
    memcpy(f->parent, from + 48, QCBMI_IDENTITY_BYTES);
    *name_len = len;
    if ((flags & ~(uint32_t)(HAS_PARENT | HAD_NO_LEAKS)) || f->size_before > INT64_MAX || f->size_after > INT64_MAX ||
        len > QCBMI_APPLY_MAX_NAME || (!f->has_parent && !bytes_are_zero(f->parent, sizeof(f->parent))) ||
        !bytes_are_zero(from + 88, HEADER_DIGEST - 88))
        return fail_damaged(err, "impossible numbers in the header");
    return 0;
}

static int parse_name(const uint8_t *from, struct qcbmi_apply_file *f, size_t len, struct qcbm_error *err)
{
    uint64_t bytes = name_bytes(len) - DIGEST;

    if (be32_load(from) != len || !qcbmi_digest_is(from, (size_t)bytes, from + bytes) || memchr(from + 8, 0, len))
        return fail_damaged(err, "name of the delta");
    memcpy(f->name, from + 8, len);
    return 0;
}

static void parse_step(const uint8_t *from, const uint8_t *file, struct qcbmi_apply_step *out)
{
    uint32_t phase = be32_load(from + 8);

    *out = (struct qcbmi_apply_step){ .phase = QCBMI_APPLY_GROW };
    if (memcmp(from, step_magic, sizeof(step_magic)) != 0 || !qcbmi_digest_is(from, 48, from + 48) ||
        memcmp(from + 32, file + HEADER_DIGEST, DIGEST) != 0 || phase < QCBMI_APPLY_GROW || phase > QCBMI_APPLY_NAME)
        return;
    *out = (struct qcbmi_apply_step){ (enum qcbmi_apply_phase)phase, be64_load(from + 16) };
}

int qcbmi_apply_file_parse(const uint8_t *from, uint64_t len, struct qcbmi_apply_file *out,
                           struct qcbmi_apply_step *step, struct qcbm_error *err)
{
    uint8_t end[END_BYTES];
    size_t name_len = 0;
    uint64_t at;
    int ret;

    if (len < HEADER)
        return fail_incomplete(err);
    ret = parse_header(from, out, &name_len, err);
    if (ret < 0)
        return ret;
    if (len < step_offset(name_len) + QCBMI_APPLY_STEP_BYTES)
        return fail_incomplete(err);
    at = HEADER + name_bytes(name_len);
    store_end(end, from);
    if (bytes_are_zero(from + at, END_BYTES))
        return fail_incomplete(err);
    if (memcmp(from + at, end, END_BYTES) != 0)
        return fail_damaged(err, "end mark");
    ret = parse_name(from + HEADER, out, name_len, err);
    if (ret == 0)
        parse_step(from + step_offset(name_len), from, step);
    return ret;
}

/* ---- the state of a raw file ---- */

void qcbmi_state_file_store(uint8_t *to, const struct qcbmi_state_file *s)
{
    memset(to, 0, QCBMI_STATE_BYTES);
    memcpy(to, state_magic, sizeof(state_magic));
    be32_store(to + 8, QCBMI_APPLY_VERSION);
    be32_store(to + 12, s->time_known ? TIME_KNOWN : 0);
    memcpy(to + 16, s->id, QCBMI_IDENTITY_BYTES);
    be64_store(to + 32, s->size);
    be64_store(to + 40, s->time_known ? (uint64_t)s->seconds : 0);
    be32_store(to + 48, s->time_known ? s->nanoseconds : 0);
    be32_store(to + 52, s->image);
    be64_store(to + 56, s->disk_size);
    qcbmi_digest(to, QCBMI_STATE_BYTES - DIGEST, to + QCBMI_STATE_BYTES - DIGEST);
}

int qcbmi_state_file_parse(const uint8_t *from, uint64_t len, struct qcbmi_state_file *out, struct qcbm_error *err)
{
    uint32_t flags;

    if (len < sizeof(state_magic) || memcmp(from, state_magic, sizeof(state_magic)) != 0)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "this is no file of an id: the magic is missing");
    if (len != QCBMI_STATE_BYTES)
        return fail_damaged(err, "length");
    if (be32_load(from + 8) != QCBMI_APPLY_VERSION)
        return qcbmi_fail(err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET,
                          "the file of the id has version %" PRIu32 ", this program knows version %u",
                          be32_load(from + 8), QCBMI_APPLY_VERSION);
    flags = be32_load(from + 12);
    if (!qcbmi_digest_is(from, QCBMI_STATE_BYTES - DIGEST, from + QCBMI_STATE_BYTES - DIGEST) ||
        (flags & ~(uint32_t)TIME_KNOWN) || be32_load(from + 48) >= 1000000000 ||
        be64_load(from + 56) > be64_load(from + 32) || !bytes_are_zero(from + 64, QCBMI_STATE_BYTES - DIGEST - 64))
        return fail_damaged(err, "digest or numbers");
    *out = (struct qcbmi_state_file){ .size = be64_load(from + 32),
                                      .disk_size = be64_load(from + 56),
                                      .image = be32_load(from + 52),
                                      .time_known = flags & TIME_KNOWN,
                                      .seconds = (int64_t)be64_load(from + 40),
                                      .nanoseconds = be32_load(from + 48) };
    memcpy(out->id, from + 16, QCBMI_IDENTITY_BYTES);
    return 0;
}
