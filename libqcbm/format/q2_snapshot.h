/* q2_snapshot.h - entries of the internal snapshot table
 * SPDX-License-Identifier: MIT */
#ifndef Q2_SNAPSHOT_H
#define Q2_SNAPSHOT_H

#include "format/q2_cursor.h"
#include "format/q2_header.h"
#include "format/q2_limits.h"

#define Q2_SNAPSHOT_FIXED 40u
/* With extra data, ID, name and padding. */
#define Q2_MAX_SNAPSHOT_ENTRY (Q2_SNAPSHOT_FIXED + Q2_MAX_SNAPSHOT_EXTRA + 2 * UINT64_C(65535) + 8)

struct q2_snapshot {
    uint64_t l1_offset;
    uint32_t l1_entries;
    uint32_t date_sec, date_nsec;
    uint64_t vm_clock_nsec;
    uint32_t vm_state_size32; /* as stored in the fixed part */
    uint64_t vm_state_size;   /* from the extra data where it has one */
    uint64_t disk_size;       /* UINT64_MAX if the extra data does not have it: the current size */
    uint64_t icount;          /* UINT64_MAX = off or absent */
    const uint8_t *extra;
    uint32_t extra_len; /* verbatim; pointers into the parsed bytes */
    const uint8_t *id;
    uint16_t id_len;
    const uint8_t *name;
    uint16_t name_len;
};

/* Reads one entry and the padding to 8 behind it; the padding of the last entry may be missing. @base is the first byte
 * of the table. Returns 0, QCBM_E_CORRUPT (incomplete), QCBM_E_LIMIT (extra data). The entry's l1 fields are not
 * judged. */
int q2_snapshot_parse(struct q2_cursor *in, const uint8_t *base, uint64_t table_offset, uint32_t index,
                      struct q2_snapshot *out, struct qcbm_error *err);
/* Nothing but zeros, which no program writes: even an image of size 0 gives its snapshots an ID. */
bool q2_snapshot_is_zero(const struct q2_snapshot *s);
/* Bytes of the entry with padding, and the entry itself (padding zeroed). */
size_t q2_snapshot_len(const struct q2_snapshot *s);
void q2_snapshot_store(uint8_t *to, const struct q2_snapshot *s);

#endif
