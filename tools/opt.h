/* opt.h - one table of options and arguments per command: parsing, help and completion come from it
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_OPT_H
#define QCBM_TOOL_OPT_H

#include <stdbool.h>
#include <stddef.h>

struct cmd; /* cmd.h */

enum opt_kind {
    OPT_KIND_END,
    OPT_FLAG,           /* bool */
    OPT_STRING,         /* const char * into argv */
    OPT_STRING_PERHAPS, /* the same of a long option that can do without a value: "" then */
    OPT_SIZE,           /* uint64_t, as qemu-img reads sizes */
    OPT_OUTPUT,         /* enum opt_output */
    OPT_ACTION,         /* struct opt_actions: appended, so the order on the command line is kept */
    OPT_WORDS,          /* struct opt_word *: the values, in their order; they live until the program ends */
    OPT_REFUSED,        /* an option of qemu-img that qcbm does not have; .help says why, --help does not list it */
    /* Arguments that are no options, in the order of the table: const char * into argv, NULL where there is none.
     * .help is what is said to be expected where one is missing. */
    OPT_ARG,          /* must be there */
    OPT_ARG_PERHAPS,  /* may be missing */
    OPT_ARGS,         /* all that are left, at least one: char ** into argv, up to its NULL */
    OPT_ARGS_PERHAPS, /* the same, and there may be none */
    OPT_COMMANDS,     /* a word that names one of the commands in .detail, ended by NULL, to which the rest belongs */
    OPT_ARG_SURPLUS,  /* the first that no other row takes; the command judges the number of arguments by itself */
};

enum opt_output { OUTPUT_HUMAN, OUTPUT_JSON };

struct opt {
    const char *name; /* long name; NULL for none */
    char letter;      /* short name; 0 for none */
    enum opt_kind kind;
    size_t offset;      /* of the variable in the struct that opt_parse() fills */
    const char *value;  /* what --help calls the value; NULL if the option takes none */
    const char *help;   /* may hold newlines */
    const void *detail; /* OPT_ACTION: what the command itself knows of it */
};

/* @type is the struct that opt_parse() fills. */
#define OPT_ROW(type, name, letter, kind, member, value, help)                                                         \
    {                                                                                                                  \
        name, letter, kind, offsetof(type, member), value, help, NULL                                                  \
    }
/* OPT_REFUSED of a letter. */
#define OPT_NOT_HERE(letter, value, why)                                                                               \
    {                                                                                                                  \
        NULL, letter, OPT_REFUSED, 0, value, why, NULL                                                                 \
    }
#define OPT_END                                                                                                        \
    {                                                                                                                  \
        .kind = OPT_KIND_END                                                                                           \
    }

/* The row that all commands have. */
extern const struct opt opt_help;

/* The command that @word names, if the first of @opts is of OPT_COMMANDS and has it; else NULL. */
const struct cmd *opt_command(const struct opt *opts, const char *word);

/* An argument that is no option? */
bool opt_is_argument(const struct opt *opt);

struct opt_word {
    const char *value;
    struct opt_word *next;
    struct opt_word *older; /* in the list of all */
};

struct opt_action {
    const struct opt *opt;
    const char *value;
};
struct opt_actions {
    struct opt_action *list; /* from malloc() */
    size_t count;
};

#endif
