/* cmd_map.c - qcbm map: where the bytes of the disk are, as qemu-img map prints it
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "image_name.h"
#include "opt_parse.h"
#include "progress.h"
#include "qemu_text.h"

struct map_args {
    const char *path, *format;
    uint64_t start, length;
    enum opt_output output;
    const char *object; /* without effect */
    bool image_opts, force_share, no_lock, no_sandbox, progress;
};

static const struct opt map_opts[] = {
    OPT_COMMON_FILE(map_args),
    OPT_COMMON_FORMAT_OR_RAW(map_args),
    { "start-offset", 's', OPT_SIZE, offsetof(struct map_args, start), "OFFSET", "begin there (default: 0)" },
    { "max-length", 'l', OPT_SIZE, offsetof(struct map_args, length), "LEN", "end after so many bytes" },
    { "force-share", 'U', OPT_FLAG, offsetof(struct map_args, force_share), NULL, "read while a writer is active" },
    OPT_COMMON_PROGRESS(map_args),
    OPT_COMMON_OUTPUT(map_args),
    OPT_COMMON_NO_LOCK(map_args),
    OPT_COMMON_NO_SANDBOX(map_args),
    OPT_COMMON_IMAGE_OPTS(map_args),
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
    unsigned flags = args->force_share ? QCBM_MAP_FORCE_SHARE : 0;

    if (disk->raw)
        return qcbm_chain_map(disk->raw, args->start, args->length, print_entry, p, err);
    return qcbm_map(disk->img, args->start, args->length, flags, print_entry, p, err);
}

static int print_map(const struct cmd_disk *disk, const char *path, const struct map_args *args)
{
    struct printer p = { .json = args->output == OUTPUT_JSON, .progress.wanted = args->progress };
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
    enum opt_result parsed = opt_parse(cmd, argc, argv, &args);

    if (parsed != OPT_GO_ON)
        return parsed == OPT_HELP_SHOWN ? EXIT_DONE : EXIT_FAILED;
    if (!image_name_take(&args.path, &args.format, args.image_opts))
        return EXIT_FAILED;
    cmd_shut_in(args.no_sandbox, true, args.path, NULL);
    unsigned flags = (args.force_share ? QCBM_OPEN_FORCE_SHARE : 0) | (args.no_lock ? QCBM_OPEN_NO_LOCK : 0);
    struct cmd_disk disk;
    if (!cmd_open_disk(args.path, args.format, flags, &disk))
        return EXIT_FAILED;
    int code = print_map(&disk, args.path, &args);
    cmd_close_disk(&disk);
    return code;
}

const struct cmd cmd_map = { "map",    NULL,    "Show where the bytes of the disk are, in FILE and its backing chain.",
                             map_opts, run_map, NULL };
