/* run_note.h - what is noted of a run while it goes on, for the record of it and the exit code
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_RUN_NOTE_H
#define QCBM_TOOL_RUN_NOTE_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "qcbm.h"

/* Of errors the first is kept: those after it are mostly its consequences. */
struct run_note {
    bool failed;        /* an error was printed; the members up to message are of that */
    int cause;          /* enum qcbm_code, 0: it came from no call of the library */
    bool wrong_use;     /* ... but from the command line */
    uint64_t offset;    /* QCBM_NO_OFFSET: none */
    char message[1536]; /* without "qcbm: "; bytes that nobody has checked */
    uint64_t warnings;
    char image[PATH_MAX]; /* the first that was opened, a local file; "": none */
    char tag[33];         /* of that image; "": none */
    bool raw;             /* it is a disk, and its first bytes are those of a guest, which may look like any image */
};

/* From here on what is noted can be seen by the process that has started this one. False: no memory. */
bool run_note_share(void);

/* The next error that is noted is what the library says here. */
void run_note_cause(const struct qcbm_error *err);
void run_note_error(const char *message, size_t len);
/* The error before this was one of wrong use. */
void run_note_wrong_use(void);
void run_note_warning(void);
void run_note_image(const char *path);
/* @img is open as @path. */
void run_note_tag(const char *path, const struct qcbm_image *img);
void run_note_raw(const char *path);

const struct run_note *run_note(void);

#endif
