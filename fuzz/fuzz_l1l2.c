/* fuzz_l1l2.c - L1 and L2 entries against a decoder written from the specification alone
 * SPDX-License-Identifier: MIT
 *
 * Input: a geometry, then triples of entry, subcluster word and guest offset. */
#include <string.h>

#include "format/q2_l2_scan.h"
#include "fuzz.h"
#include "fuzz_geometry.h"

static void check_l1(uint64_t raw, const struct q2_geometry *g)
{
    struct q2_l1_entry e;
    uint64_t rest = raw & ~(UINT64_C(1) << 63);

    q2_l1_entry_parse(raw, g, &e);
    fuzz_require(e.copied == (raw >> 63 != 0), "L1 entry", "COPIED");
    fuzz_require(e.l2_offset <= (UINT64_C(1) << 56) - 512 && e.l2_offset % 512 == 0, "L1 entry", "offset");
    fuzz_require(e.reserved == (rest != e.l2_offset), "L1 entry", "reserved bits");
    fuzz_require(e.unaligned == (e.l2_offset % g->cluster_size != 0), "L1 entry", "alignment");
}

/* May the guest read anything but the backing file in part @i of 32? As the specification has it; damage counts. */
static bool naive_allocated(uint64_t raw, uint64_t word, const struct q2_geometry *g, unsigned i)
{
    uint64_t off = (raw >> 9 << 9) & ((UINT64_C(1) << 56) - 1);
    bool own = off != 0 || (g->data_file && raw >> 63);
    uint32_t alloc = (uint32_t)word, zero = (uint32_t)(word >> 32);

    if (raw >> 62 & 1)
        return true;
    if (!g->extended_l2)
        return own || (raw & 1);
    if (own ? (alloc & zero) != 0 : alloc != 0)
        return true;
    return ((alloc | zero) >> i & 1) != 0;
}

static void check_place(uint64_t raw, uint64_t guest, const struct q2_geometry *g, const struct q2_l2_entry *e)
{
    uint64_t back;

    if (e->kind == Q2_COMPRESSED) {
        fuzz_require(e->host_offset < UINT64_C(1) << 61, "compressed entry", "offset");
        fuzz_require(e->host_len >= 1 && e->host_len <= 2 * (uint64_t)g->cluster_size, "compressed entry", "length");
        fuzz_require((e->host_offset + e->host_len) % 512 == 0, "compressed entry", "does not end with a sector");
        return;
    }
    if (e->kind != Q2_NORMAL && e->kind != Q2_ZERO_ALLOC) {
        fuzz_require(e->host_len == 0 && e->host_offset == 0, "L2 entry", "a place for what has none");
        return;
    }
    fuzz_require(e->host_len == g->cluster_size && e->host_offset < UINT64_C(1) << 56, "L2 entry", "place");
    fuzz_require(!(e->defects & Q2_DEFECT_UNALIGNED) == (e->host_offset % g->cluster_size == 0), "L2 entry", "aligned");
    fuzz_require(!(e->defects & Q2_DEFECT_DATA_OFFSET) == (!g->data_file || e->host_offset == guest), "L2 entry",
                 "offset in the data file");
    back = e->host_offset | (e->copied ? UINT64_C(1) << 63 : 0);
    back |= e->kind == Q2_ZERO_ALLOC || (g->extended_l2 && (raw & 1)) ? 1 : 0;
    if (!(e->defects & Q2_DEFECT_RESERVED))
        fuzz_require(back == raw, "L2 entry", "its parts do not make the entry");
}

static void check_l2(uint64_t raw, uint64_t word, uint64_t guest, const struct q2_geometry *g)
{
    struct q2_l2_entry e;
    uint32_t mask;

    if (!g->extended_l2)
        word = 0;
    q2_l2_entry_parse(raw, word, guest, g, &e);
    mask = q2_l2_entry_allocated_mask(&e, g);
    for (unsigned i = 0; i < 32; i++) {
        bool allocated = mask >> i & 1;

        fuzz_require(allocated == naive_allocated(raw, word, g, i), "L2 entry", "what is allocated");
        fuzz_require(allocated == q2_kind_is_allocated(q2_subcluster_kind(&e, g, i)), "L2 entry",
                     "kind and mask differ");
    }
    fuzz_require(e.copied == (raw >> 63 != 0), "L2 entry", "COPIED");
    check_place(raw, guest, g, &e);
}

/* All ways to look at many entries at once say the same. */
static void check_twins(const uint8_t *entries, size_t n, const struct q2_geometry *g)
{
    uint32_t count = (uint32_t)(n < Q2_L2_SCAN_MAX ? n : Q2_L2_SCAN_MAX);
    struct q2_l2_masks first = { 0 }, m = { 0 };
    struct q2_l2_scan s;

    q2_l2_scan_init(&s, g, be64_load(entries) & ~(uint64_t)(g->cluster_size - 1));
    q2_l2_scan(&s, entries, count, &first);
    for (unsigned t = 0; t < q2_l2_scan_n_twins; t++) {
        const struct q2_l2_scan_twin *twin = &q2_l2_scan_twins[t];

        if (!twin->usable())
            continue;
        (g->extended_l2 ? twin->extended : twin->standard)(&s, entries, count, &m);
        fuzz_require(memcmp(&m, &first, sizeof(m)) == 0, "L2 entries", twin->name);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct q2_geometry g;

    if (size < FUZZ_GEOMETRY_BYTES)
        return 0;
    fuzz_geometry(data, &g);
    if (size - FUZZ_GEOMETRY_BYTES >= g.l2_entry_size)
        check_twins(data + FUZZ_GEOMETRY_BYTES, (size - FUZZ_GEOMETRY_BYTES) / g.l2_entry_size, &g);
    for (size_t at = FUZZ_GEOMETRY_BYTES; size - at >= 24; at += 24) {
        uint64_t guest = be64_load(data + at + 16) & ~(uint64_t)(g.cluster_size - 1);

        check_l1(be64_load(data + at), &g);
        check_l2(be64_load(data + at), be64_load(data + at + 8), guest, &g);
    }
    return 0;
}
