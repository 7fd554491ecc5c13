/* make_image.c - qcow2 images of one shape each, metadata whole and data a hole, for measuring
 * SPDX-License-Identifier: MIT
 *
 * usage: make_image SHAPE FILE, or make_image --list. Every refcount is right: qemu-img check finds nothing. */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define COPIED (UINT64_C(1) << 63)
#define HEADER_BYTES 112

enum fill { FULL, HALF, ONE_TABLE_IN_64 };

struct shape {
    const char *name;
    unsigned gib, cluster_bits;
    enum fill fill;
    bool extended;  /* L2 entries with subclusters, every other run of them allocated */
    bool scattered; /* each L2 table before its data, tables in random order */
    unsigned snapshots;
    const char *what;
};

static const struct shape shapes[] = {
    { "full", 1024, 16, FULL, false, false, 0, "1 TiB of 64 KiB clusters, all allocated in order" },
    { "half", 1024, 16, HALF, false, false, 0, "1 TiB, a random half of the clusters allocated" },
    { "scattered", 1024, 16, HALF, false, true, 0, "as half, L2 tables far from each other and in random order" },
    { "sparse", 1024, 16, ONE_TABLE_IN_64, false, false, 0, "1 TiB, one L2 table in 64" },
    { "huge", 65536, 21, FULL, false, false, 0, "64 TiB of 2 MiB clusters, all allocated" },
    { "extended", 1024, 16, FULL, true, false, 0, "1 TiB, extended L2 entries with mixed subclusters" },
    { "quarter", 256, 16, HALF, false, false, 0, "as half, 256 GiB" },
    { "snapshots", 1024, 16, FULL, false, false, 10, "as full, with 10 internal snapshots" },
};

struct maker {
    const struct shape *s;
    int fd;
    uint64_t cs, clusters, per_table, n_tables, entry_size; /* of the guest's disk */
    uint64_t reftable_clusters, refblocks, l1_clusters, snap_clusters;
    uint64_t reftable, blocks, l1, snap_table, snap_l1, first_free; /* cluster numbers */
    uint64_t total;                                                 /* clusters of the file */
    uint64_t *table_at;                                             /* cluster of each L2 table, 0 = none */
    uint64_t *data_at;                                              /* cluster of the first data of each table */
    uint64_t shared_from;                                           /* clusters from here on belong to snapshots, too */
};

static void be32(uint8_t *p, uint32_t v)
{
    for (int i = 0; i < 4; i++)
        p[i] = (uint8_t)(v >> (24 - 8 * i));
}

static void be64(uint8_t *p, uint64_t v)
{
    be32(p, (uint32_t)(v >> 32));
    be32(p + 4, (uint32_t)v);
}

static uint64_t div_up(uint64_t a, uint64_t b)
{
    return (a + b - 1) / b;
}

/* The same for the same number, in every run. */
static uint64_t mix(uint64_t x)
{
    x = (x ^ x >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ x >> 27) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
}

static void *get(size_t bytes)
{
    void *p = calloc(1, bytes);

    if (!p) {
        fprintf(stderr, "make_image: no memory\n");
        exit(1);
    }
    return p;
}

static void put(const struct maker *m, uint64_t at, const void *bytes, size_t len)
{
    if (pwrite(m->fd, bytes, len, (off_t)at) != (ssize_t)len) {
        fprintf(stderr, "make_image: write of %zu bytes at 0x%llx: %s\n", len, (unsigned long long)at, strerror(errno));
        exit(1);
    }
}

static bool has_table(const struct maker *m, uint64_t table)
{
    return m->s->fill != ONE_TABLE_IN_64 || table % 64 == 0;
}

static bool allocated(const struct maker *m, uint64_t cluster)
{
    return m->s->fill != HALF || (mix(cluster) & 1);
}

/* A run of subclusters from a random one on: two extents a cluster. */
static uint64_t subclusters(uint64_t cluster)
{
    unsigned first = (unsigned)(mix(cluster + 77) % 31);

    return (UINT64_C(0xffffffff) << first) & UINT64_C(0xffffffff);
}

static uint64_t data_of_table(const struct maker *m, uint64_t table)
{
    uint64_t n = 0, first = table * m->per_table;

    for (uint64_t i = 0; i < m->per_table && first + i < m->clusters; i++)
        n += allocated(m, first + i);
    return n;
}

/* Which table lies where: in order, or each before its data in an order of its own. */
static void place_tables(struct maker *m)
{
    uint64_t at = m->first_free;

    if (!m->s->scattered) {
        for (uint64_t t = 0; t < m->n_tables; t++)
            if (has_table(m, t))
                m->table_at[t] = at++;
        for (uint64_t t = 0; t < m->n_tables; t++) {
            if (!m->table_at[t])
                continue;
            m->data_at[t] = at;
            at += data_of_table(m, t);
        }
    } else {
        for (uint64_t k = 0; k < m->n_tables; k++) {
            uint64_t t = (k * 1021 + 7) % m->n_tables; /* 1021 is a prime, the number of tables a power of two */

            m->table_at[t] = at++;
            m->data_at[t] = at;
            at += data_of_table(m, t);
        }
    }
    m->total = at;
}

/* Fixed structures first; their number depends on the length that they make: until it does not change. */
static void lay_out(struct maker *m)
{
    uint64_t per_block = m->cs / 2, before;

    m->refblocks = 1;
    do {
        before = m->refblocks;
        m->reftable_clusters = div_up(m->refblocks * 8, m->cs);
        m->reftable = 1;
        m->blocks = m->reftable + m->reftable_clusters;
        m->l1 = m->blocks + m->refblocks;
        m->snap_table = m->l1 + m->l1_clusters;
        m->snap_l1 = m->snap_table + (m->s->snapshots ? 1 : 0);
        m->first_free = m->snap_l1 + m->s->snapshots * m->l1_clusters;
        m->shared_from = m->first_free;
        place_tables(m);
        m->refblocks = div_up(m->total, per_block);
    } while (m->refblocks != before);
}

static void write_tables(const struct maker *m)
{
    uint64_t flag = m->s->snapshots ? 0 : COPIED;
    uint8_t *table = get(m->cs), *l1 = get(m->l1_clusters * m->cs);

    for (uint64_t t = 0; t < m->n_tables; t++) {
        uint64_t at = m->data_at[t];

        if (!m->table_at[t])
            continue;
        memset(table, 0, m->cs);
        for (uint64_t i = 0; i < m->per_table && t * m->per_table + i < m->clusters; i++) {
            uint64_t cluster = t * m->per_table + i;

            if (!allocated(m, cluster))
                continue;
            be64(table + i * m->entry_size, at++ * m->cs | flag);
            if (m->s->extended)
                be64(table + i * m->entry_size + 8, subclusters(cluster));
        }
        put(m, m->table_at[t] * m->cs, table, m->cs);
        be64(l1 + 8 * t, m->table_at[t] * m->cs | flag);
    }
    put(m, m->l1 * m->cs, l1, m->l1_clusters * m->cs);
    for (unsigned s = 0; s < m->s->snapshots; s++)
        put(m, (m->snap_l1 + s * m->l1_clusters) * m->cs, l1, m->l1_clusters * m->cs);
    free(l1);
    free(table);
}

static void write_refcounts(const struct maker *m)
{
    uint64_t per_block = m->cs / 2;
    uint8_t *block = get(m->cs), *table = get(m->reftable_clusters * m->cs);

    for (uint64_t b = 0; b < m->refblocks; b++) {
        for (uint64_t i = 0; i < per_block; i++) {
            uint64_t cluster = b * per_block + i;
            unsigned count = cluster >= m->total ? 0 : cluster >= m->shared_from ? 1 + m->s->snapshots : 1;

            block[2 * i] = 0;
            block[2 * i + 1] = (uint8_t)count;
        }
        put(m, (m->blocks + b) * m->cs, block, m->cs);
        be64(table + 8 * b, (m->blocks + b) * m->cs);
    }
    put(m, m->reftable * m->cs, table, m->reftable_clusters * m->cs);
    free(table);
    free(block);
}

/* Entries of 40 bytes, extra data of 16, an id and a name: 64 bytes each. */
static void write_snapshots(const struct maker *m)
{
    for (unsigned s = 0; s < m->s->snapshots; s++) {
        uint8_t e[64] = { 0 };

        be64(e, (m->snap_l1 + s * m->l1_clusters) * m->cs);
        be32(e + 8, (uint32_t)m->n_tables);
        e[13] = 2; /* bytes of the id */
        e[15] = 2; /* of the name */
        be32(e + 16, 1700000000u + s);
        be32(e + 36, 16);
        be64(e + 48, m->clusters * m->cs);
        e[56] = e[58] = 's';
        e[57] = e[59] = (uint8_t)('0' + s);
        put(m, m->snap_table * m->cs + s * sizeof(e), e, sizeof(e));
    }
}

static void write_header(const struct maker *m)
{
    uint8_t h[HEADER_BYTES] = { 'Q', 'F', 'I', 0xfb };

    be32(h + 4, 3);
    be32(h + 20, m->s->cluster_bits);
    be64(h + 24, m->clusters * m->cs);
    be32(h + 36, (uint32_t)m->n_tables);
    be64(h + 40, m->l1 * m->cs);
    be64(h + 48, m->reftable * m->cs);
    be32(h + 56, (uint32_t)m->reftable_clusters);
    be32(h + 60, m->s->snapshots);
    be64(h + 64, m->s->snapshots ? m->snap_table * m->cs : 0);
    be64(h + 72, m->s->extended ? 0x10 : 0);
    be32(h + 96, 4);
    be32(h + 100, HEADER_BYTES);
    put(m, 0, h, sizeof(h));
}

static int make(const struct shape *s, const char *path)
{
    struct maker m = { .s = s, .cs = UINT64_C(1) << s->cluster_bits, .entry_size = s->extended ? 16 : 8 };

    m.clusters = (uint64_t)s->gib << (30 - s->cluster_bits);
    m.per_table = m.cs / m.entry_size;
    m.n_tables = div_up(m.clusters, m.per_table);
    m.l1_clusters = div_up(8 * m.n_tables, m.cs);
    m.table_at = get(m.n_tables * sizeof(uint64_t));
    m.data_at = get(m.n_tables * sizeof(uint64_t));
    lay_out(&m);
    m.fd = open(path, O_RDWR | O_CREAT | O_TRUNC, 0666);
    if (m.fd < 0 || ftruncate(m.fd, (off_t)(m.total * m.cs)) < 0) {
        fprintf(stderr, "make_image: %s (%llu bytes): %s\n", path, (unsigned long long)(m.total * m.cs),
                strerror(errno));
        return 1;
    }
    write_tables(&m);
    write_refcounts(&m);
    write_snapshots(&m);
    write_header(&m);
    free(m.table_at);
    free(m.data_at);
    return close(m.fd) < 0;
}

int main(int argc, char **argv)
{
    bool list = argc == 2 && strcmp(argv[1], "--list") == 0;

    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        if (list)
            printf("%s\t%s\n", shapes[i].name, shapes[i].what);
        else if (argc == 3 && strcmp(argv[1], shapes[i].name) == 0)
            return make(&shapes[i], argv[2]);
    }
    if (list)
        return 0;
    fprintf(stderr, "usage: make_image SHAPE FILE | make_image --list\n");
    return 1;
}
