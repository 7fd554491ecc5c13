/* nbd_connect.c - from a URI to a server that is ready for requests
 * SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "nbd_conn.h"
#include "nbd_fail.h"
#include "nbd_tls.h"

/* libnbd takes memory for each context that a server tells, and goes on as long as it tells something. A handshake has
 * some hundred steps. */
#define MAX_MESSAGES 20000u

uint64_t qcbmi_nbd_clock_ms(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

static int fail_libnbd(struct qcbm_error *err)
{
    const char *text = nbd_get_error();
    int sys_errno = nbd_get_errno();

    return qcbmi_nbd_fail(err,
                          sys_errno == ENOMEM   ? QCBM_E_NOMEM
                          : sys_errno == EINVAL ? QCBM_E_ARG
                                                : QCBM_E_IO,
                          sys_errno, "%.400s", text ? text : "libnbd failed");
}

/* Each step of the handshake is told: that is where one without end can be cut off. */
static int count_message(void *opaque, const char *context, const char *message)
{
    struct qcbm_nbd *nbd = opaque;

    (void)context;
    (void)message;
    if (++nbd->n_messages > MAX_MESSAGES && nbd->socket >= 0)
        (void)shutdown(nbd->socket, SHUT_RDWR);
    return 0;
}

static int set_up(struct qcbm_nbd *nbd, struct qcbm_error *err)
{
    struct nbd_handle *h = nbd->handle;
    const nbd_debug_callback count = { .callback = count_message, .user_data = nbd };

    /* Without the rule that requests are aligned: the last bytes of an export may be no whole block. */
    if (nbd_set_uri_allow_transports(h, LIBNBD_ALLOW_TRANSPORT_TCP | LIBNBD_ALLOW_TRANSPORT_UNIX) < 0 ||
        nbd_set_uri_allow_local_file(h, false) < 0 || nbd_set_uri_allow_tls(h, LIBNBD_TLS_ALLOW) < 0 ||
        nbd_set_strict_mode(h, LIBNBD_STRICT_MASK & ~LIBNBD_STRICT_ALIGN) < 0 ||
        nbd_add_meta_context(h, QCBM_NBD_ALLOCATION) < 0 ||
        (nbd->context && strcmp(nbd->context, QCBM_NBD_ALLOCATION) != 0 && nbd_add_meta_context(h, nbd->context) < 0) ||
        nbd_set_debug_callback(h, count) < 0 || nbd_set_debug(h, true) < 0)
        return fail_libnbd(err);
    return 0;
}

static int step(struct qcbm_nbd *nbd, uint64_t until, struct qcbm_error *err)
{
    struct nbd_handle *h = nbd->handle;
    unsigned direction = nbd_aio_get_direction(h);
    struct pollfd p = { .fd = nbd_aio_get_fd(h) };
    uint64_t now = qcbmi_nbd_clock_ms();
    int ret;

    if (p.fd < 0)
        return fail_libnbd(err);
    nbd->socket = p.fd;
    p.events = (short)((direction & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0) |
                       (direction & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0));
    ret = now < until ? poll(&p, 1, (int)(until - now)) : 0;
    if (ret == 0)
        return qcbmi_nbd_fail(err, QCBM_E_IO, ETIMEDOUT, "the server has not answered for %g s",
                              nbd->timeout_ms / 1000.0);
    if (ret < 0)
        return errno == EINTR ? 0 : qcbmi_nbd_fail(err, QCBM_E_IO, errno, "poll: %s", strerror(errno));
    if ((direction & LIBNBD_AIO_DIRECTION_READ) && (p.revents & ~POLLOUT))
        ret = nbd_aio_notify_read(h);
    else
        ret = nbd_aio_notify_write(h);
    return ret < 0 ? fail_libnbd(err) : 0;
}

static int shake_hands(struct qcbm_nbd *nbd, const char *uri, struct qcbm_error *err)
{
    uint64_t until = qcbmi_nbd_clock_ms() + nbd->timeout_ms;
    int ret = nbd_aio_connect_uri(nbd->handle, uri) < 0 ? fail_libnbd(err) : 0;

    while (ret == 0 && !nbd_aio_is_ready(nbd->handle)) {
        if (nbd_aio_is_dead(nbd->handle) || nbd_aio_is_closed(nbd->handle))
            ret = qcbmi_nbd_fail(err, QCBM_E_IO, ENOTCONN, "the server has closed the connection");
        else
            ret = step(nbd, until, err);
    }
    if (nbd->n_messages > MAX_MESSAGES)
        ret = qcbmi_nbd_fail(err, QCBM_E_IO, EPROTO, "the server goes on and on before it serves anything");
    return ret;
}

static bool is_power_of_2(int64_t n)
{
    return n > 0 && (n & (n - 1)) == 0;
}

/* 0 of either: the server does not say. */
static int take_block_sizes(struct qcbm_nbd *nbd, struct qcbm_error *err)
{
    int64_t min = nbd_get_block_size(nbd->handle, LIBNBD_SIZE_MINIMUM);
    int64_t max = nbd_get_block_size(nbd->handle, LIBNBD_SIZE_MAXIMUM);

    min = min > 0 ? min : 1;
    if (!is_power_of_2(min) || min > 65536 || (max > 0 && max < min))
        return qcbmi_nbd_fail(err, QCBM_E_IO, EPROTO, "the server wants blocks of %lld to %lld bytes", (long long)min,
                              (long long)max);
    nbd->min_block = (uint64_t)min;
    nbd->max_block = max > 0 && (uint64_t)max < NBD_REQUEST_BYTES ? (uint64_t)max : NBD_REQUEST_BYTES;
    nbd->max_block &= ~(nbd->min_block - 1);
    return 0;
}

/* QEMU's server has these when it is told to. */
static const char *option_of(const char *context)
{
    if (strncmp(context, "qemu:dirty-bitmap:", strlen("qemu:dirty-bitmap:")) == 0)
        return ": qemu-nbd serves a bitmap with -B NAME";
    return strcmp(context, "qemu:allocation-depth") == 0 ? ": qemu-nbd serves it with -A" : "";
}

static int take_context(struct qcbm_nbd *nbd, struct qcbm_error *err)
{
    int can = nbd->context ? nbd_can_meta_context(nbd->handle, nbd->context) : 1;

    if (can > 0)
        return 0;
    return qcbmi_nbd_fail(err, QCBM_E_NOTFOUND, ENOENT, "the server has no context '%.150s' for this export%s",
                          nbd->context, option_of(nbd->context));
}

static int take_export(struct qcbm_nbd *nbd, struct qcbm_error *err)
{
    int64_t size;
    int ret;

    nbd_set_debug(nbd->handle, false);
    nbd_clear_debug_callback(nbd->handle);
    size = nbd_get_size(nbd->handle);
    if (size < 0) /* it is told without an error */
        return qcbmi_nbd_fail(err, QCBM_E_LIMIT, EOVERFLOW, "the export is longer than 2^63 - 1 bytes");
    nbd->size = (uint64_t)size;
    nbd->socket = fcntl(nbd_aio_get_fd(nbd->handle), F_DUPFD_CLOEXEC, 3);
    if (nbd->socket < 0)
        return qcbmi_nbd_fail(err, QCBM_E_IO, errno, "dup: %s", strerror(errno));
    ret = take_block_sizes(nbd, err);
    return ret < 0 ? ret : take_context(nbd, err);
}

int qcbmi_nbd_connect_to(struct qcbm_nbd *nbd, const char *uri, struct qcbm_error *err)
{
    char *rest = NULL;
    int ret;

    nbd->socket = -1;
    nbd->handle = nbd_create();
    if (!nbd->handle)
        return fail_libnbd(err);
    ret = set_up(nbd, err);
    if (ret == 0)
        ret = qcbmi_nbd_tls(nbd->handle, uri, &rest, err);
    if (ret == 0)
        ret = shake_hands(nbd, rest, err);
    free(rest);
    nbd->socket = -1; /* so far libnbd's own, which closes it */
    return ret == 0 ? take_export(nbd, err) : ret;
}
