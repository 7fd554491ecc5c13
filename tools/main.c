/* main.c - the command qcbm: finds the record of the sub-command and calls it
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdio_ext.h>
#include <string.h>
#include <unistd.h>

#include "cmd.h"
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

static int show_help(void)
{
    printf("Usage: qcbm COMMAND [OPTION]... ARGUMENT...\nDirty bitmaps of qcow2 images, while no guest runs.\n\n"
           "Commands:\n");
    for (const struct cmd *const *c = cmds; *c; c++)
        printf("  %-10s%s\n", (*c)->name, (*c)->summary);
    printf("\n  --help      show this help; qcbm COMMAND --help shows the options of one command\n"
           "  --version   show the version, and what shuts reading commands in\n\nExit code: 0 done, 1 failed. See "
           "also: man qcbm\n");
    return EXIT_DONE;
}

static int show_version(void)
{
    int abi = sandbox_landlock_abi();
    bool seccomp = sandbox_has_seccomp();

    printf("qcbm %s\nsandbox: ", qcbm_version());
    if (abi)
        printf("Landlock ABI %d%s", abi, seccomp ? ", " : "\n");
    if (seccomp || !abi)
        printf("%s\n", seccomp ? "seccomp" : "none");
    return EXIT_DONE;
}

static int run(int argc, char **argv)
{
    if (argc < 2)
        return cmd_usage_error(NULL, "Not enough arguments");
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0)
        return show_help();
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "-V") == 0) {
        return show_version();
    }
    if (argv[1][0] == '-')
        return cmd_usage_error(NULL, "unrecognized option '%s'", argv[1]);
    for (const struct cmd *const *c = cmds; *c; c++) {
        if (strcmp((*c)->name, argv[1]) == 0)
            return (*c)->run(*c, argc - 1, argv + 1);
    }
    return cmd_usage_error(NULL, "Command not found: %s", argv[1]);
}

int main(int argc, char **argv)
{
    static char buffer[1 << 16];

    hold_standard_descriptors();
    setvbuf(stdout, buffer, _IOFBF, sizeof buffer);
    int code = run(argc, argv);
    if (code == EXIT_FAILED) {
        __fpurge(stdout); /* what is not out yet stays in: a command that fails prints nothing */
        return code;
    }
    bool lost = ferror(stdout);
    if (fclose(stdout) != 0 || lost)
        return cmd_error("could not write the output: %s", strerror(errno));
    return code;
}
