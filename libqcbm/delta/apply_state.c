/* apply_state.c - the file beside an image that says how far an apply is
 * SPDX-License-Identifier: MIT
 *
 * States of the pair, and what brings it from one to the next:
 *
 *   no file        the image is whole: the old state, or the new one
 *   incomplete     the file is being made; nothing has been written to the image: qcbmi_apply_state_begin()
 *   a step         all before it is durable in the image; what comes behind may be there in part. It is done again from
 *                  there, and as records are absolute that is harmless: qcbmi_apply_state_step()
 *   no file        qcbmi_apply_state_end(), when the last step is durable */
#include "delta/apply_state.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/checked.h"
#include "io/io_file.h"
#include "io/open.h"
#include "io/unfinished.h"

void qcbmi_apply_state_free(struct qcbmi_apply_state *s)
{
    qcbmi_io_close(&s->io);
    free(s->path);
    free(s->bytes);
    *s = (struct qcbmi_apply_state){ 0 };
}

static int named(const struct qcbmi_apply_state *s, int ret, struct qcbm_error *err)
{
    char text[256];

    return ret < 0 ? qcbmi_prefix(err, ret, "'%s': ", qcbmi_printable(text, sizeof(text), s->path, strlen(s->path)))
                   : 0;
}

static int read_all(struct qcbmi_apply_state *s, struct qcbm_error *err)
{
    uint64_t len = s->io.size;
    int ret;

    if (len > QCBMI_APPLY_FILE_MAX)
        return qcbmi_fail(err, QCBM_E_CORRUPT, QCBM_NO_OFFSET, "it is too long for a state file");
    ret = qcbmi_io_read(&s->io, 0, s->bytes, len, "state file", err);
    return ret < 0 ? ret : qcbmi_apply_file_parse(s->bytes, len, &s->file, &s->step, err);
}

int qcbmi_apply_state_load(struct qcbmi_apply_state *s, const char *prefix, struct qcbm_error *err)
{
    int ret;

    *s = (struct qcbmi_apply_state){ .path = qcbmi_unfinished_name(prefix, err) };
    s->bytes = qcbmi_alloc_array(QCBMI_APPLY_FILE_MAX, 1, err);
    if (!s->path || !s->bytes)
        return QCBM_E_NOMEM;
    if (!qcbmi_file_exists(s->path))
        return 0;
    ret = qcbmi_open(&s->io, s->path, false, err);
    if (ret < 0)
        return named(s, ret, err);
    ret = read_all(s, err);
    qcbmi_io_close(&s->io);
    s->leftover = ret == QCBM_E_NOTFOUND;
    s->there = ret == 0;
    return s->leftover ? 0 : named(s, ret, err);
}

/* The end mark last, when all else is durable. */
static int write_new(struct qcbmi_apply_state *s, struct qcbm_error *err)
{
    uint64_t bytes = qcbmi_apply_file_bytes(&s->file), end = qcbmi_apply_end_offset(&s->file);
    uint8_t mark[QCBMI_APPLY_END_BYTES];
    int ret;

    qcbmi_apply_file_store(s->bytes, &s->file, &s->step);
    memcpy(mark, s->bytes + end, sizeof(mark));
    memset(s->bytes + end, 0, sizeof(mark));
    ret = qcbmi_io_grow(&s->io, bytes, err);
    if (ret == 0)
        ret = qcbmi_io_write(&s->io, 0, s->bytes, bytes, err);
    if (ret == 0)
        ret = qcbmi_io_flush(&s->io, err);
    if (ret == 0)
        ret = qcbmi_io_write(&s->io, end, mark, sizeof(mark), err);
    memcpy(s->bytes + end, mark, sizeof(mark));
    if (ret == 0)
        ret = qcbmi_io_flush(&s->io, err);
    return ret < 0 ? ret : qcbmi_file_sync_folder(s->path, err);
}

int qcbmi_apply_state_begin(struct qcbmi_apply_state *s, struct qcbm_error *err)
{
    int ret;

    if (s->leftover)
        qcbmi_file_remove(s->path);
    s->leftover = false;
    s->step = (struct qcbmi_apply_step){ .phase = QCBMI_APPLY_GROW };
    ret = qcbmi_create(&s->io, s->path, err);
    if (ret < 0)
        return named(s, ret, err);
    ret = write_new(s, err);
    s->there = ret == 0;
    if (ret < 0) {
        qcbmi_io_close(&s->io);
        qcbmi_file_remove(s->path);
    }
    return named(s, ret, err);
}

int qcbmi_apply_state_resume(struct qcbmi_apply_state *s, struct qcbm_error *err)
{
    return named(s, qcbmi_open(&s->io, s->path, true, err), err);
}

int qcbmi_apply_state_step(struct qcbmi_apply_state *s, enum qcbmi_apply_phase phase, uint64_t offset,
                           struct qcbm_error *err)
{
    uint8_t sector[QCBMI_APPLY_STEP_BYTES];
    int ret;

    s->step = (struct qcbmi_apply_step){ phase, offset };
    qcbmi_apply_step_store(sector, &s->step, s->bytes);
    ret = qcbmi_io_write(&s->io, qcbmi_apply_step_offset(&s->file), sector, sizeof(sector), err);
    if (ret == 0)
        ret = qcbmi_io_flush(&s->io, err);
    return named(s, ret, err);
}

int qcbmi_apply_state_end(struct qcbmi_apply_state *s, struct qcbm_error *err)
{
    qcbmi_io_close(&s->io);
    qcbmi_file_remove(s->path);
    if (qcbmi_file_exists(s->path))
        return named(s,
                     qcbmi_fail(err, QCBM_E_IO, QCBM_NO_OFFSET,
                                "the disk has its new state, and the state file could not be removed: remove it"),
                     err);
    s->there = false;
    return named(s, qcbmi_file_sync_folder(s->path, err), err);
}
