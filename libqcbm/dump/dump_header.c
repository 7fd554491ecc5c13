/* dump_header.c - the header and its extensions as they are stored
 * SPDX-License-Identifier: MIT */
#include "dump/dump.h"

#include <string.h>

#include "base/checked.h"
#include "format/q2_limits.h"

static const char *place_problem(const struct qcbm_dump *d, uint64_t value)
{
    if (!d->no_geometry && !is_aligned(value, d->g.cluster_size))
        return "is not cluster-aligned";
    return value >= d->io.size ? "lies past the end of the file" : NULL;
}

static const char *field_problem(const struct qcbm_dump *d, unsigned offset, uint64_t v)
{
    switch (offset) {
    case Q2_OFF_MAGIC:
        return v != Q2_MAGIC ? "is not QFI\\xfb: this is no qcow2 image" : NULL;
    case Q2_OFF_VERSION:
        return v < 2 || v > 3 ? "is not 2 or 3" : NULL;
    case Q2_OFF_CLUSTER_BITS:
        return v < Q2_MIN_CLUSTER_BITS || v > Q2_MAX_CLUSTER_BITS ? "is not in 9 .. 21" : NULL;
    case Q2_OFF_CRYPT_METHOD:
        return v > 2 ? "is no known method" : NULL;
    case Q2_OFF_L1_OFFSET:
        return d->h.l1_entries ? place_problem(d, v) : NULL;
    case Q2_OFF_REFTABLE_OFFSET:
        return place_problem(d, v);
    case Q2_OFF_SNAPSHOTS_OFFSET:
        return d->h.n_snapshots ? place_problem(d, v) : NULL;
    case Q2_OFF_INCOMPATIBLE:
        return v & ~Q2_INCOMPAT_KNOWN ? "has unknown bits" : NULL;
    case Q2_OFF_REFCOUNT_ORDER:
        return v > Q2_MAX_REFCOUNT_ORDER ? "is above 6" : NULL;
    case Q2_OFF_HEADER_LENGTH:
        return v < Q2_V3_MIN_HEADER_LENGTH ? "is below 104" : NULL;
    default:
        return NULL;
    }
}

static int dump_backing_name(struct qcbm_dump *d, struct qcbm_error *err)
{
    uint64_t len = u64_min(d->h.backing_size, Q2_MAX_BACKING_NAME), off = d->h.backing_offset;
    struct qcbm_dump_item item = { .offset = off, .length = d->h.backing_size, .name = "backing_file" };
    uint8_t name[Q2_MAX_BACKING_NAME];
    int ret;

    item.index = QCBM_NO_OFFSET;
    if (off == 0)
        return 0;
    if (!range_fits(off, len, d->io.size))
        return qcbmi_dump_give(d, &item, "lies past the end of the file", err, "%s", "");
    ret = qcbmi_io_read(&d->io, off, name, len, "backing file name", err);
    item.bytes = name;
    item.n_bytes = (size_t)len;
    if (ret < 0)
        return ret;
    return qcbmi_dump_give(d, &item, len < d->h.backing_size ? "is longer than 1023 bytes" : NULL, err, "%s", "");
}

int qcbmi_dump_header(struct qcbm_dump *d, struct qcbm_error *err)
{
    struct q2_header parsed;
    struct qcbm_error why;
    int ret = 0;

    for (unsigned i = 0; ret == 0 && i < q2_header_n_fields; i++) {
        const struct q2_header_field *f = &q2_header_fields[i];
        struct qcbm_dump_item item = { .offset = f->offset, .length = f->length, .name = f->name };

        if (!q2_header_has_field(f, d->h.version, d->h.header_length))
            break;
        item.index = QCBM_NO_OFFSET;
        item.value = q2_header_field_load(f, d->head);
        ret = qcbmi_dump_give(d, &item, field_problem(d, f->offset, item.value), err, "%" PRIu64, item.value);
    }
    if (ret == 0)
        ret = dump_backing_name(d, err);
    if (ret == 0 && q2_header_parse(d->head, (size_t)u64_min(d->io.size, sizeof(d->head)), &parsed, &why) < 0) {
        struct qcbm_dump_item item = { .offset = why.offset, .name = "verdict", .index = QCBM_NO_OFFSET };

        ret = qcbmi_dump_give(d, &item, why.message, err, "the image does not open");
    }
    return ret;
}

/* ---- extensions ---- */

static const char *extension_name(uint32_t type)
{
    switch (type) {
    case Q2_EXT_END:
        return "end";
    case Q2_EXT_BACKING_FORMAT:
        return "backing-format";
    case Q2_EXT_FEATURE_TABLE:
        return "feature-table";
    case Q2_EXT_BITMAPS:
        return "bitmaps";
    case Q2_EXT_CRYPTO:
        return "crypto";
    case Q2_EXT_DATA_FILE:
        return "data-file";
    case Q2_EXT_IDENTITY:
        return "identity";
    case Q2_EXT_PADDING:
        return "padding";
    case Q2_EXT_TAG:
        return "tag";
    default:
        return "unknown";
    }
}

struct extension_walk {
    uint64_t at, limit, index;
    uint32_t type, len;
    const char *problem; /* ends the walk */
};

static void extensions_begin(const struct qcbm_dump *d, struct extension_walk *w)
{
    uint64_t end =
        d->h.backing_offset && d->h.backing_offset < d->g.cluster_size ? d->h.backing_offset : d->g.cluster_size;

    *w = (struct extension_walk){ .at = d->h.header_length, .limit = u64_min(end, d->io.size) };
}

/* 1 with the next extension, 0 at the end, or a code. */
static int extensions_next(struct qcbm_dump *d, struct extension_walk *w, struct qcbm_error *err)
{
    const uint8_t *p;
    int ret;

    if (w->problem || w->at > w->limit || w->limit - w->at < 8)
        return 0;
    ret = qcbmi_window_at(&d->window, &d->io, w->at, 8, 8, &p, err);
    if (ret < 0)
        return ret;
    w->type = be32_load(p);
    w->len = be32_load(p + 4);
    if (w->len > w->limit - w->at - 8)
        w->problem = "is longer than what is left of the first cluster";
    return 1;
}

static void extensions_step(struct extension_walk *w)
{
    w->at = w->type == Q2_EXT_END ? w->limit : w->at + 8 + align_up(w->len, 8);
    w->index++;
}

int qcbmi_dump_extensions(struct qcbm_dump *d, struct qcbm_error *err)
{
    struct extension_walk w;
    int ret;

    for (extensions_begin(d, &w); (ret = extensions_next(d, &w, err)) > 0; extensions_step(&w)) {
        uint32_t len = w.type == Q2_EXT_END ? 0 : w.len;
        struct qcbm_dump_item item = {
            w.at, 8 + (uint64_t)len, extension_name(w.type), w.index, w.type, NULL, (size_t)u64_min(len, 4096), NULL,
            NULL
        };

        ret = 0;
        if (!w.problem && item.n_bytes)
            ret = qcbmi_window_at(&d->window, &d->io, w.at + 8, item.n_bytes, len, &item.bytes, err);
        if (ret == 0)
            ret = qcbmi_dump_give(d, &item, w.problem, err, "%" PRIu32 " byte%s", w.len, qcbmi_s(w.len));
        if (ret < 0)
            break;
    }
    return ret;
}

int qcbmi_dump_find_bitmaps(struct qcbm_dump *d, uint8_t out[Q2_BITMAPS_EXT_LEN], uint64_t *at, struct qcbm_error *err)
{
    struct extension_walk w;
    const uint8_t *p;
    int ret, found = 0;

    for (extensions_begin(d, &w); (ret = extensions_next(d, &w, err)) > 0; extensions_step(&w)) {
        if (w.problem || w.type != Q2_EXT_BITMAPS || w.len < Q2_BITMAPS_EXT_LEN)
            continue;
        ret = qcbmi_window_at(&d->window, &d->io, w.at + 8, Q2_BITMAPS_EXT_LEN, w.len, &p, err);
        if (ret < 0)
            break;
        memcpy(out, p, Q2_BITMAPS_EXT_LEN);
        *at = w.at + 8;
        found = 1;
    }
    return ret < 0 ? ret : found;
}
