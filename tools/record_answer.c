/* record_answer.c - what a run has answered: for the line of its record, or for a file beside it
 * SPDX-License-Identifier: MIT
 *
 * The file is a record with everything in it, none of which is cut: who, "result", how it ended. It has its name when
 * it is complete, and replaces nothing.
 */
#include "record_answer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* What a run answers is made as it goes, so the answer comes before the end. */
static bool begin_file(struct record_answer *a)
{
    char *name = record_file_name(a->facts), *who = record_who(a->facts, false);
    bool ok = name && who && asprintf(&a->path, "%s/%s", a->folder, name) >= 0;

    if (!ok)
        cmd_error("no memory");
    else
        ok = output_open(&a->file, a->path, false, false) == EXIT_DONE;
    if (ok)
        fprintf(a->file.file, "%.*s,\"result\":%.*s", (int)strlen(who) - 1, who, (int)a->len, a->line);
    free(name);
    free(who);
    return ok;
}

void record_answer_spill(struct record_answer *a)
{
    if (a->spilled || a->lost)
        return;
    a->spilled = begin_file(a);
    a->lost = !a->spilled;
}

void record_answer_drop(struct record_answer *a)
{
    a->json = (struct json_squeeze){ 0 };
    a->len = 0;
}

void record_answer_take(struct record_answer *a, const char *bytes, size_t len)
{
    char squeezed[1 << 14];

    while (len > 0) {
        size_t some = len < sizeof squeezed ? len : sizeof squeezed, n = json_squeeze(&a->json, bytes, some, squeezed);

        if (!a->spilled && n > sizeof a->line - a->len)
            record_answer_spill(a);
        if (a->spilled) {
            fwrite(squeezed, 1, n, a->file.file); /* errors stay in the FILE */
        } else if (!a->lost) {
            memcpy(a->line + a->len, squeezed, n);
            a->len += n;
        }
        bytes += some;
        len -= some;
    }
}

bool record_answer_is_whole(const struct record_answer *a)
{
    return json_squeeze_is_whole(&a->json);
}

/* The answer where there is none. */
static void end_file(struct record_answer *a)
{
    char *end = record_end(a->facts, false);

    if (end)
        fprintf(a->file.file, "%s,%s\n", a->json.begun ? "" : "null", end + 1);
    free(end);
}

bool record_answer_close(struct record_answer *a)
{
    int code = EXIT_FAILED;

    if (!a->spilled)
        return false;
    if (record_answer_is_whole(a) || !a->json.begun) {
        end_file(a);
        code = EXIT_DONE;
    }
    a->spilled = false;
    a->lost = output_close(&a->file, code) != EXIT_DONE && code == EXIT_DONE;
    return code == EXIT_DONE && !a->lost;
}

void record_answer_free(struct record_answer *a)
{
    free(a->path);
}
