/* unfinished.c - what lies beside an image while a change of it is under way that takes more than one command to finish
 * SPDX-License-Identifier: MIT */
#include "io/unfinished.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "io/io_file.h"

static const char suffix[] = ".qcbm-apply";

char *qcbmi_unfinished_prefix(const char *path, struct qcbm_error *err)
{
    char real[PATH_MAX];
    const char *name = realpath(path, real) ? real : path;

    return qcbmi_memdup_nul(name, strlen(name), err);
}

char *qcbmi_unfinished_name(const char *prefix, struct qcbm_error *err)
{
    size_t len = strlen(prefix);
    char *name = qcbmi_alloc_array(len + sizeof(suffix), 1, err);

    if (name) {
        memcpy(name, prefix, len);
        memcpy(name + len, suffix, sizeof(suffix));
    }
    return name;
}

int qcbmi_unfinished_refuse(const char *path, struct qcbm_error *err)
{
    char *prefix = qcbmi_unfinished_prefix(path, err), text[256];
    char *name = prefix ? qcbmi_unfinished_name(prefix, err) : NULL;
    int ret = name ? 0 : QCBM_E_NOMEM;

    if (name && qcbmi_file_exists(name))
        ret = qcbmi_fail(
            err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
            "a delta has been applied to the disk in part, as '%s' says: run the same 'qcbm apply' again, which "
            "goes on with it (docs/apply-format.md tells the way where it cannot)",
            qcbmi_printable(text, sizeof(text), name, strlen(name)));
    free(name);
    free(prefix);
    return ret;
}
