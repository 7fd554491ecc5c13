/* guest_pieces.c - what neighbouring L2 entries say: pieces of the disk, a few dozen at a time
 * SPDX-License-Identifier: MIT */
#include "image/guest_pieces.h"

#include "base/bytes.h"

#define SUBCLUSTERS 32u /* more pieces than that no entry makes */

/* It does not look at reserved bits, nor at what a compressed entry must not have. */
unsigned qcbmi_unreadable_for(const struct q2_l2_entry *e)
{
    if (e->kind == Q2_COMPRESSED)
        return e->defects & Q2_DEFECT_DATA_OFFSET;
    return e->defects & (Q2_DEFECT_SUBCLUSTER | Q2_DEFECT_UNALIGNED | Q2_DEFECT_DATA_OFFSET | Q2_DEFECT_V2_ZERO);
}

/* A piece of a sound entry, told field by field: what is copied right after it was written in parts makes a processor
 * wait. */
static inline void add_sound(struct qcbmi_guest_ahead *a, uint64_t start, uint64_t end, enum q2_kind kind,
                             uint64_t host)
{
    struct qcbmi_guest_piece *last = &a->pieces[a->n - 1], *next = &a->pieces[a->n];
    uint64_t follows = host == QCBM_NO_OFFSET ? host : host - start;

    if (a->n > 1 && last->kind == kind && !last->doubtful &&
        (last->host == QCBM_NO_OFFSET ? last->host : last->host - last->start) == follows) {
        last->end = end;
        return;
    }
    next->start = start;
    next->end = end;
    next->layer = 0;
    next->kind = kind;
    next->hole = next->doubtful = false;
    next->host = host;
    next->host_len = 0;
    a->n++;
}

static inline void add_piece(struct qcbmi_guest_ahead *a, const struct qcbmi_guest_piece *piece)
{
    struct qcbmi_guest_piece *last = &a->pieces[a->n - 1];

    if (a->n > 1 && qcbmi_guest_piece_continues(last, piece))
        last->end = piece->end;
    else
        a->pieces[a->n++] = *piece;
}

/* Bytes from @in_cluster on that are of one kind with it; of an entry that can be read. */
static uint64_t alike_in_cluster(const struct q2_l2_entry *e, const struct q2_geometry *g, uint64_t in_cluster)
{
    unsigned i = (unsigned)(in_cluster / g->subcluster_size);
    uint32_t bit = UINT32_C(1) << (i & 31), alike;

    if (!g->extended_l2 || e->kind == Q2_COMPRESSED)
        return g->cluster_size - in_cluster;
    alike = e->sub_zero & bit ? e->sub_zero : e->sub_alloc & bit ? e->sub_alloc : ~(e->sub_zero | e->sub_alloc);
    i += (unsigned)__builtin_ctzll(~((uint64_t)alike >> i));
    return i * g->subcluster_size - in_cluster;
}

/* What the entry that was parsed, of guest offset @guest, says of the bytes from @in_cluster on, and up to where it
 * does. */
static void describe(const struct q2_l2_entry *e, const struct q2_geometry *g, uint64_t guest, uint64_t in_cluster,
                     struct qcbmi_guest_piece *out)
{
    *out = (struct qcbmi_guest_piece){ .start = guest + in_cluster, .host = QCBM_NO_OFFSET, .doubtful = e->defects };
    out->kind =
        qcbmi_unreadable_for(e) ? Q2_INVALID : q2_subcluster_kind(e, g, (unsigned)(in_cluster / g->subcluster_size));
    out->end = guest + g->cluster_size;
    if (out->kind != Q2_INVALID)
        out->end = out->start + alike_in_cluster(e, g, in_cluster);
    if (out->kind == Q2_NORMAL || out->kind == Q2_ZERO_ALLOC || out->kind == Q2_UNALLOCATED_ALLOC) {
        out->host = e->host_offset + in_cluster;
    } else if (out->kind == Q2_COMPRESSED) {
        out->host = e->host_offset;
        out->host_len = e->host_len;
    }
}

/* An entry that takes parsing. False: it cannot be read. */
static bool add_parsed(struct qcbmi_guest_ahead *a, const struct q2_geometry *g, const uint8_t *raw, uint64_t guest)
{
    struct qcbmi_guest_piece piece;

    q2_l2_entry_parse(be64_load(raw), g->extended_l2 ? be64_load(raw + 8) : 0, guest, g, &a->entry);
    for (uint64_t in_cluster = 0; in_cluster < g->cluster_size; in_cluster = piece.end - guest) {
        describe(&a->entry, g, guest, in_cluster, &piece);
        add_piece(a, &piece);
        if (piece.kind == Q2_INVALID)
            return false;
    }
    return true;
}

/* A sound cluster with a possible word of subclusters. */
static void add_mixed(struct qcbmi_guest_ahead *a, const struct q2_geometry *g, const uint8_t *raw, uint64_t guest)
{
    uint64_t host = be64_load(raw) & Q2_ENTRY_OFFSET_MASK, word = be64_load(raw + 8), size = g->subcluster_size;
    uint32_t alloc = (uint32_t)word, zero = (uint32_t)(word >> 32);
    uint32_t begins = (alloc ^ alloc << 1) | (zero ^ zero << 1) | 1;

    while (begins) {
        unsigned i = (unsigned)__builtin_ctz(begins), end;
        enum q2_kind kind = alloc >> i & 1 ? Q2_NORMAL : zero >> i & 1 ? Q2_ZERO_ALLOC : Q2_UNALLOCATED_ALLOC;

        begins &= begins - 1;
        end = begins ? (unsigned)__builtin_ctz(begins) : SUBCLUSTERS;
        add_sound(a, guest + i * size, guest + end * size, kind, host + i * size);
    }
}

/* Do all clusters of a group that is plain lie one after the other? */
static bool all_follow(const struct qcbmi_guest_group *group, const struct q2_geometry *g)
{
    uint64_t raw = be64_load(group->raw);

    for (unsigned i = 0; i < Q2_L2_SCAN_MAX; i += Q2_L2_GROUP)
        if (group->follow(group->raw + (size_t)i * g->l2_entry_size, raw + i * (uint64_t)g->cluster_size,
                          g->cluster_bits) != Q2_L2_GROUP)
            return false;
    return true;
}

/* Bits: plain entries whose cluster does not lie right behind that of the entry before. Without a branch. */
static uint64_t breaks_of(const struct qcbmi_guest_group *group, const struct q2_geometry *g, unsigned first,
                          unsigned end)
{
    const uint8_t *raw = group->raw + (size_t)first * g->l2_entry_size;
    uint64_t breaks = 0, follows = 0; /* no cluster lies at 0 */

    for (unsigned i = first; i < end; i++, raw += g->l2_entry_size) {
        uint64_t host = be64_load(raw) & Q2_ENTRY_OFFSET_MASK;

        breaks |= (uint64_t)(host != follows) << i;
        follows = host + g->cluster_size;
    }
    return breaks;
}

/* Bits: entries with which a piece may begin. Odd ones are looked at one by one. */
static uint64_t begins_of(const struct qcbmi_guest_group *group, const struct q2_geometry *g, unsigned first,
                          unsigned end)
{
    const struct q2_l2_masks *m = &group->masks;
    uint64_t begins = m->odd | (m->plain ^ m->plain << 1) | m->odd << 1 | UINT64_C(1) << first;

    if ((m->plain & m->plain << 1) && !(m->plain == UINT64_MAX && all_follow(group, g)))
        begins |= m->plain & breaks_of(group, g, first, end);
    begins &= UINT64_MAX << first;
    return end < 64 ? begins & ((UINT64_C(1) << end) - 1) : begins;
}

unsigned qcbmi_guest_pieces_of(struct qcbmi_guest_ahead *a, const struct qcbmi_guest_group *group,
                               const struct q2_geometry *g, uint64_t guest, unsigned first, unsigned end)
{
    const struct q2_l2_masks *m = &group->masks;
    uint64_t begins = begins_of(group, g, first, end);
    const size_t room = sizeof(a->pieces) / sizeof(a->pieces[0]) - SUBCLUSTERS;

    for (a->at = a->n = 1; begins && a->n <= room;) {
        unsigned i = (unsigned)__builtin_ctzll(begins), next;
        const uint8_t *raw = group->raw + (size_t)i * g->l2_entry_size;
        uint64_t start = guest + ((uint64_t)i << g->cluster_bits);
        bool plain = m->plain >> i & 1;

        begins &= begins - 1;
        first = next = begins ? (unsigned)__builtin_ctzll(begins) : end;
        if (m->mixed >> i & 1)
            add_mixed(a, g, raw, start);
        else if (!(m->odd >> i & 1))
            add_sound(a, start, guest + ((uint64_t)next << g->cluster_bits), plain ? Q2_NORMAL : Q2_UNALLOCATED,
                      plain ? be64_load(raw) & Q2_ENTRY_OFFSET_MASK : QCBM_NO_OFFSET);
        else if (!add_parsed(a, g, raw, start))
            break;
    }
    return first;
}
