/* io.c - checked front of a backend: bounds, return codes, size kept up to date
 * SPDX-License-Identifier: MIT */
#include "io/io.h"

#include <stddef.h>
#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "io/manners.h"

/* Offsets reach the system as off_t. */
#define IO_MAX_END ((uint64_t)INT64_MAX)

/* What the table of a caller has at least, however old it is: close is the last member of the first release, and a
 * table without it has none that could be called. A member that is added later is looked at only where struct_size
 * covers it. */
#define OPS_OF_FIRST_RELEASE (offsetof(struct qcbm_io_ops, close) + sizeof(((struct qcbm_io_ops *)0)->close))

/* What a backend's call returned, made safe: a backend of the caller is not trusted to return a code of ours, nor to
 * fill its error object. @local is what it was given, so that success never touches @err. */
static int finish(int ret, const char *call, struct qcbm_error *local, struct qcbm_error *err)
{
    if (ret == 0)
        return 0;
    if (ret > 0 || ret < QCBM_E_NOLOCKS)
        ret = qcbmi_fail(local, QCBM_E_IO, QCBM_NO_OFFSET, "backend: %s returned %d, which is no code", call, ret);
    else if (local->code != ret)
        qcbmi_fail(local, ret, QCBM_NO_OFFSET, "backend: %s failed without a message", call);
    if (err)
        *err = *local;
    return ret;
}

void qcbmi_io_tell(const struct qcbmi_io *io, enum qcbm_trace_kind kind, const char *what, uint64_t off, uint64_t len,
                   int result)
{
    struct qcbm_trace_event event = { kind, io->trace_name, what ? what : "", off, len, result };

    if (io->trace && io->trace->fn)
        io->trace->fn(io->trace->opaque, &event);
}

void qcbmi_io_trace_as(struct qcbmi_io *io, const struct qcbmi_trace *trace, const char *name)
{
    io->trace = trace;
    io->trace_name = name;
    qcbmi_io_tell(io, QCBM_TRACE_OPEN, NULL, 0, io->size, 0);
}

static int check_ops(const struct qcbm_io_ops *ops, bool writable, struct qcbm_error *err)
{
    if (!ops->read_at || !ops->size || !ops->close)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "backend: read_at, size or close is missing");
    if (writable && ops->write_at && (!ops->flush || !ops->grow))
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "backend: write_at without flush or grow");
    return 0;
}

static int ask_size(const struct qcbm_io_ops *ops, void *self, uint64_t *size, struct qcbm_error *err)
{
    struct qcbm_error local = { 0 };
    int ret = finish(ops->size(self, size, &local), "size", &local, err);

    if (ret == 0 && *size > IO_MAX_END)
        ret = qcbmi_fail(err, QCBM_E_LIMIT, QCBM_NO_OFFSET, "backend: size 0x%" PRIx64 " is above 2^63 - 1", *size);
    return ret;
}

int qcbmi_io_init(struct qcbmi_io *io, const struct qcbm_io_ops *ops, void *self, bool writable, struct qcbm_error *err)
{
    uint64_t size = 0;
    int ret;

    *io = (struct qcbmi_io){ 0 };
    if (!ops || ops->struct_size < OPS_OF_FIRST_RELEASE)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "backend: struct_size %zu is below %zu",
                          ops ? ops->struct_size : 0, OPS_OF_FIRST_RELEASE);
    ret = check_ops(ops, writable, err);
    if (ret == 0)
        ret = ask_size(ops, self, &size, err);
    if (ret < 0) {
        if (ops->close)
            ops->close(self);
        return ret;
    }
    *io = (struct qcbmi_io){ .ops = ops, .self = self, .size = size, .writable = writable && ops->write_at };
    return 0;
}

static void leave_open(void *self)
{
    (void)self;
}

int qcbmi_io_borrow(struct qcbmi_io *io, struct qcbm_io_ops *room, const struct qcbm_io_ops *ops, void *self,
                    struct qcbm_error *err)
{
    *room = (struct qcbm_io_ops){ .close = leave_open };
    if (ops && ops->struct_size >= OPS_OF_FIRST_RELEASE) {
        memcpy(room, ops, ops->struct_size < sizeof(*room) ? ops->struct_size : sizeof(*room));
        room->struct_size = ops->struct_size < sizeof(*room) ? ops->struct_size : sizeof(*room);
        room->close = leave_open;
    }
    return qcbmi_io_init(io, room, self, false, err);
}

int qcbmi_io_refresh_size(struct qcbmi_io *io, struct qcbm_error *err)
{
    return ask_size(io->ops, io->self, &io->size, err);
}

void qcbmi_io_close(struct qcbmi_io *io)
{
    if (io->ops)
        io->ops->close(io->self);
    *io = (struct qcbmi_io){ 0 };
}

/* Files take their pieces as they read; what comes from a server is a single request. */
static void wait_for_turn(const struct qcbmi_io *io, size_t len)
{
    while (qcbmi_io_is_remote(io) && len > 0)
        len -= qcbmi_manners_before_read(len);
}

/* @off and @len are known to lie in the file. */
static int read_inside(struct qcbmi_io *io, uint64_t off, void *buf, size_t len, const char *what,
                       struct qcbm_error *err)
{
    struct qcbm_error local = { 0 };
    int ret;

    if (len == 0)
        return 0;
    wait_for_turn(io, len);
    ret = finish(io->ops->read_at(io->self, off, buf, len, &local), "read_at", &local, err);
    qcbmi_io_tell(io, QCBM_TRACE_READ, what, off, len, ret);
    return ret < 0 ? qcbmi_prefix(err, ret, "%s: ", what) : 0;
}

static int fail_past_end(const struct qcbmi_io *io, uint64_t off, uint64_t len, const char *what,
                         struct qcbm_error *err)
{
    return qcbmi_fail(err, QCBM_E_CORRUPT, off,
                      "%s at 0x%" PRIx64 ", %" PRIu64 " bytes, passes the end of the file at 0x%" PRIx64, what, off,
                      len, io->size);
}

int qcbmi_io_read(struct qcbmi_io *io, uint64_t off, void *buf, uint64_t len, const char *what, struct qcbm_error *err)
{
    return qcbmi_io_read_slack(io, off, buf, len, 0, what, err);
}

int qcbmi_io_read_slack(struct qcbmi_io *io, uint64_t off, void *buf, uint64_t len, uint64_t cluster, const char *what,
                        struct qcbm_error *err)
{
    uint64_t inside;
    int ret = 0;

    if (!range_fits(off, len, cluster ? align_up(io->size, cluster) : io->size))
        return fail_past_end(io, off, len, what, err);
    if (len > SIZE_MAX)
        return qcbmi_fail(err, QCBM_E_LIMIT, off, "%s: %" PRIu64 " bytes do not fit into memory", what, len);
    if (range_fits(off, len, io->size))
        return read_inside(io, off, buf, (size_t)len, what, err);
    inside = off < io->size ? io->size - off : 0;
    if (inside)
        ret = read_inside(io, off, buf, (size_t)inside, what, err);
    if (ret == 0)
        memset((uint8_t *)buf + inside, 0, (size_t)(len - inside));
    return ret;
}

static int check_writable(const struct qcbmi_io *io, uint64_t off, uint64_t len, struct qcbm_error *err)
{
    if (!io->writable)
        return qcbmi_fail(err, QCBM_E_READONLY, QCBM_NO_OFFSET, "the image is not open for writing");
    if (!range_fits(off, len, IO_MAX_END))
        return qcbmi_fail(err, QCBM_E_LIMIT, off,
                          "%" PRIu64 " bytes at 0x%" PRIx64 " pass the largest offset, 2^63 - 1", len, off);
    return 0;
}

int qcbmi_io_write(struct qcbmi_io *io, uint64_t off, const void *buf, uint64_t len, struct qcbm_error *err)
{
    struct qcbm_error local = { 0 };
    int ret = check_writable(io, off, len, err);

    if (ret < 0 || len == 0)
        return ret;
    if (len > SIZE_MAX)
        return qcbmi_fail(err, QCBM_E_LIMIT, off, "%" PRIu64 " bytes do not fit into memory", len);
    ret = finish(io->ops->write_at(io->self, off, buf, (size_t)len, &local), "write_at", &local, err);
    qcbmi_io_tell(io, QCBM_TRACE_WRITE, io->doing, off, len, ret);
    if (ret == 0)
        io->size = u64_max(io->size, off + len);
    return ret;
}

int qcbmi_io_flush(struct qcbmi_io *io, struct qcbm_error *err)
{
    struct qcbm_error local = { 0 };
    int ret;

    if (!io->writable)
        return 0; /* nothing was written that could be lost */
    ret = finish(io->ops->flush(io->self, &local), "flush", &local, err);
    qcbmi_io_tell(io, QCBM_TRACE_FLUSH, NULL, 0, 0, ret);
    return ret;
}

int qcbmi_io_grow(struct qcbmi_io *io, uint64_t len_bytes, struct qcbm_error *err)
{
    struct qcbm_error local = { 0 };
    int ret = check_writable(io, len_bytes, 0, err);

    if (ret < 0 || len_bytes <= io->size)
        return ret;
    ret = finish(io->ops->grow(io->self, len_bytes, &local), "grow", &local, err);
    qcbmi_io_tell(io, QCBM_TRACE_RESIZE, NULL, 0, len_bytes, ret);
    if (ret == 0)
        io->size = len_bytes;
    return ret;
}

int qcbmi_io_check_cut(const struct qcbmi_io *io, uint64_t len_bytes, struct qcbm_error *err)
{
    int ret = check_writable(io, len_bytes, 0, err);

    if (ret < 0 || len_bytes >= io->size || io->ops->cut)
        return ret;
    return qcbmi_fail(err, QCBM_E_UNSUPPORTED, QCBM_NO_OFFSET, "backend: it cannot make the image shorter");
}

int qcbmi_io_cut(struct qcbmi_io *io, uint64_t len_bytes, struct qcbm_error *err)
{
    struct qcbm_error local = { 0 };
    int ret = qcbmi_io_check_cut(io, len_bytes, err);

    if (ret < 0 || len_bytes >= io->size)
        return ret;
    ret = finish(io->ops->cut(io->self, len_bytes, &local), "cut", &local, err);
    qcbmi_io_tell(io, QCBM_TRACE_RESIZE, NULL, 0, len_bytes, ret);
    if (ret == 0)
        io->size = len_bytes;
    return ret;
}

int qcbmi_io_reserve(struct qcbmi_io *io, uint64_t off, uint64_t len, struct qcbm_error *err)
{
    struct qcbm_error local = { 0 };
    int ret = check_writable(io, off, len, err);

    if (ret < 0 || len == 0 || !io->ops->reserve)
        return ret;
    return finish(io->ops->reserve(io->self, off, len, &local), "reserve", &local, err);
}

int qcbmi_io_space(struct qcbmi_io *io, uint64_t *available, uint64_t *allocated, struct qcbm_error *err)
{
    struct qcbm_error local = { 0 };

    *available = UINT64_MAX;
    *allocated = UINT64_MAX;
    if (!io->ops->space)
        return 0;
    return finish(io->ops->space(io->self, available, allocated, &local), "space", &local, err);
}

int qcbmi_io_lock(struct qcbmi_io *io, enum qcbm_lock_mode mode, struct qcbm_error *err)
{
    struct qcbm_error local = { 0 };

    if (!io->ops->lock)
        return 0;
    return finish(io->ops->lock(io->self, mode, &local), "lock", &local, err);
}

/* Does the table reach to the end of a member that came after the first release? */
#define HAS(ops, member)                                                                                               \
    ((ops)->struct_size >= offsetof(struct qcbm_io_ops, member) + sizeof((ops)->member) && (ops)->member)

bool qcbmi_io_written(struct qcbmi_io *io, bool settled, struct qcbm_io_time *out, bool *told)
{
    struct qcbm_error local = { 0 };

    *told = HAS(io->ops, written);
    return *told && finish(io->ops->written(io->self, settled, out, &local), "written", &local, NULL) == 0;
}

void qcbmi_io_set_written(struct qcbmi_io *io, const struct qcbm_io_time *time)
{
    struct qcbm_error local = { 0 };

    if (io->writable && HAS(io->ops, set_written))
        (void)finish(io->ops->set_written(io->self, time, &local), "set_written", &local, NULL);
}

void qcbmi_io_will_read(struct qcbmi_io *io, uint64_t off, uint64_t len)
{
    if (off < io->size && HAS(io->ops, will_read))
        io->ops->will_read(io->self, off, u64_min(len, io->size - off));
}

bool qcbmi_io_is_remote(const struct qcbmi_io *io)
{
    return io->ops && HAS(io->ops, traits) && (io->ops->traits & QCBM_IO_REMOTE);
}

int qcbmi_io_extent(struct qcbmi_io *io, uint64_t off, bool *is_data, uint64_t *end, struct qcbm_error *err)
{
    struct qcbm_error local = { 0 };
    bool data = true;
    uint64_t stop = 0;
    int ret;

    *is_data = off < io->size;
    *end = *is_data ? io->size : UINT64_MAX;
    if (!*is_data || !io->ops->extent)
        return 0;
    ret = finish(io->ops->extent(io->self, off, &data, &stop, &local), "extent", &local, err);
    if (ret < 0)
        return ret;
    if (stop <= off)
        return qcbmi_fail(err, QCBM_E_IO, off, "backend: extent at 0x%" PRIx64 " ends at 0x%" PRIx64, off, stop);
    *is_data = data;
    if (stop < io->size)
        *end = stop;
    else if (!data)
        *end = UINT64_MAX;
    return 0;
}

bool qcbmi_io_is_hole(struct qcbmi_io *io, uint64_t off, uint64_t len)
{
    bool is_data;
    uint64_t end;

    return off < io->size && qcbmi_io_extent(io, off, &is_data, &end, NULL) == 0 && !is_data && end - off >= len;
}
