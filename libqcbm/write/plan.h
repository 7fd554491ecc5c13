/* plan.h - staged writes: what an operation is going to do, before anything is done
 * SPDX-License-Identifier: MIT
 *
 * A plan is a list of stages. Writes of one stage may reach the disk in any order; each stage is made durable before
 * the next one starts. Building a plan touches nothing: write/commit.c is the only code that writes.
 *
 * A plan says what is written and not why it may be. That an image is fit for it is found out by whoever makes the
 * plan: an edit of bitmaps demands a sound header and refcounts that agree with its own scan
 * (qcbmi_image_check_writable(), write/owners.c). A plan that starts from damage demands what is left to rely on, and
 * takes its clusters where its own scan finds none used; neither the plan nor the commit looks at a refcount. */
#ifndef QCBMI_PLAN_H
#define QCBMI_PLAN_H

#include "image/image.h"
#include "write/source.h"

struct qcbmi_plan_write {
    uint64_t off, len;
    const char *what;
    struct qcbmi_source source;
};

struct qcbmi_plan_stage {
    const char *name;
    bool switches; /* a cut in or after this stage may leave the new state */
    bool reclaims; /* behind the switch: gives up what the old state used alone */
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
    uint64_t held; /* bytes of memory for writes and for their bytes, as far as these lie there; bounding it is the
                      caller's */
    uint64_t clusters_allocated, clusters_freed;
    uint64_t stale_clusters_kept; /* of stale bitmaps that are given up, see bitmap_stale.h */
    uint32_t stale_bitmaps;
    uint64_t end; /* the file is made this long before the first write, if it is shorter */
    bool undoes;  /* instead, a file that is longer is cut to this after the last stage */

    struct qcbmi_range *relied; /* for an undo file: bytes that stay, and that the old state needs as they are */
    size_t n_relied, relied_capacity;
    bool gives_up_recording; /* there are bitmaps now that record writes, and an undo would bring them back */
    const struct qcbm_progress *progress; /* borrowed; NULL, or who is told how much is written */
    const char *undo_path; /* borrowed; NULL, or the new file that gets the old bytes before anything is written */
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
/* @len bytes from @source, which is bits or a function: what it borrows must live as long as the plan. A function may
 * fail, so it has no place in a stage that switches: QCBM_E_ARG. */
int qcbmi_plan_write_from(struct qcbmi_plan *plan, const char *what, uint64_t off, uint64_t len,
                          const struct qcbmi_source *source, struct qcbm_error *err);

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

#endif
