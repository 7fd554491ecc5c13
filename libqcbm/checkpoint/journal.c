/* journal.c - a journal as a file: made, decided, marked, read, removed; and the links to it
 * SPDX-License-Identifier: MIT */
#include "checkpoint/journal.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/text.h"
#include "io/io_file.h"
#include "io/journal_link.h"
#include "io/open.h"

static int blame(int ret, const char *path, struct qcbm_error *err)
{
    char text[200];

    return ret == 0 ? 0
                    : qcbmi_prefix(err, ret, "journal '%s': ", qcbmi_printable(text, sizeof(text), path, strlen(path)));
}

/* ---- held ---- */

/* Locked, and still the file of that name: who ends with a journal removes it while the lock is his. */
static int hold(struct qcbmi_io *file, const char *path, unsigned lock_flags, struct qcbm_error *err)
{
    struct qcbm_error why;
    struct qcbmi_file_id now;
    int ret = qcbmi_lock(file, lock_flags, &why);

    if (ret == QCBM_E_LOCKED)
        return qcbmi_fail(err, ret, QCBM_NO_OFFSET, "another command is at work with it");
    if (ret < 0) {
        if (err)
            *err = why;
        return ret;
    }
    if (qcbmi_identify(path, &now, NULL) == 0 && qcbmi_same_file(&now, &file->id))
        return 0;
    return qcbmi_fail(err, QCBM_E_NOTFOUND, QCBM_NO_OFFSET, "another command has just come to its end with it");
}

/* ---- made ---- */

static int write_whole(struct qcbmi_io *file, const struct qcbmi_journal *j, const uint8_t *bytes,
                       struct qcbm_error *err)
{
    uint8_t end[QCBMI_JOURNAL_SECTOR];
    int ret = qcbmi_io_write(file, 0, bytes, j->len, err);

    if (ret == 0)
        ret = qcbmi_io_flush(file, err);
    qcbmi_journal_end_store(j, end);
    if (ret == 0)
        ret = qcbmi_io_write(file, qcbmi_journal_end_at(j), end, sizeof(end), err);
    return ret < 0 ? ret : qcbmi_io_flush(file, err);
}

/* If a cut left one, nothing was decided by it, and nobody looks at it. One that is being written is locked. */
static int clear_the_way(const char *temporary, unsigned lock_flags, struct qcbm_error *err)
{
    struct qcbmi_io left;
    int ret;

    if (!qcbmi_file_exists(temporary))
        return 0;
    ret = qcbmi_open(&left, temporary, true, err);
    if (ret == 0)
        ret = hold(&left, temporary, lock_flags, err);
    if (ret == 0)
        qcbmi_file_remove(temporary);
    qcbmi_io_close(&left);
    return ret < 0 ? qcbmi_prefix(err, ret, "'%.200s' is in the way: ", temporary) : 0;
}

static int create_as(struct qcbmi_io *file, const char *temporary, const char *path, const struct qcbmi_journal *j,
                     const uint8_t *bytes, unsigned lock_flags, struct qcbm_error *err)
{
    int ret = clear_the_way(temporary, lock_flags, err);

    if (ret == 0)
        ret = qcbmi_create(file, temporary, err);
    if (ret < 0)
        return ret;
    ret = hold(file, temporary, lock_flags, err);
    if (ret < 0) {
        qcbmi_io_close(file);
        if (ret != QCBM_E_LOCKED &&
            ret != QCBM_E_NOTFOUND) /* who took it for one that a cut had left removes it himself */
            qcbmi_file_remove(temporary);
        return ret;
    }
    ret = write_whole(file, j, bytes, err);
    if (ret == 0)
        ret = qcbmi_file_publish(temporary, path, err);
    if (ret < 0) {
        qcbmi_io_close(file);
        qcbmi_file_remove(temporary);
    }
    return ret;
}

int qcbmi_journal_create(struct qcbmi_io *file, const char *path, const struct qcbmi_journal *j, const uint8_t *bytes,
                         unsigned lock_flags, struct qcbm_error *err)
{
    char *temporary = qcbmi_concat(path, QCBMI_JOURNAL_TEMPORARY, "", err);
    int ret;

    if (!temporary)
        return QCBM_E_NOMEM;
    ret = create_as(file, temporary, path, j, bytes, lock_flags, err);
    free(temporary);
    return blame(ret, path, err);
}

/* ---- read ---- */

static int read_whole(struct qcbmi_io *file, struct qcbmi_journal *j, struct qcbm_error *err)
{
    uint8_t *bytes;
    int ret;

    if (file->traits.is_device || file->size > QCBMI_JOURNAL_MAX_BYTES)
        return qcbmi_fail(err, QCBM_E_ARG, QCBM_NO_OFFSET, "this is no journal of qcbm");
    bytes = qcbmi_alloc_array(file->size, 1, err);
    ret = bytes ? qcbmi_io_read(file, 0, bytes, file->size, "journal", err) : QCBM_E_NOMEM;
    if (ret == 0)
        ret = qcbmi_journal_parse(bytes, file->size, j, err);
    free(bytes);
    return ret;
}

int qcbmi_journal_open(struct qcbmi_io *file, const char *path, struct qcbmi_journal *j, unsigned lock_flags,
                       struct qcbm_error *err)
{
    int ret = qcbmi_open(file, path, lock_flags & QCBM_OPEN_WRITE, err);

    *j = (struct qcbmi_journal){ 0 };
    if (ret == 0 && !qcbmi_file_is_own(path))
        ret = qcbmi_fail(err, QCBM_E_UNSAFE, QCBM_NO_OFFSET,
                         "it belongs to another user, or others may write to it: what it says is not done");
    if (ret == 0)
        ret = hold(file, path, lock_flags, err);
    if (ret == 0)
        ret = qcbmi_io_refresh_size(file, err);
    if (ret == 0)
        ret = read_whole(file, j, err);
    return blame(ret, path, err);
}

/* ---- decided ---- */

int qcbmi_journal_decide(struct qcbmi_io *file, const struct qcbmi_journal *j, enum qcbmi_journal_state state,
                         struct qcbm_error *err)
{
    uint8_t bytes[QCBMI_JOURNAL_STATE_BYTES];
    int ret;

    qcbmi_journal_state_store(j, state, bytes);
    ret = qcbmi_io_write(file, j->state_at, bytes, sizeof(bytes), err);
    return ret < 0 ? ret : qcbmi_io_flush(file, err);
}

int qcbmi_journal_mark(struct qcbmi_io *file, const struct qcbmi_journal *j, uint32_t index, struct qcbm_error *err)
{
    uint8_t bytes[QCBMI_JOURNAL_MARK_BYTES];
    uint64_t at = qcbmi_journal_mark_store(j, index, bytes);

    return qcbmi_io_write(file, at, bytes, sizeof(bytes), err);
}

/* ---- links ---- */

static int link_one(const char *image, const char *path, bool perhaps, struct qcbm_error *err)
{
    struct qcbm_error why;
    int ret = qcbmi_journal_link_make(image, path, &why);

    if (ret < 0 && (!perhaps || why.code == QCBM_E_UNSAFE)) {
        if (err)
            *err = why;
        return ret;
    }
    return 0;
}

static bool is_device(const char *path)
{
    struct qcbmi_io io;
    bool is = qcbmi_open(&io, path, false, NULL) == 0 && io.traits.is_device;

    qcbmi_io_close(&io);
    return is;
}

int qcbmi_journal_link_all(const struct qcbmi_journal *j, const char *path, struct qcbm_error *err)
{
    int ret = 0;

    for (uint32_t i = 0; ret == 0 && i < j->n_disks; i++) {
        const struct qcbmi_journal_disk *d = &j->disks[i];

        ret = link_one(d->image, path, is_device(d->image), err);
        if (ret == 0 && d->overlay[0])
            ret = link_one(d->overlay, path, d->flags & QCBMI_JOURNAL_DEVICE, err);
    }
    return ret;
}

int qcbmi_journal_unlink_all(const struct qcbmi_journal *j, const char *path, struct qcbm_error *err)
{
    int ret = 0;

    for (uint32_t i = 0; i < j->n_disks; i++) {
        const struct qcbmi_journal_disk *d = &j->disks[i];
        int one = qcbmi_journal_link_remove(d->image, path, ret == 0 ? err : NULL);

        ret = ret < 0 ? ret : one;
        if (d->overlay[0])
            one = qcbmi_journal_link_remove(d->overlay, path, ret == 0 ? err : NULL);
        ret = ret < 0 ? ret : one;
    }
    return ret;
}

int qcbmi_journal_remove(const char *path, struct qcbm_error *err)
{
    qcbmi_file_remove(path);
    if (qcbmi_file_exists(path))
        return qcbmi_fail(err, QCBM_E_IO, QCBM_NO_OFFSET, "the journal '%.200s' could not be removed", path);
    (void)qcbmi_file_sync_folder(path, NULL);
    return 0;
}
