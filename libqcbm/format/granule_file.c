/* granule_file.c - what qcbm's own files about the granules of a disk share: a text behind the header, records of
 * granules
 * SPDX-License-Identifier: MIT */
#include "format/granule_file.h"

#include <inttypes.h>
#include <string.h>

#include "base/bytes.h"
#include "base/error.h"

int qcbmi_granule_text_check(const uint8_t *bytes, const struct granule_text *text, struct qcbm_error *err)
{
    if (memchr(bytes, 0, (size_t)text->len))
        return qcbmi_fail(err, QCBM_E_CORRUPT, text->offset, "%s: a NUL in the %s", text->file, text->text);
    if (!bytes_are_zero(bytes + text->len, (size_t)(text->room - text->len)))
        return qcbmi_fail(err, QCBM_E_CORRUPT, text->offset + text->len, "%s: the padding behind the %s is not zero",
                          text->file, text->text);
    return 0;
}

int qcbmi_granule_record_parse(const uint8_t *bytes, const char *file, uint32_t last_kind, uint64_t left,
                               uint64_t offset, struct granule_record *out, struct qcbm_error *err)
{
    uint64_t n = be64_load(bytes + 8);

    *out = (struct granule_record){ be32_load(bytes), n };
    if (out->kind > last_kind || be32_load(bytes + 4))
        return qcbmi_fail(err, QCBM_E_CORRUPT, offset, "%s: 0x%016" PRIx64 " begins no record", file, be64_load(bytes));
    if (out->kind == GRANULE_END && (n || left))
        return qcbmi_fail(err, QCBM_E_CORRUPT, offset, "%s: it ends %" PRIu64 " granules before the disk", file, left);
    if (out->kind != GRANULE_END && (n == 0 || n > left))
        return qcbmi_fail(err, QCBM_E_CORRUPT, offset,
                          "%s: a record of %" PRIu64 " granules where %" PRIu64 " are left", file, n, left);
    return 0;
}

void qcbmi_granule_record_store(uint8_t *to, uint32_t kind, uint64_t granules)
{
    be32_store(to, kind);
    be32_store(to + 4, 0);
    be64_store(to + 8, granules);
}
