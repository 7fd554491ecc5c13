/* open.c - from a name to what lies behind it: operations, identity, traits; and what names mean
 * SPDX-License-Identifier: MIT */
#include "io/open.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/digest.h"
#include "base/error.h"
#include "io/io_file.h"

static int take_file(struct qcbmi_io *io, void *self, bool writable, struct qcbm_error *err)
{
    struct qcbmi_file_id id = qcbmi_file_get_id(self);
    struct qcbmi_file_traits traits = qcbmi_file_get_traits(self);
    int ret = qcbmi_io_init(io, qcbmi_file_ops(), self, writable, err);

    if (ret == 0) {
        io->id = id;
        io->traits = traits;
    }
    return ret;
}

int qcbmi_open(struct qcbmi_io *io, const char *path, bool writable, struct qcbm_error *err)
{
    void *self;
    int ret = qcbmi_file_open(path, writable, &self, err);

    *io = (struct qcbmi_io){ 0 };
    return ret < 0 ? ret : take_file(io, self, writable, err);
}

int qcbmi_open_fd(struct qcbmi_io *io, int fd, bool writable, struct qcbm_error *err)
{
    void *self;
    int ret = qcbmi_file_take_fd(fd, writable, &self, err);

    *io = (struct qcbmi_io){ 0 };
    return ret < 0 ? ret : take_file(io, self, writable, err);
}

int qcbmi_create(struct qcbmi_io *io, const char *path, struct qcbm_error *err)
{
    void *self;
    int ret = qcbmi_file_create(path, &self, err);

    *io = (struct qcbmi_io){ 0 };
    if (ret < 0)
        return ret;
    ret = take_file(io, self, true, err);
    if (ret < 0)
        qcbmi_file_remove(path); /* it is empty, and nobody's */
    return ret;
}

static enum qcbm_lock_mode lock_mode(unsigned flags)
{
    if (flags & QCBM_OPEN_WRITE)
        return QCBM_LOCK_WRITE;
    if (flags & QCBM_OPEN_INFO)
        return flags & QCBM_OPEN_FORCE_SHARE ? QCBM_LOCK_INFO_SHARED : QCBM_LOCK_INFO;
    return flags & QCBM_OPEN_FORCE_SHARE ? QCBM_LOCK_READ_SHARED : QCBM_LOCK_READ;
}

int qcbmi_lock(struct qcbmi_io *io, unsigned flags, struct qcbm_error *err)
{
    struct qcbm_error local;
    int ret = qcbmi_io_lock(io, lock_mode(flags), &local);

    if (ret == QCBM_E_NOLOCKS && (flags & QCBM_OPEN_NO_LOCK))
        return 0;
    if (ret < 0 && err)
        *err = local;
    return ret;
}

int qcbmi_identify(const char *path, struct qcbmi_file_id *out, struct qcbm_error *err)
{
    struct stat st;

    *out = (struct qcbmi_file_id){ 0 };
    if (stat(path, &st) < 0)
        return qcbmi_fail_errno(err, errno, QCBM_NO_OFFSET, "%s", "");
    *out = qcbmi_file_id_of(&st);
    return 0;
}

bool qcbmi_id_is_device(const struct qcbmi_file_id *id)
{
    return id->known && id->ino == QCBMI_DEVICE_INO;
}

bool qcbmi_same_file(const struct qcbmi_file_id *a, const struct qcbmi_file_id *b)
{
    return a->known && b->known && a->dev == b->dev && a->ino == b->ino;
}

uint32_t qcbmi_file_mark(const struct qcbmi_io *io)
{
    uint8_t bytes[20], digest[QCBMI_DIGEST_BYTES];
    struct qcbm_io_time born;

    if (!io->id.known || io->traits.is_device)
        return 0;
    born = qcbmi_file_born(io->self);
    be64_store(bytes, io->id.ino);
    be64_store(bytes + 8, (uint64_t)born.seconds);
    be32_store(bytes + 16, born.nanoseconds);
    qcbmi_digest(bytes, sizeof(bytes), digest);
    return be32_load(digest) | 1; /* never 0 */
}

/* ---- names ---- */

bool qcbmi_name_has_protocol(const char *name)
{
    return name[strcspn(name, ":/")] == ':';
}

char *qcbmi_name_beside(const char *image_path, const char *name, struct qcbm_error *err)
{
    const char *slash = image_path && name[0] != '/' ? strrchr(image_path, '/') : NULL;
    size_t folder = slash ? (size_t)(slash - image_path) + 1 : 0;
    char *full = qcbmi_alloc_array(folder + strlen(name) + 1, 1, err);

    if (!full)
        return NULL;
    if (folder)
        memcpy(full, image_path, folder);
    memcpy(full + folder, name, strlen(name) + 1);
    return full;
}

char *qcbmi_name_absolute(const char *path, struct qcbm_error *err)
{
    char *folder, *full;

    if (path[0] == '/')
        return qcbmi_memdup_nul(path, strlen(path), err);
    folder = getcwd(NULL, 0);
    if (!folder) {
        qcbmi_fail_errno(err, errno, QCBM_NO_OFFSET, "the working directory is not known");
        return NULL;
    }
    while (strncmp(path, "./", 2) == 0)
        path += 2 + strspn(path + 2, "/");
    full = qcbmi_alloc_array(strlen(folder) + strlen(path) + 2, 1, err);
    if (full)
        sprintf(full, "%s%s%s", folder, strcmp(folder, "/") ? "/" : "", path);
    free(folder);
    return full;
}

char *qcbmi_name_full(const char *image_path, const char *name, struct qcbm_error *err)
{
    bool own = name[0] == '\0' || qcbmi_name_has_protocol(name);

    return qcbmi_name_beside(own ? NULL : image_path, name, err);
}

const char *qcbmi_name_local(const char *name)
{
    if (strncmp(name, "file:", 5) == 0)
        return name + 5;
    return qcbmi_name_has_protocol(name) ? NULL : name;
}
