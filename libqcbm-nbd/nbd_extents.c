/* nbd_extents.c - questions for extents: holes for the library, contexts of the guest's disk for callers
 * SPDX-License-Identifier: MIT
 *
 * An answer may cover less than was asked for, and its last extent more; a server may answer with anything. Each answer must
 * bring the walk on, and extents must not all be crumbs: then the number of questions follows the size of the disk. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nbd_conn.h"
#include "nbd_fail.h"

#define CRUMB 512u /* bytes an extent has on the average, at least, if there are very many */
#define MANY_EXTENTS 1000000u

static int check_answer(const struct nbd_answer *a, struct qcbm_error *err)
{
    if (a->nomem)
        return qcbmi_nbd_fail(err, QCBM_E_NOMEM, ENOMEM, "no memory");
    if (!a->given || a->n == 0)
        return qcbmi_nbd_fail(err, QCBM_E_IO, EPROTO, "NBD server: no extents in its answer for '%.200s'", a->context);
    for (size_t i = 0; i < a->n; i++)
        if (a->pairs[2 * i] == 0)
            return qcbmi_nbd_fail(err, QCBM_E_IO, EPROTO, "NBD server: an extent without length for '%.200s'",
                                  a->context);
    return 0;
}

/* Locked. @answer holds what comes from @off on, which is the beginning of a block. */
static int ask(struct qcbm_nbd *nbd, uint64_t off, struct nbd_answer *answer, struct qcbm_error *err)
{
    uint64_t most = UINT32_MAX & ~(nbd->min_block - 1), left = nbd->size - off;
    struct nbd_request r = { .kind = NBD_STATUS, .off = off, .len = left < most ? left : most, .answer = answer };
    int ret = qcbmi_nbd_start(nbd, err);

    if (ret < 0)
        return ret;
    qcbmi_nbd_queue(nbd, &r);
    qcbmi_nbd_wait(nbd, &r);
    return r.error ? qcbmi_nbd_blame(nbd, &r, err) : check_answer(answer, err);
}

/* ---- holes ----------------------------------------------------------------------------------------------- */

/* A hole alone may read as anything. */
static bool is_data(uint32_t flags)
{
    return !(flags & QCBM_NBD_STATE_ZERO);
}

/* The question begins with the block that @off lies in; an answer that does not reach @off is of no use, and is not walked. */
static int ask_for_holes(struct qcbm_nbd *nbd, uint64_t off, struct qcbm_error *err)
{
    struct nbd_holes *h = &nbd->holes;
    uint64_t asked = off;
    int ret;

    free(h->answer.pairs);
    *h = (struct nbd_holes){ .answer.context = QCBM_NBD_ALLOCATION };
    off &= ~(nbd->min_block - 1);
    ret = ask(nbd, off, &h->answer, err);
    h->from = h->end = h->hint_from = off;
    for (size_t i = 0; ret == 0 && i < h->answer.n && h->end < nbd->size; i++)
        h->end += h->answer.pairs[2 * i];
    if (h->end > nbd->size)
        h->end = nbd->size;
    if (ret == 0 && h->end <= asked)
        ret = qcbmi_nbd_fail(err, QCBM_E_IO, EPROTO, "NBD server: an extent ends inside a block, at 0x%llx",
                             (unsigned long long)h->end);
    return ret;
}

static void find_hole(struct qcbm_nbd *nbd, uint64_t off, bool *data, uint64_t *end)
{
    struct nbd_holes *h = &nbd->holes;
    const uint32_t *pairs = h->answer.pairs;
    size_t i;

    if (off < h->hint_from) {
        h->hint = 0;
        h->hint_from = h->from;
    }
    while (off - h->hint_from >= pairs[2 * h->hint]) {
        h->hint_from += pairs[2 * h->hint];
        h->hint++;
    }
    *data = is_data(pairs[2 * h->hint + 1]);
    *end = h->hint_from;
    for (i = h->hint; i < h->answer.n && *end < h->end && is_data(pairs[2 * i + 1]) == *data; i++)
        *end += pairs[2 * i];
    *end = *end < h->end ? *end : h->end;
}

int qcbmi_nbd_extent(void *self, uint64_t off, bool *data, uint64_t *end, struct qcbm_error *err)
{
    struct qcbm_nbd *nbd = self;
    int ret = 0;

    *data = true;
    *end = nbd->size;
    if (!nbd->has_allocation)
        return 0;
    pthread_mutex_lock(&nbd->lock);
    if (off < nbd->holes.from || off >= nbd->holes.end)
        ret = ask_for_holes(nbd, off, err);
    if (ret == 0)
        find_hole(nbd, off, data, end);
    else
        nbd->holes.from = nbd->holes.end = 0;
    pthread_mutex_unlock(&nbd->lock);
    return ret;
}

/* ---- a context of the disk ------------------------------------------------------------------------------- */

struct walk {
    struct qcbm_nbd *nbd;
    qcbm_nbd_extent_fn *fn;
    void *opaque;
    uint64_t at;      /* how far the extents go that came */
    uint64_t from, n; /* where the run begins that was not given out yet; extents so far */
    uint32_t flags;
};

static int give(struct walk *w, struct qcbm_error *err)
{
    int ret = w->at > w->from ? w->fn(w->opaque, w->from, w->at - w->from, w->flags) : 0;

    w->from = w->at;
    return ret == 0 ? 0 : qcbmi_nbd_fail(err, QCBM_E_ABORTED, 0, "stopped by the caller");
}

static int take(struct walk *w, uint32_t length, uint32_t flags, struct qcbm_error *err)
{
    uint64_t left = w->nbd->size - w->at;
    int ret = flags != w->flags ? give(w, err) : 0;

    w->flags = flags;
    w->at += length < left ? length : left;
    w->n++;
    if (ret == 0 && w->n > MANY_EXTENTS && w->at / w->n < CRUMB)
        ret = qcbmi_nbd_fail(err, QCBM_E_IO, EPROTO, "NBD server: its extents are smaller than sectors");
    return ret;
}

static int next_answer(struct walk *w, const char *context, struct qcbm_error *err)
{
    struct nbd_answer answer = { .context = context };
    int ret;

    pthread_mutex_lock(&w->nbd->lock);
    ret = ask(w->nbd, w->at, &answer, err);
    pthread_mutex_unlock(&w->nbd->lock);
    for (size_t i = 0; ret == 0 && i < answer.n && w->at < w->nbd->size; i++)
        ret = take(w, answer.pairs[2 * i], answer.pairs[2 * i + 1], err);
    free(answer.pairs);
    return ret;
}

/* Where an answer ends inside a block, the next question begins with the block; it is of no use to know less than a block. */
int qcbm_nbd_extents(struct qcbm_nbd *nbd, const char *context, qcbm_nbd_extent_fn *fn, void *opaque,
                     struct qcbm_error *err)
{
    struct walk w = { .nbd = nbd, .fn = fn, .opaque = opaque };
    int ret = 0;

    if (!qcbm_nbd_has_context(nbd, context))
        return qcbmi_nbd_fail(err, QCBM_E_ARG, 0, "the context '%.200s' was not asked for", context);
    while (ret == 0 && w.at < nbd->size) {
        ret = next_answer(&w, context, err);
        if (ret == 0 && w.at < nbd->size && w.at % nbd->min_block != 0)
            ret = qcbmi_nbd_fail(err, QCBM_E_IO, EPROTO, "NBD server: an extent ends inside a block, at 0x%llx",
                                 (unsigned long long)w.at);
    }
    return ret == 0 ? give(&w, err) : ret;
}
