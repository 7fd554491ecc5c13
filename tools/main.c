/* main.c - the command qcbm: finds the record of the sub-command and calls it
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
#include "colour.h"
#include "complete.h"
#include "every_args.h"
#include "help.h"
#include "opt_parse.h"
#include "run_note.h"
#include "run_recorded.h"
#include "sandbox.h"

/* A descriptor 0, 1 or 2 that was closed would be given to the next file opened: an image, which error messages would
 * then overwrite. Descriptor 1 is opened for reading, so that output still fails. */
static void hold_standard_descriptors(void)
{
    for (int fd = 0; fd <= 2; fd++) {
        if (fcntl(fd, F_GETFD) < 0 && errno == EBADF && open("/dev/null", fd == 2 ? O_WRONLY : O_RDONLY) < 0)
            _exit(EXIT_FAILED);
    }
}

static int show_version(void)
{
    int abi = sandbox_landlock_abi();

    printf("qcbm %s\nsandbox: ", qcbm_version());
    if (abi)
        printf("Landlock ABI %d, ", abi);
    else
        printf("no Landlock, ");
    puts(sandbox_has_seccomp() ? "seccomp" : "no seccomp");
    return EXIT_DONE;
}

/* What is printed is out, or the command has failed. */
static int end_output(int code)
{
    if (code == EXIT_FAILED) {
        __fpurge(stdout); /* what is not out yet stays in: a command that fails prints nothing */
        return code;
    }
    bool lost = ferror(stdout);
    if (fclose(stdout) != 0 || lost)
        return cmd_error("could not write the output: %s%s%s", strerror(errno), cmd_done() ? "; " : "",
                         cmd_done() ? cmd_done() : "");
    return code;
}

static int run_command(const struct cmd *cmd, int argc, char **argv)
{
    int code = end_output(cmd->run(cmd, argc, argv));
    bool later = every_args.tempfail && code == EXIT_FAILED && run_note()->failed && run_note()->cause == QCBM_E_LOCKED;

    return later ? EXIT_TEMPFAIL : code;
}

/* "checkpoint create" has options of its own. */
static const struct cmd *innermost(const struct cmd *cmd, int *argc, char ***argv)
{
    const struct cmd *inner = *argc > 1 ? opt_command(cmd->opts, (*argv)[1]) : NULL;

    if (!inner)
        return cmd;
    (*argc)--;
    (*argv)++;
    return inner;
}

static int start(const struct cmd *cmd, int argc, char **argv)
{
    cmd = innermost(cmd, &argc, &argv);
    opt_look(cmd, argc, argv, &every_args);
    if (every_args.help || !every_args.record)
        return run_command(cmd, argc, argv);
    return run_recorded(cmd, argc, argv, run_command);
}

static int run(int argc, char **argv)
{
    const struct cmd *cmd;
    int code;

    if (argc < 2) {
        cmd_error("Not enough arguments");
        help_overview(stderr);
        return EXIT_FAILED;
    }
    if (strcmp(argv[1], "help") == 0 || strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return end_output(help_about(argc > 2 ? argv[2] : NULL, argc > 3 ? argv[3] : NULL));
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0)
        return end_output(show_version());
    if (strcmp(argv[1], "complete") == 0 && (code = complete_arguments(argc - 2, argv + 2)) >= 0)
        return end_output(code);
    if (argv[1][0] == '-')
        return cmd_usage_error(NULL, "unrecognized option '%s'", argv[1]);
    cmd = help_find(argv[1]);
    return cmd ? start(cmd, argc - 1, argv + 1) : help_unknown(argv[1]);
}

/* One job, and then the end: memory that was given back will be wanted again, and each time that the system has it in
 * between it must be paged in anew, a tenth of the CPU time of a scan. */
static void keep_memory(void)
{
#ifdef M_MMAP_THRESHOLD
    (void)mallopt(M_MMAP_THRESHOLD, 4 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, 32 << 20);
#endif
}

int main(int argc, char **argv)
{
    static char buffer[1 << 16];

    keep_memory();
    hold_standard_descriptors();
    colour_begin();
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    return run(argc, argv);
}
