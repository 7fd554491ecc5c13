/* cmd_map.c - qcbm map: where the bytes of the disk are, as qemu-img map prints it
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common_args.h"
#include "opt_parse.h"
#include "progress.h"
#include "qemu_text.h"
#include "text_out.h"

#define STATE_BYTES 96 /* the words for one are fewer */
#define COLUMN 16

struct map_args {
    struct common_args common;
    uint64_t start, length;
};
COMMON_ARGS_FIRST(struct map_args);

static const struct opt map_opts[] = {
    OPT_COMMON_FILE,
    OPT_COMMON_FORMAT_OR_RAW,
    OPT_ROW(struct map_args, "start-offset", 's', OPT_SIZE, start, "OFFSET", "begin there (default: 0)"),
    OPT_ROW(struct map_args, "max-length", 'l', OPT_SIZE, length, "LEN", "end after so many bytes"),
    OPT_COMMON_FORCE_SHARE,
    OPT_COMMON_PROGRESS,
    OPT_COMMON_OUTPUT,
    OPT_COMMON_BELOW,
    OPT_COMMON_NO_LOCK,
    OPT_COMMON_NO_SANDBOX,
    OPT_COMMON_IMAGE_OPTS,
    OPT_END,
};

struct printer {
    bool json, begun;
    bool no_place; /* met data that the text has no column for */
    struct progress progress;
    uint64_t start, length; /* of what is mapped */
    struct state {
        size_t len;
        char words[STATE_BYTES];
    } states[32]; /* what the JSON says of each, up to the offset, so that an entry copies it */
    struct text_high starts, offsets;
    const char *filename; /* the one whose printed form is .name */
    char *name;
    size_t name_len;
};

static struct text_out text;

static const char *word(bool value)
{
    return value ? "true" : "false";
}

static unsigned state_of(const struct qcbm_map_entry *e)
{
    return (unsigned)e->present | (unsigned)e->zero << 1 | (unsigned)e->data << 2 | (unsigned)e->compressed << 3 |
           (unsigned)(e->offset != QCBM_NO_OFFSET) << 4;
}

static void word_states(struct printer *p)
{
    for (unsigned i = 0; i < 32; i++)
        p->states[i].len = (size_t)snprintf(
            p->states[i].words, STATE_BYTES, ", \"present\": %s, \"zero\": %s, \"data\": %s, \"compressed\": %s%s",
            word(i & 1), word(i & 2), word(i & 4), word(i & 8), i & 16 ? ", \"offset\": " : "");
}

static char *put_state(char *at, const struct state *state)
{
    memcpy(at, state->words, STATE_BYTES); /* of known size; what is behind its end is written over */
    return at + state->len;
}

static void print_json(struct printer *p, const struct qcbm_map_entry *e)
{
    char *at = text_room(&text);

    at = p->begun ? text_literal(at, ",\n{ \"start\": ") : text_literal(at, "[{ \"start\": ");
    p->begun = true;
    at = text_u64_after(at, e->start, &p->starts);
    at = text_u64(text_literal(at, ", \"length\": "), e->length);
    at = text_literal(at, ", \"depth\": ");
    if (e->depth < 10)
        *at++ = (char)('0' + e->depth);
    else
        at = text_u64(at, e->depth);
    at = put_state(at, &p->states[state_of(e)]);
    if (e->offset != QCBM_NO_OFFSET)
        at = text_u64_after(at, e->offset, &p->offsets);
    *at++ = '}';
    text_end(&text, at);
}

/* The name of a file as it is printed, in memory: the entries of a layer share it. */
static bool print_name(struct printer *p, const char *filename)
{
    FILE *out;

    free(p->name);
    p->filename = p->name = NULL;
    out = open_memstream(&p->name, &p->name_len);
    if (!out)
        return false;
    print_escaped(out, filename, strlen(filename));
    putc('\n', out);
    if (fclose(out) != 0)
        return false;
    p->filename = filename;
    return true;
}

static void print_text(struct printer *p, const struct qcbm_map_entry *e)
{
    char *at;

    p->no_place = e->data && e->offset == QCBM_NO_OFFSET;
    if (p->no_place || !e->data || e->zero)
        return;
    if (e->filename != p->filename && !print_name(p, e->filename)) {
        text.lost = ENOMEM;
        return;
    }
    at = text_room(&text);
    at = text_hex_left(at, e->start, COLUMN);
    at = text_hex_left(at, e->length, COLUMN);
    at = text_hex_left(at, e->offset, COLUMN);
    text_end(&text, at);
    text_put(&text, p->name, p->name_len);
}

static int print_entry(void *opaque, const struct qcbm_map_entry *e)
{
    struct printer *p = opaque;

    if (p->json)
        print_json(p, e);
    else
        print_text(p, e);
    progress_show(&p->progress, e->start + e->length - p->start, p->length);
    return text.lost || p->no_place;
}

static uint64_t length_of(const struct cmd_disk *disk, const struct map_args *args)
{
    uint64_t size = cmd_disk_size(disk), rest = size > args->start ? size - args->start : 0;

    return args->length < rest ? args->length : rest;
}

static int walk(const struct cmd_disk *disk, const struct map_args *args, struct printer *p, struct qcbm_error *err)
{
    unsigned flags = args->common.force_share ? QCBM_MAP_FORCE_SHARE : 0;

    if (disk->raw)
        return qcbm_chain_map(disk->raw, args->start, args->length, print_entry, p, err);
    return qcbm_map(disk->img, args->start, args->length, flags, print_entry, p, err);
}

/* The end of the text; false if it could not be written. */
static bool finish(struct printer *p, uint64_t start)
{
    if (p->json && !p->begun) { /* qemu-img's answer for an empty range */
        struct qcbm_map_entry none = { .start = start, .offset = QCBM_NO_OFFSET };

        print_json(p, &none);
    }
    if (p->json)
        text_put(&text, "]\n", 2);
    return text_flush(&text) == 0;
}

static int explain(const struct printer *p, const char *path, const struct qcbm_error *err)
{
    if (p->no_place)
        return cmd_error("File contains external, encrypted or compressed clusters.");
    if (text.lost)
        return cmd_error("could not write the output: %s", strerror(text.lost));
    return cmd_lib_error(err, "Could not read file metadata of '%s'", path);
}

static int print_map(const struct cmd_disk *disk, const struct map_args *args)
{
    const char *path = args->common.path;
    struct printer p = { .json = args->common.output == OUTPUT_JSON, .progress.wanted = args->common.progress };
    struct qcbm_error err;
    int ret;

    p.start = args->start;
    p.length = length_of(disk, args);
    text_begin(&text, stdout);
    word_states(&p);
    if (!p.json)
        printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File");
    ret = walk(disk, args, &p, &err);
    progress_end(&p.progress, ret == 0);
    free(p.name);
    if (ret < 0 || !finish(&p, args->start))
        return explain(&p, path, &err);
    cmd_warn_of_lost_tables(disk->img, path);
    return EXIT_DONE;
}

static int run_map(const struct cmd *cmd, int argc, char **argv)
{
    struct map_args args = { .length = UINT64_MAX };
    struct cmd_disk disk;
    int code = opt_parse(cmd, argc, argv, &args);

    if (code != OPT_GO_ON)
        return code;
    if (!common_take_name_or_uri(&args.common))
        return EXIT_FAILED;
    common_shut_in(&args.common, true, NULL);
    if (!common_open_disk(&args.common, common_reading(&args.common), &disk))
        return EXIT_FAILED;
    code = print_map(&disk, &args);
    cmd_close_disk(&disk);
    return code;
}

const struct cmd cmd_map = { "map",    NULL,    "Show where the bytes of the disk are, in FILE and its backing chain.",
                             map_opts, run_map, NULL };
