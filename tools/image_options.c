/* image_options.c - options of QEMU's block layer that change nothing for qcbm, and the values that they can have
 * SPDX-License-Identifier: MIT
 *
 * They say how QEMU works, not what is read. A value that QEMU refuses is refused here too: who typed it meant
 * something else. No key is needed here, so none is looked at.
 */
#include <fnmatch.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "image_options.h"
#include "qemu_text.h"

#define ON "on|yes|true|y"
#define SWITCH ON "|off|no|false|n"
#define SIZE "size"     /* as qemu-img reads it */
#define NUMBER "number" /* digits alone */
#define NODE "node"     /* name of a node */
#define ANY "any"

static const struct {
    const char *pattern, *values; /* of fnmatch(); words with | between them, or one of the above */
} options[] = {
    { "read-only", SWITCH },
    { "auto-read-only", SWITCH },
    { "cache.direct", SWITCH },
    { "cache.no-flush", SWITCH },
    { "discard", "ignore|off|unmap|on" },
    { "detect-zeroes", "off|on|unmap" },
    { "node-name", NODE },
    { "file.read-only", SWITCH },
    { "file.auto-read-only", SWITCH },
    { "file.cache.direct", SWITCH },
    { "file.cache.no-flush", SWITCH },
    { "file.discard", "ignore|off|unmap|on" },
    { "file.detect-zeroes", "off|on|unmap" },
    { "file.node-name", NODE },
    { "file.aio", "threads|native|io_uring" },
    { "file.aio-max-batch", NUMBER },
    { "file.locking", "auto|on" },
    { "l2-cache-size", SIZE },
    { "l2-cache-entry-size", SIZE },
    { "refcount-cache-size", SIZE },
    { "cache-size", SIZE },
    { "cache-clean-interval", NUMBER },
    { "lazy-refcounts", SWITCH },
    { "overlap-check", "none|constant|cached|all" },
    { "overlap-check.template", "none|constant|cached|all" },
    { "overlap-check.main-header", SWITCH },
    { "overlap-check.active-l[12]", SWITCH },
    { "overlap-check.refcount-table", SWITCH },
    { "overlap-check.refcount-block", SWITCH },
    { "overlap-check.snapshot-table", SWITCH },
    { "overlap-check.inactive-l[12]", SWITCH },
    { "overlap-check.bitmap-directory", SWITCH },
    { "pass-discard-request", SWITCH },
    { "pass-discard-snapshot", SWITCH },
    { "pass-discard-other", SWITCH },
    { "discard-no-unref", SWITCH },
    { "encrypt.*", ANY },
    { "key-secret", ANY },
};

static bool is_one_word_of(const char *value, const char *words)
{
    size_t len = strlen(value);

    for (; *words; words += strcspn(words, "|"), words += *words == '|') {
        if (strcspn(words, "|") == len && strncmp(words, value, len) == 0)
            return true;
    }
    return false;
}

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_node_name(const char *value)
{
    static const char inner[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";

    return is_letter(value[0]) && strspn(value, inner) == strlen(value) && strlen(value) < 32;
}

static bool fits(const char *value, const char *values)
{
    uint64_t size;

    if (strcmp(values, SIZE) == 0)
        return size_parse(value, &size) == SIZE_OK;
    if (strcmp(values, NUMBER) == 0)
        return value[0] && strspn(value, "0123456789") == strlen(value);
    if (strcmp(values, NODE) == 0)
        return is_node_name(value);
    return strcmp(values, ANY) == 0 || is_one_word_of(value, values);
}

/* In QEMU's words, where it has one kind of them; it names options of the file without what is before the dot. */
static void refuse(const char *typed, const char *key, const char *value, const char *values)
{
    const char *name = strncmp(key, "file.", 5) == 0 ? key + 5 : key;

    if (strcmp(values, SWITCH) == 0)
        cmd_error("Could not open '%s': Parameter '%s' expects 'on' or 'off'", typed, name);
    else if (strcmp(values, SIZE) == 0)
        cmd_error("Could not open '%s': Parameter '%s' expects a non-negative number below 2^64", typed, name);
    else if (strcmp(values, NUMBER) == 0)
        cmd_error("Could not open '%s': Parameter '%s' expects a number", typed, name);
    else if (strcmp(values, NODE) == 0)
        cmd_error("Could not open '%s': Invalid node-name: '%s'", typed, value);
    else
        cmd_error("Could not open '%s': Parameter '%s' expects one of %s, not '%s'", typed, name, values, value);
}

enum image_option image_option_check(const char *typed, const char *key, const char *value)
{
    if (strcmp(key, "file.locking") == 0 && strcmp(value, "off") == 0)
        return IMAGE_OPTION_UNKNOWN; /* qcbm has its own option for that */
    for (size_t i = 0; i < sizeof options / sizeof options[0]; i++) {
        if (fnmatch(options[i].pattern, key, 0) != 0)
            continue;
        if (fits(value, options[i].values))
            return IMAGE_OPTION_FINE;
        refuse(typed, key, value, options[i].values);
        return IMAGE_OPTION_WRONG;
    }
    return IMAGE_OPTION_UNKNOWN;
}

bool image_option_is_on(const char *value)
{
    return is_one_word_of(value, ON);
}
