/* undo_file.c - what a power cut leaves of an undo file is all of it, or is refused as incomplete; and before all of it
 * and its name are durable, the image is not written
 * SPDX-License-Identifier: MIT
 *
 * usage: undo_file RANDOM IMAGE...    (works in the current folder)
 *
 * Each operation of ops.c is carried out on each image with an undo file, both as files. The calls that write and flush
 * are noted on their way (--wrap); states.c builds from them what a cut could leave of the undo file. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

#include "base/bytes.h"
#include "look.h"
#include "ops.h"
#include "part.h"
#include "states.h"
#include "write/undo_load.h"

#define WORK "work.tmp"
#define UNDO "undo.tmp"
#define STATE "state.tmp"

struct run {
    const char *image;
    const struct crash_op *op;
    const uint8_t *end; /* the whole undo file */
    size_t end_len;
    uint64_t whole, incomplete;
};

static struct record_event events[4096];
static size_t n_events;
static bool folder_synced, image_written;
static const char *too_early; /* what was missing at the first write to the image */

/* ---- what the library does ---- */

ssize_t __real_pwrite64(int fd, const void *buf, size_t len, off_t off);
ssize_t __wrap_pwrite64(int fd, const void *buf, size_t len, off_t off);
int __wrap_fdatasync(int fd);
int __wrap_fsync(int fd);

static bool is_file(int fd, const char *path)
{
    struct stat a, b;

    return fstat(fd, &a) == 0 && stat(path, &b) == 0 && a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

static void note(enum record_kind kind, uint64_t off, const void *buf, size_t len)
{
    struct record_event *e = &events[n_events++];

    if (n_events == sizeof(events) / sizeof(events[0]))
        look_fail(UNDO, "too many writes");
    *e = (struct record_event){ kind, off, len, NULL };
    if (!len)
        return;
    e->bytes = malloc(len);
    if (!e->bytes)
        abort();
    memcpy(e->bytes, buf, len);
}

ssize_t __wrap_pwrite64(int fd, const void *buf, size_t len, off_t off)
{
    if (is_file(fd, UNDO))
        note(RECORD_WRITE, (uint64_t)off, buf, len);
    if (is_file(fd, WORK) && !image_written) {
        if (n_events == 0 || events[n_events - 1].kind != RECORD_FLUSH)
            too_early = "the undo file is not flushed when the image is written";
        else if (!folder_synced)
            too_early = "the name of the undo file is not durable when the image is written";
        image_written = true;
    }
    return __real_pwrite64(fd, buf, len, off);
}

int __wrap_fdatasync(int fd)
{
    if (is_file(fd, UNDO))
        note(RECORD_FLUSH, 0, NULL, 0);
    return 0;
}

int __wrap_fsync(int fd)
{
    folder_synced |= is_file(fd, ".") && access(UNDO, F_OK) == 0;
    return 0;
}

/* ---- what is left of it ---- */

static _Noreturn void bad(const struct run *r, const char *what, const char *why)
{
    char text[512];

    snprintf(text, sizeof(text), "%s, %s, %s", r->image, r->op->name, what);
    look_fail(text, why);
}

static void write_file(const char *path, const uint8_t *bytes, size_t len)
{
    FILE *f = fopen(path, "wb");

    if (!f || fwrite(bytes, 1, len, f) != len || fclose(f) != 0)
        look_fail(path, "cannot be written");
}

static int judge_one(void *opaque, const uint8_t *bytes, size_t len, const char *what)
{
    struct run *r = opaque;
    size_t unsealed = r->end_len - QCBMI_UNDO_SEAL_BYTES; /* whole without, too: the change is under way then */
    bool whole = len == r->end_len && memcmp(bytes, r->end, unsealed) == 0 &&
                 (memcmp(bytes + unsealed, r->end + unsealed, QCBMI_UNDO_SEAL_BYTES) == 0 ||
                  bytes_are_zero(bytes + unsealed, QCBMI_UNDO_SEAL_BYTES));
    struct qcbmi_undo_file file = { 0 };
    struct qcbm_error err;
    int ret;

    write_file(STATE, bytes, len);
    ret = qcbmi_undo_file_open(&file, STATE, &err);
    qcbmi_undo_file_close(&file);
    if (whole ? ret < 0 : ret != QCBM_E_CORRUPT || !strstr(err.message, "incomplete"))
        bad(r, what, ret < 0 ? err.message : "taken for whole");
    r->whole += whole;
    r->incomplete += !whole;
    return 0;
}

/* 0, OP_NOT_HERE, or an error. */
static int carry_out(const struct run *r, struct qcbm_error *err)
{
    struct qcbm_plan_summary sum = { 0 };
    struct qcbm_edit *edit = NULL;
    struct qcbm_image *img;
    int ret = qcbm_open(WORK, QCBM_OPEN_WRITE, &img, err);

    if (ret < 0)
        return ret;
    ret = qcbm_edit_begin(img, &edit, err);
    if (ret == 0)
        ret = r->op->run(edit, img, r->image, err);
    if (ret == 0)
        ret = qcbm_edit_set_undo(edit, UNDO, err);
    if (ret == 0)
        ret = qcbm_edit_commit(edit, &sum, sizeof(sum), err);
    qcbm_edit_free(edit);
    qcbm_close(img);
    if (ret == 0 && sum.writes == 0)
        return OP_NOT_HERE;
    return ret == QCBM_E_NOTFOUND ? OP_NOT_HERE : ret;
}

static void forget_events(void)
{
    while (n_events)
        free(events[--n_events].bytes);
    folder_synced = image_written = false;
    too_early = NULL;
}

static void try_op(struct run *r, const uint8_t *bytes, size_t len, unsigned random_subsets)
{
    struct states_source src = { (const uint8_t *)"", 0, events, 0, random_subsets, 1 };
    struct states_count count;
    struct qcbm_error err;
    uint8_t *end;
    int ret;

    unlink(UNDO);
    write_file(WORK, bytes, len);
    ret = carry_out(r, &err);
    if (ret < 0)
        bad(r, "commit", err.message);
    if (ret == 0) {
        if (too_early || !image_written)
            bad(r, "commit", too_early ? too_early : "nothing was written to the image");
        r->end = end = look_read_file(UNDO, &r->end_len);
        src.n = n_events;
        states_walk(&src, judge_one, r, &count);
        free(end);
    }
    forget_events();
}

int main(int argc, char **argv)
{
    uint64_t whole = 0, incomplete = 0;

    if (argc < 3)
        look_fail("usage", "undo_file RANDOM IMAGE...");
    for (int i = 2; i < argc; i++) {
        size_t len;
        uint8_t *bytes = look_read_file(argv[i], &len);

        for (size_t k = 0; k < crash_n_ops; k++) {
            struct run r = { .image = argv[i], .op = &crash_ops[k] };

            if (test_takes((uint64_t)i + k))
                try_op(&r, bytes, len, (unsigned)strtoul(argv[1], NULL, 10));
            whole += r.whole;
            incomplete += r.incomplete;
        }
        free(bytes);
    }
    printf("%" PRIu64 " states of undo files: %" PRIu64 " whole, %" PRIu64 " refused as incomplete\n",
           whole + incomplete, whole, incomplete);
    return whole && incomplete ? 0 : 1;
}
