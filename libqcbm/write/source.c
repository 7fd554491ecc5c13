/* source.c - where the bytes of a planned write come from, so that large ones need not lie in memory
 * SPDX-License-Identifier: MIT */
#include "write/source.h"

#include <stdlib.h>
#include <string.h>

#include "base/bytes.h"
#include "base/checked.h"
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

static void count(const struct qcbmi_series *s, uint64_t at, uint8_t *to, uint64_t len)
{
    for (uint64_t done = 0, n; done < len; done += n) {
        uint64_t pos = at + done, skip = pos % 8;
        uint8_t word[8];

        be64_store(word, pos % s->width >= 8 ? s->pair : s->base + pos / s->width * s->step);
        n = u64_min(8 - skip, len - done);
        memcpy(to + done, word + skip, (size_t)n);
    }
}

int qcbmi_source_load(const struct qcbmi_source *s, uint64_t at, uint8_t *to, uint64_t len, struct qcbm_error *err)
{
    if (s->fn)
        return ask(s, s->first + at, to, len, err);
    if (s->series.width)
        count(&s->series, s->first + at, to, len);
    else if (s->bits)
        qcbmi_bitset_load_bytes(s->bits, s->first + at, to, (size_t)len);
    else
        memcpy(to, s->bytes + at, (size_t)len);
    return 0;
}

bool qcbmi_source_continues(const struct qcbmi_source *s, uint64_t len, const struct qcbmi_source *next)
{
    const struct qcbmi_series *a = &s->series, *b = &next->series;

    if (a->base != b->base || a->step != b->step || a->pair != b->pair || a->width != b->width)
        return false;
    return !s->bytes && !next->bytes && s->bits == next->bits && s->fn == next->fn && s->opaque == next->opaque &&
           s->first + len == next->first;
}
