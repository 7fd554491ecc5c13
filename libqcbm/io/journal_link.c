/* journal_link.c - the sign beside an image that a journal over several images is open, which a writer must not pass
 * SPDX-License-Identifier: MIT */
#include "io/journal_link.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/text.h"
#include "io/io_file.h"

#define SUFFIX ".qcbm-journal"

char *qcbmi_full_in_folder(const char *path, struct qcbm_error *err)
{
    const char *slash = strrchr(path, '/'), *own = slash ? slash + 1 : path;
    char *folder = slash ? qcbmi_memdup_nul(path, (size_t)(slash - path) + 1, err) : qcbmi_memdup_nul(".", 1, err);
    char full[PATH_MAX];
    bool found = folder && realpath(folder, full);

    if (folder && !found)
        qcbmi_fail_errno(err, errno, QCBM_NO_OFFSET, "the folder of '%.400s'", path);
    free(folder);
    if (!found)
        return NULL;
    return qcbmi_concat(full, strcmp(full, "/") == 0 ? "" : "/", own, err);
}

char *qcbmi_full_path(const char *path, struct qcbm_error *err)
{
    char full[PATH_MAX];

    if (realpath(path, full))
        return qcbmi_concat(full, "", "", err);
    if (errno == ENOENT && !qcbmi_file_exists(path))
        return qcbmi_full_in_folder(path, err);
    qcbmi_fail_errno(err, errno, QCBM_NO_OFFSET, "%.400s", path);
    return NULL;
}

/* Where the link of @image, a full path, leads to: 0 with @to filled, or errno. Without memory from the heap: a link
 * that is not seen would not be removed. */
static int read_link(const char *image, char to[PATH_MAX])
{
    char name[PATH_MAX + sizeof(SUFFIX)];
    ssize_t n;

    to[0] = '\0';
    if (strlen(image) >= PATH_MAX)
        return ENAMETOOLONG;
    strcpy(name, image);
    strcat(name, SUFFIX);
    n = readlink(name, to, PATH_MAX - 1);
    to[n < 0 ? 0 : n] = '\0';
    return n < 0 ? errno : 0;
}

/* A path that is cut short is none: where a message has no room for it, the link beside the image says which it is. */
static int refuse_long(const char *image, bool there, struct qcbm_error *err)
{
    const char *slash = strrchr(image, '/'), *own = slash ? slash + 1 : image;
    char text[256];

    qcbmi_printable(text, sizeof(text), own, strlen(own));
    if (there)
        return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                          "a change of several disks is under way or was cut short: 'qcbm checkpoint recover' of the "
                          "journal to which '%s" SUFFIX "' leads completes it or takes it back",
                          text);
    return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                      "a change of several disks was cut short, and the journal to which '%s" SUFFIX "' leads is not "
                      "there: put it back and run 'qcbm checkpoint recover' with it; only if it is lost, look at all "
                      "of the disks and remove the link",
                      text);
}

static int refuse(const char *image, const char *journal, struct qcbm_error *err)
{
    bool there = qcbmi_file_exists(journal);
    char text[200];

    qcbmi_printable(text, sizeof(text), journal, strlen(journal));
    if (strlen(text) > 150 || strlen(journal) > 150 || (!there && strlen(image) > 100))
        return refuse_long(image, there, err);
    if (!there)
        return qcbmi_fail(
            err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
            "a change of several disks was cut short, and its journal '%s' is not there: put it back and run "
            "'qcbm checkpoint recover' with it; only if it is lost, look at all of the disks and remove the "
            "link '%s" SUFFIX "'",
            text, image);
    return qcbmi_fail(
        err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
        "a change of several disks is under way or was cut short: 'qcbm checkpoint recover %s' completes it "
        "or takes it back",
        text);
}

static int check_full(const char *full, struct qcbm_error *err)
{
    char to[PATH_MAX];
    int sys_errno = read_link(full, to);

    if (sys_errno == 0)
        return refuse(full, to, err);
    if (sys_errno == EINVAL)
        return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                          "'%.400s" SUFFIX "' is in the way, and no link to a journal", full);
    return 0;
}

int qcbmi_journal_link_find(const char *image, char **to, struct qcbm_error *err)
{
    char full[PATH_MAX], link[PATH_MAX];

    *to = NULL;
    if (!realpath(image, full))
        return errno == ENOMEM ? qcbmi_fail_nomem(err) : 0;
    if (read_link(full, link) != 0)
        return 0;
    *to = qcbmi_concat(link, "", "", err);
    return *to ? 0 : QCBM_E_NOMEM;
}

/* What has no full path, as a file that was removed meanwhile, has no name beside which a link could be. */
int qcbmi_journal_link_check(const char *image, struct qcbm_error *err)
{
    char full[PATH_MAX];

    if (realpath(image, full))
        return check_full(full, err);
    return errno == ENOMEM ? qcbmi_fail_nomem(err) : 0;
}

int qcbmi_journal_link_make(const char *image, const char *journal, struct qcbm_error *err)
{
    char *name = qcbmi_concat(image, SUFFIX, "", err), to[PATH_MAX];
    int ret = name ? 0 : QCBM_E_NOMEM;

    if (ret == 0 && symlink(journal, name) < 0) {
        if (errno != EEXIST)
            ret = qcbmi_fail_errno(err, errno, QCBM_NO_OFFSET, "could not make the link '%.400s'", name);
        else if (read_link(image, to) != 0 || strcmp(to, journal) != 0)
            ret = refuse(image, to, err);
    }
    if (ret == 0)
        ret = qcbmi_file_sync_folder(name, err);
    free(name);
    return ret;
}

/* One that leads to nothing most likely leads to where @journal was: a recovery by another name would leave the links
 * behind. */
int qcbmi_journal_link_check_own(const char *image, const char *journal, struct qcbm_error *err)
{
    char to[PATH_MAX], text[200], here[200];

    if (read_link(image, to) != 0 || strcmp(to, journal) == 0)
        return 0;
    qcbmi_printable(text, sizeof(text), to, strlen(to));
    if (qcbmi_file_exists(to))
        return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                          "it is part of the change of another journal: 'qcbm checkpoint recover %s' first", text);
    return qcbmi_fail(
        err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
        "its journal belongs at '%s', where there is none: move '%s' back there, and run 'qcbm checkpoint "
        "recover %s'",
        text, qcbmi_printable(here, sizeof(here), journal, strlen(journal)), text);
}

bool qcbmi_journal_link_is(const char *image, const char *journal)
{
    char to[PATH_MAX];

    return read_link(image, to) == 0 && strcmp(to, journal) == 0;
}

int qcbmi_journal_link_remove(const char *image, const char *journal, struct qcbm_error *err)
{
    char *name;
    int ret;

    if (!qcbmi_journal_link_is(image, journal))
        return 0;
    name = qcbmi_concat(image, SUFFIX, "", err);
    if (!name)
        return QCBM_E_NOMEM;
    ret = unlink(name) < 0 && errno != ENOENT
              ? qcbmi_fail_errno(err, errno, QCBM_NO_OFFSET, "could not remove the link '%.400s'", name)
              : qcbmi_file_sync_folder(name, err);
    free(name);
    return ret;
}
