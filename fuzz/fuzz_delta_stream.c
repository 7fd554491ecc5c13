/* fuzz_delta_stream.c - deltas that are streams: read in bounds or refused; what is taken says the same in its own form
 * again
 * SPDX-License-Identifier: MIT
 *
 * The input is an rbd diff, of either version, or a stream of virtnbdbackup. A sidecar file is not beside it. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "delta/delta.h"
#include "fuzz.h"

#define MAX_DISK (UINT64_C(1) << 24) /* of what is written again; larger ones are only read */

static struct qcbmi_delta *open_stream(struct fuzz_file *f, struct qcbm_error *err)
{
    struct qcbmi_delta_files files = { 0 };
    struct qcbmi_delta *d = NULL;
    int ret = qcbmi_io_init(&files.main, fuzz_file_ops(), f, false, err);

    fuzz_require(ret == 0, "file", "does not open");
    ret = qcbmi_delta_open_files(&files, &d, err);
    fuzz_require((ret == 0) == (d != NULL), "open", "a handle and an error, or neither");
    if (ret < 0)
        fuzz_check_error(err, ret);
    return d;
}

/* All records: a hash of them, or 0 if one is refused. */
static uint64_t read_records(struct qcbmi_delta *d, uint64_t *zeros, struct qcbm_error *err)
{
    uint64_t h = FUZZ_HASH_START, end = 0;
    struct qcbmi_delta_record r;
    int ret;

    *zeros = 0;
    while ((ret = qcbmi_delta_next(d, &r, err)) == 1) {
        fuzz_require(r.length > 0 && r.offset >= end, "record", "is empty, or not behind the one before");
        end = r.offset + r.length;
        fuzz_require(end > r.offset && end <= d->meta.size_after, "record", "passes the end of the disk");
        *zeros += r.type == QCBMI_DELTA_ZERO ? r.length : 0;
        h = fuzz_hash_u64(fuzz_hash_u64(fuzz_hash_u64(h, r.offset), r.length), r.type);
    }
    if (ret < 0)
        fuzz_check_error(err, ret);
    return ret < 0 ? 0 : h;
}

static int copy_record(struct qcbmi_delta *d, const struct qcbmi_delta_record *r, struct qcbmi_delta_writer *w,
                       struct qcbm_error *err)
{
    static uint8_t buf[4096];
    int ret = r->type == QCBMI_DELTA_ZERO ? qcbmi_delta_zero(w, r->offset, r->length, err) : 0;

    for (uint64_t at = 0, n; r->type == QCBMI_DELTA_DATA && ret == 0 && at < r->length; at += n) {
        n = r->length - at < sizeof buf ? r->length - at : sizeof buf;
        ret = qcbmi_delta_read(d, r->offset + at, buf, n, err);
        if (ret == 0)
            ret = qcbmi_delta_data(w, r->offset + at, n, buf, err);
    }
    return ret;
}

static void each_record(struct qcbmi_delta *d, struct qcbmi_delta_writer *w, bool announce, struct qcbm_error *err)
{
    struct qcbmi_delta_record r;

    fuzz_require(qcbmi_delta_rewind(d, err) == 0, "rewind", "fails");
    while (qcbmi_delta_next(d, &r, err) == 1)
        fuzz_require((announce ? qcbmi_delta_announce(w, &r, err) : copy_record(d, &r, w, err)) == 0, "writer",
                     err->message);
}

/* In its own form, as through a pipe. */
static int write_again(struct qcbmi_delta *d, struct qcbm_error *err)
{
    struct qcbmi_delta_wish wish = { .form = d->form, .fd = memfd_create("delta", 0), .from = d->from, .to = d->to };
    struct qcbmi_delta_writer w;

    fuzz_require(wish.fd >= 0, "memory", "no file in it");
    fuzz_require(qcbmi_delta_writer_open(&w, &wish, &d->meta, err) == 0, "writer", err->message);
    each_record(d, &w, true, err);
    fuzz_require(qcbmi_delta_begin(&w, err) == 0, "writer", err->message);
    each_record(d, &w, false, err);
    fuzz_require(qcbmi_delta_end(&w, err) == 0, "writer", err->message);
    qcbmi_delta_writer_close(&w);
    return wish.fd;
}

static void compare_again(struct qcbmi_delta *d)
{
    uint8_t digest[QCBMI_DIGEST_BYTES], again[QCBMI_DIGEST_BYTES];
    struct qcbm_error err = { 0 };
    struct qcbmi_delta *copy;
    struct fuzz_file f;
    struct stat st;
    void *bytes;
    int fd;

    d->lacks_sidecar = false; /* what the records have is asked, though nothing proves them */
    fuzz_require(qcbmi_delta_verify(d, digest, NULL, &err) == 0, "verify", "what was read before");
    fd = write_again(d, &err);
    fuzz_require(fstat(fd, &st) == 0 && st.st_size > 0, "writer", "nothing");
    bytes = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
    fuzz_require(bytes != MAP_FAILED, "memory", "cannot be mapped");
    fuzz_file_init(&f, bytes, (size_t)st.st_size);
    copy = open_stream(&f, &err);
    fuzz_require(copy, "what was written", err.message);
    copy->lacks_sidecar = false;
    fuzz_require(qcbmi_delta_verify(copy, again, NULL, &err) == 0, "what was written", err.message);
    fuzz_require(memcmp(digest, again, sizeof digest) == 0, "what was written", "has other records");
    fuzz_require(copy->meta.size_after == d->meta.size_after, "what was written", "has another size");
    fuzz_require(!d->has_meta || (copy->has_meta && memcmp(copy->meta.id, d->meta.id, sizeof copy->meta.id) == 0),
                 "what was written", "has another id");
    qcbmi_delta_close(copy);
    fuzz_file_free(&f);
    munmap(bytes, (size_t)st.st_size);
    close(fd);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qcbm_error err = { 0 };
    struct qcbmi_delta *d;
    struct fuzz_file f;
    uint64_t h, zeros;

    fuzz_file_init(&f, data, size);
    d = open_stream(&f, &err);
    if (d) {
        h = read_records(d, &zeros, &err);
        fuzz_file_budget(&f, 4 * (uint64_t)size + 4096, "records");
        fuzz_require(qcbmi_delta_rewind(d, &err) == 0, "rewind", "fails");
        fuzz_require(read_records(d, &zeros, &err) == h, "records", "are others the second time");
        if (h && d->meta.size_after <= MAX_DISK && (d->form == &qcbmi_delta_rbd || d->form == &qcbmi_delta_vnb))
            compare_again(d);
    }
    qcbmi_delta_close(d);
    fuzz_file_free(&f);
    return 0;
}
