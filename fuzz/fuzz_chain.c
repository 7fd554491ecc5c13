/* fuzz_chain.c - backing names: which paths they mean, and that no other file is opened
 * SPDX-License-Identifier: MIT
 *
 * The input is an image, written to a folder of its own with a few other files that its names may hit. open() is
 * wrapped by the linker: what lies outside the folder does not exist, and each name is compared with what may be asked
 * for. */
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fuzz.h"
#include "image/chain.h"
#include "io/open.h"

#define MAX_CALLS 20000u
#define INPUT "input.qcow2"

static char folder[64];
static const char *allowed[4]; /* names that the code under test may open now; NULL: none */
static bool watching;

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_open(const char *path, int flags, ...);

static bool is_allowed(const char *path)
{
    for (size_t i = 0; i < sizeof(allowed) / sizeof(*allowed); i++)
        if (allowed[i] && strcmp(path, allowed[i]) == 0)
            return true;
    return false;
}

static int open_watched(const char *path, int flags, mode_t mode)
{
    if (watching) {
        fuzz_require((flags & O_ACCMODE) == O_RDONLY && !(flags & O_CREAT), "chain", "opens a file for writing");
        fuzz_require(is_allowed(path), "chain opens what the images do not name", path);
        if (strncmp(path, folder, strlen(folder)) != 0) {
            errno = ENOENT;
            return -1;
        }
    }
    return __real_open64(path, flags, mode);
}

static mode_t mode_of(int flags, va_list args)
{
    return flags & O_CREAT ? va_arg(args, mode_t) : 0;
}

int __wrap_open64(const char *path, int flags, ...)
{
    va_list args;
    int fd;

    va_start(args, flags);
    fd = open_watched(path, flags, mode_of(flags, args));
    va_end(args);
    return fd;
}

int __wrap_open(const char *path, int flags, ...)
{
    va_list args;
    int fd;

    va_start(args, flags);
    fd = open_watched(path, flags, mode_of(flags, args));
    va_end(args);
    return fd;
}

/* The fuzzer keeps its working folder, so that its own relative paths stay right. */
static const char *in_folder(const char *name)
{
    static char path[sizeof(folder) + 32];

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    return path;
}

static void write_file(const char *name, const uint8_t *data, size_t size)
{
    FILE *f = fopen(in_folder(name), "wb");

    if (!f || fwrite(data, 1, size, f) != size || fclose(f) != 0)
        abort();
}

static void remove_folder(void)
{
    static const char *const names[] = { INPUT, "raw", "loop", "fifo", "link" };

    for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
        (void)unlink(in_folder(names[i]));
    (void)rmdir(in_folder("dir"));
    (void)rmdir(folder);
}

/* Things that a hostile name may hit: a raw file, a link to the image itself, a pipe, a folder, a dangling link. */
static void make_folder(void)
{
    const uint8_t raw[1000] = { 1 };
    const char *top = getenv("TMPDIR");

    snprintf(folder, sizeof(folder), "%s/fuzz-chain.XXXXXX", top && strlen(top) < 40 ? top : "/tmp");
    if (!mkdtemp(folder))
        abort();
    write_file("raw", raw, sizeof(raw));
    if (symlink(INPUT, in_folder("loop")) < 0 || symlink("nowhere", in_folder("link")) < 0 ||
        mkfifo(in_folder("fifo"), 0600) < 0 || mkdir(in_folder("dir"), 0700) < 0)
        abort();
    atexit(remove_folder);
}

/* ---- what a name means, by another way than open.c's ---- */

static bool names_a_file(const char *name)
{
    const char *colon = strchr(name, ':'), *slash = strchr(name, '/');

    return !colon || (slash && slash < colon) || strncmp(name, "file:", 5) == 0;
}

/* @to has room for @base and @name. */
static void meaning(const char *base, const char *name, char *to)
{
    bool file = strncmp(name, "file:", 5) == 0;
    const char *slash = strrchr(base, '/');

    name += file ? 5 : 0;
    sprintf(to, "%.*s%s", file || name[0] == '/' || !slash ? 0 : (int)(slash - base + 1), base, name);
}

static void check_resolve(const char *base, const char *name)
{
    char *want = malloc(strlen(base) + strlen(name) + 1), *full = qcbmi_name_full(base, name, NULL);
    const char *got = full ? qcbmi_name_local(full) : NULL;

    if (!want || !full)
        abort();
    fuzz_require(names_a_file(name) == (got != NULL), "name", "of a file is refused, or one with a protocol followed");
    if (got) {
        meaning(base, name, want);
        fuzz_require(strcmp(want, got) == 0, "name", got);
    }
    free(full);
    free(want);
}

/* ---- the chain ---- */

static int on_map(void *opaque, const struct qcbm_map_entry *e)
{
    uint64_t *calls = opaque;

    return e->length == 0 || ++*calls >= MAX_CALLS;
}

static int on_extent(void *opaque, const struct qcbm_extent *e)
{
    uint64_t *calls = opaque;

    return e->length == 0 || ++*calls >= MAX_CALLS;
}

static void look_at_chain(struct qcbm_image *img)
{
    struct qcbm_chain *chain = NULL;
    struct qcbm_measure m;
    struct qcbm_error err;
    uint64_t calls = 0;
    int ret = qcbm_chain_open(img, &chain, &err);

    if (ret < 0) {
        fuzz_check_error(&err, ret);
        return;
    }
    for (uint32_t i = 0; i < qcbm_chain_count(chain); i++) {
        struct qcbm_chain_layer l;

        ret = qcbm_chain_get(chain, i, &l, sizeof(l), &err);
        fuzz_require(ret == 0 || ret == QCBM_E_IO, "chain", "a layer cannot be looked at");
        fuzz_require(ret < 0 || i == 0 || !l.image || strcmp(l.format, "qcow2") == 0, "chain", "format");
    }
    fuzz_require(qcbm_chain_count(chain) <= 2, "chain", "the image is its own backing file");
    qcbm_chain_close(chain);
    ret = qcbm_map(img, 0, UINT64_MAX, 0, on_map, &calls, &err);
    if (ret < 0)
        fuzz_check_error(&err, ret);
    ret = qcbm_measure(img, 0, NULL, &m, sizeof(m), &err);
    if (ret < 0)
        fuzz_check_error(&err, ret);
}

static void look_at_bitmap(struct qcbm_image *img)
{
    struct qcbm_bitmap_info b;
    struct qcbm_image_info info;
    struct qcbm_error err;
    uint64_t calls = 0;
    int ret;

    qcbm_image_get_info(img, &info, sizeof(info));
    if (info.bitmap_count == 0)
        return;
    qcbm_bitmap_get(img, 0, &b, sizeof(b));
    ret = qcbm_bitmap_extents(img, b.name, QCBM_EXTENTS_ZERO, on_extent, &calls, &err);
    if (ret < 0)
        fuzz_check_error(&err, ret);
}

/* Against a base that may or may not be in the chain, and with the tail. Nothing is committed. */
static void synthesise(struct qcbm_image *img, const char *since, unsigned flags)
{
    struct qcbm_synth_options o = QCBM_SYNTH_OPTIONS_INIT;
    struct qcbm_synth_result *r = NULL;
    struct qcbm_edit *edit = NULL;
    struct qcbm_error err;
    int ret = qcbm_edit_begin(img, &edit, &err);

    o.since = since;
    o.flags = QCBM_SYNTH_ALLOW_DAMAGE | flags;
    if (ret == 0)
        ret = qcbm_edit_synth(edit, img, "new", &o, &r, &err);
    if (ret < 0)
        fuzz_check_error(&err, ret);
    qcbm_synth_result_free(r);
    qcbm_edit_free(edit);
}

static void follow(struct qcbm_image *img, const char *path)
{
    struct qcbm_image_info info;
    char *want = NULL;

    qcbm_image_get_info(img, &info, sizeof(info));
    allowed[0] = allowed[1] = NULL; /* the image itself is open: from here on only its backing file may be opened */
    if (info.backing_file) {
        const char *name = info.backing_file;

        want = malloc(strlen(path) + strlen(name) + 1);
        if (!want)
            abort();
        meaning(path, name, want);
        allowed[1] = names_a_file(name) ? want : NULL;
        check_resolve(path, name);
        check_resolve("", name);
        check_resolve("a/b:c/", name);
    }
    look_at_chain(img);
    look_at_bitmap(img);
    synthesise(img, NULL, QCBM_SYNTH_DIRTY_TAIL);
    synthesise(img, in_folder("raw"), 0);
    synthesise(img, in_folder("raw"), QCBM_SYNTH_FORCE | QCBM_SYNTH_FORCE_SHARE);
    allowed[0] = allowed[1] = NULL;
    free(want);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char path[96];
    struct qcbm_image *img = NULL;
    struct qcbm_error err;
    int ret;

    if (!folder[0])
        make_folder();
    snprintf(path, sizeof(path), "%s/" INPUT, folder);
    watching = false;
    write_file(INPUT, data, size);
    watching = true;
    allowed[0] = path;
    ret = qcbm_open(path, 0, &img, &err);
    if (ret < 0)
        fuzz_check_error(&err, ret);
    else
        follow(img, path);
    qcbm_close(img);
    watching = false;
    return 0;
}
