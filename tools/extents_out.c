/* extents_out.c - extents, as nbdinfo --map prints them
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "extents_out.h"

#define COLUMN 10
#define FIRST_PAGE 64   /* extents; each further one has twice as many, since few may be asked for, */
#define LAST_PAGE 16384 /* and where a page begins the bits around it are read again */
#define TAIL_BYTES 64   /* the words are fewer */

static struct text_out text;

/* What follows the length, by type; an extent copies it. */
static struct tail {
    size_t len;
    char bytes[TAIL_BYTES];
} tails[N_EXTENT_TYPES];

static void word_tails(bool json)
{
    for (unsigned i = 0; i < N_EXTENT_TYPES; i++)
        tails[i].len = (size_t)snprintf(tails[i].bytes, TAIL_BYTES,
                                        json ? ", \"type\": %u, \"description\": \"%s\"}" : "  %3u  %s\n", i,
                                        extent_descriptions[i]);
}

static char *put_tail(char *at, unsigned type)
{
    memcpy(at, tails[type].bytes, TAIL_BYTES); /* of known size; what is behind its end is written over */
    return at + tails[type].len;
}

static int print_extent(void *opaque, const struct qcbm_extent *extent)
{
    struct extents_out *p = opaque;
    unsigned type = (extent->dirty ? 1u : 0) | (extent->zero ? 2u : 0);
    char *at = text_room(&text);

    if (p->json) {
        at = p->printed ? text_literal(at, ",\n{ \"offset\": ") : text_literal(at, "[\n{ \"offset\": ");
        at = text_u64_after(at, extent->offset, &p->offsets);
        at = text_u64(text_literal(at, ", \"length\": "), extent->length);
    } else {
        at = text_literal(text_u64_right(at, extent->offset, COLUMN), "  ");
        at = text_u64_right(at, extent->length, COLUMN);
    }
    text_end(&text, put_tail(at, type));
    p->printed++;
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
