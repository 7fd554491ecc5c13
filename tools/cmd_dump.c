/* cmd_dump.c - qcbm dump: the structures of an image as they lie in the file
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "colour.h"
#include "common_args.h"
#include "json_write.h"
#include "opt_parse.h"
#include "progress.h"
#include "qemu_text.h"

struct dump_args {
    struct common_args common;
    const char *part, *range;
};
COMMON_ARGS_FIRST(struct dump_args);

static const struct opt dump_opts[] = {
    OPT_ROW(struct dump_args, NULL, 0, OPT_ARG, common.path, "FILE", "filename"),
    OPT_ROW(struct dump_args, NULL, 0, OPT_ARG, part, "header|extensions|l1|l2|refcounts|snapshots|bitmaps", "part"),
    OPT_ROW(struct dump_args, NULL, 0, OPT_ARG_PERHAPS, range, "RANGE", "a range"),
    OPT_COMMON_FORCE_SHARE,
    OPT_COMMON_PROGRESS,
    OPT_COMMON_OUTPUT,
    OPT_COMMON_NO_LOCK,
    OPT_COMMON_NO_SANDBOX,
    OPT_END,
};

/* What a range counts: bytes of the disk, bytes of the file, or entries; parts with none have no range. */
enum range_kind { RANGE_NONE, RANGE_BYTES, RANGE_ENTRIES };

static const struct part {
    const char *name;
    enum qcbm_dump_kind kind;
    enum range_kind range;
} parts[] = {
    { "header", QCBM_DUMP_HEADER, RANGE_NONE },
    { "extensions", QCBM_DUMP_EXTENSIONS, RANGE_NONE },
    { "l1", QCBM_DUMP_L1, RANGE_BYTES },
    { "l2", QCBM_DUMP_L2, RANGE_BYTES },
    { "refcounts", QCBM_DUMP_REFCOUNTS, RANGE_BYTES },
    { "snapshots", QCBM_DUMP_SNAPSHOTS, RANGE_ENTRIES },
    { "bitmaps", QCBM_DUMP_BITMAPS, RANGE_ENTRIES },
};

struct printer {
    struct json_writer *json; /* NULL for text */
    int lost;                 /* errno of a failed write */
};

static void print_text(const struct qcbm_dump_item *item)
{
    printf("0x%08" PRIx64 "  ", item->offset);
    if (item->index == QCBM_NO_OFFSET)
        printf("%s", item->name);
    else
        printf("%s[%" PRIu64 "]", item->name, item->index);
    if (item->bytes) {
        printf("  \"");
        print_escaped(stdout, (const char *)item->bytes, item->n_bytes);
        putchar('"');
    } else {
        printf("  0x%" PRIx64, item->value);
    }
    if (item->meaning[0])
        printf("  %s", item->meaning);
    if (item->problem) {
        printf("  ");
        colour_word(stdout, TONE_ERROR, "BAD:");
        putchar(' ');
        print_escaped(stdout, item->problem, strlen(item->problem));
    }
    putchar('\n');
}

static void write_json(struct json_writer *w, const struct qcbm_dump_item *item)
{
    json_begin_object(w, NULL);
    json_u64(w, "offset", item->offset);
    json_u64(w, "length", item->length);
    json_string(w, "name", item->name);
    if (item->index != QCBM_NO_OFFSET)
        json_u64(w, "index", item->index);
    if (item->bytes) {
        json_hex(w, "bytes", item->bytes, item->n_bytes);
        json_bytes(w, "text", (const char *)item->bytes, item->n_bytes);
    } else {
        json_u64(w, "value", item->value);
    }
    json_string(w, "meaning", item->meaning);
    if (item->problem)
        json_string(w, "problem", item->problem);
    json_end_object(w);
}

static int print_item(void *opaque, const struct qcbm_dump_item *item)
{
    struct printer *p = opaque;

    if (p->json)
        write_json(p->json, item);
    else
        print_text(item);
    if (ferror(stdout))
        p->lost = errno;
    return p->lost != 0;
}

/* "START", "START-END" (the last byte or entry) or "START+LENGTH". */
static bool parse_range(const char *text, uint64_t *first, uint64_t *last)
{
    char *copy = strdup(text);
    size_t cut = strcspn(text, "-+");
    uint64_t second = 0;
    bool good = copy != NULL;

    if (good) {
        copy[cut] = '\0';
        good = size_parse(copy, first) == SIZE_OK;
    }
    *last = *first;
    if (good && text[cut]) {
        good = size_parse(text + cut + 1, &second) == SIZE_OK && (text[cut] == '-' ? second >= *first : second > 0);
        *last = text[cut] == '-' ? second : *first + second - 1;
    }
    free(copy);
    return good;
}

static int dump_part(struct qcbm_dump *dump, const struct part *part, uint64_t first, uint64_t last,
                     const struct common_args *common)
{
    struct json_writer w = JSON_WRITER_INIT(stdout);
    struct printer p = { .json = common->output == OUTPUT_JSON ? &w : NULL };
    struct progress shown = { .wanted = common->progress };
    const struct qcbm_progress progress = progress_of(&shown);
    struct qcbm_error err;
    int ret;

    if (p.json)
        json_begin_array(&w, NULL);
    ret = qcbm_dump_part(dump, part->kind, first, last, print_item, &p, &progress, &err);
    progress_end(&shown, ret == 0);
    if (ret < 0) {
        if (p.lost)
            return cmd_error("could not write the output: %s", strerror(p.lost));
        return cmd_lib_error(&err, "Could not read the %s of '%s'", part->name, common->path);
    }
    if (p.json) {
        json_end_array(&w);
        json_finish(&w);
    }
    return EXIT_DONE;
}

static int fail_part(const struct cmd *cmd, const char *name)
{
    char text[256] = "";
    size_t len = 0;

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++)
        len += (size_t)snprintf(text + len, sizeof text - len, "%s%s", i ? ", " : "", parts[i].name);
    return cmd_usage_error(cmd, "Unknown part '%s'; there are %s", name, text);
}

static const struct part *find_part(const char *name)
{
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (strcmp(parts[i].name, name) == 0)
            return &parts[i];
    }
    return NULL;
}

static int run_dump(const struct cmd *cmd, int argc, char **argv)
{
    struct dump_args args = { 0 };
    uint64_t begin = 0, last = UINT64_MAX;
    struct qcbm_dump *dump;
    struct qcbm_error err;
    int code = opt_parse(cmd, argc, argv, &args);

    if (code != OPT_GO_ON)
        return code;
    const struct part *part = find_part(args.part);
    if (!part)
        return fail_part(cmd, args.part);
    if (args.range && part->range == RANGE_NONE)
        return cmd_usage_error(cmd, "%s is shown whole, without a range", part->name);
    if (args.range && !parse_range(args.range, &begin, &last) && part->kind == QCBM_DUMP_BITMAPS)
        return cmd_usage_error(
            cmd, "Invalid range '%s': bitmaps go by their index here, from 0 on; without a range all are shown",
            args.range);
    if (args.range && !parse_range(args.range, &begin, &last))
        return cmd_usage_error(cmd, "Invalid range '%s'", args.range);
    if (!common_take_name_or_uri(&args.common))
        return EXIT_FAILED;
    common_shut_in(&args.common, false, NULL);
    if (cmd_try_dump(args.common.path, common_reading(&args.common), &dump, &err) < 0)
        return cmd_lib_error(&err, "Could not open '%s'", args.common.path);
    code = dump_part(dump, part, begin, last, &args.common);
    qcbm_dump_close(dump);
    return code;
}

const struct cmd cmd_dump = {
    "dump", NULL, "Show structures of an image as they lie in the file, damaged ones too.", dump_opts, run_dump, NULL
};
