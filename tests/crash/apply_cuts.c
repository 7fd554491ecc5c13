/* apply_cuts.c - what a cut of power leaves of guest bytes that are written into an image: each cluster old or new,
 * marked in bitmaps that record, the image sound, and writing the same again makes all of it new
 * SPDX-License-Identifier: MIT
 *
 * usage: apply_cuts RANDOM AGAIN IMAGE...    (works in the current folder; AGAIN: each so manyth state is written to
 * again) */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bitmap/bitmap_list.h"
#include "bitmap/bitmap_load.h"
#include "bitmap/bitmap_mark.h"
#include "delta/apply_target.h"
#include "io_record.h"
#include "look.h"
#include "states.h"

#define MAX_EXTENTS 12u
#define MAX_BYTES 65536u

/* What is written: extents of the disk, and their bytes one behind the other, as they were and as they will be. */
struct job {
    struct qcbmi_guest_extent e[MAX_EXTENTS];
    uint64_t first[MAX_EXTENTS];
    size_t n, at;
    uint8_t old[MAX_BYTES], now[MAX_BYTES];
    uint64_t len;
};

struct run {
    const char *image;
    struct job job;
    uint64_t states, old_states, new_states, between, again;
    unsigned each;
};

static _Noreturn void bad(const struct run *r, const char *what, const char *why)
{
    char text[512];

    snprintf(text, sizeof(text), "%s, %s", r->image, what);
    look_fail(text, why);
}

static uint64_t next_random(uint64_t *seed)
{
    *seed ^= *seed << 13;
    *seed ^= *seed >> 7;
    *seed ^= *seed << 17;
    return *seed;
}

static int next(void *opaque, struct qcbmi_guest_extent *out, struct qcbm_error *err)
{
    struct job *j = opaque;

    (void)err;
    if (j->at == j->n)
        return 0;
    *out = j->e[j->at++];
    return 1;
}

static int read_bytes(void *opaque, uint64_t off, void *buf, uint64_t len, struct qcbm_error *err)
{
    const struct job *j = opaque;
    uint8_t *to = buf;

    for (size_t i = 0; i < j->n && len; i++) /* extents may touch */
        if (off >= j->e[i].off && off < j->e[i].end) {
            uint64_t n = j->e[i].end - off < len ? j->e[i].end - off : len;

            memcpy(to, j->now + j->first[i] + (off - j->e[i].off), (size_t)n);
            to += n;
            off += n;
            len -= n;
        }
    return len ? qcbmi_fail(err, QCBM_E_IO, off, "no such bytes") : 0;
}

static void open_target(const struct run *r, struct qcbmi_apply_target *t, const struct qcbm_io_ops *ops, void *self,
                        unsigned flags)
{
    struct qcbm_error err;
    struct qcbmi_io io;

    if (qcbmi_io_init(&io, ops, self, flags & QCBM_OPEN_WRITE, &err) < 0 ||
        qcbmi_target_open(t, &io, r->image, true, flags, &err) < 0)
        bad(r, "open", err.message);
}

static void read_job(const struct run *r, const struct qcbmi_apply_target *t, uint8_t *to)
{
    const struct job *j = &r->job;
    struct qcbmi_data *d;
    struct qcbm_error err;

    if (qcbmi_target_reader(t, &d, &err) < 0)
        bad(r, "reading", err.message);
    for (size_t i = 0; i < j->n; i++)
        if (qcbmi_data_read(d, j->e[i].off, to + j->first[i], j->e[i].end - j->e[i].off, &err) < 0)
            bad(r, "reading", err.message);
    qcbmi_data_close(d);
}

/* Here and there on the disk. False: the bytes of the disk lie in another file, which is not recorded. */
static bool make_job(struct run *r, const uint8_t *bytes, size_t len)
{
    struct job *j = &r->job;
    struct qcbmi_apply_target t;
    struct qcbm_mem *mem;
    uint64_t seed = 77 + len, at = 0, size;
    bool recorded;

    memset(j, 0, sizeof(*j));
    if (qcbm_mem_new(bytes, len, &mem, NULL) < 0)
        bad(r, "start", "no memory");
    open_target(r, &t, qcbm_mem_ops(), mem, 0);
    size = qcbmi_target_size(&t) & ~UINT64_C(511);
    while (j->n < MAX_EXTENTS) {
        uint64_t off = at + next_random(&seed) % 24 * 512, end = off + (1 + next_random(&seed) % 10) * 512;

        if (end > size || j->len + (end - off) > MAX_BYTES)
            break;
        j->e[j->n] = (struct qcbmi_guest_extent){ off, end, next_random(&seed) % 3 == 0 };
        j->first[j->n] = j->len;
        for (uint64_t i = 0; i < end - off; i++)
            j->now[j->len + i] = j->e[j->n].zero ? 0 : (uint8_t)next_random(&seed);
        j->len += end - off;
        j->n++;
        at = end + (j->n % 4 == 3 ? size / 4 / 512 * 512 : 0);
    }
    recorded = !t.handle.image->g.data_file;
    if (recorded)
        read_job(r, &t, j->old);
    qcbmi_target_close(&t);
    return recorded;
}

static void mark(const struct run *r, struct qcbmi_apply_target *t)
{
    struct qcbmi_dirtymap map = { 0 };
    struct qcbm_error err;
    int ret;

    if (!qcbmi_target_records(t))
        return;
    ret = qcbmi_dirtymap_init(&map, t->handle.image->g.sector_size_down, qcbmi_target_granularity(t), &err);
    for (size_t i = 0; ret == 0 && i < r->job.n; i++)
        ret = qcbmi_dirtymap_set(&map, r->job.e[i].off, r->job.e[i].end, &err);
    if (ret == 0)
        ret = qcbmi_target_mark(t, &map, &err);
    if (ret < 0)
        bad(r, "marking", err.message);
    qcbmi_dirtymap_free(&map);
}

static void write_job(struct run *r, struct qcbmi_apply_target *t)
{
    const struct qcbmi_guest_stream stream = { next, read_bytes, &r->job };
    const struct qcbmi_target_write w = { .stream = &stream, .batch = 24 };
    struct qcbm_error err;

    r->job.at = 0;
    if (qcbmi_target_write(t, &w, &err) < 0)
        bad(r, "writing", err.message);
}

/* Are all bits there that what has changed by now needs? */
static void check_bitmaps(const struct run *r, const struct qcbmi_apply_target *t, const char *what)
{
    const struct qcbmi_bitmap_list *list = t->handle.bitmaps;

    for (uint32_t i = 0; i < list->n; i++) {
        struct qcbmi_dirtymap map = { 0 };

        if (!qcbmi_bitmap_records(list->list[i].d.flags) ||
            qcbmi_bitmap_load(t->handle.image, &list->list[i], &map, NULL) < 0)
            continue;
        for (size_t k = 0; k < r->job.n; k++) {
            uint64_t start = 0, end = 0;

            if (!qcbmi_dirtymap_next(&map, r->job.e[k].off, &start, &end) || start > r->job.e[k].off ||
                end < r->job.e[k].end)
                bad(r, what, "new bytes beside a bitmap that calls them clean");
        }
        qcbmi_dirtymap_free(&map);
    }
}

static void check_sound(const struct run *r, struct qcbmi_apply_target *t, const char *what)
{
    struct qcbm_check_result c;
    struct qcbm_error err;

    if (qcbm_check(&t->handle, NULL, &c, sizeof(c), &err) < 0)
        bad(r, what, err.message);
    if (c.corruptions || c.check_errors)
        bad(r, what, "the check finds errors");
}

static void write_again(struct run *r, const uint8_t *bytes, size_t len, const char *what)
{
    static uint8_t got[MAX_BYTES];
    struct qcbmi_apply_target t;
    struct qcbm_mem *mem;

    if (qcbm_mem_new(bytes, len, &mem, NULL) < 0)
        bad(r, what, "no memory");
    open_target(r, &t, qcbm_mem_ops(), mem, QCBM_OPEN_WRITE);
    mark(r, &t);
    write_job(r, &t);
    read_job(r, &t, got);
    if (memcmp(got, r->job.now, (size_t)r->job.len) != 0)
        bad(r, what, "written again, and not what was written");
    check_sound(r, &t, what);
    check_bitmaps(r, &t, what);
    qcbmi_target_close(&t);
    r->again++;
}

static int try_state(void *opaque, const uint8_t *bytes, size_t len, const char *what)
{
    static uint8_t got[MAX_BYTES];
    struct run *r = opaque;
    struct qcbmi_apply_target t;
    struct qcbm_mem *mem;
    uint64_t old = 0, new = 0;

    if (qcbm_mem_new(bytes, len, &mem, NULL) < 0)
        bad(r, what, "no memory");
    open_target(r, &t, qcbm_mem_ops(), mem, 0);
    read_job(r, &t, got);
    for (uint64_t i = 0; i < r->job.len; i += 512) {
        bool is_old = memcmp(got + i, r->job.old + i, 512) == 0, is_new = memcmp(got + i, r->job.now + i, 512) == 0;

        if (!is_old && !is_new)
            bad(r, what, "a sector of the disk is neither old nor new");
        old += is_old && !is_new;
        new += is_new && !is_old;
    }
    if (new)
        check_bitmaps(r, &t, what);
    check_sound(r, &t, what);
    qcbmi_target_close(&t);
    r->old_states += new == 0;
    r->new_states += old == 0;
    r->between += old && new;
    if (r->states++ % r->each == 0)
        write_again(r, bytes, len, what);
    return 0;
}

int main(int argc, char **argv)
{
    static struct run r;

    if (argc < 4)
        look_fail("usage", "apply_cuts RANDOM AGAIN IMAGE...");
    r.each = (unsigned)strtoul(argv[2], NULL, 10);
    for (int i = 3; i < argc; i++) {
        struct states_source src = { .random_subsets = (unsigned)strtoul(argv[1], NULL, 10), .seed = 1 };
        struct qcbmi_apply_target t;
        struct states_count count;
        struct record *record;
        size_t len;
        uint8_t *bytes = look_read_file(argv[i], &len);

        r.image = argv[i];
        if (!make_job(&r, bytes, len)) {
            free(bytes);
            continue;
        }
        record = record_new(bytes, len);
        open_target(&r, &t, record_ops(), record, QCBM_OPEN_WRITE);
        mark(&r, &t);
        write_job(&r, &t);
        qcbmi_target_close(&t);
        src.start = bytes;
        src.start_len = len;
        src.events = record->events;
        src.n = record->n;
        states_walk(&src, try_state, &r, &count);
        record_free(record);
        free(bytes);
    }
    printf("states of guest writes: %" PRIu64 ", of them %" PRIu64 " old, %" PRIu64 " new, %" PRIu64
           " between; %" PRIu64 " written to again\n",
           r.states, r.old_states, r.new_states, r.between, r.again);
    return r.old_states && r.new_states && r.between ? 0 : 1;
}
