/* sidecar.h - the identity of a delta in a file beside it: PATH.json (docs/delta-format.md)
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_SIDECAR_H
#define QCBMI_SIDECAR_H

#include "format/delta_meta.h"
#include "io/io.h"

#define QCBMI_SIDECAR_MAX (UINT64_C(64) << 10) /* bytes of the file */

/* Into a new, empty file; @form is the name of the delta's form. */
int qcbmi_sidecar_write(struct qcbmi_io *io, const struct qcbmi_delta_meta *m, const char *form,
                        struct qcbm_error *err);
/* QCBM_E_CORRUPT: not all of what it must have, something that is not known, damage, or of a delta of another form;
 * QCBM_E_UNSUPPORTED: a later version. */
int qcbmi_sidecar_read(struct qcbmi_io *io, const char *form, struct qcbmi_delta_meta *out, struct qcbm_error *err);

#endif
