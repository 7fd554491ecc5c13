/* record_text.h - the words of the record of a run
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_RECORD_TEXT_H
#define QCBM_TOOL_RECORD_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <time.h>

#include "cmd.h"

struct record_facts {
    const struct cmd *cmd;
    struct timespec started, begun; /* by the calendar; by a clock that nobody sets */
    double seconds;
    int code;          /* the exit code */
    int signal;        /* that ended the run, 0: none */
    bool wrong_answer; /* it was no JSON */
};

/* One object each, in one line, from malloc() or NULL: who ran and on what; how it ended. With @brief a long name of an
 * image is null, and a long message cut: neither object is longer than RECORD_BRIEF. */
enum { RECORD_BRIEF = 1500 };
char *record_who(const struct record_facts *facts, bool brief);
char *record_end(const struct record_facts *facts, bool brief);
/* @text as a JSON string, from malloc() or NULL. */
char *record_string(const char *text);

/* "qcbm-synth-20260102T030405.678901Z-HOST-PID.json", of letters that every file system takes; from malloc() or
 * NULL. */
char *record_file_name(const struct record_facts *facts);

#endif
