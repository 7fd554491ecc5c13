/* synth.h - what the parts of one synth share
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_SYNTH_H
#define QCBMI_SYNTH_H

#include "base/progress.h"
#include "bitmap/bitmap_edit.h"
#include "image/chain.h"
#include "image/l2_named.h"
#include "image/snapshot_view.h"
#include "image/tables.h"

struct layer_figures {
    char *filename;
    uint64_t virtual_size, cluster_size, allocated_bytes;
};

struct qcbm_synth_result {
    struct qcbm_synth_summary sum;
    struct layer_figures *layers;
    size_t layer_capacity;
    char **notes;
    size_t note_capacity;
    char *snapshot_strings[5]; /* what the summary points to; NULL behind the last */
};

/* One run of the job. */
struct synth {
    struct qcbm_edit *edit;     /* that gets the bitmap; NULL: only the map is wanted */
    struct qcbmi_image *target; /* the image of it; else the overlay */
    struct qcbm_image *handle;  /* of the overlay */
    struct qcbmi_image *overlay;
    struct qcbm_synth_options opt;
    struct qcbmi_chain chain;            /* the overlay alone, unless the job is about its chain */
    size_t n_scanned;                    /* layers from the top whose allocation counts */
    struct qcbmi_snapshot_view from, to; /* with opt.since_snapshot, opt.snapshot; else zeros */
    struct qcbmi_dirtymap map;           /* of the overlay's size, or as synth_since.c has it */
    struct qcbmi_l2_named *named;        /* of each of these layers: what its tables name */
    struct qcbmi_damage damage;
    struct qcbmi_progress progress;
    struct qcbm_synth_result *result;
};

/* ---- synth.c ---- */

/* Do the options go together? @to gets them, and defaults for what @from does not have. */
int qcbmi_synth_take_options(const struct qcbm_synth_options *from, struct qcbm_synth_options *to,
                             struct qcbm_error *err);
/* What counts as changed, into s->map: all that comes before a bitmap is made of it. s->overlay, handle, target, opt
 * and result are there. Give it up on failure too. */
int qcbmi_synth_find(struct synth *s, unsigned gran_bits, struct qcbm_error *err);
void qcbmi_synth_give_up(struct synth *s);

/* ---- synth_result.c: figures and notes for the caller ---- */

int qcbmi_synth_add_layer(struct qcbm_synth_result *r, const struct qcbmi_layer *l, uint64_t allocated,
                          struct qcbm_error *err);
int qcbmi_synth_note(struct qcbm_synth_result *r, struct qcbm_error *err, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));

/* ---- synth_notes.c: what the figures may be short of, and what changes beside them ---- */

bool qcbmi_synth_is_live(const struct synth *s);
int qcbmi_synth_note_sharing(struct synth *s, struct qcbm_error *err);
int qcbmi_synth_note_replaced(struct synth *s, const char *name, struct qcbm_error *err);
int qcbmi_synth_note_disabled(struct qcbm_synth_result *r, const char *name, struct qcbm_error *err);

/* ---- synth_since.c: changes since an internal snapshot ---- */

/* Do the options go together? */
int qcbmi_synth_since_check(const struct qcbm_synth_options *opt, struct qcbm_error *err);
/* May the bitmap be enabled, if it will be? */
int qcbmi_synth_since_check_state(const struct synth *s, bool enabled, struct qcbm_error *err);
/* Find the snapshots that the options name, if any. */
int qcbmi_synth_since_open(struct synth *s, struct qcbm_error *err);
void qcbmi_synth_since_close(struct synth *s);
/* Guest bytes that the map is to have, of any job. */
uint64_t qcbmi_synth_map_size(struct synth *s);
int qcbmi_synth_since_mark(struct synth *s, struct qcbm_error *err);

/* ---- synth_refine.c: without what is no difference ---- */

/* Do the options go together? And if the bitmap @exists? */
int qcbmi_synth_refine_check(const struct qcbm_synth_options *opt, struct qcbm_error *err);
int qcbmi_synth_refine_check_merge(const struct synth *s, bool exists, struct qcbm_error *err);
int qcbmi_synth_refine(struct synth *s, struct qcbm_error *err);

/* ---- synth_against.c: what differs from a manifest ---- */

/* Do the options go together? */
int qcbmi_synth_against_check(const struct qcbm_synth_options *opt, struct qcbm_error *err);
int qcbmi_synth_against(struct synth *s, struct qcbm_error *err);

/* ---- synth_lost.c: lost mapping tables in the layers that count ---- */

int qcbmi_synth_treat_lost(struct synth *s, struct qcbm_error *err);

/* ---- synth_saved.c: what a bitmap in use had when it was saved, into @to ---- */

int qcbmi_synth_keep_saved(struct synth *s, const char *name, struct qcbmi_dirtymap *to, struct qcbm_error *err);

#endif
