/* reader.c - a delta is read: what all forms need, in front of them
 * SPDX-License-Identifier: MIT
 *
 * The bytes are anybody's. A form checks what it must to find its way; that records are in order and on the disk is
 * checked here, for all. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"
#include "delta/content.h"
#include "delta/delta.h"
#include "delta/map_text.h"
#include "delta/sidecar.h"
#include "io/io_file.h"
#include "io/open.h"

#define HEAD_BYTES 512u

/* ---- files ---- */

static void close_files(struct qcbmi_delta_files *f)
{
    qcbmi_io_close(&f->main);
    qcbmi_io_close(&f->map);
    qcbmi_io_close(&f->json);
}

static int open_beside(struct qcbmi_io *io, const char *path, const char *suffix, struct qcbm_error *err)
{
    size_t len = strlen(path);
    char *name = qcbmi_alloc_array(len + strlen(suffix) + 1, 1, err);
    int ret = 0;

    if (!name)
        return QCBM_E_NOMEM;
    memcpy(name, path, len);
    memcpy(name + len, suffix, strlen(suffix) + 1);
    if (qcbmi_file_exists(name))
        ret = qcbmi_open(io, name, false, err);
    free(name);
    return ret == 0 || ret == QCBM_E_NOMEM ? ret : qcbmi_prefix(err, ret, "the %s file beside it: ", suffix);
}

int qcbmi_delta_open(const char *path, struct qcbmi_delta **out, struct qcbm_error *err)
{
    struct qcbmi_delta_files files = { 0 };
    int ret = qcbmi_open(&files.main, path, false, err);

    *out = NULL;
    if (ret == 0)
        ret = qcbmi_lock(&files.main, QCBM_OPEN_NO_LOCK, err);
    if (ret == 0)
        ret = qcbmi_io_refresh_size(&files.main, err);
    if (ret == 0)
        ret = open_beside(&files.map, path, ".map", err);
    if (ret == 0)
        ret = open_beside(&files.json, path, ".json", err);
    if (ret < 0) {
        close_files(&files);
        return ret;
    }
    ret = qcbmi_delta_open_files(&files, out, err);
    if (ret == 0 && !((*out)->path = qcbmi_memdup_nul(path, strlen(path), err))) {
        qcbmi_delta_close(*out);
        *out = NULL;
        ret = QCBM_E_NOMEM;
    }
    return ret;
}

/* A file PATH.map may be something else. */
static int look_for_map(struct qcbmi_delta_files *f, bool *has_map, struct qcbm_error *err)
{
    char head[QCBMI_MAP_LINE];
    size_t len = f->map.ops ? (size_t)u64_min(f->map.size, sizeof(head)) : 0;
    int ret = len ? qcbmi_io_read(&f->map, 0, head, len, "map", err) : 0;

    *has_map = ret == 0 && qcbmi_map_is_one(head, len);
    return ret;
}

static int find_form(struct qcbmi_delta *d, struct qcbm_error *err)
{
    struct qcbmi_delta_files *f = &d->files;
    uint8_t head[HEAD_BYTES];
    size_t len = (size_t)u64_min(f->main.size, sizeof(head));
    int ret = qcbmi_io_read(&f->main, 0, head, len, "first bytes", err);
    bool has_map = false;

    if (ret == 0)
        ret = look_for_map(f, &has_map, err);
    if (ret < 0)
        return ret;
    for (size_t i = 0; (d->form = qcbmi_delta_form_at(i)); i++)
        if (d->form->detect(head, len, has_map, f->json.ops != NULL))
            return 0;
    return qcbmi_fail(err, QCBM_E_NOT_QCOW2, QCBM_NO_OFFSET, "not a delta of a form that is known");
}

static int load(struct qcbmi_delta *d, struct qcbm_error *err)
{
    int ret = find_form(d, err);

    if (ret < 0)
        return ret;
    d->meta.size_before = UINT64_MAX;
    if (d->form->has_sidecar && d->files.json.ops) {
        ret = qcbmi_sidecar_read(&d->files.json, d->form->name, &d->meta, err);
        d->has_meta = ret == 0;
    }
    if (ret == 0)
        ret = d->form->load(d, err);
    d->lacks_sidecar = ret == 0 && d->has_meta && d->form->has_sidecar && !d->files.json.ops;
    return ret;
}

int qcbmi_delta_open_files(struct qcbmi_delta_files *files, struct qcbmi_delta **out, struct qcbm_error *err)
{
    struct qcbmi_delta *d = qcbmi_alloc_array(1, sizeof(*d), err);
    int ret;

    *out = NULL;
    if (!d) {
        close_files(files);
        return QCBM_E_NOMEM;
    }
    d->files = *files;
    *files = (struct qcbmi_delta_files){ 0 };
    ret = load(d, err);
    if (ret < 0)
        qcbmi_delta_close(d);
    else
        *out = d;
    return ret;
}

void qcbmi_delta_close(struct qcbmi_delta *d)
{
    if (!d)
        return;
    if (d->form && d->form->unload)
        d->form->unload(d);
    close_files(&d->files);
    free(d->path);
    free(d);
}

/* ---- records ---- */

static int check_record(const struct qcbmi_delta *d, const struct qcbmi_delta_record *r, struct qcbm_error *err)
{
    if (r->length == 0 || r->offset < d->end)
        return qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET,
                          "delta: a record of %" PRIu64 " bytes at guest 0x%" PRIx64 " is not behind the one before it",
                          r->length, r->offset);
    if (!range_fits(r->offset, r->length, d->meta.size_after))
        return qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET,
                          "delta: a record of %" PRIu64 " bytes at guest 0x%" PRIx64
                          " passes the end of the disk (%" PRIu64 " bytes)",
                          r->length, r->offset, d->meta.size_after);
    return 0;
}

int qcbmi_delta_next(struct qcbmi_delta *d, struct qcbmi_delta_record *out, struct qcbm_error *err)
{
    int ret = d->over ? 0 : d->form->next(d, out, err);

    if (ret <= 0) {
        d->over = true;
        d->at.length = 0;
        return ret;
    }
    ret = check_record(d, out, err);
    if (ret < 0)
        return ret;
    d->at = *out;
    d->end = out->offset + out->length;
    return 1;
}

int qcbmi_delta_read(struct qcbmi_delta *d, uint64_t offset, void *buf, uint64_t len, struct qcbm_error *err)
{
    if (d->at.type != QCBMI_DELTA_DATA || offset < d->at.offset ||
        !range_fits(offset - d->at.offset, len, d->at.length))
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "not of the record of data that was given last");
    return d->form->read(d, offset, buf, len, err);
}

int qcbmi_delta_rewind(struct qcbmi_delta *d, struct qcbm_error *err)
{
    d->at = (struct qcbmi_delta_record){ 0 };
    d->end = 0;
    d->over = false;
    return d->form->rewind(d, err);
}

/* ---- the digest ---- */

static int digest_record(struct qcbmi_delta *d, const struct qcbmi_delta_record *r, struct qcbmi_delta_content *c,
                         uint8_t *buf, struct qcbm_error *err)
{
    int ret = 0;

    if (r->type == QCBMI_DELTA_ZERO) {
        qcbmi_content_zero(c, r->offset, r->length);
        return 0;
    }
    for (uint64_t at = 0; ret == 0 && at < r->length; at += QCBMI_CONTENT_BLOCK) {
        uint64_t n = u64_min(r->length - at, QCBMI_CONTENT_BLOCK);

        ret = qcbmi_delta_read(d, r->offset + at, buf, n, err);
        if (ret == 0)
            qcbmi_content_data(c, r->offset + at, n, buf);
    }
    return ret;
}

static int digest_all(struct qcbmi_delta *d, struct qcbmi_delta_content *c, uint8_t *buf,
                      struct qcbmi_progress *progress, struct qcbm_error *err)
{
    struct qcbmi_delta_record r;
    int ret = qcbmi_delta_rewind(d, err);

    while (ret == 0 && (ret = qcbmi_delta_next(d, &r, err)) == 1) {
        ret = digest_record(d, &r, c, buf, err);
        if (ret == 0)
            ret = qcbmi_progress_add(progress, r.length, err);
    }
    return ret;
}

/* A stream of another program never had a sidecar file; one that has an identity of its own is this library's, and
 * without that file a flipped bit goes onto the disk unseen. */
static int check_not_bare(const struct qcbmi_delta *d, struct qcbm_error *err)
{
    const char *path = d->path ? d->path : "";
    char text[256];

    if (!d->lacks_sidecar)
        return 0;
    return qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                      "its sidecar file '%s.json' is missing, which has the digest and the probes: nothing tells "
                      "whether it is damaged; copy that file too (a stream out of a pipe never had one: make the delta "
                      "into a file)",
                      qcbmi_printable(text, sizeof(text), path, strlen(path)));
}

int qcbmi_delta_verify(struct qcbmi_delta *d, uint8_t digest[QCBMI_DIGEST_BYTES], struct qcbmi_progress *progress,
                       struct qcbm_error *err)
{
    struct qcbmi_delta_content *c = NULL;
    uint8_t *buf = qcbmi_alloc_array(QCBMI_CONTENT_BLOCK, 1, err), now[QCBMI_DIGEST_BYTES];
    int ret = buf ? check_not_bare(d, err) : QCBM_E_NOMEM;

    if (ret == 0)
        ret = qcbmi_content_begin(&c, err);
    if (ret == 0)
        ret = digest_all(d, c, buf, progress, err);
    if (ret == 0) {
        qcbmi_content_end(c, now);
        if (digest)
            memcpy(digest, now, sizeof(now));
        if (d->meta.has_digest && memcmp(now, d->meta.digest, sizeof(now)) != 0)
            ret = qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET,
                             "delta: its records are not those of which it has the digest: it is damaged");
    }
    qcbmi_content_free(c);
    free(buf);
    return ret == 0 ? qcbmi_delta_rewind(d, err) : ret;
}
