/* fidx_file.h - the fixed index of Proxmox Backup Server: the digests of the chunks of a disk
 * SPDX-License-Identifier: MIT
 *
 * Little-endian: 4096 bytes of header, then the SHA-256 of each chunk, the last of which is as long as the disk leaves
 * it. In an encrypted backup the digests are keyed: over the content, and what is derived from the key. The index
 * itself does not say which it is. */
#ifndef FIDX_FILE_H
#define FIDX_FILE_H

#include <stddef.h>

#include "qcbm.h"

#define FIDX_MAGIC_BYTES 8u
#define FIDX_HEADER 4096u
#define FIDX_FIXED 80u /* bytes of it that mean something */
#define FIDX_DIGEST 32u
#define FIDX_MIN_CHUNK_BITS 12u
#define FIDX_MAX_CHUNK_BITS 22u /* its own client makes none that are larger */

struct fidx_header {
    uint8_t uuid[16];
    int64_t time;                  /* seconds since 1970 */
    uint8_t checksum[FIDX_DIGEST]; /* SHA-256 of all digests */
    uint64_t size;                 /* bytes of the disk */
    unsigned chunk_bits;
};

bool qcbmi_fidx_is(const uint8_t magic[FIDX_MAGIC_BYTES]);

/* The first FIDX_FIXED bytes of a file of @file_size. Returns 0 or QCBM_E_CORRUPT (it has not one digest a chunk, and
 * so was cut). */
int qcbmi_fidx_parse(const uint8_t *bytes, uint64_t file_size, struct fidx_header *out, struct qcbm_error *err);

#endif
