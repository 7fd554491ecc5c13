/* fuzz_delta_merge.c - deltas made one: what comes out is what they do one after the other, byte for byte
 * SPDX-License-Identifier: MIT
 *
 * The input is a history: the size of a disk, and deltas, each a size and records of a skip, a length and what they
 * hold. They are written as rbd diffs by this file, merged, and what comes out is applied by this file, too. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bytes.h"
#include "delta/merge.h"
#include "fuzz.h"

enum { MAX_DELTAS = 8, MAX_DISK = 4096, MAX_STREAM = 70000 };

struct input {
    const uint8_t *at, *end;
};

struct disk {
    uint8_t bytes[MAX_DISK];
    uint64_t size;
};

static unsigned take(struct input *in)
{
    return in->at < in->end ? *in->at++ : 0;
}

static uint64_t take_size(struct input *in)
{
    return 1 + (take(in) << 4 | (take(in) & 15)) % MAX_DISK;
}

/* Grown with zeros, or cut. */
static void resize(struct disk *d, uint64_t size)
{
    for (uint64_t i = d->size; i < size; i++)
        d->bytes[i] = 0;
    d->size = size;
}

struct stream {
    uint8_t bytes[MAX_STREAM];
    size_t len;
};

static void put(struct stream *s, const void *bytes, size_t len)
{
    memcpy(s->bytes + s->len, bytes, len);
    s->len += len;
}

static void put_u64(struct stream *s, uint64_t v)
{
    uint8_t bytes[8];

    le64_store(bytes, v);
    put(s, bytes, sizeof bytes);
}

/* The states are called 0, 1, 2 ... */
static void begin(struct stream *s, unsigned i, uint64_t size)
{
    const char names[] = { 'f', 1, 0, 0, 0, (char)('0' + i), 't', 1, 0, 0, 0, (char)('1' + i), 's' };

    s->len = 0;
    put(s, "rbd diff v1\n", 12);
    put(s, names, sizeof names);
    put_u64(s, size);
}

static void put_record(struct stream *s, struct disk *disk, uint64_t offset, uint64_t length, unsigned what)
{
    put(s, what ? "w" : "z", 1);
    put_u64(s, offset);
    put_u64(s, length);
    memset(disk->bytes + offset, (int)what, length);
    if (what)
        put(s, disk->bytes + offset, length);
}

/* One delta, and what it does to the disk. */
static void make_delta(struct input *in, struct stream *s, unsigned i, struct disk *disk)
{
    uint64_t size = take(in) % 3 ? disk->size : take_size(in), at = 0;
    unsigned n = take(in) % 32;

    begin(s, i, size);
    if (size > disk->size)
        resize(disk, size);
    for (unsigned k = 0; k < n; k++) {
        uint64_t length = 1 + take(in) % 128, offset = at + take(in);
        unsigned what = take(in);

        if (offset >= size)
            break;
        length = length < size - offset ? length : size - offset;
        put_record(s, disk, offset, length, what < 100 ? 0 : what);
        at = offset + length;
    }
    put(s, "e", 1);
    resize(disk, size);
}

static struct qcbmi_delta *open_stream(struct fuzz_file *f)
{
    struct qcbmi_delta_files files = { 0 };
    struct qcbm_error err = { 0 };
    struct qcbmi_delta *d = NULL;

    fuzz_require(qcbmi_io_init(&files.main, fuzz_file_ops(), f, false, &err) == 0, "file", "does not open");
    fuzz_require(qcbmi_delta_open_files(&files, &d, &err) == 0, "delta", err.message);
    d->lacks_sidecar = false; /* what is merged matters here, though nothing proves it */
    return d;
}

static void apply(struct qcbmi_delta *d, struct disk *disk)
{
    struct qcbm_error err = { 0 };
    struct qcbmi_delta_record r;
    int ret;

    if (d->meta.size_after > disk->size)
        resize(disk, d->meta.size_after);
    while ((ret = qcbmi_delta_next(d, &r, &err)) == 1) {
        if (r.type == QCBMI_DELTA_ZERO)
            memset(disk->bytes + r.offset, 0, r.length);
        else
            fuzz_require(qcbmi_delta_read(d, r.offset, disk->bytes + r.offset, r.length, &err) == 0, "merged delta",
                         err.message);
    }
    fuzz_require(ret == 0, "merged delta", err.message);
    resize(disk, d->meta.size_after);
}

/* The first state's size is known or not. */
static void merge(struct fuzz_file *files, unsigned n, uint64_t size_before, struct disk *disk)
{
    static const char *const names[MAX_DELTAS] = { "0", "1", "2", "3", "4", "5", "6", "7" };
    struct qcbmi_delta *deltas[MAX_DELTAS], *merged;
    struct qcbmi_merge m = { .deltas = deltas, .names = names, .n = n, .fd = memfd_create("merged", 0) };
    struct qcbmi_merge_result result;
    struct qcbm_error err = { 0 };
    struct fuzz_file out;
    struct stat st;
    void *bytes;

    for (unsigned i = 0; i < n; i++)
        deltas[i] = open_stream(&files[i]);
    deltas[0]->meta.size_before = size_before;
    fuzz_require(qcbmi_delta_merge(&m, &result, &err) == 0, "merge", err.message);
    for (unsigned i = 0; i < n; i++)
        qcbmi_delta_close(deltas[i]);
    fuzz_require(fstat(m.fd, &st) == 0, "merge", "nothing");
    bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, m.fd, 0);
    fuzz_require(bytes != MAP_FAILED, "memory", "cannot be mapped");
    fuzz_file_init(&out, bytes, (size_t)st.st_size);
    merged = open_stream(&out);
    apply(merged, disk);
    qcbmi_delta_close(merged);
    fuzz_file_free(&out);
    munmap(bytes, (size_t)st.st_size);
    close(m.fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct stream streams[MAX_DELTAS];
    static struct disk disk, merged;
    struct fuzz_file files[MAX_DELTAS];
    struct input in = { data, data + size };
    unsigned n = 1 + take(&in) % MAX_DELTAS;
    uint64_t before;
    bool known = take(&in) % 2;

    disk.size = 0;
    resize(&disk, take_size(&in));
    memset(disk.bytes, 0x11, disk.size);
    before = disk.size;
    merged = disk;
    for (unsigned i = 0; i < n; i++) {
        make_delta(&in, &streams[i], i, &disk);
        fuzz_file_init(&files[i], streams[i].bytes, streams[i].len);
    }
    merge(files, n, known ? before : UINT64_MAX, &merged);
    fuzz_require(merged.size == disk.size, "merged delta", "makes a disk of another size");
    fuzz_require(memcmp(merged.bytes, disk.bytes, disk.size) == 0, "merged delta", "makes another disk");
    for (unsigned i = 0; i < n; i++)
        fuzz_file_free(&files[i]);
    return 0;
}
