/* writer.c - a delta is written: what all forms need, in front of them
 * SPDX-License-Identifier: MIT
 *
 * All files of a delta have other names until every byte of all of them is there. The one that carries the name of the
 * delta is published last, so whoever finds it finds the others, too. */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "base/error.h"
#include "delta/content.h"
#include "delta/delta.h"
#include "delta/sidecar.h"
#include "io/io_file.h"
#include "io/io_pipe.h"
#include "write/new_file.h"

enum { MAIN, MAP, JSON, N_FILES };

struct qcbmi_delta_files_out {
    struct qcbmi_new_file files[N_FILES];
    char *names[N_FILES];
    struct qcbmi_io pipe;
};

/* ---- files ---- */

/* In a dry run it is only looked whether the name is free. */
static int begin_file(struct qcbmi_delta_writer *w, int which, const char *suffix, struct qcbm_error *err)
{
    struct qcbmi_delta_files_out *f = w->files;
    size_t len = strlen(w->wish.path);

    f->names[which] = qcbmi_alloc_array(len + strlen(suffix) + 1, 1, err);
    if (!f->names[which])
        return QCBM_E_NOMEM;
    memcpy(f->names[which], w->wish.path, len);
    memcpy(f->names[which] + len, suffix, strlen(suffix) + 1);
    if (!w->wish.nowhere)
        return qcbmi_new_file_begin(&f->files[which], f->names[which], err);
    return qcbmi_file_exists(f->names[which])
               ? qcbmi_fail(err, QCBM_E_EXISTS, QCBM_NO_OFFSET,
                            "the new file '%s' exists already and is not overwritten", f->names[which])
               : 0;
}

static int begin_files(struct qcbmi_delta_writer *w, struct qcbm_error *err)
{
    int ret = begin_file(w, MAIN, "", err);

    if (ret == 0 && w->form->has_map)
        ret = begin_file(w, MAP, ".map", err);
    if (ret == 0 && w->form->has_sidecar)
        ret = begin_file(w, JSON, ".json", err);
    return ret;
}

static int open_files(struct qcbmi_delta_writer *w, struct qcbm_error *err)
{
    struct qcbmi_delta_files_out *f = w->files;
    int ret;

    if (!w->seekable && !w->form->takes_pipe)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "a delta of form %s is more than one file: no pipe takes it",
                          w->form->name);
    ret = w->seekable ? begin_files(w, err) : 0;
    if (ret < 0 || w->wish.nowhere)
        return ret;
    w->io = w->seekable ? &f->files[MAIN].io : &f->pipe;
    w->map = w->form->has_map ? &f->files[MAP].io : NULL;
    return w->seekable ? 0 : qcbmi_pipe_open(&f->pipe, w->wish.fd, err);
}

/* The one that has the name of the delta last: with it the others are there, too. */
static int publish(struct qcbmi_delta_files_out *f, struct qcbm_error *err)
{
    int ret = f->pipe.ops ? qcbmi_io_flush(&f->pipe, err) : 0, done = N_FILES;

    while (ret == 0 && done > 0) {
        ret = qcbmi_new_file_end(&f->files[done - 1], 0, err);
        done -= ret == 0;
    }
    for (int i = done; ret < 0 && i < N_FILES; i++)
        if (f->names[i])
            qcbmi_file_remove(f->names[i]);
    return ret;
}

static void close_files(struct qcbmi_delta_files_out *f)
{
    for (int i = 0; i < N_FILES; i++) {
        (void)qcbmi_new_file_end(&f->files[i], QCBM_E_ABORTED, NULL);
        free(f->names[i]);
    }
    qcbmi_io_close(&f->pipe);
    free(f);
}

/* ---- order of calls ---- */

int qcbmi_delta_writer_open(struct qcbmi_delta_writer *w, const struct qcbmi_delta_wish *wish,
                            const struct qcbmi_delta_meta *meta, struct qcbm_error *err)
{
    int ret;

    *w = (struct qcbmi_delta_writer){ .form = wish->form, .wish = *wish, .meta = *meta };
    w->meta.kind = QCBMI_IDENTITY_DELTA;
    w->meta.has_digest = false;
    w->meta.digest_at = 0;
    w->seekable = wish->path != NULL;
    ret = qcbmi_delta_meta_check(&w->meta, err);
    if (ret < 0)
        return qcbmi_prefix(err, QCBM_E_ARG, "%s", "");
    w->files = qcbmi_alloc_array(1, sizeof(*w->files), err);
    if (!w->files)
        return QCBM_E_NOMEM;
    ret = open_files(w, err);
    if (ret == 0)
        ret = qcbmi_content_begin(&w->content, err);
    return ret == 0 && w->form->open ? w->form->open(w, err) : ret;
}

uint64_t qcbmi_delta_writer_unit(const struct qcbmi_delta_writer *w)
{
    return w->form->unit ? w->form->unit(w) : 1;
}

/* A mistake of the caller's, not of a file. */
static int check_range(const struct qcbmi_delta_writer *w, uint64_t end, uint64_t offset, uint64_t length,
                       struct qcbm_error *err)
{
    uint64_t size = w->meta.size_after, unit = qcbmi_delta_writer_unit(w);

    if (length && offset >= end && range_fits(offset, length, size) && offset % unit == 0 &&
        ((offset + length) % unit == 0 || offset + length == size))
        return 0;
    return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                      "no record of a delta: %" PRIu64 " bytes at 0x%" PRIx64 " of a disk of %" PRIu64
                      " bytes, behind 0x%" PRIx64,
                      length, offset, size, end);
}

int qcbmi_delta_announce(struct qcbmi_delta_writer *w, const struct qcbmi_delta_record *r, struct qcbm_error *err)
{
    int ret = check_range(w, w->announced_end, r->offset, r->length, err);

    if (ret < 0)
        return ret;
    w->announced_end = r->offset + r->length;
    w->n_records++;
    *(r->type == QCBMI_DELTA_DATA ? &w->data_bytes : &w->zero_bytes) += r->length;
    return w->form->announce ? w->form->announce(w, r, err) : 0;
}

int qcbmi_delta_begin(struct qcbmi_delta_writer *w, struct qcbm_error *err)
{
    w->begun = true;
    return w->form->begin ? w->form->begin(w, err) : 0;
}

static int take_range(struct qcbmi_delta_writer *w, uint64_t offset, uint64_t length, struct qcbm_error *err)
{
    int ret = check_range(w, w->end, offset, length, err);

    if (ret == 0) {
        w->end = offset + length;
        w->given += length;
    }
    return ret;
}

int qcbmi_delta_zero(struct qcbmi_delta_writer *w, uint64_t offset, uint64_t length, struct qcbm_error *err)
{
    int ret = take_range(w, offset, length, err);

    if (ret < 0)
        return ret;
    qcbmi_content_zero(w->content, offset, length);
    return w->form->zero(w, offset, length, err);
}

int qcbmi_delta_data(struct qcbmi_delta_writer *w, uint64_t offset, uint64_t length, const void *bytes,
                     struct qcbm_error *err)
{
    int ret = take_range(w, offset, length, err);

    if (ret < 0)
        return ret;
    qcbmi_content_data(w->content, offset, length, bytes);
    return w->form->data(w, offset, length, bytes, err);
}

int qcbmi_delta_end(struct qcbmi_delta_writer *w, struct qcbm_error *err)
{
    int ret = 0;

    if (!w->begun || w->given != w->data_bytes + w->zero_bytes)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET,
                          "%" PRIu64 " bytes were announced, and %" PRIu64 " were given", w->data_bytes + w->zero_bytes,
                          w->given);
    qcbmi_content_end(w->content, w->meta.digest);
    w->meta.has_digest = true;
    if (w->form->end)
        ret = w->form->end(w, err);
    if (ret == 0 && w->files->files[JSON].io.ops)
        ret = qcbmi_sidecar_write(&w->files->files[JSON].io, &w->meta, w->form->name, err);
    w->written = w->io->size;
    return ret == 0 ? publish(w->files, err) : ret;
}

void qcbmi_delta_writer_close(struct qcbmi_delta_writer *w)
{
    if (w->form && w->form->free)
        w->form->free(w);
    if (w->files)
        close_files(w->files);
    qcbmi_content_free(w->content);
    *w = (struct qcbmi_delta_writer){ 0 };
}
