/* opt_parse.c - a command line read by a table of options
 * SPDX-License-Identifier: MIT
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common_args.h"
#include "every_args.h"
#include "help_command.h"
#include "hint.h"
#include "manners.h"
#include "opt_parse.h"
#include "qemu_text.h"

enum { MAX_OPTIONS = 64, LONG_BASE = 256 }; /* getopt's value of table row i is LONG_BASE + i */

/* What getopt_long() wants, made from our table. Row 0 is --help. Starts as all zeros. */
struct getopt_view {
    struct option longs[MAX_OPTIONS + 1];
    char letters[2 + 2 * MAX_OPTIONS + 1];
    const struct opt *rows[MAX_OPTIONS];
    size_t n_rows;
};

static int wants_value(const struct opt *opt)
{
    if (!opt->value)
        return no_argument;
    return opt->kind == OPT_STRING_PERHAPS ? optional_argument : required_argument;
}

static void view_add(struct getopt_view *v, size_t *n_longs, char **letter, const struct opt *opt)
{
    v->rows[v->n_rows] = opt;
    if (opt->name)
        v->longs[(*n_longs)++] = (struct option){ opt->name, wants_value(opt), NULL, LONG_BASE + (int)v->n_rows };
    if (opt->letter) {
        *(*letter)++ = opt->letter;
        if (opt->value)
            *(*letter)++ = ':';
    }
    v->n_rows++;
}

static void view_make(struct getopt_view *v, const struct opt *opts)
{
    size_t n_longs = 0;
    char *letter = v->letters;

    *letter++ = ':'; /* tells a missing value from an unknown option, and getopt to be silent */
    view_add(v, &n_longs, &letter, &opt_help);
    for (; opts->kind != OPT_KIND_END && v->n_rows < MAX_OPTIONS; opts++) {
        if (!opt_is_argument(opts))
            view_add(v, &n_longs, &letter, opts);
    }
    for (const struct opt *opt = every_opts; opt->kind != OPT_KIND_END && v->n_rows < MAX_OPTIONS; opt++)
        view_add(v, &n_longs, &letter, opt);
}

static const struct opt *view_find(const struct getopt_view *v, int got)
{
    if (got >= LONG_BASE)
        return v->rows[got - LONG_BASE];
    for (size_t i = 0; i < v->n_rows; i++) {
        if (v->rows[i]->letter == got)
            return v->rows[i];
    }
    return NULL;
}

/* qemu-img's words for what a size is about. */
static void size_label(const struct opt *opt, char *to, size_t to_size)
{
    snprintf(to, to_size, "%s", strcmp(opt->name, "size") == 0 ? "image size" : opt->name);
    for (; *to; to++) {
        if (*to == '-')
            *to = ' ';
    }
}

static bool set_size(const struct opt *opt, const char *text, uint64_t *out)
{
    char label[32];

    size_label(opt, label, sizeof label);
    switch (size_parse(text, out)) {
    case SIZE_OK:
        return true;
    case SIZE_RANGE:
        cmd_error("Invalid %s specified. Must be between 0 and %" PRId64 ".", label, INT64_MAX);
        return false;
    default:
        cmd_error("Invalid %s specified: '%s'.", label, text);
        return false;
    }
}

static bool set_output(const char *text, enum opt_output *out)
{
    if (strcmp(text, "human") != 0 && strcmp(text, "json") != 0 && strcmp(text, "jsonl") != 0) {
        cmd_error("--output must be used with human or json as argument.");
        return false;
    }
    if (text[0] == 'h' && every_args.record) {
        cmd_error("--output=human cannot be combined with --record: the answer is in the record, as JSON");
        return false;
    }
    *out = text[0] == 'j' ? OUTPUT_JSON : OUTPUT_HUMAN;
    return true;
}

static bool append_action(struct opt_actions *actions, const struct opt *opt, const char *value)
{
    struct opt_action *list = realloc(actions->list, (actions->count + 1) * sizeof *list);

    if (!list) {
        cmd_error("no memory");
        return false;
    }
    actions->list = list;
    list[actions->count++] = (struct opt_action){ opt, value };
    return true;
}

/* One list of all keeps leak detectors from complaining. */
static bool append_word(struct opt_word **at, const char *value)
{
    static struct opt_word *all;
    struct opt_word *word = malloc(sizeof *word);

    if (!word) {
        cmd_error("no memory");
        return false;
    }
    while (*at)
        at = &(*at)->next;
    *word = (struct opt_word){ value, NULL, all };
    all = *at = word;
    return true;
}

static bool refuse(const struct opt *opt)
{
    if (opt->name)
        cmd_error("option '--%s' is not supported: %s", opt->name, opt->help);
    else
        cmd_error("option '-%c' is not supported: %s", opt->letter, opt->help);
    return false;
}

static bool is_of_every(const struct opt *opt)
{
    const struct opt *row = every_opts;

    while (row->kind != OPT_KIND_END && row != opt)
        row++;
    return row == opt;
}

static bool set_option(const struct opt *opt, const char *value, void *args)
{
    void *var = (char *)args + opt->offset;

    switch (opt->kind) {
    case OPT_FLAG:
        *(bool *)var = true;
        return true;
    case OPT_STRING:
        *(const char **)var = value;
        return true;
    case OPT_STRING_PERHAPS:
        *(const char **)var = value ? value : "";
        return true;
    case OPT_SIZE:
        return set_size(opt, value, var);
    case OPT_OUTPUT:
        return set_output(value, var);
    case OPT_ACTION:
        return append_action(var, opt, value);
    case OPT_WORDS:
        return append_word(var, value);
    default:
        return refuse(opt);
    }
}

/* A long option that is none, or the beginning of several. */
static void hint_options(const struct cmd *cmd, const char *word)
{
    char *name = strndup(word + 2, strcspn(word + 2, "="));
    struct hint hint = hint_of(name ? name : "");

    for (const struct opt *opt = cmd->opts; opt->kind != OPT_KIND_END; opt++) {
        if (opt->name && opt->kind != OPT_REFUSED)
            hint_offer(&hint, opt->name);
    }
    for (const struct opt *opt = every_opts; opt->kind != OPT_KIND_END; opt++)
        hint_offer(&hint, opt->name);
    hint_offer(&hint, opt_help.name);
    hint_print(&hint, "--");
    free(name);
}

/* What getopt() did not like: the whole word if it is a long option, else the one letter of a bundle. */
static void explain(const struct cmd *cmd, int got, const char *word)
{
    char letter[3] = { '-', (char)optopt, '\0' };
    bool is_long = optopt == 0 || optopt >= LONG_BASE;

    if (got == ':')
        cmd_error("missing argument for option '%s'", is_long ? word : letter);
    else
        cmd_error("unrecognized option '%s'", is_long ? word : letter);
    if (got != ':' && is_long)
        hint_options(cmd, word);
    cmd_name_help(cmd);
}

/* ---- arguments that are no options ---------------------------------------------------------------------- */

static bool wrong_number(const struct cmd *cmd)
{
    char text[128] = "";
    size_t len = 0;

    for (const struct opt *opt = cmd->opts; opt->kind != OPT_KIND_END && len < sizeof text; opt++) {
        const char *before = opt->kind == OPT_ARG_PERHAPS || opt->kind == OPT_ARGS_PERHAPS ? ", and perhaps "
                             : len > 0                                                     ? " and "
                                                                                           : "";

        if (opt_is_argument(opt))
            len += (size_t)snprintf(text + len, sizeof text - len, "%s%s", before, opt->help);
    }
    cmd_usage_error(cmd, "Expecting %s", text);
    return false;
}

/* @words, ended by NULL as argv is, into their rows. */
static bool set_arguments(const struct cmd *cmd, char **words, void *args)
{
    bool missing = false;

    for (const struct opt *opt = cmd->opts; opt->kind != OPT_KIND_END; opt++) {
        if (!opt_is_argument(opt))
            continue;
        if (opt->kind == OPT_ARGS || opt->kind == OPT_ARGS_PERHAPS) {
            *(char ***)(void *)((char *)args + opt->offset) = words;
            return missing || (!*words && opt->kind == OPT_ARGS) ? wrong_number(cmd) : true;
        }
        *(const char **)(void *)((char *)args + opt->offset) = *words;
        if (opt->kind == OPT_ARG_SURPLUS)
            return true;
        missing |= !*words && opt->kind == OPT_ARG;
        words += *words != NULL;
    }
    return missing || *words ? wrong_number(cmd) : true;
}

/* The record has the answer in it. */
static void answer_in_json(const struct cmd *cmd, void *args)
{
    for (const struct opt *opt = cmd->opts; every_args.record && opt->kind != OPT_KIND_END; opt++) {
        if (opt->kind == OPT_OUTPUT)
            *(enum opt_output *)(void *)((char *)args + opt->offset) = OUTPUT_JSON;
    }
}

int opt_parse(const struct cmd *cmd, int argc, char **argv, void *args)
{
    struct getopt_view view = { 0 };
    int got;

    view_make(&view, cmd->opts);
    optind = 0; /* GNU: start afresh */
    while ((got = getopt_long(argc, argv, view.letters, view.longs, NULL)) != -1) {
        if (got == '?' || got == ':') {
            explain(cmd, got, argv[optind - 1]);
            return EXIT_FAILED;
        }
        const struct opt *opt = view_find(&view, got);
        if (opt == &opt_help) {
            help_command(cmd);
            return EXIT_DONE;
        }
        if (!set_option(opt, optarg, is_of_every(opt) ? &every_args : args))
            return EXIT_FAILED;
    }
    if (!set_arguments(cmd, argv + optind, args))
        return EXIT_FAILED;
    if (every_args.record_dir && !every_args.record)
        return cmd_usage_error(cmd, "--record-dir goes with --record");
    answer_in_json(cmd, args);
    manners_begin();
    return OPT_GO_ON;
}

/* ---- before that: how the run is recorded --------------------------------------------------------------- */

static void look_at(const struct opt *opt, const char *value, struct every_args *out, bool *jsonl)
{
    if (opt == &opt_help)
        out->help = true;
    else if (opt->kind == OPT_OUTPUT)
        *jsonl = value && strcmp(value, "jsonl") == 0;
    else if (is_of_every(opt) && opt->kind == OPT_STRING)
        *(const char **)(void *)((char *)out + opt->offset) = value;
}

static bool is_image(const struct opt *opt)
{
    if (opt->kind == OPT_ARGS) /* of images and other files */
        return strcmp(opt->value, "FILE") == 0;
    return (opt->kind == OPT_ARG || opt->kind == OPT_ARG_PERHAPS) && opt->offset == offsetof(struct common_args, path);
}

/* The word that stands for an image, by the rows of the arguments. */
static const char *image_of(const struct cmd *cmd, char **words)
{
    for (const struct opt *opt = cmd->opts; *words && opt->kind != OPT_KIND_END; opt++) {
        if (!opt_is_argument(opt))
            continue;
        if (is_image(opt))
            return *words;
        words++;
    }
    return NULL;
}

void opt_look(const struct cmd *cmd, int argc, char **argv, struct every_args *out)
{
    char **words = calloc((size_t)argc + 1, sizeof *words); /* getopt() changes their order */
    struct getopt_view view = { 0 };
    bool jsonl = false;
    int got;

    if (!words)
        return;
    memcpy(words, argv, (size_t)argc * sizeof *words);
    view_make(&view, cmd->opts);
    optind = 0;
    while ((got = getopt_long(argc, words, view.letters, view.longs, NULL)) != -1) {
        if (got != '?' && got != ':')
            look_at(view_find(&view, got), optarg, out, &jsonl);
    }
    if (jsonl && !out->record)
        out->record = "-";
    out->image = image_of(cmd, words + optind);
    free(words);
}
