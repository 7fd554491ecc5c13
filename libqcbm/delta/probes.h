/* probes.h - content that is not in a delta, drawn at random, by which a disk can be told from another one
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_DELTA_PROBES_H
#define QCBMI_DELTA_PROBES_H

#include "delta/source.h"

/* Into m->probes: data, from where it begins, in granules that are clean, and lie in no unit that is dirty, as many as
 * there are up to 64, drawn with m->id as seed. What cannot be read is left out, and what is
 * zeros after all. Returns 0, QCBM_E_NOMEM, QCBM_E_IO. */
int qcbmi_delta_draw_probes(struct qcbmi_delta_source *s, uint64_t unit, struct qcbmi_delta_meta *m,
                            struct qcbm_error *err);

#endif
