/* holes.c - where the holes of a file are: asked for once, in file order, and remembered
 * SPDX-License-Identifier: MIT */
#include "io/holes.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/sort.h"

#define MAX_REMEMBERED 65536u /* 512 KiB, for each layer of a chain; beyond it every question is asked by itself */

void qcbmi_holes_init(struct qcbmi_holes *h, struct qcbmi_io *io)
{
    *h = (struct qcbmi_holes){ .io = io };
}

void qcbmi_holes_free(struct qcbmi_holes *h)
{
    free(h->ends);
    *h = (struct qcbmi_holes){ 0 };
}

static uint64_t known_end(const struct qcbmi_holes *h)
{
    return h->n ? h->ends[h->n - 1] : 0;
}

static bool is_data_at(const struct qcbmi_holes *h, size_t i)
{
    return h->first_is_data == (i % 2 == 0);
}

static int remember(struct qcbmi_holes *h, bool is_data, uint64_t end, struct qcbm_error *err)
{
    h->asked++;
    if (h->n && is_data_at(h, h->n - 1) == is_data) {
        h->ends[h->n - 1] = end;
        return 0;
    }
    if (qcbmi_grow_array(&h->ends, &h->capacity, h->n, sizeof(*h->ends), err) < 0)
        return QCBM_E_NOMEM;
    if (h->n == 0)
        h->first_is_data = is_data;
    h->ends[h->n++] = end;
    return 0;
}

/* Index of the extent with @off, which is below known_end(). */
static size_t find(struct qcbmi_holes *h, uint64_t off)
{
    size_t low = 0, high = h->n - 1;

    if (h->hint > 0 && off >= h->ends[h->hint - 1])
        low = h->hint;
    if (off < h->ends[low])
        high = low;
    else if (low < high && off < h->ends[low + 1])
        low = high = low + 1;
    low += qcbmi_lower_bound_u64(h->ends + low, high - low, sizeof(h->ends[0]), off + 1);
    return h->hint = low;
}

/* Beyond what is remembered: only the answer that came last is kept. */
static int ask(struct qcbmi_holes *h, uint64_t off, struct qcbm_error *err)
{
    int ret = 0;

    if (off < h->last_from || off >= h->last_end) {
        ret = qcbmi_io_extent(h->io, off, &h->is_data, &h->last_end, err);
        h->last_from = ret == 0 ? off : UINT64_MAX;
    }
    return ret;
}

bool qcbmi_holes_cover(struct qcbmi_holes *h, uint64_t off, uint64_t len)
{
    if (off >= h->io->size || ask(h, off, NULL) < 0 || h->is_data)
        return false;
    return u64_min(len, h->io->size - off) <= h->last_end - off;
}

int qcbmi_holes_at(struct qcbmi_holes *h, uint64_t off, bool *is_data, uint64_t *end, struct qcbm_error *err)
{
    int ret = 0;

    while (ret == 0 && off >= known_end(h) && h->asked < MAX_REMEMBERED) {
        ret = qcbmi_io_extent(h->io, known_end(h), is_data, end, err);
        if (ret == 0)
            ret = remember(h, *is_data, *end, err);
    }
    if (ret < 0)
        return ret;
    if (off < known_end(h)) {
        size_t i = find(h, off);

        *is_data = is_data_at(h, i);
        *end = h->ends[i];
        return 0;
    }
    ret = ask(h, off, err);
    *is_data = h->is_data;
    *end = h->last_end;
    return ret;
}

uint64_t qcbmi_holes_known(struct qcbmi_holes *h, uint64_t off)
{
    if (off < known_end(h)) {
        size_t i = find(h, off);

        return is_data_at(h, i) ? off : h->ends[i];
    }
    return off >= h->last_from && off < h->last_end && !h->is_data ? h->last_end : off;
}

/* The bytes of a hole are zeros, however long a hostile file pretends to be. But the answer has the system walk over
 * all data up to the next hole, so nobody is asked before zeros have been read. */
int qcbmi_holes_read(struct qcbmi_holes *h, uint64_t off, void *buf, uint64_t len, bool *zeros, const char *what,
                     struct qcbm_error *err)
{
    uint64_t inside = off < h->io->size ? u64_min(len, h->io->size - off) : 0;

    int ret = 0;

    if (zeros)
        *zeros = inside == 0 || (h->sparse && qcbmi_holes_cover(h, off, inside));
    if (zeros && *zeros)
        return 0;
    memset((uint8_t *)buf + inside, 0, (size_t)(len - inside));
    if (inside)
        ret = qcbmi_io_read(h->io, off, buf, inside, what, err);
    if (ret == 0 && zeros && bytes_are_zero(buf, len))
        h->sparse = *zeros = true;
    return ret;
}
