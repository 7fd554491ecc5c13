/* attach_cuts.c - what a cut of "attach --reset" leaves: each entry old or new, the bits of what changes there before
 * any is new, another reset that ends it, and an undo that leads back
 * SPDX-License-Identifier: MIT
 *
 * usage: attach_cuts RANDOM */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io_record.h"
#include "look.h"
#include "states.h"

#define DATA_FILE "data.tmp"
#define META_FILE "meta.tmp"
#define STATE_FILE "state.tmp"
#define UNDO_FILE "undo.tmp"
#define DISK ((size_t)6 << 20)
#define MAX_TABLES 64u

struct shape {
    const char *name;
    uint32_t cluster_size;
    bool extended;
    unsigned bitmaps;
    bool hides; /* what is not zeros */
};
static const struct shape shapes[] = {
    { "plain", 4096, false, 1, true },           { "small clusters, two bitmaps", 1024, false, 2, true },
    { "subclusters", 16384, true, 1, true },     { "without bitmaps", 4096, false, 0, true },
    { "nothing hidden", 4096, false, 2, false },
};

struct run {
    const struct shape *shape;
    const uint8_t *start, *end;
    size_t start_len, end_len;
    uint64_t tables[MAX_TABLES], l1;
    unsigned n_tables;
    struct look before, after;
    uint64_t old_states, new_states, between;
};

static _Noreturn void bad(const struct run *r, const char *what, const char *why)
{
    char text[512];

    snprintf(text, sizeof(text), "%s, %s", r->shape->name, what);
    look_fail(text, why);
}

static void write_file(const char *name, const uint8_t *bytes, size_t len)
{
    FILE *out = fopen(name, "wb");

    if (!out || fwrite(bytes, 1, len, out) != len || fclose(out) != 0)
        look_fail(name, "cannot be written");
}

static uint64_t load(const uint8_t *p)
{
    uint64_t v = 0;

    for (unsigned i = 0; i < 8; i++)
        v = v << 8 | p[i];
    return v;
}

/* ---- images ---- */

/* Data in the first half, zeros behind it. */
static void make_data(void)
{
    uint8_t *bytes = calloc(1, DISK);

    if (!bytes)
        abort();
    memset(bytes, 0x5a, DISK / 2);
    write_file(DATA_FILE, bytes, DISK);
    free(bytes);
}

static void find_tables(struct run *r, const uint8_t *bytes)
{
    uint64_t per = r->shape->cluster_size / (r->shape->extended ? 16 : 8), cs = r->shape->cluster_size;
    uint64_t n = (DISK / cs + per - 1) / per;

    r->l1 = load(bytes + 40);
    r->n_tables = 0;
    for (uint64_t i = 0; i < n; i++)
        r->tables[r->n_tables++ % MAX_TABLES] = load(bytes + r->l1 + 8 * i) & UINT64_C(0x00fffffffffffe00);
    if (n > MAX_TABLES)
        bad(r, "tables", "more than the test can have");
}

/* What a guest discarded: each third cluster, or subcluster, of the half with data or of the other one. */
static void punch(const struct run *r, uint8_t *bytes)
{
    uint32_t cs = r->shape->cluster_size, width = r->shape->extended ? 16 : 8, per = cs / width;

    for (unsigned t = 0; t < r->n_tables; t++)
        for (uint32_t i = 0; i < per; i += 3) {
            uint64_t guest = ((uint64_t)t * per + i) * cs;
            uint8_t *at = bytes + r->tables[t] + (uint64_t)i * width;

            if (guest >= DISK || (guest < DISK / 2) != r->shape->hides)
                continue;
            if (width == 8)
                at[7] |= 1;
            else
                at[11] = 1, at[15] = 0xfe; /* subcluster 0: zeros; 8: data no more, unallocated */
        }
}

static uint8_t *make_image(struct run *r, size_t *len)
{
    struct qcbm_attach_options o = QCBM_ATTACH_OPTIONS_INIT;
    struct qcbm_error err;
    struct qcbm_image *img;
    struct qcbm_edit *edit;
    uint8_t *bytes;

    o.cluster_size = r->shape->cluster_size;
    o.flags = r->shape->extended ? QCBM_ATTACH_EXTENDED_L2 : 0;
    o.bitmap = r->shape->bitmaps ? "b0" : NULL;
    o.granularity = r->shape->bitmaps ? 512 : 0;
    unlink(META_FILE);
    if (qcbm_attach(DATA_FILE, META_FILE, &o, NULL, 0, &err) < 0)
        bad(r, "attach", err.message);
    if (r->shape->bitmaps > 1) {
        if (qcbm_open(META_FILE, QCBM_OPEN_WRITE, &img, &err) < 0 || qcbm_edit_begin(img, &edit, &err) < 0 ||
            qcbm_edit_add(edit, "off", 4096, QCBM_BITMAP_DISABLED, &err) < 0 ||
            qcbm_edit_set_range(edit, "off", 1 << 20, 5000, &err) < 0 || qcbm_edit_commit(edit, NULL, 0, &err) < 0)
            bad(r, "a second bitmap", err.message);
        qcbm_edit_free(edit);
        qcbm_close(img);
    }
    bytes = look_read_file(META_FILE, len);
    find_tables(r, bytes);
    punch(r, bytes);
    return bytes;
}

/* ---- states ---- */

static struct record *reset(const struct run *r, const uint8_t *bytes, size_t len, const char *undo, uint64_t *changed)
{
    struct record *record = record_new(bytes, len);
    struct qcbm_attach_reset result;
    struct qcbm_edit *edit;
    struct qcbm_image *img;
    struct qcbm_error err;

    if (qcbm_open_io(record_ops(), record, QCBM_OPEN_WRITE, &img, &err) < 0 || qcbm_edit_begin(img, &edit, &err) < 0 ||
        (undo && qcbm_edit_set_undo(edit, undo, &err) < 0) ||
        qcbm_edit_attach_reset(edit, DATA_FILE, &result, sizeof(result), &err) < 0 ||
        qcbm_edit_commit(edit, NULL, 0, &err) < 0)
        bad(r, "reset", err.message);
    if (changed)
        *changed = result.changed_bytes;
    qcbm_edit_free(edit);
    qcbm_close(img);
    return record;
}

static bool same_bits(const struct look *a, const struct look *b)
{
    if (a->n != b->n)
        return false;
    for (uint32_t i = 0; i < a->n; i++) {
        const struct look_bitmap *other = look_find(b, a->bitmaps[i].name);

        if (!other || other->hash != a->bitmaps[i].hash || other->flags != a->bitmaps[i].flags)
            return false;
    }
    return true;
}

/* How many entries are neither old nor new; *@n_new: that differ from the old ones. */
static uint64_t judge_entries(const struct run *r, const uint8_t *bytes, uint64_t *n_new, uint64_t *n_old)
{
    uint32_t width = r->shape->extended ? 16 : 8;
    uint64_t wrong = 0;

    *n_new = *n_old = 0;
    for (unsigned t = 0; t < r->n_tables; t++)
        for (uint64_t at = r->tables[t]; at < r->tables[t] + r->shape->cluster_size; at += width) {
            bool is_old = memcmp(bytes + at, r->start + at, width) == 0,
                 is_new = memcmp(bytes + at, r->end + at, width) == 0;

            wrong += !is_old && !is_new;
            *n_new += is_new && !is_old;
            *n_old += is_old && !is_new;
        }
    return wrong;
}

static void judge_check(const struct run *r, const uint8_t *bytes, size_t len, const char *what)
{
    struct qcbm_check_result result = { 0 };
    struct qcbm_image *img;
    struct qcbm_mem *mem;
    struct qcbm_error err;

    if (qcbm_mem_new(bytes, len, &mem, &err) < 0 || qcbm_open_io(qcbm_mem_ops(), mem, 0, &img, &err) < 0 ||
        qcbm_check(img, NULL, &result, sizeof(result), &err) < 0)
        bad(r, what, err.message);
    qcbm_close(img);
    if (result.corruptions || result.damages || result.check_errors)
        bad(r, what, "the check finds something");
}

static void judge_repeated(const struct run *r, const uint8_t *bytes, size_t len, const char *what)
{
    struct record *again = reset(r, bytes, len, NULL, NULL);
    size_t again_len;
    const uint8_t *now = qcbm_mem_data(again->mem, &again_len);
    uint64_t n_new, n_old;
    struct look look;

    if (judge_entries(r, now, &n_new, &n_old) || n_old)
        bad(r, what, "another reset does not make all entries plain");
    if (!look_at(now, again_len, &look) || !same_bits(&look, &r->after))
        bad(r, what, "another reset gives other bits");
    record_free(again);
}

static void judge_undone(const struct run *r, const uint8_t *bytes, size_t len, const char *what)
{
    struct qcbm_undo_options o = QCBM_UNDO_OPTIONS_INIT;
    struct qcbm_undo_result result;
    struct qcbm_error err;
    uint8_t *undone;
    size_t undone_len;

    write_file(STATE_FILE, bytes, len);
    o.force = true; /* a copy of the image, as far as times tell */
    if (qcbm_undo_path(STATE_FILE, QCBM_OPEN_WRITE, UNDO_FILE, &o, &result, sizeof(result), &err) < 0)
        bad(r, what, err.message);
    undone = look_read_file(STATE_FILE, &undone_len);
    if (undone_len != r->start_len || memcmp(undone, r->start, undone_len) != 0)
        bad(r, what, "undone, and not the first image");
    free(undone);
}

static int judge_state(void *opaque, const uint8_t *bytes, size_t len, const char *what)
{
    struct run *r = opaque;
    uint64_t n_new, n_old;
    struct look now;
    bool bits_new;

    if (!look_at(bytes, len, &now))
        bad(r, what, "it does not open");
    if (now.names != r->before.names || memcmp(bytes + r->l1, r->start + r->l1, 8 * r->n_tables) != 0)
        bad(r, what, "a name, or the L1 table, changed");
    if (judge_entries(r, bytes, &n_new, &n_old))
        bad(r, what, "an entry is neither old nor new");
    bits_new = same_bits(&now, &r->after);
    if (!bits_new && (n_new || !same_bits(&now, &r->before)))
        bad(r, what, "an entry is new, and the bits are not");
    judge_check(r, bytes, len, what);
    judge_repeated(r, bytes, len, what);
    judge_undone(r, bytes, len, what);
    r->new_states += n_old == 0;
    r->old_states += n_new == 0;
    r->between += n_new && n_old;
    return 0;
}

static void try_shape(struct run *r, unsigned random_subsets)
{
    uint8_t *start = make_image(r, &r->start_len);
    struct record *record;
    uint64_t changed, n_new, n_old;

    r->start = start;
    unlink(UNDO_FILE);
    record = reset(r, start, r->start_len, UNDO_FILE, &changed);
    r->end = qcbm_mem_data(record->mem, &r->end_len);
    if (!look_at(start, r->start_len, &r->before) || !look_at(r->end, r->end_len, &r->after))
        bad(r, "begin and end", "one of them does not open");
    if ((changed != 0) != r->shape->hides || judge_entries(r, r->end, &n_new, &n_old) || n_old || !n_new)
        bad(r, "end", "not what a reset is to do");
    if (r->shape->bitmaps && same_bits(&r->before, &r->after) == r->shape->hides)
        bad(r, "end", "the bits are not those of what changes");
    struct states_source src = { start, r->start_len, record->events, record->n, random_subsets, 1 };
    struct states_count count;
    states_walk(&src, judge_state, r, &count);
    record_free(record);
    free(start);
}

int main(int argc, char **argv)
{
    char folder[] = "/tmp/attach_cuts.XXXXXX";
    struct run r = { 0 };

    if (argc != 2)
        look_fail("usage", "attach_cuts RANDOM");
    if (!mkdtemp(folder) || chdir(folder) != 0)
        look_fail(folder, "no folder to work in");
    make_data();
    for (size_t i = 0; i < sizeof(shapes) / sizeof(shapes[0]); i++) {
        r.shape = &shapes[i];
        try_shape(&r, (unsigned)strtoul(argv[1], NULL, 10));
    }
    unlink(DATA_FILE);
    unlink(META_FILE);
    unlink(STATE_FILE);
    unlink(UNDO_FILE);
    rmdir(folder);
    printf("states of resets: %" PRIu64 " with old entries, %" PRIu64 " with new ones, %" PRIu64 " between\n",
           r.old_states, r.new_states, r.between);
    return r.old_states && r.new_states && r.between ? 0 : 1;
}
