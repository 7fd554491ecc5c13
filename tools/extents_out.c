/* extents_out.c - extents, as nbdinfo --map prints them
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "extents_out.h"

#define COLUMN 10
#define FIRST_PAGE 64   /* extents; each further one has twice as many, since few may be asked for, */
#define LAST_PAGE 16384 /* and where a page begins the bits around it are read again */
#define TAIL_BYTES 112  /* of a line, behind its offset */

static struct text_out text;

/* What follows the offset, of the last extent of each type: many are as long as the one before. */
static struct tail {
    uint64_t length; /* 0: none so far */
    size_t len, words_len;
    char bytes[TAIL_BYTES];
    char words[TAIL_BYTES / 2]; /* what follows the length */
} tails[N_EXTENT_TYPES];

static void word_tails(bool json)
{
    for (unsigned i = 0; i < N_EXTENT_TYPES; i++) {
        tails[i].length = 0;
        tails[i].words_len = (size_t)snprintf(tails[i].words, sizeof(tails[i].words),
                                              json ? ", \"type\": %u, \"description\": \"%s\"}" : "  %3u  %s\n", i,
                                              extent_descriptions[i]);
    }
}

static void make_tail(struct tail *tail, uint64_t length, bool json)
{
    char *at = tail->bytes;

    at = json ? text_u64(text_literal(at, ", \"length\": "), length)
              : text_u64_right(text_literal(at, "  "), length, COLUMN);
    memcpy(at, tail->words, sizeof(tail->words)); /* of known size; what is behind its end counts for nothing */
    tail->len = (size_t)(at - tail->bytes) + tail->words_len;
    tail->length = length;
}

static char *put_tail(char *at, const struct extents_out *to, unsigned type, uint64_t length)
{
    struct tail *tail = &tails[type];

    if (tail->length != length)
        make_tail(tail, length, to->json);
    memcpy(at, tail->bytes, TAIL_BYTES);
    return at + tail->len;
}

static int print_extent(void *opaque, const struct qcbm_extent *extent)
{
    struct extents_out *p = opaque;
    unsigned type = (extent->dirty ? 1u : 0) | (extent->zero ? 2u : 0);
    char *at = text_room(&text);

    if (p->json) {
        at = p->printed ? text_literal(at, ",\n{ \"offset\": ") : text_literal(at, "[\n{ \"offset\": ");
        at = text_u64_after(at, extent->offset, &p->offsets);
    } else {
        at = text_u64_right(at, extent->offset, COLUMN);
    }
    text_end(&text, put_tail(at, p, type, extent->length));
    p->printed++;
    if (p->progress.wanted)
        progress_show(&p->progress, extent->offset + extent->length, p->size);
    return text.lost || p->printed == p->limit;
}

static void begin(struct extents_out *to, struct qcbm_image *img)
{
    struct qcbm_image_info info;

    qcbm_image_get_info(img, &info, sizeof info);
    to->size = info.virtual_size;
    text_begin(&text, to->out);
    word_tails(to->json);
}

/* @ret: what the walk returned. */
static int end(struct extents_out *to, int ret)
{
    if (ret == QCBM_E_ABORTED && !text.lost)
        ret = 0; /* as many as were asked for */
    progress_end(&to->progress, ret == 0);
    if (ret == 0 && to->json)
        text_put(&text, to->printed ? "\n]\n" : "[\n]\n", 4 - (to->printed > 0));
    if (ret == 0 && text_flush(&text))
        ret = QCBM_E_ABORTED;
    to->lost = text.lost;
    return ret;
}

int extents_print(struct extents_out *to, struct qcbm_image *img, const char *name, struct qcbm_error *err)
{
    struct qcbm_extents_options options = QCBM_EXTENTS_OPTIONS_INIT;

    options.flags = to->flags;
    options.offset = to->offset;
    begin(to, img);
    return end(to, qcbm_bitmap_extents_of(img, name, &options, print_extent, to, err));
}

int extents_each(struct qcbm_extents *from, uint64_t offset, qcbm_extent_fn *fn, void *opaque, struct qcbm_error *err)
{
    static struct qcbm_extent page[LAST_PAGE];
    size_t got;

    for (size_t n = FIRST_PAGE;; n = n < LAST_PAGE ? 2 * n : n) {
        int ret = qcbm_extents_fill(from, offset, page, sizeof *page, n, &got, &offset, err);

        if (ret < 0)
            return ret;
        for (size_t i = 0; i < got; i++) {
            if (fn(opaque, &page[i]))
                return 0;
        }
        if (got == 0)
            return 0;
    }
}

int extents_print_of(struct extents_out *to, struct qcbm_image *img, struct qcbm_extents *from, struct qcbm_error *err)
{
    begin(to, img);
    return end(to, extents_each(from, to->offset, print_extent, to, err));
}
