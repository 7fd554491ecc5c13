/* folder.h - the states that a power cut can leave of a folder: files, their names, links
 * SPDX-License-Identifier: MIT
 *
 * The calls of the library that change files and names are noted on their way (--wrap). What a flush of a file or of
 * the folder made durable stays; of the rest any part may be there, and a name may be there without the bytes. */
#ifndef TESTS_FOLDER_H
#define TESTS_FOLDER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FOLDER_NAMES 64u

struct folder_name {
    char name[48]; /* "": free */
    int file;      /* -1: a symbolic link */
    char *target;
};

struct folder_file {
    uint8_t *bytes;
    size_t len, room;
};

/* What is there. */
struct folder {
    struct folder_name names[FOLDER_NAMES];
    struct folder_file *files;
    size_t n_files;
};

/* Read the working folder; write it there, with all else removed. */
void folder_read(struct folder *f);
void folder_write(const struct folder *f);
void folder_free(struct folder *f);
const struct folder_name *folder_find(const struct folder *f, const char *name);

/* Note all calls from now on, which start from @start. The event before which the process is to be killed (its exit
 * code is 9), or 0. */
void folder_record(const struct folder *start);
size_t folder_stop(void); /* the number of events */
void folder_kill_at(size_t event);
size_t folder_calls(void); /* so far, since the last of folder_record() and folder_kill_at() */

struct folder_count {
    uint64_t built, distinct;
};
/* Non-zero ends the walk. */
typedef int folder_fn(void *opaque, const struct folder *state, const char *what);
/* All states of the recorded calls, each once per @seen, which outlives several walks: a NULL at first. @random subsets
 * for each point of time. */
void folder_walk(unsigned random, uint64_t seed, void **seen, folder_fn *fn, void *opaque, struct folder_count *count);

#endif
