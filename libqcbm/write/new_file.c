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

static int create(struct qcbmi_new_file *f, struct qcbm_error *err)
{
    struct qcbm_error why;
    int ret = qcbmi_create(&f->io, f->temporary, &why);

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

int qcbmi_new_file_begin(struct qcbmi_new_file *f, const char *path, struct qcbm_error *err)
{
    int ret;

    *f = (struct qcbmi_new_file){ .path = path };
    if (!*path)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "the new file has no name");
    if (qcbmi_file_exists(path))
        return qcbmi_fail(err, QCBM_E_EXISTS, QCBM_NO_OFFSET, "the new file '%s' exists already and is not overwritten",
                          path);
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
