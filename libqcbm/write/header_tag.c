/* header_tag.c - the tag of an image, an extension of the header: put in, changed, taken out, in a plan
 * SPDX-License-Identifier: MIT
 *
 * It is planned on the header as the plan has it so far, which may have a new bitmaps extension and the name of the
 * backing file in another place. So nothing of it goes to a stage before these: what nobody sees in the header of then
 * may be the name in the one that the file has now. */
#include "write/header_tag.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "write/header_ext.h"

static const char visible[] = "header: tag", unseen[] = "header: tag, not yet visible";

static int new_stage(struct qcbmi_plan *plan, struct qcbm_error *err)
{
    return qcbmi_plan_stage(plan, "switch", true, err);
}

/* The 4 bytes of the type, or all 8 for the end mark: offsets are multiples of 8. */
static int write_head(struct qcbmi_plan *plan, const char *what, uint64_t off, const void *bytes, uint64_t len,
                      struct qcbm_error *err)
{
    int ret = new_stage(plan, err);

    qcbmi_plan_header_patch(plan, off, bytes, len);
    return ret < 0 ? ret : qcbmi_plan_header_write(plan, what, off, len, err);
}

static int write_type(struct qcbmi_plan *plan, const char *what, uint64_t off, uint32_t type, struct qcbm_error *err)
{
    uint8_t raw[4];

    be32_store(raw, type);
    return write_head(plan, what, off, raw, sizeof(raw), err);
}

static int append(const struct qcbmi_header_now *now, struct qcbmi_plan *plan, const struct qcbmi_ext_new *ext,
                  struct qcbm_error *err)
{
    struct qcbmi_ext_place p;
    uint64_t head_len;
    bool done;
    int ret = qcbmi_ext_append_at_once(now, plan, ext, &done, err);

    if (ret < 0 || done)
        return ret;
    ret = qcbmi_ext_find_place(now, ext, &p, err);
    if (ret == 0)
        ret = new_stage(plan, err);
    if (ret == 0)
        ret = qcbmi_ext_append(now, plan, plan->current, &p, ext, &head_len, err);
    if (ret == 0)
        ret = new_stage(plan, err);
    return ret < 0 ? ret : qcbmi_plan_header_write(plan, visible, p.at, head_len, err);
}

static int put_in(const struct qcbmi_header_now *now, struct qcbmi_plan *plan, const uint8_t *tag,
                  struct qcbm_error *err)
{
    const struct qcbmi_ext_new ext = { Q2_EXT_TAG, Q2_TAG_LEN, tag, "tag", visible, unseen };
    const struct q2_extension *pad = qcbmi_ext_find_padding(now->exts, Q2_TAG_LEN);
    int ret;

    if (!pad && !qcbmi_ext_fits_when_packed(now, Q2_TAG_LEN))
        return qcbmi_ext_no_room(&ext, now->exts->end_offset,
                                 "QEMU could not rewrite it, its header, extensions and backing file name do not fit "
                                 "together",
                                 err);
    if (!pad)
        return append(now, plan, &ext, err);
    ret = new_stage(plan, err);
    qcbmi_plan_header_patch(plan, pad->offset + QCBMI_EXT_HEADER, tag, Q2_TAG_LEN);
    if (ret == 0)
        ret = qcbmi_plan_header_write(plan, unseen, pad->offset + QCBMI_EXT_HEADER, Q2_TAG_LEN, err);
    return ret < 0 ? ret : write_type(plan, visible, pad->offset, Q2_EXT_TAG, err);
}

/* Those that were there. Foreign extensions are not moved: in front of others it becomes padding. */
static int take_out(const struct qcbmi_header_now *now, struct qcbmi_plan *plan, bool last_is_ours,
                    struct qcbm_error *err)
{
    static const uint8_t end[QCBMI_EXT_HEADER] = { 0 };
    int ret = 0;

    for (size_t i = 0; ret == 0 && i < now->exts->n; i++) {
        const struct q2_extension *e = &now->exts->list[i];

        if (e->type != Q2_EXT_TAG)
            continue;
        if (last_is_ours && i + 1 == now->exts->n && qcbmi_in_one_sector(e->offset, QCBMI_EXT_HEADER))
            ret = write_head(plan, "header: no tag", e->offset, end, sizeof(end), err);
        else
            ret = write_type(plan, "header: old tag becomes padding", e->offset, Q2_EXT_PADDING, err);
    }
    return ret;
}

/* The tag that one write can change, if it is the only one. */
static const struct q2_extension *find_only(const struct q2_extensions *exts)
{
    const struct q2_extension *only = NULL;

    for (size_t i = 0; i < exts->n; i++) {
        if (exts->list[i].type != Q2_EXT_TAG)
            continue;
        if (only)
            return NULL;
        only = &exts->list[i];
    }
    return only && only->len == Q2_TAG_LEN && qcbmi_in_one_sector(only->offset + QCBMI_EXT_HEADER, Q2_TAG_LEN) ? only
                                                                                                               : NULL;
}

static int change(const struct qcbmi_header_now *now, struct qcbmi_plan *plan, const uint8_t *tag,
                  struct qcbm_error *err)
{
    const struct q2_extension *only = find_only(now->exts);
    uint8_t has[Q2_TAG_LEN];
    enum q2_tag state = q2_tag_get(now->exts, has);
    int ret;

    if (tag && state == Q2_TAG_KNOWN && memcmp(has, tag, Q2_TAG_LEN) == 0)
        return 0;
    if (now->h->header_length % 8) /* no write would be sure to stay within a sector */
        return qcbmi_fail(err, QCBM_E_UNSUPPORTED, Q2_OFF_HEADER_LENGTH, "header length %u is not a multiple of 8",
                          now->h->header_length);
    if (!tag)
        return take_out(now, plan, true, err);
    if (only)
        return write_head(plan, visible, only->offset + QCBMI_EXT_HEADER, tag, Q2_TAG_LEN, err);
    ret = put_in(now, plan, tag, err); /* beside what is there it makes two that differ, if not a first one */
    return ret < 0 ? ret : take_out(now, plan, false, err);
}

int qcbmi_tag_plan(struct qcbmi_plan *plan, const uint8_t *tag, struct qcbm_error *err)
{
    struct q2_extensions exts = { 0 };
    struct q2_header h;
    const struct qcbmi_header_now now = { &h, &exts };
    uint8_t *cluster;
    int ret = q2_header_parse(plan->header, (size_t)plan->header_len, &h, err);

    if (ret < 0)
        return ret;
    /* what is parsed is pointed to, and the plan's copy changes */
    cluster = qcbmi_alloc_array(plan->header_len, 1, err);
    if (!cluster)
        return QCBM_E_NOMEM;
    memcpy(cluster, plan->header, (size_t)plan->header_len);
    ret = q2_extensions_parse(cluster, (size_t)plan->header_len, &h, &exts, err);
    if (ret == 0)
        ret = change(&now, plan, tag, err);
    q2_extensions_free(&exts);
    free(cluster);
    return ret;
}
