/* vnb_meta.h - the JSON that virtnbdbackup's stream begins with: to a struct and back (docs/delta-format.md)
 * SPDX-License-Identifier: MIT */
#ifndef QCBMI_VNB_META_H
#define QCBMI_VNB_META_H

#include "format/delta_meta.h"

#define QCBMI_VNB_MAX_META 65536u /* bytes of JSON; virtnbdbackup writes some 400 */
#define QCBMI_VNB_MAX_NAME 1023u

struct qcbmi_vnb_meta {
    uint64_t virtual_size, data_size;
    int64_t created;                         /* seconds since 1970, UTC; not read */
    bool incremental;                        /* false: a full backup */
    char disk[QCBMI_VNB_MAX_NAME + 1];       /* target of the disk: vda */
    char checkpoint[QCBMI_VNB_MAX_NAME + 1]; /* that was made with it; of a domain that was off the one before */
    char parent[QCBMI_VNB_MAX_NAME + 1];     /* empty: none */
    bool has_id, has_parent_id;              /* qcbm's own members, which virtnbdrestore passes over */
    uint8_t id[QCBMI_IDENTITY_BYTES], parent_id[QCBMI_IDENTITY_BYTES];
};

/* @len bytes of JSON at @at of the stream. Members that are not known are passed over.
 * Returns 0, QCBM_E_CORRUPT, QCBM_E_UNSUPPORTED (compressed frames, another version). */
int qcbmi_vnb_meta_parse(const char *json, size_t len, uint64_t at, struct qcbmi_vnb_meta *out, struct qcbm_error *err);
/* From malloc(), NULL if there is no memory. */
char *qcbmi_vnb_meta_text(const struct qcbmi_vnb_meta *m, struct qcbm_error *err);

#endif
