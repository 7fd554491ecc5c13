/* io_record.h - a backend in memory that notes every write, flush and growth, in order
 * SPDX-License-Identifier: MIT */
#ifndef TESTS_IO_RECORD_H
#define TESTS_IO_RECORD_H

#include "qcbm-io.h"

enum record_kind { RECORD_WRITE, RECORD_FLUSH, RECORD_GROW, RECORD_CUT };

struct record_event {
    enum record_kind kind;
    uint64_t off; /* GROW, CUT: the new length */
    size_t len;
    uint8_t *bytes;
};

struct record {
    struct qcbm_mem *mem;
    struct record_event *events;
    size_t n, capacity;
};

/* Start with @bytes. Serves qcbm_open_io(record_ops(), record, ...); closing the image keeps the record. */
struct record *record_new(const uint8_t *bytes, size_t len);
const struct qcbm_io_ops *record_ops(void);
void record_free(struct record *r);

#endif
