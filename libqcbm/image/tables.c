/* tables.c - reading the mapping tables: the active L1, and many L2 tables in file order
 * SPDX-License-Identifier: MIT */
#include "image/tables.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/sort.h"

#define READ_PIECE (UINT64_C(1) << 20) /* bytes in one read of neighbouring L2 tables */
#define READ_GAP (UINT64_C(64) << 10)  /* bytes that are cheaper to read than to skip */

int qcbmi_l1_load(struct qcbmi_image *img, struct qcbm_error *err)
{
    uint64_t bytes = img->g.l1_used * 8;
    uint8_t *l1;
    int ret;

    if (img->l1)
        return 0;
    /* The header check bounds l1_used by l1_entries, and those by 32 MiB; the file bounds it once more. */
    if (!range_fits(img->h.l1_offset, bytes, img->io.size))
        return qcbmi_fail(err, QCBM_E_CORRUPT, 40,
                          "active L1 table: %" PRIu64 " bytes at 0x%" PRIx64 " pass the end of the file", bytes,
                          img->h.l1_offset);
    l1 = qcbmi_alloc_array(bytes, 1, err);
    if (!l1)
        return QCBM_E_NOMEM;
    /* Strictly inside the file: entries that a cut took away would read as unallocated, and their bits be missing. */
    ret = qcbmi_io_read(&img->io, img->h.l1_offset, l1, bytes, "active L1 table", err);
    if (ret < 0) {
        free(l1);
        return ret;
    }
    img->l1 = l1;
    return 0;
}

int qcbmi_l1_check_shared(const struct qcbmi_image *img, struct qcbm_error *err)
{
    uint64_t *offsets = qcbmi_alloc_array(img->g.l1_used, sizeof(*offsets), err);
    size_t n = 0;
    int ret = 0;

    if (!offsets)
        return QCBM_E_NOMEM;
    for (uint64_t i = 0; i < img->g.l1_used; i++) {
        uint64_t off = be64_load(img->l1 + 8 * i) & Q2_ENTRY_OFFSET_MASK;

        if (off)
            offsets[n++] = off;
    }
    qcbmi_sort(offsets, n, sizeof(*offsets), qcbmi_by_u64);
    for (size_t i = 1; ret == 0 && i < n; i++)
        if (offsets[i] == offsets[i - 1])
            ret = qcbmi_fail(err, QCBM_E_CORRUPT, img->h.l1_offset,
                             "two entries of the active L1 table name the same L2 table at 0x%" PRIx64, offsets[i]);
    free(offsets);
    return ret;
}

void qcbmi_damage_add(struct qcbmi_damage *d, uint64_t offset, const char *fmt, ...)
{
    va_list args;

    if (d->count++)
        return;
    d->first.code = QCBM_E_CORRUPT;
    d->first.sys_errno = 0;
    d->first.offset = offset;
    va_start(args, fmt);
    vsnprintf(d->first.message, sizeof(d->first.message), fmt, args);
    va_end(args);
}

int qcbmi_l2_ref_compare(const void *a, const void *b)
{
    return qcbmi_by_two_u64(a, b);
}

int qcbmi_progress_add(struct qcbmi_progress *p, uint64_t bytes, struct qcbm_error *err)
{
    if (!p || !p->fn)
        return 0;
    p->done += bytes;
    if (p->fn(p->opaque, p->done, p->total))
        return qcbmi_fail_stopped(err);
    return 0;
}

/* How many tables from @refs[0] on belong into one read, and how many bytes that is. */
static size_t piece_of(const struct qcbmi_l2_ref *refs, size_t n, uint64_t cluster_size, uint64_t *bytes)
{
    size_t k = 1;

    while (k < n) {
        uint64_t gap = refs[k].offset - refs[k - 1].offset;
        uint64_t span = refs[k].offset - refs[0].offset + cluster_size;

        if (gap > cluster_size + READ_GAP || span > READ_PIECE)
            break;
        k++;
    }
    *bytes = refs[k - 1].offset - refs[0].offset + cluster_size;
    return k;
}

int qcbmi_l2_read_all(struct qcbmi_image *img, const struct qcbmi_l2_ref *refs, size_t n, qcbmi_l2_fn *fn, void *opaque,
                      struct qcbmi_progress *progress, struct qcbm_error *err)
{
    uint64_t cs = img->g.cluster_size;
    uint8_t *buf;
    int ret = 0;

    if (n == 0)
        return 0;
    buf = qcbmi_alloc_array(u64_min(u64_max(READ_PIECE, cs), refs[n - 1].offset - refs[0].offset + cs), 1, err);
    if (!buf)
        return QCBM_E_NOMEM;
    for (size_t i = 0; ret == 0 && i < n;) {
        uint64_t bytes;
        size_t k = piece_of(refs + i, n - i, cs, &bytes);

        /* Tables in a hole allocate nothing: a sparse file costs what is in it, not how long it claims to be. */
        if (!qcbmi_io_is_hole(&img->io, refs[i].offset, bytes)) {
            ret = qcbmi_io_read_slack(&img->io, refs[i].offset, buf, bytes, cs, "L2 table", err);
            for (size_t j = i; ret == 0 && j < i + k; j++)
                ret = fn(opaque, &refs[j], buf + (refs[j].offset - refs[i].offset), err);
        }
        if (ret == 0)
            ret = qcbmi_progress_add(progress, k * cs, err);
        i += k;
    }
    free(buf);
    return ret;
}

bool qcbmi_l2_entry_in_file(const struct qcbmi_image *img, const struct q2_l2_entry *e)
{
    return img->g.data_file || e->host_len == 0 || range_fits(e->host_offset, e->host_len, qcbmi_image_end(img));
}
