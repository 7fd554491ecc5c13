/* cmd.c - what all commands share: errors and opening
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "cmd.h"
#include "colour.h"
#include "qemu_text.h"
#include "sandbox.h"

/* The text may hold names from the image or the command line: it stays one line whatever they are. */
__attribute__((format(printf, 3, 0))) static void put_line(enum tone tone, const char *kind, const char *fmt,
                                                           va_list args)
{
    char *text = NULL;
    int len = vasprintf(&text, fmt, args);

    colour_word(stderr, kind[0] ? TONE_PLAIN : tone, "qcbm:");
    fputc(' ', stderr);
    if (kind[0]) {
        colour_word(stderr, tone, kind);
        fputc(' ', stderr);
    }
    if (len >= 0)
        print_escaped(stderr, text, (size_t)len);
    fputc('\n', stderr);
    if (len >= 0)
        free(text);
}

int cmd_error(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    put_line(TONE_ERROR, "", fmt, args);
    va_end(args);
    return EXIT_FAILED;
}

void cmd_warning(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    put_line(TONE_WARNING, "warning:", fmt, args);
    va_end(args);
}

void cmd_warn_of_lost_tables(const struct qcbm_image *img, const char *path)
{
    struct qcbm_finding f;

    for (uint32_t i = 0; img && i < qcbm_finding_count(img); i++) {
        qcbm_finding_get(img, i, &f, sizeof f);
        if (strcmp(f.code, "l1-table-past-eof") == 0 || strcmp(f.code, "l2-table-past-eof") == 0)
            cmd_warning("%s: %s", path, f.message);
    }
}

void cmd_hint(const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    put_line(TONE_NOTE, "hint:", fmt, args);
    va_end(args);
}

void cmd_name_help(const struct cmd *cmd)
{
    fprintf(stderr, "Try 'qcbm%s%s --help' for more information\n", cmd ? " " : "", cmd ? cmd->name : "");
}

int cmd_usage_error(const struct cmd *cmd, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    put_line(TONE_ERROR, "", fmt, args);
    va_end(args);
    cmd_name_help(cmd);
    return EXIT_FAILED;
}

int cmd_lib_error(const struct qcbm_error *err, const char *fmt, ...)
{
    char *prefix = NULL;
    va_list args;

    va_start(args, fmt);
    if (vasprintf(&prefix, fmt, args) < 0)
        prefix = NULL;
    va_end(args);
    if (err->offset == QCBM_NO_OFFSET)
        cmd_error("%s: %s", prefix ? prefix : "", err->message);
    else
        cmd_error("%s: %s (at offset 0x%" PRIx64 ")", prefix ? prefix : "", err->message, err->offset);
    free(prefix);
    return EXIT_FAILED;
}

/* qemu-img says "Could not open 'X': Could not open 'X': ..."; once will do. */
static void drop_repetition(struct qcbm_error *err)
{
    static const char repeated[] = "Could not open: ";
    size_t len = sizeof repeated - 1;

    if (strncmp(err->message, repeated, len) == 0)
        memmove(err->message, err->message + len, strlen(err->message + len) + 1);
}

struct qcbm_image *cmd_open(const char *path, const char *format, unsigned flags)
{
    struct qcbm_image *img = NULL;
    struct qcbm_error err;

    if (format && strcmp(format, "qcow2") != 0) {
        cmd_error("Could not open '%s': format '%s' is not supported, only qcow2 is", path, format);
    } else if (qcbm_open(path, flags, &img, &err) < 0) {
        drop_repetition(&err);
        cmd_lib_error(&err, "Could not open '%s'", path);
    }
    return img;
}

void cmd_shut_in(bool off, bool chain, const char *path, const char *other)
{
    const char *const files[] = { path, other };

    if (!off)
        sandbox_enter(files, 2, chain);
}

char *cmd_full_name(const char *path, const char *name)
{
    const char *slash = strrchr(path, '/');
    bool own = name[0] == '\0' || name[0] == '/' || name[strcspn(name, ":/")] == ':';
    int folder = own || !slash ? 0 : (int)(slash + 1 - path);
    char *full = NULL;

    return asprintf(&full, "%.*s%s", folder, path, name) < 0 ? NULL : full;
}

bool cmd_same_file(const char *a, const char *b)
{
    struct stat sa, sb;

    return stat(a, &sa) == 0 && stat(b, &sb) == 0 && sa.st_dev == sb.st_dev && sa.st_ino == sb.st_ino;
}
