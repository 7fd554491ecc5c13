/* bitmap_ext.c - the bitmaps extension in the header: put in, switched, taken out
 * SPDX-License-Identifier: MIT */
#include "bitmap/bitmap_ext.h"

#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"

#define EXT_HEADER 8u /* type and length */

static bool in_one_sector(uint64_t off, uint64_t len)
{
    return off / Q2_SECTOR == (off + len - 1) / Q2_SECTOR;
}

static int no_room(uint64_t off, const char *why, struct qcbm_error *err)
{
    return qcbmi_fail(err, QCBM_E_NOSPACE, off,
                      "no room in the first cluster for the bitmaps extension: %s; nothing was "
                      "written",
                      why);
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

    if (in_one_sector(payload, Q2_BITMAPS_EXT_LEN))
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

struct place {
    uint64_t at;  /* where the END extension stands now */
    uint64_t pad; /* bytes of padding extension in front, so that the payload lies in one sector */
    uint64_t end; /* behind the new END */
    bool move_name;
    uint64_t name_to; /* where the backing file name goes */
};

static uint64_t ext_at(const struct place *p)
{
    return p->at + p->pad;
}

/* A place for the name behind the new extension and behind its present place: two copies exist for a while. It begins
 * where the extension is to be, so in front of it there is no room. */
static bool place_name(const struct qcbmi_image *img, struct place *p)
{
    uint64_t len = img->h.backing_size, cs = img->g.cluster_size;
    uint64_t behind = u64_max(p->end, img->h.backing_offset + len);
    uint64_t tries[] = { align_up(behind, Q2_SECTOR), align_up(behind, 8) };

    for (int i = 0; i < 2; i++) {
        if (!range_fits(tries[i], len, cs) || tries[i] >= cs)
            continue;
        p->name_to = tries[i];
        return true;
    }
    return false;
}

/* QEMU packs the first cluster whenever it rewrites it: a header of at least 112 bytes, all extensions, the name. Where
 * that does not fit, its next open for writing would fail. It writes a feature table only into clusters above 4 KiB. */
bool qcbmi_ext_fits_when_packed(const struct qcbmi_image *img, uint64_t len)
{
    uint64_t sum = u64_max(img->h.header_length, Q2_HEADER_BYTES) + EXT_HEADER + align_up(len, 8) + EXT_HEADER;

    for (size_t i = 0; i < img->exts.n; i++)
        if (img->exts.list[i].type != Q2_EXT_FEATURE_TABLE)
            sum += EXT_HEADER + align_up(img->exts.list[i].len, 8);
    if (img->g.cluster_size > 4096)
        sum += EXT_HEADER + 8 * 48;
    return sum + img->h.backing_size <= img->g.cluster_size;
}

static int find_place(const struct qcbmi_image *img, struct place *p, struct qcbm_error *err)
{
    const struct q2_extensions *exts = &img->exts;

    memset(p, 0, sizeof(*p));
    p->at = exts->end_offset;
    if (!exts->has_end)
        return no_room(p->at, "the extensions fill their area up to its end", err);
    if (!in_one_sector(p->at, EXT_HEADER))
        return no_room(p->at, "the END extension straddles a sector", err);
    while (!in_one_sector(ext_at(p) + EXT_HEADER, Q2_BITMAPS_EXT_LEN) || !in_one_sector(ext_at(p), EXT_HEADER))
        p->pad += 8;
    p->end =
        ext_at(p) + EXT_HEADER + Q2_BITMAPS_EXT_LEN + EXT_HEADER; /* offsets are multiples of 8: pad is 0, 8 or 16 */
    if (p->end > img->g.cluster_size)
        return no_room(p->at, "the first cluster is full", err);
    if (p->end <= exts->limit)
        return 0;
    p->move_name = true;
    if (!place_name(img, p))
        return no_room(p->at, "the backing file name is in the way and there is no place for a second copy of it", err);
    return 0;
}

/* The bytes of [END's place, end of the new END) in the plan's copy. */
static void patch_new_ext(struct qcbmi_plan *plan, const struct place *p, const struct q2_bitmaps_ext *ext)
{
    uint8_t raw[64 + Q2_BITMAPS_EXT_LEN] = { 0 };
    uint8_t *at = raw;

    if (p->pad) {
        be32_store(at, Q2_EXT_PADDING);
        be32_store(at + 4, (uint32_t)p->pad - EXT_HEADER);
        at += p->pad;
    }
    be32_store(at, Q2_EXT_BITMAPS);
    be32_store(at + 4, Q2_BITMAPS_EXT_LEN);
    q2_bitmaps_ext_store(at + EXT_HEADER, ext);
    qcbmi_plan_header_patch(plan, p->at, raw, p->end - p->at);
}

/* A copy of the name, then the one field that points to it. */
static int move_name(const struct qcbmi_image *img, struct qcbmi_plan *plan, size_t prepare_stage,
                     const struct place *p, struct qcbm_error *err)
{
    uint8_t raw[8];
    int ret = 0;

    plan->current = prepare_stage; /* cut here: a copy that nobody sees */
    qcbmi_plan_header_patch(plan, p->name_to, img->cluster0 + img->h.backing_offset, img->h.backing_size);
    if (img->h.backing_size)
        ret = qcbmi_plan_header_write(plan, "header: copy of the backing file name", p->name_to, img->h.backing_size,
                                      err);
    if (ret == 0)
        ret = new_stage(plan, err); /* cut here or behind: the same name, in one place or the other */
    be64_store(raw, p->name_to);
    qcbmi_plan_header_patch(plan, Q2_OFF_BACKING_OFFSET, raw, sizeof(raw));
    return ret < 0 ? ret : qcbmi_plan_header_write(plan, "header: backing file offset", Q2_OFF_BACKING_OFFSET, 8, err);
}

/* A cluster of one sector, or all of it in the first sector: one write of that sector does everything. */
static int append_at_once(const struct qcbmi_image *img, struct qcbmi_plan *plan, const struct q2_bitmaps_ext *ext,
                          bool *done, struct qcbm_error *err)
{
    struct place p = { .at = img->exts.end_offset };
    uint64_t name_end, len = img->h.backing_size;
    uint8_t raw[8];
    int ret;

    *done = false;
    p.end = p.at + EXT_HEADER + Q2_BITMAPS_EXT_LEN + EXT_HEADER;
    name_end = p.end + len;
    if (!img->exts.has_end || img->h.backing_offset < p.at || img->h.backing_offset >= p.end || name_end > Q2_SECTOR)
        return 0;
    patch_new_ext(plan, &p, ext);
    qcbmi_plan_header_patch(plan, p.end, img->cluster0 + img->h.backing_offset, len);
    be64_store(raw, p.end);
    qcbmi_plan_header_patch(plan, Q2_OFF_BACKING_OFFSET, raw, sizeof(raw));
    patch_autoclear(plan, true);
    *done = true;
    ret = new_stage(plan, err); /* cut here: all of the sector or nothing */
    return ret < 0 ? ret
                   : qcbmi_plan_header_write(plan, "header: bitmaps extension", Q2_OFF_BACKING_OFFSET,
                                             name_end - Q2_OFF_BACKING_OFFSET, err);
}

/* Everything behind the first 8 bytes is invisible as long as END stands there. */
static int write_body(struct qcbmi_plan *plan, const struct place *p, uint64_t from, struct qcbm_error *err)
{
    if (from >= p->end)
        return 0;
    return qcbmi_plan_header_write(plan, "header: bitmaps extension, not yet visible", from, p->end - from, err);
}

/* Put the extension where END stands, with an END behind it; *@head and *@head_len are what makes it visible. */
static int append_body(const struct qcbmi_image *img, struct qcbmi_plan *plan, size_t prepare_stage,
                       const struct place *p, const struct q2_bitmaps_ext *ext, uint64_t *head_len,
                       struct qcbm_error *err)
{
    uint64_t sector_end = align_down(p->at, Q2_SECTOR) + Q2_SECTOR;
    int ret;

    *head_len = EXT_HEADER;
    if (!p->move_name) {
        patch_new_ext(plan, p, ext);
        plan->current = prepare_stage;
        return write_body(plan, p, p->at + EXT_HEADER, err);
    }
    ret = move_name(img, plan, prepare_stage, p, err);
    patch_new_ext(plan, p, ext);
    *head_len = u64_min(sector_end, p->end) - p->at; /* what shares the sector with END comes with it */
    if (ret < 0 || sector_end >= p->end)
        return ret;
    ret = new_stage(plan, err);
    return ret < 0 ? ret : write_body(plan, p, sector_end, err);
}

static int append(const struct qcbmi_image *img, struct qcbmi_plan *plan, size_t prepare_stage,
                  const struct q2_bitmaps_ext *ext, struct qcbm_error *err)
{
    struct place p;
    uint64_t head_len;
    bool done;
    int ret = append_at_once(img, plan, ext, &done, err);

    if (ret < 0 || done)
        return ret;
    ret = find_place(img, &p, err);
    if (ret == 0)
        ret = append_body(img, plan, prepare_stage, &p, ext, &head_len, err);
    return ret < 0 ? ret : switch_on(plan, p.at, head_len, "header: bitmaps extension", err);
}

/* A live payload that straddles a sector cannot be switched: give it a second place (both say the same, and the last
 * one counts), make padding of the first, and go on with the second. */
static int relocate(const struct qcbm_image *handle, struct qcbmi_plan *plan, size_t prepare_stage, uint64_t *payload,
                    struct qcbm_error *err)
{
    const struct qcbmi_bitmap_list *bitmaps = handle->bitmaps;
    struct place p;
    uint64_t head_len;
    int ret = find_place(handle->image, &p, err);

    if (ret == 0)
        ret = append_body(handle->image, plan, prepare_stage, &p, &bitmaps->ext, &head_len, err);
    if (ret == 0)
        ret = switch_on(plan, p.at, head_len, "header: bitmaps extension, second copy", err);
    if (ret == 0)
        ret = new_stage(plan, err);
    patch_u32(plan, bitmaps->ext_offset, Q2_EXT_PADDING);
    *payload = ext_at(&p) + EXT_HEADER;
    return ret < 0 ? ret
                   : qcbmi_plan_header_write(plan, "header: first copy becomes padding", bitmaps->ext_offset, 4, err);
}

/* Padding that an earlier removal left, in which the extension can stand again. */
static const struct q2_extension *find_padding(const struct qcbmi_image *img)
{
    for (size_t i = 0; i < img->exts.n; i++) {
        const struct q2_extension *e = &img->exts.list[i];

        if (e->type == Q2_EXT_PADDING && e->len == Q2_BITMAPS_EXT_LEN && in_one_sector(e->offset, EXT_HEADER) &&
            in_one_sector(e->offset + EXT_HEADER, Q2_BITMAPS_EXT_LEN))
            return e;
    }
    return NULL;
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
    uint64_t payload = handle->bitmaps->ext_offset + EXT_HEADER;
    int ret;

    plan->current = prepare_stage;
    ret = mend_length(handle, plan, err);
    if (ret == 0)
        ret = retire_others(handle, plan, err);
    if (ret < 0)
        return ret;
    if (!handle->bitmaps->has_ext && !qcbmi_ext_fits_when_packed(img, Q2_BITMAPS_EXT_LEN))
        return no_room(img->exts.end_offset,
                       "QEMU could not rewrite it, its header, extensions and backing file name do not "
                       "fit together",
                       err);
    if (!handle->bitmaps->has_ext) {
        const struct q2_extension *pad = find_padding(img);

        return pad ? reuse_padding(plan, prepare_stage, pad, ext, err) : append(img, plan, prepare_stage, ext, err);
    }
    if (handle->bitmaps->stale) {
        patch_payload(plan, payload, ext);
        return revive(plan, payload, err);
    }
    if (!in_one_sector(payload, Q2_BITMAPS_EXT_LEN))
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
    if (last && last->offset == at && in_one_sector(at, EXT_HEADER)) {
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
