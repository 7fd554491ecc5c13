/* apart.c - work in a process of its own
 * SPDX-License-Identifier: MIT
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "apart.h"
#include "cmd.h"
#include "run_note.h"

int run_apart(int (*job)(void *arg), void *arg)
{
    pid_t parent = getpid(), pid, got;
    int status;

    if (!run_note_share()) /* what it fails of decides on the exit code here */
        return cmd_error("no memory");
    fflush(NULL); /* what is buffered here is not to come out twice */
    pid = fork();
    if (pid < 0)
        return cmd_error("Could not start a process: %s", strerror(errno));
    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent) /* it was ended before that */
            _exit(EXIT_FAILED);
        exit(job(arg));
    }
    do
        got = waitpid(pid, &status, 0);
    while (got < 0 && errno == EINTR);
    if (got < 0)
        return cmd_error("Could not wait for a process: %s", strerror(errno));
    if (WIFEXITED(status))
        return WEXITSTATUS(status);
    return cmd_error("the process that reads the image was ended by signal %d", WTERMSIG(status));
}
