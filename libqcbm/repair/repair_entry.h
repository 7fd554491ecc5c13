/* repair_entry.h - what becomes of one damaged entry of a mapping table
 * SPDX-License-Identifier: MIT
 *
 * What the bytes still prove stays: flags that mean nothing go, an offset that a stored refcount confirms is put
 * straight. What is given up reads as zeros from then on; as "not allocated" it would show what the backing file has
 * there, old data that looks like good data. That only by the caller's choice. */
#ifndef QCBMI_REPAIR_ENTRY_H
#define QCBMI_REPAIR_ENTRY_H

#include "format/q2_l1l2.h"

enum qcbmi_mend {
    QCBMI_MEND_NONE,  /* nothing is wrong with it */
    QCBMI_MEND_SAME,  /* the guest reads what it read before */
    QCBMI_MEND_FOUND, /* it reads again what it could not read */
    QCBMI_MEND_LOST,  /* given up */
    QCBMI_MEND_LEFT   /* would be given up, but nothing is, or the image has no way to say "zeros": it stays */
};

struct qcbmi_mend_rules {
    const struct q2_geometry *g;
    uint64_t file_len; /* what begins at or behind it is not there */
    bool backing;      /* there is a backing file: "not allocated" is not "zeros" */
    bool keep;         /* nothing is given up */
    bool to_backing;   /* what is given up is not allocated, whatever that shows */
    /* Does the stored refcount of the cluster at @off know of one reference more than there are? */
    bool (*is_own)(const void *opaque, uint64_t off);
    const void *opaque;
};

/* An entry of an L2 table, for guest offset @guest; *@word is 0 without extended L2. With @give_up it is lost whatever
 * it says, unless it says nothing. */
enum qcbmi_mend qcbmi_mend_l2(const struct qcbmi_mend_rules *rules, uint64_t guest, bool give_up, uint64_t *raw,
                              uint64_t *word);
/* An L1 entry; one that is lost becomes 0, which reads as "not allocated". */
enum qcbmi_mend qcbmi_mend_l1(const struct qcbmi_mend_rules *rules, bool give_up, uint64_t *raw);

#endif
