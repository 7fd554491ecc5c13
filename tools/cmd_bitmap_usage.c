/* cmd_bitmap_usage.c - which options and arguments go with which verbs of qcbm bitmap, and in what words that is told
 * SPDX-License-Identifier: MIT
 */
#include <string.h>

#include "cmd_bitmap.h"
#include "context.h"
#include "remote.h"

/* Options of a verb or two, which say themselves where they belong, in the order in which that is told. */
static const struct {
    enum bitmap_option option;
    const char *told;
} own_options[] = {
    { BITMAP_CHAIN, "--chain goes with --list or --prune" },
    { BITMAP_AS, "--as goes with --copy-to or --collect" },
    { BITMAP_KEEP, "--keep goes with --prune" },
    { BITMAP_TRUST, "--trust goes with --revive or --revive-all" },
    { BITMAP_AGAINST, "--against goes with --revive" },
    { BITMAP_CHECK, "--check goes with --import" },
    { BITMAP_CONTEXT, "--context goes with --import" },
    { BITMAP_FORMAT, "--format and --force go with --export or --import" },
    { BITMAP_GROWN, "--grown goes with --merge, --copy-to or --import" },
    { BITMAP_BASE64, "--base64 goes with --import" },
};
enum { N_OWN = sizeof own_options / sizeof *own_options };

/* Options of operations. */
enum { OF_OPERATIONS = BITMAP_GRANULARITY | BITMAP_SOURCE | BITMAP_UNDO | BITMAP_DRY_RUN };

static unsigned given(const struct bitmap_args *args)
{
    return (args->chain ? BITMAP_CHAIN : 0) | (args->as ? BITMAP_AS : 0) | (args->keep ? BITMAP_KEEP : 0) |
           (args->file_format || args->common.force ? BITMAP_FORMAT : 0) | (args->base64 ? BITMAP_BASE64 : 0) |
           (args->grown ? BITMAP_GROWN : 0) | (args->granularity ? BITMAP_GRANULARITY : 0) |
           (args->source || args->source_format ? BITMAP_SOURCE : 0) | (args->trust ? BITMAP_TRUST : 0) |
           (args->against ? BITMAP_AGAINST : 0) | (args->check ? BITMAP_CHECK : 0) |
           (args->context ? BITMAP_CONTEXT : 0) | (args->common.undo ? BITMAP_UNDO : 0) |
           (args->common.dry_run ? BITMAP_DRY_RUN : 0);
}

/* What none of the verbs on the line takes. */
static unsigned surplus_options(const struct bitmap_args *args)
{
    unsigned left = given(args);

    for (size_t i = 0; i < args->actions.count; i++)
        left &= ~bitmap_verb_of(&args->actions.list[i])->takes;
    return left;
}

static bool is_known(const char *value, const char *const *list)
{
    while (*list && strcmp(value, *list) != 0)
        list++;
    return *list != NULL;
}

static int check_own_options(const struct cmd *cmd, const struct bitmap_args *args)
{
    static const char *const orders[] = { "lsb", "msb", NULL };
    bool raw = bitmap_is_format(args, "raw");
    unsigned left = surplus_options(args);

    for (size_t i = 0; i < N_OWN; i++) {
        if (left & own_options[i].option)
            return cmd_usage_error(cmd, "%s", own_options[i].told);
    }
    if (bitmap_form(args) == N_EXTENTS_FORMS && !raw && !bitmap_is_format(args, "qcbm"))
        return cmd_usage_error(cmd, "--format knows %s, not '%s'", BITMAP_FORMATS, args->file_format);
    if (args->base64 && !raw && bitmap_form(args) != EXTENTS_XEN_BITS)
        return cmd_usage_error(cmd, "--base64 goes with --format=raw or xen-bits");
    if (args->bit_order && !raw)
        return cmd_usage_error(cmd, "--bit-order goes with --format=raw");
    if (args->bit_order && !is_known(args->bit_order, orders))
        return cmd_usage_error(cmd, "--bit-order knows lsb and msb, not '%s'", args->bit_order);
    return EXIT_DONE;
}

/* Layers that are named are read, and never written. */
static int check_below(const struct cmd *cmd, const struct bitmap_args *args)
{
    const struct opt_action *alone = bitmap_alone(args);
    bool all_written = args->chain && alone && (bitmap_verb_of(alone)->needs & BITMAP_WRITING);
    bool all_read = args->chain || (alone && (bitmap_verb_of(alone)->needs & BITMAP_LAYERS));

    if (args->common.below && all_written)
        return cmd_usage_error(cmd,
                               "--prune --chain changes every layer, and what --below names is only read: prune the "
                               "layers one by one, from the top down, each where its file is");
    if (args->common.below && !all_read && !args->against && !args->check)
        return cmd_usage_error(cmd, "--below goes with --list --chain, --collect, --commit-into, --against or --check");
    return EXIT_DONE;
}

/* Does --import name a server, and is it told what of it is wanted? */
static int check_context(const struct cmd *cmd, const struct bitmap_args *args)
{
    for (size_t i = 0; i < args->actions.count; i++) {
        const struct opt_action *a = &args->actions.list[i];

        if (!(bitmap_verb_of(a)->needs & BITMAP_INPUT))
            continue;
        if (uri_is_server(a->value) && !args->context)
            return cmd_usage_error(cmd, "a bitmap of an NBD server has a name: --context=qemu:dirty-bitmap:NAME");
        if (!uri_is_server(a->value) && args->context)
            return cmd_usage_error(cmd, "--context goes with --import=URI: nbd://HOST/EXPORT, or "
                                        "nbd+unix:///EXPORT?socket=PATH");
    }
    if (args->context && context_kind_of(args->context) != CONTEXT_BITMAP)
        return cmd_usage_error(cmd,
                               "--context knows qemu:dirty-bitmap:NAME here, not '%s'; 'qcbm synth --from' takes "
                               "what is allocated",
                               args->context);
    if (args->context && (args->file_format || args->base64 || args->grown))
        return cmd_usage_error(cmd, "--context cannot be combined with --format, --base64 or --grown");
    return EXIT_DONE;
}

/* The rules and words of qemu-img, in its order; then our own. */
static int check_operations(const struct cmd *cmd, const struct bitmap_args *args)
{
    unsigned left = surplus_options(args);

    if (args->actions.count == 0) {
        cmd_error("Need at least one of --add, --remove, --clear, --enable, --disable, or --merge");
        cmd_hint("'qcbm bitmap --list FILE' shows the bitmaps of an image, 'qcbm help bitmap' all that can be done");
        return EXIT_FAILED;
    }
    if (left & BITMAP_GRANULARITY)
        return cmd_error("granularity only supported with --add");
    if (args->source_format && !args->source)
        return cmd_error("-F only supported with -b");
    if (left & BITMAP_SOURCE)
        return cmd_error("Merge bitmap source file only supported with --merge");
    if (!args->name || args->surplus)
        return cmd_error("Expecting filename and bitmap name");
    if (args->common.force_share && !args->common.dry_run)
        return cmd_usage_error(cmd, "-U is for reading only: use it with --list, --export or --dry-run");
    for (size_t i = 0; i < args->actions.count; i++) {
        const struct bitmap_verb *verb = bitmap_verb_of(&args->actions.list[i]);

        if (verb->valid && !verb->valid(&args->actions.list[i]))
            return EXIT_FAILED;
    }
    return EXIT_DONE;
}

/* What stands alone is a command of its own. */
static int check_alone(const struct cmd *cmd, const struct bitmap_args *args, const struct opt_action *alone)
{
    const struct bitmap_verb *verb = bitmap_verb_of(alone);
    bool combined = surplus_options(args) & OF_OPERATIONS;

    for (size_t i = 0; i < args->actions.count; i++)
        combined |= bitmap_verb_of(&args->actions.list[i]) != verb;
    if (args->trust && args->against)
        return cmd_usage_error(cmd, "--trust and --against exclude each other");
    if (combined)
        return cmd_usage_error(cmd, "--%s cannot be combined with an operation or its options", alone->opt->name);
    if (args->common.force_share && !args->common.dry_run && (verb->needs & BITMAP_WRITING))
        return cmd_usage_error(cmd, "-U is for reading only: use it with --list, --export or --dry-run");
    if ((verb->needs & BITMAP_NAME) && (!args->name || args->surplus))
        return cmd_usage_error(cmd, "Expecting filename and bitmap name");
    if (!(verb->needs & BITMAP_NAME) && (!args->common.path || args->name))
        return cmd_usage_error(cmd, "Expecting one image file name");
    return EXIT_DONE;
}

int bitmap_check_usage(const struct cmd *cmd, const struct bitmap_args *args)
{
    const struct opt_action *alone = bitmap_alone(args);
    int code = check_own_options(cmd, args);

    if (code == EXIT_DONE)
        code = check_below(cmd, args);
    if (code == EXIT_DONE)
        code = check_context(cmd, args);
    if (code != EXIT_DONE)
        return code;
    return alone ? check_alone(cmd, args, alone) : check_operations(cmd, args);
}
