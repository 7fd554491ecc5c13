/* luks_header.c - what can be told of a LUKS image without its key
 * SPDX-License-Identifier: MIT
 *
 * The layout is that of the "LUKS On-Disk Format Specification", version 1: 592 bytes, big-endian. Within qcow2 the
 * header lies where the CRYPTO extension says. */
#include "format/luks_header.h"

#include <stdio.h>
#include <string.h>

#include "base/error.h"
#include "format/q2_cursor.h"

enum { NAME_BYTES = 32, UUID_BYTES = 40, DIGEST_BYTES = 20, SALT_BYTES = 32, SECTOR = 512 };
enum { SLOT_ENABLED = 0x00AC71F3, SLOT_DISABLED = 0x0000DEAD };

/* The header as it is read: where the field at hand lies, for errors. */
struct reading {
    struct q2_cursor c;
    const uint8_t *start;
    uint64_t offset; /* of start, in the image file */
    struct qcbm_error *err;
};

/* @field is where what is wrong begins. */
static int refuse_as(const struct reading *r, int code, const uint8_t *field, const char *what)
{
    return qcbmi_fail(r->err, code, r->offset + (uint64_t)(field - r->start), "LUKS header at 0x%" PRIx64 ": %s",
                      r->offset, what);
}

static int refuse(const struct reading *r, const uint8_t *field, const char *what)
{
    return refuse_as(r, QCBM_E_CORRUPT, field, what);
}

static bool is_one_of(const char *text, const char *const *names)
{
    while (*names && strcmp(*names, text) != 0)
        names++;
    return *names != NULL;
}

/* A field that must hold a terminated string. */
static bool take_name(struct reading *r, char out[NAME_BYTES + 1])
{
    const uint8_t *field = q2_take(&r->c, NAME_BYTES);

    memcpy(out, field, NAME_BYTES);
    out[NAME_BYTES] = '\0';
    return strlen(out) < NAME_BYTES;
}

static bool is_hash(const char *name)
{
    static const char *const names[] = { "md5", "sha1", "sha224", "sha256", "sha384", "sha512", "ripemd160", NULL };

    return is_one_of(name, names);
}

/* "xts-plain64", "cbc-essiv:sha256": mode, generator of the initialisation vectors, perhaps its hash. */
static const char *split_mode(char *text, struct qcbm_luks_info *out)
{
    static const char *const modes[] = { "ecb", "cbc", "xts", "ctr", NULL };
    static const char *const generators[] = { "plain", "plain64", "essiv", NULL };
    char *dash = strchr(text, '-'), *colon = dash ? strchr(dash, ':') : NULL;

    if (!dash)
        return "unknown form of cipher mode";
    *dash = '\0';
    if (colon)
        *colon = '\0';
    if (!is_one_of(text, modes) || !is_one_of(dash + 1, generators))
        return "unknown cipher mode";
    bool essiv = strcmp(dash + 1, "essiv") == 0;
    if ((essiv && !colon) || (colon && !is_hash(colon + 1)))
        return "unknown hash of the cipher mode";
    snprintf(out->mode, sizeof(out->mode), "%s", text);
    snprintf(out->ivgen, sizeof(out->ivgen), "%s", dash + 1);
    snprintf(out->ivgen_hash, sizeof(out->ivgen_hash), "%s", essiv ? colon + 1 : "");
    return NULL;
}

/* Cipher and key length together; in mode xts the key is two. */
static const char *join_cipher(const char *name, uint32_t key_bytes, struct qcbm_luks_info *out)
{
    static const char *const names[] = { "aes-128",     "aes-192",     "aes-256",     "serpent-128",
                                         "serpent-192", "serpent-256", "twofish-128", "twofish-192",
                                         "twofish-256", "cast5-128",   NULL };

    if (strcmp(out->mode, "xts") == 0)
        key_bytes /= 2;
    if (key_bytes > 64)
        return "unknown key length";
    snprintf(out->cipher, sizeof(out->cipher), "%s-%u", name, (unsigned)key_bytes * 8);
    return is_one_of(out->cipher, names) ? NULL : "unknown cipher";
}

static int take_start(struct reading *r)
{
    if (memcmp(q2_take(&r->c, 6), "LUKS\xBA\xBE", 6) != 0)
        return refuse(r, r->start, "the magic is missing");
    if (q2_take_u16(&r->c) != 1)
        return refuse_as(r, QCBM_E_UNSUPPORTED, r->c.at - 2, "not version 1");
    return 0;
}

static int take_algorithms(struct reading *r, struct qcbm_luks_info *out)
{
    const uint8_t *field = r->c.at;
    char cipher[NAME_BYTES + 1], mode[NAME_BYTES + 1];
    bool cipher_ends = take_name(r, cipher), mode_ends = take_name(r, mode);
    const char *wrong = mode_ends ? split_mode(mode, out) : "the cipher mode does not end";

    if (wrong)
        return refuse(r, field + NAME_BYTES, wrong);
    if (!cipher_ends)
        return refuse(r, field, "the cipher name does not end");
    bool hash_ends = take_name(r, out->hash);
    out->payload_offset = (uint64_t)q2_take_u32(&r->c) * SECTOR;
    wrong = join_cipher(cipher, q2_take_u32(&r->c), out);
    if (wrong)
        return refuse(r, field, wrong);
    return hash_ends && is_hash(out->hash) ? 0 : refuse(r, field + 2 * NAME_BYTES, "unknown hash");
}

static int take_slot(struct reading *r, struct qcbm_luks_slot *out)
{
    const uint8_t *field = r->c.at;
    uint32_t active = q2_take_u32(&r->c);

    out->active = active == SLOT_ENABLED;
    out->iterations = q2_take_u32(&r->c);
    (void)q2_take(&r->c, SALT_BYTES);
    out->key_offset = (uint64_t)q2_take_u32(&r->c) * SECTOR;
    out->stripes = q2_take_u32(&r->c);
    if (active != SLOT_ENABLED && active != SLOT_DISABLED)
        return refuse(r, field, "a key slot is neither enabled nor disabled");
    return 0;
}

static int take_slots(struct reading *r, struct qcbm_luks_info *out)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < QCBM_LUKS_SLOTS; i++)
        ret = take_slot(r, &out->slots[i]);
    return ret;
}

int qcbmi_luks_parse(const uint8_t *bytes, size_t len, uint64_t offset, struct qcbm_luks_info *out,
                     struct qcbm_error *err)
{
    struct reading r = { .start = bytes, .offset = offset, .err = err };
    struct qcbm_luks_info parsed = { 0 };
    int ret;

    q2_cursor_init(&r.c, bytes, len);
    if (len < LUKS_HEADER_BYTES)
        return refuse(&r, bytes, "cannot be read"); /* so nothing below can overrun */
    ret = take_start(&r);
    if (ret == 0)
        ret = take_algorithms(&r, &parsed);
    if (ret < 0)
        return ret;
    (void)q2_take(&r.c, DIGEST_BYTES + SALT_BYTES); /* of the master key */
    parsed.iterations = q2_take_u32(&r.c);
    memcpy(parsed.uuid, q2_take(&r.c, UUID_BYTES), UUID_BYTES);
    ret = take_slots(&r, &parsed);
    if (ret == 0)
        *out = parsed;
    return ret;
}
