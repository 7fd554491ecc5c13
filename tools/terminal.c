/* terminal.c - what standard output can show: colours, half blocks, and how wide it is
 * SPDX-License-Identifier: MIT
 */
#include "terminal.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum { DEFAULT_COLUMNS = 80, MAX_COLUMNS = 4096 };

static const char *value_of(const char *name)
{
    const char *value = getenv(name);

    return value ? value : "";
}

static bool is_utf8(void)
{
    static const char *const names[] = { "LC_ALL", "LC_CTYPE", "LANG" };

    for (unsigned i = 0; i < 3; i++) {
        const char *value = value_of(names[i]), *set = strchr(value, '.');

        if (*value)
            return set && (strcasecmp(set, ".UTF-8") == 0 || strcasecmp(set, ".utf8") == 0);
    }
    return false;
}

static enum terminal_colours colours_of(void)
{
    const char *colour = value_of("COLORTERM"), *term = value_of("TERM");

    if (!isatty(STDOUT_FILENO) || *value_of("NO_COLOR") || !*term || strcmp(term, "dumb") == 0 || !is_utf8())
        return TERMINAL_LETTERS;
    if (strcmp(colour, "truecolor") == 0 || strcmp(colour, "24bit") == 0 || strstr(term, "-direct"))
        return TERMINAL_24BIT;
    return strstr(term, "256color") ? TERMINAL_256 : TERMINAL_LETTERS;
}

static uint32_t columns_of(void)
{
    struct winsize size;
    unsigned long wanted = strtoul(value_of("COLUMNS"), NULL, 10);

    if (wanted == 0 && ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0)
        wanted = size.ws_col;
    return wanted == 0 ? DEFAULT_COLUMNS : wanted < MAX_COLUMNS ? (uint32_t)wanted : MAX_COLUMNS;
}

struct terminal terminal_look(void)
{
    return (struct terminal){ colours_of(), columns_of() };
}

/* 16 .. 231 are a cube of six steps a side, 232 .. 255 greys. */
static unsigned step_of(unsigned value)
{
    return value < 48 ? 0 : value < 115 ? 1 : (value - 35) / 40;
}

static unsigned distance(uint32_t colour, unsigned r, unsigned g, unsigned b)
{
    int dr = (int)(colour >> 16 & 0xFF) - (int)r, dg = (int)(colour >> 8 & 0xFF) - (int)g,
        db = (int)(colour & 0xFF) - (int)b;

    return (unsigned)(dr * dr + dg * dg + db * db);
}

unsigned terminal_nearest_256(uint32_t colour)
{
    static const unsigned steps[6] = { 0, 95, 135, 175, 215, 255 };
    unsigned r = step_of(colour >> 16 & 0xFF), g = step_of(colour >> 8 & 0xFF), b = step_of(colour & 0xFF);
    unsigned mean = ((colour >> 16 & 0xFF) + (colour >> 8 & 0xFF) + (colour & 0xFF)) / 3;
    unsigned grey = mean < 8 ? 0 : mean > 238 ? 23 : (mean - 3) / 10;

    if (distance(colour, 8 + 10 * grey, 8 + 10 * grey, 8 + 10 * grey) < distance(colour, steps[r], steps[g], steps[b]))
        return 232 + grey;
    return 16 + 36 * r + 6 * g + b;
}
