/* cmd.h - a sub-command as a record, and how commands end
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_CMD_H
#define QCBM_TOOL_CMD_H

#include <stdbool.h>

#include "qcbm.h"

struct opt; /* opt.h */

struct cmd {
    const char *name;
    const char *synopsis; /* what follows the options, for --help; NULL: what the table of options says */
    const char *summary;  /* one line */
    const struct opt *opts;
    int (*run)(const struct cmd *cmd, int argc, char **argv); /* argv[0] is the name; returns the exit code */
    const char *exit_codes;                                   /* for --help; NULL for EXIT_DONE and EXIT_FAILED alone */
};

/* cmds.c: all sub-commands, ended by NULL. */
extern const struct cmd *const cmds[];

extern const struct cmd cmd_bitmap, cmd_check, cmd_extents, cmd_info, cmd_synth;
extern const struct cmd cmd_checkpoint; /* has commands of its own, see OPT_COMMANDS */
extern const struct cmd cmd_apply;
extern const struct cmd cmd_manifest;
extern const struct cmd cmd_picture;
extern const struct cmd cmd_attach, cmd_tag;
extern const struct cmd cmd_delta, cmd_dump, cmd_edit, cmd_map, cmd_measure, cmd_rescue, cmd_snapshot, cmd_undo;

enum { EXIT_DONE = 0, EXIT_FAILED = 1, EXIT_TEMPFAIL = 75 /* EX_TEMPFAIL of sysexits.h: with --tempfail */ };

/* One line "qcbm: ..." on stderr, escaped. All return EXIT_FAILED, so that a caller can return them. */
int cmd_error(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* As cmd_error(), for what the library says: "PREFIX: message (at offset 0x...)". */
int cmd_lib_error(const struct qcbm_error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* As cmd_error(), and a second line that names --help; @cmd may be NULL. */
int cmd_usage_error(const struct cmd *cmd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* The second line of that. */
void cmd_name_help(const struct cmd *cmd);
/* One line on stderr about what may have been meant, behind an error of wrong use. */
void cmd_hint(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* Hints name this image, unless there are others. cmd_open() does it. It is kept. */
void cmd_name_image(const char *path);
/* Something lasting was done, @what in words: should the output get lost afterwards, that is said. It is kept. */
void cmd_note_done(const char *what);
/* The last of these; NULL if nothing was. */
const char *cmd_done(void);
/* One line on stderr that does not end the command. */
void cmd_warning(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
/* After a map of @img was made: what of its mapping tables lies past the end of the file, which the map shows as
 * empty. */
void cmd_warn_of_lost_tables(const struct qcbm_image *img, const char *path);

/* cmd_open() does not open this very string for writing any more. It is kept. */
void cmd_forbid_writing(const char *path);

/* Was that not forbidden? */
bool cmd_may_write(const char *path);

/* Open @path; @format is what -f said, NULL for nothing. Prints the error. */
struct qcbm_image *cmd_open(const char *path, const char *format, unsigned flags);

/* The same of the format qcow2, without a word; and what the first bytes say, as qcbm_probe(). @path may be a URI here,
 * as in all calls of this header that open an image. */
int cmd_try_open(const char *path, unsigned flags, struct qcbm_image **out, struct qcbm_error *err);
int cmd_try_probe(const char *path, const char **format, struct qcbm_error *err);
int cmd_try_dump(const char *path, unsigned flags, struct qcbm_dump **out, struct qcbm_error *err);

/* A disk that is only read: one of the two. */
struct cmd_disk {
    struct qcbm_image *img;
    struct qcbm_chain *raw; /* of one layer */
};
/* As cmd_open(), for commands to which a raw image is as good: without @format its first bytes tell what it is. Only
 * for names that were typed. */
bool cmd_open_disk(const char *path, const char *format, unsigned flags, struct cmd_disk *out);
/* It is to be written to (@flags), and behind a server? Prints the error then; both above do so themselves. */
bool cmd_refuse_server(const char *path, unsigned flags);
/* In whole sectors, as QEMU has it. */
uint64_t cmd_disk_size(const struct cmd_disk *disk);
void cmd_close_disk(struct cmd_disk *disk);

/* After an image that was opened with @flags: it is locked, and -U may be what is wanted. */
void cmd_hint_at_sharing(const struct qcbm_error *err, unsigned flags);

/* Before the first image is opened by a command that only reads: connect to the server if @path is a URI, and shut the
 * process in, unless @off (--no-sandbox). Of all files it can then read @path and @other (may be NULL), or any if it
 * has to follow the backing @chain. */
void cmd_shut_in(bool off, bool chain, const char *path, const char *other);

#endif
