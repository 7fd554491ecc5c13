/* apply_target.h - a disk that deltas are applied to: a raw file or device, or the top of a chain of qcow2 images
 * SPDX-License-Identifier: MIT
 *
 * What a write into a qcow2 image leaves at each point is said in write/guest_plan.h; into a raw file bytes go where
 * they belong, in the order of the disk, with a flush at the end of each batch. */
#ifndef QCBMI_APPLY_TARGET_H
#define QCBMI_APPLY_TARGET_H

#include "base/progress.h"
#include "bitmap/handle.h"
#include "image/data.h"
#include "write/guest_plan.h"

struct qcbmi_apply_target {
    bool is_qcow2;
    unsigned flags;            /* enum qcbm_open_flag */
    struct qcbm_image handle;  /* of qcow2 */
    struct qcbmi_chain chain;  /* of raw one layer, whose file is the target's */
    struct qcbmi_io data_file; /* of qcow2, if there is one and it is written */
};

/* Take over @io, open under the name @path: for writing if @flags have QCBM_OPEN_WRITE. QCBM_E_UNSUPPORTED,
 * QCBM_E_UNSAFE: it cannot be written to as it is. Close it on failure too. */
int qcbmi_target_open(struct qcbmi_apply_target *t, struct qcbmi_io *io, const char *path, bool is_qcow2,
                      unsigned flags, struct qcbm_error *err);
/* The same of one that is open for reading only. */
int qcbmi_target_check_writable(const struct qcbmi_apply_target *t, struct qcbm_error *err);
void qcbmi_target_close(struct qcbmi_apply_target *t); /* fine on a zeroed struct */
/* The file, and back to who it was taken from. */
struct qcbmi_io *qcbmi_target_io(struct qcbmi_apply_target *t);
void qcbmi_target_give_back(struct qcbmi_apply_target *t, struct qcbmi_io *io);

uint64_t qcbmi_target_size(const struct qcbmi_apply_target *t); /* of the disk */
bool qcbmi_target_is_device(const struct qcbmi_apply_target *t);
/* Reads the disk as it is now; to be closed before the next write. */
int qcbmi_target_reader(const struct qcbmi_apply_target *t, struct qcbmi_data **out, struct qcbm_error *err);

/* Called when all guest bytes before @done are durable. */
typedef int qcbmi_target_step_fn(void *opaque, uint64_t done, struct qcbm_error *err);
struct qcbmi_target_write {
    const struct qcbmi_guest_stream *stream;
    uint64_t from; /* extents before it are done already */
    bool drops;
    uint64_t batch;             /* clusters of an image between two flushes at most; 0: as many as are worth it */
    qcbmi_target_step_fn *step; /* may be NULL */
    void *opaque;
    struct qcbmi_progress *progress; /* in bytes of extents; may be NULL */
};
/* Write what the stream has, in batches. */
int qcbmi_target_write(struct qcbmi_apply_target *t, const struct qcbmi_target_write *w, struct qcbm_error *err);

/* Make the disk larger: what is new reads as zeros, once this has returned 0, also on a device, which has its length.
 * @was is what the disk was before anything was done, so that what was cut short is done again. QCBM_E_UNSUPPORTED: an
 * image whose bitmaps would not fit any more. */
int qcbmi_target_grow(struct qcbmi_apply_target *t, uint64_t was, uint64_t size, struct qcbm_error *err);
/* Make it smaller, a raw data file with it; devices stay as they are. */
int qcbmi_target_cut(struct qcbmi_apply_target *t, uint64_t was, uint64_t size, struct qcbm_error *err);
/* Would these two be refused? */
int qcbmi_target_check_resize(const struct qcbmi_apply_target *t, uint64_t size, struct qcbm_error *err);

/* Ranges of the disk that will be written, in the bitmaps that record writes. NULL: all of it. */
struct qcbmi_dirtymap;
bool qcbmi_target_records(const struct qcbmi_apply_target *t);
unsigned qcbmi_target_granularity(const struct qcbmi_apply_target *t); /* the finest of these, as a power of two */
int qcbmi_target_mark(struct qcbmi_apply_target *t, const struct qcbmi_dirtymap *changed, struct qcbm_error *err);

/* A commit into the image of @t: header, bitmaps and tables are read anew. */
struct qcbmi_plan;
int qcbmi_target_commit(struct qcbmi_apply_target *t, const struct qcbmi_plan *plan, struct qcbm_error *err);
/* What the target knows of the image besides, where somebody else has committed. */
void qcbmi_target_forget(struct qcbmi_apply_target *t);
/* @plan with the header as it is, in its first stage. All that refers to clusters in @owners. */
int qcbmi_target_plan_begin(struct qcbmi_apply_target *t, struct qcbmi_plan *plan, struct qcbmi_owners *owners,
                            struct qcbm_error *err);
/* The same behind a plan that is done, which gave @busy, and takes it back: nothing is read. */
int qcbmi_target_plan_again(struct qcbmi_apply_target *t, struct qcbmi_plan *plan, struct qcbmi_owners *owners,
                            struct qcbmi_bitset *busy, struct qcbm_error *err);

#endif
