/* rescue_out.c - what a rescue found: text for people, JSON for programs, in a file of its own as well
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>

#include "qemu_text.h"
#include "rescue_out.h"

enum { MAX_LINES = 100, MAX_LEFT_LINES = 20 };

static const char *const names[] = {
    [QCBM_RESCUE_UNKNOWN] = "unknown", [QCBM_RESCUE_LIKELY] = "likely", [QCBM_RESCUE_PROVEN] = "proven"
};

static void begin_json(struct json_writer *w, FILE *file, const struct rescue_out *out)
{
    *w = (struct json_writer)JSON_WRITER_INIT(file);
    json_begin_object(w, NULL);
    json_string(w, "image", out->image);
    if (out->new_path)
        json_string(w, "new", out->new_path);
    else
        json_null(w, "new");
    json_begin_array(w, "ranges");
}

bool rescue_out_begin(struct rescue_out *out)
{
    out->held = tmpfile();
    if (out->held && out->json)
        begin_json(&out->to_held, out->held, out);
    if (out->report)
        begin_json(&out->to_report, out->report, out);
    return out->held != NULL;
}

static void range_json(struct json_writer *w, const struct qcbm_rescue_range *r)
{
    json_begin_object(w, NULL);
    json_u64(w, "start", r->start);
    json_u64(w, "length", r->length);
    json_string(w, "certainty", names[r->certainty]);
    json_u64(w, "score", r->score);
    json_string(w, "code", r->code);
    json_string(w, "reason", r->reason);
    json_bool(w, "mapped", r->mapped);
    json_end_object(w);
}

static void range_text(struct rescue_out *out, const struct qcbm_rescue_range *r)
{
    if (r->certainty == QCBM_RESCUE_PROVEN)
        return;
    if (out->shown == MAX_LINES) {
        out->left_out++;
        return;
    }
    out->shown++;
    fprintf(out->held, "%s: 0x%" PRIx64 " - 0x%" PRIx64 " (%s)", names[r->certainty], r->start, r->start + r->length,
            size_text(r->length).text);
    if (r->certainty == QCBM_RESCUE_LIKELY)
        fprintf(out->held, ", score %u", r->score);
    fprintf(out->held, ", %s: %s [%s]\n", r->mapped ? "mapped" : "not mapped", r->reason, r->code);
}

int rescue_out_range(void *opaque, const struct qcbm_rescue_range *r)
{
    struct rescue_out *out = opaque;

    if (out->report)
        range_json(&out->to_report, r);
    if (out->json)
        range_json(&out->to_held, r);
    else if (!out->quiet)
        range_text(out, r);
    return 0;
}

static void left_json(struct json_writer *w, const struct qcbm_rescue_left *left)
{
    json_begin_object(w, NULL);
    json_u64(w, "offset", left->offset);
    json_u64(w, "length", left->length);
    json_string(w, "what", left->table ? "table" : "clusters");
    if (left->table) {
        json_u64(w, "entries", left->entries);
        json_u64(w, "first", left->first);
        json_u64(w, "end", left->end);
    }
    json_end_object(w);
}

static void left_text(struct rescue_out *out, const struct qcbm_rescue_left *left)
{
    if (out->shown_left == MAX_LEFT_LINES) {
        out->left_out_left++;
        return;
    }
    out->shown_left++;
    if (left->table)
        fprintf(out->held,
                "left: L2 table at 0x%" PRIx64 " of the file: maps %" PRIu32 " clusters, from 0x%" PRIx64
                " to 0x%" PRIx64 " of its place [table]\n",
                left->offset, left->entries, left->first, left->end);
    else
        fprintf(out->held,
                "left: 0x%" PRIx64 " - 0x%" PRIx64
                " of the file (%s): in use, and no table that has a place names it [clusters]\n",
                left->offset, left->offset + left->length, size_text(left->length).text);
}

static void begin_left(struct rescue_out *out)
{
    struct json_writer *const to[] = { out->report ? &out->to_report : NULL, out->json ? &out->to_held : NULL };

    for (size_t i = 0; i < 2 && !out->in_left; i++)
        if (to[i]) {
            json_end_array(to[i]);
            json_begin_array(to[i], "left");
        }
    out->in_left = true;
}

int rescue_out_left(void *opaque, const struct qcbm_rescue_left *left)
{
    struct rescue_out *out = opaque;

    begin_left(out);
    if (out->report)
        left_json(&out->to_report, left);
    if (out->json)
        left_json(&out->to_held, left);
    else if (!out->quiet)
        left_text(out, left);
    return 0;
}

static void totals_json(struct json_writer *w, const struct qcbm_rescue_result *r)
{
    json_end_array(w);
    json_u64(w, "virtual-size", r->virtual_size);
    json_u64(w, "cluster-size", r->cluster_size);
    json_bool(w, "header-found-again", r->header_lost);
    json_bool(w, "size-proven", r->size_proven);
    json_bool(w, "refcounts-relied-on", r->refcounts);
    json_bool(w, "backing-unknown", r->backing_unknown);
    json_u64(w, "proven", r->proven);
    json_u64(w, "likely", r->likely);
    json_u64(w, "unknown", r->unknown);
    json_u64(w, "tables-placed", r->tables_placed);
    json_u64(w, "tables-rebuilt", r->tables_rebuilt);
    json_u64(w, "tables-lost", r->tables_lost);
    json_u64(w, "tables-unplaced", r->tables_unplaced);
    json_u64(w, "table-places", r->table_places);
    json_u64(w, "table-span", r->table_span);
    json_u64(w, "clusters-left", r->clusters_left);
    json_u64(w, "snapshots-not-carried", r->snapshots);
    json_u64(w, "bitmaps-kept", r->bitmaps_kept);
    json_u64(w, "bitmaps-lost", r->bitmaps_lost);
    json_u64(w, "bytes-copied", r->bytes_copied);
    json_u64(w, "file-size", r->file_size);
    json_end_object(w);
    json_finish(w);
}

static void tables_text(FILE *f, const struct qcbm_rescue_result *r)
{
    if (r->tables_placed || r->tables_rebuilt || r->tables_lost)
        fprintf(f,
                "L2 tables: %" PRIu64 " put into their places, %" PRIu64
                " put together again, at least in part, %" PRIu64 " lost\n",
                r->tables_placed, r->tables_rebuilt, r->tables_lost);
    if (r->tables_unplaced)
        fprintf(f,
                "%" PRIu64 " L2 tables have no place, and %" PRIu64
                " places of %s each have no table; to put one where it "
                "belongs: 'qcbm edit' of 'l1 INDEX', INDEX counts these\n",
                r->tables_unplaced, r->table_places, size_text(r->table_span).text);
    if (r->clusters_left)
        fprintf(f, "%" PRIu64 " clusters are in use, and nothing says by whom\n", r->clusters_left);
}

static void totals_text(const struct rescue_out *out, const struct qcbm_rescue_result *r)
{
    FILE *f = out->held;

    if (out->left_out)
        fprintf(f, "... and %" PRIu64 " more ranges: --report=FILE has all\n", out->left_out);
    if (out->left_out_left)
        fprintf(f, "... and %" PRIu64 " more of what is left: --report=FILE has all\n", out->left_out_left);
    if (r->header_lost)
        fprintf(f, "the header was lost: clusters of %" PRIu32 " bytes, a disk of %s%s\n", r->cluster_size,
                size_text(r->virtual_size).text,
                r->size_proven ? "" : " at least: its size is not known, --size sets it");
    tables_text(f, r);
    if (!r->refcounts)
        fprintf(f, "the refcounts could not be relied on\n");
    if (r->snapshots)
        fprintf(f, "%" PRIu32 " internal snapshots are not in the new image\n", r->snapshots);
    if (r->bitmaps_kept || r->bitmaps_lost)
        fprintf(f, "%" PRIu32 " bitmaps kept%s, %" PRIu32 " lost\n", r->bitmaps_kept,
                r->likely || r->unknown ? ", in which all that is not proven is dirty" : "", r->bitmaps_lost);
    fprintf(f, "rescue: of %s", size_text(r->virtual_size).text);
    fprintf(f, " %s are proven,", size_text(r->proven).text);
    fprintf(f, " %s likely,", size_text(r->likely).text);
    fprintf(f, " %s unknown", size_text(r->unknown).text);
    if (out->new_path)
        fprintf(f, "; %s copied\n", size_text(r->bytes_copied).text);
    else
        fprintf(f, "; nothing was written\n");
}

static void copy_held(FILE *held)
{
    char bytes[4096];
    size_t n;

    rewind(held);
    while ((n = fread(bytes, 1, sizeof bytes, held)) > 0)
        fwrite(bytes, 1, n, stdout);
}

void rescue_out_end(struct rescue_out *out, const struct qcbm_rescue_result *result)
{
    begin_left(out);
    if (out->report)
        totals_json(&out->to_report, result);
    if (out->json)
        totals_json(&out->to_held, result);
    else if (!out->quiet)
        totals_text(out, result);
    copy_held(out->held);
}

void rescue_out_free(struct rescue_out *out)
{
    if (out->held)
        fclose(out->held);
    out->held = NULL;
}
