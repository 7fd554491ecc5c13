/* folder.c - the states that a power cut can leave of a folder: files, their names, links
 * SPDX-License-Identifier: MIT */
#include "folder.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>
#include <xxhash.h>

#define SECTOR 512u
#define MAX_EVENTS 4096u

enum kind {
    EVENT_WRITE,
    EVENT_SIZE,
    EVENT_CREATE,
    EVENT_LINK,
    EVENT_UNLINK,
    EVENT_SYMLINK,
    EVENT_SYNC,
    EVENT_SYNC_FOLDER
};

struct event {
    enum kind kind;
    int file;
    uint64_t off;
    size_t len;
    uint8_t *bytes;
    char name[48], *target;
};

static struct event events[MAX_EVENTS];
static size_t n_events, n_calls, kill_at;
static bool recording;
static struct folder start;
static struct {
    dev_t dev;
    ino_t ino;
} inodes[MAX_EVENTS];
static int n_inodes;

static void *must(void *p)
{
    if (!p)
        abort();
    return p;
}

/* ---- what is there ------------------------------------------------------------------------------------- */

void folder_free(struct folder *f)
{
    for (unsigned i = 0; i < FOLDER_NAMES; i++)
        free(f->names[i].target);
    for (size_t i = 0; i < f->n_files; i++)
        free(f->files[i].bytes);
    free(f->files);
    memset(f, 0, sizeof(*f));
}

static struct folder_name *find(struct folder *f, const char *name)
{
    for (unsigned i = 0; i < FOLDER_NAMES; i++)
        if (f->names[i].name[0] && strcmp(f->names[i].name, name) == 0)
            return &f->names[i];
    return NULL;
}

const struct folder_name *folder_find(const struct folder *f, const char *name)
{
    for (unsigned i = 0; i < FOLDER_NAMES; i++)
        if (f->names[i].name[0] && strcmp(f->names[i].name, name) == 0)
            return &f->names[i];
    return NULL;
}

static void set_name(struct folder *f, const char *name, int file, const char *target)
{
    struct folder_name *n = find(f, name);

    for (unsigned i = 0; !n && i < FOLDER_NAMES; i++)
        if (!f->names[i].name[0])
            n = &f->names[i];
    must(n);
    free(n->target);
    snprintf(n->name, sizeof(n->name), "%s", name);
    n->file = file;
    n->target = target ? must(strdup(target)) : NULL;
}

static void drop_name(struct folder *f, const char *name)
{
    struct folder_name *n = find(f, name);

    if (!n)
        return;
    free(n->target);
    memset(n, 0, sizeof(*n));
}

static struct folder_file *file_of(struct folder *f, int file)
{
    if ((size_t)file >= f->n_files) {
        f->files = must(realloc(f->files, ((size_t)file + 1) * sizeof(*f->files)));
        memset(f->files + f->n_files, 0, ((size_t)file + 1 - f->n_files) * sizeof(*f->files));
        f->n_files = (size_t)file + 1;
    }
    return &f->files[file];
}

static void set_len(struct folder_file *f, size_t len)
{
    if (len > f->room) {
        f->room = 2 * len;
        f->bytes = must(realloc(f->bytes, f->room));
    }
    if (len > f->len)
        memset(f->bytes + f->len, 0, len - f->len);
    f->len = len;
}

static void copy(struct folder *to, const struct folder *from)
{
    folder_free(to);
    for (unsigned i = 0; i < FOLDER_NAMES; i++)
        if (from->names[i].name[0])
            set_name(to, from->names[i].name, from->names[i].file, from->names[i].target);
    for (size_t i = 0; i < from->n_files; i++) {
        struct folder_file *f = file_of(to, (int)i);

        set_len(f, from->files[i].len);
        if (f->len)
            memcpy(f->bytes, from->files[i].bytes, f->len);
    }
}

static void read_file(struct folder *f, const char *name, int file)
{
    int fd = open(name, O_RDONLY);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0)
        abort();
    set_len(file_of(f, file), (size_t)st.st_size);
    if (st.st_size && pread(fd, f->files[file].bytes, (size_t)st.st_size, 0) != st.st_size)
        abort();
    close(fd);
    set_name(f, name, file, NULL);
}

/* The number of a file that was met by another name, or of the next one. */
static int number_of(const char *name, int next, ino_t *met)
{
    struct stat st;

    if (lstat(name, &st) < 0)
        abort();
    for (int i = 0; i < next; i++)
        if (met[i] == st.st_ino)
            return i;
    met[next] = st.st_ino;
    return next;
}

void folder_read(struct folder *f)
{
    DIR *dir = must(opendir("."));
    char target[4096];
    ino_t met[FOLDER_NAMES];
    int next = 0;

    memset(f, 0, sizeof(*f));
    for (struct dirent *e; (e = readdir(dir)) != NULL;) {
        ssize_t n;

        if (e->d_name[0] == '.')
            continue;
        n = readlink(e->d_name, target, sizeof(target) - 1);
        if (n >= 0) {
            target[n] = '\0';
            set_name(f, e->d_name, -1, target);
        } else {
            int file = number_of(e->d_name, next, met);

            next += file == next;
            read_file(f, e->d_name, file);
        }
    }
    closedir(dir);
}

static void empty(void)
{
    DIR *dir = must(opendir("."));

    for (struct dirent *e; (e = readdir(dir)) != NULL;)
        if (e->d_name[0] != '.')
            unlink(e->d_name);
    closedir(dir);
}

ssize_t __real_pwrite64(int fd, const void *buf, size_t len, off_t off);
int __real_open64(const char *path, int flags, ...);
int __real_link(const char *a, const char *b);
int __real_symlink(const char *a, const char *b);
int __real_unlink(const char *path);
int __real_ftruncate64(int fd, off_t len);

void folder_write(const struct folder *f)
{
    empty();
    for (unsigned i = 0; i < FOLDER_NAMES; i++) {
        const struct folder_name *n = &f->names[i];
        const char *first = NULL;
        int fd;

        if (!n->name[0])
            continue;
        if (n->file < 0) {
            if (__real_symlink(n->target, n->name) < 0)
                abort();
            continue;
        }
        for (unsigned k = 0; k < i && !first; k++)
            if (f->names[k].name[0] && f->names[k].file == n->file)
                first = f->names[k].name;
        if (first && __real_link(first, n->name) == 0)
            continue;
        fd = __real_open64(n->name, O_RDWR | O_CREAT | O_TRUNC, 0600);
        if (fd < 0 ||
            (f->files[n->file].len && __real_pwrite64(fd, f->files[n->file].bytes, f->files[n->file].len, 0) < 0))
            abort();
        close(fd);
    }
}

/* ---- what the library does ----------------------------------------------------------------------------- */

ssize_t __wrap_pwrite64(int fd, const void *buf, size_t len, off_t off);
int __wrap_fdatasync(int fd);
int __wrap_fsync(int fd);
int __wrap_ftruncate64(int fd, off_t len);
int __wrap_open64(const char *path, int flags, ...);
int __wrap_link(const char *a, const char *b);
int __wrap_unlink(const char *path);
int __wrap_symlink(const char *a, const char *b);
int __wrap_rename(const char *a, const char *b);
int __wrap_fallocate64(int fd, int mode, off_t off, off_t len);

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* One call more: here the process ends, if it is to be killed. */
static void count_call(void)
{
    if (++n_calls == kill_at)
        _exit(9);
}

static int file_id(int fd)
{
    struct stat st;

    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return -1;
    for (int i = 0; i < n_inodes; i++)
        if (inodes[i].dev == st.st_dev && inodes[i].ino == st.st_ino)
            return i;
    return -1;
}

static struct event *note(enum kind kind, int file)
{
    struct event *e = &events[n_events++];

    if (n_events == MAX_EVENTS)
        abort();
    memset(e, 0, sizeof(*e));
    e->kind = kind;
    e->file = file;
    return e;
}

ssize_t __wrap_pwrite64(int fd, const void *buf, size_t len, off_t off)
{
    count_call();
    if (recording && file_id(fd) >= 0) {
        struct event *e = note(EVENT_WRITE, file_id(fd));

        e->off = (uint64_t)off;
        e->len = len;
        e->bytes = must(malloc(len ? len : 1));
        memcpy(e->bytes, buf, len);
    }
    return __real_pwrite64(fd, buf, len, off);
}

int __wrap_fdatasync(int fd)
{
    count_call();
    if (recording)
        note(EVENT_SYNC, file_id(fd));
    return 0;
}

int __wrap_fsync(int fd)
{
    struct stat st;

    count_call();
    if (recording && fstat(fd, &st) == 0)
        note(S_ISDIR(st.st_mode) ? EVENT_SYNC_FOLDER : EVENT_SYNC, file_id(fd));
    return 0;
}

int __wrap_ftruncate64(int fd, off_t len)
{
    count_call();
    if (recording && file_id(fd) >= 0)
        note(EVENT_SIZE, file_id(fd))->off = (uint64_t)len;
    return __real_ftruncate64(fd, len);
}

int __wrap_fallocate64(int fd, int mode, off_t off, off_t len)
{
    (void)fd, (void)mode, (void)off, (void)len;
    return 0;
}

int __wrap_open64(const char *path, int flags, ...)
{
    int fd, mode = 0;
    struct stat st;
    va_list args;

    if (flags & O_CREAT) {
        va_start(args, flags);
        mode = va_arg(args, int);
        va_end(args);
        count_call();
    }
    fd = __real_open64(path, flags, mode);
    if (recording && (flags & O_CREAT) && fd >= 0 && fstat(fd, &st) == 0) {
        struct event *e = note(EVENT_CREATE, n_inodes);

        inodes[n_inodes].dev = st.st_dev;
        inodes[n_inodes++].ino = st.st_ino;
        snprintf(e->name, sizeof(e->name), "%s", base_of(path));
    }
    return fd;
}

static int id_of_path(const char *path)
{
    int fd = __real_open64(path, O_RDONLY), id = fd < 0 ? -1 : file_id(fd);

    if (fd >= 0)
        close(fd);
    return id;
}

int __wrap_link(const char *a, const char *b)
{
    int ret;

    count_call();
    ret = __real_link(a, b);
    if (recording && ret == 0)
        snprintf(note(EVENT_LINK, id_of_path(b))->name, sizeof(events[0].name), "%s", base_of(b));
    return ret;
}

/* All file systems here have links. */
int __wrap_rename(const char *a, const char *b)
{
    (void)a, (void)b;
    abort();
}

int __wrap_unlink(const char *path)
{
    int ret;

    count_call();
    ret = __real_unlink(path);
    if (recording && ret == 0)
        snprintf(note(EVENT_UNLINK, -1)->name, sizeof(events[0].name), "%s", base_of(path));
    return ret;
}

int __wrap_symlink(const char *a, const char *b)
{
    int ret;

    count_call();
    ret = __real_symlink(a, b);
    if (recording && ret == 0) {
        struct event *e = note(EVENT_SYMLINK, -1);

        snprintf(e->name, sizeof(e->name), "%s", base_of(b));
        e->target = must(strdup(a));
    }
    return ret;
}

void folder_record(const struct folder *from)
{
    for (size_t i = 0; i < n_events; i++) {
        free(events[i].bytes);
        free(events[i].target);
    }
    n_events = n_calls = kill_at = 0;
    n_inodes = 0;
    copy(&start, from);
    for (size_t i = 0; i < from->n_files; i++)
        for (unsigned k = 0; k < FOLDER_NAMES; k++) {
            struct stat st;

            if (!from->names[k].name[0] || from->names[k].file != (int)i)
                continue;
            if (stat(from->names[k].name, &st) < 0)
                abort();
            inodes[i].dev = st.st_dev;
            inodes[i].ino = st.st_ino;
        }
    n_inodes = (int)from->n_files;
    recording = true;
}

size_t folder_stop(void)
{
    recording = false;
    return n_events;
}

void folder_kill_at(size_t event)
{
    n_calls = 0;
    kill_at = event;
}

size_t folder_calls(void)
{
    return n_calls;
}

/* ---- the states ---------------------------------------------------------------------------------------- */

struct table {
    uint64_t *slots;
    size_t n, used;
};

struct walk {
    folder_fn *fn;
    void *opaque;
    struct table *seen;
    struct folder_count *count;
    struct folder base, s; /* what is durable, in its order with what is not: see build() */
    bool stopped;
    size_t t;
    bool durable[MAX_EVENTS];
    size_t pending[MAX_EVENTS], n;
};

static void apply_sectors(struct folder *f, const struct event *e, uint64_t chosen, bool all)
{
    struct folder_file *file = file_of(f, e->file);
    uint64_t first = e->off / SECTOR;

    if (e->off + e->len > file->len)
        set_len(file, (size_t)(e->off + e->len));
    for (uint64_t s = first; s * SECTOR < e->off + e->len; s++) {
        uint64_t from = s * SECTOR > e->off ? s * SECTOR : e->off;
        uint64_t end = (s + 1) * SECTOR < e->off + e->len ? (s + 1) * SECTOR : e->off + e->len;

        if (all || (chosen >> ((s - first) % 64) & 1))
            memcpy(file->bytes + from, e->bytes + (from - e->off), (size_t)(end - from));
    }
}

static void apply(struct folder *f, const struct event *e)
{
    switch (e->kind) {
    case EVENT_WRITE:
        apply_sectors(f, e, 0, true);
        break;
    case EVENT_SIZE:
        set_len(file_of(f, e->file), (size_t)e->off);
        break;
    case EVENT_CREATE:
    case EVENT_LINK:
        (void)file_of(f, e->file);
        set_name(f, e->name, e->file, NULL);
        break;
    case EVENT_UNLINK:
        drop_name(f, e->name);
        break;
    case EVENT_SYMLINK:
        set_name(f, e->name, -1, e->target);
        break;
    default:
        break;
    }
}

static bool is_change(const struct event *e)
{
    return e->kind != EVENT_SYNC && e->kind != EVENT_SYNC_FOLDER;
}

static bool is_durable(size_t e, size_t t)
{
    bool of_file = events[e].kind == EVENT_WRITE || events[e].kind == EVENT_SIZE;

    for (size_t i = e + 1; i < t; i++)
        if (of_file ? events[i].kind == EVENT_SYNC && events[i].file == events[e].file
                    : events[i].kind == EVENT_SYNC_FOLDER)
            return true;
    return false;
}

static uint64_t hash_of(const struct folder *f)
{
    uint64_t sum = 1;

    for (unsigned i = 0; i < FOLDER_NAMES; i++) {
        const struct folder_name *n = &f->names[i];
        uint64_t h;

        if (!n->name[0])
            continue;
        h = XXH3_64bits_withSeed(n->name, strlen(n->name), n->file < 0);
        if (n->file >= 0 && f->files[n->file].len)
            h = XXH3_64bits_withSeed(f->files[n->file].bytes, f->files[n->file].len, h);
        sum += h * UINT64_C(0x9e3779b97f4a7c15) ^ h >> 31; /* in any order of the names */
    }
    return sum | 1;
}

static bool is_first(struct table *t, uint64_t hash)
{
    size_t at;

    if (2 * t->used >= t->n) {
        struct table larger = { must(calloc(t->n ? 2 * t->n : 4096, sizeof(uint64_t))), t->n ? 2 * t->n : 4096, 0 };

        for (size_t i = 0; i < t->n; i++)
            if (t->slots[i])
                (void)is_first(&larger, t->slots[i]);
        free(t->slots);
        *t = larger;
    }
    for (at = (size_t)hash & (t->n - 1); t->slots[at] && t->slots[at] != hash;)
        at = (at + 1) & (t->n - 1);
    if (t->slots[at])
        return false;
    t->slots[at] = hash;
    t->used++;
    return true;
}

static uint64_t next_random(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x * UINT64_C(0x2545f4914f6cdd1d) >> 32;
}

/* What a write that is not durable has of its sectors: all, none (ALL_BUT_BYTES: but the length), or some. */
enum { TAKE_NONE, TAKE_ALL, TAKE_FRONT, TAKE_REST, TAKE_RANDOM };

struct choice {
    int others, which; /* for pending event number @at, and for all others before and behind it */
    size_t at;
    uint64_t seed;
};

static void take(struct folder *s, const struct event *e, int how, uint64_t *x)
{
    uint64_t sectors = e->kind == EVENT_WRITE ? (e->off + e->len - 1) / SECTOR - e->off / SECTOR + 1 : 1;
    uint64_t half = sectors > 1 && sectors < 64 ? (UINT64_C(1) << sectors / 2) - 1 : UINT64_C(0x5555555555555555);

    if (how == TAKE_RANDOM && e->kind != EVENT_WRITE)
        how = next_random(x) & 1 ? TAKE_ALL : TAKE_NONE;
    if (how == TAKE_ALL)
        apply(s, e);
    else if (how != TAKE_NONE && e->kind == EVENT_WRITE)
        apply_sectors(s, e, how == TAKE_FRONT ? half : how == TAKE_REST ? ~half : next_random(x), false);
}

static void build(struct walk *w, const struct choice *c, const char *what)
{
    uint64_t x = c->seed | 1;
    size_t k = 0;

    if (w->stopped)
        return;
    copy(&w->s, &w->base);
    for (size_t i = 0; i < w->t; i++) {
        if (!is_change(&events[i]))
            continue;
        if (w->durable[i]) {
            apply(&w->s, &events[i]);
            continue;
        }
        take(&w->s, &events[i], k == c->at ? c->which : c->others, &x);
        k++;
    }
    w->count->built++;
    if (!is_first(w->seen, hash_of(&w->s)))
        return;
    w->count->distinct++;
    w->stopped = w->fn(w->opaque, &w->s, what) != 0;
}

static void at_time(struct walk *w, unsigned random, uint64_t seed)
{
    static const int hows[] = { TAKE_NONE, TAKE_ALL, TAKE_FRONT, TAKE_REST };
    char what[96];

    w->n = 0;
    for (size_t i = 0; i < w->t; i++) {
        w->durable[i] = is_durable(i, w->t);
        if (is_change(&events[i]) && !w->durable[i])
            w->pending[w->n++] = i;
    }
    for (size_t k = 0; k < (w->n ? w->n : 1); k++)
        for (unsigned h = 0; h < 8; h++) {
            struct choice c = { h / 4 ? TAKE_ALL : TAKE_NONE, hows[h % 4], k, 1 };

            snprintf(what, sizeof(what), "behind call %zu of %zu, %zu not durable: number %zu %d, others %d", w->t,
                     n_events, w->n, k, c.which, c.others);
            build(w, &c, what);
        }
    for (unsigned r = 0; w->n && r < random; r++) {
        struct choice c = { TAKE_RANDOM, TAKE_RANDOM, 0,
                            (seed + 1) * UINT64_C(0x9e3779b97f4a7c15) + w->t * 1000003 + r };

        snprintf(what, sizeof(what), "behind call %zu of %zu: random subset %u of seed %" PRIu64, w->t, n_events, r,
                 seed);
        build(w, &c, what);
    }
}

void folder_walk(unsigned random, uint64_t seed, void **seen, folder_fn *fn, void *opaque, struct folder_count *count)
{
    static struct walk w;

    memset(&w, 0, sizeof(w));
    w.fn = fn;
    w.opaque = opaque;
    w.count = count;
    w.seen = *seen ? *seen : must(calloc(1, sizeof(struct table)));
    *seen = w.seen;
    *count = (struct folder_count){ 0 };
    copy(&w.base, &start);
    for (w.t = 0; w.t <= n_events && !w.stopped; w.t++)
        at_time(&w, random, seed);
    folder_free(&w.base);
    folder_free(&w.s);
}
