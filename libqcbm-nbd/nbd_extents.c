/* nbd_extents.c - questions for extents: holes for the library, contexts of the guest's disk for callers
 * SPDX-License-Identifier: MIT
 *
 * An answer may cover less than was asked for, and its last extent more; a server may answer with anything. Each answer
 * must bring the walk on, and extents must not all be crumbs: then the number of questions follows the size of the
 * disk. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nbd_conn.h"
#include "nbd_fail.h"

#define CRUMB 512u /* bytes an extent has on the average, at least, if there are very many */
#define MANY_EXTENTS 1000000u
#define QUESTIONS 16u /* in flight; each is of 4 GiB, the most that a question can be of */

static uint64_t min64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

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

static uint64_t longest_question(const struct qcbm_nbd *nbd)
{
    return UINT32_MAX & ~(nbd->min_block - 1);
}

/* Locked. What comes from @off on, which is the beginning of a block; it may be more or less than @len. */
static int begin_question(struct qcbm_nbd *nbd, struct nbd_request *r, uint64_t off, uint64_t len,
                          struct nbd_answer *answer, struct qcbm_error *err)
{
    int ret = qcbmi_nbd_start(nbd, err);

    *r = (struct nbd_request){ .kind = NBD_STATUS, .off = off, .len = len, .answer = answer, .nbd = nbd };
    if (ret == 0)
        qcbmi_nbd_queue(nbd, r);
    return ret;
}

static int end_question(struct qcbm_nbd *nbd, struct nbd_request *r, struct qcbm_error *err)
{
    qcbmi_nbd_wait(nbd, r);
    return r->error ? qcbmi_nbd_blame(nbd, r, err) : check_answer(r->answer, err);
}

static int ask(struct qcbm_nbd *nbd, uint64_t off, uint64_t len, struct nbd_answer *answer, struct qcbm_error *err)
{
    struct nbd_request r;
    int ret = begin_question(nbd, &r, off, len, answer, err);

    return ret < 0 ? ret : end_question(nbd, &r, err);
}

/* ---- holes ----------------------------------------------------------------------------------------------- */

/* A hole alone may read as anything. */
static bool is_data(uint32_t flags)
{
    return !(flags & QCBM_NBD_STATE_ZERO);
}

/* The question begins with the block that @off lies in; an answer that does not reach @off is of no use, and is not
 * walked. */
static int ask_for_holes(struct qcbm_nbd *nbd, uint64_t off, struct qcbm_error *err)
{
    struct nbd_holes *h = &nbd->holes;
    uint64_t asked = off;
    int ret;

    free(h->answer.pairs);
    *h = (struct nbd_holes){ .answer.context = QCBM_NBD_ALLOCATION };
    off &= ~(nbd->min_block - 1);
    ret = ask(nbd, off, min64(nbd->size - off, longest_question(nbd)), &h->answer, err);
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

/* A question that was sent before its answer is needed. */
struct question {
    struct nbd_request request;
    struct nbd_answer answer;
};

struct walk {
    struct qcbm_nbd *nbd;
    const char *context;
    qcbm_nbd_extent_fn *fn;
    void *opaque;
    uint64_t at;      /* how far the extents go that came */
    uint64_t from, n; /* where the run begins that was not given out yet; extents so far */
    uint32_t flags;
    struct question ahead[QUESTIONS]; /* a ring */
    uint64_t asked;                   /* up to where there are questions */
    unsigned first, n_ahead;
};

static int give(struct walk *w, struct qcbm_error *err)
{
    int ret = w->at > w->from ? w->fn(w->opaque, w->from, w->at - w->from, w->flags) : 0;

    w->from = w->at;
    return ret == 0 ? 0 : qcbmi_nbd_fail(err, QCBM_E_ABORTED, 0, "stopped by the caller");
}

/* Nothing of it lies behind @end. */
static int take(struct walk *w, uint32_t length, uint32_t flags, uint64_t end, struct qcbm_error *err)
{
    int ret = flags != w->flags ? give(w, err) : 0;

    w->flags = flags;
    w->at += min64(length, end - w->at);
    w->n++;
    if (ret == 0 && w->n > MANY_EXTENTS && w->at / w->n < CRUMB)
        ret = qcbmi_nbd_fail(err, QCBM_E_IO, EPROTO, "NBD server: its extents are smaller than sectors");
    return ret;
}

/* What an answer says, up to the next question. Where it ends inside a block, the next one begins with the block; it is
 * of no use to know less than a block. */
static int take_all(struct walk *w, struct nbd_answer *a, uint64_t end, struct qcbm_error *err)
{
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < a->n && w->at < end; i++)
        ret = take(w, a->pairs[2 * i], a->pairs[2 * i + 1], end, err);
    free(a->pairs);
    *a = (struct nbd_answer){ 0 };
    if (ret == 0 && w->at < end && w->at % w->nbd->min_block != 0)
        ret = qcbmi_nbd_fail(err, QCBM_E_IO, EPROTO, "NBD server: an extent ends inside a block, at 0x%llx",
                             (unsigned long long)w->at);
    return ret;
}

/* Locked. */
static int ask_ahead(struct walk *w, struct qcbm_error *err)
{
    int ret = 0;

    while (ret == 0 && w->n_ahead < QUESTIONS && w->asked < w->nbd->size) {
        struct question *q = &w->ahead[(w->first + w->n_ahead) % QUESTIONS];
        uint64_t len = min64(w->nbd->size - w->asked, longest_question(w->nbd));

        q->answer = (struct nbd_answer){ .context = w->context };
        ret = begin_question(w->nbd, &q->request, w->asked, len, &q->answer, err);
        w->asked += ret == 0 ? len : 0;
        w->n_ahead += ret == 0;
    }
    return ret;
}

/* The oldest question, and others where its answer is shorter. */
static int next_question(struct walk *w, struct qcbm_error *err)
{
    struct question *q = &w->ahead[w->first];
    uint64_t end;
    int ret;

    pthread_mutex_lock(&w->nbd->lock);
    ret = ask_ahead(w, err);
    if (ret == 0)
        ret = end_question(w->nbd, &q->request, err);
    pthread_mutex_unlock(&w->nbd->lock);
    if (ret < 0)
        return ret;
    w->first = (w->first + 1) % QUESTIONS;
    w->n_ahead--;
    end = q->request.off + q->request.len;
    ret = take_all(w, &q->answer, end, err);
    while (ret == 0 && w->at < end) {
        struct nbd_answer more = { .context = w->context };

        pthread_mutex_lock(&w->nbd->lock);
        ret = ask(w->nbd, w->at, end - w->at, &more, err);
        pthread_mutex_unlock(&w->nbd->lock);
        ret = ret == 0 ? take_all(w, &more, end, err) : ret;
        free(more.pairs);
    }
    return ret;
}

/* Nothing of the walk may be written to after it. */
static void drop_questions(struct walk *w)
{
    for (unsigned i = 0; i < w->n_ahead; i++) {
        struct question *q = &w->ahead[(w->first + i) % QUESTIONS];

        pthread_mutex_lock(&w->nbd->lock);
        qcbmi_nbd_wait(w->nbd, &q->request);
        pthread_mutex_unlock(&w->nbd->lock);
        free(q->answer.pairs);
    }
}

bool qcbm_nbd_has_context(const struct qcbm_nbd *nbd, const char *context)
{
    if (nbd->context && strcmp(context, nbd->context) == 0)
        return true; /* else it would not be open */
    return strcmp(context, QCBM_NBD_ALLOCATION) == 0 && nbd->has_allocation;
}

int qcbm_nbd_extents(struct qcbm_nbd *nbd, const char *context, qcbm_nbd_extent_fn *fn, void *opaque,
                     struct qcbm_error *err)
{
    struct walk w = { .nbd = nbd, .context = context, .fn = fn, .opaque = opaque };
    int ret = 0;

    if (!qcbm_nbd_has_context(nbd, context))
        return qcbmi_nbd_fail(err, QCBM_E_ARG, 0, "the context '%.200s' was not asked for", context);
    while (ret == 0 && w.at < nbd->size)
        ret = next_question(&w, err);
    drop_questions(&w);
    return ret == 0 ? give(&w, err) : ret;
}
