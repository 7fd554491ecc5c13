/* replay_main.c - run a fuzz target over files and folders, without a fuzzer: replay PATH...
 * SPDX-License-Identifier: MIT */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"

static unsigned long replayed;

static _Noreturn void die(const char *path)
{
    perror(path);
    exit(2);
}

static void replay_file(const char *path, size_t size)
{
    uint8_t *bytes = malloc(size ? size : 1); /* the exact length, so that AddressSanitizer sees one byte too many */
    FILE *f = fopen(path, "rb");

    if (!f || !bytes || fread(bytes, 1, size, f) != size)
        die(path);
    fclose(f);
    fprintf(stderr, "%s\n", path); /* if it crashes, this is the last line before the report */
    LLVMFuzzerTestOneInput(bytes, size);
    free(bytes);
    replayed++;
}

static void replay(const char *path)
{
    struct dirent **names;
    struct stat st;
    int n;

    if (stat(path, &st) < 0)
        die(path);
    if (!S_ISDIR(st.st_mode)) {
        replay_file(path, (size_t)st.st_size);
        return;
    }
    n = scandir(path, &names, NULL, alphasort);
    if (n < 0)
        die(path);
    for (int i = 0; i < n; i++) {
        char *sub;

        if (names[i]->d_name[0] != '.') {
            if (asprintf(&sub, "%s/%s", path, names[i]->d_name) < 0)
                die(path);
            replay(sub);
            free(sub);
        }
        free(names[i]);
    }
    free(names);
}

int main(int argc, char **argv)
{
    for (int i = 1; i < argc; i++)
        replay(argv[i]);
    fprintf(stderr, "%lu inputs\n", replayed);
    return replayed ? 0 : 2; /* a folder that has gone missing must not pass */
}
