/* make_delta.c - a delta of two raw disks, by comparing them granule by granule, for tests of what reads deltas
 * SPDX-License-Identifier: MIT
 *
 * usage: make_delta FORM OUT OLD NEW ID PARENT|- GRANULARITY PROBES
 * Prints the granularity, which is larger where the form needs it. What is the same is not in it; of PROBES granules
 * that are the same and no zeros there are probes. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "delta/delta.h"

struct disk {
    uint8_t *bytes;
    uint64_t size;
};

static struct disk load(const char *path)
{
    struct stat st;
    struct disk d = { 0 };
    int fd = open(path, O_RDONLY);

    if (fd < 0 || fstat(fd, &st) < 0)
        exit(2);
    d.size = (uint64_t)st.st_size;
    d.bytes = calloc(1, (size_t)d.size + 1);
    for (uint64_t at = 0; at < d.size;) {
        ssize_t n = pread(fd, d.bytes + at, (size_t)(d.size - at), (off_t)at);

        if (n <= 0)
            exit(2);
        at += (uint64_t)n;
    }
    close(fd);
    return d;
}

static bool is_zero(const uint8_t *p, uint64_t n)
{
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, (size_t)n - 1) == 0);
}

static bool is_same(const struct disk *a, const struct disk *b, uint64_t off, uint64_t n)
{
    return off + n <= a->size && memcmp(a->bytes + off, b->bytes + off, (size_t)n) == 0;
}

static uint64_t min(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static void find_probes(struct qcbmi_delta_meta *m, const struct disk *a, const struct disk *b, uint64_t gran,
                        uint32_t wanted)
{
    for (uint64_t off = 0; off < b->size && m->n_probes < wanted; off += gran) {
        uint64_t n = min(gran, b->size - off);
        struct qcbmi_delta_probe *p = &m->probes[m->n_probes];

        if (!is_same(a, b, off, n) || is_zero(b->bytes + off, n))
            continue;
        p->offset = off;
        p->length = n;
        qcbmi_digest(b->bytes + off, (size_t)n, p->digest);
        m->n_probes++;
    }
}

/* @write false: announce. */
static int records(struct qcbmi_delta_writer *w, const struct disk *a, const struct disk *b, uint64_t gran, bool write,
                   struct qcbm_error *err)
{
    int ret = 0;

    for (uint64_t off = 0; ret == 0 && off < b->size; off += gran) {
        uint64_t n = min(gran, b->size - off);
        bool zero = is_zero(b->bytes + off, n);
        struct qcbmi_delta_record r = { off, n, zero ? QCBMI_DELTA_ZERO : QCBMI_DELTA_DATA };

        if (is_same(a, b, off, n))
            continue;
        if (!write)
            ret = qcbmi_delta_announce(w, &r, err);
        else
            ret = zero ? qcbmi_delta_zero(w, off, n, err) : qcbmi_delta_data(w, off, n, b->bytes + off, err);
    }
    return ret;
}

/* Records of the qcow2 form are whole clusters, of 4 KiB at least. */
static uint64_t unit_of(const struct qcbmi_delta_wish *wish)
{
    return strcmp(wish->form->name, "qcow2") == 0 ? 4096 : 512;
}

int main(int argc, char **argv)
{
    static struct qcbmi_delta_meta m;
    static struct qcbmi_delta_writer w;
    struct qcbmi_delta_wish wish = { 0 };
    struct qcbm_error err = { 0 };
    struct disk a, b;
    uint64_t gran;
    int ret;

    if (argc != 9)
        return 2;
    a = load(argv[3]);
    b = load(argv[4]);
    gran = strtoull(argv[7], NULL, 0);
    wish.form = qcbmi_delta_form_named(argv[1]);
    wish.path = argv[2];
    m.kind = QCBMI_IDENTITY_DELTA;
    m.size_before = a.size;
    m.size_after = b.size;
    if (!wish.form || !qcbmi_identity_parse(argv[5], m.id))
        return 2;
    m.has_parent = qcbmi_identity_parse(argv[6], m.parent);
    gran = gran > unit_of(&wish) ? gran : unit_of(&wish);
    printf("%llu\n", (unsigned long long)gran);
    m.granularity = (uint32_t)gran;
    find_probes(&m, &a, &b, gran, (uint32_t)strtoul(argv[8], NULL, 0));
    ret = qcbmi_delta_writer_open(&w, &wish, &m, &err);
    if (ret == 0)
        ret = records(&w, &a, &b, gran, false, &err);
    if (ret == 0)
        ret = qcbmi_delta_begin(&w, &err);
    if (ret == 0)
        ret = records(&w, &a, &b, gran, true, &err);
    if (ret == 0)
        ret = qcbmi_delta_end(&w, &err);
    qcbmi_delta_writer_close(&w);
    if (ret < 0)
        fprintf(stderr, "make_delta: %s\n", err.message);
    free(a.bytes);
    free(b.bytes);
    return ret < 0;
}
