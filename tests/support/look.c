/* look.c - what an image shows through the library, in a form that two states can be compared by
 * SPDX-License-Identifier: MIT */
#include "look.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bitmap/handle.h"

void look_fail(const char *what, const char *why)
{
    fprintf(stderr, "FAILED: %s: %s\n", what, why);
    exit(1);
}

/* The text of an error must be there, and one line. */
void look_check_error(const struct qcbm_error *err, int ret)
{
    if (err->code != ret || err->message[0] == '\0' || strchr(err->message, '\n'))
        look_fail("error object", err->message);
}

static uint64_t fold(uint64_t h, uint64_t v)
{
    return (h ^ v) * UINT64_C(0x100000001b3) + (h >> 29);
}

static uint64_t fold_bytes(uint64_t h, const void *bytes, size_t len)
{
    for (size_t i = 0; i < len; i++)
        h = fold(h, ((const uint8_t *)bytes)[i]);
    return fold(h, len);
}

static int hash_extent(void *opaque, const struct qcbm_extent *e)
{
    uint64_t *h = opaque;

    *h = fold(fold(fold(*h, e->offset), e->length), e->dirty);
    return 0;
}

static int count_step(void *opaque, const struct qcbm_plan_step *step)
{
    *(uint64_t *)opaque += step->length;
    return 0;
}

static void look_at_bitmaps(struct qcbm_image *img, uint32_t n, struct look *l)
{
    struct qcbm_error err;

    l->n = n < LOOK_MAX_BITMAPS ? n : LOOK_MAX_BITMAPS;
    for (uint32_t i = 0; i < l->n; i++) {
        struct look_bitmap *to = &l->bitmaps[i];
        struct qcbm_bitmap_info b;
        struct qcbm_bitmap_usage u;
        int ret;

        qcbm_bitmap_get(img, i, &b, sizeof(b));
        snprintf(to->name, sizeof(to->name), "%s", b.name);
        to->flags = b.flags;
        ret = qcbm_bitmap_usage(img, i, &u, sizeof(u), NULL, &err);
        if (ret < 0)
            look_check_error(&err, ret);
        to->hash = fold(1, b.granularity);
        ret = qcbm_bitmap_extents(img, b.name, 0, hash_extent, &to->hash, &err);
        if (ret < 0) {
            look_check_error(&err, ret);
            to->hash = 0;
        }
    }
}

static void look_at_snapshots(struct qcbm_image *img)
{
    struct qcbm_error err;
    uint32_t n;
    int ret = qcbm_snapshots_load(img, &n, &err);

    if (ret < 0)
        look_check_error(&err, ret);
    for (uint32_t i = 0; i < n; i++) {
        struct qcbm_snapshot_info s;

        qcbm_snapshot_get(img, i, &s, sizeof(s));
        if (strlen(s.id) > 65535 || strlen(s.name) > 65535)
            look_fail("snapshot", "a string without end");
    }
}

static void look_at_names(const struct qcbm_image *img, struct look *l)
{
    snprintf(l->tag, sizeof(l->tag), "%s", img->image->tag);
    const char *names[] = { img->image->backing_file, img->image->backing_format, img->image->data_file };

    for (int i = 0; i < 3; i++)
        l->names = names[i] ? fold_bytes(l->names, names[i], strlen(names[i])) : fold(l->names, 0);
    for (size_t i = 0; i < img->image->exts.n; i++) {
        const struct q2_extension *e = &img->image->exts.list[i];

        if (e->type != Q2_EXT_BITMAPS && e->type != Q2_EXT_PADDING && e->type != Q2_EXT_TAG)
            l->names = fold_bytes(fold(l->names, e->type), e->data, e->len);
    }
}

static void try_plan(struct qcbm_edit *edit, struct look *l)
{
    struct qcbm_plan_summary sum;
    struct qcbm_error err;
    uint64_t bytes = 0;
    int ret = qcbm_edit_plan(edit, &sum, sizeof(sum), count_step, &bytes, &err);

    if (ret < 0)
        look_check_error(&err, ret);
    else if (bytes != sum.bytes_written)
        look_fail("plan", "steps and summary disagree");
    l->plan_ok = ret == 0;
}

/* Every number of an item is used, so that a sanitizer sees what is not there. */
static int count_item(void *opaque, const struct qcbm_dump_item *item)
{
    uint64_t *h = opaque;

    *h = fold(fold(*h, item->offset), item->value);
    if (item->bytes)
        *h = fold_bytes(*h, item->bytes, item->n_bytes);
    *h = fold_bytes(*h, item->meaning, strlen(item->meaning));
    return item->problem && !item->problem[0];
}

/* A dump opens whatever there is, and fails only where the header does not say how large tables are. */
static void look_at_dump(const void *bytes, size_t len)
{
    struct qcbm_dump *dump;
    struct qcbm_mem *mem;
    struct qcbm_error err;
    uint64_t h = 0;
    int ret;

    if (qcbm_mem_new(bytes, len, &mem, &err) < 0)
        look_fail("memory", err.message);
    if (qcbm_dump_open_io(qcbm_mem_ops(), mem, 0, &dump, &err) < 0)
        look_fail("dump", err.message);
    for (int part = QCBM_DUMP_HEADER; part <= QCBM_DUMP_BITMAPS; part++) {
        ret = qcbm_dump_part(dump, (enum qcbm_dump_kind)part, 0, part == QCBM_DUMP_BITMAPS ? 9 : UINT64_MAX, count_item,
                             &h, NULL, &err);
        if (ret < 0)
            look_check_error(&err, ret);
        if (ret < 0 && ret != QCBM_E_CORRUPT)
            look_fail("dump of a part", err.message);
    }
    qcbm_dump_close(dump);
}

static int check_map(void *opaque, const struct qcbm_map_entry *e)
{
    uint64_t *end = opaque;

    if (e->start != *end || e->length == 0)
        look_fail("map", "a gap or an overlap");
    *end += e->length;
    return 0;
}

static void look_at_map(struct qcbm_image *img)
{
    struct qcbm_image_usage usage;
    struct qcbm_image_info info;
    struct qcbm_error err;
    uint64_t end = 0;
    int ret = qcbm_map(img, 0, UINT64_MAX, 0, check_map, &end, &err);

    qcbm_image_get_info(img, &info, sizeof(info));
    if (ret < 0)
        look_check_error(&err, ret);
    else if (end != (info.virtual_size & ~UINT64_C(511)))
        look_fail("map", "does not end at the end of the disk");
    if (qcbm_image_usage(img, &usage, sizeof(usage), NULL, &err) < 0)
        look_fail("usage", err.message);
}

/* Plan a synthesised bitmap without writing, whatever is damaged. */
static void try_synth(struct qcbm_image *img, struct look *l)
{
    struct qcbm_synth_options opt = QCBM_SYNTH_OPTIONS_INIT;
    struct qcbm_synth_result *r = NULL;
    struct qcbm_edit *edit = NULL;
    struct qcbm_error err;
    int ret = qcbm_edit_begin(img, &edit, &err);

    opt.flags = QCBM_SYNTH_ALLOW_DAMAGE | QCBM_SYNTH_FORCE;
    if (ret == 0)
        ret = qcbm_edit_synth(edit, img, "synth-probe", &opt, &r, &err);
    if (ret == 0) {
        struct qcbm_synth_summary sy;

        qcbm_synth_result_summary(r, &sy, sizeof(sy));
        l->dirty = sy.dirty_bytes;
        l->damaged = sy.damaged_entries;
        l->synth_ok = true;
        try_plan(edit, l);
    } else {
        look_check_error(&err, ret);
    }
    qcbm_synth_result_free(r);
    qcbm_edit_free(edit);
}

static void look_at_findings(const struct qcbm_image *img, struct look *l)
{
    for (uint32_t i = 0; i < qcbm_finding_count(img); i++) {
        struct qcbm_finding f;

        qcbm_finding_get(img, i, &f, sizeof(f));
        if (!f.problem || !f.problem->code || f.message[0] == '\0' || strchr(f.message, '\n'))
            look_fail("finding", f.message);
        l->errors += f.problem->severity != QCBM_CHECK_WARNING;
    }
}

bool look_at(const uint8_t *bytes, size_t len, struct look *out)
{
    static unsigned calls; /* the slower looks are taken at each eighth image, which hits every byte all the same */
    struct qcbm_image_info info;
    struct qcbm_image *img;
    struct qcbm_mem *mem;
    struct qcbm_error err;
    int ret;

    memset(out, 0, sizeof(*out));
    bool more = calls++ % 8 == 0;

    if (more)
        look_at_dump(bytes, len);
    if (qcbm_mem_new(bytes, len, &mem, &err) < 0)
        look_fail("memory", err.message);
    ret = qcbm_open_io(qcbm_mem_ops(), mem, 0, &img, &err);
    if (ret < 0) {
        look_check_error(&err, ret);
        return false;
    }
    qcbm_image_get_info(img, &info, sizeof(info));
    look_at_names(img, out);
    look_at_snapshots(img);
    look_at_bitmaps(img, info.bitmap_count, out);
    try_synth(img, out);
    if (more)
        look_at_map(img);
    look_at_findings(img, out);
    qcbm_close(img);
    return true;
}

const struct look_bitmap *look_find(const struct look *l, const char *name)
{
    for (uint32_t i = 0; i < l->n; i++)
        if (strcmp(l->bitmaps[i].name, name) == 0)
            return &l->bitmaps[i];
    return NULL;
}

uint8_t *look_read_file(const char *path, size_t *len)
{
    FILE *f = fopen(path, "rb");
    uint8_t *bytes = NULL;

    if (!f || fseek(f, 0, SEEK_END) != 0)
        look_fail(path, "cannot be read");
    *len = (size_t)ftell(f);
    rewind(f);
    bytes = malloc(*len ? *len : 1);
    if (!bytes || fread(bytes, 1, *len, f) != *len)
        look_fail(path, "cannot be read");
    fclose(f);
    return bytes;
}
