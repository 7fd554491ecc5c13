/* base64_in.h - a file of base64, read as the bytes that it stands for
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_BASE64_IN_H
#define QCBM_TOOL_BASE64_IN_H

#include <stdint.h>
#include <stdio.h>

struct base64_in {
    FILE *from;        /* stays the caller's */
    uint64_t at;       /* bytes read of it */
    const char *fault; /* why it is no base64, at this place; else NULL */
    uint32_t group;    /* bits that fill no byte yet */
    unsigned n_bits, characters, padding;
};

/* A stream of these bytes, whose reading fails with EINVAL where @b->fault is set. White space between characters is
 * passed over; groups of four are filled up with '='. NULL: no memory. Closing it leaves @b->from open. */
FILE *base64_open(struct base64_in *b, FILE *from);

#endif
