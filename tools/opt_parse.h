/* opt_parse.h - one table of options and arguments per command: parsing, help and completion come from it
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_OPT_PARSE_H
#define QCBM_TOOL_OPT_PARSE_H

#include <stddef.h>

#include "cmd.h"

enum opt_kind {
    OPT_KIND_END,
    OPT_FLAG,    /* bool */
    OPT_STRING,  /* const char * into argv */
    OPT_SIZE,    /* uint64_t, as qemu-img reads sizes */
    OPT_OUTPUT,  /* enum opt_output */
    OPT_ACTION,  /* struct opt_actions: appended, so the order on the command line is kept */
    OPT_REFUSED, /* an option of qemu-img that qcbm does not have; .help says why, --help does not list it */
    /* Arguments that are no options, in the order of the table: const char * into argv, NULL where there is none.
     * .help is what is said to be expected where one is missing. */
    OPT_ARG,         /* must be there */
    OPT_ARG_PERHAPS, /* may be missing */
    OPT_ARG_SURPLUS, /* the first that no other row takes; the command judges the number of arguments by itself */
};

enum opt_output { OUTPUT_HUMAN, OUTPUT_JSON };

struct opt {
    const char *name; /* long name; NULL for none */
    char letter;      /* short name; 0 for none */
    enum opt_kind kind;
    size_t offset;     /* of the variable in the struct that opt_parse() fills */
    const char *value; /* what --help calls the value; NULL if the option takes none */
    const char *help;  /* may hold newlines */
};

/* The row that all commands have. */
extern const struct opt opt_help;

/* An argument that is no option? */
bool opt_is_argument(const struct opt *opt);

#define OPT_END                                                                                                        \
    {                                                                                                                  \
        NULL, 0, OPT_KIND_END, 0, NULL, NULL                                                                           \
    }

/* Rows that several commands have; @type is the command's struct of arguments. */
/* clang-format off */
#define OPT_COMMON_FORMAT(type) { NULL, 'f', OPT_STRING, offsetof(struct type, format), "FMT", \
                                  "format of the image: qcow2, found without this option too" }
#define OPT_COMMON_FORMAT_OR_RAW(type) { NULL, 'f', OPT_STRING, offsetof(struct type, format), "FMT", \
                                         "format of the image: qcow2 or raw (default: by its first bytes)" }
#define OPT_COMMON_FILE(type) { NULL, 0, OPT_ARG, offsetof(struct type, path), "FILE", "one image file name" }
#define OPT_COMMON_OUTPUT(type) { "output", 0, OPT_OUTPUT, offsetof(struct type, output), "human|json", \
                                  "how to print (default: human)" }
#define OPT_COMMON_PROGRESS(type) { "progress", 'p', OPT_FLAG, offsetof(struct type, progress), NULL, \
                                    "show progress on stderr" }
#define OPT_COMMON_NO_LOCK(type) { "no-lock", 0, OPT_FLAG, offsetof(struct type, no_lock), NULL, \
                                   "go on where the file system cannot lock" }
#define OPT_COMMON_UNDO(type) { "undo", 0, OPT_STRING, offsetof(struct type, undo), "FILE", \
                                "save what is overwritten to this new file, for qcbm undo" }
#define OPT_COMMON_NO_SANDBOX(type) { "no-sandbox", 0, OPT_FLAG, offsetof(struct type, no_sandbox), NULL, \
                                      "do not shut the process in before the image is read" }
#define OPT_COMMON_IMAGE_OPTS(type) \
    { "image-opts", 0, OPT_FLAG, offsetof(struct type, image_opts), NULL, \
      "the image is named by options, as driver=qcow2,file.filename=F" }, \
    { "object", 0, OPT_STRING, offsetof(struct type, object), "OBJECT", "accepted without effect: no key is needed" }
/* clang-format on */

struct opt_action {
    const struct opt *opt;
    const char *value;
};
struct opt_actions {
    struct opt_action *list; /* from malloc() */
    size_t count;
};

enum opt_result { OPT_GO_ON, OPT_HELP_SHOWN, OPT_WRONG };

/* Read argv[1..] as GNU getopt_long() does: options and other arguments in any order, "--", bundled letters,
 * unambiguous beginnings of long names. @args is the command's struct, already filled with defaults. Prints --help and
 * errors itself. */
enum opt_result opt_parse(const struct cmd *cmd, int argc, char **argv, void *args);

#endif
