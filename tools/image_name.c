/* image_name.c - an image as the user names it: F, file:F, json:{...}, or the options of --image-opts
 * SPDX-License-Identifier: MIT
 *
 * As with QEMU, objects within the JSON are the same as dots in the names of options: "file": {"filename": "F"} is
 * file.filename=F. Options that do not change what is read are accepted; all others are refused.
 */
#include "image_name.h"

#include <fnmatch.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"

enum { MAX_DEPTH = 8, MAX_KEY = 128 };

struct reading {
    const char *typed; /* for messages */
    const char *driver, *file_driver, *filename;
    const char *refused; /* the first option that is not supported; what drivers are there comes first */
    bool has_file;       /* an option of the file was met */
};

/* ---- strings ------------------------------------------------------------------------------------------- */

/* What was read is needed until the program ends; the list keeps leak detectors from complaining. */
static const char *keep(const char *text, size_t len)
{
    static struct kept {
        struct kept *next;
        char text[];
    } * all;
    struct kept *k = malloc(sizeof *k + len + 1);

    if (!k) {
        cmd_error("no memory");
        return NULL;
    }
    memcpy(k->text, text, len);
    k->text[len] = '\0';
    k->next = all;
    all = k;
    return k->text;
}

static bool is_one_of(const char *text, const char *const *names)
{
    while (*names && strcmp(*names, text) != 0)
        names++;
    return *names != NULL;
}

/* ---- what can be opened -------------------------------------------------------------------------------- */

/* Formats and protocols that QEMU knows besides ours. */
static const char *const other_formats[] = { "bochs",     "cloop", "copy-on-read", "dmg",         "luks",
                                             "parallels", "qcow",  "qed",          "replication", "throttle",
                                             "vdi",       "vhdx",  "vmdk",         "vpc",         NULL };
static const char *const other_protocols[] = { "blkdebug", "blkreplay",  "blkverify", "fat",   "ftp",    "ftps",
                                               "gluster",  "host_cdrom", "http",      "https", "iscsi",  "nbd",
                                               "nfs",      "null-aio",   "null-co",   "nvme",  "quorum", "rbd",
                                               "ssh",      "vvfat",      NULL };

static bool check_format(const char *name, const char *format)
{
    if (!format || strcmp(format, "qcow2") == 0 || strcmp(format, "raw") == 0)
        return true;
    if (strcmp(format, "file") == 0 || strcmp(format, "host_device") == 0)
        cmd_error("Could not open '%s': driver '%s' without a format over it is not supported: say driver=raw,"
                  "file.driver=%s,file.filename=...",
                  name, format, format);
    else if (is_one_of(format, other_formats) || is_one_of(format, other_protocols))
        cmd_error("Could not open '%s': format '%s' is not supported, qcow2 and raw are", name, format);
    else
        cmd_error("Could not open '%s': Unknown driver '%s'", name, format);
    return false;
}

static bool refuse_protocol(const char *name)
{
    const char *protocol = keep(name, strcspn(name, ":"));
    char known[MAX_KEY];

    if (!protocol)
        return false;
    snprintf(known, sizeof known, "%.*s", (int)strcspn(protocol, "+"), protocol); /* gluster+tcp, nbd+unix */
    if (is_one_of(known, other_protocols))
        cmd_error("Could not open '%s': protocol '%s' is not supported, only local files are", name, protocol);
    else if (access(name, F_OK) == 0)
        cmd_error("Could not open '%s': Unknown protocol '%s' (the file of this name is './%s')", name, protocol, name);
    else
        cmd_error("Could not open '%s': Unknown protocol '%s'", name, protocol);
    return false;
}

static bool refuse_empty(const char *name)
{
    cmd_error("Could not open '%s': The 'file' block driver requires a file name", name);
    return false;
}

/* ---- options of a name --------------------------------------------------------------------------------- */

/* Options of QEMU that change how it works, not what is read. No key is needed here, so none is looked at. */
static const char *const without_effect[] = { "cache.*",
                                              "file.cache.*",
                                              "read-only",
                                              "auto-read-only",
                                              "discard",
                                              "detect-zeroes",
                                              "node-name",
                                              "file.node-name",
                                              "file.read-only",
                                              "file.auto-read-only",
                                              "file.discard",
                                              "file.detect-zeroes",
                                              "file.aio",
                                              "file.aio-max-batch",
                                              "l2-cache-size",
                                              "l2-cache-entry-size",
                                              "refcount-cache-size",
                                              "cache-size",
                                              "cache-clean-interval",
                                              "lazy-refcounts",
                                              "overlap-check",
                                              "overlap-check.*",
                                              "pass-discard-*",
                                              "discard-no-unref",
                                              "encrypt.*",
                                              "key-secret",
                                              NULL };

static bool has_no_effect(const char *key, const char *value)
{
    if (strcmp(key, "file.locking") == 0)
        return strcmp(value, "off") != 0;
    for (const char *const *pattern = without_effect; *pattern; pattern++) {
        if (fnmatch(*pattern, key, 0) == 0)
            return true;
    }
    return false;
}

static bool take_option(struct reading *r, const char *key, const char *value)
{
    const char **to = strcmp(key, "driver") == 0          ? &r->driver
                      : strcmp(key, "file.driver") == 0   ? &r->file_driver
                      : strcmp(key, "file.filename") == 0 ? &r->filename
                                                          : NULL;

    r->has_file |= strcmp(key, "file") == 0 || strncmp(key, "file.", 5) == 0;
    if (to)
        return (*to = keep(value, strlen(value))) != NULL;
    if (has_no_effect(key, value) || r->refused)
        return true;
    return (r->refused = keep(key, strlen(key))) != NULL;
}

static const char *text_of(struct json_object *value)
{
    const char *text = json_object_get_string(value);

    return text ? text : "null";
}

static bool take_json(struct reading *r, const char *prefix, struct json_object *object, int depth)
{
    struct json_object_iterator it = json_object_iter_begin(object), end = json_object_iter_end(object);

    for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
        struct json_object *value = json_object_iter_peek_value(&it);
        bool inner = json_object_is_type(value, json_type_object);
        char key[MAX_KEY];
        int len = snprintf(key, sizeof key, "%s%s%s", prefix, json_object_iter_peek_name(&it), inner ? "." : "");

        if (len >= MAX_KEY || depth == MAX_DEPTH) {
            cmd_error("Could not open '%s': option '%s...' is not supported", r->typed, key);
            return false;
        }
        if (!(inner ? take_json(r, key, value, depth + 1) : take_option(r, key, text_of(value))))
            return false;
    }
    return true;
}

/* Members that were written: a colon each, outside of strings, which may stand in either kind of quotes. */
static size_t members_written(const char *text)
{
    size_t n = 0;
    char quote = '\0';

    for (; *text; text++) {
        if (quote && *text == '\\' && text[1])
            text++;
        else if (quote)
            quote = *text == quote ? '\0' : quote;
        else if (*text == '"' || *text == '\'')
            quote = *text;
        else
            n += *text == ':';
    }
    return n;
}

/* Those that json-c has kept: of a key that comes twice it has the last one only. */
static size_t members_kept(struct json_object *value)
{
    size_t n = 0;

    if (json_object_is_type(value, json_type_object)) {
        struct json_object_iterator it = json_object_iter_begin(value), end = json_object_iter_end(value);

        for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it))
            n += 1 + members_kept(json_object_iter_peek_value(&it));
    } else if (json_object_is_type(value, json_type_array)) {
        for (size_t i = 0; i < json_object_array_length(value); i++)
            n += members_kept(json_object_array_get_idx(value, i));
    }
    return n;
}

static bool read_json(struct reading *r, const char *text)
{
    enum json_tokener_error wrong;
    struct json_object *object = json_tokener_parse_verbose(text, &wrong);
    bool good = false;

    if (wrong != json_tokener_success)
        cmd_error("Could not open '%s': Could not parse the JSON options: %s", r->typed,
                  json_tokener_error_desc(wrong));
    else if (!json_object_is_type(object, json_type_object))
        cmd_error("Could not open '%s': Invalid JSON object given", r->typed);
    else if (members_kept(object) != members_written(text))
        cmd_error("Could not open '%s': Could not parse the JSON options: JSON parse error, duplicate key", r->typed);
    else
        good = take_json(r, "", object, 0);
    json_object_put(object);
    return good;
}

/* Up to the next single comma, of which *@rest is behind; two commas are one of the value. */
static char *next_part(char **rest)
{
    char *part = *rest, *to = part, *from = part;

    for (; *from && (*from != ',' || from[1] == ','); from++) {
        if (*from == ',')
            from++;
        *to++ = *from;
    }
    *rest = *from ? from + 1 : NULL;
    *to = '\0';
    return part;
}

static bool read_options(struct reading *r, const char *text)
{
    char *copy = strdup(text), *rest = copy && *copy ? copy : NULL;
    bool good = copy != NULL;

    while (good && rest && *rest) {
        char *key = next_part(&rest), *value = strchr(key, '=');

        if (value)
            *value++ = '\0';
        else
            cmd_error("Could not open '%s': '%s' is no option KEY=VALUE, and qcbm has no nodes that it could name",
                      r->typed, key);
        good = value && take_option(r, key, value);
    }
    free(copy);
    return good;
}

static bool finish_options(const struct reading *r)
{
    const char *driver = r->file_driver ? r->file_driver : "file";

    if (!check_format(r->typed, r->driver))
        return false;
    if (!r->driver && !r->has_file)
        cmd_error("Could not open '%s': Must specify either driver or file", r->typed);
    else if (!r->has_file)
        cmd_error("Could not open '%s': A block device must be specified for \"file\"", r->typed);
    else if (strcmp(driver, "file") != 0 && strcmp(driver, "host_device") != 0)
        cmd_error("Could not open '%s': driver '%s' below the format is not supported, only local files are", r->typed,
                  driver);
    else if (r->refused)
        cmd_error("Could not open '%s': option '%s' is not supported%s", r->typed, r->refused,
                  strcmp(r->refused, "force-share") == 0 ? ": use -U" : "");
    else if (!r->filename || !*r->filename)
        return refuse_empty(r->typed);
    else
        return true;
    return false;
}

/* ---- names --------------------------------------------------------------------------------------------- */

static bool take_plain(const char **name)
{
    const char *local = qcbm_local_name(*name);

    if (!local && strncmp(*name, "host_device:", 12) == 0)
        local = *name + 12;
    if (!local)
        return refuse_protocol(*name);
    if (!*local)
        return refuse_empty(*name);
    *name = local;
    return true;
}

bool image_name_take(const char **name, const char **format, bool options)
{
    struct reading r = { .typed = *name };
    bool json = !options && *name && strncmp(*name, "json:", 5) == 0;

    if (options && format && *format) {
        cmd_error("--image-opts and --format are mutually exclusive");
        return false;
    }
    if (!*name || !check_format(*name, format ? *format : NULL))
        return !*name;
    if (!options && !json)
        return take_plain(name);
    if (!(json ? read_json(&r, *name + 5) : read_options(&r, *name)) || !finish_options(&r))
        return false;
    *name = r.filename;
    if (format && !*format)
        *format = r.driver;
    return true;
}
