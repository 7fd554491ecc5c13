/* bitmap_ext.c - the bitmaps extension in the header: put in, switched, taken out
 * SPDX-License-Identifier: MIT */
#include "bitmap/bitmap_ext.h"

#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
#include "write/header_ext.h"

#define EXT_HEADER QCBMI_EXT_HEADER

static struct qcbmi_header_now now(const struct qcbmi_image *img)
{
    return (struct qcbmi_header_now){ &img->h, &img->exts };
}

static struct qcbmi_ext_new new_ext(const uint8_t payload[Q2_BITMAPS_EXT_LEN], const char *what)
{
    return (struct qcbmi_ext_new){ Q2_EXT_BITMAPS, Q2_BITMAPS_EXT_LEN,
                                   payload,        "bitmaps extension",
                                   what,           "header: bitmaps extension, not yet visible" };
}

static int new_stage(struct qcbmi_plan *plan, struct qcbm_error *err)
{
    return qcbmi_plan_stage(plan, "switch", true, err);
}

static uint64_t planned_autoclear(const struct qcbmi_plan *plan)
{
    return be64_load(plan->header + Q2_OFF_AUTOCLEAR);
}

/* Patch the autoclear word: bit 0 as @on says, unknown bits gone. False if it is like that already. */
static bool patch_autoclear(struct qcbmi_plan *plan, bool on)
{
    uint64_t old = planned_autoclear(plan), word = old & Q2_AUTOCLEAR_KNOWN & ~(uint64_t)QCBM_AUTOCLEAR_BITMAPS;
    uint8_t raw[8];

    be64_store(raw, on ? word | QCBM_AUTOCLEAR_BITMAPS : word);
    qcbmi_plan_header_patch(plan, Q2_OFF_AUTOCLEAR, raw, sizeof(raw));
    return be64_load(raw) != old;
}

static int write_autoclear(struct qcbmi_plan *plan, struct qcbm_error *err)
{
    return qcbmi_plan_header_write(plan, "header: autoclear bits", Q2_OFF_AUTOCLEAR, 8, err);
}

int qcbmi_ext_plan_clear_unknown(const struct qcbmi_image *img, struct qcbmi_plan *plan, struct qcbm_error *err)
{
    if (!(img->h.autoclear & ~Q2_AUTOCLEAR_KNOWN))
        return 0;
    patch_autoclear(plan, img->h.autoclear & QCBM_AUTOCLEAR_BITMAPS);
    return write_autoclear(plan, err);
}

/* The step that makes a patched range at [@off, @off + @len) visible, then the autoclear bit. Both in sector 0: one
 * write does it. Else the extension first: without its bit QEMU only warns. */
static int switch_on(struct qcbmi_plan *plan, uint64_t off, uint64_t len, const char *what, struct qcbm_error *err)
{
    bool bit_changes = patch_autoclear(plan, true);
    int ret = new_stage(plan, err);

    if (ret < 0)
        return ret;
    if (bit_changes && off + len <= Q2_SECTOR)
        return qcbmi_plan_header_write(plan, what, Q2_OFF_AUTOCLEAR, off + len - Q2_OFF_AUTOCLEAR, err);
    ret = qcbmi_plan_header_write(plan, what, off, len, err);
    if (ret < 0 || !bit_changes)
        return ret;
    ret = new_stage(plan, err);
    return ret < 0 ? ret : write_autoclear(plan, err);
}

int qcbmi_ext_plan_clear_alone(struct qcbmi_plan *plan, struct qcbm_error *err)
{
    int ret = new_stage(plan, err);

    return ret == 0 && patch_autoclear(plan, false) ? write_autoclear(plan, err) : ret;
}

/* ---- an extension that is there ---- */

static void patch_u32(struct qcbmi_plan *plan, uint64_t off, uint32_t value)
{
    uint8_t raw[4];

    be32_store(raw, value);
    qcbmi_plan_header_patch(plan, off, raw, sizeof(raw));
}

/* Cut here: the old directory, in an image that QEMU opens if nothing else is wrong with it. */
static int mend_length(const struct qcbm_image *handle, struct qcbmi_plan *plan, struct qcbm_error *err)
{
    const struct qcbmi_bitmap_list *list = handle->bitmaps;

    if (!list->has_ext || list->ext_len == Q2_BITMAPS_EXT_LEN)
        return 0;
    patch_u32(plan, list->ext_offset + 4, Q2_BITMAPS_EXT_LEN);
    return qcbmi_plan_header_write(plan, "header: length of the bitmaps extension", list->ext_offset + 4, 4, err);
}

/* The last instance counts; earlier ones, which a cut in relocate() may have left, become padding. */
static int retire_others(const struct qcbm_image *handle, struct qcbmi_plan *plan, struct qcbm_error *err)
{
    const struct qcbmi_image *img = handle->image;
    int ret = 0;

    if (img->h.header_length % 8) /* no write would be sure to stay within a sector */
        return qcbmi_fail(err, QCBM_E_UNSUPPORTED, Q2_OFF_HEADER_LENGTH, "header length %u is not a multiple of 8",
                          img->h.header_length);
    for (size_t i = 0; ret == 0 && i < img->exts.n; i++) {
        const struct q2_extension *e = &img->exts.list[i];

        if (e->type != Q2_EXT_BITMAPS || e->offset == handle->bitmaps->ext_offset)
            continue;
        patch_u32(plan, e->offset, Q2_EXT_PADDING);
        patch_u32(plan, e->offset + 4, Q2_BITMAPS_EXT_LEN); /* which may be wrong there */
        ret = qcbmi_plan_header_write(plan, "header: unused bitmaps extension becomes padding", e->offset, EXT_HEADER,
                                      err);
    }
    return ret;
}

static void patch_payload(struct qcbmi_plan *plan, uint64_t off, const struct q2_bitmaps_ext *ext)
{
    uint8_t raw[Q2_BITMAPS_EXT_LEN];

    q2_bitmaps_ext_store(raw, ext);
    qcbmi_plan_header_patch(plan, off, raw, sizeof(raw));
}

/* The payload of a stale extension is not looked at: write it in any way, then set the bit. */
static int revive(struct qcbmi_plan *plan, uint64_t payload, struct qcbm_error *err)
{
    int ret;

    if (qcbmi_in_one_sector(payload, Q2_BITMAPS_EXT_LEN))
        return switch_on(plan, payload, Q2_BITMAPS_EXT_LEN, "header: bitmaps extension", err);
    ret = new_stage(plan, err);
    if (ret == 0)
        ret = qcbmi_plan_header_write(plan, "header: bitmaps extension", payload, Q2_BITMAPS_EXT_LEN, err);
    if (ret == 0)
        ret = new_stage(plan, err);
    patch_autoclear(plan, true);
    return ret < 0 ? ret : write_autoclear(plan, err);
}

/* ---- a new extension behind the last one ---- */

static int append(const struct qcbmi_image *img, struct qcbmi_plan *plan, size_t prepare_stage,
                  const struct q2_bitmaps_ext *ext, struct qcbm_error *err)
{
    static const char what[] = "header: bitmaps extension";
    const struct qcbmi_header_now header = now(img);
    uint8_t payload[Q2_BITMAPS_EXT_LEN], old[8];
    const struct qcbmi_ext_new added = new_ext(payload, what);
    struct qcbmi_ext_place p;
    uint64_t head_len;
    bool done;
    int ret;

    q2_bitmaps_ext_store(payload, ext);
    be64_store(old, planned_autoclear(plan));
    patch_autoclear(plan, true); /* in the same sector */
    ret = qcbmi_ext_append_at_once(&header, plan, &added, &done, err);
    if (ret < 0 || done)
        return ret;
    qcbmi_plan_header_patch(plan, Q2_OFF_AUTOCLEAR, old, sizeof(old));
    ret = qcbmi_ext_find_place(&header, &added, &p, err);
    if (ret == 0)
        ret = qcbmi_ext_append(&header, plan, prepare_stage, &p, &added, &head_len, err);
    return ret < 0 ? ret : switch_on(plan, p.at, head_len, what, err);
}

/* A live payload that straddles a sector cannot be switched: give it a second place (both say the same, and the last
 * one counts), make padding of the first, and go on with the second. */
static int relocate(const struct qcbm_image *handle, struct qcbmi_plan *plan, size_t prepare_stage, uint64_t *payload,
                    struct qcbm_error *err)
{
    static const char what[] = "header: bitmaps extension, second copy";
    const struct qcbmi_bitmap_list *bitmaps = handle->bitmaps;
    const struct qcbmi_header_now header = now(handle->image);
    uint8_t bytes[Q2_BITMAPS_EXT_LEN];
    const struct qcbmi_ext_new second = new_ext(bytes, what);
    struct qcbmi_ext_place p;
    uint64_t head_len;
    int ret = qcbmi_ext_find_place(&header, &second, &p, err);

    q2_bitmaps_ext_store(bytes, &bitmaps->ext);
    if (ret == 0)
        ret = qcbmi_ext_append(&header, plan, prepare_stage, &p, &second, &head_len, err);
    if (ret == 0)
        ret = switch_on(plan, p.at, head_len, what, err);
    if (ret == 0)
        ret = new_stage(plan, err);
    patch_u32(plan, bitmaps->ext_offset, Q2_EXT_PADDING);
    *payload = qcbmi_ext_at(&p) + EXT_HEADER;
    return ret < 0 ? ret
                   : qcbmi_plan_header_write(plan, "header: first copy becomes padding", bitmaps->ext_offset, 4, err);
}

static int reuse_padding(struct qcbmi_plan *plan, size_t prepare_stage, const struct q2_extension *pad,
                         const struct q2_bitmaps_ext *ext, struct qcbm_error *err)
{
    int ret;

    plan->current = prepare_stage; /* cut here: padding with other bytes */
    patch_payload(plan, pad->offset + EXT_HEADER, ext);
    ret = qcbmi_plan_header_write(plan, "header: bitmaps extension, not yet visible", pad->offset + EXT_HEADER,
                                  Q2_BITMAPS_EXT_LEN, err);
    patch_u32(plan, pad->offset, Q2_EXT_BITMAPS);
    return ret < 0 ? ret : switch_on(plan, pad->offset, 4, "header: bitmaps extension", err);
}

int qcbmi_ext_plan_set(const struct qcbm_image *handle, struct qcbmi_plan *plan, size_t prepare_stage,
                       const struct q2_bitmaps_ext *ext, struct qcbm_error *err)
{
    const struct qcbmi_image *img = handle->image;
    const struct qcbmi_header_now header = now(img);
    const struct qcbmi_ext_new none = new_ext(NULL, NULL);
    uint64_t payload = handle->bitmaps->ext_offset + EXT_HEADER;
    int ret;

    plan->current = prepare_stage;
    ret = mend_length(handle, plan, err);
    if (ret == 0)
        ret = retire_others(handle, plan, err);
    if (ret < 0)
        return ret;
    if (!handle->bitmaps->has_ext && !qcbmi_ext_fits_when_packed(&header, Q2_BITMAPS_EXT_LEN))
        return qcbmi_ext_no_room(&none, img->exts.end_offset,
                                 "QEMU could not rewrite it, its header, extensions and backing file name do not "
                                 "fit together",
                                 err);
    if (!handle->bitmaps->has_ext) {
        const struct q2_extension *pad = qcbmi_ext_find_padding(&img->exts, Q2_BITMAPS_EXT_LEN);

        return pad ? reuse_padding(plan, prepare_stage, pad, ext, err) : append(img, plan, prepare_stage, ext, err);
    }
    if (handle->bitmaps->stale) {
        patch_payload(plan, payload, ext);
        return revive(plan, payload, err);
    }
    if (!qcbmi_in_one_sector(payload, Q2_BITMAPS_EXT_LEN))
        ret = relocate(handle, plan, prepare_stage, &payload, err);
    patch_payload(plan, payload, ext);
    return ret < 0 ? ret : switch_on(plan, payload, Q2_BITMAPS_EXT_LEN, "header: bitmaps extension", err);
}

int qcbmi_ext_plan_remove(const struct qcbm_image *handle, struct qcbmi_plan *plan, struct qcbm_error *err)
{
    const struct qcbmi_image *img = handle->image;
    const struct q2_extension *last = img->exts.n ? &img->exts.list[img->exts.n - 1] : NULL;
    uint64_t at = handle->bitmaps->ext_offset, len = EXT_HEADER;
    static const uint8_t end[EXT_HEADER] = { 0 };
    int ret = mend_length(handle, plan, err);

    if (ret == 0)
        ret = retire_others(handle, plan, err);
    if (ret < 0)
        return ret;
    if (last && last->offset == at && qcbmi_in_one_sector(at, EXT_HEADER)) {
        qcbmi_plan_header_patch(plan, at, end, sizeof(end));
    } else { /* others stand behind it, and are not to be moved */
        patch_u32(plan, at, Q2_EXT_PADDING);
        len = 4;
    }
    patch_autoclear(plan, false);
    ret = new_stage(plan, err);
    if (ret == 0 && at + len <= Q2_SECTOR)
        return qcbmi_plan_header_write(plan, "header: no bitmaps extension", Q2_OFF_AUTOCLEAR,
                                       at + len - Q2_OFF_AUTOCLEAR, err);
    if (ret == 0) /* the bit goes first: it must never stand without the extension */
        ret = write_autoclear(plan, err);
    if (ret == 0)
        ret = new_stage(plan, err);
    return ret < 0 ? ret : qcbmi_plan_header_write(plan, "header: no bitmaps extension", at, len, err);
}
