/* nbd_loop.c - the thread of a connection: sends requests, takes answers, and tells those who wait
 * SPDX-License-Identifier: MIT */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "nbd_conn.h"
#include "nbd_fail.h"

#define STACK_BYTES ((size_t)512 << 10)

/* ---- answers: callbacks of libnbd, on the thread, without the lock -------------------------------------- */

static void drop_piece(struct nbd_pieces *p, unsigned i)
{
    p->list[i] = p->list[--p->n];
}

/* Joined with those that it touches. */
static void add_piece(struct nbd_pieces *p, uint64_t from, uint64_t to)
{
    for (unsigned i = 0; i < p->n;) {
        if (from < p->list[i].to && to > p->list[i].from)
            p->broken = true;
        if (from != p->list[i].to && to != p->list[i].from) {
            i++;
            continue;
        }
        from = from == p->list[i].to ? p->list[i].from : from;
        to = to == p->list[i].from ? p->list[i].to : to;
        drop_piece(p, i);
        i = 0;
    }
    p->broken |= p->n == sizeof(p->list) / sizeof(p->list[0]);
    if (!p->broken) {
        p->list[p->n].from = from;
        p->list[p->n++].to = to;
    }
}

static bool is_whole(const struct nbd_request *r)
{
    const struct nbd_pieces *p = &r->pieces;

    return !p->broken && p->n == 1 && p->list[0].from == r->off && p->list[0].to == r->off + r->len;
}

/* libnbd sees to it that no chunk lies outside of what was asked for, and not that they are all of it. */
static int take_chunk(void *opaque, const void *bytes, size_t count, uint64_t offset, unsigned status, int *error)
{
    struct nbd_request *r = opaque;

    (void)bytes;
    (void)error;
    if (status != LIBNBD_READ_ERROR && count > 0)
        add_piece(&r->pieces, offset, offset + count);
    return 0;
}

static int take_extents(void *opaque, const char *context, uint64_t offset, uint32_t *entries, size_t n, int *error)
{
    struct nbd_answer *a = ((struct nbd_request *)opaque)->answer;
    size_t pairs = n / 2 < NBD_MAX_EXTENTS ? n / 2 : NBD_MAX_EXTENTS;

    (void)offset;
    (void)error;
    if (a->given || strcmp(context, a->context) != 0)
        return 0;
    a->given = true;
    a->pairs = pairs ? malloc(pairs * 2 * sizeof(*a->pairs)) : NULL;
    a->nomem = pairs && !a->pairs;
    a->n = a->pairs ? pairs : 0;
    if (a->pairs)
        memcpy(a->pairs, entries, pairs * 2 * sizeof(*a->pairs));
    return 0;
}

static uint64_t bytes_of(const struct nbd_request *r)
{
    return r->kind == NBD_READ ? r->len : 0; /* extents are few bytes */
}

static void end_request(struct qcbm_nbd *nbd, struct nbd_request *r, int error)
{
    if (r->in_flight) {
        nbd->in_flight--;
        nbd->bytes_in_flight -= bytes_of(r);
    }
    r->done = true;
    r->in_flight = false;
    r->error = error;
    nbd->last_done = qcbmi_nbd_clock_ms();
    pthread_cond_broadcast(&nbd->done);
}

static int take_end(void *opaque, int *error)
{
    struct nbd_request *r = opaque;
    struct qcbm_nbd *nbd = r->nbd;
    int code = *error;

    if (!code && r->kind == NBD_READ && !is_whole(r))
        code = EPROTO;
    pthread_mutex_lock(&nbd->lock);
    if (code == 0 && r->kind == NBD_READ)
        nbd->figures.read_bytes += r->len;
    end_request(nbd, r, code);
    pthread_mutex_unlock(&nbd->lock);
    return 1; /* libnbd can forget it */
}

/* ---- the end of the connection -------------------------------------------------------------------------- */

/* Locked. What libnbd had it has given back. */
static void die(struct qcbm_nbd *nbd, const char *why)
{
    struct nbd_request *next;

    if (!nbd->dead)
        snprintf(nbd->why, sizeof(nbd->why), "%s", why ? why : "the server has closed the connection");
    nbd->dead = true;
    for (struct nbd_request *r = nbd->first; r; r = next) {
        next = r->next;
        end_request(nbd, r, ENOTCONN);
    }
    nbd->first = nbd->last = NULL;
    for (struct nbd_block *b = nbd->blocks; b; b = b->next)
        if (!b->request.done && !b->request.in_flight)
            end_request(nbd, &b->request, ENOTCONN);
    pthread_cond_broadcast(&nbd->done);
}

/* ---- requests -------------------------------------------------------------------------------------------- */

/* Without the lock. A request that is refused here has had no callback. */
static int send_request(struct qcbm_nbd *nbd, struct nbd_request *r)
{
    const nbd_completion_callback end = { .callback = take_end, .user_data = r };
    const nbd_chunk_callback chunk = { .callback = take_chunk, .user_data = r };
    const nbd_extent_callback extents = { .callback = take_extents, .user_data = r };
    int64_t cookie = r->kind == NBD_READ ? nbd_aio_pread_structured(nbd->handle, r->buf, r->len, r->off, chunk, end, 0)
                                         : nbd_aio_block_status(nbd->handle, r->len, r->off, extents, end, 0);

    return cookie < 0 ? (nbd_get_errno() ? nbd_get_errno() : EIO) : 0;
}

/* Locked. The next one to be sent; those that somebody waits for come first. */
static struct nbd_request *next_request(struct qcbm_nbd *nbd)
{
    struct nbd_request *r = nbd->first;
    struct nbd_block *b;

    if (nbd->in_flight >= nbd->max_in_flight)
        return NULL;
    if (r) {
        nbd->first = r->next;
        nbd->last = nbd->first ? nbd->last : NULL;
        return r;
    }
    b = qcbmi_nbd_block_next(nbd);
    return b ? &b->request : NULL;
}

/* Locked, and so when it returns. */
static void send_all(struct qcbm_nbd *nbd)
{
    struct nbd_request *r;

    while (!nbd->dead && (r = next_request(nbd)) != NULL) {
        int error;

        if (nbd->in_flight++ == 0)
            nbd->last_done = nbd->last_heard = qcbmi_nbd_clock_ms();
        nbd->bytes_in_flight += bytes_of(r);
        if (nbd->in_flight > nbd->figures.most_in_flight)
            nbd->figures.most_in_flight = nbd->in_flight;
        *(r->kind == NBD_READ ? &nbd->figures.reads : &nbd->figures.questions) += 1;
        r->in_flight = true;
        pthread_mutex_unlock(&nbd->lock);
        error = send_request(nbd, r);
        pthread_mutex_lock(&nbd->lock);
        if (error && !r->done)
            end_request(nbd, r, error);
    }
}

/* ---- the thread ------------------------------------------------------------------------------------------ */

static void empty(int fd)
{
    char bytes[64];

    while (read(fd, bytes, sizeof(bytes)) == (ssize_t)sizeof(bytes))
        ;
}

/* Without the lock. Returns whether the connection lives. *@heard: something has come. */
static bool talk(struct qcbm_nbd *nbd, bool *heard)
{
    unsigned direction = nbd_aio_get_direction(nbd->handle);
    struct pollfd p[2] = { { .fd = nbd_aio_get_fd(nbd->handle) }, { .fd = nbd->wake[0], .events = POLLIN } };
    int ret = 0;

    *heard = false;
    if (p[0].fd < 0)
        return false;
    p[0].events = (short)((direction & LIBNBD_AIO_DIRECTION_READ ? POLLIN : 0) |
                          (direction & LIBNBD_AIO_DIRECTION_WRITE ? POLLOUT : 0));
    if (poll(p, 2, -1) < 0)
        return errno == EINTR || errno == EAGAIN;
    if (p[1].revents)
        empty(nbd->wake[0]);
    *heard = p[0].revents & POLLIN;
    if ((direction & LIBNBD_AIO_DIRECTION_READ) && (p[0].revents & ~POLLOUT))
        ret = nbd_aio_notify_read(nbd->handle);
    else if (p[0].revents)
        ret = nbd_aio_notify_write(nbd->handle);
    return ret == 0 && !nbd_aio_is_dead(nbd->handle) && !nbd_aio_is_closed(nbd->handle);
}

static void *run(void *opaque)
{
    struct qcbm_nbd *nbd = opaque;
    bool alive = true, heard;

    pthread_mutex_lock(&nbd->lock);
    while (alive && !nbd->ending) {
        send_all(nbd);
        pthread_mutex_unlock(&nbd->lock);
        alive = talk(nbd, &heard);
        pthread_mutex_lock(&nbd->lock);
        if (heard)
            nbd->last_heard = qcbmi_nbd_clock_ms();
    }
    if (!alive) {
        const char *why = nbd_get_error();

        die(nbd, why && *why ? why : NULL);
    }
    pthread_mutex_unlock(&nbd->lock);
    return NULL;
}

int qcbmi_nbd_start(struct qcbm_nbd *nbd, struct qcbm_error *err)
{
    pthread_attr_t attr;
    sigset_t all, before;
    int ret;

    if (nbd->running)
        return 0;
    ret = pthread_attr_init(&attr);
    if (ret == 0) {
        sigfillset(&all); /* signals are for the threads that the program knows of */
        pthread_attr_setstacksize(&attr, STACK_BYTES);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        ret = pthread_create(&nbd->thread, &attr, run, nbd);
        pthread_sigmask(SIG_SETMASK, &before, NULL);
        pthread_attr_destroy(&attr);
    }
    nbd->running = ret == 0;
    return ret == 0 ? 0 : qcbmi_nbd_fail(err, QCBM_E_NOMEM, ret, "no thread for the connection: %s", strerror(ret));
}

void qcbmi_nbd_stop(struct qcbm_nbd *nbd)
{
    pthread_mutex_lock(&nbd->lock);
    nbd->ending = true;
    qcbmi_nbd_wake(nbd);
    pthread_mutex_unlock(&nbd->lock);
    if (nbd->running)
        pthread_join(nbd->thread, NULL);
    if (nbd->handle) {
        if (nbd_aio_is_ready(nbd->handle) > 0)
            (void)nbd_aio_disconnect(nbd->handle, 0); /* and no waiting for what the server does */
        nbd_close(nbd->handle);
    }
    nbd->handle = NULL;
}

void qcbmi_nbd_wake(struct qcbm_nbd *nbd)
{
    ssize_t n = write(nbd->wake[1], "", 1); /* full: it wakes up anyway */

    (void)n;
}

void qcbmi_nbd_queue(struct qcbm_nbd *nbd, struct nbd_request *request)
{
    request->nbd = nbd;
    request->next = NULL;
    if (nbd->dead) {
        end_request(nbd, request, ENOTCONN);
        return;
    }
    if (nbd->last)
        nbd->last->next = request;
    else
        nbd->first = request;
    nbd->last = request;
    qcbmi_nbd_wake(nbd);
}

/* ---- those who wait -------------------------------------------------------------------------------------- */

static void wait_a_moment(struct qcbm_nbd *nbd, uint64_t ms)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    t.tv_sec += (time_t)(ms / 1000);
    t.tv_nsec += (long)(ms % 1000) * 1000000;
    t.tv_sec += t.tv_nsec / 1000000000;
    t.tv_nsec %= 1000000000;
    pthread_cond_timedwait(&nbd->done, &nbd->lock, &t);
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

/* Is there reason to give up? If not, *@left milliseconds until there may be. @from: when the waiting began. */
static bool is_hopeless(const struct qcbm_nbd *nbd, uint64_t from, const char **why, uint64_t *left)
{
    uint64_t flowing = nbd->timeout_ms + nbd->bytes_in_flight * 1000 / NBD_SLOWEST, now = qcbmi_nbd_clock_ms();
    uint64_t unfinished = now - later(from, nbd->last_done);
    uint64_t silent = now - later(from, later(nbd->last_heard, nbd->last_done));

    *why = silent >= nbd->timeout_ms ? "the server has not answered" : "what the server sends has completed nothing";
    if (silent >= nbd->timeout_ms || unfinished >= flowing)
        return true;
    *left = nbd->timeout_ms - silent < flowing - unfinished ? nbd->timeout_ms - silent : flowing - unfinished;
    return false;
}

static void give_up(struct qcbm_nbd *nbd, const char *why)
{
    nbd->late = nbd->dead = true;
    snprintf(nbd->why, sizeof(nbd->why), "%s for %g s", why, nbd->timeout_ms / 1000.0);
    (void)shutdown(nbd->socket, SHUT_RDWR);
}

void qcbmi_nbd_wait(struct qcbm_nbd *nbd, const struct nbd_request *request)
{
    uint64_t from = qcbmi_nbd_clock_ms(), left = 0;
    const char *why;

    while (!request->done) {
        if (!nbd->late && is_hopeless(nbd, from, &why, &left))
            give_up(nbd, why);
        wait_a_moment(nbd, nbd->late ? 1000 : left + 1);
    }
}

/* libnbd gives requests back before the thread has learnt why the connection ended, which it does next. */
static void wait_for_reason(struct qcbm_nbd *nbd, const struct nbd_request *r)
{
    while (r->error == ENOTCONN && !nbd->dead)
        pthread_cond_wait(&nbd->done, &nbd->lock);
}

int qcbmi_nbd_blame(struct qcbm_nbd *nbd, const struct nbd_request *r, struct qcbm_error *err)
{
    const char *what = r->kind == NBD_READ ? "read" : "question for extents";

    wait_for_reason(nbd, r);
    if (nbd->dead)
        return qcbmi_nbd_fail(err, QCBM_E_IO, nbd->late ? ETIMEDOUT : r->error, "NBD server: %s", nbd->why);
    if (r->error == EPROTO)
        return qcbmi_nbd_fail(err, QCBM_E_IO, r->error, "NBD server: its answer to a %s breaks the protocol", what);
    return qcbmi_nbd_fail(err, QCBM_E_IO, r->error, "NBD server: %s of %llu bytes at 0x%llx failed: %s", what,
                          (unsigned long long)r->len, (unsigned long long)r->off, strerror(r->error));
}
