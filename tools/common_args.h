/* common_args.h - options and arguments that several commands have: their rows, and what they mean
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_COMMON_ARGS_H
#define QCBM_TOOL_COMMON_ARGS_H

#include <stdint.h>

#include "cmd.h"
#include "opt.h"

/* The first member of a command's own struct, so that the rows below fit all of them. What a command has no row for is
 * false or NULL. */
struct common_args {
    const char *path, *format; /* of the image; see common_take_name() */
    const char *undo;
    const char *object; /* without effect */
    const struct opt_word *below;
    enum opt_output output;
    uint64_t threads; /* 0: as many as there are processors */
    bool image_opts, force_share, no_lock, no_sandbox, dry_run, force, progress, quiet;
};

#define COMMON_ARGS_FIRST(type) _Static_assert(offsetof(type, common) == 0, "rows of common arguments")

/* clang-format off */
#define COMMON_ROW(name, letter, kind, member, value, help) \
    OPT_ROW(struct common_args, name, letter, kind, member, value, help)
#define COMMON_FLAG(name, letter, member, help) COMMON_ROW(name, letter, OPT_FLAG, member, NULL, help)

#define OPT_COMMON_FILE COMMON_ROW(NULL, 0, OPT_ARG, path, "FILE", "one image file name")
#define OPT_COMMON_FORMAT \
    COMMON_ROW(NULL, 'f', OPT_STRING, format, "FMT", "format of the image: qcow2, found without this option too")
#define OPT_COMMON_FORMAT_OR_RAW \
    COMMON_ROW(NULL, 'f', OPT_STRING, format, "FMT", "format of the image: qcow2 or raw (default: by its first bytes)")
#define OPT_COMMON_FORCE_SHARE COMMON_FLAG("force-share", 'U', force_share, "read while a writer is active")
#define OPT_COMMON_DRY_RUN COMMON_FLAG("dry-run", 0, dry_run, "print what would be written, and write nothing")
#define OPT_COMMON_UNDO \
    COMMON_ROW("undo", 0, OPT_STRING, undo, "FILE", "save what is overwritten to this new file, for qcbm undo")
#define OPT_COMMON_QUIET COMMON_FLAG("quiet", 'q', quiet, "print errors only")
#define OPT_COMMON_PROGRESS COMMON_FLAG("progress", 'p', progress, "show progress on stderr")
#define OPT_COMMON_OUTPUT \
    COMMON_ROW("output", 0, OPT_OUTPUT, output, "human|json|jsonl", "how to print (default: human)")
#define OPT_COMMON_NO_LOCK \
    COMMON_FLAG("no-lock", 0, no_lock, "without locks: servers and some file systems have none")
/* For commands that take the image by common_open(), or call common_set_below(). */
#define OPT_COMMON_BELOW \
    COMMON_ROW("below", 0, OPT_WORDS, below, "LAYER", \
               "the image below FILE, in place of the name in it: a file or a\nURI; once more for the one below that")
#define OPT_COMMON_NO_SANDBOX \
    COMMON_FLAG("no-sandbox", 0, no_sandbox, "do not shut the process in before the image is read")
#define OPT_COMMON_THREADS \
    COMMON_ROW("threads", 0, OPT_SIZE, threads, "N", "read tables with N threads (default: one a processor, up to 8)")
#define OPT_COMMON_IMAGE_OPTS \
    COMMON_FLAG("image-opts", 0, image_opts, "the image is named by options, as driver=qcow2,file.filename=F"), \
    COMMON_ROW("object", 0, OPT_STRING, object, "OBJECT", "accepted without effect: no key is needed")
/* clang-format on */

/* From the name as it was typed to that of a local file, and its format. Prints the error. */
bool common_take_name(struct common_args *common);
/* The same, and it may be the URI of an NBD server; with the names of --below. */
bool common_take_name_or_uri(struct common_args *common);

/* Flags for an image that is only read; for one that is to be changed, but not in a dry run. */
unsigned common_reading(const struct common_args *common);
unsigned common_writing(const struct common_args *common);

/* Give @img, and no other image, the layers of --below. Prints the error. */
bool common_set_below(struct qcbm_image *img);

/* The image itself, with @flags of those. Both print the error. */
struct qcbm_image *common_open(const struct common_args *common, unsigned flags);
bool common_open_disk(const struct common_args *common, unsigned flags, struct cmd_disk *out);
/* Both ask this before: what a delta that is applied in part has left is no state of the disk. Who only looks at it is
 * warned; a dry run is refused, false, as the run is. Of who writes the library takes care. */
bool common_is_finished(const struct common_args *common, unsigned flags);

/* An image (NULL: none) that was opened in another way, told to use as many threads; returns it. */
struct qcbm_image *common_with_threads(const struct common_args *common, struct qcbm_image *img);

/* cmd_shut_in() for that image. */
void common_shut_in(const struct common_args *common, bool chain, const char *other);

#endif
