/* extents_read_plain.c - extents as lines of text, and as bits
 * SPDX-License-Identifier: MIT */
#include <inttypes.h>
#include <string.h>

#include "extents_reader.h"

/* ---- lines, as nbdinfo --map prints them --------------------------------------------------------------- */

static int read_column(struct extents_reader *r, uint64_t *value)
{
    text_in_blanks(&r->text);
    return text_in_u64(&r->text, value);
}

/* What is left of the line must be @want. */
static int read_description(struct extents_reader *r, const char *want)
{
    text_in_blanks(&r->text);
    for (const char *c = want; *c; c++) {
        if (!text_in_take(&r->text, *c))
            return text_in_fail(&r->text, "the extent is not of a dirty bitmap: '%s' is expected", want);
    }
    text_in_blanks(&r->text);
    return text_in_take(&r->text, '\n') ? 0 : text_in_fail_form(&r->text, "a line without end");
}

int extents_read_human(struct extents_reader *r)
{
    while (text_in_peek(&r->text) >= 0) {
        struct qcbm_extent e = { 0 };
        uint64_t type = 0;
        int ret = read_column(r, &e.offset);

        if (ret == 0)
            ret = read_column(r, &e.length);
        if (ret == 0)
            ret = read_column(r, &type);
        if (ret == 0 && type >= N_EXTENT_TYPES)
            ret = text_in_fail(&r->text, "the extent at %" PRIu64 " is not of a dirty bitmap: type %" PRIu64, e.offset,
                               type);
        if (ret == 0)
            ret = read_description(r, extent_descriptions[type]);
        e.dirty = type & 1;
        e.zero = type & 2;
        if (ret == 0)
            ret = extents_reader_give(r, &e);
        if (ret < 0)
            return ret;
    }
    return text_in_end(&r->text);
}

/* ---- a bit for each cluster, the lowest of a byte first ------------------------------------------------ */

struct bits {
    struct extents_reader *r;
    uint64_t n, at; /* bits, read so far */
    uint64_t start; /* of the run of ones that was begun */
    bool dirty;     /* there is one */
};

static int end_run(struct bits *b)
{
    uint64_t cluster = b->r->from->cluster_size, size = b->r->from->size;
    struct qcbm_extent e = { .offset = b->start * cluster, .dirty = true };

    if (!b->dirty)
        return 0;
    b->dirty = false;
    e.length = (b->at == b->n ? size : b->at * cluster) - e.offset;
    return extents_reader_give(b->r, &e);
}

static int add_bit(struct bits *b, bool dirty)
{
    int ret = dirty ? 0 : end_run(b);

    if (dirty && !b->dirty)
        b->start = b->at;
    b->dirty |= dirty;
    b->at++;
    return ret;
}

static int add_byte(struct bits *b, unsigned byte)
{
    uint64_t left = b->n - b->at, n = left < 8 ? left : 8;
    int ret = 0;

    if (byte >> n)
        return text_in_fail(&b->r->text, "bits behind the end of the disk are set");
    for (uint64_t i = 0; ret == 0 && i < n; i++)
        ret = add_bit(b, byte >> i & 1);
    return ret;
}

/* Some writers leave out what fills no byte: nothing is known of that, so it is dirty. */
static int add_tail(struct bits *b)
{
    if (b->at != b->n / 8 * 8 && b->at != b->r->from->size / b->r->from->cluster_size / 8 * 8)
        return text_in_fail(&b->r->text, "bits of %" PRIu64 " clusters, the disk has %" PRIu64, b->at, b->n);
    while (b->at < b->n)
        (void)add_bit(b, true);
    return 0;
}

int extents_read_xen_bits(struct extents_reader *r)
{
    uint64_t cluster = r->from->cluster_size, size = r->from->size;
    struct bits b = { .r = r, .n = size / cluster + (size % cluster > 0) };
    int ret = 0;

    for (; ret == 0 && b.at < b.n && text_in_peek(&r->text) >= 0; text_in_pass(&r->text))
        ret = add_byte(&b, (unsigned)text_in_peek(&r->text));
    if (ret == 0 && b.at < b.n)
        ret = ferror(r->text.in) ? text_in_fail(&r->text, "it ends") : add_tail(&b);
    if (ret == 0)
        ret = end_run(&b);
    if (ret == 0 && text_in_peek(&r->text) >= 0)
        ret = text_in_fail(&r->text, "bits of more clusters than the disk has, %" PRIu64, b.n);
    return ret;
}
