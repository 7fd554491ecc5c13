/* qemu_text.h - sizes as qemu-img words them, read and printed; names that cannot play with the terminal
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_QEMU_TEXT_H
#define QCBM_TOOL_QEMU_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct size_text {
    char text[32];
};

/* "512 B", "1.5 KiB", "10 GiB": three significant digits, the unit below which qemu goes on at 1000. */
struct size_text size_text(uint64_t bytes);

struct count_text {
    char text[64];
};

/* "0 writes", "1 write", "2 writes": @one with an "s" behind it where there is another number, or with "es" behind
 * "sh". */
struct count_text count_text(uint64_t n, const char *one);

/* Print @len bytes; control characters, bytes that are no UTF-8 and characters that change the direction of the text
 * come out as \xNN per byte. Returns the bytes printed. */
size_t print_escaped(FILE *out, const char *text, size_t len);
/* Would it print them as they are? */
bool is_harmless_text(const char *text, size_t len);
/* Print @name as one word of a shell that names a file, whatever characters it has; "FILE" if a terminal would not show
 * it as it is. Without quotes, so that it can stand in a command that is quoted. */
void print_shell_name(FILE *out, const char *name);
/* The same in a text from malloc(), or NULL. */
char *shell_name(const char *name);
/* The columns that print_escaped() takes if each character takes one. */
size_t escaped_columns(const char *text, size_t len);

enum size_parse { SIZE_OK, SIZE_SYNTAX, SIZE_RANGE };

/* A size as qemu-img reads it: decimal, perhaps with a fraction, or 0x...; then nothing or one of bBkKmMgGtTpPeE. The
 * value never exceeds INT64_MAX. */
enum size_parse size_parse(const char *text, uint64_t *out);

#endif
