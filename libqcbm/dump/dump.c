/* dump.c - structures as they lie on the disk, of images that nothing else opens: open, and which part
 * SPDX-License-Identifier: MIT */
#include "dump/dump.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "format/q2_limits.h"
#include "io/open.h"

int qcbmi_dump_begin(struct qcbm_dump *d, struct qcbm_error *err)
{
    int ret = qcbmi_io_read(&d->io, 0, d->head, u64_min(d->io.size, sizeof(d->head)), "header", err);

    q2_header_load(d->head, sizeof(d->head), &d->h);
    d->no_geometry = q2_geometry_guess(&d->h, &d->g);
    return ret;
}

void qcbmi_dump_end(struct qcbm_dump *d)
{
    qcbmi_window_free(&d->window);
    qcbmi_window_free(&d->window2);
}

/* Takes over @io. It only looks, so the locks are those of info. */
static int dump_on(struct qcbmi_io *io, unsigned flags, struct qcbm_dump **out, struct qcbm_error *err)
{
    struct qcbm_dump *d = qcbmi_alloc_array(1, sizeof(*d), err);
    int ret;

    *out = NULL;
    if (!d) {
        qcbmi_io_close(io);
        return QCBM_E_NOMEM;
    }
    d->io = *io;
    ret = qcbmi_lock(&d->io, (flags & (QCBM_OPEN_FORCE_SHARE | QCBM_OPEN_NO_LOCK)) | QCBM_OPEN_INFO, err);
    if (ret == 0)
        ret = qcbmi_io_refresh_size(&d->io, err);
    if (ret == 0)
        ret = qcbmi_dump_begin(d, err);
    if (ret < 0) {
        qcbm_dump_close(d);
        return ret;
    }
    *out = d;
    return 0;
}

int qcbm_dump_open(const char *path, unsigned flags, struct qcbm_dump **out, struct qcbm_error *err)
{
    struct qcbmi_io io;
    int ret = qcbmi_open(&io, path, false, err);

    *out = NULL;
    return ret < 0 ? ret : dump_on(&io, flags, out, err);
}

int qcbm_dump_open_io(const struct qcbm_io_ops *ops, void *self, unsigned flags, struct qcbm_dump **out,
                      struct qcbm_error *err)
{
    struct qcbmi_io io;
    int ret = qcbmi_io_init(&io, ops, self, false, err);

    *out = NULL;
    return ret < 0 ? ret : dump_on(&io, flags, out, err);
}

void qcbm_dump_close(struct qcbm_dump *d)
{
    if (!d)
        return;
    qcbmi_dump_end(d);
    qcbmi_io_close(&d->io);
    free(d);
}

int qcbm_dump_part(struct qcbm_dump *d, enum qcbm_dump_kind part, uint64_t first, uint64_t last, qcbm_dump_fn *fn,
                   void *opaque, const struct qcbm_progress *progress, struct qcbm_error *err)
{
    d->fn = fn;
    d->opaque = opaque;
    d->budget = d->io.size + (1 << 20);
    d->n_shared = 0;
    d->progress = (struct qcbmi_progress){ .to = progress };
    if (part == QCBM_DUMP_HEADER)
        return qcbmi_dump_header(d, err);
    if (part == QCBM_DUMP_EXTENSIONS)
        return qcbmi_dump_extensions(d, err);
    if (part == QCBM_DUMP_SNAPSHOTS)
        return qcbmi_dump_snapshots(d, first, last, err);
    if (d->no_geometry)
        return qcbmi_fail(err, QCBM_E_CORRUPT, Q2_OFF_CLUSTER_BITS, "%s", d->no_geometry);
    switch (part) {
    case QCBM_DUMP_L1:
        return qcbmi_dump_l1(d, first, last, err);
    case QCBM_DUMP_L2:
        return qcbmi_dump_l2(d, first, last, err);
    case QCBM_DUMP_REFCOUNTS:
        return qcbmi_dump_refcounts(d, first, last, err);
    case QCBM_DUMP_BITMAPS:
        return qcbmi_dump_bitmaps(d, first, last, err);
    default:
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "no such part");
    }
}
