/* every_args.c - the options that every command has: how a run is recorded, and its manners
 * SPDX-License-Identifier: MIT
 */
#include "every_args.h"

#include "cmd.h"

#define ROW(name, kind, member, value, help) OPT_ROW(struct every_args, name, 0, kind, member, value, help)

const struct opt every_opts[] = {
    ROW("record", OPT_STRING, record, "FILE",
        "append a line of JSON about this run to FILE ('-': stdout),\nalso if it fails; the answer is in it"),
    ROW("record-dir", OPT_STRING, record_dir, "FOLDER",
        "where an answer goes that is too long for a line\n(default: the folder of FILE; of stdout the current one)"),
    ROW("tempfail", OPT_FLAG, tempfail, NULL, "exit with 75, not 1, if another program uses an image"),
    ROW("nice", OPT_FLAG, nice, NULL, "read when nobody else does, and leave no cache behind"),
    ROW("max-read", OPT_SIZE, max_read, "BYTES", "read so many bytes a second at most"),
    OPT_END,
};

struct every_args every_args;

bool every_refuses_stdout(void)
{
    if (every_args.record)
        cmd_error("--record cannot be combined with data on standard output: name a file for it");
    return every_args.record != NULL;
}
