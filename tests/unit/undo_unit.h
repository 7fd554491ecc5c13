/* undo_unit.h - what the unit tests of undo share: an image, a change of it with an undo file
 * SPDX-License-Identifier: MIT */
#ifndef UNDO_UNIT_H
#define UNDO_UNIT_H

#include "image_unit.h"

#include <fcntl.h>
#include <unistd.h>

#include "write/commit.h"
#include "write/undo_load.h"

static inline uint8_t *read_file(const char *path, size_t *len)
{
    int fd = open(path, O_RDONLY);
    uint8_t *bytes;

    assert_true(fd >= 0);
    *len = (size_t)lseek(fd, 0, SEEK_END);
    bytes = malloc(*len + 1);
    assert_non_null(bytes);
    assert_int_equal(pread(fd, bytes, *len, 0), *len);
    close(fd);
    return bytes;
}

static inline void write_file(const char *path, const uint8_t *bytes, size_t len)
{
    int fd = open(path, O_CREAT | O_WRONLY, 0600); /* O_TRUNC would have some file systems flush at close */

    assert_true(fd >= 0);
    assert_int_equal(write(fd, bytes, len), len);
    assert_int_equal(ftruncate(fd, (off_t)len), 0);
    close(fd);
}

/* 64 KiB, 512 bytes per cluster; "a": 512 per bit, bit 3 set; "b": 4096 per bit, clean; the file ends in
 * mid-cluster. */
static inline void build_ab(struct image_builder *b)
{
    struct build_options opt = { .size = KIB(64) };
    uint64_t data;

    build_start(b, &opt);
    build_data(b, 0);
    build_data(b, KIB(4));
    data = build_clusters(b, 1);
    b->bytes[data] = 0x08;
    build_bitmap(b, "a", 9, 2, &data, 1);
    build_bitmap(b, "b", 12, 2, NULL, 0);
    build_finish(b);
}

typedef int change_fn(struct qcbm_edit *edit, struct qcbm_image *img, struct qcbm_error *err);

static inline int change_synth(struct qcbm_edit *edit, struct qcbm_image *img, struct qcbm_error *err)
{
    struct qcbm_synth_options opt = QCBM_SYNTH_OPTIONS_INIT;

    opt.granularity = 512;
    opt.flags = QCBM_SYNTH_REPLACE;
    return qcbm_edit_synth(edit, img, "a", &opt, NULL, err);
}

static inline int change_disable(struct qcbm_edit *edit, struct qcbm_image *img, struct qcbm_error *err)
{
    (void)img;
    return qcbm_edit_disable(edit, "a", err);
}

static inline int change_nothing(struct qcbm_edit *edit, struct qcbm_image *img, struct qcbm_error *err)
{
    (void)edit;
    (void)img;
    (void)err;
    return 0;
}

/* Make @change on the image of @s, with an undo file; what the commit returns. */
static inline int change_with_undo(struct session *s, change_fn *change, const char *undo, struct qcbm_error *err)
{
    struct qcbm_edit *edit;
    int ret;

    assert_ok(qcbm_edit_begin(s->img, &edit, err), err);
    assert_ok(change(edit, s->img, err), err);
    assert_ok(qcbm_edit_set_undo(edit, "/nonexistent/replaced below", err), err);
    assert_ok(qcbm_edit_set_undo(edit, undo, err), err);
    ret = qcbm_edit_commit(edit, NULL, 0, err);
    qcbm_edit_free(edit);
    return ret;
}

/* Open @bytes for writing, undo, close; what it returns. *@after gets what is in the file then, in a record to be
 * freed. */
static inline int undo_bytes(const void *bytes, size_t len, const char *undo, struct qcbm_undo_result *result,
                             struct record **after, struct qcbm_error *err)
{
    struct session s;
    int ret;

    session_on(&s, bytes, len, QCBM_OPEN_WRITE);
    ret = qcbm_undo(s.img, undo, NULL, result, sizeof(*result), err);
    qcbm_close(s.img);
    *after = s.rec;
    return ret;
}

static inline void assert_record_is(const struct record *r, const void *bytes, size_t len)
{
    size_t now_len;
    const void *now = qcbm_mem_data(r->mem, &now_len);

    assert_int_equal(now_len, len);
    assert_memory_equal(now, bytes, len);
}

#endif
