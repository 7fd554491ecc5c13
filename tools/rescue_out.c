/* rescue_out.c - what a rescue found: text for people, JSON for programs, in a file of its own as well
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>

#include "qemu_text.h"
#include "rescue_out.h"

enum { MAX_LINES = 100 };

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

static void totals_json(struct json_writer *w, const struct qcbm_rescue_result *r)
{
    json_end_array(w);
    json_u64(w, "virtual-size", r->virtual_size);
    json_u64(w, "cluster-size", r->cluster_size);
    json_bool(w, "header-found-again", r->header_found);
    json_bool(w, "size-proven", r->size_proven);
    json_bool(w, "refcounts-relied-on", r->refcounts);
    json_bool(w, "backing-unknown", r->backing_unknown);
    json_u64(w, "proven", r->proven);
    json_u64(w, "likely", r->likely);
    json_u64(w, "unknown", r->unknown);
    json_u64(w, "tables-placed", r->tables_placed);
    json_u64(w, "tables-rebuilt", r->tables_rebuilt);
    json_u64(w, "tables-unplaced", r->tables_unplaced);
    json_u64(w, "clusters-left", r->clusters_left);
    json_u64(w, "snapshots-not-carried", r->snapshots);
    json_u64(w, "bitmaps-kept", r->bitmaps_kept);
    json_u64(w, "bitmaps-lost", r->bitmaps_lost);
    json_u64(w, "bytes-copied", r->bytes_copied);
    json_u64(w, "file-size", r->file_size);
    json_end_object(w);
    json_finish(w);
}

static void totals_text(const struct rescue_out *out, const struct qcbm_rescue_result *r)
{
    FILE *f = out->held;

    if (out->left_out)
        fprintf(f, "... and %" PRIu64 " more ranges: --report=FILE has all\n", out->left_out);
    if (r->header_found)
        fprintf(f, "the header was lost: clusters of %" PRIu32 " bytes, a disk of %s%s\n", r->cluster_size,
                size_text(r->virtual_size).text,
                r->size_proven ? "" : " at least: its size is not known, --size sets it");
    if (r->backing_unknown)
        fprintf(f, "if there was a backing file, its name is lost: 'qemu-img rebase -u' puts it in\n");
    if (r->tables_placed || r->tables_rebuilt)
        fprintf(f, "%" PRIu64 " L2 tables were put into their places, %" PRIu64 " were put together again\n",
                r->tables_placed, r->tables_rebuilt);
    if (r->tables_unplaced || r->clusters_left)
        fprintf(f, "%" PRIu64 " L2 tables have no place; %" PRIu64 " clusters are in use, and nothing says by whom\n",
                r->tables_unplaced, r->clusters_left);
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
