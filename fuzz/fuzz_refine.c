/* fuzz_refine.c - what refining by content drops, against a comparison of the bytes, granule by granule
 * SPDX-License-Identifier: MIT
 *
 * States of one image are refined against one another, and against nothing. A granule that is dropped holds the same
 * bytes on both sides, and all of them can be read. Without damage one that stays holds others. By metadata alone
 * nothing else is dropped. */
#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "bitmap/handle.h"
#include "fuzz.h"
#include "image/chain.h"
#include "image/snapshot_view.h"
#include "image/snapshots.h"
#include "ops/refine.h"

#define MAX_SIZE (UINT64_C(2) << 20) /* of a disk: each is compared with each */
#define MAX_STATES 3u
#define PART 512u

struct state {
    struct qcbmi_snapshot_view view; /* unless it is the active one */
    struct qcbmi_chain chain;
    struct qcbmi_data *data;
    uint64_t size;
};

static void open_state(struct state *s, struct qcbmi_image *img)
{
    const struct qcbmi_chain_options options = { .max_layers = 1 };
    struct qcbm_error err;
    int ret = qcbmi_chain_open(img, &options, &s->chain, &err);

    if (ret == 0)
        ret = qcbmi_data_of_chain(&s->chain, 0, 0, &s->data, &err);
    s->size = img->g.sector_size_down;
    if (ret < 0)
        fuzz_check_error(&err, ret);
}

static void close_state(struct state *s)
{
    qcbmi_data_close(s->data);
    qcbmi_chain_close(&s->chain);
    qcbmi_snapshot_view_free(&s->view);
}

/* @len bytes from @off on; behind the end zeros. False if they cannot be read, or nobody can say that they are the
 * disk's. */
static bool read_part(const struct state *s, uint64_t off, uint8_t *to, uint64_t len)
{
    uint64_t end = s ? s->size : 0;

    memset(to, 0, len);
    while (len && off < end) {
        struct qcbmi_guest_piece p;
        uint64_t n = len < end - off ? len : end - off;

        if (qcbmi_data_find(s->data, off, off + n, &p, NULL) < 0 || p.doubtful)
            return false;
        n = p.end - off;
        if (qcbmi_data_read(s->data, off, to, n, NULL) < 0)
            return false;
        off += n;
        to += n;
        len -= n;
    }
    return true;
}

enum verdict { SAME, OTHER, UNKNOWN };

static enum verdict compare(const struct state *disk, const struct state *reference, uint64_t off, uint64_t end)
{
    uint8_t a[PART], b[PART];
    enum verdict v = SAME;

    for (uint64_t n; off < end; off += n) {
        n = end - off < PART ? end - off : PART;
        if (!read_part(disk, off, a, n) || !read_part(reference, off, b, n))
            return UNKNOWN;
        if (memcmp(a, b, n) != 0)
            v = OTHER;
    }
    return v;
}

static void refine(const struct state *disk, const struct state *reference, unsigned gran_bits, bool metadata_alone)
{
    struct qcbmi_refine r = { .disk = disk->data,
                              .size = disk->size,
                              .reference = reference ? reference->data : NULL,
                              .reference_size = reference ? reference->size : 0,
                              .metadata_alone = metadata_alone,
                              .threads = 1 };
    uint64_t gran = UINT64_C(1) << gran_bits;
    struct qcbmi_dirtymap map;
    struct qcbm_error err;

    if (qcbmi_dirtymap_init(&map, disk->size, gran_bits, &err) < 0 || qcbmi_dirtymap_set(&map, 0, disk->size, &err) < 0)
        abort();
    if (qcbmi_refine(&r, &map, &err) < 0)
        fuzz_fail("refine", "it fails, and nothing was short");
    for (uint64_t off = 0; off < disk->size; off += gran) {
        bool stays = qcbmi_bitset_get(&map.bits, off >> gran_bits);
        uint64_t end = disk->size - off < gran ? disk->size : off + gran;
        enum verdict v = compare(disk, reference, off, end);

        fuzz_require(stays || v == SAME, "refine", v == OTHER ? "drops a difference" : "drops what cannot be read");
        fuzz_require(!stays || v != SAME || metadata_alone || r.out.unreadable_bytes, "refine",
                     "keeps what is no difference");
    }
    qcbmi_dirtymap_free(&map);
}

static void refine_states(struct qcbmi_image *img, unsigned how)
{
    unsigned gran_bits = 9 + 3 * (how & 3);
    struct state s[MAX_STATES + 1] = { 0 };
    struct qcbm_error err;
    uint32_t n = 1;
    int ret = qcbmi_snapshots_load(img, &err);

    open_state(&s[0], img);
    for (uint32_t i = 0; ret == 0 && i < img->n_snapshots_loaded && n <= MAX_STATES; i++) {
        if (qcbmi_snapshot_view_init(&s[n].view, img, i, NULL) < 0) {
            qcbmi_snapshot_view_free(&s[n].view);
            continue;
        }
        open_state(&s[n], &s[n].view.img);
        n++;
    }
    for (uint32_t i = 0; i < n; i++)
        for (uint32_t k = 0; k <= n; k++)
            if (i != k && s[i].data && (k == n || s[k].data) && s[i].size <= MAX_SIZE)
                refine(&s[i], k == n ? NULL : &s[k], gran_bits, how & 4);
    for (uint32_t i = 0; i < n; i++)
        close_state(&s[i]);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct qcbm_image *img;
    struct fuzz_file f;

    fuzz_file_init(&f, data, size);
    img = fuzz_file_open(&f, 0);
    if (img && !img->image->g.data_file && !img->image->h.crypt_method)
        refine_states(img->image, size ? data[size - 1] + data[size / 2] : 0);
    qcbm_close(img);
    fuzz_file_free(&f);
    return 0;
}
