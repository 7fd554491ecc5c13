/* nbd_read.c - a user of libqcbm-nbd: the first bytes of an export, or what a context says of it
 * SPDX-License-Identifier: MIT
 *
 * usage: nbd_read TIMEOUT_MS URI [CONTEXT]
 * Prints what it found, or the code of the error and its message; exit code 0 or 1. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "qcbm-nbd.h"

static int count(void *opaque, uint64_t offset, uint64_t length, uint32_t flags)
{
    uint64_t *n = opaque;

    (void)offset;
    (void)length;
    (void)flags;
    ++*n;
    return 0;
}

static int fail(const struct qcbm_error *err)
{
    printf("%s %s\n", qcbm_code_name(err->code), err->message);
    return 1;
}

static int read_first(struct qcbm_nbd *nbd)
{
    static unsigned char bytes[1 << 16];
    uint64_t n = qcbm_nbd_size(nbd) < sizeof(bytes) ? qcbm_nbd_size(nbd) : sizeof(bytes), sum = 0;
    const struct qcbm_io_ops *ops = qcbm_nbd_ops();
    struct qcbm_nbd_figures figures;
    struct qcbm_error err;

    if (n && ops->read_at(nbd, 0, bytes, (size_t)n, &err) < 0)
        return fail(&err);
    for (uint64_t i = 0; i < n; i++)
        sum += bytes[i];
    qcbm_nbd_get_figures(nbd, &figures, sizeof(figures));
    printf("%" PRIu64 " bytes, sum %" PRIu64 ", %" PRIu64 " of %" PRIu64 " read\n", qcbm_nbd_size(nbd), sum,
           figures.read_bytes, n);
    return 0;
}

int main(int argc, char **argv)
{
    struct qcbm_nbd_options options = QCBM_NBD_OPTIONS_INIT;
    struct qcbm_nbd *nbd;
    struct qcbm_error err;
    uint64_t n = 0;
    int code = 0;

    if (argc < 3)
        return 2;
    options.timeout_ms = (uint32_t)strtoul(argv[1], NULL, 10);
    options.context = argc > 3 ? argv[3] : NULL;
    if (qcbm_nbd_open(argv[2], &options, &nbd, &err) < 0)
        return fail(&err);
    if (argc <= 3)
        code = read_first(nbd);
    else if (qcbm_nbd_extents(nbd, argv[3], count, &n, &err) < 0)
        code = fail(&err);
    else
        printf("%" PRIu64 " extents\n", n);
    qcbm_nbd_close(nbd);
    return code;
}
