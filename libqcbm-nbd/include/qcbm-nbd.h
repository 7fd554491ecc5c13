/* qcbm-nbd.h - images and disks behind an NBD server: a library of its own beside libqcbm
 *
 * SPDX-License-Identifier: MIT
 *
 * libqcbm-nbd is a backend of qcbm-io.h, on libnbd. It is linked by who wants it; libqcbm knows nothing of it.
 */
#ifndef QCBM_NBD_H
#define QCBM_NBD_H

#include "qcbm-io.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The contexts that QEMU's servers have; any other name that a server knows will do as well. */
#define QCBM_NBD_ALLOCATION "base:allocation"
#define QCBM_NBD_DEPTH "qemu:allocation-depth"
#define QCBM_NBD_DIRTY_BITMAP "qemu:dirty-bitmap:" /* and the name of the bitmap behind it */

/* Flags of QCBM_NBD_ALLOCATION. */
enum qcbm_nbd_state { QCBM_NBD_STATE_HOLE = 1u << 0, QCBM_NBD_STATE_ZERO = 1u << 1 };

struct qcbm_nbd_options {
    size_t struct_size;
    /* A context besides QCBM_NBD_ALLOCATION, for qcbm_nbd_extents(); NULL: none. One that the server does not have
     * fails the opening. */
    const char *context;
    uint32_t timeout_ms; /* how long nothing may come of what was asked for; 0: 60 s */
    uint32_t in_flight;  /* requests at once; 0: 64, which is the most */
    uint64_t memory;     /* bytes for what is read ahead; 0: 32 MiB */
};
#define QCBM_NBD_OPTIONS_INIT                                                                                          \
    {                                                                                                                  \
        sizeof(struct qcbm_nbd_options), NULL, 0, 0, 0                                                                 \
    }

struct qcbm_nbd; /* a connection; may be used by several threads at once, but for opening and closing */

/* Connect to @uri: nbd://, nbds://, nbd+unix://, as libnbd reads them. nbds:// has TLS: the server's certificate must
 * be for the host that @uri names, and of the authority whose ca-cert.pem is in FOLDER (tls-certificates=FOLDER in
 * @uri), or, where @uri names none, in ~/.pki/libnbd or ~/.config/pki/libnbd, of root in /etc/pki/libnbd. Keys
 * (tls-psk-file) and nbds+unix://, where nobody looks at the certificate, are refused. Never hand it a name that comes
 * from an image. @options NULL = defaults. Nothing of it has to live on. The server has answered all that is asked of
 * it before there are requests, and no thread runs yet: a process that shuts itself in does so now.
 * Returns 0, QCBM_E_ARG (no such URI; options), QCBM_E_IO (connection or server, with sys_errno), QCBM_E_NOTFOUND (the
 * server has no such context; no such ca-cert.pem), QCBM_E_UNSUPPORTED, QCBM_E_NOMEM, QCBM_E_LIMIT (the export is
 * longer than 2^63 - 1). */
QCBM_API int qcbm_nbd_open(const char *uri, const struct qcbm_nbd_options *options, struct qcbm_nbd **out,
                           struct qcbm_error *err);
/* NULL is fine. Not after a call that took @nbd over, as qcbm_open_io() does, unless qcbm_nbd_keep() was called. */
QCBM_API void qcbm_nbd_close(struct qcbm_nbd *nbd);

/* ops for qcbm_open_io(qcbm_nbd_ops(), nbd, ...) and the other calls that take a backend. It reads only, and cannot
 * lock: QCBM_OPEN_NO_LOCK has to be said. */
QCBM_API const struct qcbm_io_ops *qcbm_nbd_ops(void);
/* Keep the connection over ->close, so that it can be given to another call afterwards; the caller closes it. */
QCBM_API void qcbm_nbd_keep(struct qcbm_nbd *nbd);

/* Bytes of the export. */
QCBM_API uint64_t qcbm_nbd_size(const struct qcbm_nbd *nbd);

/* Does the server know @context? Only for QCBM_NBD_ALLOCATION and the one of the options. */
QCBM_API bool qcbm_nbd_has_context(const struct qcbm_nbd *nbd, const char *context);

/* @flags of [@offset, @offset + @length), whose meaning the context tells. Non-zero ends the walk. */
typedef int qcbm_nbd_extent_fn(void *opaque, uint64_t offset, uint64_t length, uint32_t flags);

/* All of the export, from its beginning to its end without gaps: neighbours of equal flags are one. @fn runs on the
 * thread of the call, and may call nothing with @nbd. Returns 0, QCBM_E_ARG (no such context was asked for), QCBM_E_IO,
 * QCBM_E_NOMEM, QCBM_E_ABORTED (@fn ended it). */
QCBM_API int qcbm_nbd_extents(struct qcbm_nbd *nbd, const char *context, qcbm_nbd_extent_fn *fn, void *opaque,
                              struct qcbm_error *err);

/* What went over the connection so far: requests to read and to ask for extents, and bytes that came. */
struct qcbm_nbd_figures {
    uint64_t reads, read_bytes, questions;
    uint64_t most_in_flight; /* requests at one time */
};
/* @size: sizeof *@out of the caller. */
QCBM_API void qcbm_nbd_get_figures(struct qcbm_nbd *nbd, struct qcbm_nbd_figures *out, size_t size);

#ifdef __cplusplus
}
#endif
#endif
