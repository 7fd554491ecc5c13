/* io_record.c - a backend in memory that notes every write, flush and growth, in order
 * SPDX-License-Identifier: MIT */
#include "io_record.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void note(struct record *r, enum record_kind kind, uint64_t off, const void *bytes, size_t len)
{
    struct record_event *e;

    if (r->n == r->capacity) {
        r->capacity = r->capacity ? 2 * r->capacity : 64;
        r->events = realloc(r->events, r->capacity * sizeof(*r->events));
        if (!r->events)
            abort();
    }
    e = &r->events[r->n++];
    *e = (struct record_event){ kind, off, len, NULL };
    if (bytes) {
        e->bytes = malloc(len ? len : 1);
        if (!e->bytes)
            abort();
        memcpy(e->bytes, bytes, len);
    }
}

static int record_read(void *self, uint64_t off, void *buf, size_t len, struct qcbm_error *err)
{
    return qcbm_mem_ops()->read_at(((struct record *)self)->mem, off, buf, len, err);
}

static int record_write(void *self, uint64_t off, const void *buf, size_t len, struct qcbm_error *err)
{
    struct record *r = self;

    note(r, RECORD_WRITE, off, buf, len);
    return qcbm_mem_ops()->write_at(r->mem, off, buf, len, err);
}

static int record_flush(void *self, struct qcbm_error *err)
{
    (void)err;
    note(self, RECORD_FLUSH, 0, NULL, 0);
    return 0;
}

static int record_size(void *self, uint64_t *len_bytes, struct qcbm_error *err)
{
    return qcbm_mem_ops()->size(((struct record *)self)->mem, len_bytes, err);
}

static int record_grow(void *self, uint64_t len_bytes, struct qcbm_error *err)
{
    struct record *r = self;

    note(r, RECORD_GROW, len_bytes, NULL, 0);
    return qcbm_mem_ops()->grow(r->mem, len_bytes, err);
}

static int record_cut(void *self, uint64_t len_bytes, struct qcbm_error *err)
{
    struct record *r = self;

    note(r, RECORD_CUT, len_bytes, NULL, 0);
    return qcbm_mem_ops()->cut(r->mem, len_bytes, err);
}

static void record_close(void *self)
{
    (void)self; /* the log outlives the image */
}

const struct qcbm_io_ops *record_ops(void)
{
    static const struct qcbm_io_ops ops = { .struct_size = sizeof(ops),
                                            .read_at = record_read,
                                            .write_at = record_write,
                                            .flush = record_flush,
                                            .size = record_size,
                                            .grow = record_grow,
                                            .cut = record_cut,
                                            .close = record_close };

    return &ops;
}

struct record *record_new(const uint8_t *bytes, size_t len)
{
    struct record *r = calloc(1, sizeof(*r));

    if (!r || qcbm_mem_new(bytes, len, &r->mem, NULL) < 0)
        abort();
    return r;
}

void record_free(struct record *r)
{
    for (size_t i = 0; i < r->n; i++)
        free(r->events[i].bytes);
    free(r->events);
    qcbm_mem_free(r->mem);
    free(r);
}
