/* image_builder.c - small valid qcow2 images in memory, for a test to break exactly one thing in
 * SPDX-License-Identifier: MIT */
#include "image_builder.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"

#define EXT_BACKING_FORMAT UINT32_C(0xe2792aca)
#define EXT_BITMAPS UINT32_C(0x23852875)
#define EXT_DATA_FILE UINT32_C(0x44415441)
#define OFFSET_MASK UINT64_C(0x00fffffffffffe00)

static void check(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "image_builder: %s\n", what);
    abort();
}

static void *resized(void *old, size_t len)
{
    void *p = realloc(old, len ? len : 1);

    check(p, "no memory");
    return p;
}

static uint64_t ceil_div(uint64_t v, uint64_t by)
{
    return (v + by - 1) / by;
}

uint64_t build_clusters(struct image_builder *b, uint64_t n)
{
    uint64_t off = b->len, first = off / b->cluster_size;
    size_t len = b->len + (size_t)n * b->cluster_size;

    if (len > b->room) { /* by doubling: sanitizers copy all of it each time */
        b->room = len > 2 * b->room ? len : 2 * b->room;
        b->bytes = resized(b->bytes, b->room);
        b->refs = resized(b->refs, (b->room / b->cluster_size + 1) * sizeof(*b->refs));
    }
    memset(b->bytes + b->len, 0, len - b->len);
    for (uint64_t i = first; i < first + n; i++)
        b->refs[i] = 1;
    b->len = len;
    return off;
}

void build_start(struct image_builder *b, const struct build_options *opt)
{
    uint64_t l2_span;

    memset(b, 0, sizeof(*b));
    b->opt = *opt;
    b->opt.version = opt->version ? opt->version : 3;
    b->opt.cluster_bits = opt->cluster_bits ? opt->cluster_bits : 9;
    b->opt.refcount_bits = opt->refcount_bits ? opt->refcount_bits : 16;
    if (!opt->header_length)
        b->opt.header_length = b->opt.version == 2 ? 72 : 112;
    b->cluster_size = UINT32_C(1) << b->opt.cluster_bits;
    b->l2_entry_size = opt->extended_l2 ? 16 : 8;
    b->l2_entries = b->cluster_size / b->l2_entry_size;
    l2_span = (uint64_t)b->cluster_size * b->l2_entries;
    if (!opt->l1_entries)
        b->opt.l1_entries = opt->size ? (uint32_t)ceil_div(opt->size, l2_span) : 1;
    build_clusters(b, 1); /* header */
    b->reftable = build_clusters(b, 1);
    b->refblock = build_clusters(b, 1);
    b->l1 = build_clusters(b, ceil_div(8 * (uint64_t)b->opt.l1_entries, b->cluster_size));
    if (opt->backing_format)
        build_extension(b, EXT_BACKING_FORMAT, opt->backing_format, (uint32_t)strlen(opt->backing_format));
    if (opt->data_file)
        build_extension(b, EXT_DATA_FILE, opt->data_file, (uint32_t)strlen(opt->data_file));
}

/* ---- guest data ---- */

uint64_t build_l2_entry(struct image_builder *b, uint64_t guest)
{
    uint64_t cluster = guest / b->cluster_size, at = b->l1 + 8 * (cluster / b->l2_entries);
    uint64_t table = be64_load(b->bytes + at) & OFFSET_MASK;

    check(cluster / b->l2_entries < b->opt.l1_entries, "guest offset past the L1 table");
    if (!table || b->refs[table / b->cluster_size] > 1) { /* none, or shared with a snapshot: a copy */
        uint64_t own = build_clusters(b, 1);

        if (table) {
            memcpy(b->bytes + own, b->bytes + table, b->cluster_size);
            b->refs[table / b->cluster_size]--;
        }
        table = own;
        be64_store(b->bytes + at, table | BUILD_COPIED);
    }
    return table + cluster % b->l2_entries * b->l2_entry_size;
}

void build_map(struct image_builder *b, uint64_t guest, uint64_t raw, uint64_t sub_word)
{
    uint64_t at = build_l2_entry(b, guest);

    be64_store(b->bytes + at, raw);
    if (b->opt.extended_l2)
        be64_store(b->bytes + at + 8, sub_word);
}

uint64_t build_data(struct image_builder *b, uint64_t guest)
{
    uint64_t off;

    (void)build_l2_entry(b, guest); /* the table first, if it is not there */
    off = build_clusters(b, 1);
    build_map(b, guest, off | BUILD_COPIED, UINT32_MAX);
    return off;
}

/* ---- what else an image can hold ---- */

void build_extension(struct image_builder *b, uint32_t type, const void *data, uint32_t len)
{
    struct build_extension *e = &b->exts[b->n_exts++];

    check(b->n_exts <= BUILD_MAX && len <= sizeof(e->data), "extension");
    e->type = type;
    e->len = len;
    if (data)
        memcpy(e->data, data, len);
}

struct build_bitmap *build_bitmap(struct image_builder *b, const char *name, unsigned gran_bits, uint32_t flags,
                                  const uint64_t *entries, uint32_t n)
{
    struct build_bitmap *m = &b->bitmaps[b->n_bitmaps++];
    uint64_t bits = ceil_div(b->opt.size / 512 * 512, UINT64_C(1) << gran_bits);

    check(b->n_bitmaps <= BUILD_MAX && strlen(name) < sizeof(m->name), "bitmap");
    snprintf(m->name, sizeof(m->name), "%s", name);
    m->gran_bits = gran_bits;
    m->flags = flags;
    m->n_entries = entries ? n : (uint32_t)ceil_div(ceil_div(bits, 8), b->cluster_size);
    m->table = build_clusters(b, ceil_div(8 * (uint64_t)m->n_entries, b->cluster_size));
    for (uint32_t i = 0; entries && i < n; i++)
        be64_store(b->bytes + m->table + 8 * (uint64_t)i, entries[i]);
    return m;
}

/* The cluster that a table entry at @at points to gets a second owner, and loses its COPIED flag. */
static uint64_t share(struct image_builder *b, uint64_t at)
{
    uint64_t raw = be64_load(b->bytes + at), off = raw & OFFSET_MASK;

    if (!off || (raw & BUILD_COMPRESSED))
        return 0;
    b->refs[off / b->cluster_size]++;
    be64_store(b->bytes + at, raw & ~BUILD_COPIED);
    return off;
}

struct build_snapshot *build_snapshot(struct image_builder *b, const char *id, const char *name)
{
    struct build_snapshot *s = &b->snapshots[b->n_snapshots++];
    size_t l1_len = 8 * (size_t)b->opt.l1_entries;

    check(b->n_snapshots <= BUILD_MAX, "snapshot");
    snprintf(s->id, sizeof(s->id), "%s", id);
    snprintf(s->name, sizeof(s->name), "%s", name);
    s->l1 = build_clusters(b, ceil_div(l1_len, b->cluster_size));
    for (uint32_t i = 0; i < b->opt.l1_entries; i++) {
        uint64_t l2 = share(b, b->l1 + 8 * (uint64_t)i);

        for (uint32_t j = 0; l2 && j < b->l2_entries; j++)
            share(b, l2 + (uint64_t)j * b->l2_entry_size);
    }
    memcpy(b->bytes + s->l1, b->bytes + b->l1, l1_len);
    return s;
}

/* ---- finish ---- */

static void put_bytes(struct image_builder *b, uint64_t at, const void *bytes, size_t len)
{
    check(at + len <= b->cluster_size, "the first cluster is full");
    memcpy(b->bytes + at, bytes, len);
}

static void write_snapshots(struct image_builder *b)
{
    uint64_t at;

    if (!b->n_snapshots)
        return;
    b->snapshot_table = at = build_clusters(b, ceil_div(b->n_snapshots * 96, b->cluster_size));
    for (unsigned i = 0; i < b->n_snapshots; i++) {
        struct build_snapshot *s = &b->snapshots[i];
        size_t id_len = strlen(s->id), name_len = strlen(s->name);
        uint8_t *p = b->bytes + at;

        s->entry = at;
        be64_store(p, s->l1);
        be32_store(p + 8, b->opt.l1_entries);
        be16_store(p + 12, (uint16_t)id_len);
        be16_store(p + 14, (uint16_t)name_len);
        be32_store(p + 36, 16);
        be64_store(p + 48, b->opt.size);
        memcpy(p + 56, s->id, id_len);
        memcpy(p + 56 + id_len, s->name, name_len);
        at += ceil_div(56 + id_len + name_len, 8) * 8;
    }
}

static void write_directory(struct image_builder *b)
{
    uint64_t len = 0;

    for (unsigned i = 0; i < b->n_bitmaps; i++)
        len += ceil_div(24 + b->bitmaps[i].extra_len + strlen(b->bitmaps[i].name), 8) * 8;
    if (!b->n_bitmaps)
        return;
    b->directory = build_clusters(b, ceil_div(len, b->cluster_size));
    b->directory_len = len;
    len = 0;
    for (unsigned i = 0; i < b->n_bitmaps; i++) {
        struct build_bitmap *m = &b->bitmaps[i];
        size_t name_len = strlen(m->name);
        uint8_t *p = b->bytes + b->directory + len;

        m->entry = b->directory + len;
        be64_store(p, m->table);
        be32_store(p + 8, m->n_entries);
        be32_store(p + 12, m->flags);
        p[16] = 1;
        p[17] = (uint8_t)m->gran_bits;
        be16_store(p + 18, (uint16_t)name_len);
        be32_store(p + 20, m->extra_len);
        memset(p + 24, 0xe0, m->extra_len);
        memcpy(p + 24 + m->extra_len, m->name, name_len);
        len += ceil_div(24 + m->extra_len + name_len, 8) * 8;
    }
}

static void fill_bitmaps_extension(struct image_builder *b)
{
    struct build_extension *e = NULL;

    for (unsigned i = 0; i < b->n_exts; i++)
        if (b->exts[i].type == EXT_BITMAPS && b->exts[i].len == 0)
            e = &b->exts[i];
    if (b->n_bitmaps && !e) {
        build_extension(b, EXT_BITMAPS, NULL, 0);
        e = &b->exts[b->n_exts - 1];
    }
    if (!e)
        return;
    e->len = 24;
    be32_store(e->data, b->n_bitmaps);
    be64_store(e->data + 8, b->directory_len);
    be64_store(e->data + 16, b->directory);
}

static void write_extensions(struct image_builder *b)
{
    uint64_t at = b->opt.header_length;
    const char *name = b->opt.backing;

    for (unsigned i = 0; i < b->n_exts; i++) {
        struct build_extension *e = &b->exts[i];
        uint8_t head[8];

        e->offset = at;
        be32_store(head, e->type);
        be32_store(head + 4, e->len);
        put_bytes(b, at, head, 8);
        put_bytes(b, at + 8, e->data, e->len);
        at += 8 + ceil_div(e->len, 8) * 8;
    }
    b->end_ext = at;
    if (!b->opt.no_end)
        at += 8;
    if (!name)
        return;
    if (b->opt.backing_at)
        at = b->opt.backing_at;
    put_bytes(b, at, name, strlen(name));
    be64_store(b->bytes + 8, at);
    be32_store(b->bytes + 16, (uint32_t)strlen(name));
}

static void write_header(struct image_builder *b)
{
    const struct build_options *o = &b->opt;
    uint8_t *p = b->bytes;

    memcpy(p, "QFI\xfb", 4);
    be32_store(p + 4, o->version);
    be32_store(p + 20, o->cluster_bits);
    be64_store(p + 24, o->size);
    be32_store(p + 36, o->l1_entries);
    be64_store(p + 40, b->l1);
    be64_store(p + 48, b->reftable);
    be32_store(p + 56, 1);
    be32_store(p + 60, b->n_snapshots);
    be64_store(p + 64, b->snapshot_table);
    if (o->version == 2)
        return;
    be64_store(p + 72, o->incompatible | (o->extended_l2 ? 16u : 0) | (o->data_file ? 4u : 0));
    be64_store(p + 80, o->compatible);
    be64_store(p + 88, o->autoclear | (o->raw_data_file ? 2u : 0) | (b->n_bitmaps && !o->stale_bitmaps ? 1u : 0));
    be32_store(p + 96, (uint32_t)__builtin_ctz(o->refcount_bits));
    be32_store(p + 100, o->header_length);
}

static uint64_t refs_per_block(const struct image_builder *b)
{
    return (uint64_t)b->cluster_size * 8 / b->opt.refcount_bits;
}

/* Bytes of @block that hold refcount @i: narrow ones start in the low bits, wide ones are big-endian. */
static void put_refcount(uint8_t *block, uint64_t i, uint32_t bits, uint64_t value)
{
    if (bits < 8) {
        unsigned shift = (unsigned)(i * bits % 8), mask = (1u << bits) - 1;
        uint8_t *p = block + i * bits / 8;

        *p = (uint8_t)((*p & ~(mask << shift)) | ((unsigned)value & mask) << shift);
        return;
    }
    for (uint32_t k = 0; k < bits / 8; k++)
        block[i * bits / 8 + k] = (uint8_t)(value >> (bits - 8 - 8 * k));
}

static uint64_t block_of(const struct image_builder *b, uint64_t host_off)
{
    return be64_load(b->bytes + b->reftable + 8 * (host_off / b->cluster_size / refs_per_block(b)));
}

void build_set_refcount(struct image_builder *b, uint64_t host_off, uint64_t value)
{
    uint64_t block = block_of(b, host_off);

    check(block, "no refcount block there");
    put_refcount(b->bytes + block, host_off / b->cluster_size % refs_per_block(b), b->opt.refcount_bits, value);
}

uint64_t build_get_refcount(const struct image_builder *b, uint64_t host_off)
{
    uint64_t i = host_off / b->cluster_size % refs_per_block(b), block = block_of(b, host_off), value = 0;
    uint32_t bits = b->opt.refcount_bits;

    if (!block)
        return 0;
    if (bits < 8)
        return b->bytes[block + i * bits / 8] >> (i * bits % 8) & ((1u << bits) - 1);
    for (uint32_t k = 0; k < bits / 8; k++)
        value = value << 8 | b->bytes[block + i * bits / 8 + k];
    return value;
}

/* The blocks cover all clusters, their own included. */
static void write_refcounts(struct image_builder *b)
{
    uint64_t per = refs_per_block(b), n;

    be64_store(b->bytes + b->reftable, b->refblock);
    for (n = 1; n * per * b->cluster_size < b->len; n++) {
        uint64_t block = build_clusters(b, 1);

        check(8 * n < b->cluster_size, "more refcount blocks than the table holds");
        be64_store(b->bytes + b->reftable + 8 * n, block);
    }
    for (uint64_t c = 0; c < b->len / b->cluster_size; c++)
        build_set_refcount(b, c * b->cluster_size, b->refs[c]);
}

void build_finish(struct image_builder *b)
{
    write_snapshots(b);
    write_directory(b);
    fill_bitmaps_extension(b);
    write_header(b);
    write_extensions(b);
    write_refcounts(b);
    build_resize(b, b->len);
}

void build_resize(struct image_builder *b, size_t len)
{
    uint8_t *exact = malloc(len ? len : 1);

    check(exact, "no memory");
    memset(exact, 0, len);
    memcpy(exact, b->bytes, len < b->len ? len : b->len);
    free(b->bytes);
    b->bytes = exact;
    b->room = 0; /* of refs nothing is known */
    b->len = len;
}

void build_free(struct image_builder *b)
{
    free(b->bytes);
    free(b->refs);
    memset(b, 0, sizeof(*b));
}

/* ---- use ---- */

int build_try_open(const struct image_builder *b, unsigned flags, struct qcbm_image **out, struct qcbm_error *err)
{
    struct qcbm_mem *mem;

    check(qcbm_mem_new(b->bytes, b->len, &mem, err) == 0, "no memory");
    return qcbm_open_io(qcbm_mem_ops(), mem, flags, out, err);
}

struct qcbm_image *build_open(const struct image_builder *b, unsigned flags)
{
    struct qcbm_error err = { .message = "" };
    struct qcbm_image *img;

    check(build_try_open(b, flags, &img, &err) == 0, err.message);
    return img;
}

void build_write_file(const struct image_builder *b, const char *path)
{
    FILE *f = fopen(path, "wb");

    check(f && fwrite(b->bytes, 1, b->len, f) == b->len && fclose(f) == 0, path);
}
