/* tables.c - the active L1, and what tables say that is damaged
 * SPDX-License-Identifier: MIT */
#include "image/tables.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"

int qcbmi_l1_load(struct qcbmi_image *img, struct qcbm_error *err)
{
    uint64_t bytes = img->g.l1_used * 8;
    uint8_t *l1;
    int ret;

    if (img->l1)
        return 0;
    /* The header check bounds l1_used by l1_entries, and those by 32 MiB; the file bounds it once more. */
    if (!range_fits(img->h.l1_offset, bytes, img->io.size))
        return qcbmi_fail(err, QCBM_E_CORRUPT, Q2_OFF_L1_OFFSET,
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

void qcbmi_damage_merge(struct qcbmi_damage *d, struct qcbmi_damage *from)
{
    if (from->count && d->count == 0)
        d->first = from->first;
    d->count += from->count;
    from->count = 0;
}

int qcbmi_damage_refuse(const struct qcbmi_damage *d, struct qcbm_error *err)
{
    if (d->count == 0)
        return 0;
    if (err)
        *err = d->first;
    return qcbmi_prefix(err, QCBM_E_UNSAFE, "damaged in %" PRIu64 " place%s, the first: ", d->count, qcbmi_s(d->count));
}

bool qcbmi_l2_entry_in_file(const struct qcbmi_image *img, const struct q2_l2_entry *e)
{
    return img->g.data_file || e->host_len == 0 || range_fits(e->host_offset, e->host_len, qcbmi_image_end(img));
}
