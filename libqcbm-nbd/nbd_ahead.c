/* nbd_ahead.c - reads, and what was told to be read soon: asked for while others are worked on, kept until it is taken
 * SPDX-License-Identifier: MIT
 *
 * Nothing is read ahead but what the library has named, so no byte crosses the net that nobody wants. What is kept has a limit
 * of memory; what is told beyond it waits for room, in its order. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "nbd_conn.h"
#include "nbd_fail.h"

#define MAX_BLOCKS 512u
#define MAX_PARTS 16u
#define STALE_CALLS 256u /* reads, after which nobody is expected to come for a block any more */

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

/* ---- blocks ---------------------------------------------------------------------------------------------- */

static void drop_block(struct qcbm_nbd *nbd, struct nbd_block *block)
{
    struct nbd_block **at = &nbd->blocks;

    while (*at != block)
        at = &(*at)->next;
    *at = block->next;
    nbd->n_blocks--;
    if (block->request.buf)
        nbd->block_bytes -= block->request.len;
    free(block->request.buf);
    free(block);
}

static bool is_stale(const struct qcbm_nbd *nbd, const struct nbd_block *b)
{
    return b->request.done && b->users == 0 && nbd->n_read_calls - b->since > STALE_CALLS;
}

static void drop_stale(struct qcbm_nbd *nbd)
{
    struct nbd_block *next;

    for (struct nbd_block *b = nbd->blocks; b; b = next) {
        next = b->next;
        if (is_stale(nbd, b))
            drop_block(nbd, b);
    }
}

struct nbd_block *qcbmi_nbd_block_next(struct qcbm_nbd *nbd)
{
    struct nbd_block *b = nbd->blocks;

    while (b && (b->request.buf || b->request.done))
        b = b->next;
    if (!b)
        return NULL;
    if (nbd->block_bytes + b->request.len > nbd->memory)
        drop_stale(nbd);
    if (nbd->block_bytes + b->request.len > nbd->memory)
        return NULL;
    b->request.buf = malloc(b->request.len);
    if (!b->request.buf) {
        drop_block(nbd, b);
        return NULL;
    }
    nbd->block_bytes += b->request.len;
    return b;
}

void qcbmi_nbd_blocks_free(struct qcbm_nbd *nbd)
{
    while (nbd->blocks)
        drop_block(nbd, nbd->blocks);
}

/* The first block that reaches into [@from, @to). */
static struct nbd_block *block_in(const struct qcbm_nbd *nbd, uint64_t from, uint64_t to)
{
    struct nbd_block *found = NULL;

    for (struct nbd_block *b = nbd->blocks; b; b = b->next) {
        uint64_t off = b->request.off;

        if (off < to && off + b->request.len > from && (!found || off < found->request.off))
            found = b;
    }
    return found;
}

static void tell(struct qcbm_nbd *nbd, uint64_t off, uint64_t len)
{
    struct nbd_block **at = &nbd->blocks, *b;

    if (nbd->n_blocks == MAX_BLOCKS || block_in(nbd, off, off + len))
        return;
    b = calloc(1, sizeof(*b));
    if (!b)
        return;
    b->request = (struct nbd_request){ .kind = NBD_READ, .off = off, .len = len, .nbd = nbd };
    b->left = len;
    b->since = nbd->n_read_calls;
    while (*at)
        at = &(*at)->next;
    *at = b;
    nbd->n_blocks++;
}

void qcbmi_nbd_will_read(void *self, uint64_t off, uint64_t len)
{
    struct qcbm_nbd *nbd = self;
    uint64_t end = len > nbd->size - min64(off, nbd->size) ? nbd->size : up(nbd, off + len);

    pthread_mutex_lock(&nbd->lock);
    for (off = down(nbd, off); !nbd->dead && qcbmi_nbd_start(nbd, NULL) == 0 && off < end; off += nbd->max_block)
        tell(nbd, off, min64(end - off, nbd->max_block));
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
    while ((b = block_in(nbd, off, end)) != NULL && !b->request.in_flight && !b->request.done && b->users == 0)
        drop_block(nbd, b); /* it waits for room: now it is wanted at once */
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
        drop_block(nbd, b);
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
