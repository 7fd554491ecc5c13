/* ops.c - the operations whose crash states are judged: a table
 * SPDX-License-Identifier: MIT
 *
 * A new operation is a function and a row. The images have bitmaps b0, b1, ... or none; "new" is never there. */
#include "ops.h"

#include <stdio.h>

static int synth(struct qcbm_edit *edit, struct qcbm_image *img, const char *name, unsigned flags, uint64_t granularity,
                 struct qcbm_error *err)
{
    struct qcbm_synth_options opt = QCBM_SYNTH_OPTIONS_INIT;

    opt.granularity = granularity;
    opt.flags = flags | QCBM_SYNTH_FORCE;
    return qcbm_edit_synth(edit, img, name, &opt, NULL, err);
}

#define OP(name)                                                                                                       \
    static int op_##name(struct qcbm_edit *edit, struct qcbm_image *img, const char *path, struct qcbm_error *err)
#define UNUSED(a) (void)(a)

OP(add)
{
    UNUSED(img), UNUSED(path);
    return qcbm_edit_add(edit, "new", 0, 0, err);
}

OP(add_disabled)
{
    UNUSED(img), UNUSED(path);
    return qcbm_edit_add(edit, "new", 65536, QCBM_BITMAP_DISABLED, err);
}

OP(remove)
{
    UNUSED(img), UNUSED(path);
    return qcbm_edit_remove(edit, "b0", err);
}

OP(clear)
{
    UNUSED(img), UNUSED(path);
    return qcbm_edit_clear(edit, "b0", err);
}

OP(enable)
{
    UNUSED(img), UNUSED(path);
    return qcbm_edit_enable(edit, "off", err);
}

OP(disable)
{
    UNUSED(img), UNUSED(path);
    return qcbm_edit_disable(edit, "b0", err);
}

OP(merge)
{
    UNUSED(img), UNUSED(path);
    return qcbm_edit_merge(edit, "b1", NULL, "b0", err);
}

OP(synth)
{
    UNUSED(path);
    return synth(edit, img, "new", 0, 512, err);
}

OP(synth_disabled)
{
    UNUSED(path);
    return synth(edit, img, "new", QCBM_SYNTH_DISABLED, 1024, err);
}

OP(synth_replace)
{
    struct qcbm_image_info info;

    UNUSED(path);
    qcbm_image_get_info(img, &info, sizeof(info));
    return info.bitmap_count ? synth(edit, img, "b0", QCBM_SYNTH_REPLACE, 512, err) : OP_NOT_HERE;
}

OP(synth_merge)
{
    struct qcbm_image_info info;

    UNUSED(path);
    qcbm_image_get_info(img, &info, sizeof(info));
    return info.bitmap_count ? synth(edit, img, "b0", QCBM_SYNTH_MERGE, 0, err) : OP_NOT_HERE;
}

/* Against the lowest layer of the chain: the file itself is the overlay, and @img gets the bitmap. */
OP(synth_since)
{
    struct qcbm_synth_options opt = QCBM_SYNTH_OPTIONS_INIT;
    struct qcbm_image *overlay;
    struct qcbm_image_info info;
    int ret;

    qcbm_image_get_info(img, &info, sizeof(info));
    if (!info.backing_file)
        return OP_NOT_HERE;
    ret = qcbm_open(path, 0, &overlay, err);
    if (ret < 0)
        return ret;
    opt.granularity = 512;
    opt.since = "base.qcow2";
    opt.flags = QCBM_SYNTH_FORCE;
    ret = qcbm_edit_synth(edit, overlay, "new", &opt, NULL, err);
    qcbm_close(overlay);
    return ret;
}

/* --into: what another image has allocated. */
OP(synth_into)
{
    struct qcbm_image *overlay;
    struct qcbm_image_info info;
    int ret;

    UNUSED(path);
    qcbm_image_get_info(img, &info, sizeof(info));
    if (info.virtual_size < (16u << 20))
        return OP_NOT_HERE;
    ret = qcbm_open("base.qcow2", 0, &overlay, err);
    if (ret < 0)
        return ret;
    ret = synth(edit, overlay, "new", 0, 512, err);
    qcbm_close(overlay);
    return ret;
}

static const char other_tag[] = "00112233445566778899aabbccddeeff";

OP(tag)
{
    UNUSED(img), UNUSED(path);
    return qcbm_edit_set_tag(edit, other_tag, err);
}

OP(remove_tag)
{
    UNUSED(img), UNUSED(path);
    return qcbm_edit_remove_tag(edit, err);
}

/* Several changes in one commit. */
OP(several)
{
    int ret = qcbm_edit_remove(edit, "b0", err);

    UNUSED(img), UNUSED(path);
    if (ret == 0)
        ret = qcbm_edit_add(edit, "b0", 1024, QCBM_BITMAP_DISABLED, err);
    if (ret == 0)
        ret = qcbm_edit_add(edit, "new", 4096, 0, err);
    if (ret == 0)
        ret = qcbm_edit_set_tag(edit, other_tag, err);
    if (ret == 0)
        ret = qcbm_edit_merge(edit, "new", NULL, "b1", err);
    return ret == QCBM_E_NOTFOUND ? 0 : ret; /* not every image has a b1 */
}

OP(rename)
{
    UNUSED(img), UNUSED(path);
    return qcbm_edit_rename(edit, "b0", "new", err);
}

OP(rotate)
{
    UNUSED(img), UNUSED(path);
    return qcbm_edit_rotate(edit, "b0", "new", err);
}

/* What clears and what sets bits, in another granularity, and the result under another name as well. */
OP(bits)
{
    int ret = qcbm_edit_unset_range(edit, "b0", 0, 16384, err);

    UNUSED(img), UNUSED(path);
    if (ret == 0)
        ret = qcbm_edit_set_range(edit, "b0", 1000, 40000, err);
    if (ret == 0)
        ret = qcbm_edit_regranularise(edit, "b0", 1024, err);
    return ret < 0 ? ret : qcbm_edit_copy(edit, "new", NULL, "b0", err);
}

/* Flags of all bitmaps: more than one sector of the directory, where there are many. */
OP(disable_all)
{
    struct qcbm_image_info info;
    int ret = 0;

    UNUSED(path);
    qcbm_image_get_info(img, &info, sizeof(info));
    for (uint32_t i = 0; ret == 0 && i < info.bitmap_count; i++) {
        struct qcbm_bitmap_info b;

        qcbm_bitmap_get(img, i, &b, sizeof(b));
        ret = qcbm_edit_disable(edit, b.name, err);
    }
    return ret == 0 && info.bitmap_count < 2 ? OP_NOT_HERE : ret;
}

OP(remove_all)
{
    struct qcbm_image_info info;
    int ret = 0;

    UNUSED(path);
    qcbm_image_get_info(img, &info, sizeof(info));
    for (uint32_t i = 0; ret == 0 && i < info.bitmap_count; i++) {
        struct qcbm_bitmap_info b;

        qcbm_bitmap_get(img, i, &b, sizeof(b));
        ret = qcbm_edit_remove(edit, b.name, err);
    }
    return ret == 0 && info.bitmap_count == 0 ? OP_NOT_HERE : ret;
}

OP(revive)
{
    int ret = qcbm_edit_revive(edit, "b0", 0, NULL, NULL, err);

    UNUSED(img), UNUSED(path);
    return ret == QCBM_E_ARG || ret == QCBM_E_UNSUPPORTED ? OP_NOT_HERE
                                                          : ret; /* it is not in use, or a raw data file */
}

OP(revive_trusted)
{
    int ret = qcbm_edit_revive(edit, "b0", QCBM_REVIVE_TRUST, NULL, NULL, err);

    UNUSED(img), UNUSED(path);
    return ret == QCBM_E_ARG ? OP_NOT_HERE : ret;
}

const struct crash_op crash_ops[] = {
    { "add", op_add, "new,", false },
    { "add --disabled", op_add_disabled, "new,", false },
    { "remove", op_remove, "b0,", false },
    { "clear", op_clear, "b0,", true },
    { "enable", op_enable, "off,", false },
    { "disable", op_disable, "b0,", true },
    { "merge", op_merge, "b1,", true },
    { "synth", op_synth, "new,", false },
    { "synth --disabled", op_synth_disabled, "new,", false },
    { "synth --replace", op_synth_replace, "b0,", false },
    { "synth --merge", op_synth_merge, "b0,", true },
    { "synth --since", op_synth_since, "new,", false },
    { "synth --into", op_synth_into, "new,", false },
    { "several", op_several, "b0,new,", true },
    { "tag", op_tag, "", false },
    { "tag --remove", op_remove_tag, "", false },
    { "rename", op_rename, "b0,new,", true },
    { "rotate", op_rotate, "b0,new,", true },
    { "unset, set, regranularise, copy", op_bits, "b0,new,", true },
    { "disable all", op_disable_all, "*", true },
    { "remove all", op_remove_all, "*", false },
    { "revive", op_revive, "b0,", false },
    { "revive --trust", op_revive_trusted, "b0,", false },
};
const size_t crash_n_ops = sizeof(crash_ops) / sizeof(crash_ops[0]);

int crash_op_outcome(const struct crash_op *op, int ret)
{
    return ret == QCBM_E_NOTFOUND || (ret == QCBM_E_INUSE && op->not_in_use) ? OP_NOT_HERE : ret;
}

int crash_op_run(const struct crash_op *op, struct record *record, const char *path,
                 void (*change)(void *opaque, struct qcbm_edit *edit), void *opaque, qcbm_plan_fn *step,
                 struct qcbm_error *err)
{
    struct qcbm_edit *edit = NULL;
    struct qcbm_image *img;
    int ret = qcbm_open_io(record_ops(), record, QCBM_OPEN_WRITE, &img, err);

    if (ret < 0)
        return ret;
    ret = qcbm_edit_begin(img, &edit, err);
    if (ret == 0)
        ret = op->run(edit, img, path, err);
    if (ret == 0)
        ret = qcbm_edit_plan(edit, NULL, 0, step, NULL, err);
    if (ret == 0 && change)
        change(opaque, edit);
    if (ret == 0)
        ret = qcbm_edit_commit(edit, NULL, 0, err);
    qcbm_edit_free(edit);
    qcbm_close(img);
    if (ret == 0 && record->n == 0)
        return OP_NOT_HERE;
    return crash_op_outcome(op, ret);
}
