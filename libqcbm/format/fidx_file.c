/* fidx_file.c - the fixed index of Proxmox Backup Server: the digests of the chunks of a disk
 * SPDX-License-Identifier: MIT */
#include "format/fidx_file.h"

#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "base/error.h"
#include "format/q2_limits.h"

enum { OFF_MAGIC = 0, OFF_UUID = 8, OFF_TIME = 24, OFF_CHECKSUM = 32, OFF_SIZE = 64, OFF_CHUNK = 72 };

static const uint8_t magic[FIDX_MAGIC_BYTES] = { 0x2f, 0x7f, 0x41, 0xed, 0x91, 0xfd, 0x0f, 0xcd };

bool qcbmi_fidx_is(const uint8_t bytes[FIDX_MAGIC_BYTES])
{
    return memcmp(bytes, magic, sizeof(magic)) == 0;
}

int qcbmi_fidx_parse(const uint8_t *bytes, uint64_t file_size, struct fidx_header *out, struct qcbm_error *err)
{
    uint64_t chunk = le64_load(bytes + OFF_CHUNK), chunks;

    memset(out, 0, sizeof(*out));
    if (!qcbmi_fidx_is(bytes))
        return qcbmi_fail(err, QCBM_E_CORRUPT, OFF_MAGIC, "not a fixed index");
    memcpy(out->uuid, bytes + OFF_UUID, sizeof(out->uuid));
    out->time = (int64_t)le64_load(bytes + OFF_TIME);
    memcpy(out->checksum, bytes + OFF_CHECKSUM, sizeof(out->checksum));
    out->size = le64_load(bytes + OFF_SIZE);
    if (out->size == 0 || out->size > Q2_MAX_OFFSET)
        return qcbmi_fail(err, QCBM_E_CORRUPT, OFF_SIZE, "index: a disk of %" PRIu64 " bytes", out->size);
    if (chunk >> FIDX_MIN_CHUNK_BITS == 0 || chunk >> FIDX_MAX_CHUNK_BITS > 1 || (chunk & (chunk - 1)))
        return qcbmi_fail(err, QCBM_E_CORRUPT, OFF_CHUNK,
                          "index: chunks of %" PRIu64 " bytes, allowed: powers of 2 from 4 KiB to 4 MiB", chunk);
    out->chunk_bits = (unsigned)__builtin_ctzll(chunk);
    chunks = div_up(out->size, chunk);
    if (file_size < FIDX_HEADER || (file_size - FIDX_HEADER) % FIDX_DIGEST ||
        (file_size - FIDX_HEADER) / FIDX_DIGEST != chunks)
        return qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET,
                          "index: a file of %" PRIu64 " bytes, where %" PRIu64 " chunks take another length", file_size,
                          chunks);
    return 0;
}
