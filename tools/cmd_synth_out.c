/* cmd_synth_out.c - what qcbm synth answers, as text and JSON
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd_synth.h"
#include "colour.h"
#include "qemu_text.h"

/* "snapshot 1 'name'" from malloc(), or NULL. */
static char *snapshot_text(const char *id, const char *name)
{
    char *text = NULL;

    return asprintf(&text, "snapshot %s '%s'", id, name) < 0 ? NULL : text;
}

/* Of two states of one image. */
static char *claim_of_snapshots(const struct qcbm_synth_summary *s, const char *old)
{
    char *from = snapshot_text(s->since_snapshot_id, s->since_snapshot_name);
    char *to = s->snapshot_id ? snapshot_text(s->snapshot_id, s->snapshot_name) : strdup("now"), *text = NULL;

    if (!from || !to || asprintf(&text, "differs between %s and %s%s", from, to, old) < 0)
        text = NULL;
    free(from);
    free(to);
    return text;
}

/* What OVERLAY is said to differ from; never more than can be known. */
static const char *reference(const struct synth_job *job)
{
    struct qcbm_image_info image;

    qcbm_image_get_info(job->overlay, &image, sizeof image);
    if (job->since)
        return job->since;
    if (!image.backing_file)
        return "an empty disk (there is no backing file)";
    return job->into ? "the current backing file of the overlay" : "the current backing file";
}

static char *claim_of_allocation(const struct synth_job *job, const char *old)
{
    char *text = NULL;
    int ret;

    if (job->args->against)
        ret = asprintf(&text, "differs from manifest %s%s", job->args->against, old);
    else if (job->summary.says_nothing)
        ret = asprintf(&text, "may differ from %s anywhere", reference(job));
    else
        ret = asprintf(&text, "differs from %s%s", reference(job), old);
    return ret < 0 ? NULL : text;
}

char *synth_claim(const struct synth_job *job)
{
    const char *old = job->merged || job->summary.kept_bits ? ", or was dirty in the bitmap before" : "";
    char *named = NULL, *text = NULL;

    if (asprintf(&named, "%s%s%s", job->args->refine_against ? ", and from " : "",
                 job->args->refine_against ? job->args->refine_against : "", old) < 0)
        return NULL;
    text = job->summary.since_snapshot_id ? claim_of_snapshots(&job->summary, named) : claim_of_allocation(job, named);
    free(named);
    return text;
}

void synth_print_figures(const char *name, const struct qcbm_synth_summary *s)
{
    double percent = s->virtual_size ? 100.0 * (double)s->dirty_bytes / (double)s->virtual_size : 0;

    print_escaped(stdout, name, strlen(name));
    printf(": %s dirty (%.2f %% of %s), ", size_text(s->dirty_bytes).text, percent, size_text(s->virtual_size).text);
    printf("%" PRIu64 " of %" PRIu64 " granules of %s", s->dirty_granules, s->granules, size_text(s->granularity).text);
}

/* Of a dry run a new one is not known. */
static const char *tag_of(const struct synth_job *job)
{
    struct qcbm_image_info info;

    qcbm_image_get_info(job->overlay, &info, sizeof info);
    return info.tag;
}

void synth_print_tag(const struct synth_job *job)
{
    const char *tag = tag_of(job);

    if (job->args->tag)
        printf("tag: %s%s\n", tag ? tag : "a new one", tag && job->tagged ? ", new" : "");
}

void synth_write_tag(const struct synth_job *job, struct json_writer *w)
{
    const char *tag = tag_of(job);

    if (!job->args->tag)
        return;
    if (tag)
        json_string(w, "tag", tag);
    else
        json_null(w, "tag");
    json_bool(w, "tagged", job->tagged && !job->args->common.dry_run);
}

void synth_print_rest(const struct synth_job *job)
{
    for (uint32_t i = 0; i < job->summary.notes; i++) {
        const char *note = qcbm_synth_result_note(job->result, i);

        colour_word(stdout, TONE_NOTE, "note:");
        putchar(' ');
        print_escaped(stdout, note, strlen(note));
        putchar('\n');
    }
    if (job->args->common.dry_run && job->plan.made)
        plan_print(&job->plan, stdout);
}

static void print_refined(const struct synth_job *job)
{
    const struct qcbm_synth_summary *s = &job->summary;

    if (synth_refine_mode(job->args) == QCBM_REFINE_NONE)
        return;
    printf("left out: %s of zeros on both sides, ", size_text(s->refined_zero_bytes).text);
    printf("%s of equal content\n", size_text(s->refined_equal_bytes).text);
}

void synth_one_print(const struct synth_job *job, const char *claimed)
{
    synth_print_figures(job->args->name, &job->summary);
    printf(", %.3f s; ", job->seconds);
    print_escaped(stdout, claimed, strlen(claimed));
    putchar('\n');
    if (job->args->against) {
        printf("compared: %s, of which ", size_text(job->summary.compared_bytes).text);
        printf("%s are equal\n", size_text(job->summary.equal_bytes).text);
    }
    print_refined(job);
    synth_print_tag(job);
    synth_print_rest(job);
}

static void write_layers(const struct synth_job *job, struct json_writer *w)
{
    struct qcbm_synth_layer layer;

    json_begin_array(w, "layers");
    for (uint32_t i = 0; i < job->summary.layers; i++) {
        qcbm_synth_result_layer(job->result, i, &layer, sizeof layer);
        json_begin_object(w, NULL);
        json_string(w, "filename",
                    *layer.filename ? layer.filename : job->args->common.path); /* behind a server: none */
        json_string(w, "format", layer.format);
        json_u64(w, "virtual-size", layer.virtual_size);
        json_u64(w, "cluster-size", layer.cluster_size);
        json_u64(w, "allocated-bytes", layer.allocated_bytes);
        json_end_object(w);
    }
    json_end_array(w);
}

void synth_write_figures(const struct qcbm_synth_summary *s, struct json_writer *w)
{
    json_u64(w, "granularity", s->granularity);
    json_u64(w, "virtual-size", s->virtual_size);
    json_u64(w, "granules", s->granules);
    json_u64(w, "dirty-granules", s->dirty_granules);
    json_u64(w, "dirty-bytes", s->dirty_bytes);
}

void synth_write_rest(const struct synth_job *job, struct json_writer *w)
{
    json_u64(w, "damaged-entries", job->summary.damaged_entries);
    write_layers(job, w);
    plan_write_json(&job->plan, job->args->common.dry_run, w);
    json_begin_array(w, "notes");
    for (uint32_t i = 0; i < job->summary.notes; i++)
        json_string(w, NULL, qcbm_synth_result_note(job->result, i));
}

static void write_snapshot(struct json_writer *w, const char *key, const char *id, const char *name)
{
    if (!id)
        return;
    json_begin_object(w, key);
    json_string(w, "id", id);
    json_string(w, "name", name);
    json_end_object(w);
}

static void write_refined(const struct synth_job *job, struct json_writer *w)
{
    const struct qcbm_synth_summary *s = &job->summary;
    int mode = synth_refine_mode(job->args);

    if (mode == QCBM_REFINE_NONE)
        return;
    json_begin_object(w, "refine");
    json_string(w, "mode", mode == QCBM_REFINE_ZERO ? "zero" : "content");
    if (job->args->refine_against)
        json_string(w, "against", job->args->refine_against);
    else
        json_null(w, "against");
    json_u64(w, "zero-bytes", s->refined_zero_bytes);
    json_u64(w, "equal-bytes", s->refined_equal_bytes);
    json_u64(w, "unreadable-bytes", s->unreadable_bytes);
    json_end_object(w);
}

static void write_against(const struct synth_job *job, struct json_writer *w)
{
    const struct qcbm_synth_summary *s = &job->summary;

    if (!job->args->against)
        return;
    json_begin_object(w, "against");
    json_string(w, "manifest", job->args->against);
    if (job->args->within)
        json_string(w, "within", job->args->within);
    else
        json_null(w, "within");
    json_u64(w, "compared-bytes", s->compared_bytes);
    json_u64(w, "equal-bytes", s->equal_bytes);
    json_u64(w, "unreadable-bytes", s->unreadable_bytes);
    json_end_object(w);
}

void synth_one_write(const struct synth_job *job, struct json_writer *w)
{
    const struct qcbm_synth_summary *s = &job->summary;

    json_string(w, "bitmap", job->args->name);
    write_snapshot(w, "since-snapshot", s->since_snapshot_id, s->since_snapshot_name);
    write_snapshot(w, "snapshot", s->snapshot_id, s->snapshot_name);
    synth_write_figures(&job->summary, w);
    write_against(job, w);
    write_refined(job, w);
    synth_write_rest(job, w);
    json_end_array(w);
}
