/* fuzz_snapshot_diff.c - where states of an image differ, against a slow walk written from the specification alone
 * SPDX-License-Identifier: MIT
 *
 * The oracle says of each 512 bytes of the disk where a state has them: nowhere, in zeros, or in which bytes of the
 * file. Where two states have them in different places there must be a bit. Without damage there is none elsewhere. A
 * table that both states have is not read, and damage in it is the same in both. */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "bitmap/handle.h"
#include "fuzz.h"
#include "image/snapshot_view.h"
#include "image/snapshots.h"
#include "ops/snapshot_diff.h"

#define MAX_PARTS (UINT64_C(1) << 15) /* units of 512 bytes of the disk: 16 MiB */
#define MAX_STATES 3u                 /* that are compared: the cost is that of pairs */
#define OFFSET_MASK UINT64_C(0x00fffffffffffe00)
#define NOWHERE 0u
#define ZEROS 1u
#define DAMAGED 2u
#define PACKED (UINT64_C(1) << 62)

static uint64_t word_at(const struct fuzz_file *f, uint64_t off)
{
    return off <= f->len && f->len - off >= 8 ? be64_load(f->bytes + off) : 0;
}

struct oracle {
    const struct fuzz_file *f;
    const struct q2_geometry *g;
    uint64_t l1, n_l1, size;
    uint64_t *where; /* of each unit */
};

static uint64_t place(const struct oracle *o, uint64_t raw, uint64_t word, uint64_t in_cluster)
{
    uint64_t off = raw & OFFSET_MASK, sub = in_cluster / (o->g->cluster_size / 32);
    uint64_t end = (o->f->len + o->g->cluster_size - 1) / o->g->cluster_size * o->g->cluster_size;
    bool alloc = word >> sub & 1, zero = word >> (32 + sub) & 1;

    if (raw & PACKED)
        return (raw & ~(UINT64_C(1) << 63)) + in_cluster % 512; /* as a whole */
    if ((raw & UINT64_C(0x3f000000000001fe)) || off % o->g->cluster_size || off + o->g->cluster_size > end)
        return DAMAGED;
    if (!o->g->extended_l2)
        return raw & 1 ? ZEROS : off ? off + in_cluster : NOWHERE;
    if (word & (off ? word >> 32 & UINT32_MAX : UINT32_MAX))
        return DAMAGED;
    return zero ? ZEROS : alloc ? off + in_cluster : NOWHERE;
}

static uint64_t l1_word(const struct oracle *o, uint64_t at)
{
    uint64_t width = o->g->extended_l2 ? 16 : 8, index = at / (o->g->cluster_size * (o->g->cluster_size / width));

    return index < o->n_l1 ? word_at(o->f, o->l1 + 8 * index) : 0;
}

static bool is_bad_l1(const struct oracle *o, uint64_t l1)
{
    uint64_t cs = o->g->cluster_size, table = l1 & OFFSET_MASK;

    return (l1 & UINT64_C(0x7f000000000001ff)) || table % cs || (table && table + cs > o->f->len);
}

static bool have_one_table(const struct oracle *a, const struct oracle *b, uint64_t at)
{
    uint64_t x = l1_word(a, at), y = l1_word(b, at);

    return (x & OFFSET_MASK) && (x & OFFSET_MASK) == (y & OFFSET_MASK) && !is_bad_l1(a, x) && !is_bad_l1(b, y);
}

static void walk(struct oracle *o)
{
    uint64_t cs = o->g->cluster_size, width = o->g->extended_l2 ? 16 : 8, span = cs * (cs / width);

    for (uint64_t at = 0; at < o->size; at += 512) {
        uint64_t l1 = l1_word(o, at), table = l1 & OFFSET_MASK, entry = table + at % span / cs * width;

        if (is_bad_l1(o, l1))
            o->where[at / 512] = DAMAGED;
        else if (table)
            o->where[at / 512] = place(o, word_at(o->f, entry), width == 16 ? word_at(o->f, entry + 8) : 0, at % cs);
    }
}

static void read_state(struct oracle *o, const struct fuzz_file *f, const struct qcbmi_image *img)
{
    *o = (struct oracle){ f, &img->g, img->h.l1_offset, img->g.l1_used, img->g.size, NULL };
    o->where = calloc(MAX_PARTS, sizeof(*o->where));
    if (!o->where)
        abort();
    walk(o);
}

static void compare(struct fuzz_file *f, struct qcbmi_image *from, struct qcbmi_image *to, bool to_is_active)
{
    uint64_t common = from->g.size < to->g.size ? from->g.size : to->g.size;
    uint64_t longer = from->g.size + to->g.size - common;
    struct qcbmi_snapshot_diff d = { .from = from, .to = to, .to_is_active = to_is_active };
    struct qcbmi_dirtymap map;
    struct qcbm_error err;
    struct oracle a, b;
    int ret;

    if (longer / 512 >= MAX_PARTS || qcbmi_dirtymap_init(&map, longer, 9, &err) < 0)
        return;
    d.map = &map;
    fuzz_file_reset(f);
    ret = qcbmi_snapshot_diff_mark(&d, &err);
    fuzz_file_budget(f, (UINT64_C(1) << 20) + 4 * (uint64_t)f->len, "snapshot diff");
    read_state(&a, f, from);
    read_state(&b, f, to);
    if (ret < 0)
        fuzz_check_error(&err, ret);
    for (uint64_t at = 0; ret == 0 && at < longer; at += 512) {
        bool marked = qcbmi_bitset_get(&map.bits, at / 512);
        bool inside = at + 512 <= common || common == longer; /* the last unit may be cut */
        bool same = inside && a.where[at / 512] == b.where[at / 512];

        fuzz_require(marked || (same && (a.where[at / 512] != DAMAGED || have_one_table(&a, &b, at))), "snapshot diff",
                     "misses a difference");
        fuzz_require(!marked || !same || d.damage.count || at + 512 > common / 512 * 512, "snapshot diff",
                     "finds a difference where there is none");
    }
    free(a.where);
    free(b.where);
    qcbmi_dirtymap_free(&map);
}

static void compare_states(struct fuzz_file *f, struct qcbmi_image *img)
{
    struct qcbmi_snapshot_view v[MAX_STATES] = { 0 };
    struct qcbm_error err;
    uint32_t n = 0;
    int ret = qcbmi_snapshots_load(img, &err);

    if (ret < 0)
        fuzz_check_error(&err, ret);
    for (uint32_t i = 0; i < img->n_snapshots_loaded && n < MAX_STATES; i++) {
        ret = qcbmi_snapshot_view_init(&v[n], img, i, &err);
        if (ret < 0) {
            fuzz_check_error(&err, ret);
            qcbmi_snapshot_view_free(&v[n]);
        } else {
            n++;
        }
    }
    for (uint32_t i = 0; i < n; i++) {
        compare(f, &v[i].img, img, true);
        if (i > 0)
            compare(f, &v[i - 1].img, &v[i].img, false);
    }
    for (uint32_t i = 0; i < n; i++)
        qcbmi_snapshot_view_free(&v[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qcbm_image *img;
    struct fuzz_file f;

    fuzz_file_init(&f, data, size);
    img = fuzz_file_open(&f, 0);
    if (img && !img->image->g.data_file)
        compare_states(&f, img->image);
    qcbm_close(img);
    fuzz_file_free(&f);
    return 0;
}
