/* test_sandbox.c - tools/sandbox.c: what is shut out, by each means that this kernel has, and what goes on working
 * SPDX-License-Identifier: MIT
 *
 * Each attempt runs in a process of its own, since there is no way out of the sandbox. */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "sandbox.h"

static char folder[] = "/tmp/qcbm-sandbox-XXXXXX";
static char named[64], other[64];
static int inherited; /* open for writing before */
static pid_t parent;

enum { BY_LANDLOCK = 1, BY_SECCOMP = 2 };
enum { WORKED = 0, REFUSED = 1, FAILED_OTHERWISE = 2 };

typedef int attempt_fn(void);

/* Result of a system call as an attempt's. */
static int seen(long ret)
{
    if (ret >= 0)
        return WORKED;
    return errno == EPERM || errno == EACCES || errno == ENOSYS ? REFUSED : FAILED_OTHERWISE;
}

static int run_in_sandbox(attempt_fn *fn, bool read_all)
{
    const char *const files[] = { named, NULL, "/nonexistent/file" };
    int status;
    pid_t pid;

    parent = getpid();
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        sandbox_enter(files, 3, read_all);
        _exit(fn());
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 100 + WTERMSIG(status);
}

static bool is_covered(int by)
{
    return ((by & BY_LANDLOCK) && sandbox_landlock_abi() > 0) || ((by & BY_SECCOMP) && sandbox_has_seccomp());
}

static void expect_refused(attempt_fn *fn, int by)
{
    assert_int_equal(run_in_sandbox(fn, false), is_covered(by) ? REFUSED : WORKED);
}

/* ---- attempts ------------------------------------------------------------------------------------------- */

static int read_byte(const char *path)
{
    char byte;
    int fd = open(path, O_RDONLY | O_CLOEXEC);

    return fd < 0 ? seen(fd) : seen(read(fd, &byte, 1));
}

static int read_named(void)
{
    return read_byte(named);
}

static int read_other(void)
{
    return read_byte(other);
}

static int write_named(void)
{
    return seen(open(named, O_RDWR));
}

static int append_other(void)
{
    return seen(open(other, O_WRONLY | O_APPEND));
}

static int make_file(void)
{
    char path[80];

    snprintf(path, sizeof(path), "%s/new", folder);
    return seen(open(path, O_RDONLY | O_CREAT, 0600));
}

static int make_folder(void)
{
    char path[80];

    snprintf(path, sizeof(path), "%s/newdir", folder);
    return seen(mkdir(path, 0700));
}

static int remove_file(void)
{
    return seen(unlink(other));
}

static int rename_file(void)
{
    return seen(rename(other, named));
}

static int cut_file(void)
{
    return seen(truncate(named, 0));
}

static int cut_open_file(void)
{
    return seen(ftruncate(inherited, 1));
}

static int write_in_place(void)
{
    return seen(pwrite(inherited, "x", 1, 0));
}

static int change_mode(void)
{
    return seen(chmod(named, 0644));
}

static int run_program(void)
{
    static char name[] = "true";
    char *const argv[] = { name, NULL };

    (void)execv("/bin/true", argv);
    return seen(-1);
}

static int make_process(void)
{
    pid_t pid = fork();

    if (pid == 0)
        _exit(0);
    return seen(pid);
}

static int make_socket(void)
{
    return seen(socket(AF_INET, SOCK_STREAM, 0));
}

static int make_unix_socket(void)
{
    return seen(socket(AF_UNIX, SOCK_STREAM, 0));
}

static int signal_parent(void)
{
    return seen(kill(getppid(), 0));
}

static int limit_parent(void)
{
    struct rlimit core;

    if (getrlimit(RLIMIT_CORE, &core) < 0) /* refused as well */
        return seen(-1);
    return seen(prlimit(parent, RLIMIT_CORE, &core, NULL));
}

static int trace_parent(void)
{
    return seen(ptrace(PTRACE_SEIZE, getppid(), NULL, NULL));
}

static int list_folder(void)
{
    return seen(open(folder, O_RDONLY | O_DIRECTORY));
}

static int make_namespace(void)
{
    return seen(unshare(CLONE_FILES));
}

static int abort_itself(void)
{
    abort();
}

/* What reading an image takes, and what a program does besides. */
static int ordinary_work(void)
{
    int fd = open(named, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = 100, .l_len = 1 };
    time_t now = time(NULL);
    struct stat st;
    char *memory;

    if (fd < 0 || fcntl(fd, F_SETFL, 0) < 0 || fstat(fd, &st) < 0 || fcntl(fd, F_OFD_SETLK, &lock) < 0)
        return FAILED_OTHERWISE;
    if (lseek(fd, 0, SEEK_END) != 4 || lseek(fd, 0, SEEK_DATA) < 0 || stat(other, &st) < 0)
        return FAILED_OTHERWISE;
    memory = malloc((size_t)64 << 20);
    if (!memory || !localtime(&now))
        return FAILED_OTHERWISE;
    memset(memory, 1, (size_t)64 << 20);
    free(memory);
    (void)isatty(1);
    return write(inherited, "more", 4) == 4 ? WORKED : FAILED_OTHERWISE;
}

/* ---- tests ---------------------------------------------------------------------------------------------- */

static void only_named_files_are_read(void **state)
{
    (void)state;
    assert_int_equal(run_in_sandbox(read_named, false), WORKED);
    expect_refused(read_other, BY_LANDLOCK);
    expect_refused(list_folder, BY_LANDLOCK);
}

static void for_a_chain_all_is_read_and_nothing_written(void **state)
{
    (void)state;
    assert_int_equal(run_in_sandbox(read_other, true), WORKED);
    assert_int_equal(run_in_sandbox(write_named, true), is_covered(BY_LANDLOCK | BY_SECCOMP) ? REFUSED : WORKED);
    assert_int_equal(run_in_sandbox(run_program, true), is_covered(BY_LANDLOCK | BY_SECCOMP) ? REFUSED : WORKED);
}

static void nothing_is_written(void **state)
{
    (void)state;
    expect_refused(write_named, BY_LANDLOCK | BY_SECCOMP);
    expect_refused(append_other, BY_LANDLOCK | BY_SECCOMP);
    expect_refused(make_file, BY_LANDLOCK | BY_SECCOMP);
    expect_refused(make_folder, BY_LANDLOCK | BY_SECCOMP);
    expect_refused(write_in_place, BY_SECCOMP);
    expect_refused(cut_open_file, BY_SECCOMP);
    expect_refused(change_mode, BY_SECCOMP);
    expect_refused(rename_file, BY_LANDLOCK | BY_SECCOMP);
    expect_refused(remove_file, BY_LANDLOCK | BY_SECCOMP);
    expect_refused(cut_file, sandbox_landlock_abi() >= 3 ? BY_LANDLOCK | BY_SECCOMP : BY_SECCOMP);
}

static void nobody_else_is_reached(void **state)
{
    (void)state;
    expect_refused(run_program, BY_LANDLOCK | BY_SECCOMP);
    expect_refused(make_process, BY_SECCOMP);
    expect_refused(make_socket, BY_SECCOMP);
    expect_refused(make_unix_socket, BY_SECCOMP);
    expect_refused(limit_parent, BY_SECCOMP);
    expect_refused(signal_parent, sandbox_landlock_abi() >= 6 ? BY_LANDLOCK | BY_SECCOMP : BY_SECCOMP);
    if (is_covered(BY_LANDLOCK | BY_SECCOMP)) /* else the answer is that of the system */
        assert_int_equal(run_in_sandbox(trace_parent, false), REFUSED);
    expect_refused(make_namespace, BY_SECCOMP);
}

static void what_reading_takes_goes_on(void **state)
{
    (void)state;
    assert_int_equal(run_in_sandbox(ordinary_work, false), WORKED);
    assert_int_equal(run_in_sandbox(abort_itself, false), 100 + SIGABRT);
}

static void write_file(const char *path)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, "data", 4), 4);
    close(fd);
}

static int make_files(void **state)
{
    char path[80];

    (void)state;
    assert_non_null(mkdtemp(folder));
    snprintf(named, sizeof(named), "%s/named", folder);
    snprintf(other, sizeof(other), "%s/other", folder);
    write_file(named);
    write_file(other);
    snprintf(path, sizeof(path), "%s/inherited", folder);
    write_file(path);
    inherited = open(path, O_RDWR);
    return inherited < 0;
}

static int remove_files(void **state)
{
    static const char *const names[] = { "named", "other", "inherited", "new" };

    (void)state;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        char path[80];

        snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        (void)unlink(path);
    }
    close(inherited);
    return rmdir(folder);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_named_files_are_read),  cmocka_unit_test(for_a_chain_all_is_read_and_nothing_written),
        cmocka_unit_test(nothing_is_written),         cmocka_unit_test(nobody_else_is_reached),
        cmocka_unit_test(what_reading_takes_goes_on),
    };

    return cmocka_run_group_tests(tests, make_files, remove_files);
}
