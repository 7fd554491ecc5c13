/* fuzz_apply.c - apply: a hostile delta on a small disk, or a hostile state file
 * SPDX-License-Identifier: MIT
 *
 * The input is a delta of the form qcow2, rbd-diff or vnb, by its first bytes, or a state file. The disk is raw, of 1
 * MiB.
 *  - applied by force into a new file and in place: both fail, or both give the same disk;
 *  - refused without force, nothing of the disk has changed, and nothing is left behind;
 *  - as a state file: read, and what is read is written as the same bytes. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "format/apply_file.h"
#include "fuzz.h"

#define DISK (1u << 20)

static char folder[64];

static const char *path_of(const char *name)
{
    static char paths[4][128];
    static unsigned at;

    at = (at + 1) % 4;
    snprintf(paths[at], sizeof(paths[at]), "%s/%s", folder, name);
    return paths[at];
}

static void put(const char *name, const void *bytes, size_t len)
{
    int fd = open(path_of(name), O_WRONLY | O_CREAT | O_TRUNC, 0600);

    if (fd < 0 || write(fd, bytes, len) != (ssize_t)len || close(fd) != 0)
        abort();
}

static void make_folder(void)
{
    const char *at = access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp";

    if (folder[0])
        return;
    snprintf(folder, sizeof(folder), "%s/qcbm-fuzz-apply.%ld", at, (long)getpid());
    if (mkdir(folder, 0700) < 0)
        abort();
}

static void clean(void)
{
    static const char *const names[] = { "base", "base.qcbm-apply", "base.qcbm-id", "delta",
                                         "new",  "new.qcbm-new",    "new.qcbm-id" };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        unlink(path_of(names[i]));
    rmdir(folder);
    folder[0] = '\0';
}

/* Some of it zeros, some not. */
static const uint8_t *disk_bytes(void)
{
    static uint8_t disk[DISK];

    for (size_t i = 0; i < DISK; i++)
        disk[i] = i / 65536 % 3 ? (uint8_t)(i / 4096 + 1) : 0;
    return disk;
}

static void make_base(void)
{
    put("base", disk_bytes(), DISK);
}

static bool is_disk(const char *name)
{
    static uint8_t got[DISK + 1];
    int fd = open(path_of(name), O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, got, sizeof(got));

    if (fd >= 0)
        close(fd);
    return n == DISK && memcmp(got, disk_bytes(), DISK) == 0;
}

static bool same_files(const char *a, const char *b)
{
    FILE *x = fopen(path_of(a), "rb"), *y = fopen(path_of(b), "rb");
    bool same = x && y;

    while (same) {
        int c = getc(x), d = getc(y);

        same = c == d;
        if (c == EOF || d == EOF)
            break;
    }
    if (x)
        fclose(x);
    if (y)
        fclose(y);
    return same;
}

static int note_size(void *opaque, const struct qcbm_apply_delta *d)
{
    *(uint64_t *)opaque = d->size_after;
    return 0;
}

/* Of the disk afterwards; what is too large for a fuzzer is not applied. */
static uint64_t size_after;

static int apply(const char *new_path, unsigned flags, struct qcbm_apply_result *out)
{
    struct qcbm_apply_options o = QCBM_APPLY_OPTIONS_INIT;
    const char *delta = path_of("delta");
    struct qcbm_error err;
    int ret;

    o.new_path = new_path;
    o.base_format = "raw";
    o.flags = flags;
    o.delta = note_size;
    o.opaque = &size_after;
    ret = qcbm_apply(path_of("base"), &delta, 1, &o, out, sizeof(*out), &err);
    if (ret < 0)
        fuzz_check_error(&err, ret);
    return ret;
}

static void as_delta(const uint8_t *data, size_t size)
{
    struct qcbm_apply_result forced, result;
    int fresh, ret;

    put("delta", data, size);
    make_base();
    if (apply(NULL, QCBM_APPLY_DRY_RUN | QCBM_APPLY_FORCE_PARENT, &forced) == 0 && size_after > 16 * DISK)
        return;
    ret = apply(NULL, 0, &result);
    fuzz_require(access(path_of("base.qcbm-apply"), F_OK) != 0, "apply",
                 "leaves a state file where nothing was cut short");
    if (ret < 0)
        fuzz_require(is_disk("base"), "a refused delta", "has changed the disk");
    make_base();
    unlink(path_of("base.qcbm-id"));
    fresh = apply(path_of("new"), QCBM_APPLY_FORCE_PARENT, &forced);
    fuzz_require(is_disk("base"), "a new file", "was made of another disk than it found");
    fuzz_require((fresh == 0) == (access(path_of("new"), F_OK) == 0), "a new file",
                 "is there without success, or is not");
    ret = apply(NULL, QCBM_APPLY_FORCE_PARENT, &result);
    fuzz_require((ret == 0) == (fresh == 0), "in place and into a new file", "one of them fails");
    if (ret == 0)
        fuzz_require(same_files("base", "new"), "in place and into a new file", "the disks differ");
}

static void as_state(const uint8_t *data, size_t size)
{
    static struct qcbmi_apply_file f, back;
    static uint8_t bytes[QCBMI_APPLY_FILE_MAX];
    struct qcbmi_apply_step step, again;
    struct qcbmi_state_file s;
    struct qcbm_error err;
    int ret = qcbmi_apply_file_parse(data, size, &f, &step, &err);

    if (ret < 0)
        fuzz_check_error(&err, ret);
    if (ret == 0) {
        fuzz_require(qcbmi_apply_file_bytes(&f) <= sizeof(bytes), "state file", "is longer than it may be");
        qcbmi_apply_file_store(bytes, &f, &step);
        fuzz_require(qcbmi_apply_file_parse(bytes, qcbmi_apply_file_bytes(&f), &back, &again, NULL) == 0 &&
                         memcmp(&f, &back, sizeof(f)) == 0 && step.phase == again.phase && step.offset == again.offset,
                     "state file", "does not come back");
    }
    (void)qcbmi_state_file_parse(data, size, &s, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    make_folder();
    as_state(data, size);
    as_delta(data, size);
    clean();
    return 0;
}
