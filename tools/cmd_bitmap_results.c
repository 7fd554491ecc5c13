/* cmd_bitmap_results.c - what is told of the operations of qcbm bitmap that are done
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cmd_bitmap_edit.h"
#include "qemu_text.h"

static void print_name(const char *name)
{
    putchar('\'');
    print_escaped(stdout, name, strlen(name));
    putchar('\'');
}

static void print_result(const struct bitmap_result *r)
{
    enum bitmap_told told = bitmap_verb_of(r->action)->told;

    printf("%s: ", r->action->opt->name);
    print_name(r->name);
    if (r->has_figures)
        printf(" has %s dirty, granularity %s", size_text(r->figures.dirty_bytes).text,
               size_text(r->figures.granularity).text);
    if (told == BITMAP_TOLD_RENAMED || told == BITMAP_TOLD_ROTATED) {
        printf(told == BITMAP_TOLD_ROTATED ? "; it is frozen now, and " : " is now ");
        print_name(r->action->value);
        printf(told == BITMAP_TOLD_ROTATED ? " records" : "");
    }
    if (r->has_fingerprint && r->fingerprint != QCBM_FINGERPRINT_EQUAL)
        printf("; %s", r->fingerprint == QCBM_FINGERPRINT_DIFFERENT ? "the disk begins differently, as forced"
                                                                    : "whether it is the same disk could not be told");
    if (r->has_check)
        printf("; the disk is what the manifest has in %s that were compared, %s of them a sample of what is clean",
               size_text(r->checked.compared_bytes).text, size_text(r->checked.drawn_bytes).text);
    if (r->bit_order)
        printf("; %s", bitmap_bit_order_text(r->bit_order));
    putchar('\n');
}

void bitmap_results_print(const struct bitmap_job *job)
{
    for (size_t i = 0; i < job->n_results; i++)
        print_result(&job->results[i]);
}

static void write_result(const struct bitmap_result *r, struct json_writer *w)
{
    static const char *const fingerprints[] = { "unknown", "equal", "different" };

    json_begin_object(w, NULL);
    json_string(w, "operation", r->action->opt->name);
    json_string(w, "value", r->action->value);
    json_string(w, "bitmap", r->name);
    if (r->has_figures) {
        json_u64(w, "granularity", r->figures.granularity);
        json_bool(w, "enabled", r->figures.enabled);
        json_u64(w, "granules", r->figures.granules);
        json_u64(w, "dirty-granules", r->figures.dirty_granules);
        json_u64(w, "dirty-bytes", r->figures.dirty_bytes);
    }
    if (r->has_fingerprint)
        json_string(w, "fingerprint", fingerprints[r->fingerprint]);
    if (r->has_check) {
        json_u64(w, "compared-bytes", r->checked.compared_bytes);
        json_u64(w, "drawn-bytes", r->checked.drawn_bytes);
    }
    if (r->bit_order)
        json_string(w, "bit-order", r->bit_order);
    json_end_object(w);
}

void bitmap_results_json(const struct bitmap_job *job, struct json_writer *w)
{
    json_begin_array(w, "results");
    for (size_t i = 0; i < job->n_results; i++)
        write_result(&job->results[i], w);
    json_end_array(w);
}

void bitmap_results_free(struct bitmap_job *job)
{
    for (size_t i = 0; i < job->n_results; i++)
        free(job->results[i].name);
    free(job->results);
    job->results = NULL;
    job->n_results = 0;
}
