/* synth_result.c - what a synth tells its caller: figures, layers, notes
 * SPDX-License-Identifier: MIT */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/sized.h"
#include "ops/synth.h"

void qcbm_synth_result_free(struct qcbm_synth_result *r)
{
    if (!r)
        return;
    for (uint32_t i = 0; i < r->sum.layers; i++)
        free(r->layers[i].filename);
    for (uint32_t i = 0; i < r->sum.notes; i++)
        free(r->notes[i]);
    for (char **string = r->snapshot_strings; *string; string++)
        free(*string);
    free(r->layers);
    free(r->notes);
    free(r);
}

int qcbm_synth_result_summary(const struct qcbm_synth_result *r, struct qcbm_synth_summary *out, size_t size)
{
    return qcbmi_give_checked(out, size, &r->sum, sizeof(r->sum));
}

int qcbm_synth_result_layer(const struct qcbm_synth_result *r, uint32_t index, struct qcbm_synth_layer *out,
                            size_t size)
{
    const struct layer_figures *l;
    struct qcbm_synth_layer layer;

    if (index >= r->sum.layers)
        return QCBM_E_ARG;
    l = &r->layers[index];
    layer = (struct qcbm_synth_layer){ l->filename, "qcow2", l->virtual_size, l->cluster_size, l->allocated_bytes };
    return qcbmi_give_checked(out, size, &layer, sizeof(layer));
}

const char *qcbm_synth_result_note(const struct qcbm_synth_result *r, uint32_t index)
{
    return index < r->sum.notes ? r->notes[index] : NULL;
}

int qcbmi_synth_note(struct qcbm_synth_result *r, struct qcbm_error *err, const char *fmt, ...)
{
    char text[512];
    va_list args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    if (qcbmi_grow_array(&r->notes, &r->note_capacity, r->sum.notes, sizeof(char *), err) < 0)
        return QCBM_E_NOMEM;
    r->notes[r->sum.notes] = qcbmi_memdup_nul(text, strlen(text), err);
    if (!r->notes[r->sum.notes])
        return QCBM_E_NOMEM;
    r->sum.notes++;
    return 0;
}

int qcbmi_synth_add_layer(struct qcbm_synth_result *r, const struct qcbmi_layer *l, uint64_t allocated,
                          struct qcbm_error *err)
{
    struct layer_figures f = { NULL, l->size, l->img->g.cluster_size, allocated };

    if (qcbmi_grow_array(&r->layers, &r->layer_capacity, r->sum.layers, sizeof(f), err) < 0)
        return QCBM_E_NOMEM;
    f.filename = qcbmi_memdup_nul(l->filename, strlen(l->filename), err);
    if (!f.filename)
        return QCBM_E_NOMEM;
    r->layers[r->sum.layers++] = f;
    return 0;
}
