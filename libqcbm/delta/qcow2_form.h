/* qcow2_form.h - what the parts of the form qcow2 share
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_QCOW2_FORM_H
#define QCBMI_QCOW2_FORM_H

#include "delta/delta.h"
#include "write/new_image.h"

/* Behind an image that came through a pipe: that it is whole, and its digest. */
#define QCBMI_QCOW2_MARK 64u

/* qcow2_identity.c */
void qcbmi_qcow2_mark_store(uint8_t *to, const struct qcbmi_delta_meta *m);
/* Is it the mark of @m? Then @m gets the digest. QCBM_E_CORRUPT */
int qcbmi_qcow2_mark_parse(const uint8_t *from, struct qcbmi_delta_meta *m, struct qcbm_error *err);
int qcbmi_qcow2_write_header(struct qcbmi_new_image *n, const struct q2_header *h, const struct qcbmi_delta_meta *m,
                             struct qcbm_error *err);

/* qcow2_write.c: the writer's part of the form */
int qcbmi_qcow2_open(struct qcbmi_delta_writer *w, struct qcbm_error *err);
uint64_t qcbmi_qcow2_unit(const struct qcbmi_delta_writer *w);
int qcbmi_qcow2_announce(struct qcbmi_delta_writer *w, const struct qcbmi_delta_record *r, struct qcbm_error *err);
int qcbmi_qcow2_begin(struct qcbmi_delta_writer *w, struct qcbm_error *err);
int qcbmi_qcow2_zero(struct qcbmi_delta_writer *w, uint64_t offset, uint64_t length, struct qcbm_error *err);
int qcbmi_qcow2_data(struct qcbmi_delta_writer *w, uint64_t offset, uint64_t length, const uint8_t *bytes,
                     struct qcbm_error *err);
int qcbmi_qcow2_end(struct qcbmi_delta_writer *w, struct qcbm_error *err);
void qcbmi_qcow2_free(struct qcbmi_delta_writer *w);

#endif
