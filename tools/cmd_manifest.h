/* cmd_manifest.h - what the files of qcbm manifest share: its arguments
 * SPDX-License-Identifier: MIT
 */
#ifndef QCBM_TOOL_CMD_MANIFEST_H
#define QCBM_TOOL_CMD_MANIFEST_H

#include "common_args.h"

struct manifest_args {
    struct common_args common;
    const char *surplus, *out, *digest, *text, *image_id;
    const char *update, *verify, *info; /* the manifest: which of the three is asked for */
    const char *bitmap;
    uint64_t granularity;
};
COMMON_ARGS_FIRST(struct manifest_args);

enum { EXIT_DIFFERENT = 2 };

/* "xxh3", "sha256"; NULL and 0 for what is none. */
const char *manifest_digest_name(unsigned digest);
unsigned manifest_digest_of(const char *name);

/* A disk and its chain, open for reading. */
struct manifest_disk {
    struct cmd_disk disk;
    struct qcbm_chain *chain;
};
/* Prints the error. Close it on failure too. */
bool manifest_open_disk(const struct manifest_args *args, struct manifest_disk *to);
void manifest_close_disk(struct manifest_disk *disk);

/* What of SHA-256 is needed is loaded, if it is there; behind this the process may be shut in. */
void manifest_prepare(void);

/* Each returns the exit code. */
int manifest_make(const struct manifest_args *args);
int manifest_verify(const struct manifest_args *args);
int manifest_info(const struct manifest_args *args);

/* Text and JSON of a manifest, as members of an object that is open or lines of text. */
struct rows;
void manifest_rows(struct rows *rows, const struct qcbm_manifest_info *info);

#endif
