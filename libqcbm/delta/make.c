/* make.c - a delta of an image: its order of work
 * SPDX-License-Identifier: MIT
 *
 * What counts is found, and gone over twice: once by metadata alone, which tells the writer what is to come, and once
 * with the bytes. */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/random.h"
#include "base/sized.h"
#include "bitmap/handle.h"
#include "delta/probes.h"
#include "delta/pump.h"
#include "delta/source.h"

struct making {
    struct qcbmi_delta_source s;
    struct qcbmi_delta_meta meta;
    struct qcbmi_delta_writer w;
    struct qcbmi_delta_pump pump;
};

/* ---- identity ---- */

static int take_id(const char *what, const char *text, uint8_t id[QCBMI_IDENTITY_BYTES], struct qcbm_error *err)
{
    return qcbmi_identity_parse(text, id)
               ? 0
               : qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                            "%s has 32 hex digits, or those of a UUID: '%.60s' has not", what, text);
}

static int take_ids(struct making *m, struct qcbm_error *err)
{
    const struct qcbm_delta_options *o = &m->s.o;
    int ret = o->id ? take_id("an id", o->id, m->meta.id, err) : qcbmi_random(m->meta.id, sizeof m->meta.id, err);

    m->meta.has_parent = o->parent_id || m->s.has_parent;
    if (ret == 0 && o->parent_id)
        ret = take_id("a parent's id", o->parent_id, m->meta.parent, err);
    else if (m->s.has_parent)
        memcpy(m->meta.parent, m->s.parent, sizeof(m->meta.parent));
    if (ret == 0 && m->meta.has_parent && memcmp(m->meta.parent, m->meta.id, sizeof(m->meta.id)) == 0)
        ret = qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "a delta is not its own parent: the two ids are the same");
    return ret;
}

static int take_text(char *to, size_t size, const char *text, struct qcbm_error *err)
{
    size_t len = strlen(text);

    if (len >= size || !qcbmi_is_printable(text, len))
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                          "a note has at most %zu bytes of UTF-8, and no control characters", size - 1);
    memcpy(to, text, len + 1);
    return 0;
}

/* A name that is no plain text is left out. */
static void take_name(char to[QCBMI_DELTA_MAX_NAME + 1], const char *name)
{
    size_t len = name ? strlen(name) : 0;

    if (len && len <= QCBMI_DELTA_MAX_NAME && qcbmi_is_printable(name, len))
        memcpy(to, name, len + 1);
}

static int compose_meta(struct making *m, struct qcbm_error *err)
{
    const struct qcbm_delta_options *o = &m->s.o;
    int ret = take_ids(m, err);

    if (ret == 0 && o->created < 0)
        ret = qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "a time before 1970");
    m->meta.kind = QCBMI_IDENTITY_DELTA;
    m->meta.created = o->created ? o->created : (int64_t)time(NULL);
    m->meta.size_before = m->s.size_before;
    m->meta.size_after = m->s.size;
    m->meta.has_zeros_from = m->s.has_zeros_from;
    m->meta.zeros_from = m->s.zeros_from;
    m->meta.granularity = (uint32_t)1 << m->s.map.gran_bits;
    take_name(m->meta.bitmap, o->bitmap);
    return ret == 0 && o->note ? take_text(m->meta.note, sizeof(m->meta.note), o->note, err) : ret;
}

/* ---- order of work ---- */

/* virtnbdrestore makes the disk once, as large as the full backup says. */
static int tell_of_growth(struct making *m, struct qcbm_error *err)
{
    const struct qcbm_delta_options *o = &m->s.o;
    bool grown = m->s.size_before != UINT64_MAX && m->s.size > m->s.size_before;

    if (!grown || !o->note_fn || !o->form || strcmp(o->form, "vnb") != 0)
        return 0;
    return o->note_fn(
               o->opaque,
               "the disk has grown: virtnbdrestore makes it as large as it was in the full backup, and stops at an "
               "increment that goes further; qcbm apply takes it, virtnbdrestore needs a new full backup") == 0
               ? 0
               : qcbmi_fail_stopped(err);
}

static int open_writer(struct making *m, const char *path, int fd, struct qcbm_error *err)
{
    const struct qcbm_delta_options *o = &m->s.o;
    struct qcbmi_delta_wish wish = { .form = qcbmi_delta_form_named(o->form ? o->form : "qcow2"),
                                     .path = path,
                                     .fd = fd,
                                     .nowhere = o->flags & QCBM_DELTA_DRY_RUN,
                                     .cluster_size = o->cluster_size,
                                     .compression = (enum qcbmi_delta_compression)o->compression };

    if (!wish.form)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                          "there is no form '%.40s' of a delta (qcow2, raw+map, rbd-diff and vnb are)", o->form);
    if (o->compression > QCBM_DELTA_ZSTD)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "there is no such compression: %u", o->compression);
    if (wish.form != qcbmi_delta_form_named("qcow2") && (o->compression || o->cluster_size))
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                          "compression and cluster size are of the form qcow2, not of %s", wish.form->name);
    return qcbmi_delta_writer_open(&m->w, &wish, &m->meta, err);
}

static void begin_walk(struct making *m, struct qcbmi_delta_walk *walk)
{
    qcbmi_delta_walk_begin(walk, &m->s.map, m->s.data, m->s.size, qcbmi_delta_writer_unit(&m->w));
}

static int announce(struct making *m, struct qcbm_error *err)
{
    struct qcbmi_delta_walk walk;
    struct qcbmi_delta_record r;
    size_t n_parts;
    int ret;

    begin_walk(m, &walk);
    while ((ret = qcbmi_delta_walk_next(&walk, UINT64_MAX, &r, NULL, SIZE_MAX, &n_parts, err)) == 1) {
        ret = qcbmi_delta_announce(&m->w, &r, err);
        if (ret < 0)
            break;
    }
    return ret;
}

static int write_all(struct making *m, struct qcbm_error *err)
{
    struct qcbmi_progress progress = { .to = m->s.o.progress };
    const struct qcbmi_image *img = m->s.handle->image;
    int ret = qcbmi_delta_draw_probes(&m->s, qcbmi_delta_writer_unit(&m->w), &m->w.meta, err);

    progress.total = m->w.data_bytes + m->w.zero_bytes;
    begin_walk(m, &m->pump.walk);
    m->pump.to = &m->w;
    m->pump.progress = &progress;
    m->pump.threads = img->io.trace && img->io.trace->fn ? 1 : img->threads;
    if (ret == 0)
        ret = qcbmi_delta_begin(&m->w, err);
    if (ret == 0)
        ret = qcbmi_delta_pump_run(&m->pump, err);
    return ret == 0 ? qcbmi_delta_end(&m->w, err) : ret;
}

static void fill(const struct making *m, struct qcbm_delta_result *out)
{
    const struct qcbmi_delta_meta *meta = &m->w.meta;
    bool dry = m->s.o.flags & QCBM_DELTA_DRY_RUN;
    uint64_t unit = qcbmi_delta_writer_unit(&m->w);

    *out = (struct qcbm_delta_result){
        .size_before = meta->size_before,
        .size_after = meta->size_after,
        .granularity = meta->granularity,
        .cluster_size = unit > 1 ? unit : 0,
        .dirty_bytes = qcbmi_dirtymap_dirty_bytes(&m->s.map),
        .data_bytes = dry ? m->w.data_bytes : m->pump.data_bytes,
        .zero_bytes = dry ? m->w.zero_bytes : m->pump.zero_bytes,
        .refined_bytes = m->s.refined_bytes,
        .unreadable_bytes = m->s.unreadable_bytes,
        .file_size = m->w.written,
        .probes = meta->n_probes,
    };
    qcbmi_identity_text(meta->id, out->id);
    if (meta->has_parent)
        qcbmi_identity_text(meta->parent, out->parent_id);
    if (meta->has_digest)
        qcbmi_identity_text(meta->digest, out->digest);
}

static int make(struct making *m, struct qcbm_image *img, const char *path, int fd, const struct qcbm_delta_options *o,
                struct qcbm_error *err)
{
    int ret = qcbmi_delta_source_open(&m->s, img, o, err);

    if (ret == 0)
        ret = compose_meta(m, err);
    if (ret == 0)
        ret = tell_of_growth(m, err);
    if (ret == 0)
        ret = open_writer(m, path, fd, err);
    if (ret == 0)
        ret = announce(m, err);
    return ret == 0 && !(o->flags & QCBM_DELTA_DRY_RUN) ? write_all(m, err) : ret;
}

int qcbm_delta(struct qcbm_image *img, const char *path, int fd, const struct qcbm_delta_options *options,
               struct qcbm_delta_result *out, size_t size, struct qcbm_error *err)
{
    struct qcbm_delta_options o = QCBM_DELTA_OPTIONS_INIT;
    struct qcbm_delta_result result;
    struct making *m;
    int ret = out ? qcbmi_check_size(size, err) : 0;

    if (ret == 0)
        ret = qcbmi_take_options(&o, sizeof(o), options, err);
    if (ret < 0)
        return ret;
    m = qcbmi_alloc_array(1, sizeof(*m), err);
    if (!m)
        return QCBM_E_NOMEM;
    ret = make(m, img, path, fd, &o, err);
    if (ret == 0)
        fill(m, &result);
    qcbmi_delta_writer_close(&m->w);
    qcbmi_delta_source_close(&m->s);
    free(m);
    if (ret == 0 && out)
        qcbmi_give(out, size, &result, sizeof(result));
    return ret;
}
