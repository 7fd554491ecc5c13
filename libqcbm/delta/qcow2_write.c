/* qcow2_write.c - the form qcow2: an image without a backing file, in which what is not allocated is as it was before
 * SPDX-License-Identifier: MIT
 *
 * The file is written from its begin to its end, but for the header: for each L2 table the data under it and then the
 * table; L1 table, refcount blocks, refcount table. In a file the header is written last, and until then it is no
 * image. Into a pipe it comes first: what was announced tells where all that follows will lie, and the digest, which is
 * not known then, stands behind all of it, as the mark that nothing is missing. No cluster there is referred to, so
 * QEMU does not mind, or notice. */
#include "delta/qcow2_form.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/error.h"
#include "delta/deflate.h"
#include "format/q2_l1l2.h"
#include "format/q2_limits.h"
#include "write/new_image.h"

#define NO_SLOT UINT64_MAX
#define DEFAULT_CLUSTER (UINT64_C(64) << 10)
#define MIN_CLUSTER (UINT64_C(4) << 10) /* header, identity and the longest name of a backing file have room in it */
#define FEATURE_TABLE 480u              /* bytes: entries of 48, of which QEMU 7.2 has 7 */

struct writing {
    struct q2_header h;
    struct q2_geometry g;
    uint64_t last_slot;        /* announced; NO_SLOT: none */
    uint64_t n_tables, n_data; /* announced: L2 tables, clusters of data */
    struct qcbmi_counts counts;
    uint64_t at;             /* bytes of the file that have been given out */
    uint8_t *l1, *l2;        /* as they will lie in the file; l2 is that of slot */
    uint64_t l1_bytes, slot; /* L1: whole clusters */
    struct qcbmi_deflate deflate;
    uint8_t *packed; /* a cluster, compressed, or the last one filled up */
    struct qcbmi_new_image n;
};

/* ---- size of a cluster ---- */

static bool has_room(uint64_t size, uint64_t cs)
{
    return div_up(size, cs * (cs / 8)) * 8 <= Q2_MAX_L1_BYTES;
}

static uint64_t chosen_cluster(const struct qcbmi_delta_writer *w)
{
    uint64_t cs = w->meta.granularity ? u64_min(w->meta.granularity, DEFAULT_CLUSTER) : DEFAULT_CLUSTER;

    cs = u64_max(cs, MIN_CLUSTER);
    while (!has_room(w->meta.size_after, cs) && cs < UINT64_C(1) << Q2_MAX_CLUSTER_BITS)
        cs *= 2;
    return cs;
}

static int check_cluster(const struct qcbmi_delta_writer *w, uint64_t cs, struct qcbm_error *err)
{
    if ((cs & (cs - 1)) || cs < MIN_CLUSTER || cs > UINT64_C(1) << Q2_MAX_CLUSTER_BITS)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                          "a cluster of a delta has 4 KiB to 2 MiB, a power of two: %" PRIu64, cs);
    if (!has_room(w->meta.size_after, cs))
        return qcbmi_fail(err, QCBM_E_LIMIT, QCBM_NO_OFFSET,
                          "clusters of %" PRIu64 " bytes are too small for a disk of %" PRIu64, cs, w->meta.size_after);
    return 0;
}

/* Of the first cluster; QEMU must be able to add its table of features and the longest name of a backing file. */
static size_t room_for_identity(uint64_t cs)
{
    return (size_t)cs - Q2_HEADER_BYTES - (8 + FEATURE_TABLE) - (8 + 16) - Q2_MAX_BACKING_NAME - 8 - 8;
}

/* ---- begin ---- */

/* The header beside the places of tables. The size is a multiple of 512, as QEMU counts. */
static void compose_header(const struct qcbmi_delta_writer *w, uint64_t cs, struct writing *s)
{
    bool zstd = w->wish.compression == QCBMI_DELTA_ZSTD;

    s->h = (struct q2_header){ .version = 3,
                               .cluster_bits = (uint32_t)__builtin_ctzll(cs),
                               .size = w->meta.size_after,
                               .refcount_order = 4,
                               .header_length = Q2_HEADER_BYTES,
                               .incompatible = zstd ? 1u << 3 : 0,
                               .compression_type = zstd };
    q2_geometry_derive(&s->h, &s->g);
    s->h.l1_entries = (uint32_t)u64_max(s->g.l1_used, 1);
    s->l1_bytes = align_up(8 * (uint64_t)s->h.l1_entries, cs);
}

int qcbmi_qcow2_open(struct qcbmi_delta_writer *w, struct qcbm_error *err)
{
    struct writing *s = qcbmi_alloc_array(1, sizeof(*s), err);
    uint64_t cs = w->wish.cluster_size ? w->wish.cluster_size : chosen_cluster(w);
    int ret;

    w->self = s;
    if (!s)
        return QCBM_E_NOMEM;
    s->last_slot = s->slot = NO_SLOT;
    if (!w->seekable && w->wish.compression)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                          "a pipe takes no compressed clusters, whose sizes are not known in advance: compress the "
                          "stream");
    ret = check_cluster(w, cs, err);
    if (ret < 0)
        return ret;
    compose_header(w, cs, s);
    return qcbmi_deflate_begin(&s->deflate, w->wish.compression, err);
}

uint64_t qcbmi_qcow2_unit(const struct qcbmi_delta_writer *w)
{
    const struct writing *s = w->self;

    return s->g.cluster_size;
}

int qcbmi_qcow2_announce(struct qcbmi_delta_writer *w, const struct qcbmi_delta_record *r, struct qcbm_error *err)
{
    struct writing *s = w->self;
    uint64_t first = r->offset / s->g.l2_span, last = (r->offset + r->length - 1) / s->g.l2_span;

    (void)err;
    s->n_tables += last - first + (first != s->last_slot);
    s->last_slot = last;
    if (r->type == QCBMI_DELTA_DATA)
        s->n_data += div_up(r->length, s->g.cluster_size);
    return 0;
}

/* Where all that comes behind the data will lie, if all that was announced takes the clusters that it must. */
static int plan_places(struct qcbmi_delta_writer *w, struct qcbm_error *err)
{
    struct writing *s = w->self;
    uint64_t excess = 0, end = 1 + s->n_tables + s->n_data;
    struct qcbmi_new_image n = { .g = &s->g, .counts = &s->counts, .first_meta = end, .next = end };
    int ret = qcbmi_counts_add(&s->counts, 1, end - 1, 1, UINT32_MAX, &excess, err);

    s->h.l1_offset = qcbmi_new_place(&n, s->l1_bytes);
    if (ret == 0)
        ret = qcbmi_new_refcounts(&n, err);
    w->meta.digest_at = n.next << s->g.cluster_bits;
    if (ret < 0)
        return ret;
    n.io = w->io;
    return qcbmi_qcow2_write_header(&n, &s->h, &w->meta, err);
}

int qcbmi_qcow2_begin(struct qcbmi_delta_writer *w, struct qcbm_error *err)
{
    struct writing *s = w->self;
    uint64_t cs = s->g.cluster_size;
    int ret;

    s->at = cs;
    qcbmi_delta_meta_trim(&w->meta, room_for_identity(cs));
    s->l1 = qcbmi_alloc_array(s->l1_bytes, 1, err);
    s->l2 = qcbmi_alloc_array(cs, 1, err);
    s->packed = qcbmi_alloc_array(cs, 1, err);
    if (!s->l1 || !s->l2 || !s->packed)
        return QCBM_E_NOMEM;
    /* Behind compressed clusters there is a gap of less than a cluster, of which each table may have one. */
    ret = qcbmi_counts_init(&s->counts, 0, 1 + s->n_data + 2 * s->n_tables, err);
    return ret == 0 && !w->seekable ? plan_places(w, err) : ret;
}

/* ---- clusters ---- */

static int count(struct writing *s, uint64_t off, uint64_t len, struct qcbm_error *err)
{
    uint64_t first = off >> s->g.cluster_bits, last = (off + len - 1) >> s->g.cluster_bits, excess = 0;

    return qcbmi_counts_add(&s->counts, first, last - first + 1, 1, UINT32_MAX, &excess, err);
}

/* @len bytes behind all others, in clusters of their own. */
static int append(struct qcbmi_delta_writer *w, const void *bytes, uint64_t len, struct qcbm_error *err)
{
    struct writing *s = w->self;
    uint64_t at = align_up(s->at, s->g.cluster_size);
    int ret = w->seekable ? count(s, at, len, err) : 0;

    s->at = at + len;
    return ret == 0 ? qcbmi_io_write(w->io, at, bytes, len, err) : ret;
}

static int end_slot(struct qcbmi_delta_writer *w, struct qcbm_error *err)
{
    struct writing *s = w->self;
    int ret;

    if (s->slot == NO_SLOT)
        return 0;
    ret = append(w, s->l2, s->g.cluster_size, err);
    be64_store(s->l1 + 8 * s->slot, (s->at - s->g.cluster_size) | Q2_ENTRY_COPIED);
    memset(s->l2, 0, s->g.cluster_size);
    s->slot = NO_SLOT;
    return ret;
}

/* The L2 table of @offset is the one in memory. */
static int turn_to(struct qcbmi_delta_writer *w, uint64_t offset, struct qcbm_error *err)
{
    struct writing *s = w->self;
    uint64_t slot = offset / s->g.l2_span;
    int ret = slot == s->slot ? 0 : end_slot(w, err);

    s->slot = slot;
    return ret;
}

static void set_entry(struct writing *s, uint64_t offset, uint64_t entry)
{
    be64_store(s->l2 + 8 * (offset % s->g.l2_span / s->g.cluster_size), entry);
}

int qcbmi_qcow2_zero(struct qcbmi_delta_writer *w, uint64_t offset, uint64_t length, struct qcbm_error *err)
{
    struct writing *s = w->self;
    int ret = 0;

    for (uint64_t at = offset, end = offset + length; ret == 0 && at < end; at += s->g.cluster_size) {
        ret = turn_to(w, at, err);
        set_entry(s, at, Q2_L2_ZERO);
    }
    return ret;
}

/* Clusters under one L2 table, the last of which may be cut short by the end of the disk. */
static int plain_run(struct qcbmi_delta_writer *w, uint64_t offset, uint64_t length, const uint8_t *bytes,
                     struct qcbm_error *err)
{
    struct writing *s = w->self;
    uint64_t cs = s->g.cluster_size, whole = align_down(length, cs), rest = length - whole, host;
    int ret = turn_to(w, offset, err);

    host = align_up(s->at, cs);
    if (ret == 0 && whole)
        ret = append(w, bytes, whole, err);
    if (ret == 0 && rest) {
        memcpy(s->packed, bytes + whole, rest);
        memset(s->packed + rest, 0, cs - rest);
        ret = append(w, s->packed, cs, err);
    }
    for (uint64_t at = 0; at < length; at += cs)
        set_entry(s, offset + at, (host + at) | Q2_ENTRY_COPIED);
    return ret;
}

/* Compressed clusters follow one another without a gap; the descriptor counts the sectors behind the first. */
static int packed_cluster(struct qcbmi_delta_writer *w, uint64_t offset, uint64_t length, const uint8_t *bytes,
                          struct qcbm_error *err)
{
    struct writing *s = w->self;
    uint64_t cs = s->g.cluster_size, sectors;
    size_t len = length == cs ? qcbmi_deflate(&s->deflate, bytes, (size_t)length, s->packed, (size_t)cs - 1) : 0;
    int ret;

    if (len == 0)
        return plain_run(w, offset, length, bytes, err);
    ret = turn_to(w, offset, err);
    if (ret == 0)
        ret = count(s, s->at, len, err);
    if (ret == 0)
        ret = qcbmi_io_write(w->io, s->at, s->packed, len, err);
    sectors = (s->at + len - 1) / Q2_SECTOR - s->at / Q2_SECTOR;
    set_entry(s, offset, Q2_L2_COMPRESSED | sectors << s->g.compressed_offset_bits | s->at);
    s->at += len;
    return ret;
}

int qcbmi_qcow2_data(struct qcbmi_delta_writer *w, uint64_t offset, uint64_t length, const uint8_t *bytes,
                     struct qcbm_error *err)
{
    const struct writing *s = w->self;
    int ret = 0;

    for (uint64_t at = 0, n; ret == 0 && at < length; at += n) {
        uint64_t left = s->g.l2_span - (offset + at) % s->g.l2_span;

        n = u64_min(length - at, w->wish.compression ? s->g.cluster_size : left);
        ret = w->wish.compression ? packed_cluster(w, offset + at, n, bytes + at, err)
                                  : plain_run(w, offset + at, n, bytes + at, err);
    }
    return ret;
}

/* ---- end ---- */

static int finish_file(struct qcbmi_delta_writer *w, struct qcbm_error *err)
{
    struct writing *s = w->self;
    uint64_t size = s->n.next << s->g.cluster_bits;
    int ret = qcbmi_qcow2_write_header(&s->n, &s->h, &w->meta, err);

    return ret == 0 && w->io->size < size ? qcbmi_io_grow(w->io, size, err) : ret;
}

static int finish_pipe(struct qcbmi_delta_writer *w, struct qcbm_error *err)
{
    uint8_t mark[QCBMI_QCOW2_MARK];

    qcbmi_qcow2_mark_store(mark, &w->meta);
    if (w->meta.digest_at != w->io->size)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "a pipe was given other records than were announced");
    return qcbmi_io_write(w->io, w->meta.digest_at, mark, sizeof(mark), err);
}

int qcbmi_qcow2_end(struct qcbmi_delta_writer *w, struct qcbm_error *err)
{
    struct writing *s = w->self;
    uint64_t first;
    int ret = end_slot(w, err);

    first = div_up(s->at, s->g.cluster_size);
    s->n =
        (struct qcbmi_new_image){ .io = w->io, .g = &s->g, .counts = &s->counts, .first_meta = first, .next = first };
    s->h.l1_offset = qcbmi_new_place(&s->n, s->l1_bytes);
    if (ret == 0)
        ret = qcbmi_new_write(&s->n, s->h.l1_offset, s->l1, s->l1_bytes, err);
    if (ret == 0)
        ret = qcbmi_new_refcounts(&s->n, err);
    if (ret < 0)
        return ret;
    return w->seekable ? finish_file(w, err) : finish_pipe(w, err);
}

void qcbmi_qcow2_free(struct qcbmi_delta_writer *w)
{
    struct writing *s = w->self;

    if (!s)
        return;
    qcbmi_counts_free(&s->counts);
    qcbmi_deflate_free(&s->deflate);
    free(s->l1);
    free(s->l2);
    free(s->packed);
    free(s);
}
