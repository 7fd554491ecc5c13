/* output.c - a file that a command writes beside images
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cmd.h"
#include "every_args.h"
#include "output.h"

static mode_t mode_of_new_files(void)
{
    mode_t mask = umask(0);

    umask(mask);
    return 0666 & ~mask;
}

/* Beside the file that it will be, or replace: until all of it is durable there is the old one, or none. */
static int create(struct output *out, const struct stat *old)
{
    char *target = old ? realpath(out->name, NULL) : strdup(out->name); /* what a link leads to, not the link */
    size_t len = target ? strlen(target) : 0;
    int fd = -1;

    out->temporary = target ? malloc(len + sizeof ".XXXXXX") : NULL;
    if (out->temporary) {
        memcpy(out->temporary, target, len);
        memcpy(out->temporary + len, ".XXXXXX", sizeof ".XXXXXX");
        fd = mkostemp(out->temporary, O_CLOEXEC);
        if (fd >= 0)
            (void)!fchmod(fd, old ? old->st_mode & 0777 : mode_of_new_files()); /* else it is for its owner alone */
    }
    out->target = target;
    out->made = fd >= 0;
    return fd;
}

static bool is_qcow2(const char *name)
{
    FILE *f = fopen(name, "rb");
    char magic[4] = "";
    bool is = f && fread(magic, 1, sizeof magic, f) == sizeof magic && memcmp(magic, "QFI\xfb", sizeof magic) == 0;

    if (f)
        fclose(f);
    return is;
}

/* By locks, as QEMU and qcbm have them for each image that is open. Where none can be asked for nothing is known. */
static bool is_in_use(const char *name)
{
    struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET };
    int fd = open(name, O_RDONLY | O_CLOEXEC);
    bool held = fd >= 0 && fcntl(fd, F_OFD_GETLK, &lock) == 0 && lock.l_type != F_UNLCK;

    if (fd >= 0)
        close(fd);
    return held;
}

/* What may be lost. */
static int check_old(const struct output *out, const struct stat *old, bool force)
{
    if (!S_ISREG(old->st_mode) && !S_ISBLK(old->st_mode))
        return EXIT_DONE;
    if (every_args.record && qcbm_same_file(every_args.record, out->name))
        return cmd_error("'%s' is the file of the record: nothing else is written to it", out->name);
    if (is_qcow2(out->name))
        return cmd_error("'%s' is a qcow2 image: it is not replaced", out->name);
    if (!force && S_ISBLK(old->st_mode))
        return cmd_error("'%s' is a block device; --force overwrites what is on it", out->name);
    if (!force)
        return cmd_error("'%s' is there already; --force replaces it", out->name);
    if (is_in_use(out->name))
        return cmd_error("'%s' is locked by another program: it is not replaced", out->name);
    return EXIT_DONE;
}

/* O_EXCL on a block device: not one that is mounted, or part of another. */
static int open_fd(struct output *out, const struct stat *old, bool dry_run)
{
    out->device = old && S_ISBLK(old->st_mode);
    out->replaces = old && S_ISREG(old->st_mode);
    if (dry_run)
        return open("/dev/null", O_WRONLY | O_CLOEXEC);
    if (!old || S_ISREG(old->st_mode))
        return create(out, old);
    return open(out->name, O_WRONLY | O_CLOEXEC | (out->device ? O_EXCL : 0));
}

int output_open(struct output *out, const char *name, bool force, bool dry_run)
{
    struct stat st;
    bool there;
    int fd;

    *out = (struct output){ .name = name, .to_std = strcmp(name, "-") == 0 };
    if (out->to_std && !dry_run) {
        out->file = stdout;
        return EXIT_DONE;
    }
    there = !out->to_std && stat(name, &st) == 0;
    if (there && check_old(out, &st, force) != EXIT_DONE)
        return EXIT_FAILED;
    fd = open_fd(out, there ? &st : NULL, dry_run);
    out->file = fd < 0 ? NULL : fdopen(fd, "wb");
    if (out->file)
        return EXIT_DONE;
    cmd_error("Could not open '%s': %s", name, strerror(errno));
    if (fd >= 0)
        close(fd);
    return EXIT_FAILED;
}

bool output_replaces(const struct output *out)
{
    return out->replaces || out->device;
}

/* The entry of a file in its folder. EINVAL: nothing to be synced on this file system. */
static int sync_folder(const char *file)
{
    char *copy = strdup(file);
    int fd = copy ? open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    int error = fd < 0 || (fsync(fd) != 0 && errno != EINVAL) ? errno : 0;

    if (fd >= 0)
        close(fd);
    free(copy);
    return error;
}

/* A new one does not take the place of what another program has made meanwhile. */
static int give_name(const struct output *out)
{
    if (out->replaces)
        return rename(out->temporary, out->target);
    if (link(out->temporary, out->target) == 0)
        return unlink(out->temporary);
    if (errno == EEXIST)
        return -1;
    return rename(out->temporary, out->target); /* no links on this file system */
}

/* Returns errno. */
static int finish(struct output *out)
{
    if (fflush(out->file) != 0)
        return errno;
    if ((out->made || out->device) && fsync(fileno(out->file)) != 0)
        return errno;
    if (out->temporary && give_name(out) != 0)
        return errno;
    return out->made ? sync_folder(out->target) : 0;
}

int output_close(struct output *out, int code)
{
    int error = out->file && code == EXIT_DONE ? finish(out) : 0;

    if (out->file && !out->to_std && fclose(out->file) != 0 && !error)
        error = errno;
    if (code == EXIT_DONE && error)
        code = cmd_error("could not write '%s': %s", out->name, strerror(error));
    if (code == EXIT_DONE && (out->made || out->device))
        cmd_note_done("the file has been written all the same");
    if (code != EXIT_DONE && out->made)
        unlink(out->temporary);
    free(out->temporary);
    free(out->target);
    *out = (struct output){ 0 };
    return code;
}
