/* nbd_ahead.c - reads: each in parts, from the server or from what was asked for ahead of time
 * SPDX-License-Identifier: MIT */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nbd_conn.h"
#include "nbd_fail.h"

#define MAX_PARTS 16u

static uint64_t min64(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t down(const struct qcbm_nbd *nbd, uint64_t off)
{
    return off & ~(nbd->min_block - 1);
}

/* The last block of an export may be a part of one. */
static uint64_t up(const struct qcbm_nbd *nbd, uint64_t off)
{
    return min64(down(nbd, off + nbd->min_block - 1), nbd->size);
}

void qcbmi_nbd_will_read(void *self, uint64_t off, uint64_t len)
{
    struct qcbm_nbd *nbd = self;
    uint64_t end = len > nbd->size - min64(off, nbd->size) ? nbd->size : up(nbd, off + len);

    pthread_mutex_lock(&nbd->lock);
    for (off = down(nbd, off); !nbd->dead && qcbmi_nbd_start(nbd, NULL) == 0 && off < end; off += nbd->max_block)
        qcbmi_nbd_block_tell(nbd, off, min64(end - off, nbd->max_block));
    qcbmi_nbd_wake(nbd);
    pthread_mutex_unlock(&nbd->lock);
}

/* ---- reading --------------------------------------------------------------------------------------------- */

/* A stretch of a read: from a block, or from the server. */
struct part {
    uint64_t off, len;
    uint8_t *to;
    struct nbd_block *block;
    struct nbd_request request;
    uint8_t *bounce; /* whole blocks of the server's around it */
};

static int ask(struct qcbm_nbd *nbd, struct part *p, struct qcbm_error *err)
{
    uint64_t from = down(nbd, p->off), to = up(nbd, p->off + p->len);

    p->block = NULL;
    if (to - from != p->len) {
        p->bounce = malloc(to - from);
        if (!p->bounce)
            return qcbmi_nbd_fail(err, QCBM_E_NOMEM, ENOMEM, "no memory");
    }
    p->request = (struct nbd_request){ .kind = NBD_READ, .off = from, .len = to - from };
    p->request.buf = p->bounce ? p->bounce : p->to;
    qcbmi_nbd_queue(nbd, &p->request);
    return 0;
}

/* From @off on, as far as it is of one kind. */
static int begin_part(struct qcbm_nbd *nbd, struct part *p, uint64_t off, uint64_t end, uint8_t *to,
                      struct qcbm_error *err)
{
    struct nbd_block *b;

    end = min64(end, down(nbd, off) + nbd->max_block);
    while ((b = qcbmi_nbd_block_in(nbd, off, end)) != NULL && !b->request.in_flight && !b->request.done &&
           b->users == 0)
        qcbmi_nbd_block_drop(nbd, b); /* it waits for room: now it is wanted at once */
    *p = (struct part){ .off = off, .to = to };
    if (b && b->request.off <= off && !(b->request.done && b->request.error)) {
        p->len = min64(end, b->request.off + b->request.len) - off;
        p->block = b;
        b->users++;
        return 0;
    }
    if (b && b->request.off > off)
        end = b->request.off;
    p->len = end - off;
    return ask(nbd, p, err);
}

static void leave_block(struct qcbm_nbd *nbd, struct nbd_block *b, uint64_t taken)
{
    b->users--;
    b->left -= min64(taken, b->left);
    if (b->users == 0 && (b->left == 0 || b->request.error)) {
        qcbmi_nbd_block_drop(nbd, b);
        qcbmi_nbd_wake(nbd); /* there is room */
    }
}

/* What failed ahead of time is asked for again: that it was wanted is known only now. */
static int end_part(struct qcbm_nbd *nbd, struct part *p, struct qcbm_error *err)
{
    struct nbd_block *b = p->block;
    int ret = 0;

    if (b) {
        qcbmi_nbd_wait(nbd, &b->request);
        if (b->request.error == 0) {
            memcpy(p->to, (uint8_t *)b->request.buf + (p->off - b->request.off), p->len);
            leave_block(nbd, b, p->len);
            return 0;
        }
        leave_block(nbd, b, 0);
        ret = ask(nbd, p, err);
        if (ret < 0)
            return ret;
    }
    qcbmi_nbd_wait(nbd, &p->request);
    if (p->request.error)
        return qcbmi_nbd_blame(nbd, &p->request, err);
    if (p->bounce)
        memcpy(p->to, p->bounce + (p->off - p->request.off), p->len);
    return 0;
}

/* As many parts as there is room for. Returns the bytes that they are, or fails; all that was begun has ended then. */
static int read_some(struct qcbm_nbd *nbd, uint64_t off, uint8_t *buf, size_t len, size_t *got, struct qcbm_error *err)
{
    struct part parts[MAX_PARTS];
    size_t n = 0;
    int ret = 0;

    *got = 0;
    while (ret == 0 && n < MAX_PARTS && *got < len) {
        ret = begin_part(nbd, &parts[n], off + *got, off + len, buf + *got, err);
        if (ret == 0)
            *got += (size_t)parts[n++].len;
    }
    for (size_t i = 0; i < n; i++) {
        int one = end_part(nbd, &parts[i], ret == 0 ? err : NULL);

        ret = ret == 0 ? one : ret;
        free(parts[i].bounce);
    }
    return ret;
}

int qcbmi_nbd_read_at(void *self, uint64_t off, void *buf, size_t len, struct qcbm_error *err)
{
    struct qcbm_nbd *nbd = self;
    size_t at = 0, got = 0;
    int ret;

    pthread_mutex_lock(&nbd->lock);
    nbd->n_read_calls++;
    ret = qcbmi_nbd_start(nbd, err);
    for (; ret == 0 && at < len; at += got)
        ret = read_some(nbd, off + at, (uint8_t *)buf + at, len - at, &got, err);
    pthread_mutex_unlock(&nbd->lock);
    return ret;
}
