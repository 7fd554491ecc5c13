/* raw_scan.h - the entries of a metadata image that do not show the raw data as it is
 * SPDX-License-Identifier: MIT
 *
 * Verifying and resetting ask the same of the same tables: this is the one walk over them. */
#ifndef QCBMI_RAW_SCAN_H
#define QCBMI_RAW_SCAN_H

#include "base/progress.h"
#include "image/image.h"
#include "io/holes.h"

/* What is wrong with an entry, or with a part of it. */
enum qcbmi_raw_kind {
    QCBMI_RAW_ZERO,        /* reads as zeros, as the guest wanted it; right where the data is zeros, too */
    QCBMI_RAW_UNALLOCATED, /* reads as zeros, as nothing is mapped */
    QCBMI_RAW_NOT_COPIED,  /* shows the data, but has not the flag that says so */
    QCBMI_RAW_ELSEWHERE,   /* names another offset: QEMU gives up on it */
    QCBMI_RAW_BAD,         /* breaks a rule of the format */
    QCBMI_RAW_NO_TABLE,    /* the L1 entry is empty: as unallocated, and there is no table to be put right */
    QCBMI_RAW_BAD_TABLE    /* the L1 entry names no table of its own */
};

struct qcbmi_raw_range {
    enum qcbmi_raw_kind kind;
    uint64_t start, end; /* guest bytes, clipped at the size */
};

struct qcbmi_raw_scan {
    struct qcbmi_image *img;
    struct qcbmi_progress *progress; /* in bytes of tables, with a total of its own; may be NULL */
    void *opaque;
    /* Neighbours of one kind are one range. Those of L1 entries come first, then those of tables in the order of the
     * file. */
    int (*range)(void *opaque, const struct qcbmi_raw_range *r, struct qcbm_error *err);
    /* May be NULL: a table has entries @first to @end - 1, and perhaps others between, that are not plain; @n is how
     * many. Called behind its ranges. */
    int (*table)(void *opaque, uint64_t offset, uint64_t l1_index, uint32_t first, uint32_t end, uint32_t n,
                 struct qcbm_error *err);
    struct qcbmi_raw_range last; /* not told yet; empty if end is 0 */
};

/* All entries up to the end of the disk. No table is read that two L1 entries name, so what is read is bounded by the
 * file.
 * Returns 0, QCBM_E_CORRUPT (the L1 table passes the end of the file), QCBM_E_IO, QCBM_E_NOMEM, QCBM_E_ABORTED, and
 * what the callbacks return. */
int qcbmi_raw_scan(struct qcbmi_raw_scan *s, struct qcbm_error *err);

/* The data of [@start, @end), in pieces of @unit bytes (a power of two): @fn gets each run of them that has something
 * that is not zero, clipped. What lies behind the end of the data is zeros; holes are not read. @buf has
 * QCBMI_RAW_PIECE bytes. */
#define QCBMI_RAW_PIECE (UINT64_C(2) << 20)
int qcbmi_raw_nonzero(struct qcbmi_holes *data, uint64_t start, uint64_t end, uint64_t unit, uint8_t *buf,
                      int (*fn)(void *opaque, uint64_t start, uint64_t end, struct qcbm_error *err), void *opaque,
                      struct qcbm_error *err);

/* The raw data of @img: @name as the caller has it, or NULL for what the image names; opened for reading and locked as
 * @img is.
 * Returns what qcbmi_open() and qcbmi_lock() do, QCBM_E_NOTFOUND if there is no name. */
int qcbmi_raw_open(struct qcbmi_io *io, const struct qcbmi_image *img, const char *name, struct qcbm_error *err);

#endif
