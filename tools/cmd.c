/* cmd.c - what all commands share: errors, and what they say
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "colour.h"
#include "qemu_text.h"
#include "run_note.h"
#include "uri.h"

/* The text may hold names from the image or the command line: it stays one line whatever they are. */
__attribute__((format(printf, 3, 0))) static void put_line(enum tone tone, const char *kind, const char *fmt,
                                                           va_list args)
{
    char *text = NULL;
    int len = vasprintf(&text, fmt, args);

    if (len >= 0 && tone == TONE_ERROR)
        run_note_error(text, (size_t)len);
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

    run_note_warning();
    va_start(args, fmt);
    put_line(TONE_WARNING, "warning:", fmt, args);
    va_end(args);
}

void cmd_warn_of_lost_tables(const struct qcbm_image *img, const char *path)
{
    struct qcbm_finding f;

    for (uint32_t i = 0; img && i < qcbm_finding_count(img); i++) {
        qcbm_finding_get(img, i, &f, sizeof f);
        if (f.problem->id == QCBM_PROBLEM_TABLE_CUT || f.problem->id == QCBM_PROBLEM_REFERENCE_PAST_END)
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

static const char *the_image;
static bool several;

void cmd_name_image(const char *path)
{
    several |= the_image && strcmp(the_image, path) != 0;
    the_image = path;
    run_note_image(path);
}

static void hint_at_list(void)
{
    char *name = the_image && !several ? shell_name(the_image) : NULL;

    cmd_hint("'qcbm bitmap --list %s%s' shows the bitmaps of %s", name && uri_is_server(the_image) ? "--no-lock " : "",
             name ? name : "FILE", name ? "the image" : "an image");
    free(name);
}

static const char *done;

void cmd_note_done(const char *what)
{
    done = what;
}

const char *cmd_done(void)
{
    return done;
}

void cmd_name_help(const struct cmd *cmd)
{
    run_note_wrong_use();
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

/* Where the library sends people to the check of an image, the repair comes next. */
static void hint_at_repair(const struct qcbm_error *err)
{
    static const char words[] = "'qcbm check --explain ";
    const char *at = strstr(err->message, words);

    if (!at || (err->code != QCBM_E_UNSAFE && err->code != QCBM_E_CORRUPT))
        return;
    at += strlen(words);
    cmd_hint("'qcbm check -r all --dry-run %.*s' shows what a repair would do, and writes nothing",
             (int)strcspn(at, "'"), at);
}

/* Where an image comes from a server, and its backing file is needed. */
static void hint_at_layers(const struct qcbm_error *err)
{
    if (err->code == QCBM_E_CHAIN && strstr(err->message, "the image comes from a server"))
        cmd_hint("--below names the layers below it, from the next one down: URIs, or files of this machine");
}

/* The two things that a server may have are easily mistaken for one another. */
static void hint_at_export(const struct qcbm_error *err)
{
    if (err->code == QCBM_E_NOT_QCOW2 && the_image && uri_is_server(the_image))
        cmd_hint("a server that has the disk in an image is for 'manifest', 'bitmap --import' and 'synth --from'; "
                 "'qemu-nbd -r -f raw IMAGE' serves the file of an image");
}

int cmd_lib_error(const struct qcbm_error *err, const char *fmt, ...)
{
    char *prefix = NULL;
    va_list args;

    va_start(args, fmt);
    if (vasprintf(&prefix, fmt, args) < 0)
        prefix = NULL;
    va_end(args);
    run_note_cause(err);
    if (err->offset == QCBM_NO_OFFSET)
        cmd_error("%s: %s", prefix ? prefix : "", err->message);
    else
        cmd_error("%s: %s (at offset 0x%" PRIx64 ")", prefix ? prefix : "", err->message, err->offset);
    free(prefix);
    if (err->code == QCBM_E_NOTFOUND && err->sys_errno == 0 &&
        strcasestr(err->message, "bitmap")) /* no file is missing */
        hint_at_list();
    hint_at_repair(err);
    hint_at_layers(err);
    hint_at_export(err);
    return EXIT_FAILED;
}

void cmd_hint_at_sharing(const struct qcbm_error *err, unsigned flags)
{
    if (err->code == QCBM_E_LOCKED && !(flags & (QCBM_OPEN_WRITE | QCBM_OPEN_FORCE_SHARE)))
        cmd_hint("commands that only read have -U for an image that another process writes to");
}

/* Who asked for a name that is only read must not find it written to. The names are compared by where they lie. */
static const char *only_read[8];

void cmd_forbid_writing(const char *path)
{
    size_t i = 0;

    while (i < sizeof only_read / sizeof only_read[0] - 1 && only_read[i])
        i++;
    only_read[i] = path;
}

bool cmd_may_write(const char *path)
{
    for (size_t i = 0; i < sizeof only_read / sizeof only_read[0]; i++) {
        if (only_read[i] == path)
            return false;
    }
    return true;
}
