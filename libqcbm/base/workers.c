/* workers.c - work in pieces, done side by side by a few threads and taken over in its order
 * SPDX-License-Identifier: MIT */
#include "base/workers.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <string.h>

#define DEFAULT_THREADS 8u
#define STACK_BYTES ((size_t)256 << 10) /* a piece takes a few KiB of it; sanitizers take more */

struct slot_state {
    bool done;
    int ret;
};

/* Pieces are counted: those before head are taken over, those before begun are or were worked on, those before tail are
 * ready for that; piece k is in slot k % n_slots. */
struct pool {
    const struct qcbmi_work *w;
    pthread_mutex_t lock;
    pthread_cond_t ready, done; /* there is something to work on, or nothing ever more; the piece at the head is done */
    size_t head, begun, tail;
    int creator;           /* the processor that the threads were made on; -1: unknown */
    bool ended;            /* nothing more is begun */
    size_t failed;         /* the first of the pieces that failed so far */
    struct qcbm_error err; /* of that one */
    struct slot_state states[QCBMI_WORK_SLOTS];
};

static void *slot_of(const struct pool *p, size_t piece)
{
    return (char *)p->w->slots + piece % p->w->n_slots * p->w->slot_size;
}

static struct slot_state *state_of(struct pool *p, size_t piece)
{
    return &p->states[piece % p->w->n_slots];
}

static void end(struct pool *p)
{
    p->ended = true;
    pthread_cond_broadcast(&p->ready);
}

/* What comes behind @piece is wanted no more. */
static void note_failure(struct pool *p, size_t piece, const struct qcbm_error *err)
{
    if (piece < p->failed) {
        p->failed = piece;
        p->err = *err;
    }
    end(p);
}

static bool can_begin(const struct pool *p)
{
    return !p->ended && p->begun != p->tail;
}

/* Locked, and so when it returns. */
static void do_one(struct pool *p)
{
    struct qcbm_error err = { 0 };
    size_t piece = p->begun++;
    struct slot_state *state = state_of(p, piece);

    pthread_mutex_unlock(&p->lock);
    state->ret = p->w->work(p->w->opaque, slot_of(p, piece), &err);
    pthread_mutex_lock(&p->lock);
    state->done = true;
    if (state->ret != 0)
        note_failure(p, piece, &err);
    if (piece == p->head)
        pthread_cond_signal(&p->done);
}

/* A new thread may begin on the processor of the one that made it, and both stay there for some milliseconds, a large
 * part of the whole job, while another processor sleeps. Where a thread may run is the same as before in the end. */
static void go_elsewhere(int creator)
{
    cpu_set_t all, others;

    if (creator < 0 || creator >= CPU_SETSIZE || sched_getcpu() != creator ||
        sched_getaffinity(0, sizeof(all), &all) != 0)
        return;
    others = all;
    CPU_CLR((size_t)creator, &others);
    if (CPU_COUNT(&others) > 0 && sched_setaffinity(0, sizeof(others), &others) == 0)
        (void)sched_setaffinity(0, sizeof(all), &all);
}

static void *work_along(void *opaque)
{
    struct pool *p = opaque;

    go_elsewhere(p->creator);
    pthread_mutex_lock(&p->lock);
    while (!p->ended) {
        if (can_begin(p))
            do_one(p);
        else
            pthread_cond_wait(&p->ready, &p->lock);
    }
    pthread_mutex_unlock(&p->lock);
    return NULL;
}

/* Locked, and so when it returns. The piece at the head is done. */
static int take_one(struct pool *p, struct qcbm_error *err)
{
    int ret = state_of(p, p->head)->ret;

    if (ret != 0) { /* p->err is of this piece: those before it went well */
        if (err)
            *err = p->err;
        return ret;
    }
    pthread_mutex_unlock(&p->lock);
    ret = p->w->take(p->w->opaque, slot_of(p, p->head), err);
    pthread_mutex_lock(&p->lock);
    p->head++;
    return ret;
}

/* Locked, and so when it returns. There is a free slot. Returns whether there was a piece for it. */
static bool make_ready(struct pool *p)
{
    bool more;

    pthread_mutex_unlock(&p->lock);
    more = p->w->next(p->w->opaque, slot_of(p, p->tail));
    pthread_mutex_lock(&p->lock);
    if (more) {
        state_of(p, p->tail++)->done = false;
        pthread_cond_signal(&p->ready);
    }
    return more;
}

/* The caller's own thread: takes over what is done, sees to it that there is work, and works along while nothing else
 * is to do. */
static int take_all(struct pool *p, struct qcbm_error *err)
{
    bool more = true;
    int ret = 0;

    pthread_mutex_lock(&p->lock);
    while (ret == 0 && (more || p->head != p->tail)) {
        if (p->head != p->begun && state_of(p, p->head)->done)
            ret = take_one(p, err);
        else if (more && !p->ended && p->tail - p->head < p->w->n_slots)
            more = make_ready(p);
        else if (can_begin(p))
            do_one(p);
        else
            pthread_cond_wait(&p->done, &p->lock);
    }
    end(p);
    pthread_mutex_unlock(&p->lock);
    return ret;
}

/* Signals are for the threads that the program knows of. Returns how many there are. */
static unsigned start_threads(struct pool *p, pthread_t *threads)
{
    unsigned n = 0, wanted = p->w->threads < QCBMI_MAX_THREADS ? p->w->threads : QCBMI_MAX_THREADS;
    pthread_attr_t attr;
    sigset_t all, before;

    if (wanted < 2 || pthread_attr_init(&attr) != 0)
        return 0;
    sigfillset(&all);
    if (pthread_attr_setstacksize(&attr, STACK_BYTES) == 0 && pthread_sigmask(SIG_SETMASK, &all, &before) == 0) {
        while (n + 1 < wanted && pthread_create(&threads[n], &attr, work_along, p) == 0)
            n++;
        pthread_sigmask(SIG_SETMASK, &before, NULL);
    }
    pthread_attr_destroy(&attr);
    return n;
}

/* One piece after the other, without locks. */
static int run_alone(const struct qcbmi_work *w, struct qcbm_error *err)
{
    int ret = 0;

    while (ret == 0 && w->next(w->opaque, w->slots)) {
        ret = w->work(w->opaque, w->slots, err);
        if (ret == 0)
            ret = w->take(w->opaque, w->slots, err);
    }
    return ret;
}

int qcbmi_work_run(const struct qcbmi_work *w, struct qcbm_error *err)
{
    struct pool p = { .w = w, .failed = SIZE_MAX, .creator = sched_getcpu() };
    pthread_t threads[QCBMI_MAX_THREADS];
    unsigned n;
    int ret;

    if (w->threads < 2 || w->n_slots < 2)
        return run_alone(w, err);
    pthread_mutex_init(&p.lock, NULL); /* none of these can fail with the kinds of Linux */
    pthread_cond_init(&p.ready, NULL);
    pthread_cond_init(&p.done, NULL);
    n = start_threads(&p, threads);
    ret = take_all(&p, err);
    while (n > 0)
        pthread_join(threads[--n], NULL);
    pthread_cond_destroy(&p.done);
    pthread_cond_destroy(&p.ready);
    pthread_mutex_destroy(&p.lock);
    return ret;
}

static unsigned processors(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof(set), &set) == 0 ? CPU_COUNT(&set) : 1;

    return n > 1 ? (unsigned)n : 1; /* more processors than the set has room for: one, which is not wrong */
}

unsigned qcbmi_threads(unsigned wanted, uint64_t pieces)
{
    unsigned n = wanted;

    if (n == 0) {
        n = pieces > 1 ? processors() : 1;
        n = n < DEFAULT_THREADS ? n : DEFAULT_THREADS;
    }
    n = n < QCBMI_MAX_THREADS ? n : QCBMI_MAX_THREADS;
    return n < pieces ? n : pieces ? (unsigned)pieces : 1;
}
