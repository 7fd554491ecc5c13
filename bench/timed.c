/* timed.c - run a command and print the system's account of it: wall time, CPU time, peak memory
 * SPDX-License-Identifier: MIT
 *
 * usage: timed SECONDS COMMAND [ARG...]. One line: nanoseconds of wall time, of CPU time, and KiB. A program of its
 * own, because the peak of a process counts what it was before it became the command: this one is small. Exit code 0, 1
 * if the command failed, 3 if it did not end within SECONDS. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static pid_t child;

static void too_long(int number)
{
    (void)number;
    kill(child, SIGKILL);
}

static long long now(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static long long of(struct timeval t)
{
    return t.tv_sec * 1000000000LL + t.tv_usec * 1000LL;
}

int main(int argc, char **argv)
{
    struct rusage r;
    long long begin;
    int status, null;

    if (argc < 3) {
        fprintf(stderr, "usage: timed SECONDS COMMAND [ARG...]\n");
        return 1;
    }
    null = open("/dev/null", O_RDWR);
    begin = now();
    child = fork();
    if (child == 0) {
        dup2(null, 0);
        dup2(null, 1);
        execvp(argv[2], argv + 2);
        fprintf(stderr, "timed: %s: %s\n", argv[2], strerror(errno));
        _exit(127);
    }
    signal(SIGALRM, too_long);
    alarm((unsigned)atoi(argv[1]));
    while (wait4(child, &status, 0, &r) < 0 && errno == EINTR)
        ;
    if (WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL)
        return 3;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return 1;
    printf("%lld %lld %ld\n", now() - begin, of(r.ru_utime) + of(r.ru_stime), r.ru_maxrss);
    return 0;
}
