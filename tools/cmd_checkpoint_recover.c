/* cmd_checkpoint_recover.c - qcbm checkpoint recover: one that was cut short is taken back, or completed
 * SPDX-License-Identifier: MIT
 */
#include <stdlib.h>
#include <string.h>

#include "cmd_checkpoint.h"
#include "json_write.h"
#include "opt_parse.h"
#include "qemu_text.h"

struct recover_args {
    struct common_args common;
    const char *journal;
};
COMMON_ARGS_FIRST(struct recover_args);

static const struct opt recover_opts[] = {
    OPT_ROW(struct recover_args, NULL, 0, OPT_ARG, journal, "FILE", "the journal"),
    OPT_COMMON_DRY_RUN,
    OPT_COMMON_QUIET,
    OPT_COMMON_OUTPUT,
    OPT_COMMON_NO_LOCK,
    OPT_COMMON_NO_SANDBOX,
    OPT_END,
};

static const struct {
    const char *word, *text;
} outcomes[] = {
    [QCBM_CHECKPOINT_TAKEN_BACK] = { "taken-back", "as it was" },
    [QCBM_CHECKPOINT_COMPLETED] = { "completed", "completed" },
    [QCBM_CHECKPOINT_COMPLETE] = { "complete", "was complete" },
    [QCBM_CHECKPOINT_SUPERSET] = { "superset", "another program wrote to it in between, so its bitmap has more" },
    [QCBM_CHECKPOINT_GONE] = { "gone", "is not there any more, so nothing was done to it" },
};

/* What is said of all disks, of each kind of change. */
static const struct {
    const char *word, *begin, *forward, *back;
    bool named; /* the checkpoint's name stands behind the begin */
} changes[] = {
    [QCBM_CHECKPOINT_CREATES] = { "create", "checkpoint ", "there on all disks", "taken back: no disk has it", true },
    [QCBM_CHECKPOINT_MENDS] = { "mend", "checkpoint ", "mended on all disks",
                                "as it was on all disks: the mending is taken back", true },
    [QCBM_CHECKPOINT_REMOVES] = { "reclaim", "what was to be removed ", "removed from all disks",
                                  "there on all disks: the removal is taken back", false },
};

/* What the library tells is gathered, as which way it went is known at last. */
struct text {
    FILE *out;
    char *bytes;
    size_t len;
    struct json_writer w;
    bool json;
    char name[1024]; /* of the checkpoint */
};

static void print_disk(FILE *out, const struct qcbm_checkpoint_told *t)
{
    print_escaped(out, t->target, strlen(t->target));
    fputs(": '", out);
    print_escaped(out, t->overlay ? t->overlay : t->image, strlen(t->overlay ? t->overlay : t->image));
    fprintf(out, "' %s", outcomes[t->outcome].text);
    if (t->outcome == QCBM_CHECKPOINT_SUPERSET && t->dirty_bytes) {
        fprintf(out, ": %s, %s", size_text(t->dirty_bytes).text, t->stand_in ? "the bits of '" : "all of the disk");
        if (t->stand_in)
            print_escaped(out, t->stand_in, strlen(t->stand_in));
        if (t->stand_in)
            putc('\'', out);
    }
    putc('\n', out);
}

static int tell_disk(void *opaque, const struct qcbm_checkpoint_told *t)
{
    struct text *text = opaque;
    struct json_writer *w = &text->w;

    snprintf(text->name, sizeof text->name, "%s", t->name);
    if (!text->json) {
        print_disk(text->out, t);
        return 0;
    }
    json_begin_object(w, NULL);
    json_string(w, "disk", t->target);
    json_string(w, "image", t->image);
    if (t->overlay)
        json_string(w, "overlay", t->overlay);
    json_string(w, "outcome", outcomes[t->outcome].word);
    if (t->outcome == QCBM_CHECKPOINT_SUPERSET) {
        json_u64(w, "dirty-bytes", t->dirty_bytes);
        if (t->stand_in)
            json_string(w, "stand-in", t->stand_in);
        else
            json_null(w, "stand-in");
    }
    json_end_object(w);
    return 0;
}

static void begin_text(struct text *text, const struct recover_args *args)
{
    text->json = args->common.output == OUTPUT_JSON;
    text->out = open_memstream(&text->bytes, &text->len);
    text->w = (struct json_writer)JSON_WRITER_INIT(text->out);
    if (!text->out || !text->json)
        return;
    json_begin_object(&text->w, NULL);
    json_string(&text->w, "journal", args->journal);
    json_begin_array(&text->w, "disks");
}

static void end_json(struct text *text, const struct recover_args *args, const struct qcbm_recover_result *r)
{
    json_end_array(&text->w);
    json_string(&text->w, "change", changes[r->change].word);
    if (changes[r->change].named)
        json_string(&text->w, "checkpoint", text->name);
    else
        json_null(&text->w, "checkpoint");
    json_string(&text->w, "direction", r->forward ? "forward" : "back");
    json_u64(&text->w, "supersets", r->supersets);
    json_bool(&text->w, "dry-run", args->common.dry_run);
    json_end_object(&text->w);
    json_finish(&text->w);
}

static void print_all(const struct text *text, const struct recover_args *args, const struct qcbm_recover_result *r)
{
    printf("%s", changes[r->change].begin);
    if (changes[r->change].named) {
        putchar('\'');
        print_escaped(stdout, text->name, strlen(text->name));
        printf("' ");
    }
    printf("%s %s\n", args->common.dry_run ? "would be" : "is",
           r->forward ? changes[r->change].forward : changes[r->change].back);
}

/* Only what has come to its end is printed: who reads the output of a failure finds nothing there. */
static int print_told(struct text *text, const struct recover_args *args, const struct qcbm_recover_result *r)
{
    if (text->json)
        end_json(text, args, r);
    if (fclose(text->out) != 0)
        return cmd_error("no memory for the answer");
    text->out = NULL;
    if (!text->json && !args->common.quiet)
        print_all(text, args, r);
    if (text->json || !args->common.quiet)
        fwrite(text->bytes, 1, text->len, stdout);
    return EXIT_DONE;
}

static int recover_told(const struct recover_args *args, struct text *text)
{
    struct qcbm_checkpoint_options options = QCBM_CHECKPOINT_OPTIONS_INIT;
    struct qcbm_recover_result result;
    struct qcbm_error err;

    options.flags = args->common.dry_run ? QCBM_CHECKPOINT_DRY_RUN : 0;
    options.open_flags = common_reading(&args->common);
    options.disk = tell_disk;
    options.opaque = text;
    if (qcbm_checkpoint_recover(args->journal, &options, &result, sizeof result, &err) < 0)
        return cmd_lib_error(&err, "Could not recover by '%s'", args->journal);
    if (!args->common.dry_run)
        cmd_note_done("what was cut short has been recovered all the same");
    if (result.supersets)
        cmd_warning("%s of the disks %s written to in between: the next increment of %s is larger than what changed",
                    result.supersets == 1 ? "one" : "some", result.supersets == 1 ? "was" : "were",
                    result.supersets == 1 ? "it" : "them");
    return print_told(text, args, &result);
}

static int recover(const struct recover_args *args)
{
    struct text text = { 0 };
    int code;

    begin_text(&text, args);
    if (!text.out)
        return cmd_error("no memory");
    if (args->common.dry_run)
        cmd_shut_in(args->common.no_sandbox, true, args->journal, NULL);
    code = recover_told(args, &text);
    if (text.out)
        fclose(text.out);
    free(text.bytes);
    return code;
}

static int run_recover(const struct cmd *cmd, int argc, char **argv)
{
    struct recover_args args = { 0 };
    int code = opt_parse(cmd, argc, argv, &args);

    return code != OPT_GO_ON ? code : recover(&args);
}

const struct cmd checkpoint_recover = { "checkpoint recover", NULL,        "Take back or complete what was cut short.",
                                        recover_opts,         run_recover, NULL };
