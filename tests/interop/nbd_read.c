/* nbd_read.c - a user of libqcbm-nbd: the first bytes of an export, what a context says of it, or reads of all kinds
 * SPDX-License-Identifier: MIT
 *
 * usage: nbd_read TIMEOUT_MS URI [CONTEXT]
 *        nbd_read walk URI SEED   (what must be there is below: nbd.py serves it)
 * Prints what it found, or the code of the error and its message; exit code 0 or 1. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "qcbm-nbd.h"

static int count(void *opaque, uint64_t offset, uint64_t length, uint32_t flags)
{
    uint64_t *n = opaque;

    (void)offset;
    (void)length;
    (void)flags;
    ++*n;
    return 0;
}

static int fail(const struct qcbm_error *err)
{
    printf("%s %s\n", qcbm_code_name(err->code), err->message);
    return 1;
}

static int read_first(struct qcbm_nbd *nbd)
{
    static unsigned char bytes[1 << 16];
    uint64_t n = qcbm_nbd_size(nbd) < sizeof(bytes) ? qcbm_nbd_size(nbd) : sizeof(bytes), sum = 0;
    const struct qcbm_io_ops *ops = qcbm_nbd_ops();
    struct qcbm_nbd_figures figures;
    struct qcbm_error err;

    if (n && ops->read_at(nbd, 0, bytes, (size_t)n, &err) < 0)
        return fail(&err);
    for (uint64_t i = 0; i < n; i++)
        sum += bytes[i];
    qcbm_nbd_get_figures(nbd, &figures, sizeof(figures));
    printf("%" PRIu64 " bytes, sum %" PRIu64 ", %" PRIu64 " of %" PRIu64 " read\n", qcbm_nbd_size(nbd), sum,
           figures.read_bytes, n);
    return 0;
}

/* ---- reads of all kinds: told ahead or not, across blocks, more than there is memory for ------------------- */

struct walk {
    struct qcbm_nbd *nbd;
    uint64_t size, random;
    struct qcbm_error err;
};

static uint64_t draw(struct walk *w, uint64_t below)
{
    w->random = w->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (w->random >> 33) % below;
}

static bool is_right(const uint8_t *bytes, uint64_t off, uint64_t len)
{
    for (uint64_t i = 0; i < len; i++) {
        if (bytes[i] != (off + i) * 7 % 251)
            return false;
    }
    return true;
}

static bool read_and_compare(struct walk *w, uint64_t off, uint64_t len)
{
    uint8_t *bytes = malloc(len); /* as long as it is: a byte too many is seen */
    bool ok = bytes && qcbm_nbd_ops()->read_at(w->nbd, off, bytes, len, &w->err) == 0 && is_right(bytes, off, len);

    free(bytes);
    return ok;
}

/* 8 KiB each of zeros, data, and a hole of which nobody says what it reads as. */
static bool is_data(uint64_t off)
{
    return (off >> 13) % 3 != 0;
}

static bool extent_is_right(struct walk *w, uint64_t off)
{
    uint64_t end;
    bool data;

    if (qcbm_nbd_ops()->extent(w->nbd, off, &data, &end, &w->err) < 0 || data != is_data(off) || end <= off)
        return false;
    if (end > w->size || (end < w->size && is_data(end) == data))
        return false;
    for (uint64_t at = off; at < end; at += 512) {
        if (is_data(at) != data)
            return false;
    }
    return true;
}

static bool take_step(struct walk *w, bool extents)
{
    uint64_t off = draw(w, w->size), most = w->size - off < 150000 ? w->size - off : 150000, len = 1 + draw(w, most);

    switch (draw(w, 4)) {
    case 0:
        qcbm_nbd_ops()->will_read(w->nbd, off, len);
        return true;
    case 1:
        qcbm_nbd_ops()->will_read(w->nbd, off, len);
        return read_and_compare(w, off, len);
    case 2:
        return !extents || extent_is_right(w, off);
    default:
        return read_and_compare(w, off, len);
    }
}

/* What is told is asked for once, whether the reader or the thread comes first, and nothing else is. */
static bool is_read_once(struct walk *w)
{
    struct qcbm_nbd_figures before, after;
    const uint64_t piece = 16384;

    qcbm_nbd_get_figures(w->nbd, &before, sizeof(before));
    for (uint64_t i = 0; i < 16; i += 2)
        qcbm_nbd_ops()->will_read(w->nbd, i * piece, piece);
    for (uint64_t i = 0; i < 16; i += 2) {
        if (!read_and_compare(w, i * piece, piece / 2) || !read_and_compare(w, i * piece + piece / 2, piece / 2))
            return false;
    }
    qcbm_nbd_get_figures(w->nbd, &after, sizeof(after));
    return after.reads - before.reads - 8 <= 8 && after.read_bytes - before.read_bytes == 8 * piece;
}

/* What was told and is not come for makes room in the end. */
static bool room_is_made(struct walk *w)
{
    const uint64_t all_memory = 256 << 10;
    struct qcbm_nbd_figures before, now;

    qcbm_nbd_ops()->will_read(w->nbd, 0, all_memory);
    if (!read_and_compare(w, 0, 1)) /* it has come */
        return false;
    for (unsigned i = 0; i < 300; i++) {
        if (!read_and_compare(w, all_memory + i, 1))
            return false;
    }
    qcbm_nbd_get_figures(w->nbd, &before, sizeof(before));
    qcbm_nbd_ops()->will_read(w->nbd, 2 * all_memory, 16384);
    for (unsigned ms = 0; ms < 60000; ms++) {
        qcbm_nbd_get_figures(w->nbd, &now, sizeof(now));
        if (now.read_bytes == before.read_bytes + 16384)
            return read_and_compare(w, 2 * all_memory, 16384);
        nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
    }
    return false;
}

static int walk(const char *uri, const char *seed)
{
    struct qcbm_nbd_options options = QCBM_NBD_OPTIONS_INIT;
    struct walk w = { .random = strtoul(seed, NULL, 10) };
    struct qcbm_nbd_figures figures;
    bool extents, ok;

    options.in_flight = 4;
    options.memory = 256 << 10;
    if (qcbm_nbd_open(uri, &options, &w.nbd, &w.err) < 0)
        return fail(&w.err);
    w.size = qcbm_nbd_size(w.nbd);
    extents = qcbm_nbd_has_context(w.nbd, QCBM_NBD_ALLOCATION);
    ok = is_read_once(&w) && room_is_made(&w);
    for (unsigned i = 0; ok && i < 1000; i++)
        ok = take_step(&w, extents);
    qcbm_nbd_get_figures(w.nbd, &figures, sizeof(figures));
    qcbm_nbd_close(w.nbd);
    if (!ok && w.err.code)
        return fail(&w.err);
    ok = ok && figures.most_in_flight <= 4 && figures.reads >= 300;
    puts(ok ? "all is right" : "something is wrong");
    return !ok;
}

int main(int argc, char **argv)
{
    struct qcbm_nbd_options options = QCBM_NBD_OPTIONS_INIT;
    struct qcbm_nbd *nbd;
    struct qcbm_error err;
    uint64_t n = 0;
    int code = 0;

    if (argc < 3)
        return 2;
    if (strcmp(argv[1], "walk") == 0)
        return argc > 3 ? walk(argv[2], argv[3]) : 2;
    options.timeout_ms = (uint32_t)strtoul(argv[1], NULL, 10);
    options.context = argc > 3 ? argv[3] : NULL;
    if (qcbm_nbd_open(argv[2], &options, &nbd, &err) < 0)
        return fail(&err);
    if (argc <= 3)
        code = read_first(nbd);
    else if (qcbm_nbd_extents(nbd, argv[3], count, &n, &err) < 0)
        code = fail(&err);
    else
        printf("%" PRIu64 " extents\n", n);
    qcbm_nbd_close(nbd);
    return code;
}
