/* fuzz_synth_oracle.c - what counts as allocated, against a slow walk written from the specification alone
 * SPDX-License-Identifier: MIT
 *
 * The oracle reads the file's bytes itself: header, L1 and L2 entries one by one, and marks an array of bools. Both
 * must agree in every granule, at several granularities, and through the public call, too. */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "bitmap/handle.h"
#include "fuzz.h"
#include "ops/allocation.h"

#define MAX_PARTS (UINT64_C(1) << 16) /* units of 512 bytes of the disk: 32 MiB */

struct oracle {
    const struct fuzz_file *f;
    uint64_t size, cs, l1, n_l1;
    bool extended, data_file;
    uint8_t *dirty; /* a byte for each 512 bytes of the disk */
};

static uint64_t word_at(const struct oracle *o, uint64_t off)
{
    return off + 8 <= o->f->len ? be64_load(o->f->bytes + off) : 0;
}

static void mark(struct oracle *o, uint64_t start, uint64_t len)
{
    for (uint64_t at = start; at < start + len && at < o->size; at += 512)
        o->dirty[at / 512] = 1;
}

/* Is any byte of [@off, @off + @len) behind the last cluster of the file? */
static bool past_end(const struct oracle *o, uint64_t off, uint64_t len)
{
    return off + len > (o->f->len + o->cs - 1) / o->cs * o->cs;
}

/* Wholly dirty, whatever the subclusters say: compressed, or damaged. */
static bool whole(const struct oracle *o, uint64_t raw, uint64_t word, uint64_t guest)
{
    uint64_t off = raw & UINT64_C(0x00fffffffffffe00);
    bool own = off || (o->data_file && raw >> 63);

    if ((raw >> 62 & 1) || (raw & UINT64_C(0x3f000000000001fe)))
        return true;
    if (own && (off % o->cs || (o->data_file ? off != guest : past_end(o, off, o->cs))))
        return true;
    if (!o->extended)
        return own || (raw & 1);
    return own ? (word & word >> 32 & UINT32_MAX) != 0 : (word & UINT32_MAX) != 0;
}

static void walk_table(struct oracle *o, uint64_t table, uint64_t guest)
{
    uint64_t entry = o->extended ? 16 : 8, sub = o->cs / 32;

    for (uint64_t i = 0; i < o->cs / entry; i++, guest += o->cs) {
        uint64_t raw = word_at(o, table + i * entry), word = o->extended ? word_at(o, table + i * entry + 8) : 0;

        if (whole(o, raw, word, guest))
            mark(o, guest, o->cs);
        for (unsigned s = 0; s < 32; s++)
            if (((word | word >> 32) >> s & 1) != 0)
                mark(o, guest + s * sub, sub);
    }
}

static bool bad_l1(const struct oracle *o, uint64_t raw)
{
    uint64_t off = raw & UINT64_C(0x00fffffffffffe00);

    return (raw & UINT64_C(0x7f000000000001ff)) || off % o->cs || (off && off + o->cs > o->f->len);
}

static void walk(struct oracle *o)
{
    uint64_t span = o->cs * (o->cs / (o->extended ? 16 : 8));

    for (uint64_t i = 0; i * span < o->size; i++) {
        uint64_t raw = word_at(o, o->l1 + 8 * i), off = raw & UINT64_C(0x00fffffffffffe00);
        bool bad = bad_l1(o, raw);

        for (uint64_t k = 0; !bad && off && k * span < o->size; k++) {
            uint64_t other = word_at(o, o->l1 + 8 * k);

            bad = k != i && !bad_l1(o, other) && (other & UINT64_C(0x00fffffffffffe00)) == off;
        }
        if (bad)
            mark(o, i * span, span);
        else if (off)
            walk_table(o, off, i * span);
    }
}

static bool oracle_start(struct oracle *o, const struct fuzz_file *f)
{
    const uint8_t *h = f->bytes;
    uint64_t incompatible = be32_load(h + 4) == 3 ? be64_load(h + 72) : 0;

    *o = (struct oracle){ .f = f, .size = be64_load(h + 24), .cs = UINT64_C(1) << h[23], .l1 = be64_load(h + 40) };
    o->extended = incompatible & 16;
    o->data_file = incompatible & 4;
    if (o->size / 512 >= MAX_PARTS)
        return false;
    o->dirty = calloc((size_t)(o->size / 512) + 1, 1);
    if (!o->dirty)
        abort();
    return true;
}

/* Bits of @gran_bits by both ways; the number that is set. */
static uint64_t compare(struct fuzz_file *f, struct qcbm_image *img, const struct oracle *o, unsigned gran_bits)
{
    struct qcbmi_allocation a = { 0 };
    struct qcbmi_dirtymap map;
    struct qcbm_error err;
    uint64_t gran = UINT64_C(1) << gran_bits, n;
    int ret = qcbmi_dirtymap_init(&map, o->size, gran_bits, &err);

    fuzz_require(ret == 0, "dirty map", err.message);
    fuzz_file_reset(f);
    ret = qcbmi_allocation_mark(img->image, &map, &a, NULL, &err);
    fuzz_require(ret == 0, "allocation", "fails on an image that opens, and whose L1 is there");
    for (uint64_t start = 0; start < o->size; start += gran) {
        uint64_t first = start / 512, end = (start + gran + 511) / 512;
        bool want = false;

        for (uint64_t k = first; k < end && k * 512 < o->size; k++)
            want |= o->dirty[k] != 0;
        fuzz_require(want == qcbmi_bitset_get(&map.bits, start >> gran_bits), "allocation", "differs from the oracle");
    }
    fuzz_file_budget(f, (UINT64_C(1) << 20) + 2 * (uint64_t)f->len, "allocation");
    n = qcbmi_bitset_count(&map.bits);
    qcbmi_dirtymap_free(&map);
    return n;
}

/* The public call tells as many dirty granules, where the image can take a bitmap. */
static void compare_public(struct qcbm_image *img, uint64_t dirty_granules, uint64_t granularity)
{
    struct qcbm_synth_options opt = QCBM_SYNTH_OPTIONS_INIT;
    struct qcbm_synth_result *r = NULL;
    struct qcbm_synth_summary sum;
    struct qcbm_edit *edit = NULL;
    struct qcbm_error err;
    int ret = qcbm_edit_begin(img, &edit, &err);

    opt.flags = QCBM_SYNTH_ALLOW_DAMAGE;
    opt.granularity = granularity;
    if (ret == 0)
        ret = qcbm_edit_synth(edit, img, "a name that nobody has", &opt, &r, &err);
    if (ret < 0) {
        fuzz_check_error(&err, ret);
    } else {
        qcbm_synth_result_summary(r, &sum, sizeof(sum));
        fuzz_require(sum.dirty_granules == dirty_granules, "synth", "differs from the oracle");
        fuzz_require(sum.dirty_bytes <= sum.virtual_size, "synth", "dirty bytes past the end of the disk");
    }
    qcbm_synth_result_free(r);
    qcbm_edit_free(edit);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qcbm_image *img;
    struct oracle o;
    struct fuzz_file f;

    fuzz_file_init(&f, data, size);
    img = fuzz_file_open(&f, 0);
    if (img && oracle_start(&o, &f)) {
        uint64_t span = o.cs * (o.cs / (o.extended ? 16 : 8)), l1_bytes = 8 * ((o.size + span - 1) / span);

        if (o.l1 <= size && l1_bytes <= size - o.l1) {
            walk(&o);
            uint64_t n = compare(&f, img, &o, 9);

            if (o.size % 512 == 0) /* QEMU's bitmaps end with the last whole sector */
                compare_public(img, n, 512);
            compare(&f, img, &o, 12);
            compare(&f, img, &o, 16);
        }
        free(o.dirty);
    }
    qcbm_close(img);
    fuzz_file_free(&f);
    return 0;
}
