/* chain_api.c - the backing chain layer by layer
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>

#include "api/chain_handle.h"
#include "base/alloc.h"
#include "base/checked.h"
#include "base/sized.h"
#include "bitmap/bitmap_list.h"
#include "image/chain.h"
#include "io/open.h"
#include "ops/map.h"
#include "ops/measure.h"

void qcbm_chain_close(struct qcbm_chain *chain)
{
    if (!chain)
        return;
    qcbmi_handle_clear(&chain->lower);
    qcbmi_guest_map_free(&chain->map);
    qcbmi_chain_close(&chain->chain);
    free(chain);
}

static int open_chain(struct qcbm_image *img, bool partial, struct qcbm_chain **out, struct qcbm_error *err)
{
    struct qcbmi_chain_options options = { .force_share = img->image->open_flags & QCBM_OPEN_FORCE_SHARE };
    struct qcbm_chain *chain = qcbmi_alloc_array(1, sizeof(*chain), err);
    int ret;

    *out = NULL;
    if (!chain)
        return QCBM_E_NOMEM;
    chain->top = img;
    ret = qcbmi_chain_open(img->image, &options, &chain->chain, err);
    if (partial && ret < 0 && ret != QCBM_E_NOMEM)
        ret = 1;
    if (ret < 0) {
        qcbm_chain_close(chain);
        return ret;
    }
    *out = chain;
    return ret;
}

int qcbm_chain_open(struct qcbm_image *img, struct qcbm_chain **out, struct qcbm_error *err)
{
    return open_chain(img, false, out, err);
}

int qcbm_chain_open_partial(struct qcbm_image *img, struct qcbm_chain **out, struct qcbm_error *err)
{
    return open_chain(img, true, out, err);
}

/* Takes @io over, on failure too. */
static int open_raw(struct qcbmi_io *io, const char *name, unsigned flags, struct qcbm_chain **out,
                    struct qcbm_error *err)
{
    struct qcbm_chain *chain = NULL;
    int ret = 0;

    if (flags & QCBM_OPEN_WRITE)
        ret = qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "a raw file is opened for reading only");
    else if ((chain = qcbmi_alloc_array(1, sizeof(*chain), err)) == NULL)
        ret = QCBM_E_NOMEM;
    if (ret < 0) {
        qcbmi_io_close(io);
        return ret;
    }
    ret = qcbmi_chain_take_raw(io, name, flags, &chain->chain, err);
    if (ret < 0) {
        qcbm_chain_close(chain);
        return ret;
    }
    *out = chain;
    return 0;
}

int qcbm_chain_open_raw(const char *path, unsigned flags, struct qcbm_chain **out, struct qcbm_error *err)
{
    struct qcbmi_io io;
    int ret = qcbmi_open(&io, path, false, err);

    *out = NULL;
    return ret < 0 ? ret : open_raw(&io, path, flags, out, err);
}

int qcbm_chain_open_raw_io(const struct qcbm_io_ops *ops, void *self, const char *name, unsigned flags,
                           struct qcbm_chain **out, struct qcbm_error *err)
{
    struct qcbmi_io io;
    int ret = qcbmi_io_init(&io, ops, self, false, err);

    *out = NULL;
    return ret < 0 ? ret : open_raw(&io, name ? name : "", flags, out, err);
}

uint32_t qcbm_chain_count(const struct qcbm_chain *chain)
{
    return (uint32_t)chain->chain.n;
}

/* A directory can be large: that of one layer at a time is in memory. */
static int handle_of(struct qcbm_chain *chain, const struct qcbmi_layer *l, struct qcbm_image **out,
                     struct qcbm_error *err)
{
    *out = l->img ? &chain->lower : NULL;
    qcbmi_handle_clear(&chain->lower);
    if (chain->top && l->img == chain->top->image)
        *out = chain->top;
    if (*out != &chain->lower)
        return 0;
    chain->lower.image = l->img;
    return qcbmi_bitmap_list_load(&chain->lower, err);
}

int qcbm_chain_get(struct qcbm_chain *chain, uint32_t index, struct qcbm_chain_layer *out, size_t size,
                   struct qcbm_error *err)
{
    struct qcbm_chain_layer layer = { 0 };
    struct qcbmi_layer *l;
    struct qcbmi_io *io;
    uint64_t available;
    int ret = qcbmi_check_size(size, err);

    if (ret == 0 && index >= chain->chain.n)
        ret = qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "the chain has no layer %" PRIu32, index);
    if (ret < 0)
        return ret;
    l = &chain->chain.layers[index];
    io = l->img ? &l->img->io : &l->raw;
    ret = handle_of(chain, l, &layer.image, err);
    if (ret < 0)
        return ret;
    layer.filename = l->filename;
    layer.format = l->img ? "qcow2" : "raw";
    layer.virtual_size = l->size;
    layer.file_size = io->size;
    if (qcbmi_io_space(io, &available, &layer.disk_size, NULL) < 0)
        layer.disk_size = QCBM_NO_OFFSET;
    layer.is_device = io->traits.is_device;
    layer.extent_size_hint = io->traits.extent_size_hint;
    qcbmi_give(out, size, &layer, sizeof(layer));
    return 0;
}

int qcbm_chain_map(struct qcbm_chain *chain, uint64_t start, uint64_t length, qcbm_map_fn *fn, void *opaque,
                   struct qcbm_error *err)
{
    return qcbmi_map_chain(chain->top, &chain->chain, start, length, fn, opaque, err);
}

int qcbm_chain_map_fill(struct qcbm_chain *chain, uint64_t from, struct qcbm_map_entry *array, size_t elem_size,
                        size_t n, size_t *got, uint64_t *next, struct qcbm_error *err)
{
    struct qcbmi_page page;
    int ret = qcbmi_page_begin(&page, array, elem_size, n, from, err);

    *got = 0;
    *next = from;
    if (ret == 0 && !chain->has_map) {
        ret = qcbmi_map_begin(&chain->map, &chain->chain, err);
        chain->has_map = ret == 0;
        if (ret < 0)
            qcbmi_guest_map_free(&chain->map);
    }
    if (ret == 0)
        ret = qcbmi_map_fill(&chain->map, from, &page, err);
    *got = page.got;
    *next = page.next;
    return ret;
}

int qcbm_chain_measure(struct qcbm_chain *chain, const struct qcbm_measure_options *options, struct qcbm_measure *out,
                       size_t out_size, struct qcbm_error *err)
{
    return qcbmi_measure_chain(chain->top, &chain->chain, options, out, out_size, err);
}
