/* cmd.c - what all commands share: errors and opening
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
#include "sandbox.h"

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

    cmd_hint("'qcbm bitmap --list %s' shows the bitmaps of %s", name ? name : "FILE", name ? "the image" : "an image");
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
    return EXIT_FAILED;
}

void cmd_hint_at_sharing(const struct qcbm_error *err, unsigned flags)
{
    if (err->code == QCBM_E_LOCKED && !(flags & (QCBM_OPEN_WRITE | QCBM_OPEN_FORCE_SHARE)))
        cmd_hint("commands that only read have -U for an image that another process writes to");
}

static void fail_open(const char *path, unsigned flags, const struct qcbm_error *err)
{
    cmd_lib_error(err, "Could not open '%s'", path);
    cmd_hint_at_sharing(err, flags);
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

struct qcbm_image *cmd_open(const char *path, const char *format, unsigned flags)
{
    struct qcbm_image *img = NULL;
    struct qcbm_error err;

    cmd_name_image(path);
    if (format && strcmp(format, "qcow2") != 0)
        cmd_error("Could not open '%s': format '%s' is not supported here, only qcow2 is", path, format);
    else if ((flags & QCBM_OPEN_WRITE) && !cmd_may_write(path))
        cmd_error("Could not open '%s': Block node is read-only", path);
    else if (qcbm_open(path, flags, &img, &err) < 0)
        fail_open(path, flags, &err);
    return img;
}

/* What @path is, if it is one of ours; NULL, and an error, else. */
static const char *find_format(const char *path, unsigned flags)
{
    const char *format;
    struct qcbm_error err;

    if (qcbm_probe(path, &format, &err) < 0) {
        fail_open(path, flags, &err);
        return NULL;
    }
    if (strcmp(format, "qcow2") == 0 || strcmp(format, "raw") == 0)
        return format;
    cmd_error("Could not open '%s': format '%s' is not supported, qcow2 and raw are", path, format);
    return NULL;
}

bool cmd_open_disk(const char *path, const char *format, unsigned flags, struct cmd_disk *out)
{
    struct qcbm_error err;
    int ret;

    *out = (struct cmd_disk){ NULL, NULL };
    cmd_name_image(path);
    if (!format)
        format = find_format(path, flags);
    if (!format)
        return false;
    if (strcmp(format, "raw") == 0)
        ret = qcbm_chain_open_raw(path, flags, &out->raw, &err);
    else
        ret = qcbm_open(path, flags, &out->img, &err);
    if (ret < 0)
        fail_open(path, flags, &err);
    return ret == 0;
}

uint64_t cmd_disk_size(const struct cmd_disk *disk)
{
    struct qcbm_image_info info;
    struct qcbm_chain_layer layer;

    if (disk->img) {
        qcbm_image_get_info(disk->img, &info, sizeof info);
        return info.virtual_size & ~UINT64_C(511);
    }
    return qcbm_chain_get(disk->raw, 0, &layer, sizeof layer, NULL) < 0 ? 0 : layer.virtual_size;
}

void cmd_close_disk(struct cmd_disk *disk)
{
    qcbm_close(disk->img);
    qcbm_chain_close(disk->raw);
}

void cmd_shut_in(bool off, bool chain, const char *path, const char *other)
{
    const char *const files[] = { path, other };

    if (!off)
        sandbox_enter(files, 2, chain);
}
