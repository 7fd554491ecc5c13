/* source.c - where the bytes of a planned write come from, so that large ones need not lie in memory
 * SPDX-License-Identifier: MIT */
#include "write/source.h"

#include <stdlib.h>
#include <string.h>

#include "base/error.h"

void qcbmi_source_free(struct qcbmi_source *s)
{
    free(s->bytes);
    s->bytes = NULL;
}

static int ask(const struct qcbmi_source *s, uint64_t at, uint8_t *to, uint64_t len, struct qcbm_error *err)
{
    for (uint64_t done = 0, got; done < len; done += got) {
        int ret = s->fn(s->opaque, at + done, to + done, len - done, &got, err);

        if (ret < 0)
            return ret;
        if (got == 0 || got > len - done)
            return qcbmi_fail(err, QCBM_E_IO, QCBM_NO_OFFSET, "the payload ends after %" PRIu64 " bytes", at + done);
    }
    return 0;
}

int qcbmi_source_load(const struct qcbmi_source *s, uint64_t at, uint8_t *to, uint64_t len, struct qcbm_error *err)
{
    if (s->fn)
        return ask(s, s->first + at, to, len, err);
    if (s->bits)
        qcbmi_bitset_load_bytes(s->bits, s->first + at, to, (size_t)len);
    else
        memcpy(to, s->bytes + at, (size_t)len);
    return 0;
}

bool qcbmi_source_continues(const struct qcbmi_source *s, uint64_t len, const struct qcbmi_source *next)
{
    return !s->bytes && !next->bytes && s->bits == next->bits && s->fn == next->fn && s->opaque == next->opaque &&
           s->first + len == next->first;
}
