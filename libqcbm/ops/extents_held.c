/* extents_held.c - what the layers above a base hold, piece by piece
 * SPDX-License-Identifier: MIT */
#include "ops/extents_held.h"

#include "base/checked.h"

/* A layer that is shorter than the top hides what longer layers below it have: the guest reads zeros there, though no
 * table says so. Asked from below, ranges end ever later: what one more touches is at the end of the list. */
static void note_hidden(struct qcbmi_held *h, uint64_t start, uint64_t end)
{
    if (start >= end)
        return;
    while (h->n_hidden && h->hidden[h->n_hidden - 1].end >= start)
        start = u64_min(start, h->hidden[--h->n_hidden].start);
    h->hidden[h->n_hidden++] = (struct qcbmi_hidden){ start, end };
}

static void find_hidden(struct qcbmi_held *h, const struct qcbmi_chain *chain, size_t n_above)
{
    uint64_t longest_below = 0, top = chain->layers[0].size;

    for (size_t i = u64_min(chain->n, n_above + 1); i-- > 1;) {
        uint64_t size = chain->layers[i].size;

        if (i < n_above)
            note_hidden(h, align_down(size, Q2_SECTOR), u64_min(top, longest_below));
        longest_below = u64_max(longest_below, size);
    }
}

int qcbmi_held_begin(struct qcbmi_held *h, const struct qcbmi_chain *chain, size_t n_above, struct qcbm_error *err)
{
    h->above = (struct qcbmi_chain){ .layers = chain->layers, .n = n_above };
    h->n_hidden = 0;
    find_hidden(h, chain, n_above);
    return qcbmi_guest_map_init(&h->map, &h->above, QCBMI_GUEST_ALL | QCBMI_GUEST_STRICT, err);
}

void qcbmi_held_free(struct qcbmi_held *h)
{
    qcbmi_guest_map_free(&h->map);
}

/* The first of them that ends behind @guest, or NULL. */
static const struct qcbmi_hidden *hidden_at(const struct qcbmi_held *h, uint64_t guest)
{
    size_t low = 0, high = h->n_hidden;

    while (low < high) {
        size_t middle = (low + high) / 2;

        if (h->hidden[middle].end <= guest)
            low = middle + 1;
        else
            high = middle;
    }
    return low < h->n_hidden ? &h->hidden[low] : NULL;
}

int qcbmi_held_at(struct qcbmi_held *h, uint64_t guest, struct qcbmi_held_piece *out, struct qcbm_error *err)
{
    const struct qcbmi_hidden *hidden = hidden_at(h, guest);
    struct qcbmi_guest_piece p;
    int ret = qcbmi_guest_map_at(&h->map, guest, &p, err);

    if (ret == 0 && p.kind == Q2_INVALID)
        ret = qcbmi_guest_map_fail(&h->map, &p, err);
    if (ret < 0)
        return ret;
    *out = (struct qcbmi_held_piece){ .end = p.end, .held = q2_kind_is_allocated(p.kind) || p.doubtful };
    out->zero = out->held && qcbmi_guest_piece_is_zero(&p);
    /* QEMU maps every cluster of a raw data file, so where no entry says so the image is not as QEMU makes it. */
    out->held |= h->above.layers[p.layer].img && h->above.layers[p.layer].img->g.raw_data_file;
    if (out->held || !hidden || hidden->start >= p.end)
        return 0;
    out->held = out->zero = guest >= hidden->start;
    out->end = out->held ? u64_min(p.end, hidden->end) : hidden->start;
    return 0;
}
