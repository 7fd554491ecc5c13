/* cuts.c - every state that a power cut can leave behind: old or new, and nothing else touched
 * SPDX-License-Identifier: MIT
 *
 * usage: cuts IMAGE...
 *
 * Each operation is run on each image with a backend that records writes, growth and flushes. Then the states are built
 * that a cut could leave: all writes before the last flush, and of those after it every prefix, each one alone, each one
 * missing, each torn at every sector, and random subsets of sectors (seeded). Each must open, show every bitmap that was
 * not named unchanged and those that were named all old or all new, with the same names, extensions and allocation, no
 * cluster with two owners and no used cluster without a refcount. Leaks are allowed. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io_record.h"
#include "look.h"

#define SECTOR 512u
#define RANDOM_SUBSETS 40u

struct op {
    const char *name;
    int (*run)(struct qcbm_edit *edit, struct qcbm_image *img, struct qcbm_error *err);
    const char *named; /* bitmaps that it is about, each followed by a comma */
};

static int op_add(struct qcbm_edit *edit, struct qcbm_image *img, struct qcbm_error *err)
{
    (void)img;
    return qcbm_edit_add(edit, "new", 0, 0, err);
}

static int op_synth(struct qcbm_edit *edit, struct qcbm_image *img, struct qcbm_error *err)
{
    struct qcbm_synth_options opt = QCBM_SYNTH_OPTIONS_INIT;

    opt.granularity = 512;
    opt.flags = QCBM_SYNTH_FORCE;
    return qcbm_edit_synth(edit, img, "new", &opt, NULL, err);
}

static int op_replace(struct qcbm_edit *edit, struct qcbm_image *img, struct qcbm_error *err)
{
    struct qcbm_synth_options opt = QCBM_SYNTH_OPTIONS_INIT;

    opt.flags = QCBM_SYNTH_REPLACE | QCBM_SYNTH_FORCE;
    return qcbm_edit_synth(edit, img, "b0", &opt, NULL, err);
}

static int op_disable(struct qcbm_edit *edit, struct qcbm_image *img, struct qcbm_error *err)
{
    (void)img;
    return qcbm_edit_disable(edit, "b0", err);
}

static int op_clear(struct qcbm_edit *edit, struct qcbm_image *img, struct qcbm_error *err)
{
    (void)img;
    return qcbm_edit_clear(edit, "b0", err);
}

static int op_remove(struct qcbm_edit *edit, struct qcbm_image *img, struct qcbm_error *err)
{
    (void)img;
    return qcbm_edit_remove(edit, "b0", err);
}

static int op_many(struct qcbm_edit *edit, struct qcbm_image *img, struct qcbm_error *err)
{
    int ret = qcbm_edit_remove(edit, "b0", err);

    (void)img;
    if (ret == 0)
        ret = qcbm_edit_add(edit, "b0", 1024, QCBM_BITMAP_DISABLED, err);
    if (ret == 0)
        ret = qcbm_edit_add(edit, "new", 4096, 0, err);
    if (ret == 0)
        ret = qcbm_edit_merge(edit, "new", NULL, "b1", err);
    return ret == QCBM_E_NOTFOUND ? 0 : ret; /* not every image has a b1 */
}

static int op_remove_all(struct qcbm_edit *edit, struct qcbm_image *img, struct qcbm_error *err)
{
    struct qcbm_image_info info;
    int ret = 0;

    qcbm_image_get_info(img, &info, sizeof(info));
    for (uint32_t i = 0; ret == 0 && i < info.bitmap_count; i++) {
        struct qcbm_bitmap_info b;

        qcbm_bitmap_get(img, i, &b, sizeof(b));
        ret = qcbm_edit_remove(edit, b.name, err);
    }
    return ret == 0 && info.bitmap_count == 0 ? QCBM_E_NOTFOUND : ret;
}

static const struct op ops[] = {
    { "add", op_add, "new," },         { "synth", op_synth, "new," },
    { "replace", op_replace, "b0," },  { "disable", op_disable, "b0," },
    { "clear", op_clear, "b0," },      { "remove", op_remove, "b0," },
    { "several", op_many, "b0,new," }, { "remove all", op_remove_all, "b0,b1,b2,b3,b4,b5,b6,b7," },
};

/* Kinds of write that the images must have brought about, or the proof has a hole. */
static struct {
    const char *what;
    bool seen;
} kinds[] = {
    { "refcount table entry", false },
    { "header: refcount table", false },
    { "header: copy of the backing file name", false },
    { "header: bitmaps extension, not yet visible", false },
    { "header: bitmaps extension, second copy", false },
    { "header: no bitmaps extension", false },
    { "header: autoclear bits", false },
    { "bitmap directory: flags", false },
    { "bitmap data", false },
};

static int note_kind(void *opaque, const struct qcbm_plan_step *step)
{
    (void)opaque;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        kinds[i].seen |= strcmp(kinds[i].what, step->what) == 0;
    return 0;
}

/* One operation on one image. */
struct run {
    const char *image;
    const struct op *op;
    const uint8_t *start;
    size_t start_len;
    struct record *record;
    struct look before, after;
    uint64_t states, old_states, new_states;
};

/* A state under construction. */
struct state {
    uint8_t *bytes;
    size_t len, room;
};

static bool is_named(const struct run *r, const char *name)
{
    char key[72];

    snprintf(key, sizeof(key), "%s,", name);
    return strstr(r->op->named, key) != NULL;
}

static void bad(const struct run *r, const char *what, const char *why)
{
    char text[256];

    snprintf(text, sizeof(text), "%s, %s, %s", r->image, r->op->name, what);
    look_fail(text, why);
}

static bool same_bitmap(const struct look_bitmap *a, const struct look_bitmap *b)
{
    if (!a || !b)
        return a == b;
    return a->hash == b->hash && a->flags == b->flags;
}

/* Are the named bitmaps all as in @as? */
static bool named_as(const struct run *r, const struct look *now, const struct look *as)
{
    for (uint32_t i = 0; i < now->n; i++)
        if (is_named(r, now->bitmaps[i].name) && !same_bitmap(&now->bitmaps[i], look_find(as, now->bitmaps[i].name)))
            return false;
    for (uint32_t i = 0; i < as->n; i++)
        if (is_named(r, as->bitmaps[i].name) && !look_find(now, as->bitmaps[i].name))
            return false;
    return true;
}

static void judge(struct run *r, const struct state *s, const char *what)
{
    struct look now;
    bool is_new;

    r->states++;
    if (!look_at(s->bytes, s->len, &now))
        bad(r, what, "does not open");
    if (now.names != r->before.names)
        bad(r, what, "a name or a foreign extension changed");
    if (!now.synth_ok || now.dirty != r->before.dirty || now.damaged != r->before.damaged)
        bad(r, what, "the allocation changed");
    if (!now.plan_ok)
        bad(r, what, "a cluster has two owners, or no refcount");
    if (now.errors != r->before.errors)
        bad(r, what, "there is a new finding");
    for (uint32_t i = 0; i < r->before.n; i++) {
        const struct look_bitmap *b = &r->before.bitmaps[i];

        if (!is_named(r, b->name) && !same_bitmap(b, look_find(&now, b->name)))
            bad(r, what, "a bitmap that was not named changed");
    }
    is_new = named_as(r, &now, &r->after);
    if (!is_new && !named_as(r, &now, &r->before))
        bad(r, what, "the named bitmaps are neither all old nor all new");
    r->new_states += is_new;
    r->old_states += !is_new;
}

static void reset(struct state *s, const uint8_t *bytes, size_t len)
{
    if (len > s->room) {
        s->room = 2 * len;
        s->bytes = realloc(s->bytes, s->room);
        if (!s->bytes)
            abort();
    }
    memcpy(s->bytes, bytes, len);
    s->len = len;
}

static void extend(struct state *s, size_t len)
{
    if (len <= s->len)
        return;
    if (len > s->room) {
        s->room = 2 * len;
        s->bytes = realloc(s->bytes, s->room);
        if (!s->bytes)
            abort();
    }
    memset(s->bytes + s->len, 0, len - s->len);
    s->len = len;
}

/* The part of @e that lies in sectors [@first, @end), counted from the sector in which it starts. */
static void apply_part(struct state *s, const struct record_event *e, size_t first, size_t end)
{
    uint64_t base = e->off / SECTOR * SECTOR, from, to;

    if (e->kind == RECORD_FLUSH)
        return;
    if (e->kind == RECORD_GROW) {
        extend(s, (size_t)e->off);
        return;
    }
    from = base + first * SECTOR > e->off ? base + first * SECTOR : e->off;
    to = base + end * SECTOR < e->off + e->len ? base + end * SECTOR : e->off + e->len;
    if (from >= to)
        return;
    extend(s, (size_t)to);
    memcpy(s->bytes + from, e->bytes + (from - e->off), (size_t)(to - from));
}

static size_t sectors_of(const struct record_event *e)
{
    if (e->kind != RECORD_WRITE)
        return 1;
    return (size_t)((e->off + e->len + SECTOR - 1) / SECTOR - e->off / SECTOR);
}

static void apply(struct state *s, const struct record_event *e)
{
    apply_part(s, e, 0, SIZE_MAX / SECTOR / 2);
}

/* Events [@from, @to) without a flush between them, on top of the durable @base. */
struct window {
    const struct state *base;
    const struct record_event *events;
    size_t n;
};

static void prefixes_alone_missing(struct run *r, const struct window *w, struct state *s)
{
    char what[96];

    for (size_t k = 0; k <= w->n; k++) {
        reset(s, w->base->bytes, w->base->len);
        for (size_t i = 0; i < k; i++)
            apply(s, &w->events[i]);
        snprintf(what, sizeof(what), "first %zu of %zu writes", k, w->n);
        judge(r, s, what);
    }
    for (size_t k = 0; k < 2 * w->n; k++) {
        bool alone = k < w->n;

        reset(s, w->base->bytes, w->base->len);
        for (size_t i = 0; i < w->n; i++)
            if ((i == k % w->n) == alone)
                apply(s, &w->events[i]);
        snprintf(what, sizeof(what), "write %zu of %zu %s", k % w->n, w->n, alone ? "alone" : "missing");
        judge(r, s, what);
    }
}

/* Each write torn at each sector, with all the others there or none. A write of many sectors in 32 places. */
static void torn(struct run *r, const struct window *w, struct state *s)
{
    char what[96];

    for (size_t k = 0; k < w->n; k++) {
        size_t sectors = sectors_of(&w->events[k]), step = sectors / 32 + 1;

        for (size_t cut = 1; cut < sectors; cut += step)
            for (int variant = 0; variant < 4; variant++) {
                reset(s, w->base->bytes, w->base->len);
                for (size_t i = 0; i < w->n && (variant & 1); i++)
                    if (i != k)
                        apply(s, &w->events[i]);
                apply_part(s, &w->events[k], variant & 2 ? cut : 0, variant & 2 ? sectors : cut);
                snprintf(what, sizeof(what), "write %zu of %zu torn at sector %zu, variant %d", k, w->n, cut, variant);
                judge(r, s, what);
            }
    }
}

static uint64_t next_random(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

static void random_subsets(struct run *r, const struct window *w, struct state *s, uint64_t seed)
{
    char what[96];

    for (unsigned k = 0; k < RANDOM_SUBSETS; k++) {
        uint64_t x = seed * 1000 + k + 1;

        reset(s, w->base->bytes, w->base->len);
        for (size_t i = 0; i < w->n; i++)
            for (size_t sector = 0; sector < sectors_of(&w->events[i]); sector++)
                if (next_random(&x) >> 40 & 1)
                    apply_part(s, &w->events[i], sector, sector + 1);
        snprintf(what, sizeof(what), "random subset %u of seed %" PRIu64, k, seed);
        judge(r, s, what);
    }
}

static void all_cuts(struct run *r)
{
    struct state base = { 0 }, s = { 0 };
    const struct record_event *events = r->record->events;

    reset(&base, r->start, r->start_len);
    for (size_t from = 0, to; from < r->record->n; from = to + 1) {
        struct window w = { &base, events + from, 0 };

        for (to = from; to < r->record->n && events[to].kind != RECORD_FLUSH;)
            to++;
        w.n = to - from;
        prefixes_alone_missing(r, &w, &s);
        torn(r, &w, &s);
        random_subsets(r, &w, &s, from + 1);
        for (size_t i = from; i < to; i++)
            apply(&base, &events[i]);
        if (to == r->record->n && w.n)
            bad(r, "end", "the last writes are not flushed");
    }
    free(base.bytes);
    free(s.bytes);
}

/* Run the operation with the recorder; false if it does not apply to this image. */
static bool record_run(struct run *r)
{
    struct qcbm_image *img;
    struct qcbm_edit *edit = NULL;
    struct qcbm_error err;
    int ret = qcbm_open_io(record_ops(), r->record, QCBM_OPEN_WRITE, &img, &err);

    if (ret < 0)
        bad(r, "open", err.message);
    ret = qcbm_edit_begin(img, &edit, &err);
    if (ret == 0)
        ret = r->op->run(edit, img, &err);
    if (ret == 0)
        ret = qcbm_edit_plan(edit, NULL, note_kind, NULL, &err);
    if (ret == 0)
        ret = qcbm_edit_commit(edit, NULL, &err);
    if (ret < 0 && ret != QCBM_E_NOTFOUND)
        bad(r, "commit", err.message);
    qcbm_edit_free(edit);
    qcbm_close(img);
    return ret == 0 && r->record->n > 0;
}

static uint64_t try_op(const char *image, const uint8_t *bytes, size_t len, const struct op *op)
{
    struct run r = { .image = image, .op = op, .start = bytes, .start_len = len };
    const void *end;
    size_t end_len;

    r.record = record_new(bytes, len);
    if (!look_at(bytes, len, &r.before) || !r.before.plan_ok)
        bad(&r, "start", "is not a sound image");
    if (record_run(&r)) {
        end = qcbm_mem_data(r.record->mem, &end_len);
        if (!look_at(end, end_len, &r.after))
            bad(&r, "end", "does not open");
        all_cuts(&r);
        if (!named_as(&r, &r.after, &r.before) && (r.old_states == 0 || r.new_states == 0))
            bad(&r, "states", "old and new state were not both seen");
        printf("%s, %s: %" PRIu64 " states, %" PRIu64 " old, %" PRIu64 " new\n", image, op->name, r.states,
               r.old_states, r.new_states);
    }
    record_free(r.record);
    return r.states;
}

int main(int argc, char **argv)
{
    uint64_t states = 0;

    setvbuf(stdout, NULL, _IOLBF, 0);
    for (int i = 1; i < argc; i++) {
        size_t len;
        uint8_t *bytes = look_read_file(argv[i], &len);

        for (size_t k = 0; k < sizeof(ops) / sizeof(ops[0]); k++)
            states += try_op(argv[i], bytes, len, &ops[k]);
        free(bytes);
    }
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
        if (!kinds[i].seen)
            look_fail("no image made this kind of write", kinds[i].what);
    printf("%" PRIu64 " crash states judged\n", states);
    return states ? 0 : 1;
}
