/* image_name.c - an image as the user names it: F, file:F, json:{...}, or the options of --image-opts
 * SPDX-License-Identifier: MIT
 *
 * As with QEMU, objects within the JSON are the same as dots in the names of options: "file": {"filename": "F"} is
 * file.filename=F. Options that do not change what is read are accepted; all others are refused.
 */
#include "image_name.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "image_json.h"
#include "image_options.h"
#include "qemu_text.h"
#include "remote.h"

enum { MAX_DEPTH = 8, MAX_KEY = 128, MAX_OPTIONS = 64 };

struct reading {
    const char *typed; /* for messages */
    const char *driver, *file_driver, *filename;
    const char *refused; /* the first option that is not supported; what drivers are there comes first */
    bool has_file;       /* an option of the file was met */
    bool read_only, file_read_only;
    const char *seen[MAX_OPTIONS]; /* in JSON: what was given, with dots */
    size_t n_seen;
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

bool image_name_is_server(const char *name)
{
    char *shown;

    if (!uri_is_server(name))
        return false;
    shown = shell_name(name);
    cmd_error(
        "Could not open '%s': what is behind a server is not taken here, local files are: 'nbdcopy %s COPY' makes one",
        name, shown ? shown : "URI");
    free(shown);
    return true;
}

static void refuse_known(const char *name, const char *protocol)
{
    cmd_error("Could not open '%s': protocol '%s' is not supported, only local files are", name, protocol);
    if (strncmp(protocol, "nbd", strlen("nbd")) == 0)
        cmd_hint("commands that only read take an NBD server by its URI: nbd://HOST[:PORT]/EXPORT, "
                 "nbd+unix:///EXPORT?socket=PATH");
    else
        cmd_hint("commands that only read take an NBD server, as 'qemu-nbd -r -f raw IMAGE' is one: nbd://HOST/");
}

static bool refuse_protocol(const char *name)
{
    const char *protocol = keep(name, strcspn(name, ":"));
    char known[MAX_KEY];

    if (!protocol)
        return false;
    snprintf(known, sizeof known, "%.*s", (int)strcspn(protocol, "+"), protocol); /* gluster+tcp, nbd+unix */
    if (is_one_of(known, other_protocols))
        refuse_known(name, protocol);
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

/* Of two options of one name the last counts on a command line, as for QEMU; see take_json() for those of JSON. */
static bool take_option(struct reading *r, const char *key, const char *value)
{
    const char **to = strcmp(key, "driver") == 0          ? &r->driver
                      : strcmp(key, "file.driver") == 0   ? &r->file_driver
                      : strcmp(key, "file.filename") == 0 ? &r->filename
                                                          : NULL;

    r->has_file |= strcmp(key, "file") == 0 || strncmp(key, "file.", 5) == 0;
    if (to)
        return (*to = keep(value, strlen(value))) != NULL;
    switch (image_option_check(r->typed, key, value)) {
    case IMAGE_OPTION_WRONG:
        return false;
    case IMAGE_OPTION_FINE:
        if (strcmp(key, "read-only") == 0)
            r->read_only = image_option_is_on(value);
        else if (strcmp(key, "file.read-only") == 0)
            r->file_read_only = image_option_is_on(value);
        return true;
    default:
        return r->refused || (r->refused = keep(key, strlen(key))) != NULL;
    }
}

/* ---- JSON ---------------------------------------------------------------------------------------------- */

static bool is_text(const char *key)
{
    return strcmp(key, "driver") == 0 || strcmp(key, "file.driver") == 0 || strcmp(key, "file.filename") == 0;
}

/* A code point that has no UTF-8, as half a surrogate, comes out of json-c as U+FFFD, which would be another file. */
static bool is_as_typed(const struct reading *r, const char *text)
{
    static const char replacement[] = "\xef\xbf\xbd";

    return !strstr(text, replacement) || strstr(r->typed, replacement);
}

static bool take_value(struct reading *r, const char *key, struct json_object *value)
{
    bool text = json_object_is_type(value, json_type_string);
    const char *as_text = json_object_is_type(value, json_type_boolean)
                              ? (json_object_get_boolean(value) ? "on" : "off")
                          : value ? json_object_get_string(value)
                                  : "null";

    if (is_text(key) && !value) {
        r->has_file |= strncmp(key, "file.", 5) == 0;
        return true; /* as if it was not there */
    }
    if (is_text(key) && (!text || !is_as_typed(r, as_text))) {
        cmd_error("Could not open '%s': '%s' is not a string that names anything", r->typed, key);
        return false;
    }
    return take_option(r, key, as_text);
}

/* "file": {"filename": ...} beside "file.filename": which of the two QEMU takes is its secret, so neither is. */
static bool is_first(struct reading *r, const char *key)
{
    for (size_t i = 0; i < r->n_seen; i++) {
        if (strcmp(r->seen[i], key) == 0) {
            cmd_error("Could not open '%s': '%s' is given twice", r->typed, key);
            return false;
        }
    }
    if (r->n_seen == MAX_OPTIONS) {
        cmd_error("Could not open '%s': these are too many options", r->typed);
        return false;
    }
    r->seen[r->n_seen] = keep(key, strlen(key));
    return r->seen[r->n_seen++] != NULL;
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
        if (!(inner ? take_json(r, key, value, depth + 1) : is_first(r, key) && take_value(r, key, value)))
            return false;
    }
    return true;
}

static bool read_json(struct reading *r, const char *text)
{
    const char *why;
    struct json_object *object = image_json_parse(text, &why);
    bool good = false;

    if (why)
        cmd_error("Could not open '%s': Could not parse the JSON options: %s", r->typed, why);
    else if (!json_object_is_type(object, json_type_object))
        cmd_error("Could not open '%s': Invalid JSON object given", r->typed);
    else
        good = take_json(r, "", object, 0);
    json_object_put(object);
    return good;
}

/* ---- KEY=VALUE,... ------------------------------------------------------------------------------------- */

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
        return !image_name_is_server(*name) && refuse_protocol(*name);
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
    if (r.read_only || r.file_read_only)
        cmd_forbid_writing(*name);
    if (format && !*format)
        *format = r.driver;
    return true;
}

bool image_name_take_or_uri(const char **name, const char **format, bool options)
{
    if (options || !*name || !uri_is_server(*name))
        return image_name_take(name, format, options);
    return check_format(*name, format ? *format : NULL);
}
