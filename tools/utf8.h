/* utf8.h - one character at a time from bytes that nobody has checked
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_UTF8_H
#define QCBM_TOOL_UTF8_H

#include <stddef.h>
#include <stdint.h>

#define UTF8_INVALID UINT32_MAX

/* Read the sequence at @bytes, of which @len > 0 are there; *@code is its code point, or UTF8_INVALID. Returns the
 * bytes it took, at least 1. A bad sequence is taken as far as qemu takes it, so that both print as many U+FFFD. */
size_t utf8_next(const unsigned char *bytes, size_t len, uint32_t *code);

#endif
