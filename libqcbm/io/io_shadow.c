/* io_shadow.c - a backend over another one, whose writes stay in memory: what a file would be
 * SPDX-License-Identifier: MIT */
#include "io/io_shadow.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"

#define PAGE 4096u
#define BITS 6u   /* of a page's index, for each level of the tree */
#define LEVELS 9u /* which is enough for files of 2^63 bytes */

struct page {
    uint64_t index; /* of the file, in pages */
    uint8_t bytes[PAGE];
};

/* Of the tree in which the pages are found by their index, so that one more costs the same wherever it lies. */
struct node {
    uint64_t used; /* a bit for each child that is there */
    void *child[1u << BITS];
};

struct qcbmi_shadow {
    struct qcbmi_io *below;
    uint64_t size, max;
    uint64_t held;    /* bytes of memory for pages and nodes */
    uint64_t n;       /* pages that were written to */
    struct node root; /* its children are those of level LEVELS - 1; on level 0 they are pages */
};

int qcbmi_shadow_new(struct qcbmi_io *below, uint64_t max, struct qcbmi_shadow **out, struct qcbm_error *err)
{
    *out = qcbmi_alloc_array(1, sizeof(**out), err);
    if (!*out)
        return QCBM_E_NOMEM;
    (*out)->below = below;
    (*out)->size = below->size;
    (*out)->max = max;
    return 0;
}

static unsigned child_of(uint64_t index, unsigned level)
{
    return (unsigned)(index >> BITS * level) & ((1u << BITS) - 1);
}

/* The first page at @index or behind it; NULL if there is none. */
static struct page *find_in(const struct node *node, unsigned level, uint64_t index)
{
    unsigned at = child_of(index, level);

    for (uint64_t left = node->used & (UINT64_MAX << at); left; left &= left - 1) {
        unsigned i = (unsigned)__builtin_ctzll(left);
        struct page *page = level ? find_in(node->child[i], level - 1, i == at ? index : 0) : node->child[i];

        if (page)
            return page;
    }
    return NULL;
}

static struct page *find(const struct qcbmi_shadow *s, uint64_t index)
{
    return find_in(&s->root, LEVELS - 1, index);
}

/* What is below; behind its end are zeros. */
static int read_below(struct qcbmi_shadow *s, uint64_t off, uint8_t *to, uint64_t len, struct qcbm_error *err)
{
    uint64_t there = off < s->below->size ? u64_min(len, s->below->size - off) : 0;

    memset(to + there, 0, (size_t)(len - there));
    return there ? qcbmi_io_read(s->below, off, to, there, "image", err) : 0;
}

static int shadow_read_at(void *self, uint64_t off, void *buf, size_t len, struct qcbm_error *err)
{
    struct qcbmi_shadow *s = self;
    int ret = read_below(s, off, buf, len, err);

    for (const struct page *p = find(s, off / PAGE); ret == 0 && p && p->index * PAGE < off + len;
         p = find(s, p->index + 1)) {
        uint64_t at = p->index * PAGE, from = u64_max(at, off), end = u64_min(at + PAGE, off + len);

        memcpy((uint8_t *)buf + (from - off), p->bytes + (from - at), (size_t)(end - from));
    }
    return ret;
}

/* Memory for a page or a node; NULL: there is no more. */
static void *take(struct qcbmi_shadow *s, size_t size, uint64_t off, int *ret, struct qcbm_error *err)
{
    void *taken = NULL;

    if (s->held + size > s->max)
        *ret = qcbmi_fail(err, QCBM_E_LIMIT, off, "more would change than is held in memory for a look at it");
    else
        taken = qcbmi_alloc_array(1, size, err);
    if (taken)
        s->held += size;
    else if (*ret == 0)
        *ret = QCBM_E_NOMEM;
    return taken;
}

static int add_page(struct qcbmi_shadow *s, struct node *leaf, uint64_t index, struct page **out,
                    struct qcbm_error *err)
{
    int ret = 0;

    *out = take(s, sizeof(**out), index * PAGE, &ret, err);
    if (!*out)
        return ret;
    (*out)->index = index;
    leaf->child[child_of(index, 0)] = *out;
    leaf->used |= UINT64_C(1) << child_of(index, 0);
    s->n++;
    return read_below(s, index * PAGE, (*out)->bytes, PAGE, err);
}

/* The page @index, which is there from now on with what it reads as. */
static int take_page(struct qcbmi_shadow *s, uint64_t index, struct page **out, struct qcbm_error *err)
{
    struct node *node = &s->root;
    int ret = 0;

    for (unsigned level = LEVELS - 1; level > 0; level--) {
        unsigned i = child_of(index, level);

        if (!node->child[i])
            node->child[i] = take(s, sizeof(*node), index * PAGE, &ret, err);
        if (!node->child[i])
            return ret;
        node->used |= UINT64_C(1) << i;
        node = node->child[i];
    }
    *out = node->child[child_of(index, 0)];
    return *out ? 0 : add_page(s, node, index, out, err);
}

static int shadow_write_at(void *self, uint64_t off, const void *buf, size_t len, struct qcbm_error *err)
{
    struct qcbmi_shadow *s = self;
    int ret = 0;

    for (uint64_t done = 0, n; ret == 0 && done < len; done += n) {
        uint64_t in_page = (off + done) % PAGE;
        struct page *page = NULL;

        n = u64_min(PAGE - in_page, len - done);
        ret = take_page(s, (off + done) / PAGE, &page, err);
        if (ret == 0)
            memcpy(page->bytes + in_page, (const uint8_t *)buf + done, (size_t)n);
    }
    if (ret == 0)
        s->size = u64_max(s->size, off + len);
    return ret;
}

static int shadow_flush(void *self, struct qcbm_error *err)
{
    (void)self, (void)err;
    return 0;
}

static int shadow_size(void *self, uint64_t *len_bytes, struct qcbm_error *err)
{
    (void)err;
    *len_bytes = ((struct qcbmi_shadow *)self)->size;
    return 0;
}

static int shadow_grow(void *self, uint64_t len_bytes, struct qcbm_error *err)
{
    struct qcbmi_shadow *s = self;

    (void)err;
    s->size = u64_max(s->size, len_bytes);
    return 0;
}

static int shadow_space(void *self, uint64_t *available, uint64_t *allocated, struct qcbm_error *err)
{
    const struct qcbmi_shadow *s = self;
    int ret = qcbmi_io_space(s->below, available, allocated, err);

    if (ret == 0 && *allocated != UINT64_MAX && *allocated)
        *allocated += s->n * PAGE;
    return ret;
}

/* What was written counts as data, page by page. */
static int shadow_extent(void *self, uint64_t off, bool *is_data, uint64_t *end, struct qcbm_error *err)
{
    struct qcbmi_shadow *s = self;
    const struct page *page = find(s, off / PAGE);
    uint64_t next = page ? page->index * PAGE : UINT64_MAX;
    int ret;

    if (next <= off) {
        *is_data = true;
        *end = next + PAGE;
        return 0;
    }
    ret = qcbmi_io_extent(s->below, off, is_data, end, err);
    *end = u64_min(*end, next);
    return ret;
}

static void free_children(struct node *node, unsigned level)
{
    for (uint64_t left = node->used; left; left &= left - 1) {
        void *child = node->child[__builtin_ctzll(left)];

        if (level)
            free_children(child, level - 1);
        free(child);
    }
}

static void shadow_close(void *self)
{
    struct qcbmi_shadow *s = self;

    free_children(&s->root, LEVELS - 1);
    free(s);
}

const struct qcbm_io_ops *qcbmi_shadow_ops(void)
{
    static const struct qcbm_io_ops ops = {
        .struct_size = sizeof(ops),
        .read_at = shadow_read_at,
        .write_at = shadow_write_at,
        .flush = shadow_flush,
        .size = shadow_size,
        .grow = shadow_grow,
        .space = shadow_space,
        .extent = shadow_extent,
        .close = shadow_close,
    };

    return &ops;
}
