/* io.h - checked front of a backend: bounds, whole transfers, zeros behind a short last cluster
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_IO_H
#define QCBMI_IO_H

#include "qcbm-io.h"

/* Which file is it? Two names of one file give the same numbers. */
struct qcbmi_file_id {
    uint64_t dev, ino;
    bool known; /* false: a backend of the caller, of which nobody knows */
};

/* What qemu-img info tells of a file besides its size; nothing of other backends. */
struct qcbmi_file_traits {
    bool is_device;
    uint32_t extent_size_hint; /* bytes, 0 if none */
};

struct qcbmi_trace {
    qcbm_trace_fn *fn; /* NULL: nobody listens */
    void *opaque;
};

struct qcbmi_io {
    const struct qcbm_io_ops *ops;
    void *self;
    uint64_t size; /* length at open, kept up to date by what changes it here */
    bool writable;
    struct qcbmi_file_id id;
    struct qcbmi_file_traits traits;
    const struct qcbmi_trace *trace; /* borrowed; NULL, or who is told of all that is done here */
    const char *trace_name;          /* borrowed: the file, for the trace */
    const char *doing;               /* what the next writes are, for the trace */
};

/* Tell @trace from now on, and first that the file @name is open. */
void qcbmi_io_trace_as(struct qcbmi_io *io, const struct qcbmi_trace *trace, const char *name);
void qcbmi_io_tell(const struct qcbmi_io *io, enum qcbm_trace_kind kind, const char *what, uint64_t off, uint64_t len,
                   int result);

/* Takes over (@ops, @self): on failure too, @ops->close has been called. Asks for the size. Checks that the ops that
 * cannot be missing are there (struct_size first). */
int qcbmi_io_init(struct qcbmi_io *io, const struct qcbm_io_ops *ops, void *self, bool writable,
                  struct qcbm_error *err);
/* As qcbmi_io_init(), for reading, and (@ops, @self) stay the caller's: they are not closed. @room lives as long as
 * @io. */
int qcbmi_io_borrow(struct qcbmi_io *io, struct qcbm_io_ops *room, const struct qcbm_io_ops *ops, void *self,
                    struct qcbm_error *err);
/* Ask the backend for its size again, after a lock was taken. */
int qcbmi_io_refresh_size(struct qcbmi_io *io, struct qcbm_error *err);
/* Calls ->close; fine on a zeroed struct, and twice. */
void qcbmi_io_close(struct qcbmi_io *io);

/* The whole range lies in the file, or QCBM_E_CORRUPT ("@what at ... passes the end of the file"). */
int qcbmi_io_read(struct qcbmi_io *io, uint64_t off, void *buf, uint64_t len, const char *what, struct qcbm_error *err);
/* As above, but the range may reach up to the end of the last cluster (size @cluster, a power of two), which the file
 * may cut short: what is missing reads as zeros, as QEMU reads it. */
int qcbmi_io_read_slack(struct qcbmi_io *io, uint64_t off, void *buf, uint64_t len, uint64_t cluster, const char *what,
                        struct qcbm_error *err);
/* QCBM_E_READONLY without write_at or when not opened for writing. */
int qcbmi_io_write(struct qcbmi_io *io, uint64_t off, const void *buf, uint64_t len, struct qcbm_error *err);
int qcbmi_io_flush(struct qcbmi_io *io, struct qcbm_error *err);
int qcbmi_io_grow(struct qcbmi_io *io, uint64_t len_bytes, struct qcbm_error *err);
/* Make it shorter; QCBM_E_UNSUPPORTED if the backend cannot, which the first call tells without doing it. */
int qcbmi_io_check_cut(const struct qcbmi_io *io, uint64_t len_bytes, struct qcbm_error *err);
int qcbmi_io_cut(struct qcbmi_io *io, uint64_t len_bytes, struct qcbm_error *err);
int qcbmi_io_reserve(struct qcbmi_io *io, uint64_t off, uint64_t len, struct qcbm_error *err); /* 0 if not offered */
int qcbmi_io_space(struct qcbmi_io *io, uint64_t *available, uint64_t *allocated, struct qcbm_error *err);
/* Is [@off, ...) data or a hole, and up to where? *@end is past @off. Behind the end of the file is a hole without end
 * (UINT64_MAX), and one that reaches the end of the file goes on there. A backend that cannot tell has data alone. */
int qcbmi_io_extent(struct qcbmi_io *io, uint64_t off, bool *is_data, uint64_t *end, struct qcbm_error *err);
/* Is all of the range known to be a hole, which reads as zeros? False where the backend cannot tell. */
bool qcbmi_io_is_hole(struct qcbmi_io *io, uint64_t off, uint64_t len);
/* When it was written last. False with *@told false if the backend has no such call, and with true if it cannot say. */
bool qcbmi_io_written(struct qcbmi_io *io, bool settled, struct qcbm_io_time *out, bool *told);
/* Bytes that will be read soon, as far as they lie in the file. */
void qcbmi_io_will_read(struct qcbmi_io *io, uint64_t off, uint64_t len);
/* Does each read wait for another machine? */
bool qcbmi_io_is_remote(const struct qcbmi_io *io);
void qcbmi_io_set_written(struct qcbmi_io *io, const struct qcbm_io_time *time);          /* as well as that goes */
int qcbmi_io_lock(struct qcbmi_io *io, enum qcbm_lock_mode mode, struct qcbm_error *err); /* 0 if not offered */

#endif
