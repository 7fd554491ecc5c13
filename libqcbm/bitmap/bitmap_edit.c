/* bitmap_edit.c - add, remove, rename, rotate, clear, enable, disable: in memory, until a plan is made of it
 * SPDX-License-Identifier: MIT */
#include "bitmap/bitmap_edit.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/random.h"
#include "bitmap/bitmap_load.h"
#include "format/delta_meta.h"

static int fail_broken(const struct qcbm_image *handle, struct qcbm_error *err)
{
    if (err)
        *err = handle->bitmaps->why_broken;
    return qcbmi_prefix(err, QCBM_E_CORRUPT, "the bitmap directory cannot be rewritten without losing something: ");
}

int qcbmi_edit_check_writable(const struct qcbm_image *handle, struct qcbm_error *err)
{
    int ret = qcbmi_image_check_writable(handle->image, err);

    return ret == 0 && handle->bitmaps->broken ? fail_broken(handle, err) : ret;
}

int qcbmi_edit_check_current(const struct qcbm_edit *edit, struct qcbm_error *err)
{
    if (edit->generation == edit->img->generation)
        return 0;
    return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                      "the image has been committed to since the edit was begun: begin a new one");
}

int qcbmi_edit_check_open(const struct qcbm_edit *edit, struct qcbm_error *err)
{
    int ret = qcbmi_edit_check_current(edit, err);

    if (ret == 0 && edit->planned)
        ret = qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "the edit has been planned and cannot be changed");
    return ret;
}

static int find(struct qcbm_edit *edit, const char *name, struct qcbmi_edit_bitmap **out, struct qcbm_error *err)
{
    int ret = qcbmi_edit_check_open(edit, err);

    *out = ret == 0 ? qcbmi_edit_list_find(&edit->list, name) : NULL;
    if (ret < 0 || *out)
        return ret;
    if (edit->handle->bitmaps->broken) /* it might have the name */
        return qcbmi_image_refuse(edit->img, fail_broken(edit->handle, err), err);
    return qcbmi_bitmap_fail_not_found(edit->handle, name, err);
}

int qcbmi_edit_find_consistent(struct qcbm_edit *edit, const char *name, struct qcbmi_edit_bitmap **out,
                               struct qcbm_error *err)
{
    int ret = find(edit, name, out, err);

    if (ret < 0 || !(*out)->stored || (*out)->bits_changed)
        return ret;
    /* One that was in use may have been trusted by this edit: what counts is what it is by now. */
    return qcbmi_bitmap_check_bits(edit->handle, (*out)->stored, !((*out)->flags & Q2_BITMAP_IN_USE), err);
}

int qcbmi_edit_granularity(const struct qcbm_edit *edit, uint64_t granularity, unsigned *gran_bits,
                           struct qcbm_error *err)
{
    if (granularity == 0)
        granularity = q2_default_granularity(&edit->img->g);
    if ((granularity & (granularity - 1)) || granularity < UINT64_C(1) << Q2_MIN_GRANULARITY_BITS)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "Granularity must be power of 2 and at least 512");
    if (granularity > UINT64_C(1) << Q2_MAX_GRANULARITY_BITS)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "Granularity must be at most 2 GiB (2147483648)");
    *gran_bits = (unsigned)__builtin_ctzll(granularity);
    return 0;
}

/* What QEMU would refuse to make, or would lose when it next opens the image. */
static int check_name(const char *name, struct qcbm_error *err)
{
    size_t len = strlen(name);

    if (len == 0)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "Bitmap name cannot be empty");
    if (len > Q2_MAX_BITMAP_NAME)
        return qcbmi_fail(err, QCBM_E_LIMIT, QCBM_NO_OFFSET, "Name length exceeds maximum (1023 characters)");
    return 0;
}

int qcbmi_edit_check_size(const struct qcbm_edit *edit, unsigned gran_bits, struct qcbm_error *err)
{
    const struct q2_geometry *g = &edit->img->g;
    struct q2_bitmap_size size;
    int ret;

    if (g->sector_size_down == 0)
        return qcbmi_fail(err, QCBM_E_LIMIT, Q2_OFF_SIZE, "an image of size 0 cannot hold a bitmap");
    ret = q2_bitmap_size(g->sector_size_down, gran_bits, g->cluster_size, &size, err);
    if (ret == 0 && g->size != g->sector_size_down && is_aligned(g->sector_size_down, UINT64_C(1) << gran_bits))
        ret = qcbmi_fail(err, QCBM_E_UNSUPPORTED, Q2_OFF_SIZE,
                         "virtual size %" PRIu64 " is not a multiple of 512: its last bytes "
                         "would have no bit (QEMU rounds the size down); resize the image first",
                         g->size);
    return ret;
}

static int check_new(const struct qcbm_edit *edit, const char *name, unsigned gran_bits, struct qcbm_error *err)
{
    int ret = check_name(name, err);

    if (ret == 0 && qcbmi_edit_list_count(&edit->list) >= Q2_MAX_BITMAPS)
        ret = qcbmi_fail(err, QCBM_E_LIMIT, QCBM_NO_OFFSET, "Maximum number of persistent bitmaps is already reached");
    return ret < 0 ? ret : qcbmi_edit_check_size(edit, gran_bits, err);
}

static int fail_exists(const char *name, struct qcbm_error *err)
{
    char text[256];

    return qcbmi_fail(err, QCBM_E_EXISTS, QCBM_NO_OFFSET, "Bitmap already exists: %s",
                      qcbmi_printable(text, sizeof(text), name, strlen(name)));
}

int qcbmi_edit_insert(struct qcbm_edit *edit, const char *name, unsigned gran_bits, uint32_t flags, bool replace,
                      struct qcbmi_dirtymap *bits, struct qcbm_error *err)
{
    struct qcbmi_edit_bitmap *b, fresh = { 0 };
    struct qcbmi_dirtymap clean = { 0 };
    int ret = qcbmi_edit_check_open(edit, err);

    if (ret < 0)
        return ret;
    b = qcbmi_edit_list_find(&edit->list, name);
    if (b && !replace)
        return fail_exists(name, err);
    ret = check_new(edit, name, gran_bits, err);
    if (ret == 0 && !bits) {
        ret = qcbmi_dirtymap_init(&clean, edit->img->g.sector_size_down, gran_bits, err);
        bits = &clean;
    }
    if (ret == 0 && !b)
        ret = qcbmi_edit_list_add(&edit->list, &fresh, name, &b, err);
    if (ret == 0) { /* nothing fails from here on */
        qcbmi_edit_take_map(b, bits);
        b->flags = flags;
    }
    qcbmi_dirtymap_free(&clean);
    return ret;
}

int qcbm_edit_add(struct qcbm_edit *edit, const char *name, uint64_t granularity, unsigned flags,
                  struct qcbm_error *err)
{
    unsigned gran_bits = 0;
    int ret = qcbmi_edit_granularity(edit, granularity, &gran_bits, err);

    if (ret < 0)
        return ret;
    return qcbmi_edit_insert(edit, name, gran_bits, flags & QCBM_BITMAP_DISABLED ? 0 : Q2_BITMAP_AUTO, false, NULL,
                             err);
}

int qcbm_edit_remove(struct qcbm_edit *edit, const char *name, struct qcbm_error *err)
{
    struct qcbmi_edit_bitmap *b;
    int ret = find(edit, name, &b, err);

    if (ret == 0)
        qcbmi_edit_list_remove(&edit->list, b);
    return ret;
}

int qcbm_edit_rename(struct qcbm_edit *edit, const char *name, const char *new_name, struct qcbm_error *err)
{
    struct qcbmi_edit_bitmap *b;
    int ret = qcbmi_edit_find_consistent(edit, name, &b, err);

    if (ret == 0)
        ret = check_name(new_name, err);
    if (ret == 0 && qcbmi_edit_list_find(&edit->list, new_name))
        return fail_exists(new_name, err);
    return ret < 0 ? ret : qcbmi_edit_list_rename(&edit->list, b, new_name, err);
}

int qcbm_edit_rotate(struct qcbm_edit *edit, const char *name, const char *new_name, struct qcbm_error *err)
{
    struct qcbmi_edit_bitmap *b;
    char text[256];
    int ret = qcbmi_edit_find_consistent(edit, name, &b, err);

    if (ret < 0)
        return ret;
    if (!(b->flags & Q2_BITMAP_AUTO)) /* nobody would have what was written since it was disabled */
        return qcbmi_fail(
            err, QCBM_E_ARG, QCBM_NO_OFFSET,
            "Bitmap '%s' is disabled: it has not recorded the latest writes, so no other can go on from it",
            qcbmi_printable(text, sizeof(text), name, strlen(name)));
    ret = qcbmi_edit_insert(edit, new_name, b->gran_bits, Q2_BITMAP_AUTO, false, NULL, err);
    if (ret == 0)
        b->flags &= ~Q2_BITMAP_AUTO;
    return ret;
}

int qcbm_edit_clear(struct qcbm_edit *edit, const char *name, struct qcbm_error *err)
{
    struct qcbmi_dirtymap map = { 0 };
    struct qcbmi_edit_bitmap *b;
    int ret = qcbmi_edit_find_consistent(edit, name, &b, err);

    if (ret == 0)
        ret = qcbmi_dirtymap_init(&map, edit->img->g.sector_size_down, b->gran_bits, err);
    if (ret == 0)
        qcbmi_edit_take_map(b, &map);
    qcbmi_dirtymap_free(&map);
    return ret;
}

static int set_flag(struct qcbm_edit *edit, const char *name, bool on, struct qcbm_error *err)
{
    struct qcbmi_edit_bitmap *b;
    int ret = qcbmi_edit_find_consistent(edit, name, &b, err);

    if (ret < 0)
        return ret;
    b->flags = on ? b->flags | Q2_BITMAP_AUTO : b->flags & ~Q2_BITMAP_AUTO;
    return 0;
}

int qcbm_edit_enable(struct qcbm_edit *edit, const char *name, struct qcbm_error *err)
{
    return set_flag(edit, name, true, err);
}

int qcbm_edit_disable(struct qcbm_edit *edit, const char *name, struct qcbm_error *err)
{
    return set_flag(edit, name, false, err);
}

int qcbmi_edit_copy_bits(const struct qcbm_edit *edit, const struct qcbmi_edit_bitmap *b, struct qcbmi_dirtymap *map,
                         struct qcbm_error *err)
{
    int ret;

    if (!b->bits_changed)
        return qcbmi_bitmap_load(edit->img, b->stored, map, err);
    ret = qcbmi_dirtymap_init(map, b->map.size, b->map.gran_bits, err);
    return ret < 0 ? ret : qcbmi_dirtymap_merge(map, &b->map, err);
}

void qcbmi_edit_take_map(struct qcbmi_edit_bitmap *b, struct qcbmi_dirtymap *map)
{
    struct qcbmi_dirtymap old = b->map;

    b->map = *map;
    *map = old;
    b->gran_bits = b->map.gran_bits;
    b->bits_changed = true;
}

/* ---- the tag ---- */

int qcbm_edit_set_tag(struct qcbm_edit *edit, const char *tag, struct qcbm_error *err)
{
    uint8_t bytes[Q2_TAG_LEN];
    int ret = qcbmi_edit_check_open(edit, err);

    if (ret == 0 && !tag)
        ret = qcbmi_random(bytes, sizeof(bytes), err);
    else if (ret == 0 && !qcbmi_identity_parse(tag, bytes))
        ret = qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "a tag has 32 hexadecimal digits");
    if (ret < 0)
        return ret;
    memcpy(edit->tag, bytes, sizeof(bytes));
    edit->tag_change = QCBMI_TAG_SET;
    return 0;
}

int qcbm_edit_remove_tag(struct qcbm_edit *edit, struct qcbm_error *err)
{
    int ret = qcbmi_edit_check_open(edit, err);

    if (ret == 0)
        edit->tag_change = QCBMI_TAG_GOES;
    return ret;
}
