/* floor.c - the least that a job on an image's metadata can cost: the same tables, read once with pread
 * SPDX-License-Identifier: MIT
 *
 * usage: floor [--refcounts | --raw] [--threads N] FILE. Reads the header, the L1 table and all L2 tables that it
 * names, in file order, neighbours in pieces of 1 MiB; with --refcounts the refcount table and its blocks, too. With
 * --threads N that many read at once, each the next piece: what a cold disk can give. With --raw all of the file is
 * read, in pieces of 1 MiB. Looks at no byte of what it has read. */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PIECE (UINT64_C(1) << 20)
#define OFFSET_MASK UINT64_C(0x00fffffffffffe00)

struct piece {
    uint64_t off, len;
};

static int fd;
static struct piece *pieces;
static size_t n_pieces, next_piece;

static void die(const char *what)
{
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    exit(1);
}

static uint64_t be(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < bytes; i++)
        v = v << 8 | p[i];
    return v;
}

static void read_at(uint64_t off, void *buf, uint64_t len)
{
    ssize_t n = pread(fd, buf, len, (off_t)off);

    if (n < 0 || (uint64_t)n != len)
        die("read");
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* The clusters that the table of @n words at @off names, as pieces in file order. */
static void add_table(uint64_t off, uint64_t n, uint64_t cs)
{
    uint8_t *raw = malloc(8 * n + 1);
    uint64_t *at = malloc(8 * n + 8), k = 0;

    pieces = realloc(pieces, (n_pieces + n + 1) * sizeof(*pieces));
    if (!raw || !at || !pieces)
        die("memory");
    read_at(off, raw, 8 * n);
    for (uint64_t i = 0; i < n; i++) {
        at[k] = be(raw + 8 * i, 8) & OFFSET_MASK;
        k += at[k] != 0;
    }
    qsort(at, k, 8, by_value);
    for (uint64_t i = 0; i < k; i++) {
        struct piece *last = n_pieces ? &pieces[n_pieces - 1] : NULL;

        if (i && last->off + last->len == at[i] && last->len + cs <= PIECE)
            last->len += cs;
        else
            pieces[n_pieces++] = (struct piece){ at[i], cs };
    }
    free(raw);
    free(at);
}

/* All of the file. */
static void add_file(void)
{
    off_t len = lseek(fd, 0, SEEK_END);

    if (len < 0)
        die("size");
    pieces = malloc(((uint64_t)len / PIECE + 1) * sizeof(*pieces));
    if (!pieces)
        die("memory");
    for (uint64_t off = 0; off < (uint64_t)len; off += PIECE)
        pieces[n_pieces++] = (struct piece){ off, (uint64_t)len - off < PIECE ? (uint64_t)len - off : PIECE };
}

static void add_tables(bool refcounts)
{
    uint8_t h[112];
    uint64_t cs;

    read_at(0, h, sizeof(h));
    cs = UINT64_C(1) << h[23];
    add_table(be(h + 40, 8), be(h + 36, 4), cs);
    if (refcounts)
        add_table(be(h + 48, 8), be(h + 56, 4) * cs / 8, cs);
}

static void *read_pieces(void *unused)
{
    uint8_t *buf = malloc(2 * PIECE);

    (void)unused;
    if (!buf)
        die("memory");
    for (size_t i; (i = __atomic_fetch_add(&next_piece, 1, __ATOMIC_RELAXED)) < n_pieces;)
        read_at(pieces[i].off, buf, pieces[i].len);
    free(buf);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t threads[64];
    unsigned n_threads = 1;
    bool refcounts = false, raw = false;

    for (; argc > 2; argc--, argv++) {
        if (strcmp(argv[1], "--refcounts") == 0) {
            refcounts = true;
        } else if (strcmp(argv[1], "--raw") == 0) {
            raw = true;
        } else if (strcmp(argv[1], "--threads") == 0 && argc > 3) {
            n_threads = (unsigned)atoi(argv[2]);
            argc--;
            argv++;
        }
    }
    if (argc != 2 || n_threads < 1 || n_threads > 64) {
        fprintf(stderr, "usage: floor [--refcounts | --raw] [--threads N] FILE\n");
        return 1;
    }
    fd = open(argv[1], O_RDONLY);
    if (fd < 0)
        die(argv[1]);
    if (raw)
        add_file();
    else
        add_tables(refcounts);
    for (unsigned i = 1; i < n_threads; i++)
        if (pthread_create(&threads[i], NULL, read_pieces, NULL) != 0)
            die("thread");
    read_pieces(NULL);
    for (unsigned i = 1; i < n_threads; i++)
        pthread_join(threads[i], NULL);
    free(pieces);
    return 0;
}
