/* help_command.c - help for people: the options of one command
 * SPDX-License-Identifier: MIT
 */
#include <stdio.h>
#include <string.h>

#include "every_args.h"
#include "help_command.h"
#include "opt.h"

/* "-g, --granularity=SIZE" in @text. */
static void option_form(const struct opt *opt, char *text, size_t size)
{
    char letter[4] = "";

    if (opt->kind == OPT_STRING_PERHAPS) {
        snprintf(text, size, "    --%s[=%s]", opt->name, opt->value);
        return;
    }
    if (opt->letter)
        snprintf(letter, sizeof letter, "-%c", opt->letter);
    snprintf(text, size, "%s%s%s%s%s%s", opt->letter ? letter : "    ", opt->letter && opt->name ? ", " : "",
             opt->name ? "--" : "", opt->name ? opt->name : "", opt->value ? opt->name ? "=" : " " : "",
             opt->value ? opt->value : "");
}

static void show_option(const struct opt *opt)
{
    char form[128];
    const char *line = opt->help;

    if (opt->kind == OPT_REFUSED || opt_is_argument(opt))
        return;
    option_form(opt, form, sizeof form);
    printf("  %-26s", form);
    if (strlen(form) > 25)
        printf("\n%28s", "");
    for (const char *end; (end = strchr(line, '\n')) != NULL; line = end + 1)
        printf("%.*s\n%28s", (int)(end - line), line, "");
    printf("%s\n", line);
}

static void show_arguments(const struct cmd *cmd)
{
    if (cmd->synopsis) {
        printf(" %s", cmd->synopsis);
        return;
    }
    for (const struct opt *opt = cmd->opts; opt->kind != OPT_KIND_END; opt++) {
        if (opt->kind == OPT_ARG || opt->kind == OPT_ARG_PERHAPS)
            printf(opt->kind == OPT_ARG ? " %s" : " [%s]", opt->value);
        else if (opt->kind == OPT_ARGS || opt->kind == OPT_ARGS_PERHAPS)
            printf(opt->kind == OPT_ARGS ? " %s..." : " [%s...]", opt->value);
    }
}

static void show_commands(const struct opt *opt)
{
    for (const struct cmd *const *c = opt->detail; *c; c++)
        printf("  qcbm %-21s%s\n", (*c)->name, (*c)->summary);
    printf("\n");
}

/* Of "checkpoint create", the page is that of checkpoint. */
static int page_len(const struct cmd *cmd)
{
    return (int)strcspn(cmd->name, " ");
}

void help_command(const struct cmd *cmd)
{
    printf("Usage: qcbm %s [OPTION]...", cmd->name);
    show_arguments(cmd);
    printf("\n%s\n\n", cmd->summary);
    for (const struct opt *opt = cmd->opts; opt->kind != OPT_KIND_END; opt++) {
        if (opt->kind == OPT_COMMANDS)
            show_commands(opt);
    }
    for (const struct opt *opt = cmd->opts; opt->kind != OPT_KIND_END; opt++)
        show_option(opt);
    for (const struct opt *opt = every_opts; cmd->opts[0].kind != OPT_COMMANDS && opt->kind != OPT_KIND_END; opt++)
        show_option(opt);
    show_option(&opt_help);
    printf("\nExit code: %s. See also: man qcbm-%.*s\n", cmd->exit_codes ? cmd->exit_codes : "0 done, 1 failed",
           page_len(cmd), cmd->name);
}
