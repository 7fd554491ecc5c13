/* plan.h - staged writes: what an operation is going to do, before anything is done
 * SPDX-License-Identifier: MIT
 *
 * A plan is a list of stages. Writes of one stage may reach the disk in any order; each stage is made durable before the
 * next one starts. Building a plan touches nothing: qcbmi_plan_commit() is the only code that writes. */
#ifndef QCBMI_PLAN_H
#define QCBMI_PLAN_H

#include "base/bitset.h"
#include "image/image.h"

struct qcbmi_plan_write {
    uint64_t off, len;
    const char *what;
    uint8_t *bytes;                  /* owned; NULL if the bytes come from @bits */
    const struct qcbmi_bitset *bits; /* borrowed: payload from byte @first_byte on, zeros behind its end */
    uint64_t first_byte;
};

struct qcbmi_plan_stage {
    const char *name;
    bool switches; /* a cut in or after this stage may leave the new state */
    struct qcbmi_plan_write *writes;
    size_t n, capacity;
};

struct qcbmi_range {
    uint64_t off, len;
};

struct qcbmi_plan {
    struct qcbmi_plan_stage *stages;
    size_t n, capacity;
    size_t current;  /* stage that writes go to */
    uint8_t *header; /* the first cluster as it will be after the writes planned so far; see qcbmi_plan_header() */
    uint64_t header_len;
    uint64_t clusters_allocated, clusters_freed;
    uint64_t stale_clusters_kept; /* of stale bitmaps that are given up, see bitmap_stale.h */
    uint32_t stale_bitmaps;
    uint64_t end; /* the file is made this long before the first write, if it is shorter */
    bool undoes;  /* instead, a file that is longer is cut to this after the last stage */

    struct qcbmi_range *relied; /* for an undo file: bytes that stay, and that the old state needs as they are */
    size_t n_relied, relied_capacity;
    bool gives_up_recording; /* there are bitmaps now that record writes, and an undo would bring them back */
    const char *undo_path;   /* borrowed; NULL, or the new file that gets the old bytes before anything is written */
};

void qcbmi_plan_free(struct qcbmi_plan *plan); /* fine on a zeroed struct; the struct itself is the caller's */

/* Start a stage at the end; following writes belong to it. A stage without writes costs no flush. */
int qcbmi_plan_stage(struct qcbmi_plan *plan, const char *name, bool switches, struct qcbm_error *err);

/* @bytes are copied. @what is a literal, e.g. "bitmap directory". */
int qcbmi_plan_write(struct qcbmi_plan *plan, const char *what, uint64_t off, const void *bytes, uint64_t len,
                     struct qcbm_error *err);
/* The same without a copy: @bytes, from qcbmi_alloc_array(), are the plan's from now on, on failure too. */
int qcbmi_plan_write_owned(struct qcbmi_plan *plan, const char *what, uint64_t off, uint8_t *bytes, uint64_t len,
                           struct qcbm_error *err);
/* @len bytes of the payload of @bits from @first_byte on; @bits must live as long as the plan. */
int qcbmi_plan_write_bits(struct qcbmi_plan *plan, const char *what, uint64_t off, uint64_t len,
                          const struct qcbmi_bitset *bits, uint64_t first_byte, struct qcbm_error *err);

/* Bytes [@at, @at + @len) of @w into @to. */
void qcbmi_plan_write_load(const struct qcbmi_plan_write *w, uint64_t at, uint8_t *to, uint64_t len);

/* [@off, @off + @len) is given up, or stays and is needed: undoing is right only while it has its bytes. */
int qcbmi_plan_relies(struct qcbmi_plan *plan, uint64_t off, uint64_t len, struct qcbm_error *err);

/* Change the first cluster: patch the plan's copy of it with qcbmi_plan_header_patch(), any number of times, then write
 * a range of the copy. The copy starts as @cluster0 (@len bytes). */
int qcbmi_plan_header_init(struct qcbmi_plan *plan, const uint8_t *cluster0, uint64_t len, struct qcbm_error *err);
void qcbmi_plan_header_patch(struct qcbmi_plan *plan, uint64_t off, const void *bytes, uint64_t len);
int qcbmi_plan_header_write(struct qcbmi_plan *plan, const char *what, uint64_t off, uint64_t len,
                            struct qcbm_error *err);

void qcbmi_plan_summary(const struct qcbmi_plan *plan, const struct qcbmi_image *img, struct qcbm_plan_summary *out);
int qcbmi_plan_each(const struct qcbmi_plan *plan, qcbm_plan_fn *fn, void *opaque, struct qcbm_error *err);

/* Is there room on the device? QCBM_E_NOSPACE says what is needed and what is there. */
int qcbmi_plan_check_space(const struct qcbmi_plan *plan, struct qcbmi_image *img, struct qcbm_error *err);

/* Write it, with a flush after each stage. The first cluster must still be as it was read. With undo_path the old bytes
 * are durable in that file before; it is removed again if the commit ends before its first write.
 * On failure the message says whether the new state may be in place. */
int qcbmi_plan_commit(const struct qcbmi_plan *plan, struct qcbmi_image *img, struct qcbm_error *err);

#endif
