/* qemu_text.c - sizes as qemu-img words them, read and printed; names that cannot play with the terminal
 * SPDX-License-Identifier: MIT
 */
#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "qemu_text.h"
#include "uri.h"
#include "utf8.h"

struct size_text size_text(uint64_t bytes)
{
    static const char *const unit[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    double value = (double)bytes;
    unsigned i = 0;
    struct size_text out;

    while (value >= 1000 && i < 6) {
        value /= 1024;
        i++;
    }
    snprintf(out.text, sizeof out.text, "%.3g %s", value, unit[i]);
    return out;
}

struct count_text count_text(uint64_t n, const char *one)
{
    size_t len = strlen(one);
    const char *ending = n == 1 ? "" : len > 2 && strcmp(one + len - 2, "sh") == 0 ? "es" : "s";
    struct count_text out;

    snprintf(out.text, sizeof out.text, "%" PRIu64 " %s%s", n, one, ending);
    return out;
}

/* What a terminal would obey, or what would make text read otherwise than it is stored. */
static bool is_hostile(uint32_t code)
{
    return code < 0x20 || (code >= 0x7F && code < 0xA0) || code == UTF8_INVALID || code == 0x061C || code == 0x200E ||
           code == 0x200F || (code >= 0x2028 && code <= 0x202E) || (code >= 0x2066 && code <= 0x2069);
}

/* Bytes at the start of @text that are printed as they are. */
static size_t harmless_run(const unsigned char *at, size_t len)
{
    size_t n = 0;

    while (n < len) {
        uint32_t code = at[n];
        size_t taken = code >= 0x20 && code < 0x7F ? 1 : utf8_next(at + n, len - n, &code);

        if (is_hostile(code))
            break;
        n += taken;
    }
    return n;
}

bool is_harmless_text(const char *text, size_t len)
{
    return harmless_run((const unsigned char *)text, len) == len;
}

/* A name may be made of such bytes alone: fprintf() is slow. */
static void print_byte(FILE *out, unsigned char byte)
{
    static const char hex[] = "0123456789abcdef";

    putc_unlocked('\\', out);
    putc_unlocked('x', out);
    putc_unlocked(hex[byte >> 4], out);
    putc_unlocked(hex[byte & 15], out);
}

size_t print_escaped(FILE *out, const char *text, size_t len)
{
    const unsigned char *at = (const unsigned char *)text;
    size_t printed = 0;

    while (len > 0) {
        size_t taken = harmless_run(at, len);
        uint32_t code;

        fwrite(at, 1, taken, out);
        printed += taken;
        at += taken;
        len -= taken;
        if (len == 0)
            break;
        taken = utf8_next(at, len, &code);
        for (size_t i = 0; i < taken; i++)
            print_byte(out, at[i]);
        printed += 4 * taken;
        at += taken;
        len -= taken;
    }
    return printed;
}

/* Does a name read otherwise at its start: as an option, or as a protocol of QEMU's? */
static bool needs_folder(const char *name)
{
    return name[0] == '-' || name[strcspn(name, ":/")] == ':';
}

void print_shell_name(FILE *out, const char *name)
{
    static const char plain[] = "%+,-./:=@_^";

    if (*name == '\0' || !is_harmless_text(name, strlen(name))) {
        fputs("FILE", out);
        return;
    }
    if (needs_folder(name) && !uri_is_server(name))
        fputs("./", out);
    for (; *name; name++) {
        if ((unsigned char)*name < 0x80 && !isalnum((unsigned char)*name) && !strchr(plain, *name))
            putc('\\', out);
        putc(*name, out);
    }
}

char *shell_name(const char *name)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    if (!out)
        return NULL;
    print_shell_name(out, name);
    fclose(out);
    return text;
}

size_t escaped_columns(const char *text, size_t len)
{
    const unsigned char *at = (const unsigned char *)text;
    size_t columns = 0;

    while (len > 0) {
        uint32_t code;
        size_t taken = utf8_next(at, len, &code);

        columns += is_hostile(code) ? 4 * taken : 1;
        at += taken;
        len -= taken;
    }
    return columns;
}

/* Power of 1024 that @suffix stands for, -1 if none. */
static int suffix_power(char suffix)
{
    static const char letters[] = "bkmgtpe";
    const char *at = strchr(letters, tolower((unsigned char)suffix));

    return suffix == '\0' ? 0 : at ? (int)(at - letters) : -1;
}

static int digit_value(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
}

/* Digits of @base from *@text on into *@value, which stays at UINT64_MAX once it has been passed. */
static bool take_digits(const char **text, unsigned base, uint64_t *value)
{
    const char *at = *text;

    *value = 0;
    for (; digit_value(*at) < (int)base; at++) {
        if (__builtin_mul_overflow(*value, base, value) ||
            __builtin_add_overflow(*value, (unsigned)digit_value(*at), value))
            break;
    }
    if (digit_value(*at) < (int)base) { /* too large: the rest is still looked at */
        *value = UINT64_MAX;
        while (digit_value(*at) < (int)base)
            at++;
    }
    bool any = at != *text;
    *text = at;
    return any;
}

/* ".5" and the like; "." alone is 0, as for qemu. */
static double take_fraction(const char **text)
{
    double value = 0, weight = 0.1;

    if (**text != '.')
        return 0;
    for (++*text; isdigit((unsigned char)**text); ++*text, weight /= 10)
        value += weight * (**text - '0');
    return value;
}

enum size_parse size_parse(const char *text, uint64_t *out)
{
    uint64_t value;
    double fraction = 0;
    bool hex;

    while (isspace((unsigned char)*text))
        text++;
    if (*text == '+')
        text++;
    hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    text += hex ? 2 : 0;
    if (!take_digits(&text, hex ? 16 : 10, &value))
        return SIZE_SYNTAX;
    if (!hex)
        fraction = take_fraction(&text);

    int power = suffix_power(*text);
    if (power < 0 || (*text && text[1]) || (power == 0 && fraction > 0))
        return SIZE_SYNTAX;
    uint64_t unit = UINT64_C(1) << (10 * power);
    if (__builtin_mul_overflow(value, unit, &value) ||
        __builtin_add_overflow(value, (uint64_t)(fraction * (double)unit + 0.5), &value) || value > INT64_MAX)
        return SIZE_RANGE;
    *out = value;
    return SIZE_OK;
}
