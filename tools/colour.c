/* colour.c - severities in colour, on a terminal whose user wants it
 * SPDX-License-Identifier: MIT
 */
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "colour.h"
#include "qemu_text.h"

static bool on_stdout, on_stderr;

void colour_begin(void)
{
    const char *no = getenv("NO_COLOR"), *term = getenv("TERM");
    bool wanted = !(no && no[0]) && term && term[0] && strcmp(term, "dumb") != 0;

    on_stdout = wanted && isatty(STDOUT_FILENO);
    on_stderr = wanted && isatty(STDERR_FILENO);
}

void colour_put(FILE *out, enum tone tone, const char *text, size_t len)
{
    static const char *const starts[N_TONES] = { "", "\033[1;31m", "\033[1;33m", "\033[1;36m" };
    bool shown = tone != TONE_PLAIN && (out == stdout ? on_stdout : out == stderr && on_stderr);

    fputs(shown ? starts[tone] : "", out);
    print_escaped(out, text, len);
    fputs(shown ? "\033[0m" : "", out);
}

void colour_word(FILE *out, enum tone tone, const char *word)
{
    colour_put(out, tone, word, strlen(word));
}
