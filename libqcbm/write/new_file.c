/* new_file.c - a new file that is whole or not there
 * SPDX-License-Identifier: MIT */
#include "write/new_file.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "io/io_file.h"
#include "io/open.h"

static const char suffix[] = ".qcbm-new";

char *qcbmi_new_file_temporary(const char *path, struct qcbm_error *err)
{
    size_t len = strlen(path);
    char *name = qcbmi_alloc_array(len + sizeof(suffix), 1, err);

    if (!name)
        return NULL;
    memcpy(name, path, len);
    memcpy(name + len, suffix, sizeof(suffix));
    return name;
}

/* Whoever finds the file of a command that was cut short removes it, and knows by the lock that it was. In between
 * making and locking it may be taken for one. */
static int hold(struct qcbmi_new_file *f, struct qcbm_error *why)
{
    struct qcbmi_file_id id;
    int ret = qcbmi_lock(&f->io, QCBM_OPEN_WRITE | QCBM_OPEN_NO_LOCK, why);

    if (ret == 0)
        ret = qcbmi_identify(f->temporary, &id, why);
    if (ret == QCBM_E_NOTFOUND || (ret == 0 && !qcbmi_same_file(&id, &f->io.id)))
        ret = QCBM_E_LOCKED;
    if (ret < 0 && ret != QCBM_E_LOCKED)
        qcbmi_file_remove(f->temporary);
    if (ret < 0)
        qcbmi_io_close(&f->io);
    return ret == QCBM_E_LOCKED ? QCBM_E_EXISTS : ret;
}

static int create(struct qcbmi_new_file *f, struct qcbm_error *err)
{
    struct qcbm_error why;
    int ret = qcbmi_create(&f->io, f->temporary, &why);

    if (ret == 0)
        ret = hold(f, &why);
    if (ret == QCBM_E_EXISTS)
        return qcbmi_fail(err, QCBM_E_EXISTS, QCBM_NO_OFFSET,
                          "'%s' is there, of a command that runs, or that was cut short: if none runs, it may be "
                          "deleted",
                          f->temporary);
    if (ret < 0) {
        qcbmi_fail(err, ret, QCBM_NO_OFFSET, "the new file '%s': %s", f->path, why.message);
        if (err)
            err->sys_errno = why.sys_errno;
    }
    return ret;
}

int qcbmi_new_file_check(const char *path, struct qcbm_error *err)
{
    if (!*path)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "the new file has no name");
    if (qcbmi_file_exists(path))
        return qcbmi_fail(err, QCBM_E_EXISTS, QCBM_NO_OFFSET, "the new file '%s' exists already and is not overwritten",
                          path);
    return 0;
}

int qcbmi_new_file_begin(struct qcbmi_new_file *f, const char *path, struct qcbm_error *err)
{
    int ret = qcbmi_new_file_check(path, err);

    *f = (struct qcbmi_new_file){ .path = path };
    if (ret < 0)
        return ret;
    f->temporary = qcbmi_new_file_temporary(path, err);
    if (!f->temporary)
        return QCBM_E_NOMEM;
    ret = create(f, err);
    if (ret < 0) {
        free(f->temporary);
        f->temporary = NULL;
    }
    return ret;
}

void qcbmi_new_file_remove_leftover(const char *path)
{
    char *name = qcbmi_new_file_temporary(path, NULL);
    struct qcbmi_file_id id;
    struct qcbmi_io io;

    if (name && qcbmi_open(&io, name, true, NULL) == 0) {
        if (qcbmi_lock(&io, QCBM_OPEN_WRITE, NULL) == 0 && qcbmi_identify(name, &id, NULL) == 0 &&
            qcbmi_same_file(&id, &io.id))
            qcbmi_file_remove(name);
        qcbmi_io_close(&io);
    }
    free(name);
}

int qcbmi_new_file_end(struct qcbmi_new_file *f, int ret, struct qcbm_error *err)
{
    if (!f->temporary)
        return ret;
    if (ret == 0)
        ret = qcbmi_io_flush(&f->io, err);
    if (ret == 0)
        ret = qcbmi_file_publish(f->temporary, f->path, err);
    if (ret < 0)
        qcbmi_file_remove(f->temporary);
    qcbmi_io_close(&f->io);
    free(f->temporary);
    *f = (struct qcbmi_new_file){ 0 };
    return ret;
}
