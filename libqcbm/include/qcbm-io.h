/* qcbm-io.h - for people who bring their own backend
 *
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_IO_H
#define QCBM_IO_H

#include "qcbm.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Who the caller of ->lock() is; see docs/library.md for the bytes that QEMU uses. */
enum qcbm_lock_mode {
    QCBM_LOCK_READ,        /* a reader: excludes writers */
    QCBM_LOCK_READ_SHARED, /* a reader with -U */
    QCBM_LOCK_INFO,        /* as qemu-img info */
    QCBM_LOCK_INFO_SHARED, /* as qemu-img info -U: no lock at all */
    QCBM_LOCK_WRITE        /* excludes everyone */
};

/* When a file was written, by the clock of its storage. */
struct qcbm_io_time {
    int64_t seconds; /* since 1970, UTC */
    uint32_t nanoseconds;
};

/* What a backend is like. */
enum qcbm_io_trait {
    /* Its bytes are on another machine. Each read waits for them, so what will be read is told to ->will_read() at
     * once, and nothing is read that is not needed. Names in an image, of its backing or data file, are names of that
     * machine: no file is opened here for them, and calls that need one return QCBM_E_CHAIN, unless qcbm_set_below()
     * has said what it is. */
    QCBM_IO_REMOTE = 1u << 0
};

/* Every call returns 0 or a negative enum qcbm_code, with @err filled as in qcbm.h. Transfers are whole or failed. */
struct qcbm_io_ops {
    size_t struct_size;
    /* @off + @len never passes the size that ->size() gave. May be called from several threads at once. */
    int (*read_at)(void *self, uint64_t off, void *buf, size_t len, struct qcbm_error *err);
    /* A write past the end makes the file longer. NULL = read-only backend. */
    int (*write_at)(void *self, uint64_t off, const void *buf, size_t len, struct qcbm_error *err);
    /* When it returns 0, all that was written before is durable. */
    int (*flush)(void *self, struct qcbm_error *err);
    int (*size)(void *self, uint64_t *len_bytes, struct qcbm_error *err);
    /* Grow to @len_bytes; the new part reads as zeros. Never called to shrink. */
    int (*grow)(void *self, uint64_t len_bytes, struct qcbm_error *err);
    /* Optional: make it shorter, @len_bytes in all. Called by qcbm_undo() alone, which needs it to give a length
     * back. */
    int (*cut)(void *self, uint64_t len_bytes, struct qcbm_error *err);
    /* Optional: make sure that writing [@off, @off + @len) cannot fail for want of space; content and size stay.
     * QCBM_E_NOSPACE if it cannot. */
    int (*reserve)(void *self, uint64_t off, uint64_t len, struct qcbm_error *err);
    /* Optional: bytes that can still be allocated, and bytes allocated for the file now; UINT64_MAX = unknown. */
    int (*space)(void *self, uint64_t *available, uint64_t *allocated, struct qcbm_error *err);
    /* Optional: is [@off, ...) data or hole, and up to where? NULL = all data. On the thread of the call, maybe while
     * ->read_at() runs on others. */
    int (*extent)(void *self, uint64_t off, bool *is_data, uint64_t *end, struct qcbm_error *err);
    /* Optional: take the locks of @mode; QCBM_E_LOCKED names the other party's permission, QCBM_E_NOLOCKS means that
     * the file system has none. Released by ->close(). */
    int (*lock)(void *self, enum qcbm_lock_mode mode, struct qcbm_error *err);
    void (*close)(void *self);
    /* Optional: when the content was last written, by whomever. With @settled what was written is durable first, time
     * and all, and no later write will have this time. QCBM_E_UNSUPPORTED if the storage does not tell, as block
     * devices. NULL: nobody else writes, or the caller looks after that. */
    int (*written)(void *self, bool settled, struct qcbm_io_time *out, struct qcbm_error *err);
    /* Optional: give that time back. Called by qcbm_undo() alone, when the content is what it was at that time. */
    int (*set_written)(void *self, const struct qcbm_io_time *time, struct qcbm_error *err);
    /* Optional: [@off, @off + @len), inside the size, will be read soon, so slow storage may fetch it meanwhile. On the
     * thread of the call, maybe while ->read_at() runs on others. What it does is never told. */
    void (*will_read)(void *self, uint64_t off, uint64_t len);
    /* Optional: enum qcbm_io_trait. */
    unsigned traits;
};

/* What an image is called that was opened by qcbm_open_io(): the name of its layer in a chain. Copied.
 * Returns 0, QCBM_E_NOMEM. */
QCBM_API int qcbm_set_name(struct qcbm_image *img, const char *name, struct qcbm_error *err);

/* A layer below an image, named by the caller. */
struct qcbm_below {
    const char *name;              /* a local file; with @ops what it is called */
    const struct qcbm_io_ops *ops; /* NULL: the file. Both stay the caller's, are not closed, and outlive the image */
    void *self;
};

/* The @n layers below @img (@elem_size = sizeof *layers of the caller), from the next one down, in place of what @img
 * and they have as the names of their backing files: that of an image on another machine means nothing here. What they
 * record as the format of each counts as ever, and below the last one names are followed again. Nothing tells a wrong
 * one. For all that follows the chain of @img from here on, and is opened then: QCBM_E_CHAIN if the chain has fewer.
 * Copied; replaces what was said before. Returns 0, QCBM_E_ARG, QCBM_E_NOMEM. */
QCBM_API int qcbm_set_below(struct qcbm_image *img, const struct qcbm_below *layers, size_t elem_size, size_t n,
                            struct qcbm_error *err);

/* An image in memory. @data is copied. The backend belongs to the caller until qcbm_open_io() takes it over. */
struct qcbm_mem;
QCBM_API int qcbm_mem_new(const void *data, size_t len, struct qcbm_mem **out, struct qcbm_error *err);
/* ops for qcbm_open_io(qcbm_mem_ops(), mem, ...). Its ->close frees @mem unless qcbm_mem_keep() was called. */
QCBM_API const struct qcbm_io_ops *qcbm_mem_ops(void);
/* Keep @mem alive over ->close; the caller then frees it with qcbm_mem_free(). */
QCBM_API void qcbm_mem_keep(struct qcbm_mem *mem);
QCBM_API const void *qcbm_mem_data(const struct qcbm_mem *mem, size_t *len);
QCBM_API void qcbm_mem_free(struct qcbm_mem *mem);

#ifdef __cplusplus
}
#endif
#endif
