/* pump.h - the bytes of a walk, read many pieces at once and given to a writer in the order of the disk
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_DELTA_PUMP_H
#define QCBMI_DELTA_PUMP_H

#include "delta/walk.h"

struct qcbmi_delta_pump {
    struct qcbmi_delta_walk walk;  /* begun */
    struct qcbmi_delta_writer *to; /* begun */
    unsigned threads;              /* that read; 0: as many as keep a disk busy */
    struct qcbmi_progress *progress;
    uint64_t zero_bytes, data_bytes; /* out: of records, as they were given */
    uint64_t n_records;
};

/* Memory: 64 MiB at most. Returns what the reader and the writer return, and QCBM_E_ABORTED. */
int qcbmi_delta_pump_run(struct qcbmi_delta_pump *p, struct qcbm_error *err);

#endif
