/* record_text.c - the words of the record of a run
 * SPDX-License-Identifier: MIT
 */
#include "record_text.h"

#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "every_args.h"
#include "json_squeeze.h"
#include "json_write.h"
#include "run_note.h"

/* Each byte takes six letters at most: \u00XX. */
enum { BRIEF_IMAGE = 150, BRIEF_MESSAGE = 180 };

enum { FILE_ID_ROOM = 96 };

/* ---- an object in one line ----------------------------------------------------------------------------- */

struct line {
    struct json_writer w;
    char *text;
    size_t len;
};

static bool line_begin(struct line *line)
{
    *line = (struct line){ 0 };
    line->w.out = open_memstream(&line->text, &line->len);
    if (line->w.out)
        json_begin_object(&line->w, NULL);
    return line->w.out != NULL;
}

static char *line_end(struct line *line)
{
    struct json_squeeze s = { 0 };

    json_end_object(&line->w);
    if (fclose(line->w.out) != 0) {
        free(line->text);
        return NULL;
    }
    line->len =
        json_squeeze(&s, line->text, line->len, line->text); /* never longer, and never ahead of what it reads */
    line->text[line->len] = '\0';
    return line->text;
}

char *record_string(const char *text)
{
    struct line line;
    char *end;

    if (!line_begin(&line))
        return NULL;
    json_string(&line.w, "", text); /* {"":"..."} */
    end = line_end(&line);
    if (end) {
        memmove(end, end + 4, line.len - 4);
        end[line.len - 5] = '\0';
    }
    return end;
}

/* ---- who ----------------------------------------------------------------------------------------------- */

/* "qcbm.checkpoint.create/1". What is in a record may grow; where it changes, the number does. */
static void write_schema(struct json_writer *w, const struct cmd *cmd)
{
    char text[64];

    snprintf(text, sizeof text, "qcbm.%s/1", cmd->name);
    for (char *at = text; *at; at++) {
        if (*at == ' ')
            *at = '.';
    }
    json_string(w, "schema", text);
}

static void write_host(struct json_writer *w)
{
    char name[HOST_NAME_MAX + 1] = "";

    (void)gethostname(name, sizeof name);
    name[sizeof name - 1] = '\0';
    json_string(w, "host", name);
}

/* The number of a file in its file system, and when it was made: stays when the file is renamed, grows, or is seen from
 * another machine. Where the time is not known, the file system has to be named, by a number of this machine. */
static bool find_file_id(const char *path, char text[FILE_ID_ROOM])
{
    struct statx st;

    if (!path || statx(AT_FDCWD, path, 0, STATX_INO | STATX_BTIME | STATX_TYPE, &st) != 0)
        return false;
    if (S_ISBLK(st.stx_mode))
        snprintf(text, FILE_ID_ROOM, "block-%u:%u", st.stx_rdev_major, st.stx_rdev_minor);
    else if (st.stx_mask & STATX_BTIME)
        snprintf(text, FILE_ID_ROOM, "file-%llu-%lld.%09u", (unsigned long long)st.stx_ino,
                 (long long)st.stx_btime.tv_sec, st.stx_btime.tv_nsec);
    else
        snprintf(text, FILE_ID_ROOM, "file-%llu-%u:%u", (unsigned long long)st.stx_ino, st.stx_dev_major,
                 st.stx_dev_minor);
    return true;
}

/* The tag goes wherever the image goes, and to its copies. So the file is told as well: where it is another one, the
 * image has been moved, or a copy has come in its place. */
static void write_ids(struct json_writer *w, const char *path)
{
    const char *tag = run_note()->tag;
    char id[sizeof run_note()->tag + 4], file[FILE_ID_ROOM];
    bool known = find_file_id(path, file);

    snprintf(id, sizeof id, "tag-%s", tag);
    if (tag[0] || known)
        json_string(w, "image_id", tag[0] ? id : file);
    else
        json_null(w, "image_id");
    if (known)
        json_string(w, "file_id", file);
    else
        json_null(w, "file_id");
}

/* UTC, which is in the order of time when it is in the order of letters. */
static void write_time(struct json_writer *w, const char *key, const struct timespec *when)
{
    char text[64];
    struct tm tm;
    size_t n = strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", gmtime_r(&when->tv_sec, &tm));

    snprintf(text + n, sizeof text - n, ".%06ldZ", when->tv_nsec / 1000);
    json_string(w, key, text);
}

char *record_who(const struct record_facts *facts, bool brief)
{
    const char *opened = run_note()->image[0] ? run_note()->image : NULL;
    const char *image = every_args.image ? every_args.image : opened;
    struct line line;

    if (!line_begin(&line))
        return NULL;
    write_schema(&line.w, facts->cmd);
    json_string(&line.w, "qcbm", qcbm_version());
    write_host(&line.w);
    if (image && (!brief || strlen(image) <= BRIEF_IMAGE))
        json_string(&line.w, "image", image);
    else
        json_null(&line.w, "image");
    write_ids(&line.w, opened ? opened : image);
    write_time(&line.w, "started", &facts->started);
    return line_end(&line);
}

/* ---- the end ------------------------------------------------------------------------------------------- */

static void write_error(struct json_writer *w, const char *code, const char *message, size_t len, uint64_t offset)
{
    json_begin_object(w, "error");
    json_string(w, "code", code);
    json_bytes(w, "message", message, len);
    if (offset == QCBM_NO_OFFSET)
        json_null(w, "offset");
    else
        json_u64(w, "offset", offset);
    json_end_object(w);
}

static void write_noted_error(struct json_writer *w, bool brief)
{
    const struct run_note *note = run_note();
    size_t len = strnlen(note->message, sizeof note->message);
    const char *code = note->cause ? qcbm_code_name(note->cause) : note->wrong_use ? "USAGE" : "FAILED";

    write_error(w, code, note->message, brief && len > BRIEF_MESSAGE ? BRIEF_MESSAGE : len, note->offset);
}

static void write_how(struct json_writer *w, const struct record_facts *facts, bool brief)
{
    static const char no_json[] = "the answer is no JSON", elsewhere[] = "see standard error";
    char killed[64];

    snprintf(killed, sizeof killed, "ended by signal %d", facts->signal);
    if (facts->signal)
        write_error(w, "KILLED", killed, strlen(killed), QCBM_NO_OFFSET);
    else if (facts->code == EXIT_DONE)
        json_null(w, "error");
    else if (run_note()->failed)
        write_noted_error(w, brief);
    else if (facts->wrong_answer)
        write_error(w, "FAILED", no_json, strlen(no_json), QCBM_NO_OFFSET);
    else if (facts->code == EXIT_FAILED)
        write_error(w, "FAILED", elsewhere, strlen(elsewhere), QCBM_NO_OFFSET);
    else /* a code that tells what was found */
        json_null(w, "error");
}

char *record_end(const struct record_facts *facts, bool brief)
{
    struct line line;

    if (!line_begin(&line))
        return NULL;
    json_fixed(&line.w, "seconds", facts->seconds, 6);
    json_u64(&line.w, "rc", (uint64_t)facts->code);
    write_how(&line.w, facts, brief);
    json_u64(&line.w, "warnings", run_note()->warnings);
    return line_end(&line);
}

/* ---- a file -------------------------------------------------------------------------------------------- */

char *record_file_name(const struct record_facts *facts)
{
    char host[HOST_NAME_MAX + 1] = "", when[64], *name = NULL;
    struct tm tm;

    (void)gethostname(host, sizeof host);
    host[sizeof host - 1] = '\0';
    strftime(when, sizeof when, "%Y%m%dT%H%M%S", gmtime_r(&facts->started.tv_sec, &tm));
    if (asprintf(&name, "qcbm-%s-%s.%06ldZ-%s-%ld.json", facts->cmd->name, when, facts->started.tv_nsec / 1000, host,
                 (long)getpid()) < 0)
        return NULL;
    for (char *at = name; *at; at++) {
        if (!isalnum((unsigned char)*at) && *at != '.' && *at != '-')
            *at = '-';
    }
    return name;
}
