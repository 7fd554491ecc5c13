/* luks_header.h - what can be told of a LUKS image without its key
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_LUKS_HEADER_H
#define QCBM_TOOL_LUKS_HEADER_H

#include <stdbool.h>
#include <stdint.h>

enum { LUKS_SLOTS = 8 };

struct luks_slot {
    bool active;
    uint32_t iterations, stripes;
    uint64_t key_offset; /* bytes from the start of the LUKS header */
};

struct luks_header {
    char cipher[48];     /* "aes-256" */
    char mode[33];       /* "xts" */
    char ivgen[33];      /* "plain64" */
    char ivgen_hash[33]; /* "" if the generator takes none */
    char hash[33];       /* "sha256" */
    char uuid[41];
    uint64_t payload_offset;
    uint32_t iterations; /* of the master key's digest */
    struct luks_slot slots[LUKS_SLOTS];
};

/* Read the LUKS version 1 header at @offset of the file @path. NULL if it is there and legal, else what is wrong. */
const char *luks_header_read(const char *path, uint64_t offset, struct luks_header *out);

#endif
