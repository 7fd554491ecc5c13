/* refs.c - everything in an image that refers to clusters of its file
 * SPDX-License-Identifier: MIT */
#include "image/refs.h"

#include <stdlib.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "io/holes.h"

#define PIECE (UINT64_C(64) << 10)     /* of a table, read at once */
#define DEAR_PIECE (UINT64_C(4) << 10) /* where each is paid for */

const char *qcbmi_ref_name(const struct qcbmi_ref_owner *owner)
{
    static const char *const names[] = {
        [QCBMI_REF_HEADER] = "the header",
        [QCBMI_REF_L1] = "the active L1 table",
        [QCBMI_REF_L2] = "the L2 table",
        [QCBMI_REF_DATA] = "data",
        [QCBMI_REF_COMPRESSED] = "compressed data",
        [QCBMI_REF_SNAPSHOTS] = "the snapshot table",
        [QCBMI_REF_REFTABLE] = "the refcount table",
        [QCBMI_REF_LUKS] = "the LUKS header",
        [QCBMI_REF_BITMAP_DIRECTORY] = "the bitmap directory",
        [QCBMI_REF_BITMAP_TABLE] = "table of bitmap",
        [QCBMI_REF_BITMAP_DATA] = "data of bitmap",
        [QCBMI_REF_REFBLOCK] = "refcount block",
    };

    return owner->kind == QCBMI_REF_L1 && owner->state ? "the L1 table of snapshot" : names[owner->kind];
}

static struct qcbmi_ref one(enum qcbmi_ref_kind kind, uint64_t off, uint64_t len, uint64_t pointer)
{
    return (struct qcbmi_ref){ .owner = { kind, 0, 0 },
                               .offset = off,
                               .len = len,
                               .weight = 1,
                               .exclusive = 1,
                               .pointer = pointer,
                               .at = { pointer, "header", UINT64_MAX, UINT32_MAX } };
}

struct qcbmi_ref qcbmi_ref_to_block(const struct qcbmi_image *img, uint64_t i, uint64_t off)
{
    struct qcbmi_ref ref = one(QCBMI_REF_REFBLOCK, off, img->g.cluster_size, img->h.reftable_offset + 8 * i);

    ref.owner.index = i;
    ref.at.table = "refcount table";
    ref.at.index = i;
    return ref;
}

static int give(const struct qcbmi_ref_sink *sink, struct qcbmi_ref ref)
{
    return sink->ref(sink->opaque, &ref);
}

static int give_state(const struct qcbmi_ref_sink *sink, uint32_t state, const struct qcbmi_l1_table *t)
{
    struct qcbmi_ref ref = one(QCBMI_REF_L1, t->offset, 8 * t->entries, t->pointer);

    ref.owner.state = state;
    ref.owner.index = state ? state - 1 : UINT64_MAX;
    ref.at.offset = t->offset;
    ref.at.table = "L1 table";
    return sink->state(sink->opaque, &ref);
}

static int give_luks(const struct qcbmi_image *img, const struct qcbmi_ref_sink *sink)
{
    const struct q2_extension *crypto = q2_extension_find(&img->exts, Q2_EXT_CRYPTO);
    struct qcbmi_ref ref;

    if (!crypto)
        return 0;
    ref = one(QCBMI_REF_LUKS, be64_load(crypto->data), be64_load(crypto->data + 8), crypto->offset + 8);
    ref.at.offset = crypto->offset;
    return give(sink, ref);
}

struct qcbmi_l1_table qcbmi_active_l1(const struct qcbmi_image *img)
{
    return (struct qcbmi_l1_table){ img->h.l1_offset, img->h.l1_entries, Q2_OFF_L1_OFFSET };
}

/* An entry begins with the offset of the table. */
struct qcbmi_l1_table qcbmi_snapshot_l1(const struct qcbmi_image *img, const uint8_t *table,
                                        const struct q2_snapshot *s)
{
    uint64_t entry = (uint64_t)(s->extra - Q2_SNAPSHOT_FIXED - table);

    return (struct qcbmi_l1_table){ s->l1_offset, s->l1_entries, img->h.snapshots_offset + entry };
}

struct qcbmi_refs qcbmi_loose_refs(struct qcbmi_image *img, const struct qcbmi_loose_snapshots *snapshots)
{
    return (struct qcbmi_refs){ img, snapshots->list, snapshots->n, snapshots->bytes, snapshots->len };
}

int qcbmi_refs_walk(const struct qcbmi_refs *refs, const struct qcbmi_ref_sink *sink)
{
    const struct q2_header *h = &refs->img->h;
    struct qcbmi_l1_table active = qcbmi_active_l1(refs->img);
    uint64_t reftable_len = (uint64_t)h->reftable_clusters << refs->img->g.cluster_bits;
    int ret = give(sink, one(QCBMI_REF_HEADER, 0, refs->img->g.cluster_size, 0));

    if (ret == 0)
        ret = give_state(sink, 0, &active);
    for (uint32_t i = 0; ret == 0 && i < refs->n_snapshots; i++) {
        struct qcbmi_l1_table t = qcbmi_snapshot_l1(refs->img, refs->snapshot_table, &refs->snapshots[i]);

        ret = give_state(sink, i + 1, &t);
    }
    if (ret == 0)
        ret = give(sink,
                   one(QCBMI_REF_SNAPSHOTS, h->snapshots_offset, refs->snapshot_table_len, Q2_OFF_SNAPSHOTS_OFFSET));
    if (ret == 0)
        ret = give(sink, one(QCBMI_REF_REFTABLE, h->reftable_offset, reftable_len, Q2_OFF_REFTABLE_OFFSET));
    if (ret == 0)
        ret = give_luks(refs->img, sink);
    return ret == 0 && sink->above ? sink->above(sink->opaque) : ret;
}

int qcbmi_table_walk(const struct qcbmi_table_walk *w, uint64_t off, uint64_t entries, struct qcbm_error *err)
{
    uint64_t size = w->img->io.size, inside = off < size ? align_up(size - off, 8) : 0;
    uint64_t end = off + u64_min(8 * entries, inside), piece = u64_min(w->afford ? DEAR_PIECE : PIECE, end - off);
    uint8_t *bytes = qcbmi_alloc_array(piece, 1, err);
    int ret = bytes ? 0 : QCBM_E_NOMEM;

    for (uint64_t at = off, len; ret == 0 && at < end; at += len) {
        bool zeros;

        len = u64_min(piece, end - at);
        if (w->afford && !w->afford(w->opaque, len))
            break;
        ret = qcbmi_holes_read(w->holes, at, bytes, len, &zeros, w->what, err);
        for (uint64_t i = 0; ret == 0 && !zeros && i < len; i += 8)
            if (be64_load(bytes + i))
                ret = w->entry(w->opaque, be64_load(bytes + i), (at + i - off) / 8);
    }
    free(bytes);
    return ret;
}
