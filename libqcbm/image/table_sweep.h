/* table_sweep.h - the mapping tables of all states in the order of the file, each once, with the number of references
 * SPDX-License-Identifier: MIT
 *
 * It goes over the bytes that L1 tables cover: bytes that belong to several tables are read once, with the number of
 * tables as their weight. The L2 tables found are sorted, and read once each, with the number of entries that name
 * them. So the cost is that of the file, whatever refers to what. */
#ifndef QCBMI_TABLE_SWEEP_H
#define QCBMI_TABLE_SWEEP_H

#include "image/l2_notes.h"
#include "image/refs.h"
#include "io/holes.h"

struct qcbmi_swept_l2 {
    struct qcbmi_l2_ref table; /* its index is that of an active L1 entry, if there is one */
    uint64_t weight, active;   /* entries that name it, in all and of the active state */
};

struct qcbmi_sweep {
    struct qcbmi_image *img;
    struct qcbmi_holes *holes;
    const struct qcbmi_loose_snapshots *snapshots; /* beside the active state; those whose L1 table can be walked */
    const char *what;                              /* is read, for errors */
    struct qcbmi_progress *progress;

    /* In this order, each for all before the next one: anything below 0 stops. */
    void *opaque;
    /* An L1 table; 1: its own clusters do not count. */
    int (*l1_table)(void *opaque, const struct qcbmi_l1_table *l1);
    /* Clusters [@start, @end) are those of @depth L1 tables. */
    int (*l1_clusters)(void *opaque, uint64_t start, uint64_t end, uint64_t depth);
    /* The entry at @off, which is not 0; @index: of the active L1, or UINT64_MAX. NULL: that is no matter. */
    int (*l1_entry)(void *opaque, uint64_t raw, uint64_t off, uint64_t index, uint64_t depth);
    /* That many entries name a table, and then what it says. Where there are very many, some are looked at before the
     * next are named. */
    int (*l2_table)(void *opaque, const struct qcbmi_swept_l2 *l2);
    int (*l2_content)(void *opaque, const struct qcbmi_swept_l2 *l2, const struct qcbmi_l2_content *content);
    /* May @bytes be read for a table inside clusters? These may be bytes of another table, and so on. Where not, it is
     * passed over. */
    bool (*afford)(void *opaque, uint64_t bytes);
};

int qcbmi_table_sweep(const struct qcbmi_sweep *sweep, struct qcbm_error *err);

#endif
