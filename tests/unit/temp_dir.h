/* temp_dir.h - a folder for the files of one test
 * SPDX-License-Identifier: MIT */
#ifndef TEMP_DIR_H
#define TEMP_DIR_H

#include "unit.h"

#include <dirent.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

struct temp_dir {
    char path[64];
};

static inline void temp_dir_make(struct temp_dir *d)
{
    snprintf(d->path, sizeof(d->path), "%s/qcbm-unit-XXXXXX", P_tmpdir);
    assert_non_null(mkdtemp(d->path));
}

/* The path of @name in the folder; valid for the next 15 calls. */
static inline const char *temp_path(const struct temp_dir *d, const char *name)
{
    static char paths[16][128];
    static unsigned next;
    char *to = paths[next++ % 16];

    snprintf(to, sizeof(paths[0]), "%s/%s", d->path, name);
    return to;
}

/* With the files in it, but no folders. */
static inline void temp_dir_remove(const struct temp_dir *d)
{
    DIR *dir = opendir(d->path);
    struct dirent *e;

    assert_non_null(dir);
    while ((e = readdir(dir)) != NULL)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            unlinkat(dirfd(dir), e->d_name, 0);
    closedir(dir);
    rmdir(d->path);
}

#endif
