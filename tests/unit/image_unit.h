/* image_unit.h - what the unit tests of images share: built images with a record of all writes, edits and their bits
 * SPDX-License-Identifier: MIT */
#ifndef IMAGE_UNIT_H
#define IMAGE_UNIT_H

#include "unit.h"

#include <stdio.h>

#include "bitmap/handle.h"
#include "image_builder.h"
#include "io_record.h"
#include "temp_dir.h"

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)

/* An image opened for writing, in memory, with a record of what was written. */
struct session {
    struct record *rec;
    struct qcbm_image *img;
};

static inline void session_on(struct session *s, const void *bytes, size_t len, unsigned flags)
{
    struct qcbm_error err = { 0 };

    s->rec = record_new(bytes, len);
    if (qcbm_open_io(record_ops(), s->rec, flags, &s->img, &err) < 0)
        fail_msg("open: %s", err.message);
}

static inline void session_open(struct session *s, const struct image_builder *b)
{
    session_on(s, b->bytes, b->len, QCBM_OPEN_WRITE);
}

static inline void session_close(struct session *s)
{
    qcbm_close(s->img);
    record_free(s->rec);
}

/* What most tests of images start from: an image that is built, a session on it, a folder. A test that is listed with
 * image_test() finds an empty one in its state, and what it put in is closed, freed and removed behind it. */
struct bench {
    struct image_builder b;
    struct session s;
    struct temp_dir dir;
};

typedef void build_fn(struct image_builder *b);

static inline int bench_make(void **state)
{
    *state = calloc(1, sizeof(struct bench));
    return *state ? 0 : -1;
}

static inline int bench_remove(void **state)
{
    struct bench *t = *state;

    qcbm_close(t->s.img);
    if (t->s.rec)
        record_free(t->s.rec);
    build_free(&t->b);
    if (t->dir.path[0])
        temp_dir_remove(&t->dir);
    free(t);
    return 0;
}

#define image_test(name) cmocka_unit_test_setup_teardown(name, bench_make, bench_remove)

/* What @build makes, opened for writing. */
static inline struct bench *bench_open(void **state, build_fn *build)
{
    struct bench *t = *state;

    build(&t->b);
    session_open(&t->s, &t->b);
    return t;
}

/* For a test that builds its own. */
static inline struct image_builder *bench_builder(void **state)
{
    return &((struct bench *)*state)->b;
}

/* What has been built there, opened without a record of writes. */
static inline struct qcbm_image *bench_image(void **state, unsigned flags)
{
    struct bench *t = *state;

    t->s.img = build_open(&t->b, flags);
    return t->s.img;
}

/* The folder of the test, made when it is first asked for. */
static inline const struct temp_dir *bench_dir(void **state)
{
    struct bench *t = *state;

    if (!t->dir.path[0])
        temp_dir_make(&t->dir);
    return &t->dir;
}

static inline const uint8_t *session_bytes(const struct session *s, size_t *len)
{
    return qcbm_mem_data(s->rec->mem, len);
}

static inline size_t session_count(const struct session *s, enum record_kind kind)
{
    size_t n = 0;

    for (size_t i = 0; i < s->rec->n; i++)
        n += s->rec->events[i].kind == kind;
    return n;
}

/* Nothing reached the file. */
static inline void assert_untouched(const struct session *s, const struct image_builder *b)
{
    size_t len;
    const uint8_t *now = session_bytes(s, &len);

    assert_int_equal(s->rec->n, 0);
    assert_int_equal(len, b->len);
    assert_memory_equal(now, b->bytes, len);
}

static inline void assert_ok_at(int ret, const struct qcbm_error *err, const char *file, int line)
{
    if (ret != 0)
        print_error("got %d: %s\n", ret, err->message);
    _assert_int_equal((unsigned long)ret, 0, file, line);
}
#define assert_ok(ret, err) assert_ok_at((ret), (err), __FILE__, __LINE__)

/* The dirty extents of a bitmap as text, "0-512 4096-8192": guest bytes, end not included. */
struct extent_text {
    char text[512];
};

static inline int add_extent_text(void *opaque, const struct qcbm_extent *e)
{
    char *text = ((struct extent_text *)opaque)->text;
    size_t n = strlen(text), size = sizeof(struct extent_text);

    if (e->dirty)
        snprintf(text + n, size - n, "%s%llu-%llu", n ? " " : "", (unsigned long long)e->offset,
                 (unsigned long long)(e->offset + e->length));
    return 0;
}

static inline void assert_dirty(struct qcbm_image *img, const char *name, const char *want)
{
    struct extent_text got = { "" };
    struct qcbm_error err = { 0 };

    assert_ok(qcbm_bitmap_extents(img, name, 0, add_extent_text, &got, &err), &err);
    assert_string_equal(got.text, want);
}

static inline uint32_t bitmap_count(const struct qcbm_image *img)
{
    struct qcbm_image_info info;

    qcbm_image_get_info(img, &info, sizeof(info));
    return info.bitmap_count;
}

/* All findings as text, "code@offset code@offset". */
static inline void assert_findings(const struct qcbm_image *img, const char *want)
{
    char got[1024] = "";

    for (uint32_t i = 0; i < qcbm_finding_count(img); i++) {
        struct qcbm_finding f;
        size_t n = strlen(got);

        qcbm_finding_get(img, i, &f, sizeof(f));
        assert_true(f.message[0] != '\0');
        assert_null(strchr(f.message, '\n'));
        snprintf(got + n, sizeof(got) - n, "%s%s@%llu", n ? " " : "", f.problem->code, (unsigned long long)f.offset);
    }
    assert_string_equal(got, want);
}

#endif
