/* nbd.c - libqcbm-nbd: a connection opened and closed, and what the library calls of it
 * SPDX-License-Identifier: MIT */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nbd_conn.h"
#include "nbd_fail.h"

#define DEFAULT_TIMEOUT_MS 60000u
#define DEFAULT_MEMORY (UINT64_C(32) << 20)

static int take_options(struct qcbm_nbd_options *to, const struct qcbm_nbd_options *from, struct qcbm_error *err)
{
    static const uint8_t none[256];
    size_t more;

    if (!from)
        return 0;
    more = from->struct_size > sizeof(*to) ? from->struct_size - sizeof(*to) : 0;
    if (from->struct_size < sizeof(size_t) || more > sizeof(none))
        return qcbmi_nbd_fail(err, QCBM_E_ARG, 0,
                              "%zu is not the struct_size of options: start them with their _INIT macro",
                              from->struct_size);
    if (more && memcmp(from + 1, none, more) != 0)
        return qcbmi_nbd_fail(err, QCBM_E_UNSUPPORTED, 0,
                              "an option is set that this version of the library does not know");
    memcpy(to, from, from->struct_size - more);
    return 0;
}

static bool is_uri(const char *uri)
{
    static const char *const schemes[] = { "nbd://", "nbds://", "nbd+unix://", "nbds+unix://" };

    for (size_t i = 0; i < sizeof(schemes) / sizeof(schemes[0]); i++)
        if (strncmp(uri, schemes[i], strlen(schemes[i])) == 0)
            return true;
    return false;
}

static int prepare(struct qcbm_nbd *nbd, const struct qcbm_nbd_options *o, struct qcbm_error *err)
{
    pthread_condattr_t attr;

    nbd->timeout_ms = o->timeout_ms && o->timeout_ms <= INT32_MAX ? o->timeout_ms : DEFAULT_TIMEOUT_MS;
    nbd->max_in_flight = o->in_flight && o->in_flight < NBD_MAX_IN_FLIGHT ? o->in_flight : NBD_MAX_IN_FLIGHT;
    nbd->memory = o->memory ? o->memory : DEFAULT_MEMORY;
    nbd->wake[0] = nbd->wake[1] = nbd->socket = -1;
    pthread_mutex_init(&nbd->lock, NULL); /* none of these can fail with the kinds of Linux */
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&nbd->done, &attr);
    pthread_condattr_destroy(&attr);
    nbd->context = o->context ? strdup(o->context) : NULL;
    if (o->context && !nbd->context)
        return qcbmi_nbd_fail(err, QCBM_E_NOMEM, ENOMEM, "no memory");
    if (pipe2(nbd->wake, O_CLOEXEC | O_NONBLOCK) < 0)
        return qcbmi_nbd_fail(err, QCBM_E_IO, errno, "pipe: %s", strerror(errno));
    return 0;
}

int qcbm_nbd_open(const char *uri, const struct qcbm_nbd_options *options, struct qcbm_nbd **out,
                  struct qcbm_error *err)
{
    struct qcbm_nbd_options o = QCBM_NBD_OPTIONS_INIT;
    struct qcbm_nbd *nbd;
    int ret = take_options(&o, options, err);

    *out = NULL;
    if (ret < 0)
        return ret;
    if (!is_uri(uri))
        return qcbmi_nbd_fail(err, QCBM_E_ARG, EINVAL,
                              "no URI that begins with nbd://, nbds://, nbd+unix:// or nbds+unix://");
    nbd = calloc(1, sizeof(*nbd));
    if (!nbd)
        return qcbmi_nbd_fail(err, QCBM_E_NOMEM, ENOMEM, "no memory");
    ret = prepare(nbd, &o, err);
    if (ret == 0)
        ret = qcbmi_nbd_connect_to(nbd, uri, err);
    if (ret < 0) {
        qcbm_nbd_close(nbd);
        return ret;
    }
    nbd->has_allocation = nbd_can_meta_context(nbd->handle, QCBM_NBD_ALLOCATION) > 0;
    *out = nbd;
    return 0;
}

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

void qcbm_nbd_close(struct qcbm_nbd *nbd)
{
    if (!nbd)
        return;
    qcbmi_nbd_stop(nbd);
    qcbmi_nbd_blocks_free(nbd);
    close_fd(nbd->socket);
    close_fd(nbd->wake[0]);
    close_fd(nbd->wake[1]);
    pthread_cond_destroy(&nbd->done);
    pthread_mutex_destroy(&nbd->lock);
    free(nbd->holes.answer.pairs);
    free(nbd->context);
    free(nbd);
}

void qcbm_nbd_keep(struct qcbm_nbd *nbd)
{
    nbd->kept = true;
}

uint64_t qcbm_nbd_size(const struct qcbm_nbd *nbd)
{
    return nbd->size;
}

void qcbm_nbd_get_figures(struct qcbm_nbd *nbd, struct qcbm_nbd_figures *out, size_t size)
{
    struct qcbm_nbd_figures figures;

    pthread_mutex_lock(&nbd->lock);
    figures = nbd->figures;
    pthread_mutex_unlock(&nbd->lock);
    memset(out, 0, size);
    memcpy(out, &figures, size < sizeof(figures) ? size : sizeof(figures));
}

/* ---- the backend ----------------------------------------------------------------------------------------- */

static int get_size(void *self, uint64_t *len_bytes, struct qcbm_error *err)
{
    const struct qcbm_nbd *nbd = self;

    (void)err;
    *len_bytes = nbd->size;
    return 0;
}

static int lock(void *self, enum qcbm_lock_mode mode, struct qcbm_error *err)
{
    (void)self;
    (void)mode;
    return qcbmi_nbd_fail(err, QCBM_E_NOLOCKS, 0,
                          "no lock reaches an NBD server, so a guest may write to the image meanwhile: --no-lock "
                          "(QCBM_OPEN_NO_LOCK) goes on all the same");
}

static void close_backend(void *self)
{
    struct qcbm_nbd *nbd = self;

    if (!nbd->kept)
        qcbm_nbd_close(nbd);
}

const struct qcbm_io_ops *qcbm_nbd_ops(void)
{
    static const struct qcbm_io_ops ops = {
        .struct_size = sizeof(ops),
        .read_at = qcbmi_nbd_read_at,
        .size = get_size,
        .extent = qcbmi_nbd_extent,
        .lock = lock,
        .close = close_backend,
        .will_read = qcbmi_nbd_will_read,
        .traits = QCBM_IO_REMOTE,
    };

    return &ops;
}
