/* verbs.c - random sequences of changes of bitmaps, against arrays of bits
 * SPDX-License-Identifier: MIT
 *
 * usage: verbs SEED COUNT
 *
 * Each sequence has two small images in memory and makes a few commits of a few changes each, drawn at random, on one
 * or the other. The model knows every granule as a bool and finds every answer byte range by byte range. Each change
 * must succeed or fail as in the model, and a failed one change nothing; after each commit the image is opened again
 * from its bytes, every bit is compared, and the check must find nothing. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "image_builder.h"
#include "look.h"
#include "verbs_model.h"

#define IN_USE 1u
#define AUTO 2u

/* ---- numbers ---- */

static uint64_t state;

static uint64_t below(uint64_t n)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return (state >> 11) % n;
}

static bool chance(unsigned percent)
{
    return below(100) < percent;
}

/* ---- one image beside its model ---- */

struct side {
    struct qcbm_mem *mem;
    struct qcbm_image *img;
    struct model stored, now;
};

struct buffer {
    uint8_t bytes[4096];
    size_t len, at;
};

static int put(void *opaque, const void *bytes, size_t len)
{
    struct buffer *b = opaque;

    if (len > sizeof(b->bytes) - b->len)
        return 1;
    memcpy(b->bytes + b->len, bytes, len);
    b->len += len;
    return 0;
}

/* In pieces of odd lengths, as pipes give. */
static int64_t get(void *opaque, void *to, size_t len)
{
    struct buffer *b = opaque;
    size_t n = b->len - b->at < len ? b->len - b->at : len;

    if (n > 1)
        n = 1 + (size_t)below(n);
    memcpy(to, b->bytes + b->at, n);
    b->at += n;
    return (int64_t)n;
}

static uint64_t sequence;

static _Noreturn void wrong(const char *what, const char *why)
{
    char text[256];

    snprintf(text, sizeof(text), "sequence %" PRIu64 ", %s", sequence, what);
    look_fail(text, why);
}

static void need(int ret, const struct qcbm_error *err, const char *what)
{
    if (ret < 0)
        wrong(what, err->message);
}

static void open_side(struct side *s, const void *bytes, size_t len)
{
    struct qcbm_error err;

    need(qcbm_mem_new(bytes, len, &s->mem, &err), &err, "memory");
    qcbm_mem_keep(s->mem);
    need(qcbm_open_io(qcbm_mem_ops(), s->mem, QCBM_OPEN_WRITE, &s->img, &err), &err, "open");
}

static void close_side(struct side *s)
{
    qcbm_close(s->img);
    qcbm_mem_free(s->mem);
}

static void start_side(struct side *s, uint64_t size, const char *used)
{
    struct build_options opt = { .size = size, .cluster_bits = 9 + (unsigned)below(4) };
    struct image_builder b;

    opt.refcount_bits = 1u << below(7);
    build_start(&b, &opt);
    memset(&s->now, 0, sizeof(s->now));
    s->now.size = size;
    if (used) {
        build_bitmap(&b, used, 9, IN_USE | AUTO, NULL, 0);
        model_append(&s->now, used, 9, true)->in_use = true;
    }
    build_finish(&b);
    s->stored = s->now;
    open_side(s, b.bytes, b.len);
    build_free(&b);
}

/* ---- comparing ---- */

struct sectors {
    bool dirty[MAX_BITS];
    uint64_t end;
};

static int note_extent(void *opaque, const struct qcbm_extent *e)
{
    struct sectors *s = opaque;

    if (e->offset != s->end)
        return 1;
    s->end += e->length;
    for (uint64_t at = e->offset; at < s->end; at += 512)
        s->dirty[at / 512] = e->dirty;
    return 0;
}

static void compare_bits(const struct side *s, const struct bitmap *b)
{
    struct sectors got = { .end = 0 };
    struct buffer raw = { .len = 0 };
    unsigned n = model_granules(&s->now, b->gran_bits);
    struct qcbm_error err;

    need(qcbm_bitmap_extents(s->img, b->name, 0, note_extent, &got, &err), &err, "extents");
    if (got.end != s->now.size)
        wrong("extents", "do not reach the end");
    for (uint64_t byte = 0; byte < s->now.size; byte += 512)
        if (got.dirty[byte / 512] != model_dirty_at(b, byte))
            wrong(b->name, model_dirty_at(b, byte) ? "a bit is missing" : "a bit is too much");
    need(qcbm_bitmap_export(s->img, b->name, QCBM_TRANSFER_RAW, put, &raw, &err), &err, "raw export");
    if (raw.len != (n + 7) / 8)
        wrong(b->name, "length of the raw bits");
    for (unsigned i = 0; i < 8 * raw.len; i++)
        if ((raw.bytes[i / 8] >> (i % 8) & 1) != (i < n && b->bits[i]))
            wrong(b->name, "raw bits");
}

static void compare(const struct side *s)
{
    struct qcbm_check_result result;
    struct qcbm_image_info info;
    struct qcbm_error err;

    qcbm_image_get_info(s->img, &info, sizeof(info));
    if (info.bitmap_count != s->now.n)
        wrong("directory", "the number of bitmaps");
    for (unsigned i = 0; i < s->now.n; i++) {
        const struct bitmap *b = &s->now.list[i];
        struct qcbm_bitmap_info got;

        qcbm_bitmap_get(s->img, i, &got, sizeof(got));
        if (strcmp(got.name, b->name) != 0 || got.granularity != UINT64_C(1) << b->gran_bits ||
            got.enabled != b->enabled || got.in_use != b->in_use)
            wrong(b->name, "name, granularity, state or place");
        if (!b->in_use)
            compare_bits(s, b);
    }
    need(qcbm_check(s->img, NULL, &result, sizeof(result), &err), &err, "check");
    if (result.corruptions || result.leaks || result.check_errors || result.damages)
        wrong("check", "there is a finding");
}

/* ---- changes: each returns what the library must return ---- */

struct change {
    struct side *side, *other;
    struct qcbm_edit *edit;
    char name[4], second[4]; /* the second name: of a source, or new */
    bool foreign;            /* the source is in the other image */
    unsigned gran_bits;
    uint64_t offset, length;
    int got;
    struct qcbm_error err;
};

/* What finding a bitmap to be changed or read gives. */
static int usable(const struct bitmap *b)
{
    return !b ? QCBM_E_NOTFOUND : b->in_use ? QCBM_E_INUSE : 0;
}

/* Sources: of this image as edited so far, of the other one as stored. */
static struct bitmap *source_of(struct change *c)
{
    return model_find(c->foreign ? &c->other->stored : &c->side->now, c->second);
}

static struct qcbm_image *source_image(struct change *c)
{
    return c->foreign ? c->other->img : NULL;
}

static bool source_fits(const struct change *c)
{
    return !c->foreign || c->other->stored.size == c->side->now.size;
}

static int do_add(struct change *c)
{
    bool enabled = chance(60);

    c->got = qcbm_edit_add(c->edit, c->name, UINT64_C(1) << c->gran_bits, enabled ? 0 : QCBM_BITMAP_DISABLED, &c->err);
    if (model_find(&c->side->now, c->name))
        return QCBM_E_EXISTS;
    model_append(&c->side->now, c->name, c->gran_bits, enabled);
    return 0;
}

static int do_remove(struct change *c)
{
    struct model *m = &c->side->now;
    struct bitmap *b = model_find(m, c->name);

    c->got = qcbm_edit_remove(c->edit, c->name, &c->err);
    if (!b)
        return QCBM_E_NOTFOUND;
    m->n--;
    memmove(b, b + 1, (size_t)(&m->list[m->n] - b) * sizeof(*b));
    return 0;
}

static int do_clear(struct change *c)
{
    struct bitmap *b = model_find(&c->side->now, c->name);

    c->got = qcbm_edit_clear(c->edit, c->name, &c->err);
    if (usable(b) == 0)
        memset(b->bits, 0, sizeof(b->bits));
    return usable(b);
}

static int do_enable(struct change *c)
{
    struct bitmap *b = model_find(&c->side->now, c->name);
    bool on = chance(70);

    c->got = (on ? qcbm_edit_enable : qcbm_edit_disable)(c->edit, c->name, &c->err);
    if (usable(b) == 0)
        b->enabled = on;
    return usable(b);
}

static int do_combine(struct change *c)
{
    struct bitmap *to = model_find(&c->side->now, c->name), *from = source_of(c);
    enum combination how = (enum combination)below(3);

    c->got = (how == OR    ? qcbm_edit_merge
              : how == AND ? qcbm_edit_intersect
                           : qcbm_edit_subtract)(c->edit, c->name, source_image(c), c->second, &c->err);
    if (usable(to) < 0)
        return usable(to);
    if (usable(from) < 0)
        return usable(from);
    if (!source_fits(c))
        return QCBM_E_ARG;
    model_combine(&c->side->now, to, from, how);
    return 0;
}

static int do_copy(struct change *c)
{
    struct bitmap *from = source_of(c), copy;

    c->got = qcbm_edit_copy(c->edit, c->name, source_image(c), c->second, &c->err);
    if (usable(from) < 0)
        return usable(from);
    if (!source_fits(c))
        return QCBM_E_ARG;
    if (model_find(&c->side->now, c->name))
        return QCBM_E_EXISTS;
    copy = *from;
    *model_append(&c->side->now, c->name, copy.gran_bits, copy.enabled) = copy;
    memcpy(c->side->now.list[c->side->now.n - 1].name, c->name, sizeof(c->name));
    return 0;
}

static int do_rename(struct change *c)
{
    struct bitmap *b = model_find(&c->side->now, c->name);

    c->got = qcbm_edit_rename(c->edit, c->name, c->second, &c->err);
    if (usable(b) < 0)
        return usable(b);
    if (model_find(&c->side->now, c->second))
        return QCBM_E_EXISTS;
    memcpy(b->name, c->second, sizeof(b->name));
    return 0;
}

static int do_rotate(struct change *c)
{
    struct bitmap *b = model_find(&c->side->now, c->name);

    c->got = qcbm_edit_rotate(c->edit, c->name, c->second, &c->err);
    if (usable(b) < 0)
        return usable(b);
    if (!b->enabled)
        return QCBM_E_ARG;
    if (model_find(&c->side->now, c->second))
        return QCBM_E_EXISTS;
    b->enabled = false;
    model_append(&c->side->now, c->second, b->gran_bits, true);
    return 0;
}

static int do_regranularise(struct change *c)
{
    struct bitmap *b = model_find(&c->side->now, c->name), old;

    c->got = qcbm_edit_regranularise(c->edit, c->name, UINT64_C(1) << c->gran_bits, &c->err);
    if (usable(b) < 0)
        return usable(b);
    old = *b;
    b->gran_bits = c->gran_bits;
    memset(b->bits, 0, sizeof(b->bits));
    model_combine(&c->side->now, b, &old, OR);
    return 0;
}

static int do_range(struct change *c)
{
    struct bitmap *b = model_find(&c->side->now, c->name);
    uint64_t end = c->offset + c->length, from, to;
    bool dirty = chance(60);

    c->got = (dirty ? qcbm_edit_set_range : qcbm_edit_unset_range)(c->edit, c->name, c->offset, c->length, &c->err);
    if (usable(b) < 0)
        return usable(b);
    if (end > c->side->now.size)
        return QCBM_E_ARG;
    for (unsigned i = 0; i < model_granules(&c->side->now, b->gran_bits); i++) {
        model_bytes_of(&c->side->now, b, i, &from, &to);
        if (dirty && c->length && from < end && c->offset < to)
            b->bits[i] = true;
        if (!dirty && c->offset <= from && to <= end)
            b->bits[i] = false;
    }
    return 0;
}

/* Export what is stored, import it under another name. */
static int do_transfer(struct change *c)
{
    struct side *from = c->foreign ? c->other : c->side;
    struct bitmap *b = model_find(&from->stored, c->second), *copy;
    struct qcbm_import_options opt = QCBM_IMPORT_OPTIONS_INIT;
    struct buffer file = { .len = 0 };

    if (from->stored.size == c->side->now.size && chance(50)) /* raw bits do not say their size */
        opt.format = QCBM_TRANSFER_RAW;
    if (b && opt.format == QCBM_TRANSFER_RAW)
        opt.granularity = UINT64_C(1) << b->gran_bits;
    c->got = qcbm_bitmap_export(from->img, c->second, opt.format, put, &file, &c->err);
    if (usable(b) < 0 || c->got < 0)
        return usable(b);
    c->got = qcbm_edit_import(c->edit, c->name, &opt, get, &file, NULL, 0, &c->err);
    if (from->stored.size != c->side->now.size)
        return QCBM_E_ARG;
    if (model_find(&c->side->now, c->name))
        return QCBM_E_EXISTS;
    copy = model_append(&c->side->now, c->name, b->gran_bits, opt.format == QCBM_TRANSFER_RAW || b->enabled);
    memcpy(copy->bits, b->bits, sizeof(copy->bits));
    return 0;
}

typedef int change_fn(struct change *c);
enum { ADD, REMOVE }; /* places in the table */

static const struct {
    const char *name;
    change_fn *fn;
} changes[] = {
    { "add", do_add },
    { "remove", do_remove },
    { "clear", do_clear },
    { "enable", do_enable },
    { "combine", do_combine },
    { "combine", do_combine },
    { "combine", do_combine },
    { "copy", do_copy },
    { "rename", do_rename },
    { "rotate", do_rotate },
    { "regranularise", do_regranularise },
    { "range", do_range },
    { "range", do_range },
    { "range", do_range },
    { "range", do_range },
    { "transfer", do_transfer },
};
#define N_CHANGES (sizeof(changes) / sizeof(changes[0]))

static uint64_t n_changes, n_refused, seen[N_CHANGES];

/* ---- sequences ---- */

/* Mostly the name of one that is there. */
static void draw_name(const struct model *m, char *name)
{
    if (m->n && chance(75))
        memcpy(name, m->list[below(m->n)].name, 4);
    else
        snprintf(name, 4, "%c", (char)('a' + below(N_NAMES)));
}

/* Mostly one that is not. */
static void draw_new_name(struct model *m, char *name)
{
    do {
        snprintf(name, 4, "%c", (char)('a' + below(N_NAMES)));
    } while (model_find(m, name) && chance(90));
}

static void draw_range(struct change *c, uint64_t size)
{
    uint64_t unit = UINT64_C(1) << below(13);

    c->offset = below(size / unit + 1) * unit;
    c->length = below(size / unit + 1) * unit;
    if (chance(30))
        c->length = below(2048);
    if (chance(90) && c->offset + c->length > size)
        c->length = size - (c->offset < size ? c->offset : (c->offset = 0));
}

static void change_once(struct change *c)
{
    size_t k = (size_t)below(N_CHANGES);
    struct model before = c->side->now;
    int want;

    if (c->side->now.n + 2 > N_NAMES)
        k = REMOVE;
    else if (c->side->now.n == 0 && chance(80))
        k = ADD;
    c->foreign = chance(40);
    draw_name(&c->side->now, c->name);
    draw_name(c->foreign ? &c->other->stored : &c->side->now, c->second);
    if (changes[k].fn == do_rename || changes[k].fn == do_rotate)
        draw_new_name(&c->side->now, c->second);
    if (changes[k].fn == do_add || changes[k].fn == do_copy || changes[k].fn == do_transfer)
        draw_new_name(&c->side->now, c->name);
    c->gran_bits = 9 + (unsigned)below(8);
    draw_range(c, c->side->now.size);
    memset(&c->err, 0, sizeof(c->err));
    want = changes[k].fn(c);
    if (want < 0)
        c->side->now = before;
    if (c->got != want) {
        fprintf(stderr, "got %d, not %d: %s\n", c->got, want, c->err.message);
        wrong(changes[k].name, "another result than the model's");
    }
    n_changes++;
    n_refused += want < 0;
    seen[k] += want == 0;
}

static void commit_once(struct side *side, struct side *other)
{
    struct change c = { .side = side, .other = other };
    struct qcbm_mem *mem = side->mem;
    const void *bytes;
    size_t len;

    need(qcbm_edit_begin(side->img, &c.edit, &c.err), &c.err, "begin");
    for (uint64_t n = 1 + below(4); n > 0; n--)
        change_once(&c);
    need(qcbm_edit_commit(c.edit, NULL, 0, &c.err), &c.err, "commit");
    qcbm_edit_free(c.edit);
    side->stored = side->now;
    compare(side); /* as the handle has it */
    qcbm_close(side->img);
    bytes = qcbm_mem_data(mem, &len);
    open_side(side, bytes, len);
    qcbm_mem_free(mem);
    compare(side);
}

static void run_sequence(void)
{
    uint64_t size = 512 * (1 + below(MAX_BITS)), other = chance(85) ? size : 512 * (1 + below(MAX_BITS));
    struct side a, b;

    start_side(&a, size, chance(20) ? "u" : NULL);
    start_side(&b, other, chance(20) ? "c" : NULL);
    for (uint64_t n = 2 + below(6); n > 0; n--) {
        if (chance(65))
            commit_once(&a, &b);
        else
            commit_once(&b, &a);
    }
    close_side(&a);
    close_side(&b);
}

int main(int argc, char **argv)
{
    uint64_t seed = argc > 1 ? strtoull(argv[1], NULL, 0) : 1, count = argc > 2 ? strtoull(argv[2], NULL, 0) : 1000;

    for (sequence = seed; sequence < seed + count; sequence++) {
        state = sequence * UINT64_C(0x9e3779b97f4a7c15) + 1;
        run_sequence();
    }
    for (size_t k = 0; k < N_CHANGES; k++)
        if (count >= 1000 && seen[k] == 0)
            look_fail(changes[k].name, "never succeeded");
    printf("%" PRIu64 " sequences, %" PRIu64 " changes, %" PRIu64 " of them refused as the model has it\n", count,
           n_changes, n_refused);
    return 0;
}
