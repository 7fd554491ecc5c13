/* fixture.c - an image of tests/fixtures that is stored, in memory
 * SPDX-License-Identifier: MIT */
#include "fixture.h"

#include <stdio.h>
#include <stdlib.h>
#include <zlib.h>

#include "qcbm-io.h"

#define STEP 65536u

static _Noreturn void no_fixture(const char *name, const char *why)
{
    fprintf(stderr, "fixture %s: %s\n", name, why);
    exit(1);
}

uint8_t *fixture_load(const char *name, size_t *len)
{
    uint8_t *bytes = NULL;
    char path[512];
    gzFile f;
    int got;

    snprintf(path, sizeof(path), "%s/%s/image.gz", FIXTURES, name);
    f = gzopen(path, "rb");
    if (!f)
        no_fixture(name, "is not stored");
    *len = 0;
    do {
        bytes = realloc(bytes, *len + STEP);
        if (!bytes)
            no_fixture(name, "no memory");
        got = gzread(f, bytes + *len, STEP);
        if (got < 0)
            no_fixture(name, "is damaged");
        *len += (size_t)got;
    } while (got > 0);
    gzclose(f);
    bytes = realloc(bytes, *len ? *len : 1);
    if (!bytes)
        no_fixture(name, "no memory");
    return bytes;
}

struct qcbm_image *fixture_open(const char *name)
{
    struct qcbm_error err;
    struct qcbm_image *img;
    struct qcbm_mem *mem;
    size_t len;
    uint8_t *bytes = fixture_load(name, &len);
    int ret = qcbm_mem_new(bytes, len, &mem, &err);

    free(bytes);
    if (ret == 0)
        ret = qcbm_open_io(qcbm_mem_ops(), mem, 0, &img, &err);
    if (ret < 0)
        no_fixture(name, err.message);
    return img;
}
