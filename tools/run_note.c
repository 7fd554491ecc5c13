/* run_note.c - what is noted of a run while it goes on, for the record of it and the exit code
 * SPDX-License-Identifier: MIT
 */
#include "run_note.h"

#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

static struct run_note own;
static struct run_note *note = &own;

static int cause;
static uint64_t offset = QCBM_NO_OFFSET;

bool run_note_share(void)
{
    if (note != &own) /* it is shared with the process above */
        return true;
    void *shared = mmap(NULL, sizeof *note, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

    if (shared == MAP_FAILED)
        return false;
    memcpy(shared, note, sizeof *note);
    note = shared;
    return true;
}

void run_note_cause(const struct qcbm_error *err)
{
    cause = err->code;
    offset = err->offset;
}

void run_note_error(const char *message, size_t len)
{
    if (!note->failed) {
        note->cause = cause;
        note->offset = offset;
        len = len < sizeof note->message ? len : sizeof note->message - 1;
        memcpy(note->message, message, len);
        note->message[len] = '\0';
        note->failed = true; /* last: the process may be ended at any time */
    }
    cause = 0;
    offset = QCBM_NO_OFFSET;
}

void run_note_wrong_use(void)
{
    note->wrong_use = note->failed && note->cause == 0;
}

void run_note_warning(void)
{
    note->warnings++;
}

void run_note_image(const char *path)
{
    if (note->image[0] == '\0' && strlen(path) < sizeof note->image)
        strcpy(note->image, path);
}

void run_note_tag(const char *path, const struct qcbm_image *img)
{
    struct qcbm_image_info info;

    if (strcmp(note->image, path) != 0)
        return;
    qcbm_image_get_info(img, &info, sizeof info);
    snprintf(note->tag, sizeof note->tag, "%s", info.tag ? info.tag : "");
}

void run_note_raw(const char *path)
{
    note->raw |= strcmp(note->image, path) == 0;
}

const struct run_note *run_note(void)
{
    return note;
}
