/* probes.c - content that is not in a delta, drawn at random, by which a disk can be told from another one
 * SPDX-License-Identifier: MIT
 *
 * A few thousand granules are drawn, and those taken that are data; only on a disk that has so little of it that this
 * does not give enough, all of its map is looked at. Some are of what reads as zeros: another disk may have data
 * there. */
#include "delta/probes.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/draw.h"
#include "base/sort.h"

#define ROUNDS 16u
#define DRAWN 256u /* in each */
#define ZEROS (QCBMI_DELTA_MAX_PROBES / 4)

struct drawing {
    struct qcbmi_delta_source *s;
    uint64_t unit, limit; /* limit: bytes that the disk has before and after */
    uint64_t random;
    uint64_t seen;                          /* granules that fit, when all are looked at */
    uint64_t found[QCBMI_DELTA_MAX_PROBES]; /* data */
    uint32_t n;
    uint64_t zeros[ZEROS];
    uint32_t n_zeros;
};

static unsigned gran_bits(const struct drawing *d)
{
    return d->s->map.gran_bits;
}

static bool is_clean(const struct drawing *d, uint64_t granule)
{
    uint64_t at = granule << gran_bits(d), start, end;

    return !qcbmi_dirtymap_next(&d->s->map, align_down(at, d->unit), &start, &end) ||
           start >= align_up(at + (UINT64_C(1) << gran_bits(d)), d->unit);
}

static bool has_data(struct drawing *d, uint64_t at)
{
    struct qcbmi_guest_piece p;

    return qcbmi_data_find(d->s->data, at, d->limit, &p, NULL) == 0 && !p.doubtful && !qcbmi_guest_piece_is_zero(&p);
}

static bool is_found(const struct drawing *d, uint64_t granule)
{
    for (uint32_t i = 0; i < d->n; i++)
        if (d->found[i] == granule)
            return true;
    return false;
}

/* In the order of the disk, so that each table is read once. More than are wanted: evenly chosen of them. */
static void take_round(struct drawing *d, uint64_t n_granules)
{
    uint64_t drawn[DRAWN], hits[DRAWN] = { 0 };
    uint32_t n = 0, wanted = QCBMI_DELTA_MAX_PROBES - d->n;

    for (uint32_t i = 0; i < DRAWN; i++)
        drawn[i] = qcbmi_draw(&d->random) % n_granules;
    qcbmi_sort(drawn, DRAWN, sizeof(drawn[0]), qcbmi_by_u64);
    for (uint32_t i = 0; i < DRAWN; i++)
        if ((i == 0 || drawn[i] != drawn[i - 1]) && is_clean(d, drawn[i]) && has_data(d, drawn[i] << gran_bits(d)) &&
            !is_found(d, drawn[i]))
            hits[n++] = drawn[i];
    wanted = n < wanted ? n : wanted;
    for (uint32_t i = 0; i < wanted; i++)
        d->found[d->n++] = hits[(uint64_t)i * n / wanted];
}

/* Each of all that fit with the same probability. */
static void consider(struct drawing *d, uint64_t granule)
{
    uint64_t k = d->seen++;

    if (k < QCBMI_DELTA_MAX_PROBES) {
        d->found[d->n++] = granule;
    } else {
        k = qcbmi_draw(&d->random) % d->seen;
        if (k < QCBMI_DELTA_MAX_PROBES)
            d->found[k] = granule;
    }
}

/* Where data begins in @granule, which may be far behind its begin. */
static uint64_t first_data(struct drawing *d, uint64_t granule)
{
    uint64_t at = granule << gran_bits(d), end = u64_min(d->limit, at + (UINT64_C(1) << gran_bits(d)));
    struct qcbmi_guest_piece p;

    while (at < end && qcbmi_data_find(d->s->data, at, end, &p, NULL) == 0 && qcbmi_guest_piece_is_zero(&p))
        at = p.end;
    return at < end ? at : granule << gran_bits(d);
}

/* A granule counts with all data in it, also with such that begins in its middle. */
static void look_at_all(struct drawing *d)
{
    uint64_t next = 0; /* granules before this one have been considered */

    d->n = 0;
    for (uint64_t at = 0; at < d->limit;) {
        uint64_t gran = UINT64_C(1) << gran_bits(d);
        struct qcbmi_guest_piece p;
        int ret = qcbmi_data_find(d->s->data, at, d->limit, &p, NULL);

        if (ret == 0 && !p.doubtful && !qcbmi_guest_piece_is_zero(&p))
            for (next = u64_max(next, at / gran); next << gran_bits(d) < p.end; next++)
                if (is_clean(d, next))
                    consider(d, next);
        at = ret == 0 || p.end > at ? p.end : align_down(at, gran) + gran;
    }
}

/* Zeros by metadata, in all of what a probe has of the granule. */
static bool has_zeros(struct drawing *d, uint64_t granule)
{
    uint64_t at = granule << gran_bits(d), end = u64_min(d->limit, at + (UINT64_C(1) << gran_bits(d)));
    struct qcbmi_guest_piece p;

    end = u64_min(end, at + QCBMI_DELTA_PROBE_MAX);
    while (at < end && qcbmi_data_find(d->s->data, at, end, &p, NULL) == 0 && !p.doubtful &&
           qcbmi_guest_piece_is_zero(&p))
        at = p.end;
    return at == end;
}

static void take_zeros(struct drawing *d, uint64_t n_granules)
{
    for (uint32_t i = 0; i < DRAWN && d->n_zeros < ZEROS; i++) {
        uint64_t granule = qcbmi_draw(&d->random) % n_granules;
        bool again = false;

        for (uint32_t k = 0; k < d->n_zeros; k++)
            again |= d->zeros[k] == granule;
        if (!again && is_clean(d, granule) && has_zeros(d, granule))
            d->zeros[d->n_zeros++] = granule;
    }
}

/* Both in the order of the disk, at most as many as there is room for: some of the data gives way. */
static uint32_t join(struct drawing *d, uint64_t all[QCBMI_DELTA_MAX_PROBES])
{
    uint32_t keep = d->n < QCBMI_DELTA_MAX_PROBES - d->n_zeros ? d->n : QCBMI_DELTA_MAX_PROBES - d->n_zeros;

    qcbmi_sort(d->found, d->n, sizeof(d->found[0]), qcbmi_by_u64);
    for (uint32_t i = 0; i < keep; i++)
        all[i] = d->found[(uint64_t)i * d->n / keep] << 1;
    for (uint32_t i = 0; i < d->n_zeros; i++)
        all[keep + i] = d->zeros[i] << 1 | 1;
    qcbmi_sort(all, keep + d->n_zeros, sizeof(all[0]), qcbmi_by_u64);
    return keep + d->n_zeros;
}

static int digest_probes(struct drawing *d, struct qcbmi_delta_meta *m, struct qcbm_error *err)
{
    uint64_t gran = UINT64_C(1) << gran_bits(d), max = u64_min(gran, QCBMI_DELTA_PROBE_MAX);
    uint64_t all[QCBMI_DELTA_MAX_PROBES];
    uint32_t n = join(d, all);
    uint8_t *bytes = qcbmi_alloc_array(max, 1, err);

    if (!bytes)
        return QCBM_E_NOMEM;
    for (uint32_t i = 0; i < n; i++) {
        struct qcbmi_delta_probe *p = &m->probes[m->n_probes];
        uint64_t granule = all[i] >> 1;
        bool zero = all[i] & 1;

        p->offset = zero ? granule << gran_bits(d) : first_data(d, granule);
        p->length = u64_min(max, u64_min(d->limit, (granule + 1) << gran_bits(d)) - p->offset);
        if (qcbmi_data_read(d->s->data, p->offset, bytes, p->length, NULL) < 0)
            continue;
        if (bytes_are_zero(bytes, p->length) !=
            zero) /* data that is zeros tells no more than zeros do, of which there are enough */
            continue;
        qcbmi_digest(bytes, (size_t)p->length, p->digest);
        m->n_probes++;
    }
    free(bytes);
    return 0;
}

int qcbmi_delta_draw_probes(struct qcbmi_delta_source *s, uint64_t unit, struct qcbmi_delta_meta *m,
                            struct qcbm_error *err)
{
    struct drawing d = { .s = s, .unit = unit, .limit = u64_min(s->size, s->size_before) };
    uint64_t n_granules = div_up(d.limit, UINT64_C(1) << s->map.gran_bits);

    d.random = be64_load(m->id) ^ be64_load(m->id + 8);
    m->n_probes = 0;
    for (unsigned i = 0; n_granules && i < ROUNDS && d.n < QCBMI_DELTA_MAX_PROBES; i++)
        take_round(&d, n_granules);
    if (n_granules && d.n < QCBMI_DELTA_MAX_PROBES)
        look_at_all(&d);
    if (n_granules)
        take_zeros(&d, n_granules);
    return digest_probes(&d, m, err);
}
