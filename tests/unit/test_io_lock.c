/* test_io_lock.c - which bytes each mode locks, and which other parties it meets
 * SPDX-License-Identifier: MIT
 *
 * Two open file descriptions of one process are two parties for OFD locks. The same rules are tried against the real
 * programs in tests/interop/locks.py. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What the next lock calls answer; the source under test is compiled in below. */
static struct {
    int cmd, sys_errno;
    int eintr;
} fault;

static int faulty_fcntl(int fd, int cmd, struct flock *fl)
{
    if (fault.eintr > 0) {
        fault.eintr--;
        errno = EINTR;
        return -1;
    }
    if (fault.sys_errno && cmd == fault.cmd && fl->l_type != F_UNLCK) {
        errno = fault.sys_errno;
        return -1;
    }
    return fcntl(fd, cmd, fl);
}

#define fcntl faulty_fcntl
#include "io/io_lock.c"
#undef fcntl

#define N_MODES 5
#define PROBE_END 300 /* bytes 0 .. 299 are looked at: those that QEMU may know */

static char path[64];

static int setup(void **state)
{
    int fd;

    (void)state;
    memset(&fault, 0, sizeof(fault));
    snprintf(path, sizeof(path), "%s", "/tmp/qcbm-test-io-lock-XXXXXX");
    fd = mkstemp(path); /* empty: locks need no bytes under them */
    assert_true(fd >= 0);
    close(fd);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    unlink(path);
    return 0;
}

static int open_image(int flags)
{
    int fd = open(path, flags | O_CLOEXEC);

    assert_true(fd >= 0);
    return fd;
}

static void lock_byte(int fd, short type, off_t byte)
{
    struct flock fl = { .l_type = type, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

    assert_int_equal(fcntl(fd, F_OFD_SETLK, &fl), 0);
}

/* The bytes that others hold, as text: "100 201 203". */
static const char *held_bytes(char *text, size_t size)
{
    int fd = open_image(O_RDWR);
    size_t used = 0;

    text[0] = 0;
    for (off_t byte = 0; byte < PROBE_END; byte++) {
        struct flock fl = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

        assert_int_equal(fcntl(fd, F_OFD_GETLK, &fl), 0);
        if (fl.l_type == F_UNLCK)
            continue;
        assert_int_equal(fl.l_type, F_RDLCK); /* never exclusive: QEMU could not take its own then */
        used += (size_t)snprintf(text + used, size - used, "%s%d", used ? " " : "", (int)byte);
    }
    close(fd);
    return text;
}

/* ---- bytes --------------------------------------------------------------------------------------------- */

static void each_mode_locks_the_bytes_of_the_table(void **state)
{
    static const struct {
        enum qcbm_lock_mode mode;
        int flags;
        const char *bytes;
    } cases[] = {
        { QCBM_LOCK_READ, O_RDONLY, "100 201 203" },
        { QCBM_LOCK_READ_SHARED, O_RDONLY, "100" },
        { QCBM_LOCK_INFO, O_RDONLY, "201 203" },
        { QCBM_LOCK_INFO_SHARED, O_RDONLY, "" },
        { QCBM_LOCK_WRITE, O_RDWR, "100 101 103 200 201 202 203" },
    };
    char text[2000];

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        int fd = open_image(cases[i].flags);
        struct qcbm_error err = { .code = 4711 };

        assert_int_equal(qcbmi_lock_fd(fd, cases[i].mode, &err), 0);
        assert_int_equal(err.code, 4711);
        assert_string_equal(held_bytes(text, sizeof(text)), cases[i].bytes);
        close(fd);
        assert_string_equal(held_bytes(text, sizeof(text)), "");
    }
}

/* Readers share the turn, a writer has it alone; who loses it holds nothing, whatever QEMU's bytes say. */
static void the_turn_is_given_to_one(void **state)
{
    static const enum qcbm_lock_mode without[] = { QCBM_LOCK_READ_SHARED, QCBM_LOCK_INFO, QCBM_LOCK_INFO_SHARED };
    int other = open_image(O_RDWR), fd = open_image(O_RDWR);
    struct qcbm_error err = { 0 };
    char text[2000];

    (void)state;
    lock_byte(other, F_WRLCK, 300);
    assert_int_equal(qcbmi_lock_fd(fd, QCBM_LOCK_WRITE, &err), QCBM_E_LOCKED);
    assert_non_null(strstr(err.message, "get \"write\" lock"));
    assert_int_equal(qcbmi_lock_fd(fd, QCBM_LOCK_READ, &err), QCBM_E_LOCKED);
    assert_non_null(strstr(err.message, "get \"consistent read\" lock"));
    for (size_t i = 0; i < sizeof(without) / sizeof(without[0]); i++)
        assert_int_equal(qcbmi_lock_fd(fd, without[i], NULL), 0);
    close(fd);
    assert_string_equal(held_bytes(text, sizeof(text)), "");
    lock_byte(other, F_RDLCK, 300);
    fd = open_image(O_RDWR);
    assert_int_equal(qcbmi_lock_fd(fd, QCBM_LOCK_WRITE, &err), QCBM_E_LOCKED);
    assert_int_equal(qcbmi_lock_fd(fd, QCBM_LOCK_READ, &err), 0);
    close(other);
    assert_int_equal(qcbmi_lock_fd(fd, QCBM_LOCK_WRITE, &err), 0);
    other = open_image(O_RDWR);
    assert_int_equal(qcbmi_lock_fd(other, QCBM_LOCK_WRITE, &err), QCBM_E_LOCKED);
    close(fd);
    assert_int_equal(qcbmi_lock_fd(other, QCBM_LOCK_WRITE, &err), 0); /* what was refused left no turn behind */
    close(other);
}

static void locks_stay_while_another_descriptor_is_closed(void **state)
{
    int fd = open_image(O_RDWR);
    char text[2000];

    (void)state;
    assert_int_equal(qcbmi_lock_fd(fd, QCBM_LOCK_READ, NULL), 0);
    close(open_image(O_RDWR)); /* a POSIX lock of the process would be gone */
    close(dup(fd));
    assert_string_equal(held_bytes(text, sizeof(text)), "100 201 203");
    close(fd);
}

/* ---- conflicts ----------------------------------------------------------------------------------------- */

static void modes_meet_each_other_as_in_the_table(void **state)
{
    /* [holder][newcomer] */
    static const bool fine[N_MODES][N_MODES] = {
        [QCBM_LOCK_READ] = { true, true, true, true, false },
        [QCBM_LOCK_READ_SHARED] = { true, true, true, true, false },
        [QCBM_LOCK_INFO] = { true, true, true, true, false },
        [QCBM_LOCK_INFO_SHARED] = { true, true, true, true, true },
        [QCBM_LOCK_WRITE] = { false, false, false, true, false },
    };
    char before[2000], after[2000];

    (void)state;
    for (int holder = 0; holder < N_MODES; holder++) {
        for (int newcomer = 0; newcomer < N_MODES; newcomer++) {
            int a = open_image(O_RDWR), b = open_image(O_RDWR);
            int ret;

            assert_int_equal(qcbmi_lock_fd(a, (enum qcbm_lock_mode)holder, NULL), 0);
            held_bytes(before, sizeof(before));
            ret = qcbmi_lock_fd(b, (enum qcbm_lock_mode)newcomer, NULL);
            assert_int_equal(ret, fine[holder][newcomer] ? 0 : QCBM_E_LOCKED);
            held_bytes(after, sizeof(after));
            if (ret < 0)
                assert_string_equal(after, before); /* nothing is left of the refused one */
            close(a);
            close(b);
        }
    }
}

/* Parties of QEMU, semantics 4: the bytes they lock, and what each mode of ours gets to hear (NULL = fine). */
static const struct party {
    const char *name;
    unsigned char bytes[8];
    const char *heard[N_MODES];
} parties[] = {
    { "reader", { 100, 201, 203 }, { [QCBM_LOCK_WRITE] = "Failed to get \"write\" lock" } },
    { "qemu-img info", { 201, 203 }, { [QCBM_LOCK_WRITE] = "Failed to get \"write\" lock" } },
    { "reader with -U", { 100 }, { [QCBM_LOCK_WRITE] = "Failed to get shared \"consistent read\" lock" } },
    { "writer",
      { 100, 101, 103, 201, 203 },
      { [QCBM_LOCK_READ] = "Failed to get shared \"write\" lock",
        [QCBM_LOCK_INFO] = "Failed to get shared \"write\" lock",
        [QCBM_LOCK_WRITE] = "Failed to get \"write\" lock" } },
    { "data file of a writer",
      { 100, 101, 103, 203 },
      { [QCBM_LOCK_READ] = "Failed to get shared \"write\" lock",
        [QCBM_LOCK_INFO] = "Failed to get shared \"write\" lock",
        [QCBM_LOCK_WRITE] = "Failed to get \"resize\" lock" } },
    { "only resizing",
      { 103 },
      { "Failed to get shared \"resize\" lock", [QCBM_LOCK_INFO] = "Failed to get shared \"resize\" lock",
        [QCBM_LOCK_WRITE] = "Failed to get shared \"resize\" lock" } },
    { "denies consistent read",
      { 200 },
      { [QCBM_LOCK_READ] = "Failed to get \"consistent read\" lock",
        [QCBM_LOCK_READ_SHARED] = "Failed to get \"consistent read\" lock",
        [QCBM_LOCK_WRITE] = "Failed to get \"consistent read\" lock" } },
    { "write unchanged", { 102 }, { [QCBM_LOCK_WRITE] = "Failed to get shared \"write unchanged\" lock" } },
    { "denies write unchanged", { 202 }, { [QCBM_LOCK_WRITE] = "Failed to get \"write unchanged\" lock" } },
    { "permission of qemu 6.1", { 104, 204 }, { NULL } },
};

static void parties_of_qemu_are_met_with_their_wording(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(parties) / sizeof(parties[0]); i++) {
        int other = open_image(O_RDWR);

        for (unsigned b = 0; b < 8 && parties[i].bytes[b]; b++)
            lock_byte(other, F_RDLCK, parties[i].bytes[b]);
        for (int mode = 0; mode < N_MODES; mode++) {
            const char *want = parties[i].heard[mode];
            int fd = open_image(O_RDWR);
            struct qcbm_error err = { 0 };
            int ret = qcbmi_lock_fd(fd, (enum qcbm_lock_mode)mode, &err);

            if (ret != (want ? QCBM_E_LOCKED : 0) || (want && strncmp(err.message, want, strlen(want)) != 0))
                fail_msg("%s, mode %d: %d \"%s\"", parties[i].name, mode, ret, err.message);
            if (want)
                assert_string_equal(err.message + strlen(want), ". Is another process using the image?");
            close(fd);
        }
        close(other);
    }
}

static void an_exclusive_lock_of_another_program_is_a_conflict(void **state)
{
    int other = open_image(O_RDWR), fd = open_image(O_RDWR);
    struct qcbm_error err = { 0 };
    char text[2000];

    (void)state;
    lock_byte(other, F_WRLCK, 203);
    assert_int_equal(qcbmi_lock_fd(fd, QCBM_LOCK_READ, &err), QCBM_E_LOCKED);
    assert_non_null(strstr(err.message, "shared \"resize\" lock"));
    lock_byte(other, F_UNLCK, 203);
    assert_string_equal(held_bytes(text, sizeof(text)), "");
    lock_byte(other, F_WRLCK, 100);
    assert_int_equal(qcbmi_lock_fd(fd, QCBM_LOCK_READ_SHARED, &err), QCBM_E_LOCKED);
    assert_non_null(strstr(err.message, "get \"consistent read\" lock"));
    close(other);
    close(fd);
}

/* ---- the system says no -------------------------------------------------------------------------------- */

static void file_systems_without_locks_have_their_own_code(void **state)
{
    static const int errnos[] = { ENOLCK, EINVAL, ENOSYS, EOPNOTSUPP };
    static const int cmds[] = { F_OFD_SETLK, F_OFD_GETLK };
    int fd = open_image(O_RDWR);
    char text[2000];

    (void)state;
    for (unsigned i = 0; i < 8; i++) {
        struct qcbm_error err = { 0 };

        fault.cmd = cmds[i / 4];
        fault.sys_errno = errnos[i % 4];
        assert_int_equal(qcbmi_lock_fd(fd, QCBM_LOCK_WRITE, &err), QCBM_E_NOLOCKS);
        assert_int_equal(err.code, QCBM_E_NOLOCKS);
        assert_int_equal(err.sys_errno, fault.sys_errno);
        assert_int_equal(qcbmi_lock_fd(fd, QCBM_LOCK_WRITE, NULL), QCBM_E_NOLOCKS);
        assert_string_equal(held_bytes(text, sizeof(text)), "");
    }
    assert_int_equal(qcbmi_lock_fd(fd, QCBM_LOCK_INFO_SHARED, NULL), 0); /* asks for nothing */
    close(fd);
}

static void other_failures_are_input_output_errors(void **state)
{
    struct qcbm_error err = { 0 };
    int fd = open_image(O_WRONLY); /* shared locks need read access */

    (void)state;
    assert_int_equal(qcbmi_lock_fd(fd, QCBM_LOCK_READ, &err), QCBM_E_IO);
    assert_int_equal(err.sys_errno, EBADF);
    close(fd);
    fd = open_image(O_RDONLY);
    assert_int_equal(qcbmi_lock_fd(fd, (enum qcbm_lock_mode)99, &err), QCBM_E_ARG);
    fault.eintr = 5;
    assert_int_equal(qcbmi_lock_fd(fd, QCBM_LOCK_READ, &err), 0);
    assert_int_equal(fault.eintr, 0);
    close(fd);
}

#define WITH_FILE(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FILE(each_mode_locks_the_bytes_of_the_table),
        WITH_FILE(the_turn_is_given_to_one),
        WITH_FILE(locks_stay_while_another_descriptor_is_closed),
        WITH_FILE(modes_meet_each_other_as_in_the_table),
        WITH_FILE(parties_of_qemu_are_met_with_their_wording),
        WITH_FILE(an_exclusive_lock_of_another_program_is_a_conflict),
        WITH_FILE(file_systems_without_locks_have_their_own_code),
        WITH_FILE(other_failures_are_input_output_errors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
