/* dump.h - what the parts of qcbm_dump() share
 * SPDX-License-Identifier: MIT
 *
 * Nothing here may rely on a rule of the format: a dump is for images that nothing else opens. */
#ifndef QCBMI_DUMP_H
#define QCBMI_DUMP_H

#include "base/bytes.h"
#include "base/error.h"
#include "base/progress.h"
#include "format/q2_extension.h"
#include "format/q2_geometry.h"
#include "image/window.h"

struct qcbm_dump {
    struct qcbmi_io io;
    uint8_t head[Q2_HEADER_BYTES]; /* zeros where the file is shorter */
    struct q2_header h;            /* as stored, not checked; only what the version has */
    struct q2_geometry g;
    const char *no_geometry; /* why tables cannot be read, or NULL */
    struct qcbmi_window window, window2;
    uint64_t budget;   /* bytes that this walk may still read: tables may be named again and again */
    uint64_t n_shared; /* L1 entries met in this walk that name a table of another one */
    qcbm_dump_fn *fn;
    void *opaque;
    struct qcbmi_progress progress; /* in entries of the table that is walked */
};

/* For those who look at structures of an image as a dump does: d->io is theirs, all else is zeros. End it on failure
 * too. */
int qcbmi_dump_begin(struct qcbm_dump *d, struct qcbm_error *err);
void qcbmi_dump_end(struct qcbm_dump *d);

/* Where an L2 table or refcount block lies, by the index of the entry that names it. */
struct qcbmi_dump_ref {
    uint64_t offset, index;
};

/* Give an item out; @meaning is formatted, @problem may be NULL. */
int qcbmi_dump_give(struct qcbm_dump *d, struct qcbm_dump_item *item, const char *problem, struct qcbm_error *err,
                    const char *meaning, ...) __attribute__((format(printf, 5, 6)));
/* Entry @i of a table of u64 at @base that has @n; *@next is the next entry worth looking at. */
int qcbmi_dump_word(struct qcbm_dump *d, uint64_t base, uint64_t i, uint64_t n, uint64_t *value, uint64_t *next,
                    struct qcbm_error *err);
/* Entries of a table at @base that lie in the file, at most @n. */
uint64_t qcbmi_dump_entries(const struct qcbm_dump *d, uint64_t base, uint64_t n, uint64_t limit_bytes);

int qcbmi_dump_header(struct qcbm_dump *d, struct qcbm_error *err);
int qcbmi_dump_extensions(struct qcbm_dump *d, struct qcbm_error *err);
int qcbmi_dump_l1(struct qcbm_dump *d, uint64_t first, uint64_t last, struct qcbm_error *err);
int qcbmi_dump_l2(struct qcbm_dump *d, uint64_t first, uint64_t last, struct qcbm_error *err);
int qcbmi_dump_refcounts(struct qcbm_dump *d, uint64_t first, uint64_t last, struct qcbm_error *err);
int qcbmi_dump_snapshots(struct qcbm_dump *d, uint64_t first, uint64_t last, struct qcbm_error *err);
int qcbmi_dump_bitmaps(struct qcbm_dump *d, uint64_t first, uint64_t last, struct qcbm_error *err);

/* The payload of the last bitmaps extension into @out (24 bytes) and its place: 1, 0 if there is none, or a code. */
int qcbmi_dump_find_bitmaps(struct qcbm_dump *d, uint8_t out[Q2_BITMAPS_EXT_LEN], uint64_t *at, struct qcbm_error *err);

#endif
