/* nbd_blocks.c - what was told to be read soon: asked for while others are worked on, kept until it is taken
 * SPDX-License-Identifier: MIT
 *
 * Nothing is read ahead but what the library has named, so no byte crosses the net that nobody wants. What is kept has
 * a limit of memory; what is told beyond it waits for room, in its order. */
#include <stdlib.h>

#include "nbd_conn.h"

#define MAX_BLOCKS 512u
#define STALE_CALLS 256u /* reads, after which nobody is expected to come for a block any more */

void qcbmi_nbd_block_drop(struct qcbm_nbd *nbd, struct nbd_block *block)
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
            qcbmi_nbd_block_drop(nbd, b);
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
        qcbmi_nbd_block_drop(nbd, b);
        return NULL;
    }
    nbd->block_bytes += b->request.len;
    return b;
}

void qcbmi_nbd_blocks_free(struct qcbm_nbd *nbd)
{
    while (nbd->blocks)
        qcbmi_nbd_block_drop(nbd, nbd->blocks);
}

struct nbd_block *qcbmi_nbd_block_in(const struct qcbm_nbd *nbd, uint64_t from, uint64_t to)
{
    struct nbd_block *found = NULL;

    for (struct nbd_block *b = nbd->blocks; b; b = b->next) {
        uint64_t off = b->request.off;

        if (off < to && off + b->request.len > from && (!found || off < found->request.off))
            found = b;
    }
    return found;
}

void qcbmi_nbd_block_tell(struct qcbm_nbd *nbd, uint64_t off, uint64_t len)
{
    struct nbd_block **at = &nbd->blocks, *b;

    if (nbd->n_blocks == MAX_BLOCKS || qcbmi_nbd_block_in(nbd, off, off + len))
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
