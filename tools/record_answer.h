/* record_answer.h - what a run has answered: for the line of its record, or for a file beside it
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_RECORD_ANSWER_H
#define QCBM_TOOL_RECORD_ANSWER_H

#include "json_squeeze.h"
#include "output.h"
#include "record_text.h"

/* One write of so many bytes to a pipe is one piece, and two processes do not mix theirs. */
enum { RECORD_LINE = 4096 };

struct record_answer {
    const struct record_facts *facts;
    const char *folder; /* for the file; absolute */
    struct json_squeeze json;
    char line[RECORD_LINE]; /* the answer as long as it is short */
    size_t len;             /* of that */
    bool spilled;           /* it goes to the file, which has been begun */
    bool lost;              /* there was no way to write that file; told */
    char *path;             /* of the file */
    struct output file;
};

/* Some more of it. */
void record_answer_take(struct record_answer *a, const char *bytes, size_t len);
/* Begin the file in any case: the record has more that is too long. */
void record_answer_spill(struct record_answer *a);
/* As if nothing had come; only of one that has not spilled. */
void record_answer_drop(struct record_answer *a);
/* Complete the file, with all that the record has, or take it away where the answer is not whole. False: it is not
 * there. */
bool record_answer_close(struct record_answer *a);
/* It is all there, and JSON. */
bool record_answer_is_whole(const struct record_answer *a);
void record_answer_free(struct record_answer *a);

#endif
