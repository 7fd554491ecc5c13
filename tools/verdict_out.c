/* verdict_out.c - qcbm check --untrusted: the verdict and its reasons, as text and JSON
 * SPDX-License-Identifier: MIT
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "colour.h"
#include "json_write.h"
#include "progress.h"
#include "qemu_text.h"
#include "verdict_out.h"

struct reason {
    struct qcbm_verdict_reason r;
    char *code, *message;
};

/* They come before the verdict that is printed first. */
struct reasons {
    struct reason *list;
    size_t n;
    struct progress progress;
};

static int keep(void *opaque, const struct qcbm_verdict_reason *r)
{
    struct reasons *all = opaque;
    struct reason *list = realloc(all->list, (all->n + 1) * sizeof *list);

    if (!list)
        return 1;
    all->list = list;
    list[all->n] = (struct reason){ *r, strdup(r->code), strdup(r->message) };
    return !list[all->n].code || !list[all->n++].message;
}

static void forget(struct reasons *all)
{
    for (size_t i = 0; i < all->n; i++) {
        free(all->list[i].code);
        free(all->list[i].message);
    }
    free(all->list);
}

static const char *word(const struct qcbm_verdict *verdict)
{
    return verdict->harmless ? "harmless" : "not-harmless";
}

static void print_text(const char *path, const struct qcbm_verdict *verdict, const struct reasons *all)
{
    print_escaped(stdout, path, strlen(path));
    printf(": %s\n", word(verdict));
    for (size_t i = 0; i < all->n; i++) {
        const struct qcbm_verdict_reason *r = &all->list[i].r;

        colour_word(stdout, r->refuse ? TONE_ERROR : TONE_NOTE, r->refuse ? "reason:" : "note:");
        printf(" [%s] ", all->list[i].code);
        print_escaped(stdout, all->list[i].message, strlen(all->list[i].message));
        if (r->offset != QCBM_NO_OFFSET)
            printf(" (at offset 0x%" PRIx64 ")", r->offset);
        if (r->count > 1)
            printf(", and %" PRIu64 " more", r->count - 1);
        putchar('\n');
    }
}

static void write_list(struct json_writer *w, const char *key, const struct reasons *all, bool refuse)
{
    json_begin_array(w, key);
    for (size_t i = 0; i < all->n; i++) {
        const struct qcbm_verdict_reason *r = &all->list[i].r;

        if (r->refuse != refuse)
            continue;
        json_begin_object(w, NULL);
        json_string(w, "code", all->list[i].code);
        if (r->offset != QCBM_NO_OFFSET)
            json_u64(w, "offset", r->offset);
        json_u64(w, "count", r->count);
        json_string(w, "message", all->list[i].message);
        json_end_object(w);
    }
    json_end_array(w);
}

static void print_json(const char *path, const struct qcbm_verdict *verdict, const struct reasons *all)
{
    struct json_writer w = JSON_WRITER_INIT(stdout);

    json_begin_object(&w, NULL);
    json_string(&w, "filename", path);
    json_string(&w, "format", "qcow2");
    json_string(&w, "verdict", word(verdict));
    write_list(&w, "reasons", all, true);
    write_list(&w, "notes", all, false);
    json_end_object(&w);
    json_finish(&w);
}

int verdict_print(struct qcbm_image *img, const struct qcbm_error *why, const struct verdict_args *args)
{
    struct qcbm_verdict_options options = QCBM_VERDICT_OPTIONS_INIT;
    struct reasons all = { .progress.wanted = args->progress && !args->quiet };
    const struct qcbm_progress progress = progress_of(&all.progress);
    struct qcbm_verdict verdict;
    struct qcbm_error err;
    int ret, code;

    options.memory = args->memory ? args->memory : options.memory;
    options.reason = keep;
    options.opaque = &all;
    options.progress = &progress;
    ret = img ? qcbm_verdict(img, &options, &verdict, sizeof verdict, &err)
              : qcbm_verdict_refused(why, &options, &verdict, sizeof verdict, &err);
    progress_end(&all.progress, ret == 0);
    if (ret < 0)
        code = cmd_lib_error(&err, "No verdict on '%s'", args->path);
    else
        code = verdict.harmless ? EXIT_DONE : EXIT_NOT_HARMLESS;
    if (ret == 0 && !args->quiet && args->output == OUTPUT_JSON)
        print_json(args->path, &verdict, &all);
    else if (ret == 0 && !args->quiet)
        print_text(args->path, &verdict, &all);
    forget(&all);
    return code;
}
