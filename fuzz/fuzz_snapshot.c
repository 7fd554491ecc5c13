/* fuzz_snapshot.c - snapshot table entries: parsed inside the table, and store of parse is identity
 * SPDX-License-Identifier: MIT */
#include <stdlib.h>
#include <string.h>

#include "format/q2_snapshot.h"
#include "fuzz.h"

/* The entry in @len bytes at @from; @cut: the padding of the last entry may be missing. */
static void check_entry(const struct q2_snapshot *s, const uint8_t *from, size_t len)
{
    size_t whole = q2_snapshot_len(s), used = (size_t)Q2_SNAPSHOT_FIXED + s->extra_len + s->id_len + s->name_len;
    uint8_t *stored = malloc(whole);

    if (!stored)
        abort();
    fuzz_require(whole % 8 == 0 && whole - used < 8, "snapshot", "padding");
    fuzz_require(len <= whole && len >= used, "snapshot", "another length than was read");
    fuzz_require(s->extra_len <= 1024, "snapshot", "extra data above the limit");
    q2_snapshot_store(stored, s);
    fuzz_require(memcmp(stored, from, used) == 0, "snapshot", "store of parse is not identity");
    for (size_t i = used; i < whole; i++)
        fuzz_require(stored[i] == 0, "snapshot", "padding is not zero");
    free(stored);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint64_t table = UINT64_C(0x10000);
    struct q2_cursor in;

    q2_cursor_init(&in, data, size);
    for (uint32_t i = 0; q2_cursor_left(&in); i++) {
        const uint8_t *from = in.at;
        struct q2_snapshot s;
        struct qcbm_error err;
        int ret = q2_snapshot_parse(&in, data, table, i, &s, &err);

        if (ret < 0) {
            fuzz_check_error(&err, ret);
            fuzz_require(err.offset >= table && err.offset <= table + size, "snapshot", "an error outside the table");
            return 0;
        }
        fuzz_require(in.at > from && !in.overrun, "snapshot", "no progress");
        check_entry(&s, from, (size_t)(in.at - from));
    }
    return 0;
}
