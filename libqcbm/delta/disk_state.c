/* disk_state.c - the id of the state that a disk has: in the header of its image, or in a file beside it
 * SPDX-License-Identifier: MIT
 *
 * A guest that runs changes the disk and not the id. A file beside the image has the time of the last write with it,
 * which tells; the header of an image has not, and the probes of the next delta have to. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/bytes.h"
#include "base/checked.h"
#include "bitmap/bitmap_ext.h"
#include "delta/apply_state.h"
#include "io/io_file.h"
#include "io/open.h"
#include "write/header_ext.h"

static const char suffix[] = ".qcbm-id";

static char *name_of(const char *prefix, struct qcbm_error *err)
{
    size_t len = strlen(prefix);
    char *name = qcbmi_alloc_array(len + sizeof(suffix), 1, err);

    if (name) {
        memcpy(name, prefix, len);
        memcpy(name + len, suffix, sizeof(suffix));
    }
    return name;
}

/* ---- the header of an image ---- */

static bool sits_well(const struct q2_extension *e)
{
    return is_aligned(e->offset, 8);
}

static int parse_header(struct qcbmi_apply_target *t, struct qcbmi_disk_state *out, struct qcbm_error *err)
{
    const struct q2_extension *e = q2_extension_find(&t->handle.image->exts, Q2_EXT_IDENTITY);
    struct qcbmi_delta_meta *m;
    int ret;

    if (!e)
        return 0;
    m = qcbmi_alloc_array(1, sizeof(*m), err);
    if (!m)
        return QCBM_E_NOMEM;
    ret = qcbmi_delta_meta_parse(e->data, e->len, m, NULL); /* one that cannot be read says nothing */
    if (ret == 0 && m->kind == QCBMI_IDENTITY_STATE) {
        out->known = QCBMI_STATE_KNOWN;
        out->in_header = true;
        memcpy(out->id, m->id, sizeof(out->id));
    }
    ret = ret == 0 && m->kind == QCBMI_IDENTITY_DELTA
              ? qcbmi_fail(err, QCBM_E_ARG, e->offset, "this is a delta, and not a disk that one can be applied to")
              : 0;
    free(m);
    return ret;
}

static int begin(struct qcbmi_apply_target *t, struct qcbmi_plan *plan, struct qcbm_error *err)
{
    const struct qcbmi_image *img = t->handle.image;
    int ret = qcbmi_plan_header_init(plan, img->cluster0, img->g.cluster_size, err);

    if (ret == 0)
        ret = qcbmi_plan_stage(plan, "prepare", false, err);
    return ret < 0 ? ret : qcbmi_ext_plan_clear_unknown(img, plan, err);
}

/* The 4 bytes of the type, which lie in one sector. */
static int retype(struct qcbmi_plan *plan, const struct q2_extension *e, uint32_t type, const char *what,
                  struct qcbm_error *err)
{
    uint8_t raw[4];
    int ret = qcbmi_plan_stage(plan, "switch", true, err);

    be32_store(raw, type);
    qcbmi_plan_header_patch(plan, e->offset, raw, sizeof(raw));
    return ret < 0 ? ret : qcbmi_plan_header_write(plan, what, e->offset, sizeof(raw), err);
}

static int clear_header(struct qcbmi_apply_target *t, struct qcbm_error *err)
{
    const struct q2_extensions *exts = &t->handle.image->exts;
    struct qcbmi_plan plan = { 0 };
    bool any = false;
    int ret = begin(t, &plan, err);

    for (size_t i = 0; ret == 0 && i < exts->n; i++) {
        if (exts->list[i].type != Q2_EXT_IDENTITY || !sits_well(&exts->list[i]))
            continue;
        any = true;
        ret = retype(&plan, &exts->list[i], Q2_EXT_PADDING, "header: id of the disk's state becomes padding", err);
    }
    if (ret == 0 && any)
        ret = qcbmi_target_commit(t, &plan, err);
    qcbmi_plan_free(&plan);
    return ret;
}

static const struct q2_extension *find_padding(const struct q2_extensions *exts, size_t len)
{
    for (size_t i = 0; i < exts->n; i++)
        if (exts->list[i].type == Q2_EXT_PADDING && exts->list[i].len == len && sits_well(&exts->list[i]))
            return &exts->list[i];
    return NULL;
}

/* Behind the last extension, where END stands: what comes behind END is seen by nobody until its place has the new
 * head. */
static int plan_append(struct qcbmi_apply_target *t, struct qcbmi_plan *plan, const uint8_t *payload, size_t len,
                       bool *room, struct qcbm_error *err)
{
    const struct qcbmi_image *img = t->handle.image;
    const struct qcbmi_header_now now = { &img->h, &img->exts };
    uint64_t at = img->exts.end_offset, padded = align_up(len, 8);
    uint8_t head[8], end[8] = { 0 };
    int ret;

    *room = img->exts.has_end && is_aligned(at, 8) && range_fits(at, 16 + padded, img->exts.limit) &&
            qcbmi_ext_fits_when_packed(&now, len);
    if (!*room)
        return 0;
    qcbmi_plan_header_patch(plan, at + 8, payload, len);
    qcbmi_plan_header_patch(plan, at + 8 + padded, end, sizeof(end));
    ret = qcbmi_plan_header_write(plan, "header: id of the disk's state, not yet visible", at + 8, padded + 8, err);
    if (ret == 0)
        ret = qcbmi_plan_stage(plan, "switch", true, err);
    be32_store(head, Q2_EXT_IDENTITY);
    be32_store(head + 4, (uint32_t)len);
    qcbmi_plan_header_patch(plan, at, head, sizeof(head));
    return ret < 0 ? ret : qcbmi_plan_header_write(plan, "header: id of the disk's state", at, sizeof(head), err);
}

static int plan_reuse(struct qcbmi_plan *plan, const struct q2_extension *pad, const uint8_t *payload, size_t len,
                      struct qcbm_error *err)
{
    int ret;

    qcbmi_plan_header_patch(plan, pad->offset + 8, payload, len);
    ret = qcbmi_plan_header_write(plan, "header: id of the disk's state, not yet visible", pad->offset + 8, len, err);
    return ret < 0 ? ret : retype(plan, pad, Q2_EXT_IDENTITY, "header: id of the disk's state", err);
}

static int set_header(struct qcbmi_apply_target *t, const uint8_t *payload, size_t len, bool *room,
                      struct qcbm_error *err)
{
    const struct q2_extension *pad = find_padding(&t->handle.image->exts, len);
    struct qcbmi_plan plan = { 0 };
    int ret = begin(t, &plan, err);

    *room = pad != NULL;
    if (ret == 0 && pad)
        ret = plan_reuse(&plan, pad, payload, len, err);
    else if (ret == 0)
        ret = plan_append(t, &plan, payload, len, room, err);
    if (ret == 0 && *room)
        ret = qcbmi_target_commit(t, &plan, err);
    qcbmi_plan_free(&plan);
    return ret;
}

static int set_in_image(struct qcbmi_apply_target *t, const uint8_t id[QCBMI_IDENTITY_BYTES], bool *room,
                        struct qcbm_error *err)
{
    struct qcbmi_delta_meta *m = qcbmi_alloc_array(1, sizeof(*m), err);
    uint8_t *payload;
    size_t len;
    int ret;

    if (!m)
        return QCBM_E_NOMEM;
    m->kind = QCBMI_IDENTITY_STATE;
    memcpy(m->id, id, sizeof(m->id));
    len = qcbmi_delta_meta_len(m);
    payload = qcbmi_alloc_array(len, 1, err);
    ret = payload ? clear_header(t, err) : QCBM_E_NOMEM;
    if (ret == 0) {
        qcbmi_delta_meta_store(payload, m);
        ret = set_header(t, payload, len, room, err);
    }
    free(payload);
    free(m);
    return ret;
}

/* ---- a file beside it ---- */

static bool time_of(struct qcbmi_io *io, bool settled, struct qcbmi_state_file *s)
{
    struct qcbm_io_time time = { 0 };
    bool told;

    s->time_known = qcbmi_io_written(io, settled, &time, &told);
    s->seconds = time.seconds;
    s->nanoseconds = time.nanoseconds;
    return s->time_known;
}

static int load_file(struct qcbmi_apply_target *t, const char *name, struct qcbmi_disk_state *out,
                     struct qcbm_error *err)
{
    struct qcbmi_io io, *own = qcbmi_target_io(t);
    uint8_t bytes[QCBMI_STATE_BYTES + 1];
    struct qcbmi_state_file s, now = { 0 };
    uint64_t len;
    int ret = qcbmi_open(&io, name, false, err);

    if (ret < 0)
        return ret == QCBM_E_NOTFOUND ? 0 : ret;
    len = u64_min(io.size, sizeof(bytes));
    ret = qcbmi_io_read(&io, 0, bytes, len, "file of the id", err);
    if (ret == 0)
        ret = qcbmi_state_file_parse(bytes, len, &s, err);
    qcbmi_io_close(&io);
    if (ret == QCBM_E_ARG || ret == QCBM_E_CORRUPT) /* a cut while it was written may leave it so: it says nothing */
        return 0;
    if (ret < 0)
        return qcbmi_prefix(err, ret, "'%s': ", name);
    memcpy(out->id, s.id, sizeof(out->id));
    out->known = QCBMI_STATE_KNOWN;
    out->size = s.disk_size;
    if (s.size != qcbmi_target_size(t) ||
        (s.time_known && (!time_of(own, false, &now) || now.seconds != s.seconds || now.nanoseconds != s.nanoseconds)))
        out->known = QCBMI_STATE_STALE;
    out->has_size = out->known == QCBMI_STATE_KNOWN;
    return 0;
}

static int write_file(struct qcbmi_apply_target *t, const char *name, const uint8_t id[QCBMI_IDENTITY_BYTES],
                      uint64_t disk_size, struct qcbm_error *err)
{
    struct qcbmi_state_file s = { .size = qcbmi_target_size(t), .image = qcbmi_file_mark(qcbmi_target_io(t)) };
    uint8_t bytes[QCBMI_STATE_BYTES];
    struct qcbmi_io io;
    int ret;

    time_of(qcbmi_target_io(t), true, &s);
    s.disk_size = u64_min(disk_size, s.size);
    memcpy(s.id, id, sizeof(s.id));
    qcbmi_state_file_store(bytes, &s);
    if (qcbmi_file_exists(name))
        qcbmi_file_remove(name);
    ret = qcbmi_create(&io, name, err);
    if (ret < 0)
        return qcbmi_prefix(err, ret, "'%s': ", name);
    ret = qcbmi_io_grow(&io, sizeof(bytes), err);
    if (ret == 0)
        ret = qcbmi_io_write(&io, 0, bytes, sizeof(bytes), err);
    if (ret == 0)
        ret = qcbmi_io_flush(&io, err);
    qcbmi_io_close(&io);
    return ret < 0 ? ret : qcbmi_file_sync_folder(name, err);
}

/* ---- either ---- */

int qcbmi_disk_state_load(struct qcbmi_apply_target *t, const char *prefix, struct qcbmi_disk_state *out,
                          struct qcbm_error *err)
{
    char *name;
    int ret = 0;

    *out = (struct qcbmi_disk_state){ 0 };
    if (t->is_qcow2)
        ret = parse_header(t, out, err);
    if (ret < 0 || out->known || !prefix)
        return ret;
    name = name_of(prefix, err);
    ret = name ? load_file(t, name, out, err) : QCBM_E_NOMEM;
    free(name);
    return ret;
}

int qcbmi_disk_state_clear(struct qcbmi_apply_target *t, const char *prefix, struct qcbm_error *err)
{
    char *name = name_of(prefix, err);
    int ret = name ? 0 : QCBM_E_NOMEM;

    if (ret == 0 && qcbmi_file_exists(name)) {
        qcbmi_file_remove(name);
        ret = qcbmi_file_sync_folder(name, err);
    }
    free(name);
    return ret == 0 && t->is_qcow2 ? clear_header(t, err) : ret;
}

int qcbmi_disk_state_set(struct qcbmi_apply_target *t, const char *prefix, const uint8_t id[QCBMI_IDENTITY_BYTES],
                         uint64_t size, struct qcbmi_disk_state *where, struct qcbm_error *err)
{
    struct qcbmi_disk_state set = { .known = QCBMI_STATE_UNKNOWN, .has_size = true, .size = size };
    bool room = false;
    char *name;
    int ret = t->is_qcow2 ? set_in_image(t, id, &room, err) : 0;

    memcpy(set.id, id, sizeof(set.id)); /* which may be that of *where */
    set.in_header = room;
    set.known = room ? QCBMI_STATE_KNOWN : QCBMI_STATE_UNKNOWN;
    *where = set;
    if (ret < 0 || room || !prefix)
        return ret;
    name = name_of(prefix, err);
    ret = name ? write_file(t, name, set.id, size, err) : QCBM_E_NOMEM;
    free(name);
    where->known = ret == 0 ? QCBMI_STATE_KNOWN : QCBMI_STATE_UNKNOWN;
    return ret;
}
