/* picture_guest.c - pictures of a disk: what is allocated or dirty, in which layer it lies, how two of them differ
 * SPDX-License-Identifier: MIT
 *
 * The map of the disk comes run by run; what bitmaps and a second disk say of the same bytes is pulled along. */
#include "picture_guest.h"

#include <stdlib.h>
#include <string.h>

#include "qemu_text.h"

/* With each page of a bitmap's extents the cluster of bits in which it begins is read again: there are half a million
 * in it at most. */
enum { PAGE = 512, BITS_PAGE = 16384, DEPTHS = 6 };

/* ---- kinds ---------------------------------------------------------------------------------------------- */

/* Warm is what is dirty or differs, cool what is not; who sees no red still sees light and dark. */
#define GROUND                                                                                                         \
    {                                                                                                                  \
        0xE9E9E9, 0x2B2B2B                                                                                             \
    }
static const struct picture_kind map_kinds[] = { { "data", "data", 'D', { 0x0062A8, 0x4FA3E3 } },
                                                 { "compressed", "compressed data", 'C', { 0xC9820A, 0xF0B64A } },
                                                 { "zero", "zeros", 'Z', { 0x3FAE9A, 0x1F8A70 } },
                                                 { "none", "nothing: reads as zeros", '.', GROUND } };

static const struct picture_kind dirty_kinds[] = { { "dirty-data", "dirty: data", 'D', { 0x8A2300, 0xE0581A } },
                                                   { "dirty-zero", "dirty: zeros", 'Z', { 0xD87A10, 0xFFC21A } },
                                                   { "dirty-none", "dirty: nothing", 'N', { 0xFFD21A, 0xFFF6D0 } },
                                                   { "data", "clean: data", 'C', { 0x3A5BB5, 0x3F86D0 } },
                                                   { "zero", "clean: zeros", 'O', { 0x6FC3FA, 0x1E3C96 } },
                                                   { "none", "clean: nothing", '.', GROUND } };

#define CLEAN_KINDS                                                                                                    \
    { "data", "in none: data", 'C', { 0x8F8F8F, 0x967878 } },                                                          \
        { "zero", "in none: zeros", 'O', { 0xAABBEE, 0x113355 } },                                                     \
    {                                                                                                                  \
        "none", "in none: nothing", '.', GROUND                                                                        \
    }
static const struct picture_kind two_kinds[] = {
    { "only-first", "dirty in the first only", 'F', { 0xD55E00, 0xFF8A3D } },
    { "only-second", "dirty in the second only", 'S', { 0x0072B2, 0x4FA3E3 } },
    { "both", "dirty in both", 'B', { 0x2A1A3A, 0xF4ECFF } },
    CLEAN_KINDS
};

/* From the rarest to what is in one only: as many of them, from the end, as there are bitmaps. */
static const struct picture_kind many_kinds[] = { { "in-6", "dirty in 6", 'U', { 0x1A0735, 0xA8D2FE } },
                                                  { "in-5", "dirty in 5", 'T', { 0x701733, 0xEEFFE0 } },
                                                  { "in-4", "dirty in 4", 'S', { 0xA01500, 0xFFDE83 } },
                                                  { "in-3", "dirty in 3", 'R', { 0xDB7733, 0xFFB700 } },
                                                  { "in-2", "dirty in 2", 'Q', { 0xFFB001, 0xD36A27 } },
                                                  { "in-1", "dirty in 1", 'P', { 0xE1D296, 0xA5694B } },
                                                  CLEAN_KINDS };

static const struct picture_kind differ_kinds[] = {
    { "only-here", "data here, zeros there", 'H', { 0xD55E00, 0xFF8A3D } },
    { "only-there", "zeros here, data there", 'T', { 0x0072B2, 0x4FA3E3 } },
    { "both", "data in both, perhaps not the same", 'B', { 0x2A1A3A, 0xF4ECFF } },
    { "same-data", "the same data, of one file", 'S', { 0x8F8F8F, 0x967878 } },
    { "same-zero", "zeros in both", '.', GROUND }
};

/* By the layers that there are, with the last ones as one kind. */
#define LAYER(n, label, letter, light, dark)                                                                           \
    {                                                                                                                  \
        "layer-" #n, label, letter,                                                                                    \
        {                                                                                                              \
            light, dark                                                                                                \
        }                                                                                                              \
    }
#define LAYERS_1 LAYER(0, "in the image itself", 'A', 0x62361F, 0xF3EA2C)
#define LAYERS_2 LAYERS_1, LAYER(1, "in layer 1 below it", 'B', 0x451583, 0x83C246)
#define LAYERS_3 LAYERS_2, LAYER(2, "in layer 2", 'C', 0x32657F, 0x19F0BE)
#define LAYERS_4 LAYERS_3, LAYER(3, "in layer 3", 'D', 0x09AC7D, 0x1E8787)
#define LAYERS_5 LAYERS_4, LAYER(4, "in layer 4", 'E', 0x8C8727, 0x4C1FFF)
#define LAYERS_6 LAYERS_5, LAYER(5, "in layer 5 or deeper", 'F', 0xE4CF00, 0x781EB4)
#define NO_LAYER                                                                                                       \
    { "zero", "zeros", 'Z', { 0x9BAAFF, 0x044A7F } },                                                                  \
    {                                                                                                                  \
        "none", "nothing: reads as zeros", '.', GROUND                                                                 \
    }
static const struct picture_kind depth_kinds[DEPTHS][DEPTHS + 2] = {
    { LAYERS_1, NO_LAYER }, { LAYERS_2, NO_LAYER }, { LAYERS_3, NO_LAYER },
    { LAYERS_4, NO_LAYER }, { LAYERS_5, NO_LAYER }, { LAYERS_6, NO_LAYER },
};

static unsigned depths_of(const struct picture_guest *g)
{
    uint32_t n = qcbm_chain_count(g->disk.chain);

    return n < DEPTHS ? n : DEPTHS;
}

#define PLAN(kinds, left_out)                                                                                          \
    (struct picture_plan)                                                                                              \
    {                                                                                                                  \
        (kinds) + (left_out), sizeof(kinds) / sizeof((kinds)[0]) - (left_out)                                          \
    }

struct picture_plan picture_guest_plan(const struct picture_guest *g)
{
    if (g->n_bitmaps > 2)
        return PLAN(many_kinds, PICTURE_MAX_BITMAPS - g->n_bitmaps);
    if (g->n_bitmaps == 2 || (g->n_bitmaps && g->other.chain))
        return PLAN(two_kinds, 0);
    if (g->n_bitmaps)
        return PLAN(dirty_kinds, 0);
    if (g->other.chain)
        return PLAN(differ_kinds, 0);
    if (g->depth)
        return (struct picture_plan){ depth_kinds[depths_of(g) - 1], depths_of(g) + 2 };
    return PLAN(map_kinds, 0);
}

/* ---- which files the layers are ------------------------------------------------------------------------- */

static const char *name_of_layer(struct qcbm_chain *chain, uint32_t depth)
{
    struct qcbm_chain_layer layer;

    return qcbm_chain_get(chain, depth, &layer, sizeof layer, NULL) < 0 ? NULL : layer.filename;
}

/* @more: layers that are of the same kind. */
static char *line_of_layer(struct qcbm_chain *chain, uint32_t depth, uint32_t more)
{
    const char *name = name_of_layer(chain, depth);
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    if (!out)
        return NULL;
    fprintf(out, "layer %u: ", (unsigned)depth);
    if (name)
        print_escaped(out, name, strlen(name));
    if (more)
        fprintf(out, ", and %u below it", (unsigned)more);
    return fclose(out) == 0 ? text : NULL;
}

bool picture_guest_layers(const struct picture_guest *g, struct picture *p)
{
    uint32_t n = g->depth && !g->n_bitmaps && g->disk.img ? qcbm_chain_count(g->disk.chain) : 0;

    p->layers = n ? calloc(n, sizeof(p->layers[0])) : NULL;
    if (n && !p->layers)
        return false;
    for (uint32_t i = 0; i < n; i++) {
        const char *name = name_of_layer(g->disk.chain, i);
        struct picture_layer *l = &p->layers[p->n_layers++];

        l->name = strdup(name ? name : "");
        l->line = i < DEPTHS ? line_of_layer(g->disk.chain, i, i + 1 == DEPTHS ? n - DEPTHS : 0) : NULL;
        if (!l->name || (i < DEPTHS && !l->line))
            return false;
        p->n_lines += l->line != NULL;
    }
    return true;
}

/* ---- what is pulled along ------------------------------------------------------------------------------- */

struct bits {
    struct qcbm_extents *extents;
    struct qcbm_extent page[BITS_PAGE];
    size_t got, at;
    uint64_t next; /* of the disk: where the next page begins */
};

/* What the bitmap says at @pos, which never falls; *@end becomes less where that ends. Behind its disk all is clean. */
static int bits_at(struct bits *b, uint64_t pos, uint64_t *end, bool *dirty, struct qcbm_error *err)
{
    int ret = 0;

    while (b->at < b->got && b->page[b->at].offset + b->page[b->at].length <= pos)
        b->at++;
    if (b->at == b->got && pos < qcbm_extents_size(b->extents)) {
        ret = qcbm_extents_fill(b->extents, pos, b->page, sizeof(b->page[0]), BITS_PAGE, &b->got, &b->next, err);
        b->at = 0;
    }
    *dirty = ret == 0 && b->at < b->got && b->page[b->at].dirty;
    if (ret == 0 && b->at < b->got && b->page[b->at].offset + b->page[b->at].length < *end)
        *end = b->page[b->at].offset + b->page[b->at].length;
    return ret;
}

enum { SAME_UNKNOWN, SAME_YES, SAME_NO };
enum { MAX_LAYERS = 256 }; /* a chain has fewer */

struct job {
    const struct picture_guest *g;
    struct picture_cells *cells;
    struct bits bits[PICTURE_MAX_BITMAPS];
    unsigned n_bits;
    struct qcbm_map_entry page[PAGE]; /* of the other disk */
    size_t got, at;
    uint64_t other_size;
    uint8_t same[MAX_LAYERS][MAX_LAYERS]; /* are layers of both chains the same file? */
    uint64_t size;                        /* of the disk itself */
    int ret;
    struct qcbm_error *err;
};

static uint64_t size_of(const struct picture_disk *d)
{
    struct qcbm_chain_layer top;

    if (!d->chain || qcbm_chain_get(d->chain, 0, &top, sizeof top, NULL) < 0)
        return 0;
    return top.virtual_size & ~UINT64_C(511); /* as QEMU has it */
}

uint64_t picture_guest_size(const struct picture_guest *g)
{
    uint64_t size = size_of(&g->disk), other = size_of(&g->other);

    return size > other ? size : other;
}

/* What the other disk has at @pos; behind its end, nothing. */
static int other_at(struct job *job, uint64_t pos, uint64_t *end, struct qcbm_map_entry *out)
{
    uint64_t next;
    int ret = 0;

    while (job->at < job->got && job->page[job->at].start + job->page[job->at].length <= pos)
        job->at++;
    if (job->at == job->got && pos < job->other_size) {
        ret = qcbm_chain_map_fill(job->g->other.chain, pos, job->page, sizeof(job->page[0]), PAGE, &job->got, &next,
                                  job->err);
        job->at = 0;
    }
    *out = (struct qcbm_map_entry){ .zero = true };
    if (ret == 0 && job->at < job->got)
        *out = job->page[job->at];
    if (out->length && out->start + out->length < *end)
        *end = out->start + out->length;
    return ret;
}

/* ---- from states to kinds ------------------------------------------------------------------------------- */

/* In words of all tables above: 0 data, 1 zeros, 2 nothing. */
static unsigned content_of(const struct qcbm_map_entry *e)
{
    return !e->present ? 2 : e->zero ? 1 : 0;
}

/* What the same layer says of the same bytes is the same. */
static bool is_same_layer(struct job *job, uint32_t here, uint32_t there)
{
    uint8_t *same = here < MAX_LAYERS && there < MAX_LAYERS ? &job->same[here][there] : NULL;
    const char *a, *b;

    if (!same)
        return false;
    if (*same == SAME_UNKNOWN) {
        a = name_of_layer(job->g->disk.chain, here);
        b = name_of_layer(job->g->other.chain, there);
        *same = a && b && qcbm_same_file(a, b) ? SAME_YES : SAME_NO;
    }
    return *same == SAME_YES;
}

static unsigned difference_of(struct job *job, const struct qcbm_map_entry *e, const struct qcbm_map_entry *o)
{
    bool here = content_of(e) == 0, there = content_of(o) == 0;

    if (here && there)
        return is_same_layer(job, e->depth, o->depth) ? 3 : 2;
    return here ? 0 : there ? 1 : 4;
}

static unsigned dirty_kind(const struct job *job, const bool *dirty, const struct qcbm_map_entry *e)
{
    unsigned n = 0;

    for (unsigned i = 0; i < job->n_bits; i++)
        n += dirty[i];
    if (job->n_bits == 1)
        return content_of(e) + (n ? 0 : 3);
    if (n == 0)
        return (job->n_bits == 2 ? 3 : job->n_bits) + content_of(e);
    return job->n_bits > 2 ? job->n_bits - n : n == 2 ? 2 : dirty[0] ? 0 : 1;
}

static unsigned plain_kind(const struct job *job, const struct qcbm_map_entry *e)
{
    unsigned content = content_of(e);

    if (job->g->depth && content == 0)
        return e->depth < DEPTHS ? e->depth : DEPTHS - 1;
    if (job->g->depth)
        return depths_of(job->g) - 1 + content;
    return content == 0 ? e->compressed : content + 1;
}

/* Of the bytes of @e from @pos on; *@end: as far as all say the same. */
static int kind_at(struct job *job, const struct qcbm_map_entry *e, uint64_t pos, uint64_t *end, unsigned *kind)
{
    bool dirty[PICTURE_MAX_BITMAPS] = { false };
    struct qcbm_map_entry other;
    int ret = 0;

    for (unsigned i = 0; ret == 0 && i < job->n_bits; i++)
        ret = bits_at(&job->bits[i], pos, end, &dirty[i], job->err);
    if (ret < 0)
        return ret;
    if (job->n_bits) {
        *kind = dirty_kind(job, dirty, e);
    } else if (job->g->other.chain) {
        ret = other_at(job, pos, end, &other);
        *kind = ret < 0 ? 0 : difference_of(job, e, &other);
    } else {
        *kind = plain_kind(job, e);
    }
    return ret;
}

static int count_entry(void *opaque, const struct qcbm_map_entry *e)
{
    struct job *job = opaque;
    const struct qcbm_progress *progress = job->g->progress;
    uint64_t pos = e->start, stop = e->start + e->length;

    while (pos < stop) {
        uint64_t end = stop;
        unsigned kind;

        job->ret = kind_at(job, e, pos, &end, &kind);
        if (job->ret < 0)
            return 1;
        picture_cells_add(job->cells, kind, pos, end - pos);
        pos = end;
    }
    return progress && progress->fn ? progress->fn(progress->opaque, stop, job->cells->size) : 0;
}

static int open_bits(struct job *job, struct qcbm_image *img, const char *name)
{
    struct qcbm_extents_options options = QCBM_EXTENTS_OPTIONS_INIT;
    int ret;

    options.flags = job->g->extents_flags | (job->g->depth ? QCBM_EXTENTS_CHAIN : 0);
    ret = qcbm_extents_open(img, name, &options, &job->bits[job->n_bits].extents, job->err);
    job->n_bits += ret == 0;
    return ret;
}

static int open_all_bits(struct job *job, const char **of)
{
    int ret = 0;

    for (unsigned i = 0; ret == 0 && i < job->g->n_bitmaps; i++) {
        *of = job->g->bitmaps[i];
        ret = open_bits(job, job->g->disk.img, *of);
    }
    if (ret == 0 && job->g->n_bitmaps && job->g->other.chain)
        ret = open_bits(job, job->g->other.img, *of);
    return ret;
}

/* The rest of the other disk, where it is larger. */
static int count_rest(struct job *job)
{
    struct qcbm_map_entry rest = { .start = job->size, .length = job->cells->size - job->size, .zero = true };

    if (rest.length)
        count_entry(job, &rest);
    return job->ret;
}

int picture_guest_count(const struct picture_guest *g, struct picture_cells *cells, const char **of,
                        struct qcbm_error *err)
{
    static struct job job; /* too large for a stack */
    int ret;

    memset(&job, 0, sizeof job);
    job.g = g;
    job.cells = cells;
    job.err = err;
    job.size = size_of(&g->disk);
    job.other_size = size_of(&g->other);
    ret = open_all_bits(&job, of);
    if (ret == 0) {
        *of = NULL;
        ret = qcbm_chain_map(g->disk.chain, 0, job.size, count_entry, &job, err);
        ret = job.ret < 0 ? job.ret : ret;
    }
    if (ret == 0)
        ret = count_rest(&job);
    for (unsigned i = 0; i < job.n_bits; i++)
        qcbm_extents_close(job.bits[i].extents);
    return ret;
}
