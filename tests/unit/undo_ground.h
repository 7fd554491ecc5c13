/* undo_ground.h - an image, a change of it, and its undo file
 * SPDX-License-Identifier: MIT */
#ifndef UNDO_GROUND_H
#define UNDO_GROUND_H

#include "undo_unit.h"

#include <fcntl.h>

struct ground {
    struct temp_dir dir;
    char undo[128]; /* the undo file */
    struct image_builder b;
    uint8_t *changed; /* the image after the change */
    size_t changed_len;
};

static inline void ground_with(struct ground *g, change_fn *change)
{
    struct qcbm_error err = { 0 };
    struct session s;
    const uint8_t *bytes;

    unlink(g->undo);
    session_open(&s, &g->b);
    assert_ok(change_with_undo(&s, change, g->undo, &err), &err);
    bytes = session_bytes(&s, &g->changed_len);
    free(g->changed);
    g->changed = exact_copy(bytes, g->changed_len);
    session_close(&s);
}

static inline int setup(void **state)
{
    struct ground *g = calloc(1, sizeof(*g));

    assert_non_null(g);
    temp_dir_make(&g->dir);
    snprintf(g->undo, sizeof(g->undo), "%s", temp_path(&g->dir, "undo"));
    build_ab(&g->b);
    ground_with(g, change_synth);
    *state = g;
    return 0;
}

static inline int teardown(void **state)
{
    struct ground *g = *state;

    temp_dir_remove(&g->dir);
    free(g->changed);
    build_free(&g->b);
    free(g);
    return 0;
}

#define ANYWHERE (QCBM_NO_OFFSET - 1)

static inline void expect_refused(struct ground *g, const uint8_t *bytes, size_t len, int code, uint64_t offset,
                                  const char *text)
{
    struct qcbm_undo_result r = { .writes = 4711 };
    struct qcbm_error err = { 0 };
    struct record *rec;
    int ret = undo_bytes(bytes, len, g->undo, &r, &rec, &err);

    assert_failure(ret, &err, code, offset == ANYWHERE ? err.offset : offset, text);
    assert_int_equal(rec->n, 0);
    assert_int_equal(r.writes, 4711);
    record_free(rec);
}

#define ON_GROUND(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

#endif
