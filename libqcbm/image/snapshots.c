/* snapshots.c - the table of internal snapshots
 * SPDX-License-Identifier: MIT */
#include "image/snapshots.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "io/holes.h"

/* The header gives the number of entries, not the bytes: read what can be there at most. */
static int read_table(struct qcbmi_image *img, uint8_t **out, uint64_t *len, struct qcbm_error *err)
{
    uint64_t off = img->h.snapshots_offset;
    uint8_t *bytes;
    int ret;

    if (off >= img->io.size)
        return qcbmi_fail(err, QCBM_E_CORRUPT, Q2_OFF_SNAPSHOTS_OFFSET,
                          "snapshot table at 0x%" PRIx64 " lies past the end of the file", off);
    *len = u64_min(img->io.size - off, Q2_MAX_SNAPSHOT_TABLE_BYTES);
    *len = u64_min(*len, img->h.n_snapshots * Q2_MAX_SNAPSHOT_ENTRY);
    bytes = qcbmi_alloc_array(*len, 1, err);
    if (!bytes)
        return QCBM_E_NOMEM;
    ret = qcbmi_io_read(&img->io, off, bytes, *len, "snapshot table", err);
    if (ret < 0) {
        free(bytes);
        return ret;
    }
    *out = bytes;
    return 0;
}

static int parse_entries(struct qcbmi_image *img, const uint8_t *table, uint64_t len, struct qcbm_error *err)
{
    struct q2_cursor in;

    q2_cursor_init(&in, table, (size_t)len);
    for (uint32_t i = 0; i < img->h.n_snapshots; i++) {
        struct q2_snapshot *s = &img->snapshots[i];
        uint64_t at = img->h.snapshots_offset + (uint64_t)(in.at - table);
        int ret = q2_snapshot_parse(&in, table, img->h.snapshots_offset, i, s, err);

        if (ret == 0 && q2_snapshot_is_zero(s))
            ret = qcbmi_fail(err, QCBM_E_CORRUPT, at, "snapshot table entry %" PRIu32 ": all zeros, it is lost", i);
        if (ret < 0)
            return ret;
        img->n_snapshots_loaded = i + 1;
        img->snapshot_strings[2 * i] = qcbmi_memdup_nul(s->id, s->id_len, err);
        img->snapshot_strings[2 * i + 1] = qcbmi_memdup_nul(s->name, s->name_len, err);
        if (!img->snapshot_strings[2 * i] || !img->snapshot_strings[2 * i + 1])
            return QCBM_E_NOMEM;
    }
    img->snapshot_table_bytes = (uint64_t)(in.at - table);
    return 0;
}

void qcbmi_snapshots_forget(struct qcbmi_image *img)
{
    for (uint32_t i = 0; img->snapshot_strings && i < 2 * img->n_snapshots_loaded; i++)
        free(img->snapshot_strings[i]);
    free(img->snapshot_strings);
    free(img->snapshots);
    free(img->snapshot_table);
    img->snapshot_strings = NULL;
    img->snapshots = NULL;
    img->snapshot_table = NULL;
    img->n_snapshots_loaded = 0;
    img->snapshots_broken.code = 0;
}

int qcbmi_snapshots_load(struct qcbmi_image *img, struct qcbm_error *err)
{
    uint64_t len = 0;
    int ret = 0;

    if (img->snapshots && img->snapshots_broken.code && err)
        *err = img->snapshots_broken;
    if (img->snapshots || img->h.n_snapshots == 0)
        return img->snapshots_broken.code;
    ret = read_table(img, &img->snapshot_table, &len, err);
    if (ret < 0)
        return ret;
    img->snapshots = qcbmi_alloc_array(img->h.n_snapshots, sizeof(*img->snapshots), err);
    img->snapshot_strings = qcbmi_alloc_array(2 * (uint64_t)img->h.n_snapshots, sizeof(char *), err);
    if (!img->snapshots || !img->snapshot_strings)
        ret = QCBM_E_NOMEM;
    if (ret == 0)
        ret = parse_entries(img, img->snapshot_table, len, &img->snapshots_broken);
    if (ret < 0 && img->snapshots_broken.code && err)
        *err = img->snapshots_broken;
    if (ret == QCBM_E_NOMEM)
        qcbmi_snapshots_forget(img);
    return ret;
}

/* ---- loosely ---- */

/* One piece of memory with the table and zeros behind the end of the file, enough for an entry each. */
static int read_loose_table(struct qcbmi_image *img, struct qcbmi_holes *holes, struct qcbmi_loose_snapshots *out,
                            uint64_t *len, struct qcbm_error *err)
{
    uint64_t off = img->h.snapshots_offset, n = img->h.n_snapshots;
    uint64_t inside = off < img->io.size ? img->io.size - off : 0;

    *len = u64_min(inside, Q2_MAX_SNAPSHOT_TABLE_BYTES) + n * (Q2_SNAPSHOT_FIXED + 8) +
           u64_min(n, 16) * Q2_MAX_SNAPSHOT_ENTRY;
    *len = u64_min(*len, n * Q2_MAX_SNAPSHOT_ENTRY);
    out->bytes = qcbmi_alloc_array(*len, 1, err);
    out->list = qcbmi_alloc_array(n, sizeof(*out->list), err);
    if (!out->bytes || !out->list)
        return QCBM_E_NOMEM;
    return qcbmi_holes_read(holes, off, out->bytes, *len, NULL, "metadata", err);
}

int qcbmi_snapshots_read_loosely(struct qcbmi_image *img, struct qcbmi_holes *holes, struct qcbmi_loose_snapshots *out,
                                 struct qcbm_error *err)
{
    struct q2_cursor in;
    uint64_t len;
    int ret;

    *out = (struct qcbmi_loose_snapshots){ 0 };
    if (img->h.n_snapshots == 0)
        return 0;
    ret = read_loose_table(img, holes, out, &len, err);
    if (ret < 0)
        return ret;
    q2_cursor_init(&in, out->bytes, (size_t)len);
    for (; out->n < img->h.n_snapshots; out->n++) {
        struct q2_snapshot *s = &out->list[out->n];

        if (q2_snapshot_parse(&in, out->bytes, img->h.snapshots_offset, out->n, s, &out->why) < 0)
            return 0;
        out->len = (uint64_t)(s->name - out->bytes) + s->name_len;
    }
    return 0;
}

void qcbmi_loose_snapshots_free(struct qcbmi_loose_snapshots *l)
{
    free(l->bytes);
    free(l->list);
    *l = (struct qcbmi_loose_snapshots){ 0 };
}

bool qcbmi_snapshot_l1_is_sound(const struct qcbmi_image *img, const struct q2_snapshot *s)
{
    return is_aligned(s->l1_offset, img->g.cluster_size) && s->l1_entries <= Q2_MAX_L1_BYTES / 8;
}
