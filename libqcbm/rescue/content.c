/* content.c - blocks of data that the backing file or a snapshot has as well: where?
 * SPDX-License-Identifier: MIT */
#include "rescue/content.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "base/digest.h"
#include "base/sort.h"
#include "format/q2_l1l2.h"
#include "image/chain.h"
#include "image/data.h"

#define BLOCK 512u
#define BLOCKS_EACH 8u /* of a cluster */
#define MAX_PRINTS ((size_t)4 << 20)
#define MAX_PAIRS ((size_t)4 << 20)
#define COMMON 4u /* what has more than so many places says nothing */

static uint64_t hash_of(const uint8_t *block)
{
    uint8_t digest[QCBMI_DIGEST_BYTES];

    qcbmi_digest(block, BLOCK, digest);
    return be64_load(digest);
}

/* Block @i of those of a cluster. */
static uint64_t block_at(const struct qcbmi_rescue *r, unsigned i)
{
    return align_down((uint64_t)r->g->cluster_size * i / BLOCKS_EACH, BLOCK);
}

static unsigned blocks_of(const struct qcbmi_rescue *r)
{
    return (unsigned)u64_min(BLOCKS_EACH, r->g->cluster_size / BLOCK);
}

static uint64_t place_of(const struct qcbmi_rescue *r, unsigned i)
{
    return block_at(r, i * BLOCKS_EACH / blocks_of(r));
}

int qcbmi_prints_add(struct qcbmi_prints *p, const struct qcbmi_rescue *r, uint64_t what, uint64_t place,
                     const uint8_t *bytes, struct qcbm_error *err)
{
    for (unsigned i = 0; i < blocks_of(r) && p->n < MAX_PRINTS; i++) {
        const uint8_t *block = bytes + place_of(r, i);

        if (bytes_are_zero(block, BLOCK))
            continue;
        if (qcbmi_grow_array(&p->list, &p->capacity, p->n, sizeof(*p->list), err) < 0)
            return QCBM_E_NOMEM;
        p->list[p->n++] = (struct qcbmi_print){ hash_of(block), what, place + place_of(r, i) };
    }
    return 0;
}

/* ---- what the backing file has ---- */

struct below {
    struct qcbmi_chain chain; /* the image and the layer below it */
    struct qcbmi_data *data;  /* of a qcow2 layer */
    uint64_t size;
};

static int open_below(struct below *b, struct qcbmi_rescue *r)
{
    const struct qcbmi_chain_options options = { .max_layers = 2 };
    struct qcbmi_layer *l;
    int ret = qcbmi_chain_open(r->img, &options, &b->chain, NULL);

    if (ret < 0 || b->chain.n < 2)
        return ret < 0 ? ret : QCBM_E_CHAIN;
    l = &b->chain.layers[1];
    b->size = align_down(l->size, Q2_SECTOR);
    return l->img ? qcbmi_data_open(l->img, 0, &b->data, NULL) : 0;
}

static void close_below(struct below *b)
{
    qcbmi_data_close(b->data);
    qcbmi_chain_close(&b->chain);
}

/* False where it cannot be read, which is no evidence. */
static bool read_below(struct below *b, uint64_t off, uint8_t *buf, uint64_t len)
{
    uint64_t inside = off < b->size ? u64_min(len, b->size - off) : 0;
    struct qcbmi_io *raw = &b->chain.layers[1].raw;

    memset(buf + inside, 0, (size_t)(len - inside));
    if (inside == 0)
        return true;
    if (b->data)
        return qcbmi_data_read(b->data, off, buf, inside, NULL) == 0;
    return qcbmi_io_read_slack(raw, off, buf, inside, Q2_SECTOR, "backing file", NULL) == 0;
}

/* ---- pairs of a thing and a place ---- */

struct pairs {
    struct qcbmi_match *list; /* each of one block */
    size_t n, capacity;
};

static int add_pairs(struct pairs *pairs, const struct qcbmi_prints *p, const uint8_t *block, uint64_t guest,
                     struct qcbm_error *err)
{
    uint64_t hash = hash_of(block), in_unit = guest % p->unit;
    size_t i = qcbmi_lower_bound_u64(p->list, p->n, sizeof(*p->list), hash);

    if (i + COMMON < p->n && p->list[i + COMMON].hash == hash)
        return 0;
    for (; i < p->n && p->list[i].hash == hash && pairs->n < MAX_PAIRS; i++) {
        if (p->list[i].place != in_unit)
            continue;
        if (qcbmi_grow_array(&pairs->list, &pairs->capacity, pairs->n, sizeof(*pairs->list), err) < 0)
            return QCBM_E_NOMEM;
        pairs->list[pairs->n++] = (struct qcbmi_match){ p->list[i].what, guest / p->unit, 1 };
    }
    return 0;
}

static int look_in_slot(struct pairs *pairs, const struct qcbmi_prints *p, struct qcbmi_rescue *r, struct below *b,
                        uint64_t slot, uint8_t *buf, struct qcbm_error *err)
{
    uint64_t cs = r->g->cluster_size, end = u64_min((slot + 1) * r->g->l2_span, align_up(b->size, cs));
    int ret = 0;

    for (uint64_t at = slot * r->g->l2_span, n; ret == 0 && at < end; at += n) {
        n = u64_min(u64_max(QCBMI_RESCUE_PIECE, cs), end - at);
        if (!read_below(b, at, buf, n))
            continue;
        for (uint64_t k = 0; ret == 0 && k < n; k += cs)
            for (unsigned i = 0; ret == 0 && i < blocks_of(r); i++)
                if (!bytes_are_zero(buf + k + place_of(r, i), BLOCK))
                    ret = add_pairs(pairs, p, buf + k + place_of(r, i), at + k + place_of(r, i), err);
        if (ret == 0)
            ret = qcbmi_progress_add(&r->progress, 0, err);
    }
    return ret;
}

/* ---- what snapshots have ---- */

/* What a guest overwrites in part after a snapshot is filled from what it was. */
struct snaps {
    struct pairs *pairs;
    const struct qcbmi_prints *p;
    struct qcbmi_rescue *r;
    bool (*wanted)(const struct qcbmi_slot *);
    uint8_t *buf;
};

static int look_in_table(void *opaque, void *none, const struct qcbmi_l2_ref *ref, const uint8_t *table,
                         struct qcbm_error *err)
{
    struct snaps *s = opaque;
    struct qcbmi_rescue *r = s->r;
    int ret = 0;

    (void)none;
    if (!table || ref->l1_index >= r->n_slots || !s->wanted(&r->slots[ref->l1_index]))
        return 0;
    for (uint32_t i = 0; ret == 0 && i < r->g->l2_entries; i++) {
        uint64_t guest = ref->l1_index * r->g->l2_span + ((uint64_t)i << r->g->cluster_bits);
        struct q2_l2_entry e;

        qcbmi_rescue_parse(r, table, i, 0, &e);
        if (e.host_len == 0 || e.kind != Q2_NORMAL || !qcbmi_rescue_entry_is_sound(r, &e))
            continue;
        ret = qcbmi_holes_read(&r->holes, e.host_offset, s->buf, r->g->cluster_size, NULL, "guest data", err);
        for (unsigned k = 0; ret == 0 && k < blocks_of(r); k++)
            if (!bytes_are_zero(s->buf + place_of(r, k), BLOCK))
                ret = add_pairs(s->pairs, s->p, s->buf + place_of(r, k), guest + place_of(r, k), err);
    }
    return ret;
}

static int look_in_snapshots(struct snaps *s, struct qcbm_error *err)
{
    struct qcbmi_l2_job job = { .refs = s->r->snap,
                                .n = s->r->n_snap,
                                .stride = sizeof(*s->r->snap),
                                .what = "L2 table",
                                .opaque = s,
                                .look = look_in_table };

    return qcbmi_l2_read(s->r->img, &job, err);
}

/* Of each thing the place with the most blocks, if there is one. */
static size_t choose(struct pairs *pairs)
{
    struct qcbmi_match *list = pairs->list;
    size_t kept = 0;

    qcbmi_sort(list, pairs->n, sizeof(*list), qcbmi_by_two_u64);
    for (size_t i = 0, end; i < pairs->n; i = end) {
        struct qcbmi_match best = { list[i].what, 0, 0 };
        uint64_t second = 0;

        for (end = i; end < pairs->n && list[end].what == best.what;) {
            struct qcbmi_match one = list[end];

            for (one.n = 0; end < pairs->n && list[end].what == one.what && list[end].where == one.where; end++)
                one.n++;
            second = u64_max(second, one.n > best.n ? best.n : one.n);
            if (one.n > best.n)
                best = one;
        }
        if (best.n > second)
            list[kept++] = best;
    }
    return kept;
}

int qcbmi_prints_match(struct qcbmi_prints *p, struct qcbmi_rescue *r, bool (*wanted)(const struct qcbmi_slot *),
                       struct qcbmi_match **out, size_t *n, struct qcbm_error *err)
{
    uint8_t *buf = qcbmi_alloc_array(u64_max(QCBMI_RESCUE_PIECE, r->g->cluster_size), 1, err);
    struct pairs pairs = { 0 };
    struct snaps s = { &pairs, p, r, wanted, buf };
    struct below b = { 0 };
    int ret = buf ? 0 : QCBM_E_NOMEM;

    qcbmi_sort(p->list, p->n, sizeof(*p->list), qcbmi_by_u64);
    if (ret == 0)
        ret = look_in_snapshots(&s, err);
    if (ret == 0 && r->probe_backing && r->img->backing_file && open_below(&b, r) == 0)
        for (uint64_t i = 0; ret == 0 && i < r->n_slots; i++)
            if (wanted(&r->slots[i]))
                ret = look_in_slot(&pairs, p, r, &b, i, buf, err);
    close_below(&b);
    free(buf);
    *n = choose(&pairs);
    *out = pairs.list;
    return ret;
}
