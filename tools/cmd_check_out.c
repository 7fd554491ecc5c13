/* cmd_check_out.c - what qcbm check tells at the end: qemu-img's totals, and as JSON all that was found
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd_check.h"
#include "json_write.h"
#include "qemu_text.h"
#include "uri.h"

static const char *severity_name(enum qcbm_check_severity s)
{
    static const char *const names[] = { "warning", "leak", "corruption", "damage", "fault" };

    return names[s];
}

static const char *repair_name(enum qcbm_repair_level r)
{
    static const char *const names[] = { "none", "leaks", "all", "bitmaps" };

    return names[r];
}

/* The words of qemu-img, as far as they are known to be true. */
static const char *what_of_leaks(const struct qcbm_check_result *r)
{
    if (r->keep_leaks)
        return "They may be data that something damaged pointed to: do not free them.";
    if (r->unproven_leaks)
        return "This means waste of disk space, but no harm to data, unless a mapping table was lost.";
    return "This means waste of disk space, but no harm to data.";
}

void check_print_text(const struct qcbm_check_result *r)
{
    if (r->corruptions + r->leaks + r->check_errors == 0)
        printf("No errors were found on the image.\n");
    if (r->corruptions)
        printf("\n%" PRIu64 " errors were found on the image.\n"
               "Data may be corrupted, or further writes to the image may corrupt it.\n",
               r->corruptions);
    if (r->leaks)
        printf("\n%" PRIu64 " leaked clusters were found on the image.\n%s\n", r->leaks, what_of_leaks(r));
    if (r->check_errors)
        printf("\n%" PRIu64 " internal errors have occurred during the check.\n", r->check_errors);
    if (r->total_clusters && r->allocated_clusters)
        printf("%" PRIu64 "/%" PRIu64 " = %0.2f%% allocated, %0.2f%% fragmented, %0.2f%% compressed clusters\n",
               r->allocated_clusters, r->total_clusters,
               (double)r->allocated_clusters * 100.0 / (double)r->total_clusters,
               (double)r->fragmented_clusters * 100.0 / (double)r->allocated_clusters,
               (double)r->compressed_clusters * 100.0 / (double)r->allocated_clusters);
    if (r->image_end_offset)
        printf("Image end offset: %" PRIu64 "\n", r->image_end_offset);
}

static void json_unless_zero(struct json_writer *w, const char *key, uint64_t value)
{
    if (value)
        json_u64(w, key, value);
}

static void write_findings(struct json_writer *w, const struct check_report *r)
{
    json_begin_array(w, "findings");
    for (size_t i = 0; i < r->n_listed; i++) {
        const struct qcbm_check_finding *f = &r->listed[i].f;

        json_begin_object(w, NULL);
        json_string(w, "code", f->problem->code);
        json_string(w, "severity", severity_name(f->problem->severity));
        if (f->offset != QCBM_NO_OFFSET)
            json_u64(w, "offset", f->offset);
        if (f->table)
            json_string(w, "table", f->table);
        if (f->index != UINT64_MAX)
            json_u64(w, "index", f->index);
        if (f->bitmap != UINT32_MAX)
            json_u64(w, "bitmap", f->bitmap);
        json_string(w, "message", r->listed[i].message);
        json_end_object(w);
    }
    json_end_array(w);
    json_unless_zero(w, "findings-left-out", r->left_out);
}

/* With the name of the image where the cure has FILE as a word of its own. */
static void put_cure(FILE *out, const char *cure, const char *path)
{
    const char *at = cure, *found;

    while ((found = strstr(at, "FILE")) != NULL) {
        bool word = (found == cure || found[-1] == ' ') && strchr(" '", found[4]);

        fwrite(at, 1, (size_t)(found - at) + (word ? 0 : 4), out);
        if (word && uri_is_server(path))
            fputs("COPY", out); /* nothing behind a server is written to */
        else if (word)
            print_shell_name(out, path);
        at = found + 4;
    }
    fputs(at, out);
}

void check_print_copying(FILE *out, const char *path)
{
    if (!uri_is_server(path))
        return;
    fputs("'nbdcopy ", out);
    print_shell_name(out, path);
    fputs(" COPY' makes a copy here, for what is behind a server is not written to; ", out);
}

static void write_cure(struct json_writer *w, const char *cure, const char *path)
{
    char *text = NULL;
    size_t len;
    FILE *out = open_memstream(&text, &len);

    if (out)
        put_cure(out, cure, path);
    json_string(w, "cure", out && fclose(out) == 0 ? text : cure);
    free(text);
}

void check_hint(const char *text, const char *path)
{
    char *named = NULL;
    size_t len;
    FILE *out = open_memstream(&named, &len);

    if (out) {
        check_print_copying(out, path);
        put_cure(out, text, path);
    }
    cmd_hint("%s", out && fclose(out) == 0 ? named : text);
    free(named);
}

static const char *cause_name(enum qcbm_check_cause cause)
{
    static const char *const names[] = { "unknown", "zeroed", "overwritten", "cut" };

    return names[cause];
}

static void write_summary(struct json_writer *w, const struct check_report *r)
{
    json_begin_array(w, "summary");
    for (size_t i = 0; i < r->n_sums; i++) {
        const struct qcbm_check_summary *s = &r->sums[i];

        json_begin_object(w, NULL);
        json_string(w, "code", s->problem->code);
        json_u64(w, "count", s->count);
        if (s->table) {
            json_string(w, "table", s->table);
            json_u64(w, "offset", s->offset);
        }
        if (s->guest_length) {
            json_u64(w, "guest-offset", s->guest_offset);
            json_u64(w, "guest-length", s->guest_length);
        }
        if (s->guest_length && s->snapshot != UINT32_MAX)
            json_u64(w, "snapshot", s->snapshot);
        if (s->file_length) {
            json_u64(w, "file-offset", s->file_offset);
            json_u64(w, "file-length", s->file_length);
        }
        json_string(w, "cause", cause_name(s->cause));
        json_end_object(w);
    }
    json_end_array(w);
}

static void write_problems(struct json_writer *w, const struct check_report *r)
{
    json_begin_array(w, "problems");
    for (size_t i = 0; i < r->n_kinds; i++) {
        const struct qcbm_problem *p = r->kinds[i].problem;

        json_begin_object(w, NULL);
        json_string(w, "code", p->code);
        json_string(w, "severity", severity_name(p->severity));
        json_u64(w, "count", r->kinds[i].count);
        json_string(w, "consequence", p->consequence);
        write_cure(w, r->kinds[i].cure, r->path);
        json_string(w, "repair", repair_name(r->kinds[i].repair)); /* of qemu-img, where that loses nothing */
        json_string(w, "repair-level", repair_name(p->mends));     /* of qcbm */
        json_end_object(w);
    }
    json_end_array(w);
}

static void json_unless_null(struct json_writer *w, const char *key, const char *value)
{
    if (value)
        json_string(w, key, value);
}

static void write_repairs(struct json_writer *w, const struct check_repairs *repairs)
{
    json_unless_zero(w, "corruptions-fixed", repairs->result.corruptions_fixed);
    json_unless_zero(w, "leaks-fixed", repairs->result.leaks_fixed);
    json_bool(w, "dry-run", repairs->dry_run);
    json_begin_array(w, "repairs");
    for (size_t i = 0; i < repairs->n_rows; i++) {
        const struct check_repair *r = &repairs->rows[i];

        json_begin_object(w, NULL);
        json_string(w, "code", r->code);
        if (r->row.offset != QCBM_NO_OFFSET)
            json_u64(w, "offset", r->row.offset);
        if (r->row.guest_length) {
            json_u64(w, "guest-offset", r->row.guest_offset);
            json_u64(w, "guest-length", r->row.guest_length);
        }
        json_unless_null(w, "bitmap", r->bitmap);
        json_unless_null(w, "done", r->done);
        json_unless_null(w, "kept", r->kept);
        json_unless_null(w, "lost", r->lost);
        json_end_object(w);
    }
    json_end_array(w);
    if (repairs->dry_run)
        plan_write_steps(&repairs->plan, w);
}

/* Repairs of bitmaps, which qemu-img does not know. */
static size_t count_bitmaps(const struct check_repairs *repairs)
{
    size_t n = 0;

    for (size_t i = 0; i < repairs->n_rows; i++)
        n += strncmp(repairs->rows[i].code, "bitmap", strlen("bitmap")) == 0;
    return n;
}

/* qemu-img's words where it counts, and where there is more or less to say, others. */
void check_print_repairs(const struct check_repairs *repairs)
{
    const struct qcbm_repair_result *r = &repairs->result;
    size_t bitmaps = count_bitmaps(repairs);

    if (r->writes == 0)
        return;
    plan_print_steps(&repairs->plan, stdout);
    printf("The following inconsistencies were found and %s:\n", repairs->dry_run ? "would be repaired" : "repaired");
    printf("\n    %" PRIu64 " leaked clusters\n    %" PRIu64 " corruptions\n", r->leaks_fixed, r->corruptions_fixed);
    if (bitmaps)
        printf("    %s\n", count_text(bitmaps, "bitmap").text);
    printf("\n");
    printf("%s\n", repairs->dry_run ? "The image would then be so:" : "Double checking the fixed image now...");
}

void check_print_json(const struct check_report *r)
{
    const struct qcbm_check_result *t = &r->result;
    struct json_writer w = JSON_WRITER_INIT(stdout);

    json_begin_object(&w, NULL);
    json_unless_zero(&w, "image-end-offset", t->image_end_offset);
    json_unless_zero(&w, "total-clusters", t->total_clusters);
    json_unless_zero(&w, "corruptions", t->corruptions);
    json_u64(&w, "check-errors", t->check_errors);
    json_unless_zero(&w, "fragmented-clusters", t->fragmented_clusters);
    json_unless_zero(&w, "leaks", t->leaks);
    json_string(&w, "filename", r->path);
    json_unless_zero(&w, "allocated-clusters", t->allocated_clusters);
    json_unless_zero(&w, "compressed-clusters", t->compressed_clusters);
    json_string(&w, "format", "qcow2");
    if (r->repaired)
        write_repairs(&w, r->repaired);
    json_unless_zero(&w, "damages", t->damages);
    json_unless_zero(&w, "warnings", t->warnings);
    if (qcbm_apply_check_finished(r->path, NULL) == QCBM_E_UNSAFE)
        json_bool(&w, "delta-applied-in-part", true);
    json_unless_zero(&w, "passes", t->passes > 1 ? t->passes : 0);
    if (r->n_listed) {
        write_findings(&w, r);
        if (r->n_sums)
            write_summary(&w, r);
        write_problems(&w, r);
    }
    json_end_object(&w);
    json_finish(&w);
}

/* What an apply that goes on would cure by itself: leaks, as a rule. */
static void explain_half(const struct check_report *r, const char *path)
{
    bool damaged = r->result.corruptions || r->result.check_errors;

    if (qcbm_apply_check_finished(path, NULL) != QCBM_E_UNSAFE)
        return;
    fputs("qcbm: delta-applied-in-part\n    consequence: the disk has neither its old state nor its new one, and a "
          "repair "
          "refuses it\n    cure: ",
          stderr);
    if (damaged)
        fprintf(stderr,
                "delete the .qcbm-apply file beside it, repair it with 'qcbm check -r all', and apply the same delta "
                "again with --force-parent\n");
    else
        fprintf(stderr, "run the same 'qcbm apply --in-place' again, which goes on with it and frees what it leaked\n");
}

/* On stderr: stdout is that of qemu-img. */
void check_explain(const struct check_report *r, const char *path)
{
    explain_half(r, path);
    if (r->n_kinds && uri_is_server(path)) {
        fputs("qcbm: ", stderr);
        check_print_copying(stderr, path);
        fputs("cures are for that\n", stderr);
    }
    for (size_t i = 0; i < r->n_kinds; i++) {
        const struct qcbm_problem *p = r->kinds[i].problem;

        fprintf(stderr, "qcbm: %s, ", p->code);
        if (r->kinds[i].count == 1)
            fputs("once", stderr);
        else
            fprintf(stderr, "%" PRIu64 " times", r->kinds[i].count);
        fprintf(stderr, " (%s)\n    consequence: %s\n    cure: ", severity_name(p->severity), p->consequence);
        put_cure(stderr, r->kinds[i].cure, path);
        fputc('\n', stderr);
    }
}
