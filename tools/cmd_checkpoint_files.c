/* cmd_checkpoint_files.c - libvirt's XML files, as the commands of qcbm checkpoint read them
 * SPDX-License-Identifier: MIT
 */
#include "cmd_checkpoint_files.h"

#include <errno.h>
#include <glob.h>
#include <stdlib.h>
#include <string.h>

#include "cmd.h"
#include "input.h"

enum { XML_MAX = 1 << 20 }; /* bytes: more is refused by libvirt, and by the library */

/* All of @path, and how long it is; from malloc(). One byte more than the limit is read, so that the library can
 * tell. */
static char *read_file(const char *path, size_t *len)
{
    struct input input = { 0 };
    char *text = malloc(XML_MAX + 1);

    if (!text) {
        cmd_error("no memory");
        return NULL;
    }
    if (input_open(&input, path) == EXIT_DONE) {
        *len = fread(text, 1, XML_MAX + 1, input.file);
        if (!ferror(input.file)) {
            input_close(&input);
            return text;
        }
        cmd_error("Could not read '%s': %s", path, strerror(errno));
    }
    input_close(&input);
    free(text);
    return NULL;
}

struct qcbm_domain_xml *domain_file_read(const char *path)
{
    struct qcbm_domain_xml *xml = NULL;
    struct qcbm_error err;
    size_t len = 0;
    char *text = read_file(path, &len);

    if (text && qcbm_domain_xml_read(text, len, &xml, &err) < 0)
        cmd_lib_error(&err, "Could not take the domain from '%s'", path);
    free(text);
    return xml;
}

const char *checkpoint_file_name(const struct qcbm_checkpoint_xml *xml)
{
    struct qcbm_checkpoint_xml_info info;

    qcbm_checkpoint_xml_get_info(xml, &info, sizeof info);
    return info.name;
}

static bool add_file(struct checkpoint_files *files, const char *path)
{
    struct qcbm_checkpoint_xml **list = realloc(files->list, (files->n + 1) * sizeof *list), *xml = NULL;
    struct qcbm_error err;
    size_t len = 0;
    char *text = NULL;

    if (list)
        files->list = list;
    else
        cmd_error("no memory");
    if (list)
        text = read_file(path, &len);
    if (text && qcbm_checkpoint_xml_read(text, len, &xml, &err) < 0)
        cmd_lib_error(&err, "Could not take a checkpoint from '%s'", path);
    free(text);
    for (size_t i = 0; xml && i < files->n; i++) {
        if (strcmp(checkpoint_file_name(files->list[i]), checkpoint_file_name(xml)) == 0) {
            cmd_error("'%s' is a second file of checkpoint '%s'", path, checkpoint_file_name(xml));
            qcbm_checkpoint_xml_free(xml);
            return false;
        }
    }
    if (xml)
        files->list[files->n++] = xml;
    return xml != NULL;
}

/* ---- parents first ------------------------------------------------------------------------------------- */

static size_t parent_of(const struct checkpoint_files *files, size_t at)
{
    struct qcbm_checkpoint_xml_info info;
    size_t i = 0;

    qcbm_checkpoint_xml_get_info(files->list[at], &info, sizeof info);
    if (!info.parent)
        return files->n;
    while (i < files->n && strcmp(checkpoint_file_name(files->list[i]), info.parent) != 0)
        i++;
    return i;
}

/* Each goes behind its parent, if that is there; the order of the others stays. False: they are in a circle. */
static bool sort_files(struct checkpoint_files *files)
{
    for (size_t i = 0, moves = 0; i < files->n;) {
        size_t parent = parent_of(files, i);

        if (parent == files->n || parent < i) {
            i++;
            moves = 0;
            continue;
        }
        if (moves++ == files->n - i) {
            cmd_error("checkpoint '%s' is among its own ancestors", checkpoint_file_name(files->list[i]));
            return false;
        }
        struct qcbm_checkpoint_xml *first = files->list[parent];
        memmove(&files->list[i + 1], &files->list[i], (parent - i) * sizeof files->list[0]);
        files->list[i] = first;
    }
    return true;
}

bool checkpoint_files_read(struct checkpoint_files *files, char **paths)
{
    bool ok = true;

    *files = (struct checkpoint_files){ 0 };
    for (; ok && *paths; paths++)
        ok = add_file(files, *paths);
    return ok && sort_files(files);
}

/* What is in @dir, added to @found. */
static bool find_files(const char *dir, glob_t *found)
{
    size_t len = strlen(dir);
    char *pattern = calloc(2 * len + sizeof "/*.xml", 1), *to = pattern;
    bool ok;

    if (!pattern) {
        cmd_error("no memory");
        return false;
    }
    for (const char *p = dir; *p; p++) { /* characters that glob() gives a meaning stand for themselves */
        if (strchr("*?[]\\", *p))
            *to++ = '\\';
        *to++ = *p;
    }
    memcpy(to, "/*.xml", sizeof "/*.xml");
    ok = glob(pattern, found->gl_pathc ? GLOB_APPEND : 0, NULL, found) == 0;
    if (!ok)
        cmd_error("'%s' has no file *.xml that can be read", dir);
    free(pattern);
    return ok;
}

bool checkpoint_files_read_dirs(struct checkpoint_files *files, const struct opt_actions *dirs)
{
    glob_t found = { 0 };
    bool ok = true;

    *files = (struct checkpoint_files){ 0 };
    for (size_t i = 0; ok && i < dirs->count; i++)
        ok = find_files(dirs->list[i].value, &found);
    if (ok && found.gl_pathc)
        ok = checkpoint_files_read(files, found.gl_pathv);
    globfree(&found);
    return ok;
}

void checkpoint_files_free(struct checkpoint_files *files)
{
    for (size_t i = 0; i < files->n; i++)
        qcbm_checkpoint_xml_free(files->list[i]);
    free(files->list);
    *files = (struct checkpoint_files){ 0 };
}

/* ---- names --------------------------------------------------------------------------------------------- */

/* The values, with commas between them. */
static char *join(const struct opt_actions *given)
{
    size_t len = 0;
    char *text, *to;

    for (size_t i = 0; i < given->count; i++)
        len += strlen(given->list[i].value) + 1;
    text = to = calloc(len + 1, 1);
    for (size_t i = 0; text && i < given->count; i++)
        to += sprintf(to, "%s%s", i ? "," : "", given->list[i].value);
    return text;
}

bool name_list_take(struct name_list *names, const struct opt_actions *given)
{
    size_t n = 1;

    *names = (struct name_list){ .text = join(given) };
    for (const char *p = names->text; p && (p = strchr(p, ',')); p++)
        n++;
    names->list = calloc(n, sizeof *names->list);
    if (!names->list || !names->text) {
        cmd_error("no memory");
        return false;
    }
    for (char *p = given->count ? names->text : NULL; p;) {
        const char *name = strsep(&p, ",");

        if (!*name) {
            cmd_error("--%s expects names with commas between them, and one of them is empty",
                      given->list[0].opt->name);
            return false;
        }
        names->list[names->n++] = name;
    }
    return true;
}

void name_list_free(struct name_list *names)
{
    free(names->list);
    free(names->text);
    *names = (struct name_list){ 0 };
}
