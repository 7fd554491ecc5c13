/* rows.c - nested keys and values, printed as JSON or as the text that qemu-img makes of the same
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <string.h>

#include <qcbm.h>

#include "qemu_text.h"
#include "rows.h"

/* "    key with blanks:" or "    [3]:" */
static void text_key(struct rows *r, const char *key)
{
    fprintf(r->out, "%*s", (int)(r->depth * 4), "");
    if (!key)
        fprintf(r->out, "[%" PRIu32 "]", r->next[r->depth]++);
    for (; key && *key; key++)
        fputc(*key == '-' ? ' ' : *key, r->out);
    fputc(':', r->out);
}

static void text_begin(struct rows *r, const char *key)
{
    text_key(r, key);
    fputc('\n', r->out);
    r->next[++r->depth] = 0;
}

void rows_begin(struct rows *r, const char *key)
{
    if (r->json)
        json_begin_object(r->json, key);
    else
        text_begin(r, key);
}

void rows_end(struct rows *r)
{
    if (r->json)
        json_end_object(r->json);
    else
        r->depth--;
}

void rows_list_begin(struct rows *r, const char *key)
{
    if (r->json)
        json_begin_array(r->json, key);
    else
        text_begin(r, key);
}

void rows_list_end(struct rows *r)
{
    if (r->json)
        json_end_array(r->json);
    else
        r->depth--;
}

void rows_string(struct rows *r, const char *key, const char *value)
{
    if (r->json) {
        json_string(r->json, key, value);
        return;
    }
    text_key(r, key);
    fputc(' ', r->out);
    print_escaped(r->out, value, strlen(value));
    fputc('\n', r->out);
}

void rows_u64(struct rows *r, const char *key, uint64_t value)
{
    if (r->json) {
        json_u64(r->json, key, value);
        return;
    }
    text_key(r, key);
    fprintf(r->out, " %" PRIu64 "\n", value);
}

void rows_unknown(struct rows *r, const char *key)
{
    if (r->json) {
        json_null(r->json, key);
        return;
    }
    text_key(r, key);
    fputs(" ?\n", r->out);
}

void rows_size(struct rows *r, const char *key, uint64_t bytes)
{
    char text[96];

    if (bytes == QCBM_UNKNOWN) {
        rows_unknown(r, key);
    } else if (r->json) {
        rows_u64(r, key, bytes);
    } else {
        snprintf(text, sizeof text, "%s (%" PRIu64 " bytes)", size_text(bytes).text, bytes);
        rows_string(r, key, text);
    }
}

void rows_bool(struct rows *r, const char *key, bool value)
{
    if (r->json) {
        json_bool(r->json, key, value);
        return;
    }
    text_key(r, key);
    fprintf(r->out, " %s\n", value ? "true" : "false");
}
