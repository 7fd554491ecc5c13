/* fuzz_edit.c - changes of bitmaps in a hostile image: what is not named stays, and a refused change writes nothing
 * SPDX-License-Identifier: MIT
 *
 * The last 8 bytes of the input may be a trailer, "qcbmE" and three bytes that choose the changes; else a digest of the
 * input chooses them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "bitmap/handle.h"
#include "fuzz.h"

#define MAX_BITMAPS 32u
#define MAX_EXTENTS 20000u
#define TRAILER 8u

struct view_bitmap {
    uint64_t name, state; /* digests; state: granularity, flags, bits */
    char text[1024];
};

struct view {
    uint32_t n;
    struct view_bitmap bitmaps[MAX_BITMAPS];
    uint64_t names; /* backing file, data file, foreign extensions, snapshots, feature bits */
};

struct extents_seen {
    uint64_t hash, calls;
};

static int on_extent(void *opaque, const struct qcbm_extent *e)
{
    struct extents_seen *s = opaque;

    s->hash = fuzz_hash_u64(fuzz_hash_u64(s->hash, e->offset), e->dirty);
    return ++s->calls >= MAX_EXTENTS;
}

static void view_bitmap(struct qcbm_image *img, uint32_t i, struct view_bitmap *v)
{
    struct extents_seen seen = { FUZZ_HASH_START, 0 };
    struct qcbm_bitmap_info b;
    struct qcbm_error err;
    int ret;

    qcbm_bitmap_get(img, i, &b, sizeof(b));
    snprintf(v->text, sizeof(v->text), "%s", b.name);
    v->name = fuzz_hash_text(FUZZ_HASH_START, b.name);
    v->state = fuzz_hash_u64(fuzz_hash_u64(FUZZ_HASH_START, b.granularity), b.flags);
    ret = qcbm_bitmap_extents(img, b.name, 0, on_extent, &seen, &err);
    if (ret < 0 && ret != QCBM_E_ABORTED)
        fuzz_check_error(&err, ret);
    v->state = fuzz_hash_u64(v->state, ret == 0 || ret == QCBM_E_ABORTED ? seen.hash : 0);
}

static uint64_t view_names(struct qcbm_image *img)
{
    struct qcbm_image_info info;
    struct qcbm_snapshot_info s;
    struct qcbm_error err;
    uint64_t h = FUZZ_HASH_START;
    uint32_t n;

    qcbm_image_get_info(img, &info, sizeof(info));
    h = fuzz_hash_text(fuzz_hash_text(h, info.backing_file), info.backing_format);
    h = fuzz_hash_text(h, info.data_file);
    h = fuzz_hash_u64(fuzz_hash_u64(h, info.incompatible_features), info.compatible_features);
    h = fuzz_hash_u64(h, info.autoclear_features & QCBM_AUTOCLEAR_RAW_DATA_FILE);
    h = fuzz_hash_u64(h, info.virtual_size);
    for (size_t i = 0; i < img->image->exts.n; i++) {
        const struct q2_extension *e = &img->image->exts.list[i];

        if (e->type != Q2_EXT_BITMAPS && e->type != Q2_EXT_PADDING && e->type != Q2_EXT_TAG)
            h = fuzz_hash(fuzz_hash_u64(h, e->type), e->data, e->len);
    }
    if (qcbm_snapshots_load(img, &n, &err) < 0)
        return h;
    for (uint32_t i = 0; i < n; i++) {
        qcbm_snapshot_get(img, i, &s, sizeof(s));
        h = fuzz_hash_text(fuzz_hash_text(fuzz_hash_u64(h, s.l1_offset), s.id), s.name);
    }
    return h;
}

static void view(struct qcbm_image *img, struct view *v)
{
    struct qcbm_image_info info;

    qcbm_image_get_info(img, &info, sizeof(info));
    v->n = info.bitmap_count < MAX_BITMAPS ? info.bitmap_count : MAX_BITMAPS;
    for (uint32_t i = 0; i < v->n; i++)
        view_bitmap(img, i, &v->bitmaps[i]);
    v->names = view_names(img);
}

/* ---- what must not be touched: found by plain reads of the bytes as they were ---- */

struct guard {
    const uint8_t *bytes;
    size_t len;
    uint64_t cs, n_clusters;
    uint8_t *keep, *seen; /* per cluster: not to be changed; walked as an L2 table */
    bool extended, data_file;
};

static uint64_t word_at(const struct guard *g, uint64_t off)
{
    return off <= g->len && g->len - off >= 8 ? be64_load(g->bytes + off) : 0;
}

static void keep(struct guard *g, uint64_t off, uint64_t len)
{
    for (uint64_t c = off / g->cs; len && c <= (off + len - 1) / g->cs && c < g->n_clusters; c++)
        g->keep[c] = 1;
}

static void keep_table(struct guard *g, uint64_t table)
{
    uint64_t entry = g->extended ? 16 : 8;

    if (table % g->cs || table / g->cs >= g->n_clusters || g->seen[table / g->cs])
        return;
    g->seen[table / g->cs] = 1;
    keep(g, table, g->cs);
    for (uint64_t i = 0; i < g->cs / entry && !g->data_file; i++) {
        uint64_t raw = word_at(g, table + i * entry), off = raw & UINT64_C(0x00fffffffffffe00);
        unsigned x = 62 - ((unsigned)__builtin_ctzll(g->cs) - 8);

        if (raw >> 62 & 1) {
            off = raw & ((UINT64_C(1) << x) - 1);
            keep(g, off, (((raw & ((UINT64_C(1) << 62) - 1)) >> x) + 1) * 512 - off % 512);
        } else if (off) {
            keep(g, off, g->cs);
        }
    }
}

static void keep_l1(struct guard *g, uint64_t l1, uint64_t entries)
{
    keep(g, l1, entries * 8);
    for (uint64_t i = 0; i < entries && l1 + 8 * i < g->len; i++) {
        uint64_t off = word_at(g, l1 + 8 * i) & UINT64_C(0x00fffffffffffe00);

        if (off)
            keep_table(g, off);
    }
}

static void guard_start(struct guard *g, const uint8_t *bytes, size_t len, struct qcbm_image *img)
{
    uint32_t n = 0;

    *g = (struct guard){ .bytes = bytes, .len = len, .cs = img->image->g.cluster_size };
    g->n_clusters = (len + g->cs - 1) / g->cs;
    g->extended = img->image->g.extended_l2;
    g->data_file = img->image->g.data_file;
    g->keep = calloc((size_t)g->n_clusters + 1, 1);
    g->seen = calloc((size_t)g->n_clusters + 1, 1);
    if (!g->keep || !g->seen)
        abort();
    keep_l1(g, img->image->h.l1_offset, img->image->h.l1_entries);
    if (qcbm_snapshots_load(img, &n, NULL) < 0)
        n = 0;
    for (uint32_t i = 0; i < n && i < 64; i++) {
        struct qcbm_snapshot_info s;

        qcbm_snapshot_get(img, i, &s, sizeof(s));
        keep(g, s.entry_offset, 40);
        keep_l1(g, s.l1_offset, s.l1_entries);
    }
    g->keep[0] = 0; /* the header is looked at field by field */
}

static void guard_end(struct guard *g, const uint8_t *now, size_t now_len)
{
    char text[64];

    fuzz_require(now_len >= g->len, "commit", "made the file shorter");
    for (uint64_t c = 0; c < g->n_clusters; c++) {
        size_t off = (size_t)(c * g->cs), len = g->len - off < g->cs ? g->len - off : (size_t)g->cs;

        snprintf(text, sizeof(text), "in the cluster at 0x%zx", off);
        if (g->keep[c])
            fuzz_require(memcmp(g->bytes + off, now + off, len) == 0, "commit changed guest data or tables", text);
    }
    free(g->keep);
    free(g->seen);
}

/* ---- the changes ---- */

struct script {
    uint8_t bytes[3];
    uint64_t named[4]; /* digests of the names that it changes */
    unsigned n_named;
    struct fuzz_file *file;
};

static const char *pick_name(const struct view *v, struct script *s, uint8_t choice)
{
    const char *name = v->n == 0 || choice % 8 == 7 ? "new" : v->bitmaps[choice % v->n].text;

    s->named[s->n_named++] = fuzz_hash_text(FUZZ_HASH_START, name);
    return name;
}

static int synth(struct qcbm_edit *edit, struct qcbm_image *img, const char *name, struct qcbm_error *err)
{
    struct qcbm_synth_options o = QCBM_SYNTH_OPTIONS_INIT;

    o.flags = QCBM_SYNTH_ALLOW_DAMAGE | QCBM_SYNTH_REPLACE;
    return qcbm_edit_synth(edit, img, name, &o, NULL, err);
}

typedef int combine_fn(struct qcbm_edit *edit, const char *dst, struct qcbm_image *src_img, const char *src,
                       struct qcbm_error *err);

/* With a bitmap of the edit, or of the image as it is stored, which is opened once more. */
static int combine(combine_fn *fn, struct qcbm_edit *edit, const char *to, const struct view *v, struct script *s,
                   struct qcbm_error *err)
{
    const char *from = v->n ? v->bitmaps[(s->bytes[0] >> 2) % v->n].text : "new";
    struct qcbm_image *again = s->bytes[0] & 2 ? fuzz_file_open(s->file, 0) : NULL;
    int ret = fn(edit, to, again, from, err);

    qcbm_close(again);
    return ret;
}

/* What qemu-img lacks. */
static int change_more(struct qcbm_edit *edit, const struct view *v, struct script *s, uint8_t what, const char *name,
                       struct qcbm_error *err)
{
    uint64_t start = 512 * (uint64_t)s->bytes[2] + s->bytes[1] % 3;

    s->named[s->n_named++] = fuzz_hash_text(FUZZ_HASH_START, "fresh");
    switch (what % 8) {
    case 0:
        return qcbm_edit_rename(edit, name, "fresh", err);
    case 1:
        return qcbm_edit_rotate(edit, name, "fresh", err);
    case 2:
        return combine(qcbm_edit_intersect, edit, name, v, s, err);
    case 3:
        return combine(qcbm_edit_subtract, edit, name, v, s, err);
    case 4:
        return combine(qcbm_edit_copy, edit, "fresh", v, s, err);
    case 5:
        return qcbm_edit_regranularise(edit, name, UINT64_C(512) << (s->bytes[2] % 24), err);
    case 6:
        return qcbm_edit_set_range(edit, name, start, 1 + s->bytes[1], err);
    default:
        return qcbm_edit_unset_range(edit, name, start, 1 + 64 * (uint64_t)s->bytes[1], err);
    }
}

static int change(struct qcbm_edit *edit, struct qcbm_image *img, const struct view *v, struct script *s, uint8_t what,
                  struct qcbm_error *err)
{
    const char *name = pick_name(v, s, what >> 3);

    if (s->bytes[0] & 0x80)
        return change_more(edit, v, s, what, name, err);
    switch (what % 8) {
    case 0:
        return qcbm_edit_remove(edit, name, err);
    case 1:
        return qcbm_edit_clear(edit, name, err);
    case 2:
        return qcbm_edit_disable(edit, name, err);
    case 3:
        return qcbm_edit_enable(edit, name, err);
    case 4:
        return combine(qcbm_edit_merge, edit, name, v, s, err);
    case 5:
        return synth(edit, img, name, err);
    default:
        return qcbm_edit_add(edit, name, what & 8 ? 512 : 0, what & 16 ? QCBM_BITMAP_DISABLED : 0, err);
    }
}

static int on_step(void *opaque, const struct qcbm_plan_step *step)
{
    fuzz_require(step->what && step->stage_name, "plan", "a step without a name");
    *(uint64_t *)opaque += step->length;
    return 0;
}

static int run(struct qcbm_image *img, const struct view *v, struct script *s)
{
    struct qcbm_plan_summary sum;
    struct qcbm_edit *edit = NULL;
    struct qcbm_error err;
    uint64_t bytes = 0;
    int ret = qcbm_edit_begin(img, &edit, &err);

    for (unsigned i = 0; ret == 0 && i < 1u + s->bytes[0] % 2; i++)
        ret = change(edit, img, v, s, s->bytes[1 + i], &err);
    if (ret == 0 && s->bytes[0] & 0x40)
        ret = s->bytes[2] & 1 ? qcbm_edit_set_tag(edit, "00112233445566778899aabbccddeeff", &err)
                              : qcbm_edit_remove_tag(edit, &err);
    if (ret == 0)
        ret = qcbm_edit_plan(edit, &sum, sizeof(sum), on_step, &bytes, &err);
    if (ret == 0)
        fuzz_require(bytes == sum.bytes_written, "plan", "steps and summary disagree");
    if (ret == 0)
        ret = qcbm_edit_commit(edit, NULL, 0, &err);
    if (ret < 0)
        fuzz_check_error(&err, ret);
    qcbm_edit_free(edit);
    return ret;
}

static void compare(const struct view *before, const struct view *after, const struct script *s)
{
    fuzz_require(before->names == after->names, "commit", "changed a name, a feature bit, an extension or a snapshot");
    for (uint32_t i = 0; i < before->n && before->n < MAX_BITMAPS; i++) {
        const struct view_bitmap *b = &before->bitmaps[i];
        bool found = false, named = false;

        for (unsigned k = 0; k < s->n_named; k++)
            named |= s->named[k] == b->name;
        for (uint32_t k = 0; k < after->n; k++)
            found |= after->bitmaps[k].name == b->name && after->bitmaps[k].state == b->state;
        fuzz_require(named || found, "commit", "changed a bitmap that was not named");
    }
}

static void choose(const uint8_t *data, size_t *size, struct script *s)
{
    uint64_t h;

    memset(s, 0, sizeof(*s));
    if (*size > TRAILER && memcmp(data + *size - TRAILER, "qcbmE", 5) == 0) {
        memcpy(s->bytes, data + *size - 3, 3);
        *size -= TRAILER;
        return;
    }
    h = fuzz_hash(FUZZ_HASH_START, data, *size);
    for (unsigned i = 0; i < 3; i++)
        s->bytes[i] = (uint8_t)(h >> (16 + 8 * i));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct view before, after;
    struct qcbm_image *img;
    struct script script;
    struct fuzz_file f;
    struct guard g;
    int ret;

    choose(data, &size, &script);
    fuzz_file_init(&f, data, size);
    script.file = &f;
    img = fuzz_file_open(&f, QCBM_OPEN_WRITE);
    if (img) {
        view(img, &before);
        guard_start(&g, data, size, img);
        fuzz_file_reset(&f);
        ret = run(img, &before, &script);
        fuzz_file_budget(&f, (UINT64_C(64) << 20) + 64 * (uint64_t)f.len, "edit");
        qcbm_close(img);
        if (ret < 0) {
            fuzz_require(f.writes == 0 && f.len == size && memcmp(f.bytes, data, size) == 0, "refused edit", "wrote");
        }
        guard_end(&g, f.bytes, f.len);
        img = fuzz_file_open(&f, 0);
        fuzz_require(img != NULL, "commit", "the image does not open any more");
        view(img, &after);
        compare(&before, &after, &script);
        qcbm_close(img);
    }
    fuzz_file_free(&f);
    return 0;
}
