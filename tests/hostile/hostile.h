/* hostile.h - a small valid image, one change, and what the library says about it
 * SPDX-License-Identifier: MIT */
#ifndef HOSTILE_H
#define HOSTILE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "image_builder.h"

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define KIB(n) ((uint64_t)(n) << 10)
#define COPIED BUILD_COPIED
#define FAR (UINT64_C(1) << 40) /* past the end of every image here */

/* One field of @len bytes at @at is set to @value. */
struct poke {
    uint64_t at;
    unsigned len;
    uint64_t value;
};

static inline void poke(struct image_builder *b, uint64_t base, const struct poke *p)
{
    for (unsigned k = 0; k < p->len; k++)
        b->bytes[base + p->at + k] = (uint8_t)(p->value >> (8 * (p->len - 1 - k)));
}

static inline void expect(const char *name, int ret, const struct qcbm_error *err, int code, uint64_t offset)
{
    if (ret != code || (ret < 0 && (err->code != code || err->offset != offset)))
        fail_msg("%s: got %s at %llu (%s), wanted %s at %llu", name, qcbm_code_name(ret),
                 (unsigned long long)err->offset, err->message, qcbm_code_name(code), (unsigned long long)offset);
    if (ret < 0) {
        assert_true(err->message[0] != '\0');
        assert_null(strchr(err->message, '\n'));
    }
}

/* Opening @b gives @code at @offset, and no handle. */
static inline void expect_open(const char *name, const struct image_builder *b, int code, uint64_t offset)
{
    struct qcbm_error err = { 0 };
    struct qcbm_image *img = NULL;

    expect(name, build_try_open(b, 0, &img, &err), &err, code, offset);
    assert_true((img != NULL) == (code == 0));
    qcbm_close(img);
}

/* Planning a new bitmap in @b, which opens, gives @code at @offset. */
static inline void expect_plan(const char *name, const struct image_builder *b, int code, uint64_t offset)
{
    struct qcbm_error err = { 0 };
    struct qcbm_image *img = build_open(b, 0);
    struct qcbm_edit *edit = NULL;
    int ret = qcbm_edit_begin(img, &edit, &err);

    if (ret == 0)
        ret = qcbm_edit_add(edit, "hostile", 512, 0, &err);
    if (ret == 0)
        ret = qcbm_edit_plan(edit, NULL, 0, NULL, NULL, &err);
    expect(name, ret, &err, code, offset);
    qcbm_edit_free(edit);
    qcbm_close(img);
}

#endif
