/* q2_snapshot.c - entries of the internal snapshot table
 * SPDX-License-Identifier: MIT */
#include "format/q2_snapshot.h"

#include <string.h>

#include "base/checked.h"
#include "base/error.h"
#include "format/q2_limits.h"

static int fail_incomplete(struct qcbm_error *err, uint64_t at, uint32_t index)
{
    return qcbmi_fail(err, QCBM_E_CORRUPT, at, "snapshot table entry %" PRIu32 ": passes the end of the table", index);
}

/* Fields of the extra data are there from the front on, as many as fit. */
static void read_extra(struct q2_snapshot *s)
{
    s->vm_state_size = s->extra_len >= 8 ? be64_load(s->extra) : s->vm_state_size32;
    s->disk_size = s->extra_len >= 16 ? be64_load(s->extra + 8) : UINT64_MAX;
    s->icount = s->extra_len >= 24 ? be64_load(s->extra + 16) : UINT64_MAX;
}

int q2_snapshot_parse(struct q2_cursor *in, const uint8_t *base, uint64_t table_offset, uint32_t index,
                      struct q2_snapshot *out, struct qcbm_error *err)
{
    uint64_t at = table_offset + (uint64_t)(in->at - base);
    struct q2_snapshot s = { 0 };
    size_t padding;

    s.l1_offset = q2_take_u64(in);
    s.l1_entries = q2_take_u32(in);
    s.id_len = q2_take_u16(in);
    s.name_len = q2_take_u16(in);
    s.date_sec = q2_take_u32(in);
    s.date_nsec = q2_take_u32(in);
    s.vm_clock_nsec = q2_take_u64(in);
    s.vm_state_size32 = q2_take_u32(in);
    s.extra_len = q2_take_u32(in);
    if (in->overrun)
        return fail_incomplete(err, at, index);
    if (s.extra_len > Q2_MAX_SNAPSHOT_EXTRA)
        return qcbmi_fail(err, QCBM_E_LIMIT, at + Q2_SNAPSHOT_FIXED - 4,
                          "Too much extra metadata in snapshot table entry %" PRIu32 ": %" PRIu32 " bytes, at most %u",
                          index, s.extra_len, Q2_MAX_SNAPSHOT_EXTRA);
    s.extra = q2_take(in, s.extra_len);
    s.id = q2_take(in, s.id_len);
    s.name = q2_take(in, s.name_len);
    if (in->overrun)
        return fail_incomplete(err, at, index);
    read_extra(&s);
    /* what pads the last entry is not part of the table */
    padding = (size_t)(align_up((uint64_t)(in->at - base), 8) - (uint64_t)(in->at - base));
    (void)q2_take(in, (size_t)u64_min(padding, q2_cursor_left(in)));
    *out = s;
    return 0;
}

bool q2_snapshot_is_zero(const struct q2_snapshot *s)
{
    return (s->l1_offset | s->l1_entries | s->id_len | s->name_len | s->date_sec | s->date_nsec | s->vm_clock_nsec |
            s->vm_state_size32 | s->extra_len) == 0;
}

size_t q2_snapshot_len(const struct q2_snapshot *s)
{
    return (size_t)align_up((uint64_t)Q2_SNAPSHOT_FIXED + s->extra_len + s->id_len + s->name_len, 8);
}

static uint8_t *put(uint8_t *to, const uint8_t *bytes, size_t len)
{
    if (len)
        memcpy(to, bytes, len);
    return to + len;
}

void q2_snapshot_store(uint8_t *to, const struct q2_snapshot *s)
{
    const uint8_t *end = to + q2_snapshot_len(s);
    uint8_t *p;

    be64_store(to, s->l1_offset);
    be32_store(to + 8, s->l1_entries);
    be16_store(to + 12, s->id_len);
    be16_store(to + 14, s->name_len);
    be32_store(to + 16, s->date_sec);
    be32_store(to + 20, s->date_nsec);
    be64_store(to + 24, s->vm_clock_nsec);
    be32_store(to + 32, s->vm_state_size32);
    be32_store(to + 36, s->extra_len);
    p = put(to + Q2_SNAPSHOT_FIXED, s->extra, s->extra_len);
    p = put(p, s->id, s->id_len);
    p = put(p, s->name, s->name_len);
    memset(p, 0, (size_t)(end - p));
}
