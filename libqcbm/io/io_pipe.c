/* io_pipe.c - what can only be appended to, as backend: a pipe, a socket, a terminal, a file that somebody else has
 * open
 * SPDX-License-Identifier: MIT */
#include "io/io_pipe.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"

struct pipe_end {
    int fd;
    uint64_t at;
};

static int pipe_read_at(void *self, uint64_t off, void *buf, size_t len, struct qcbm_error *err)
{
    (void)self;
    (void)buf;
    (void)len;
    return qcbmi_fail(err, QCBM_E_UNSUPPORTED, off, "a pipe cannot be read back");
}

static int pipe_write_at(void *self, uint64_t off, const void *buf, size_t len, struct qcbm_error *err)
{
    struct pipe_end *p = self;
    const uint8_t *from = buf;

    if (off != p->at)
        return qcbmi_fail(err, QCBM_E_UNSUPPORTED, off, "a pipe can only be appended to");
    while (len) {
        ssize_t n = write(p->fd, from, len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return qcbmi_fail_errno(err, n < 0 ? errno : EIO, off, "write");
        from += n;
        len -= (size_t)n;
        p->at += (uint64_t)n;
    }
    return 0;
}

/* A file that the shell has opened for us gets what any file gets. */
static int pipe_flush(void *self, struct qcbm_error *err)
{
    const struct pipe_end *p = self;

    if (fsync(p->fd) < 0 && errno != EINVAL && errno != EROFS)
        return qcbmi_fail_errno(err, errno, QCBM_NO_OFFSET, "fsync");
    return 0;
}

static int pipe_size(void *self, uint64_t *len_bytes, struct qcbm_error *err)
{
    const struct pipe_end *p = self;

    (void)err;
    *len_bytes = p->at;
    return 0;
}

static int pipe_grow(void *self, uint64_t len_bytes, struct qcbm_error *err)
{
    (void)self;
    return qcbmi_fail(err, QCBM_E_UNSUPPORTED, len_bytes, "a pipe has no holes");
}

int qcbmi_pipe_open(struct qcbmi_io *io, int fd, struct qcbm_error *err)
{
    static const struct qcbm_io_ops ops = {
        .struct_size = sizeof(ops),
        .read_at = pipe_read_at,
        .write_at = pipe_write_at,
        .flush = pipe_flush,
        .size = pipe_size,
        .grow = pipe_grow,
        .close = free,
    };
    struct pipe_end *p = qcbmi_alloc_array(1, sizeof(*p), err);

    *io = (struct qcbmi_io){ 0 };
    if (!p)
        return QCBM_E_NOMEM;
    p->fd = fd;
    return qcbmi_io_init(io, &ops, p, true, err);
}
