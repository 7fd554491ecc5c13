/* session.c - everything that can be asked of an image file, as a list of steps whose results can be compared
 * SPDX-License-Identifier: MIT
 *
 * Nothing here allocates or opens anything but through the library: its calls are counted. */
#include "session.h"

#include <string.h>

#include "look.h"

static uint64_t fold(uint64_t h, uint64_t v)
{
    return (h ^ v) * UINT64_C(0x100000001b3) + (h >> 29);
}

static uint64_t fold_text(uint64_t h, const char *text)
{
    while (text && *text)
        h = fold(h, (uint8_t)*text++);
    return fold(h, 0);
}

/* Start a step; its error object is empty. */
static struct session_step *begin(struct session *s, const char *name)
{
    struct session_step *step = &s->steps[s->n++];

    if (s->n > SESSION_STEPS)
        look_fail("session", "too many steps");
    memset(step, 0, sizeof(*step));
    step->name = name;
    return step;
}

static int done(struct session_step *step, int code)
{
    step->code = code;
    if (code < 0)
        look_check_error(&step->err, code);
    return code;
}

static int fold_extent(void *opaque, const struct qcbm_extent *e)
{
    uint64_t *h = opaque;

    *h = fold(fold(fold(*h, e->offset), e->length), e->dirty + 2u * e->zero);
    return 0;
}

static int fold_map(void *opaque, const struct qcbm_map_entry *e)
{
    uint64_t *h = opaque;

    *h = fold(fold(fold(*h, e->start), e->length), e->depth + 256u * e->present + 512u * e->zero + 1024u * e->data);
    *h = fold_text(fold(*h, e->offset), e->filename);
    return 0;
}

static int fold_item(void *opaque, const struct qcbm_dump_item *item)
{
    uint64_t *h = opaque;

    *h = fold_text(fold_text(fold(fold(*h, item->offset), item->value), item->meaning), item->problem);
    return 0;
}

static void read_bitmaps(struct session *s, struct qcbm_image *img)
{
    struct qcbm_image_info info;

    qcbm_image_get_info(img, &info, sizeof(info));
    for (uint32_t i = 0; i < info.bitmap_count && i < 3; i++) {
        struct session_step *usage = begin(s, "bitmap usage"), *extents = begin(s, "bitmap extents");
        struct qcbm_bitmap_info b;
        struct qcbm_bitmap_usage u;

        qcbm_bitmap_get(img, i, &b, sizeof(b));
        if (done(usage, qcbm_bitmap_usage(img, i, &u, sizeof(u), NULL, &usage->err)) == 0)
            usage->hash = fold(fold(fold(1, u.dirty_granules), u.dirty_bytes), u.disk_bytes);
        done(extents, qcbm_bitmap_extents(img, b.name, i == 0 ? QCBM_EXTENTS_ZERO : 0, fold_extent, &extents->hash,
                                          &extents->err));
    }
}

static void read_chain(struct session *s, struct qcbm_image *img)
{
    struct session_step *step = begin(s, "chain");
    struct qcbm_chain_layer layer;
    struct qcbm_chain *chain;
    int ret = qcbm_chain_open(img, &chain, &step->err);

    if (done(step, ret) < 0)
        return;
    for (uint32_t i = 0; ret == 0 && i < qcbm_chain_count(chain); i++) {
        ret = done(step, qcbm_chain_get(chain, i, &layer, sizeof(layer), &step->err));
        if (ret == 0)
            step->hash = fold_text(fold(fold(step->hash, layer.virtual_size), layer.file_size), layer.filename);
    }
    qcbm_chain_close(chain);
}

static void read_totals(struct session *s, struct qcbm_image *img)
{
    struct session_step *usage = begin(s, "usage"), *map = begin(s, "map"), *measure = begin(s, "measure"),
                        *check = begin(s, "check");
    struct qcbm_check_result r = { 0 };
    struct qcbm_image_usage u;
    struct qcbm_measure m;

    if (done(usage, qcbm_image_usage(img, &u, sizeof(u), NULL, &usage->err)) == 0)
        usage->hash = fold(fold(u.allocated_bytes, u.end_offset), u.bad_entries);
    done(map, qcbm_map(img, 0, UINT64_MAX, 0, fold_map, &map->hash, &map->err));
    if (done(measure, qcbm_measure(img, 0, NULL, &m, sizeof(m), &measure->err)) == 0)
        measure->hash = fold(fold(m.required, m.fully_allocated), m.bitmaps);
    if (done(check, qcbm_check(img, NULL, &r, sizeof(r), &check->err)) == 0)
        check->hash = fold(fold(fold(fold(r.corruptions, r.leaks), r.check_errors), r.damages), r.allocated_clusters);
}

static void read_synth(struct session *s, struct qcbm_image *img)
{
    struct session_step *step = begin(s, "synth, planned");
    struct qcbm_synth_options opt = QCBM_SYNTH_OPTIONS_INIT;
    struct qcbm_synth_result *result = NULL;
    struct qcbm_plan_summary sum = { 0 };
    struct qcbm_edit *edit = NULL;
    int ret = qcbm_edit_begin(img, &edit, &step->err);

    opt.flags = QCBM_SYNTH_FORCE | QCBM_SYNTH_DIRTY_TAIL;
    if (ret == 0)
        ret = qcbm_edit_synth(edit, img, "probe", &opt, &result, &step->err);
    if (ret == 0)
        ret = qcbm_edit_plan(edit, &sum, sizeof(sum), NULL, NULL, &step->err);
    if (done(step, ret) == 0)
        step->hash = fold(fold(sum.bytes_written, sum.clusters_allocated), sum.file_growth);
    qcbm_synth_result_free(result);
    qcbm_edit_free(edit);
}

static void read_dump(struct session *s, const char *path)
{
    struct session_step *step = begin(s, "dump");
    struct qcbm_dump *dump;
    int ret = done(step, qcbm_dump_open(path, 0, &dump, &step->err));

    if (ret < 0)
        return;
    for (int part = QCBM_DUMP_HEADER; ret == 0 && part <= QCBM_DUMP_BITMAPS; part++)
        ret = done(step, qcbm_dump_part(dump, (enum qcbm_dump_kind)part, 0, part == QCBM_DUMP_BITMAPS ? 9 : UINT64_MAX,
                                        fold_item, &step->hash, NULL, &step->err));
    qcbm_dump_close(dump);
}

void session_read(struct session *s, const char *path)
{
    struct session_step *open = begin(s, "open"), *snapshots;
    struct qcbm_image *img;
    uint32_t n;

    if (done(open, qcbm_open(path, 0, &img, &open->err)) == 0) {
        snapshots = begin(s, "snapshots");
        if (done(snapshots, qcbm_snapshots_load(img, &n, &snapshots->err)) == 0)
            snapshots->hash = n;
        read_bitmaps(s, img);
        read_chain(s, img);
        read_totals(s, img);
        read_synth(s, img);
        qcbm_close(img);
    }
    read_dump(s, path);
}

/* What a handle answers whose commit failed is of no worth, but asking must do no harm. */
static void ask_anything(struct qcbm_image *img)
{
    struct session ignored = { .n = 0 };
    struct qcbm_error err;
    uint32_t n;

    (void)qcbm_snapshots_load(img, &n, &err);
    read_bitmaps(&ignored, img);
    read_totals(&ignored, img);
}

/* A handle whose commit failed takes no further edit: what is in memory may be neither state. */
static void check_failed_handle(struct qcbm_image *img)
{
    struct qcbm_edit *edit = NULL;
    struct qcbm_error err;
    int ret = qcbm_edit_begin(img, &edit, &err);

    if (ret == 0)
        ret = qcbm_edit_add(edit, "again", 0, 0, &err);
    if (ret == 0)
        ret = qcbm_edit_commit(edit, NULL, 0, &err);
    if (ret == 0)
        look_fail("commit", "a handle whose commit failed took another one");
    qcbm_edit_free(edit);
    ask_anything(img);
}

void session_edit(struct session *s, const char *path, const struct crash_op *op)
{
    struct session_step *step = begin(s, "open to write");
    struct qcbm_edit *edit = NULL;
    struct qcbm_image *img;
    int ret = done(step, qcbm_open(path, QCBM_OPEN_WRITE, &img, &step->err));

    if (ret < 0)
        return;
    step = begin(s, "edit");
    ret = qcbm_edit_begin(img, &edit, &step->err);
    if (ret == 0)
        ret = op->run(edit, img, path, &step->err);
    if (ret == 0)
        ret = qcbm_edit_plan(edit, NULL, 0, NULL, NULL, &step->err);
    if (done(step, ret) == 0) {
        step = begin(s, "commit");
        ret = done(step, qcbm_edit_commit(edit, NULL, 0, &step->err));
        if (ret < 0)
            check_failed_handle(img);
    }
    qcbm_edit_free(edit);
    qcbm_close(img);
}
