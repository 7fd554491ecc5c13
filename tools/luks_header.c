/* luks_header.c - what can be told of a LUKS image without its key
 * SPDX-License-Identifier: MIT
 *
 * The layout is that of the "LUKS On-Disk Format Specification", version 1: 592 bytes, big-endian.
 */
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "luks_header.h"

enum { /* offsets in the header */
       AT_VERSION = 6,
       AT_CIPHER = 8,
       AT_MODE = 40,
       AT_HASH = 72,
       AT_PAYLOAD = 104,
       AT_KEY_BYTES = 108,
       AT_ITERATIONS = 164,
       AT_UUID = 168,
       AT_SLOTS = 208,
       SLOT_BYTES = 48,
       HEADER_BYTES = AT_SLOTS + LUKS_SLOTS * SLOT_BYTES
};
enum { AT_SLOT_ACTIVE = 0, AT_SLOT_ITERATIONS = 4, AT_SLOT_KEY = 40, AT_SLOT_STRIPES = 44, SECTOR = 512 };
enum { SLOT_ENABLED = 0x00AC71F3, SLOT_DISABLED = 0x0000DEAD };

static uint32_t be32(const uint8_t *p)
{
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

static bool is_one_of(const char *text, const char *const *names)
{
    while (*names && strcmp(*names, text) != 0)
        names++;
    return *names != NULL;
}

/* A field of 32 bytes that must hold a terminated string. */
static bool take_name(const uint8_t *field, char out[33])
{
    memcpy(out, field, 32);
    out[32] = '\0';
    return strlen(out) < 32;
}

static bool known_hash(const char *name)
{
    static const char *const names[] = { "md5", "sha1", "sha224", "sha256", "sha384", "sha512", "ripemd160", NULL };

    return is_one_of(name, names);
}

/* "xts-plain64", "cbc-essiv:sha256": mode, generator of the initialisation vectors, perhaps its hash. */
static const char *take_mode(const uint8_t *field, struct luks_header *out)
{
    static const char *const modes[] = { "ecb", "cbc", "xts", "ctr", NULL };
    static const char *const generators[] = { "plain", "plain64", "essiv", NULL };
    char text[33];

    if (!take_name(field, text))
        return "the cipher mode does not end";
    char *dash = strchr(text, '-');
    if (!dash)
        return "unknown form of cipher mode";
    *dash = '\0';
    char *colon = strchr(dash + 1, ':');
    if (colon)
        *colon = '\0';
    if (!is_one_of(text, modes) || !is_one_of(dash + 1, generators))
        return "unknown cipher mode";
    bool essiv = strcmp(dash + 1, "essiv") == 0;
    if ((essiv && !colon) || (colon && !known_hash(colon + 1)))
        return "unknown hash of the cipher mode";
    snprintf(out->mode, sizeof out->mode, "%s", text);
    snprintf(out->ivgen, sizeof out->ivgen, "%s", dash + 1);
    snprintf(out->ivgen_hash, sizeof out->ivgen_hash, "%s", essiv ? colon + 1 : "");
    return NULL;
}

/* Cipher and key length together; in mode xts the key is two. */
static const char *take_cipher(const uint8_t *header, struct luks_header *out)
{
    static const char *const names[] = { "aes-128",     "aes-192",     "aes-256",     "serpent-128",
                                         "serpent-192", "serpent-256", "twofish-128", "twofish-192",
                                         "twofish-256", "cast5-128",   NULL };
    uint32_t key_bytes = be32(header + AT_KEY_BYTES);
    char name[33];

    if (!take_name(header + AT_CIPHER, name))
        return "the cipher name does not end";
    if (strcmp(out->mode, "xts") == 0)
        key_bytes /= 2;
    if (key_bytes > 64)
        return "unknown key length";
    snprintf(out->cipher, sizeof out->cipher, "%s-%u", name, (unsigned)key_bytes * 8);
    return is_one_of(out->cipher, names) ? NULL : "unknown cipher";
}

static bool take_slot(const uint8_t *slot, struct luks_slot *out)
{
    uint32_t active = be32(slot + AT_SLOT_ACTIVE);

    out->active = active == SLOT_ENABLED;
    out->iterations = be32(slot + AT_SLOT_ITERATIONS);
    out->stripes = be32(slot + AT_SLOT_STRIPES);
    out->key_offset = (uint64_t)be32(slot + AT_SLOT_KEY) * SECTOR;
    return active == SLOT_ENABLED || active == SLOT_DISABLED;
}

static const char *parse(const uint8_t *header, struct luks_header *out)
{
    const char *wrong;

    if (memcmp(header, "LUKS\xBA\xBE", 6) != 0)
        return "the magic is missing";
    if (header[AT_VERSION] != 0 || header[AT_VERSION + 1] != 1)
        return "not version 1";
    if ((wrong = take_mode(header + AT_MODE, out)) || (wrong = take_cipher(header, out)))
        return wrong;
    if (!take_name(header + AT_HASH, out->hash) || !known_hash(out->hash))
        return "unknown hash";
    memcpy(out->uuid, header + AT_UUID, 40);
    out->uuid[40] = '\0';
    out->payload_offset = (uint64_t)be32(header + AT_PAYLOAD) * SECTOR;
    out->iterations = be32(header + AT_ITERATIONS);
    for (size_t i = 0; i < LUKS_SLOTS; i++) {
        if (!take_slot(header + AT_SLOTS + i * SLOT_BYTES, &out->slots[i]))
            return "a key slot is neither enabled nor disabled";
    }
    return NULL;
}

const char *luks_header_read(const char *path, uint64_t offset, struct luks_header *out)
{
    uint8_t header[HEADER_BYTES];
    struct luks_header parsed;
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);

    if (fd < 0)
        return "cannot be opened";
    ssize_t got = offset <= INT64_MAX ? pread(fd, header, sizeof header, (off_t)offset) : -1;
    close(fd);
    if (got != (ssize_t)sizeof header)
        return "cannot be read";
    const char *wrong = parse(header, &parsed);
    if (!wrong)
        *out = parsed;
    return wrong;
}
