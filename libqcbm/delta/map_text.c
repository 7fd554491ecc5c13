/* map_text.c - the lines of the map of a raw+map delta (docs/delta-format.md)
 * SPDX-License-Identifier: MIT */
#include "delta/map_text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "format/json_text.h"

static const char head[] = "{\"form\": \"raw+map\", \"format\": 1, ";

size_t qcbmi_map_head_text(char *line, uint64_t size)
{
    return (size_t)snprintf(line, QCBMI_MAP_LINE, "%s\"size\": %" PRIu64 "}\n", head, size);
}

size_t qcbmi_map_record_text(char *line, const struct qcbmi_delta_record *r)
{
    return (size_t)snprintf(line, QCBMI_MAP_LINE,
                            "{\"offset\": %" PRIu64 ", \"length\": %" PRIu64 ", \"type\": \"%s\"}\n", r->offset,
                            r->length, r->type == QCBMI_DELTA_DATA ? "data" : "zero");
}

size_t qcbmi_map_end_text(char *line, uint64_t n_records, const uint8_t digest[QCBMI_DIGEST_BYTES])
{
    char hex[2 * QCBMI_DIGEST_BYTES + 1];

    qcbmi_identity_text(digest, hex);
    return (size_t)snprintf(line, QCBMI_MAP_LINE, "{\"records\": %" PRIu64 ", \"digest\": \"%s\"}\n", n_records, hex);
}

bool qcbmi_map_is_one(const char *bytes, size_t len)
{
    return len >= sizeof(head) - 1 && memcmp(bytes, head, sizeof(head) - 1) == 0;
}

enum { OFFSET = 1, LENGTH = 2, TYPE = 4, RECORDS = 8, DIGEST = 16, SIZE = 32, FORM = 64, FORMAT = 128 };

static unsigned take_string(const char *name, const struct qcbmi_json_value *v, struct qcbmi_map_line *out)
{
    char text[2 * QCBMI_DIGEST_BYTES + 1];

    if (!qcbmi_json_string(v, text, sizeof(text)))
        return 0;
    if (strcmp(name, "type") == 0 && (strcmp(text, "data") == 0 || strcmp(text, "zero") == 0)) {
        out->record.type = *text == 'd' ? QCBMI_DELTA_DATA : QCBMI_DELTA_ZERO;
        return TYPE;
    }
    if (strcmp(name, "digest") == 0 && strlen(text) == sizeof(text) - 1 && qcbmi_identity_parse(text, out->digest))
        return DIGEST;
    return strcmp(name, "form") == 0 && strcmp(text, "raw+map") == 0 ? FORM : 0;
}

static unsigned take_number(const char *name, uint64_t number, struct qcbmi_map_line *out)
{
    const struct {
        const char *name;
        unsigned bit;
        uint64_t *to;
    } numbers[] = { { "offset", OFFSET, &out->record.offset },
                    { "length", LENGTH, &out->record.length },
                    { "records", RECORDS, &out->n_records },
                    { "size", SIZE, &out->size } };

    for (size_t i = 0; i < sizeof(numbers) / sizeof(numbers[0]); i++)
        if (strcmp(numbers[i].name, name) == 0) {
            *numbers[i].to = number;
            return numbers[i].bit;
        }
    return strcmp(name, "format") == 0 && number == 1 ? FORMAT : 0;
}

/* The bit of the member that was taken, or 0: it is none, or has no such value. */
static unsigned take_member(struct qcbmi_json *j, const struct qcbmi_json_value *name, struct qcbmi_map_line *out)
{
    struct qcbmi_json_value v;
    char text[16];

    if (!qcbmi_json_string(name, text, sizeof(text)) || qcbmi_json_value(j, &v) < 0)
        return 0;
    if (v.kind == QCBMI_JSON_STRING)
        return take_string(text, &v, out);
    return v.kind == QCBMI_JSON_WHOLE ? take_number(text, v.number, out) : 0;
}

bool qcbmi_map_line_parse(const char *line, size_t len, struct qcbmi_map_line *out)
{
    struct qcbmi_json j = { .text = line, .len = len, .what = "map" };
    struct qcbmi_json_value v;
    bool first = true;
    unsigned seen = 0;
    int ret;

    *out = (struct qcbmi_map_line){ 0 };
    if (qcbmi_json_value(&j, &v) < 0 || v.kind != QCBMI_JSON_OBJECT)
        return false;
    while ((ret = qcbmi_json_member(&j, &first, &v)) == 1) {
        unsigned bit = take_member(&j, &v, out);

        if (bit == 0 || (seen & bit))
            return false;
        seen |= bit;
    }
    out->kind = seen == (OFFSET | LENGTH | TYPE) ? QCBMI_MAP_RECORD
                                                 : (seen == (RECORDS | DIGEST) ? QCBMI_MAP_END : QCBMI_MAP_HEAD);
    if (out->kind == QCBMI_MAP_HEAD && seen != (FORM | FORMAT | SIZE))
        return false;
    return ret == 0 && qcbmi_json_end(&j) == 0;
}
