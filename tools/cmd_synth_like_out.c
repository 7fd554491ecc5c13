/* cmd_synth_like_out.c - what qcbm synth --like answers, and what libvirt may still miss
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "cmd_synth_like.h"
#include "colour.h"
#include "qemu_text.h"

static size_t count(const struct synth_like *like, bool made)
{
    size_t n = 0;

    for (size_t i = 0; i < like->n; i++)
        n += (like->items[i].outcome == MADE || like->items[i].outcome == REPLACED) == made;
    return n;
}

size_t synth_like_made(const struct synth_like *like)
{
    return count(like, true);
}

static bool all_skipped(const struct synth_like *like)
{
    for (size_t i = 0; i < like->n; i++)
        if (like->items[i].outcome != SKIPPED)
            return false;
    return true;
}

/* Calls @tell for each line about what libvirt may still miss. */
static void each_note(const struct synth_job *job, const struct synth_like *like,
                      void (*tell)(void *opaque, const char *note), void *opaque)
{
    char text[1024];

    if (like->n == 0 || all_skipped(like)) {
        snprintf(text, sizeof text, "'%.300s' has no bitmap that %s", job->args->like,
                 like->n == 0 ? "could be continued: was it copied without its bitmaps?" : "records and is consistent");
        tell(opaque, text);
    }
    if (like->other_size)
        tell(opaque, "the virtual sizes of BASE and OVERLAY differ: libvirt merges the bitmaps of equal sizes only");
    for (uint32_t i = 0; i < like->n_layers; i++) {
        if (like->layers[i].lacks == 0)
            continue;
        snprintf(text, sizeof text,
                 "'%.300s', which lies between, lacks %" PRIu32 " of these bitmaps, and libvirt wants them in every "
                 "layer: qcbm synth --like '%.300s' '%.300s'",
                 like->layers[i].filename, like->layers[i].lacks, job->args->like, like->layers[i].filename);
        tell(opaque, text);
    }
    for (size_t i = 0; i < like->n; i++) {
        if (!like->items[i].hint)
            continue;
        snprintf(text, sizeof text,
                 "libvirt does not accept '%.300s' in OVERLAY as it is: --replace puts a good one in its place",
                 like->items[i].name);
        tell(opaque, text);
        return; /* it is the same for all of them */
    }
}

static void print_note(void *opaque, const char *note)
{
    (void)opaque;
    colour_word(stdout, TONE_NOTE, "note:");
    putchar(' ');
    print_escaped(stdout, note, strlen(note));
    putchar('\n');
}

static void print_item(const struct synth_job *job, const struct synth_item *item)
{
    if (!item->why) {
        synth_print_figures(item->name, &item->figures);
        printf("%s\n", item->outcome == REPLACED ? "; replaced" : "");
        return;
    }
    print_escaped(stdout, item->name, strlen(item->name));
    printf(": %s, %s in '", item->outcome == KEPT ? "left alone" : "not continued", item->why);
    print_escaped(stdout, item->outcome == KEPT ? job->args->common.path : job->args->like,
                  strlen(item->outcome == KEPT ? job->args->common.path : job->args->like));
    printf("'\n");
}

void synth_like_print(const struct synth_job *job, const struct synth_like *like, const char *claimed)
{
    for (size_t i = 0; i < like->n; i++)
        print_item(job, &like->items[i]);
    printf("bitmaps %s: %zu, left out: %zu; %.3f s; ", job->args->common.dry_run ? "to be made" : "made",
           count(like, true), count(like, false), job->seconds);
    print_escaped(stdout, claimed, strlen(claimed));
    putchar('\n');
    each_note(job, like, print_note, NULL);
    synth_print_rest(job);
}

static void write_item(const struct synth_item *item, struct json_writer *w)
{
    static const char *const outcomes[] = { "made", "replaced", "kept", "skipped" };

    json_begin_object(w, NULL);
    json_string(w, "bitmap", item->name);
    json_string(w, "outcome", outcomes[item->outcome]);
    if (item->why)
        json_string(w, "reason", item->why);
    else
        synth_write_figures(&item->figures, w);
    json_end_object(w);
}

static void write_note(void *opaque, const char *note)
{
    json_string(opaque, NULL, note);
}

void synth_like_write(const struct synth_job *job, const struct synth_like *like, struct json_writer *w)
{
    json_string(w, "like", job->args->like);
    json_begin_array(w, "bitmaps");
    for (size_t i = 0; i < like->n; i++)
        write_item(&like->items[i], w);
    json_end_array(w);
    synth_write_rest(job, w);
    each_note(job, like, write_note, w);
    json_end_array(w);
}
