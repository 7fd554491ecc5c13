/* sandbox_make.c - runs while qcbm is built: prints the program of the seccomp filter as C
 * SPDX-License-Identifier: MIT
 *
 * usage: sandbox_make [ARCHITECTURE little|big]: the name that libseccomp has for it; without, of this machine.
 *
 * libseccomp takes longer to load and to make the filter than qcbm takes to show an image; and so the machine that qcbm
 * runs on needs no libseccomp. Where the text is included there is a variable pid, and SANDBOX_CONNECTED is 1
 * for the filter of a process that reads through a socket. */
#include <seccomp.h>
#include <stdio.h>
#include <string.h>

#include "sandbox_build.h"
#include "sandbox_calls.h"

enum { MAX_CODE = 4096 };

static const struct mark {
    uint32_t number;
    const char *text;
} marks[] = {
    { MARK_PID, "pid" },
    { MARK_OPEN_TO_CHANGE, "OPEN_TO_CHANGE" },
    { MARK_TCGETS, "TCGETS" },
    { MARK_FSGETXATTR, "FS_IOC_FSGETXATTR" },
    { SECCOMP_RET_ERRNO | MARK_ENOSYS, "SECCOMP_RET_ERRNO | ENOSYS" },
};

enum { N_MARKS = sizeof(marks) / sizeof(marks[0]) };

static unsigned mark_of(uint32_t number)
{
    unsigned i = 0;

    while (i < N_MARKS && marks[i].number != number)
        i++;
    return i;
}

/* A program that lacks a mark was put together in another way than this file knows, and lets through too much. */
static bool has_all_marks(const struct sock_filter *code, size_t n)
{
    unsigned seen = 0;

    for (size_t i = 0; i < n; i++)
        seen |= 1u << mark_of(code[i].k);
    return (seen | 1u << N_MARKS) == (2u << N_MARKS) - 1;
}

static bool print(const struct sandbox_system *system)
{
    static struct sock_filter code[MAX_CODE];
    size_t n = sandbox_program(system, code, MAX_CODE);

    if (!has_all_marks(code, n))
        return false;
    for (size_t i = 0; i < n; i++) {
        unsigned mark = mark_of(code[i].k);

        printf("{ 0x%02x, %u, %u, ", code[i].code, code[i].jt, code[i].jf);
        if (mark < N_MARKS)
            printf("%s },\n", marks[mark].text);
        else
            printf("0x%x },\n", code[i].k);
    }
    return true;
}

/* Of both kinds of programs. Where the text is included SANDBOX_SANITIZED says which. */
static bool print_both(struct sandbox_system system, bool connected)
{
    bool ok;

    system.connected = connected;
    system.sanitized = true;
    printf("#if SANDBOX_SANITIZED\n");
    ok = print(&system);
    printf("#else\n");
    system.sanitized = false;
    ok = ok && print(&system);
    printf("#endif\n");
    return ok;
}

int main(int argc, char **argv)
{
    struct sandbox_system system = { .big_endian = __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__ };
    bool ok;

    system.arch = argc > 2 ? seccomp_arch_resolve_name(argv[1]) : seccomp_arch_native();
    if (argc > 2)
        system.big_endian = strcmp(argv[2], "big") == 0;
    printf("#if SANDBOX_CONNECTED\n");
    ok = print_both(system, true);
    printf("#else\n");
    ok = ok && print_both(system, false);
    printf("#endif\n");
    if (!ok)
        fprintf(stderr, "sandbox_make: libseccomp makes no filter for %s\n", argc > 2 ? argv[1] : "this machine");
    return !ok;
}
