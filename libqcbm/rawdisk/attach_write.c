/* attach_write.c - a metadata image for raw data, written from scratch
 * SPDX-License-Identifier: MIT
 *
 * In the order of the file: header, L2 tables, L1 table, table and directory of the bitmap, refcounts. Each entry of
 * the L2 tables names the data at its own offset, as QEMU preallocates them; with subclusters all of these are data,
 * which QEMU leaves out, and has a disk that reads as zeros. Entries behind the end of the disk stay empty. */
#include "rawdisk/attach_write.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/error.h"
#include "format/q2_bitmap_dir.h"
#include "format/q2_l1l2.h"
#include "format/q2_limits.h"
#include "rawdisk/plain_entry.h"
#include "write/new_image.h"

#define PIECE (UINT64_C(1) << 20) /* bytes of tables that are written at once; a larger table is written alone */

struct state {
    struct qcbmi_attach *a;
    struct q2_header h;
    struct q2_geometry g;
    struct qcbmi_counts counts; /* of the cluster of the header, which has no data before it */
    struct qcbmi_new_image n;
    struct qcbmi_progress progress;
    struct q2_bitmaps_ext ext;
};

/* ---- what is asked for ---- */

static int check_cluster_size(const struct qcbmi_attach *a, struct qcbm_error *err)
{
    uint32_t cs = a->cluster_size;

    if (cs == 0 || (cs & (cs - 1)) || cs < 1u << Q2_MIN_CLUSTER_BITS || cs > 1u << Q2_MAX_CLUSTER_BITS)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "a cluster has 512 bytes to 2 MiB, a power of two");
    if (a->extended_l2 && cs < 1u << Q2_MIN_CLUSTER_BITS_EXTL2)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                          "a cluster with subclusters has 16 KiB to 2 MiB, a power of two");
    return 0;
}

static int begin(struct state *s, struct qcbm_error *err)
{
    const struct qcbmi_attach *a = s->a;
    int ret = check_cluster_size(a, err);

    if (ret < 0)
        return ret;
    s->h = (struct q2_header){ .version = 3, .size = a->size, .refcount_order = 4 };
    s->h.cluster_bits = (uint32_t)__builtin_ctz(a->cluster_size);
    s->h.incompatible = QCBM_INCOMPAT_DATA_FILE | (a->extended_l2 ? QCBM_INCOMPAT_EXTENDED_L2 : 0);
    s->h.autoclear = QCBM_AUTOCLEAR_RAW_DATA_FILE;
    q2_geometry_derive(&s->h, &s->g);
    if (a->size > (uint64_t)INT64_MAX - s->g.cluster_size || s->g.l1_used * 8 > Q2_MAX_L1_BYTES)
        return qcbmi_fail(err, QCBM_E_LIMIT, QCBM_NO_OFFSET,
                          "%" PRIu64 " bytes are too many for clusters of %u bytes: take a larger --cluster-size",
                          a->size, a->cluster_size);
    s->n = (struct qcbmi_new_image){ .io = a->to, .g = &s->g, .counts = &s->counts, .first_meta = 1, .next = 1 };
    s->progress = (struct qcbmi_progress){ .to = a->progress, .total = s->g.l1_used << s->g.cluster_bits };
    return qcbmi_counts_init(&s->counts, 0, 1, err);
}

/* ---- mapping tables ---- */

static int write_pieces(struct state *s, uint64_t at, uint8_t *buf, uint64_t max, struct qcbm_error *err)
{
    const struct q2_geometry *g = &s->g;
    uint64_t bytes = div_up(g->size, g->cluster_size) * g->l2_entry_size, all = g->l1_used << g->cluster_bits;
    int ret = 0;

    for (uint64_t done = 0, n; ret == 0 && done < all; done += n) {
        uint64_t used = u64_min(max, bytes - done); /* all but the last piece are full of entries */

        n = u64_min(max, all - done);
        qcbmi_plain_entries(g, done / g->l2_entry_size, used / g->l2_entry_size, buf);
        memset(buf + used, 0, (size_t)(n - used));
        ret = qcbmi_new_write(&s->n, at + done, buf, n, err);
        if (ret == 0)
            ret = qcbmi_progress_add(&s->progress, n, err);
    }
    return ret;
}

static int write_l2(struct state *s, uint64_t *at, struct qcbm_error *err)
{
    uint64_t max = u64_max(PIECE, s->g.cluster_size);
    uint8_t *buf;
    int ret;

    *at = qcbmi_new_place(&s->n, s->g.l1_used << s->g.cluster_bits);
    if (!s->a->to)
        return 0;
    buf = qcbmi_alloc_array(max, 1, err);
    ret = buf ? write_pieces(s, *at, buf, max, err) : QCBM_E_NOMEM;
    free(buf);
    return ret;
}

/* @bytes from qcbmi_alloc_array(), which are freed, in clusters of their own. */
static int write_whole(struct state *s, uint64_t *at, uint8_t *bytes, uint64_t len, struct qcbm_error *err)
{
    int ret = bytes ? 0 : QCBM_E_NOMEM;

    *at = qcbmi_new_place(&s->n, len);
    if (ret == 0)
        ret = qcbmi_new_write(&s->n, *at, bytes, len, err);
    free(bytes);
    return ret;
}

static int write_l1(struct state *s, uint64_t l2, struct qcbm_error *err)
{
    uint64_t len = align_up(8 * s->g.l1_used, s->g.cluster_size);
    uint8_t *l1 = qcbmi_alloc_array(len, 1, err);

    for (uint64_t i = 0; l1 && i < s->g.l1_used; i++)
        be64_store(l1 + 8 * i, (l2 + (i << s->g.cluster_bits)) | Q2_ENTRY_COPIED);
    s->h.l1_entries = (uint32_t)s->g.l1_used;
    return write_whole(s, &s->h.l1_offset, l1, len, err);
}

/* ---- the bitmap ---- */

static int check_bitmap(struct state *s, struct q2_bitmap_size *size, struct qcbm_error *err)
{
    struct qcbmi_attach *a = s->a;

    if (a->gran_bits == 0)
        a->gran_bits = (unsigned)__builtin_ctzll(q2_default_granularity(&s->g));
    if (!*a->bitmap)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "Bitmap name cannot be empty");
    if (strlen(a->bitmap) > Q2_MAX_BITMAP_NAME)
        return qcbmi_fail(err, QCBM_E_LIMIT, QCBM_NO_OFFSET, "Name length exceeds maximum (1023 characters)");
    return q2_bitmap_size(s->g.sector_size_down, a->gran_bits, s->g.cluster_size, size, err);
}

/* All clean: a table of zeros. */
static int write_bitmap(struct state *s, struct qcbm_error *err)
{
    struct q2_bitmap_dirent d = { .type = Q2_BITMAP_TYPE_DIRTY };
    const struct qcbmi_attach *a = s->a;
    struct q2_bitmap_size size;
    uint8_t *directory;
    uint64_t len;
    int ret = check_bitmap(s, &size, err);

    if (ret < 0)
        return ret;
    len = align_up(8 * size.entries, s->g.cluster_size);
    ret = write_whole(s, &d.table_offset, qcbmi_alloc_array(len, 1, err), len, err);
    d.table_entries = (uint32_t)size.entries;
    d.granularity_bits = (uint8_t)a->gran_bits;
    d.flags = a->disabled ? 0 : Q2_BITMAP_AUTO;
    d.name = (const uint8_t *)a->bitmap;
    d.name_len = (uint16_t)strlen(a->bitmap);
    s->ext.n_bitmaps = 1;
    s->ext.directory_size = q2_bitmap_dirent_len(0, d.name_len);
    directory = ret == 0 ? qcbmi_alloc_array(align_up(s->ext.directory_size, s->g.cluster_size), 1, err) : NULL;
    if (directory)
        q2_bitmap_dirent_store(directory, &d);
    if (ret == 0)
        ret = write_whole(s, &s->ext.directory_offset, directory, align_up(s->ext.directory_size, s->g.cluster_size),
                          err);
    return ret;
}

/* ---- the header, at last ---- */

static int write_header(struct state *s, struct qcbm_error *err)
{
    const char *name = s->a->data_name;
    struct qcbmi_new_extension exts[2];
    uint8_t payload[Q2_BITMAPS_EXT_LEN];
    size_t n = 0;

    if (name)
        exts[n++] = (struct qcbmi_new_extension){ Q2_EXT_DATA_FILE, (uint32_t)strlen(name), name };
    if (s->ext.n_bitmaps) {
        q2_bitmaps_ext_store(payload, &s->ext);
        exts[n++] = (struct qcbmi_new_extension){ Q2_EXT_BITMAPS, Q2_BITMAPS_EXT_LEN, payload };
        s->h.autoclear |= QCBM_AUTOCLEAR_BITMAPS;
    }
    return qcbmi_new_header(&s->n, &s->h, exts, n, NULL, err);
}

static int write_all(struct state *s, struct qcbm_error *err)
{
    uint64_t l2;
    int ret = write_l2(s, &l2, err);

    if (ret == 0)
        ret = write_l1(s, l2, err);
    if (ret == 0 && s->a->bitmap)
        ret = write_bitmap(s, err);
    if (ret == 0)
        ret = qcbmi_new_refcounts(&s->n, err);
    if (ret == 0)
        ret = write_header(s, err);
    s->a->file_size = s->n.next << s->g.cluster_bits;
    return ret;
}

int qcbmi_attach_write(struct qcbmi_attach *a, struct qcbm_error *err)
{
    struct state s = { .a = a };
    int ret = begin(&s, err);

    if (ret == 0)
        ret = write_all(&s, err);
    qcbmi_counts_free(&s.counts);
    return ret;
}
