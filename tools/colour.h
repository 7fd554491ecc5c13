/* colour.h - severities in colour, on a terminal whose user wants it
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_COLOUR_H
#define QCBM_TOOL_COLOUR_H

#include <stddef.h>
#include <stdio.h>

enum tone { TONE_PLAIN, TONE_ERROR, TONE_WARNING, TONE_NOTE, N_TONES };

/* Before anything is printed, and before the process is shut in: what are standard output and standard error? Colour is
 * for terminals that know it, unless NO_COLOR is set and not empty (https://no-color.org). */
void colour_begin(void);
/* Print @len bytes of @text as print_escaped() does, in that tone where @out shows colours. */
void colour_put(FILE *out, enum tone tone, const char *text, size_t len);
void colour_word(FILE *out, enum tone tone, const char *word);

#endif
