/* cmd_map.c - qcbm map: where the bytes of the disk are, as qemu-img map prints it
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "common_args.h"
#include "opt_parse.h"
#include "progress.h"
#include "qemu_text.h"

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
    OPT_COMMON_NO_LOCK,
    OPT_COMMON_NO_SANDBOX,
    OPT_COMMON_IMAGE_OPTS,
    OPT_END,
};

struct printer {
    bool json, begun;
    bool no_place; /* met data that the text has no column for */
    int lost;      /* errno of a failed write */
    struct progress progress;
    uint64_t start, length; /* of what is mapped */
};

static const char *word(bool value)
{
    return value ? "true" : "false";
}

static int print_json(struct printer *p, const struct qcbm_map_entry *e)
{
    int printed = printf("%s{ \"start\": %" PRIu64 ", \"length\": %" PRIu64 ", \"depth\": %" PRIu32
                         ", \"present\": %s, \"zero\": %s, \"data\": %s, \"compressed\": %s",
                         p->begun ? ",\n" : "[", e->start, e->length, e->depth, word(e->present), word(e->zero),
                         word(e->data), word(e->compressed));

    p->begun = true;
    if (printed >= 0 && e->offset != QCBM_NO_OFFSET)
        printed = printf(", \"offset\": %" PRIu64, e->offset);
    return printed < 0 || putchar('}') == EOF;
}

static int print_text(struct printer *p, const struct qcbm_map_entry *e)
{
    if (e->data && e->offset == QCBM_NO_OFFSET) {
        p->no_place = true;
        return 1;
    }
    if (!e->data || e->zero)
        return 0;
    if (printf("%#-16" PRIx64 "%#-16" PRIx64 "%#-16" PRIx64, e->start, e->length, e->offset) < 0)
        return 1;
    print_escaped(stdout, e->filename, strlen(e->filename));
    return putchar('\n') == EOF;
}

static int print_entry(void *opaque, const struct qcbm_map_entry *e)
{
    struct printer *p = opaque;
    int failed = p->json ? print_json(p, e) : print_text(p, e);

    if (failed && !p->no_place)
        p->lost = errno;
    progress_show(&p->progress, e->start + e->length - p->start, p->length);
    return failed;
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

static int print_map(const struct cmd_disk *disk, const struct map_args *args)
{
    const char *path = args->common.path;
    struct printer p = { .json = args->common.output == OUTPUT_JSON, .progress.wanted = args->common.progress };
    struct qcbm_error err;
    int ret;

    p.start = args->start;
    p.length = length_of(disk, args);
    if (!p.json)
        printf("%-16s%-16s%-16s%s\n", "Offset", "Length", "Mapped to", "File");
    ret = walk(disk, args, &p, &err);
    progress_end(&p.progress, ret == 0);
    if (ret < 0) {
        if (p.no_place)
            return cmd_error("File contains external, encrypted or compressed clusters.");
        if (p.lost)
            return cmd_error("could not write the output: %s", strerror(p.lost));
        return cmd_lib_error(&err, "Could not read file metadata of '%s'", path);
    }
    if (p.json && !p.begun) { /* qemu-img's answer for an empty range */
        struct qcbm_map_entry none = { .start = args->start, .offset = QCBM_NO_OFFSET };

        print_json(&p, &none);
    }
    if (p.json)
        printf("]\n");
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
    if (!common_take_name(&args.common))
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
