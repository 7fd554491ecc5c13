/* header_ext.c - a new extension in the header, behind those that are there, in a plan
 * SPDX-License-Identifier: MIT */
#include "write/header_ext.h"

#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"

bool qcbmi_in_one_sector(uint64_t off, uint64_t len)
{
    return off / Q2_SECTOR == (off + len - 1) / Q2_SECTOR;
}

int qcbmi_ext_no_room(const struct qcbmi_ext_new *ext, uint64_t off, const char *why, struct qcbm_error *err)
{
    return qcbmi_fail(err, QCBM_E_NOSPACE, off,
                      "no room in the first cluster for the %s: %s; nothing was "
                      "written",
                      ext->name, why);
}

static int new_stage(struct qcbmi_plan *plan, struct qcbm_error *err)
{
    return qcbmi_plan_stage(plan, "switch", true, err);
}

uint64_t qcbmi_ext_at(const struct qcbmi_ext_place *p)
{
    return p->at + p->pad;
}

/* A place for the name behind the new extension and behind its present place: two copies exist for a while. It begins
 * where the extension is to be, so in front of it there is no room. */
static bool place_name(const struct qcbmi_header_now *now, struct qcbmi_ext_place *p)
{
    uint64_t len = now->h->backing_size, cs = UINT64_C(1) << now->h->cluster_bits;
    uint64_t behind = u64_max(p->end, now->h->backing_offset + len);
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
bool qcbmi_ext_fits_when_packed(const struct qcbmi_header_now *now, uint64_t len)
{
    uint64_t cs = UINT64_C(1) << now->h->cluster_bits;
    uint64_t sum =
        u64_max(now->h->header_length, Q2_HEADER_BYTES) + QCBMI_EXT_HEADER + align_up(len, 8) + QCBMI_EXT_HEADER;

    for (size_t i = 0; i < now->exts->n; i++)
        if (now->exts->list[i].type != Q2_EXT_FEATURE_TABLE)
            sum += QCBMI_EXT_HEADER + align_up(now->exts->list[i].len, 8);
    if (cs > 4096)
        sum += QCBMI_EXT_HEADER + 8 * 48;
    return sum + now->h->backing_size <= cs;
}

int qcbmi_ext_find_place(const struct qcbmi_header_now *now, const struct qcbmi_ext_new *ext, struct qcbmi_ext_place *p,
                         struct qcbm_error *err)
{
    const struct q2_extensions *exts = now->exts;

    memset(p, 0, sizeof(*p));
    p->at = exts->end_offset;
    if (!exts->has_end)
        return qcbmi_ext_no_room(ext, p->at, "the extensions fill their area up to its end", err);
    if (!qcbmi_in_one_sector(p->at, QCBMI_EXT_HEADER))
        return qcbmi_ext_no_room(ext, p->at, "the END extension straddles a sector", err);
    while (!qcbmi_in_one_sector(qcbmi_ext_at(p) + QCBMI_EXT_HEADER, ext->len) ||
           !qcbmi_in_one_sector(qcbmi_ext_at(p), QCBMI_EXT_HEADER))
        p->pad += 8;
    /* offsets are multiples of 8: pad is 0, 8 or 16 */
    p->end = qcbmi_ext_at(p) + QCBMI_EXT_HEADER + ext->len + QCBMI_EXT_HEADER;
    if (p->end > UINT64_C(1) << now->h->cluster_bits)
        return qcbmi_ext_no_room(ext, p->at, "the first cluster is full", err);
    if (p->end <= exts->limit)
        return 0;
    p->move_name = true;
    if (!place_name(now, p))
        return qcbmi_ext_no_room(
            ext, p->at, "the backing file name is in the way and there is no place for a second copy of it", err);
    return 0;
}

/* The bytes of [END's place, end of the new END) in the plan's copy. */
static void patch_new_ext(struct qcbmi_plan *plan, const struct qcbmi_ext_place *p, const struct qcbmi_ext_new *ext)
{
    uint8_t raw[64 + QCBMI_EXT_MOST] = { 0 };
    uint8_t *at = raw;

    if (p->pad) {
        be32_store(at, Q2_EXT_PADDING);
        be32_store(at + 4, (uint32_t)p->pad - QCBMI_EXT_HEADER);
        at += p->pad;
    }
    be32_store(at, ext->type);
    be32_store(at + 4, ext->len);
    memcpy(at + QCBMI_EXT_HEADER, ext->payload, ext->len);
    qcbmi_plan_header_patch(plan, p->at, raw, p->end - p->at);
}

/* A copy of the name, then the one field that points to it. */
static int move_name(const struct qcbmi_header_now *now, struct qcbmi_plan *plan, size_t unseen,
                     const struct qcbmi_ext_place *p, struct qcbm_error *err)
{
    uint64_t len = now->h->backing_size;
    uint8_t raw[8];
    int ret = 0;

    plan->current = unseen; /* cut here: a copy that nobody sees */
    qcbmi_plan_header_patch(plan, p->name_to, plan->header + now->h->backing_offset, len);
    if (len)
        ret = qcbmi_plan_header_write(plan, "header: copy of the backing file name", p->name_to, len, err);
    if (ret == 0)
        ret = new_stage(plan, err); /* cut here or behind: the same name, in one place or the other */
    be64_store(raw, p->name_to);
    qcbmi_plan_header_patch(plan, Q2_OFF_BACKING_OFFSET, raw, sizeof(raw));
    return ret < 0 ? ret : qcbmi_plan_header_write(plan, "header: backing file offset", Q2_OFF_BACKING_OFFSET, 8, err);
}

int qcbmi_ext_append_at_once(const struct qcbmi_header_now *now, struct qcbmi_plan *plan,
                             const struct qcbmi_ext_new *ext, bool *done, struct qcbm_error *err)
{
    const struct q2_header *h = now->h;
    struct qcbmi_ext_place p = { .at = now->exts->end_offset };
    uint8_t raw[8], name[Q2_SECTOR];
    uint64_t name_end;
    int ret;

    *done = false;
    p.end = p.at + QCBMI_EXT_HEADER + ext->len + QCBMI_EXT_HEADER;
    name_end = p.end + h->backing_size;
    if (!now->exts->has_end || h->backing_offset < p.at || h->backing_offset >= p.end || name_end > Q2_SECTOR)
        return 0;
    memcpy(name, plan->header + h->backing_offset, h->backing_size);
    patch_new_ext(plan, &p, ext);
    qcbmi_plan_header_patch(plan, p.end, name, h->backing_size);
    be64_store(raw, p.end);
    qcbmi_plan_header_patch(plan, Q2_OFF_BACKING_OFFSET, raw, sizeof(raw));
    *done = true;
    ret = new_stage(plan, err); /* cut here: all of the sector or nothing */
    return ret < 0
               ? ret
               : qcbmi_plan_header_write(plan, ext->what, Q2_OFF_BACKING_OFFSET, name_end - Q2_OFF_BACKING_OFFSET, err);
}

/* Everything behind the first 8 bytes is invisible as long as END stands there. */
static int write_body(struct qcbmi_plan *plan, const struct qcbmi_ext_place *p, const struct qcbmi_ext_new *ext,
                      uint64_t from, struct qcbm_error *err)
{
    return from < p->end ? qcbmi_plan_header_write(plan, ext->unseen, from, p->end - from, err) : 0;
}

int qcbmi_ext_append(const struct qcbmi_header_now *now, struct qcbmi_plan *plan, size_t unseen,
                     const struct qcbmi_ext_place *p, const struct qcbmi_ext_new *ext, uint64_t *head_len,
                     struct qcbm_error *err)
{
    uint64_t sector_end = align_down(p->at, Q2_SECTOR) + Q2_SECTOR;
    int ret;

    *head_len = QCBMI_EXT_HEADER;
    if (!p->move_name) {
        patch_new_ext(plan, p, ext);
        plan->current = unseen;
        return write_body(plan, p, ext, p->at + QCBMI_EXT_HEADER, err);
    }
    ret = move_name(now, plan, unseen, p, err);
    patch_new_ext(plan, p, ext);
    *head_len = u64_min(sector_end, p->end) - p->at; /* what shares the sector with END comes with it */
    if (ret < 0 || sector_end >= p->end)
        return ret;
    ret = new_stage(plan, err);
    return ret < 0 ? ret : write_body(plan, p, ext, sector_end, err);
}

const struct q2_extension *qcbmi_ext_find_padding(const struct q2_extensions *exts, uint32_t len)
{
    for (size_t i = 0; i < exts->n; i++) {
        const struct q2_extension *e = &exts->list[i];

        if (e->type == Q2_EXT_PADDING && e->len == len && qcbmi_in_one_sector(e->offset, QCBMI_EXT_HEADER) &&
            qcbmi_in_one_sector(e->offset + QCBMI_EXT_HEADER, len))
            return e;
    }
    return NULL;
}
