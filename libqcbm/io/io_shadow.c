/* io_shadow.c - a backend over another one, whose writes stay in memory: what a file would be
 * SPDX-License-Identifier: MIT */
#include "io/io_shadow.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"
#include "base/sort.h"

#define PAGE 4096u

struct page {
    uint64_t index; /* of the file, in pages */
    uint8_t bytes[PAGE];
};

struct qcbmi_shadow {
    struct qcbmi_io *below;
    uint64_t size;
    struct page **pages; /* that were written to, by index */
    size_t n, capacity;
};

int qcbmi_shadow_new(struct qcbmi_io *below, struct qcbmi_shadow **out, struct qcbm_error *err)
{
    *out = qcbmi_alloc_array(1, sizeof(**out), err);
    if (!*out)
        return QCBM_E_NOMEM;
    **out = (struct qcbmi_shadow){ .below = below, .size = below->size };
    return 0;
}

static bool before_index(const void *elem, const void *index)
{
    return (*(struct page *const *)elem)->index < *(const uint64_t *)index;
}

/* The first page at @index or behind it; n if there is none. */
static size_t find(const struct qcbmi_shadow *s, uint64_t index)
{
    return qcbmi_lower_bound(s->pages, s->n, sizeof(s->pages[0]), before_index, &index);
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

    for (size_t i = find(s, off / PAGE); ret == 0 && i < s->n && s->pages[i]->index * PAGE < off + len; i++) {
        uint64_t at = s->pages[i]->index * PAGE;
        uint64_t from = u64_max(at, off), end = u64_min(at + PAGE, off + len);

        memcpy((uint8_t *)buf + (from - off), s->pages[i]->bytes + (from - at), (size_t)(end - from));
    }
    return ret;
}

/* The page @index, which is there from now on with what it reads as. */
static int take_page(struct qcbmi_shadow *s, uint64_t index, struct page **out, struct qcbm_error *err)
{
    size_t i = find(s, index);
    int ret;

    *out = i < s->n ? s->pages[i] : NULL;
    if (*out && (*out)->index == index)
        return 0;
    if (s->n >= QCBMI_SHADOW_MAX / PAGE)
        return qcbmi_fail(err, QCBM_E_LIMIT, index * PAGE, "more would change than is held in memory for a look at it");
    if (qcbmi_grow_array(&s->pages, &s->capacity, s->n, sizeof(s->pages[0]), err) < 0)
        return QCBM_E_NOMEM;
    *out = qcbmi_alloc_array(1, sizeof(**out), err);
    ret = *out ? read_below(s, index * PAGE, (*out)->bytes, PAGE, err) : QCBM_E_NOMEM;
    if (ret < 0) {
        free(*out);
        return ret;
    }
    (*out)->index = index;
    memmove(s->pages + i + 1, s->pages + i, (s->n++ - i) * sizeof(s->pages[0]));
    s->pages[i] = *out;
    return 0;
}

static int shadow_write_at(void *self, uint64_t off, const void *buf, size_t len, struct qcbm_error *err)
{
    struct qcbmi_shadow *s = self;
    int ret = 0;

    for (uint64_t done = 0, n; ret == 0 && done < len; done += n) {
        uint64_t in_page = (off + done) % PAGE;
        struct page *page;

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
    size_t i = find(s, off / PAGE);
    uint64_t next = i < s->n ? s->pages[i]->index * PAGE : UINT64_MAX;
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

static void shadow_close(void *self)
{
    struct qcbmi_shadow *s = self;

    for (size_t i = 0; i < s->n; i++)
        free(s->pages[i]);
    free(s->pages);
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
