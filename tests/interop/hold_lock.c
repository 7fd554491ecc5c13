/* hold_lock.c - opens an image through the public API and holds it until standard input ends
 * SPDX-License-Identifier: MIT
 *
 * hold_lock write|read|shared|info|info-shared FILE
 * Prints "open" once it has the image. Exit 1 with a message if it does not get it, 2 on wrong usage. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "qcbm.h"

static const struct {
    const char *name;
    unsigned flags;
} modes[] = {
    { "write", QCBM_OPEN_WRITE },
    { "read", 0 },
    { "shared", QCBM_OPEN_FORCE_SHARE },
    { "info", QCBM_OPEN_INFO },
    { "info-shared", QCBM_OPEN_INFO | QCBM_OPEN_FORCE_SHARE },
};

static int hold(const char *path, unsigned flags)
{
    struct qcbm_image *img = NULL;
    struct qcbm_error err = { 0 };
    char byte;

    if (qcbm_open(path, flags, &img, &err) < 0) {
        fprintf(stderr, "hold_lock: %s: %s (%s)\n", path, err.message, qcbm_code_name(err.code));
        return 1;
    }
    puts("open");
    fflush(stdout);
    while (read(STDIN_FILENO, &byte, 1) > 0)
        continue;
    qcbm_close(img);
    return 0;
}

int main(int argc, char **argv)
{
    for (size_t i = 0; argc == 3 && i < sizeof(modes) / sizeof(modes[0]); i++)
        if (strcmp(argv[1], modes[i].name) == 0)
            return hold(argv[2], modes[i].flags);
    fprintf(stderr, "usage: hold_lock write|read|shared|info|info-shared FILE\n");
    return 2;
}
