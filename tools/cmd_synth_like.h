/* cmd_synth_like.h - what the files of qcbm synth --like share
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_CMD_SYNTH_LIKE_H
#define QCBM_TOOL_CMD_SYNTH_LIKE_H

#include "cmd_synth.h"

enum synth_outcome { MADE, REPLACED, KEPT, SKIPPED };

struct synth_item {
    char *name;
    uint64_t granularity;
    enum synth_outcome outcome;
    const char *why; /* not MADE: a static text */
    bool hint;       /* ... which is no good for libvirt */
    struct qcbm_synth_summary figures;
};

struct synth_like {
    struct synth_item *items; /* the bitmaps of BASE, in its order */
    size_t n;
    struct lack {
        char *filename;
        uint32_t lacks; /* of the bitmaps that BASE has */
    } * layers;         /* between the overlay and BASE */
    uint32_t n_layers;
    bool other_size; /* BASE is shorter or longer than the overlay */
};

/* All of BASE's bitmaps that the overlay lacks, in one edit. *@out is to be freed on failure too. */
int synth_like_run(struct synth_job *job, struct synth_like **out);
void synth_like_free(struct synth_like *like);

/* ---- the answer (cmd_synth_like_out.c) ---- */

/* How many of them are made or replaced. */
size_t synth_like_made(const struct synth_like *like);
void synth_like_print(const struct synth_job *job, const struct synth_like *like, const char *claimed);
void synth_like_write(const struct synth_job *job, const struct synth_like *like, struct json_writer *w);

#endif
