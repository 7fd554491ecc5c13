/* complete.c - what can follow on a command line, for the completion of shells
 * SPDX-License-Identifier: MIT
 *
 * The scripts in tools/completion ask here, so that the tables of options are the only list of what there is. What kind
 * of word a value is shows in what --help calls it: a|b and small letters stand for themselves, FILE is one, NAME a
 * bitmap, S a snapshot.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "complete.h"
#include "every_args.h"
#include "help.h"
#include "opt.h"
#include "qemu_text.h"

/* The command line as far as it is there. */
struct line {
    const struct cmd *cmd;
    const struct opt *waiting; /* an option whose value comes next, or NULL */
    unsigned n_words;          /* that are no options */
    bool only_words;           /* "--" was there */
    const char *image, *source;
    const char *disk; /* the image of the first --disk, or NULL */
};

static void give(const char *current, const char *before, const char *word, size_t len, const char *about)
{
    size_t n = strlen(before), typed = strlen(current);

    if (typed > n + len || strncmp(current, before, typed < n ? typed : n) != 0 ||
        (typed > n && strncmp(current + n, word, typed - n) != 0))
        return;
    printf("%s%.*s\t%.*s\n", before, (int)len, word, (int)strcspn(about, "\n"), about);
}

/* ---- the line so far ----------------------------------------------------------------------------------- */

static bool is_one_of(const char *value, const char *const *list)
{
    for (; *list; list++) {
        if (strcmp(value, *list) == 0)
            return true;
    }
    return false;
}

static bool is_file(const char *value)
{
    static const char *const names[] = { "FILE",      "IMAGE",    "OVERLAY", "BASE",  "OUT",   "IN", "UNDOFILE",
                                         "REFERENCE", "MANIFEST", "FOLDER",  "OTHER", "LAYER", NULL };

    return is_one_of(value, names);
}

static bool is_bitmap(const char *value)
{
    static const char *const names[] = { "NAME", "NAME,...", "SRC", "PATTERN", "BITMAP", "CHECKPOINT", NULL };

    return is_one_of(value, names);
}

static const struct opt *find_in(const struct opt *opt, const char *name, size_t len)
{
    for (; opt->kind != OPT_KIND_END; opt++) {
        if (opt->name && strlen(opt->name) == len && strncmp(opt->name, name, len) == 0)
            return opt;
    }
    return NULL;
}

static const struct opt *find_long(const struct cmd *cmd, const char *word)
{
    size_t len = strcspn(word + 2, "=");
    const struct opt *opt = find_in(cmd->opts, word + 2, len);

    return opt ? opt : find_in(every_opts, word + 2, len);
}

/* The last letter of a bundle may want a value, or stand before it. */
static const struct opt *find_short(const struct cmd *cmd, const char *word, const char **value)
{
    for (const char *letter = word + 1; *letter; letter++) {
        const struct opt *opt = cmd->opts;

        while (opt->kind != OPT_KIND_END && (opt_is_argument(opt) || opt->letter != *letter))
            opt++;
        if (opt->kind != OPT_KIND_END && opt->value) {
            *value = letter[1] ? letter + 1 : NULL;
            return opt;
        }
    }
    return NULL;
}

static void take_value(struct line *line, const struct opt *opt, const char *value)
{
    if (opt->letter == 'b' && opt->name && strcmp(opt->name, "source-file") == 0)
        line->source = value;
    if (opt->name && strcmp(opt->name, "disk") == 0 && strchr(value, '=') && !line->disk)
        line->disk = strchr(value, '=') + 1;
}

static void take_option(struct line *line, const char *word)
{
    const char *value = NULL;
    const struct opt *opt;

    if (word[1] == '-') {
        opt = find_long(line->cmd, word);
        value = strchr(word, '=');
        value = value ? value + 1 : NULL;
    } else {
        opt = find_short(line->cmd, word, &value);
    }
    if (opt && opt->value && value)
        take_value(line, opt, value);
    else if (opt && opt->value && opt->kind != OPT_STRING_PERHAPS)
        line->waiting = opt;
}

/* "checkpoint create": what follows belongs to that. */
static bool take_command(struct line *line, const char *word)
{
    const struct cmd *cmd = opt_command(line->cmd->opts, word);

    if (cmd)
        line->cmd = cmd;
    return cmd != NULL;
}

static void take_word(struct line *line, const char *word)
{
    if (take_command(line, word))
        return;
    if (line->waiting) {
        take_value(line, line->waiting, word);
        line->waiting = NULL;
    } else if (!line->only_words && strcmp(word, "--") == 0) {
        line->only_words = true;
    } else if (!line->only_words && word[0] == '-' && word[1]) {
        take_option(line, word);
    } else if (line->n_words++ == 0) {
        line->image = word;
    }
}

/* The image may be named behind the cursor: "--merge SRC FILE". */
static void look_behind(struct line *line, const char *current, int n, char **words)
{
    struct line whole = *line;

    whole.n_words += !line->waiting && (line->only_words || current[0] != '-');
    whole.waiting = NULL;
    for (int i = 0; i < n; i++)
        take_word(&whole, words[i]);
    line->image = whole.image;
    line->source = whole.source;
    line->disk = whole.disk;
}

/* ---- what can come now --------------------------------------------------------------------------------- */

/* A name that a shell can show and a person type, and that no command takes for an option. */
static bool is_plain(const char *name, size_t len)
{
    return len > 0 && strlen(name) == len && name[0] != '-' && is_harmless_text(name, len);
}

/* An image that may be anything: shut in as all that is only read, and silent. NULL: none. */
static struct qcbm_image *look_into(const char *image)
{
    struct qcbm_image *img;

    if (!image)
        return NULL;
    cmd_shut_in(false, false, image, NULL);
    return qcbm_open(image, QCBM_OPEN_INFO | QCBM_OPEN_FORCE_SHARE | QCBM_OPEN_NO_LOCK, &img, NULL) < 0 ? NULL : img;
}

static void give_snapshots(const char *image, const char *current, const char *before)
{
    struct qcbm_image *img = look_into(image);
    uint32_t n = 0;

    if (img)
        (void)qcbm_snapshots_load(img, &n, NULL); /* those before a bad one are there */
    for (uint32_t i = 0; i < n; i++) {
        struct qcbm_snapshot_info s;

        qcbm_snapshot_get(img, i, &s, sizeof s);
        if (is_plain(s.name, strlen(s.name)))
            give(current, before, s.name, strlen(s.name), "snapshot");
    }
    qcbm_close(img);
}

static void give_bitmaps(const char *image, const char *current, const char *before)
{
    struct qcbm_image *img = look_into(image);
    struct qcbm_image_info info;

    if (!img)
        return;
    qcbm_image_get_info(img, &info, sizeof info);
    for (uint32_t i = 0; i < info.bitmap_count; i++) {
        struct qcbm_bitmap_info b;

        qcbm_bitmap_get(img, i, &b, sizeof b);
        if (is_plain(b.name, b.name_len))
            give(current, before, b.name, b.name_len, b.in_use ? "inconsistent bitmap" : "bitmap");
    }
    qcbm_close(img);
}

static void give_alternatives(const char *value, const char *current, const char *before)
{
    for (; *value; value += strcspn(value, "|") + (value[strcspn(value, "|")] == '|'))
        give(current, before, value, strcspn(value, "|"), "");
}

/* What a reference may be beside a file: "snapshot:" and a snapshot of the image. False: it does not begin so. */
static bool give_snapshot_reference(const struct line *line, const char *current, const char *before)
{
    static const char word[] = "snapshot:";
    char longer[96];
    size_t len = strlen(word);

    if (strncmp(current + strlen(before), word, len) != 0)
        return false;
    snprintf(longer, sizeof longer, "%s%s", before, word);
    puts("words");
    give_snapshots(line->image, current, longer);
    return true;
}

/* A checkpoint is a bitmap of each disk: those of the first that is named. Of a list the last name is typed. */
static void give_names(const struct line *line, const char *value, const char *current, const char *before)
{
    const char *image = line->disk ? line->disk : line->image, *comma = strrchr(current, ',');
    char longer[256];

    if (strcmp(value, "SRC") == 0 && line->source)
        image = line->source;
    if (strcmp(value, "NAME,...") == 0 && comma && (size_t)(comma + 2 - current) <= sizeof longer) {
        snprintf(longer, sizeof longer, "%.*s", (int)(comma + 1 - current), current);
        before = longer;
    }
    give_bitmaps(image, current, before);
}

/* @before: what stands in the same word, "--output=". */
static void give_values(const struct line *line, const char *value, const char *current, const char *before)
{
    if (strcmp(value, "REFERENCE") == 0 && give_snapshot_reference(line, current, before))
        return;
    if (is_file(value)) {
        puts("files");
        return;
    }
    puts("words");
    if (is_bitmap(value))
        give_names(line, value, current, before);
    else if (strcmp(value, "S") == 0)
        give_snapshots(line->image, current, before);
    else if (strcmp(value, "FMT") == 0)
        give_alternatives("qcow2|raw", current, before);
    else if (islower((unsigned char)value[0]))
        give_alternatives(value, current, before);
}

static void give_table(const struct opt *opt, const char *current)
{
    for (; opt->kind != OPT_KIND_END; opt++) {
        char form[64];

        if (opt_is_argument(opt) || opt->kind == OPT_REFUSED)
            continue;
        if (opt->name)
            snprintf(form, sizeof form, "--%s%s", opt->name, opt->value ? "=" : "");
        else
            snprintf(form, sizeof form, "-%c", opt->letter);
        give(current, "", form, strlen(form), opt->help);
    }
}

static void give_options(const struct cmd *cmd, const char *current)
{
    puts("words");
    give_table(cmd->opts, current);
    if (cmd->opts[0].kind != OPT_COMMANDS)
        give_table(every_opts, current);
    give(current, "", "--help", 6, opt_help.help);
}

static void give_argument(const struct line *line, const char *current)
{
    bool is_new = strcmp(line->cmd->name, "checkpoint create") == 0; /* of what is there no name will do */
    unsigned n = 0;

    for (const struct opt *opt = line->cmd->opts; opt->kind != OPT_KIND_END; opt++) {
        if ((opt->kind == OPT_ARG || opt->kind == OPT_ARG_PERHAPS || opt->kind == OPT_COMMANDS) &&
            n++ == line->n_words && !is_new) {
            give_values(line, opt->value, current, "");
            return;
        }
        if ((opt->kind == OPT_ARGS || opt->kind == OPT_ARGS_PERHAPS) &&
            (is_file(opt->value) || is_bitmap(opt->value))) {
            give_values(line, opt->value, current, "");
            return;
        }
    }
    puts("words");
}

static void give_commands(const char *current, bool options)
{
    puts("words");
    for (const struct cmd *const *c = cmds; *c; c++)
        give(current, "", (*c)->name, strlen((*c)->name), (*c)->summary);
    give(current, "", "help", 4, "Show the commands, or the options of one.");
    if (options && current[0] == '-') {
        give(current, "", "--help", 6, "show the commands");
        give(current, "", "--version", 9, "show the version");
    }
}

static void give_next(const struct line *line, const char *current)
{
    const char *equals = strchr(current, '=');
    char before[64];

    if (line->waiting) {
        give_values(line, line->waiting->value, current, "");
    } else if (line->only_words || current[0] != '-') {
        give_argument(line, current);
    } else if (strncmp(current, "--", 2) == 0 && equals) {
        const struct opt *opt = find_long(line->cmd, current);

        snprintf(before, sizeof before, "%.*s", (int)(equals + 1 - current), current);
        if (opt && opt->value)
            give_values(line, opt->value, current, before);
    } else {
        give_options(line->cmd, current);
    }
}

/* "help checkpoint ..." */
static void give_actions(const char *name, const char *current)
{
    const struct cmd *cmd = help_find(name);

    puts("words");
    if (cmd && cmd->opts[0].kind == OPT_COMMANDS)
        give_alternatives(cmd->opts[0].value, current, "");
}

int complete_words(int n, int n_behind, char **words)
{
    struct line line = { .cmd = n > 1 ? help_find(words[0]) : NULL };

    if (n == 3 && strcmp(words[0], "help") == 0)
        give_actions(words[1], words[2]);

    if (n == 1 || (n == 2 && strcmp(words[0], "help") == 0))
        give_commands(words[n - 1], n == 1);
    if (!line.cmd)
        return EXIT_DONE;
    for (int i = 1; i < n - 1; i++)
        take_word(&line, words[i]);
    look_behind(&line, words[n - 1], n_behind, words + n);
    give_next(&line, words[n - 1]);
    return EXIT_DONE;
}

int complete_arguments(int argc, char **argv)
{
    static const char behind[] = "--behind=";
    uint64_t n = 0;

    if (argc > 1 && strncmp(argv[0], behind, sizeof behind - 1) == 0) {
        if (size_parse(argv[0] + sizeof behind - 1, &n) != SIZE_OK)
            return -1;
        argc--;
        argv++;
    }
    if (argc < 2 || strcmp(argv[0], "--") != 0 || n >= (uint64_t)argc - 1)
        return -1;
    return complete_words(argc - 1 - (int)n, (int)n, argv + 1);
}
